//! `/metrics`: the sum of every worker's cells in the Prometheus text format 0.0.4. Nothing is stored here between two scrapes, and
//! rendering takes no lock that a worker could wait for.
//!
//! Label values of a closed set are present from the start, with 0, so that rates over them have a beginning. Counts are `u64` in
//! the cells and `f64` in the format: exact up to 2^53, nine petabytes.

use super::families::{self, Labels, counter, gauge, histogram, label, numbered, total};
use super::reason::{RateScope, Reason, TimeoutKind, UpstreamErrorKind};
use super::stats::{TlsSide, UpstreamStats, WorkerStats};
use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{self, LabelPair, MetricFamily, MetricType};
use prometheus::{Encoder, TextEncoder};
use rustix::time::{ClockId, clock_gettime};
use std::sync::{Arc, LazyLock};

/// `Content-Type` of the page.
pub const CONTENT_TYPE: &str = prometheus::TEXT_FORMAT;

const STATUS_CLASSES: [&str; 5] = ["1xx", "2xx", "3xx", "4xx", "5xx"];

/// The data of a scrape.
#[derive(Clone, Copy, Debug)]
pub struct Scrape<'a> {
    /// The counters of every worker.
    pub workers: &'a [Arc<WorkerStats>],
    /// Every listening address.
    pub listeners: &'a [ListenerView<'a>],
    /// Every certificate that is presented, by its name: until when it is valid (seconds since 1970).
    pub certificates: &'a [(&'a str, u64)],
    /// Every address of every upstream of every pool.
    pub upstreams: &'a [UpstreamView<'a>],
    pub reloads_ok: u64,
    pub reloads_error: u64,
    /// `Writer::access_lost`: added to the lines that the workers have dropped.
    pub access_lost: u64,
    /// The program's version.
    pub version: &'a str,
}

/// One listening address at this moment.
#[derive(Clone, Copy, Debug)]
pub struct ListenerView<'a> {
    /// The address.
    pub name: &'a str,
    /// How many idle client connections were closed for new ones.
    pub evicted: u64,
    /// How often it reached its limit.
    pub full: u64,
}

/// One address of an upstream at this moment.
#[derive(Clone, Debug)]
pub struct UpstreamView<'a> {
    pub pool: &'a str,
    pub name: &'a str,
    /// Which of its addresses; empty if it has none.
    pub address: String,
    /// One for each worker.
    pub cells: &'a [UpstreamStats],
    /// Whether a request could be given to it.
    pub usable: bool,
    /// The state of its circuit: 0 closed, 1 half-open, 2 open.
    pub circuit: u8,
}

/// The page.
pub fn render(sources: &Scrape<'_>) -> Vec<u8> {
    let mut families = Vec::new();
    traffic(sources, &mut families);
    failures(sources, &mut families);
    connections(sources, &mut families);
    upstreams(sources, &mut families);
    operation(sources, &mut families);
    families.extend(PROCESS.collect().into_iter().map(with_parts_of_seconds));
    // The encoder refuses an empty family, such as those of pools without upstreams.
    families.retain(|family| !family.get_metric().is_empty());
    let mut page = Vec::with_capacity(1 << 14);
    if let Err(e) = TextEncoder::new().encode(&families, &mut page) {
        log::error!(target: "metrics", "metrics cannot be rendered: {e}");
    }
    page
}

/// Replaces the processor time, which the collector counts in whole seconds, so that rates over it would have steps.
fn with_parts_of_seconds(family: MetricFamily) -> MetricFamily {
    if family.name() != "process_cpu_seconds_total" {
        return family;
    }
    let spent = clock_gettime(ClockId::ProcessCPUTime);
    let seconds = spent.tv_sec as f64 + spent.tv_nsec as f64 / 1e9;
    families::family(family.name(), family.help(), MetricType::COUNTER, [(vec![], seconds)], |metric, value| {
        let mut counter = proto::Counter::default();
        counter.set_value(value);
        metric.set_counter(counter);
    })
}

/// Made once, because it reads the boot time when it is made.
static PROCESS: LazyLock<ProcessCollector> = LazyLock::new(ProcessCollector::for_self);

