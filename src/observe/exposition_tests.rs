use super::*;
use crate::observe::stats::BOUNDS_MICROS;
use std::collections::{BTreeMap, BTreeSet};

/// A parser for the text format: sample name and sorted labels to value; family to type. It refuses anything that is not in the
/// format, families in pieces, and a sample that occurs twice.
#[derive(Debug, Default)]
struct Page {
    samples: BTreeMap<(String, Vec<(String, String)>), f64>,
    types: BTreeMap<String, String>,
    helped: BTreeSet<String>,
}

impl Page {
    fn parse(text: &str) -> Self {
        assert!(text.ends_with('\n'));
        let mut page = Self::default();
        let mut family = String::new();
        for line in text.lines() {
            if let Some(help) = line.strip_prefix("# HELP ") {
                let (name, text) = help.split_once(' ').unwrap();
                assert!(!text.is_empty() && page.helped.insert(name.into()), "{line}");
            } else if let Some(kind) = line.strip_prefix("# TYPE ") {
                let (name, kind) = kind.split_once(' ').unwrap();
                assert!(["counter", "gauge", "histogram"].contains(&kind), "{line}");
                assert!(page.types.insert(name.into(), kind.into()).is_none(), "{line}");
                family = name.into();
            } else {
                let (name, labels, value) = sample(line);
                let base = match page.types[&family].as_str() {
                    "histogram" => ["_bucket", "_sum", "_count"].iter().find_map(|end| name.strip_suffix(end)).unwrap(),
                    _ => &name,
                };
                assert_eq!(base, family);
                assert!(page.samples.insert((name, labels), value).is_none(), "twice: {line}");
            }
        }
        assert!(page.helped.iter().eq(page.types.keys()));
        page
    }

    #[track_caller]
    fn value(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let mut labels: Vec<_> = labels.iter().map(|&(k, v)| (k.to_owned(), v.to_owned())).collect();
        labels.sort();
        match self.samples.get(&(name.to_owned(), labels.clone())) {
            Some(&value) => value,
            None => panic!("no {name}{labels:?}"),
        }
    }
}

fn sample(line: &str) -> (String, Vec<(String, String)>, f64) {
    let end = line.find(|c: char| !c.is_ascii_alphanumeric() && c != '_').unwrap();
    let (name, mut rest) = line.split_at(end);
    let mut labels = Vec::new();
    if let Some(inside) = rest.strip_prefix('{') {
        rest = inside;
        while !rest.starts_with('}') {
            let (label, value) = rest.split_once("=\"").unwrap();
            let (mut text, mut chars) = (String::new(), value.char_indices());
            let end = loop {
                match chars.next().unwrap() {
                    (at, '"') => break at + 1,
                    (_, '\\') => text.push(match chars.next().unwrap().1 {
                        'n' => '\n',
                        c @ ('\\' | '"') => c,
                        c => panic!("\\{c} in {line}"),
                    }),
                    (_, c) => text.push(c),
                }
            };
            labels.push((label.to_owned(), text));
            rest = value[end..].strip_prefix(',').unwrap_or(&value[end..]);
        }
        rest = &rest[1..];
    }
    labels.sort();
    let value = match rest.strip_prefix(' ').unwrap() {
        "+Inf" => f64::INFINITY,
        number => number.parse().unwrap(),
    };
    (name.to_owned(), labels, value)
}

