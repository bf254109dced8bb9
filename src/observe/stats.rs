//! Counters with one writer each: a worker's thread adds by a relaxed load and store (no locked instruction), and a scrape sums
//! over the workers. Each worker's block is padded, so that no two of them share a cache line.

use super::reason::{RateScope, Reason, TimeoutKind, UpstreamErrorKind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// A number that only one thread writes, and any thread may read.
#[derive(Debug, Default)]
pub struct Counter(AtomicU64);

impl Counter {
    /// Adds `n`. Only the owning thread may call this: two writers would lose counts.
    pub fn add(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_add(n), Relaxed);
    }

    /// Takes `n` away, for gauges.
    pub fn sub(&self, n: u64) {
        self.0.store(self.0.load(Relaxed).wrapping_sub(n), Relaxed);
    }

    /// Stores a value, for what is measured from time to time.
    pub fn set(&self, value: u64) {
        self.0.store(value, Relaxed);
    }

    /// The value as the owner last stored it.
    pub fn value(&self) -> u64 {
        self.0.load(Relaxed)
    }
}

/// Upper bounds of a duration's buckets, in microseconds (the last bucket, +Inf, is implied).
pub const BOUNDS_MICROS: [u64; 14] =
    [500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000, 2_500_000, 5_000_000, 10_000_000];

/// A histogram of durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// Observations per bucket, not cumulative; the last is +Inf.
    pub buckets: [Counter; BOUNDS_MICROS.len() + 1],
    /// Sum of all observations in microseconds.
    pub sum_micros: Counter,
}

impl Histogram {
    /// Counts one duration.
    pub fn observe(&self, micros: u64) {
        self.buckets[BOUNDS_MICROS.partition_point(|&bound| bound < micros)].add(1);
        self.sum_micros.add(micros);
    }
}

/// A counter for every reason.
#[derive(Debug)]
pub struct ErrorCounters([Counter; Reason::COUNT]);

impl Default for ErrorCounters {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Counter::default()))
    }
}

impl std::ops::Index<Reason> for ErrorCounters {
    type Output = Counter;

    fn index(&self, reason: Reason) -> &Counter {
        &self.0[reason as usize]
    }
}

/// The end of a connection that a handshake was made with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum TlsSide {
    Client,
    Upstream,
}

impl TlsSide {
    /// As label values, in order.
    pub const NAMES: [&str; 2] = ["client", "upstream"];
}

/// TLS handshakes by their outcome.
#[derive(Debug, Default)]
pub struct HandshakeCounters {
    /// By side, version (1.2, 1.3), and whether it went on with an earlier session.
    pub made: [[[Counter; 2]; 2]; 2],
    /// By side and version (1.2, 1.3, none agreed on).
    pub failed: [[Counter; 3]; 2],
}

/// What one worker counts. Summed over the workers by the exposition.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct WorkerStats {
    /// Requests whose head was complete, and those refused as malformed or over a limit.
    pub requests: Counter,
    /// Requests whose head was refused.
    pub parse_errors: Counter,
    /// Final responses by class (index 0 is 1xx), and interim ones at index 0.
    pub responses: [Counter; 5],
    /// The time from the complete head to the last byte sent to the client.
    pub duration: Histogram,
    /// Bytes from clients.
    pub bytes_received: Counter,
    /// Bytes to clients.
    pub bytes_sent: Counter,
    /// Indexed by `TimeoutKind as usize`.
    pub timeouts: [Counter; TimeoutKind::NAMES.len()],
    /// Answers made or cut off here, by reason.
    pub errors: ErrorCounters,
    /// Exchanges that ended, except those refused or cut because the process ends, and those whose clients left.
    pub exchanges_finished: Counter,
    /// Exchanges cut because the process ends.
    pub exchanges_cut: Counter,
    /// Requests over a rate limit, also in a dry run; indexed by `RateScope as usize`.
    pub rate_limited: [Counter; RateScope::NAMES.len()],
    /// TLS handshakes.
    pub handshakes: HandshakeCounters,
    /// Gauge: open client connections (without the admin port's).
    pub client_connections: Counter,
    /// Gauge, not shown: client connections between two requests.
    pub resting_clients: Counter,
    /// Gauge: requests waiting for an upstream slot.
    pub queued_requests: Counter,
    /// Access log lines that were dropped because the log could not keep up.
    pub access_log_dropped: Counter,
}

/// What a worker publishes about its stalled exchanges at an upstream; times in milliseconds.
#[derive(Debug, Default)]
pub struct StallStats {
    /// When they were counted.
    pub counted_at: Counter,
    /// How many there were.
    pub count: Counter,
    /// Since when the longest of them has been stalled.
    pub since: Counter,
}

/// What one worker counts for one upstream.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct UpstreamStats {
    /// Attempts given to it.
    pub requests: Counter,
    /// Attempts after a request's first.
    pub retries: Counter,
    /// Its responses by class (index 0 is 1xx), including interim ones and those dropped for another attempt.
    pub responses: [Counter; 5],
    /// Indexed by `UpstreamErrorKind as usize`.
    pub errors: [Counter; UpstreamErrorKind::NAMES.len()],
    /// The time from sending the request to the response's head.
    pub duration: Histogram,
    /// Gauge: connections in use or being opened.
    pub active: Counter,
    /// Gauge: upgraded connections.
    pub tunnels: Counter,
    /// Not shown: exchanges whose clients do not take their answers, as of the last count.
    pub stalls: StallStats,
    /// Gauge: idle connections.
    pub idle: Counter,
}