fn traffic(sources: &Scrape<'_>, families: &mut Vec<MetricFamily>) {
    let all = sources.workers;
    families.push(counter(
        "proxy_requests_total",
        "Requests whose head was received whole, and those refused as malformed or over a limit.",
        [(vec![], total(all, |worker| &worker.requests))],
    ));
    families.push(counter(
        "proxy_requests_parse_errors_total",
        "Request heads refused as malformed or over a limit.",
        [(vec![], total(all, |worker| &worker.parse_errors))],
    ));
    families.push(counter(
        "proxy_responses_total",
        "Final responses to clients by status class, and interim ones as 1xx.",
        numbered("status_class", STATUS_CLASSES).map(|(class, label)| (vec![label], total(all, |worker| &worker.responses[class]))),
    ));
    families.push(histogram(
        "proxy_request_duration_seconds",
        "From the complete request head to the last byte sent to the client.",
        [(vec![], all.iter().map(|worker| &worker.duration).collect())],
    ));
    families.push(counter(
        "proxy_bytes_received_total",
        "Bytes received from clients.",
        [(vec![], total(all, |worker| &worker.bytes_received))],
    ));
    families.push(counter("proxy_bytes_sent_total", "Bytes sent to clients.", [(vec![], total(all, |worker| &worker.bytes_sent))]));
    families.push(handshakes(all));
}

/// All series are there from the beginning, so that the first failure is a step from zero.
fn handshakes(all: &[Arc<WorkerStats>]) -> MetricFamily {
    let labels = |side: usize, result: &str, version: &str, resumed: bool| {
        let resumed = if resumed { "true" } else { "false" };
        vec![label("side", TlsSide::NAMES[side]), label("result", result), label("version", version), label("resumed", resumed)]
    };
    let mut samples = Vec::new();
    for side in 0..TlsSide::NAMES.len() {
        for (version, name) in ["1.2", "1.3"].into_iter().enumerate() {
            for resumed in [false, true] {
                let made = total(all, |worker| &worker.handshakes.made[side][version][usize::from(resumed)]);
                samples.push((labels(side, "ok", name, resumed), made));
            }
        }
        for (version, name) in ["1.2", "1.3", "unknown"].into_iter().enumerate() {
            samples.push((labels(side, "error", name, false), total(all, |worker| &worker.handshakes.failed[side][version])));
        }
    }
    counter("proxy_tls_handshakes_total", "TLS handshakes with clients and upstreams, by outcome.", samples)
}

fn failures(sources: &Scrape<'_>, families: &mut Vec<MetricFamily>) {
    let all = sources.workers;
    families.push(counter(
        "proxy_timeout_errors_total",
        "Timeouts that have passed, by kind.",
        numbered("type", TimeoutKind::NAMES).map(|(kind, label)| (vec![label], total(all, |worker| &worker.timeouts[kind]))),
    ));
    families.push(counter(
        "proxy_errors_total",
        "Answers made or cut by the proxy itself, and clients that left, by reason.",
        Reason::ALL.iter().map(|&reason| (vec![label("reason", reason.name())], total(all, |worker| &worker.errors[reason]))),
    ));
    families.push(counter(
        "rate_limit_rejected_total",
        "Requests over a rate limit, by its scope; in a dry run they are counted, and let through.",
        numbered("scope", RateScope::NAMES).map(|(scope, label)| (vec![label], total(all, |worker| &worker.rate_limited[scope]))),
    ));
}

fn connections(sources: &Scrape<'_>, families: &mut Vec<MetricFamily>) {
    let all = sources.workers;
    families.push(gauge(
        "proxy_client_connections",
        "Open client connections.",
        [(vec![], total(all, |worker| &worker.client_connections))],
    ));
    let listeners = |of: fn(&ListenerView<'_>) -> u64| {
        sources.listeners.iter().map(move |listener| (vec![label("listen", listener.name)], of(listener))).collect::<Vec<_>>()
    };
    families.push(counter(
        "proxy_connections_evicted_total",
        "Idle client connections closed for new ones at the limit.",
        listeners(|listener| listener.evicted),
    ));
    families.push(counter(
        "proxy_listener_full_total",
        "How often a new connection found the limit of client connections reached.",
        listeners(|listener| listener.full),
    ));
    families.push(gauge(
        "proxy_queued_requests",
        "Requests waiting for a place at an upstream.",
        [(vec![], total(all, |worker| &worker.queued_requests))],
    ));
}