fn page(workers: &[Arc<WorkerStats>], upstreams: &[UpstreamView<'_>]) -> Page {
    let listeners = &[ListenerView { name: "127.0.0.1:80", evicted: 4, full: 2 }];
    let sources = Scrape {
        workers,
        listeners,
        certificates: &[("a.test", 4_102_444_800)],
        upstreams,
        reloads_ok: 3,
        reloads_error: 1,
        access_lost: 10,
        version: "1.2.3",
    };
    Page::parse(std::str::from_utf8(&render(&sources)).unwrap())
}

#[test]
fn workers_are_summed_up() {
    let workers = [Arc::new(WorkerStats::default()), Arc::new(WorkerStats::default())];
    for (n, worker) in [(1, &workers[0]), (100, &workers[1])] {
        worker.requests.add(n);
        worker.responses[1].add(n);
        worker.timeouts[TimeoutKind::Read as usize].add(n);
        worker.errors[Reason::ConnectionRefused].add(n);
        worker.client_connections.add(n);
        worker.access_log_dropped.add(n);
    }
    workers[1].bytes_sent.add(9_007_199_254_740_991);
    let page = page(&workers, &[]);
    assert_eq!(page.value("proxy_requests_total", &[]), 101.0);
    assert_eq!(page.value("proxy_responses_total", &[("status_class", "2xx")]), 101.0);
    assert_eq!(page.value("proxy_timeout_errors_total", &[("type", "read")]), 101.0);
    assert_eq!(page.value("proxy_errors_total", &[("reason", "connection_refused")]), 101.0);
    assert_eq!(page.value("proxy_client_connections", &[]), 101.0);
    assert_eq!(page.value("proxy_connections_evicted_total", &[("listen", "127.0.0.1:80")]), 4.0);
    assert_eq!(page.value("proxy_listener_full_total", &[("listen", "127.0.0.1:80")]), 2.0);
    assert_eq!(page.value("proxy_access_log_dropped_total", &[]), 111.0, "what the writer lost is in it");
    assert_eq!(page.value("proxy_bytes_sent_total", &[]), 9_007_199_254_740_991.0);
    assert_eq!(page.value("proxy_config_reloads_total", &[("result", "ok")]), 3.0);
    assert_eq!(page.value("proxy_config_reloads_total", &[("result", "error")]), 1.0);
    assert_eq!(page.value("proxy_build_info", &[("version", "1.2.3")]), 1.0);
    assert_eq!(page.value("proxy_tls_certificate_not_after_timestamp_seconds", &[("name", "a.test")]), 4_102_444_800.0);
}

#[test]
fn everything_is_there_from_the_start() {
    let page = page(&[Arc::default()], &[]);
    for reason in Reason::ALL {
        assert_eq!(page.value("proxy_errors_total", &[("reason", reason.name())]), 0.0);
    }
    for class in ["1xx", "2xx", "3xx", "4xx", "5xx"] {
        assert_eq!(page.value("proxy_responses_total", &[("status_class", class)]), 0.0);
    }
    for kind in ["connect", "read", "write", "total", "client"] {
        assert_eq!(page.value("proxy_timeout_errors_total", &[("type", kind)]), 0.0);
    }
    for (name, kind) in [
        ("proxy_requests_total", "counter"),
        ("proxy_requests_parse_errors_total", "counter"),
        ("proxy_request_duration_seconds", "histogram"),
        ("proxy_bytes_received_total", "counter"),
        ("proxy_client_connections", "gauge"),
        ("proxy_queued_requests", "gauge"),
        ("proxy_connections_evicted_total", "counter"),
        ("proxy_listener_full_total", "counter"),
        ("process_cpu_seconds_total", "counter"),
        ("process_resident_memory_bytes", "gauge"),
        ("process_open_fds", "gauge"),
        ("process_start_time_seconds", "gauge"),
        ("proxy_build_info", "gauge"),
    ] {
        assert_eq!(page.types[name], kind, "{name}");
    }
    assert!(page.value("process_resident_memory_bytes", &[]) > 0.0);
    assert!(page.value("process_cpu_seconds_total", &[]) > 0.0, "parts of a second count");
    assert!(page.value("process_start_time_seconds", &[]) > 1.6e9);
    assert!(!page.types.contains_key("backend_health"), "no upstream, no family");
}

#[test]
fn buckets_are_cumulative() {
    let workers = [Arc::new(WorkerStats::default()), Arc::new(WorkerStats::default())];
    workers[0].duration.observe(500); // a bound belongs to its bucket
    workers[0].duration.observe(501);
    workers[1].duration.observe(2_000_000);
    workers[1].duration.observe(60_000_000);
    let page = page(&workers, &[]);
    let bucket = |le| page.value("proxy_request_duration_seconds_bucket", &[("le", le)]);
    assert_eq!(["0.0005", "0.001", "0.0025", "1", "2.5", "10", "+Inf"].map(bucket), [1.0, 2.0, 2.0, 2.0, 3.0, 3.0, 4.0]);
    assert_eq!(page.value("proxy_request_duration_seconds_count", &[]), 4.0);
    assert_eq!(page.value("proxy_request_duration_seconds_sum", &[]), 62.001_001);
    let buckets = page.samples.keys().filter(|(name, _)| name == "proxy_request_duration_seconds_bucket");
    assert_eq!(buckets.count(), BOUNDS_MICROS.len() + 1);
}

#[test]
fn upstreams_have_all_their_labels_whatever_their_names() {
    let cells = [UpstreamStats::default(), UpstreamStats::default()];
    cells[0].requests.add(2);
    cells[1].requests.add(5);
    cells[1].errors[UpstreamErrorKind::ConnectionRefused as usize].add(4);
    cells[0].responses[1].add(2);
    cells[1].responses[1].add(1);
    cells[0].tunnels.add(2);
    cells[0].active.add(3);
    cells[1].idle.add(1);
    cells[1].duration.observe(700);
    let odd = "quote\" back\\slash\nline";
    let upstreams = [
        UpstreamView { pool: "default", name: "127.0.0.1:9001", address: "127.0.0.1:9001".into(), cells: &cells, usable: true, circuit: 0 },
        UpstreamView { pool: odd, name: odd, address: String::new(), cells: &[], usable: false, circuit: 2 },
    ];
    let page = page(&[], &upstreams);
    let of = |name, label: &[(&'static str, &'static str)]| {
        page.value(name, &[&[("pool", "default"), ("upstream", "127.0.0.1:9001")], label, &[("address", "127.0.0.1:9001")]].concat())
    };
    assert_eq!(of("proxy_upstream_requests_total", &[]), 7.0);
    assert_eq!(of("proxy_retries_total", &[]), 0.0);
    assert_eq!(of("proxy_upstream_errors_total", &[("type", "timeout")]), 0.0);
    assert_eq!(of("proxy_upstream_errors_total", &[("type", "connection_refused")]), 4.0);
    assert_eq!(of("proxy_upstream_errors_total", &[("type", "other")]), 0.0);
    assert_eq!(of("proxy_upstream_responses_total", &[("status_class", "2xx")]), 3.0);
    assert_eq!(of("proxy_upstream_responses_total", &[("status_class", "5xx")]), 0.0);
    assert_eq!(of("proxy_upstream_connections", &[("state", "tunnel")]), 2.0);
    assert_eq!(of("proxy_upstream_connections", &[("state", "active")]), 3.0);
    assert_eq!(of("proxy_upstream_connections", &[("state", "idle")]), 1.0);
    assert_eq!(of("proxy_upstream_duration_seconds_bucket", &[("le", "0.001")]), 1.0);
    assert_eq!(of("proxy_upstream_duration_seconds_count", &[]), 1.0);
    assert_eq!(of("backend_health", &[]), 1.0);
    assert_eq!(of("circuit_breaker_state", &[]), 0.0);
    assert_eq!(page.value("backend_health", &[("pool", odd), ("upstream", odd), ("address", "")]), 0.0);
    assert_eq!(page.value("circuit_breaker_state", &[("pool", odd), ("upstream", odd), ("address", "")]), 2.0);
}