fn upstreams(sources: &Scrape<'_>, families: &mut Vec<MetricFamily>) {
    let all = || sources.upstreams.iter();
    families.push(histogram(
        "proxy_upstream_duration_seconds",
        "From sending the request to the response's head.",
        all().map(|upstream| (of(upstream), upstream.cells.iter().map(|cells| &cells.duration).collect())),
    ));
    families.push(counter(
        "proxy_upstream_requests_total",
        "Attempts that were given to the upstream.",
        all().map(|upstream| (of(upstream), total(upstream.cells, |cells| &cells.requests))),
    ));
    families.push(counter(
        "proxy_upstream_responses_total",
        "Responses of the upstream by status class, interim ones as 1xx.",
        all().flat_map(|upstream| {
            numbered("status_class", STATUS_CLASSES)
                .map(|(class, label)| (with(upstream, label), total(upstream.cells, |cells| &cells.responses[class])))
        }),
    ));
    families.push(counter(
        "proxy_upstream_errors_total",
        "Attempts that failed at the upstream.",
        all().flat_map(|upstream| {
            numbered("type", UpstreamErrorKind::NAMES)
                .map(|(kind, label)| (with(upstream, label), total(upstream.cells, |cells| &cells.errors[kind])))
        }),
    ));
    families.push(counter(
        "proxy_retries_total",
        "Attempts that were not a request's first.",
        all().map(|upstream| (of(upstream), total(upstream.cells, |cells| &cells.retries))),
    ));
    families.push(gauge(
        "proxy_upstream_connections",
        "Connections to the upstream: active ones have an exchange or are being made, idle ones are pooled, tunnels are upgraded.",
        all().flat_map(|upstream| {
            [
                (with(upstream, label("state", "active")), total(upstream.cells, |cells| &cells.active)),
                (with(upstream, label("state", "idle")), total(upstream.cells, |cells| &cells.idle)),
                (with(upstream, label("state", "tunnel")), total(upstream.cells, |cells| &cells.tunnels)),
            ]
        }),
    ));
    families.push(gauge(
        "backend_health",
        "1 if the upstream is usable, else 0.",
        all().map(|upstream| (of(upstream), upstream.usable.into())),
    ));
    families.push(gauge(
        "circuit_breaker_state",
        "0 closed, 1 half-open, 2 open.",
        all().map(|upstream| (of(upstream), upstream.circuit.into())),
    ));
}

fn operation(sources: &Scrape<'_>, families: &mut Vec<MetricFamily>) {
    families.push(counter(
        "proxy_config_reloads_total",
        "Reloads of the configuration.",
        [(vec![label("result", "ok")], sources.reloads_ok), (vec![label("result", "error")], sources.reloads_error)],
    ));
    families.push(gauge(
        "proxy_tls_certificate_not_after_timestamp_seconds",
        "When the certificate expires, in seconds since 1970; of several with one name, the first to expire.",
        sources.certificates.iter().map(|(name, until)| (vec![label("name", name)], *until)),
    ));
    let dropped = total(sources.workers, |worker| &worker.access_log_dropped);
    families.push(counter(
        "proxy_access_log_dropped_total",
        "Lines of the access log that were lost because the log could not keep up.",
        [(vec![], dropped + sources.access_lost)],
    ));
    families.push(gauge("proxy_build_info", "Always 1; the version is in the label.", [(vec![label("version", sources.version)], 1)]));
}

fn of(upstream: &UpstreamView<'_>) -> Labels {
    vec![label("pool", upstream.pool), label("upstream", upstream.name), label("address", &upstream.address)]
}

fn with(upstream: &UpstreamView<'_>, further: LabelPair) -> Labels {
    vec![label("pool", upstream.pool), label("upstream", upstream.name), further, label("address", &upstream.address)]
}

#[cfg(test)]
#[path = "exposition_tests.rs"]
mod tests;
