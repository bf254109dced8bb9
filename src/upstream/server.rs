//! One upstream server: the state that all workers share.

use super::names::Share;
use crate::balance::PeakEwma;
use crate::base::address::Address;
use crate::config::model::{Origin, PoolLimits, UpstreamConfig};
use crate::guard::breaker::{Circuit, CircuitState};
use crate::guard::places::{Needs, Places, UpstreamLimits};
use crate::health::state::Health;
use crate::observe::quiet::Warnings;
use crate::observe::reason::Reason;
use crate::observe::stats::UpstreamStats;
use std::fmt;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};

/// An upstream server: one address of an upstream. Everything in it is fixed or atomic.
#[derive(Debug)]
pub struct Server {
    /// The configuration with which it was made; its weight may have changed since.
    pub config: UpstreamConfig,
    /// Where it is dialled; `None` as long as its name leads nowhere.
    pub address: Option<Address>,
    /// What stands in a `Host` field: `host:port`, and `localhost` for a Unix socket.
    pub authority: String,
    /// Its connections, including idle ones and those being opened, and its tunnels.
    pub places: Places,
    /// Its slot in every worker's table of idle connections: unique among existing servers.
    pub slot: usize,
    /// Its counters, one block for each worker.
    pub cells: Box<[UpstreamStats]>,
    /// The circuit, which decides whether it gets requests.
    pub circuit: Circuit,
    /// How long it takes to answer; kept only where the balancing algorithm needs it.
    pub latency: PeakEwma,
    /// The verdict of its health checks.
    pub health: Health,
    /// Which warnings about it were logged, to limit their number.
    pub warnings: Warnings,
    weight: AtomicU32,
    /// What SRV records say of it.
    rank: AtomicU32,
    /// Connections, tunnels, and idle connections of each worker; without limits until [`Server::set_limits`].
    limits: [AtomicUsize; 3],
    retired: AtomicBool,
    /// Until then (milliseconds) it is the last to be tried, because it let a connect go unanswered; 0 if it did not.
    avoided_until: AtomicU64,
    /// Until then (milliseconds) failed connections do not cause another look-up of its name.
    quiet_until: AtomicU64,
    failures_in_a_row: AtomicU32,
    /// The last [`UpstreamFault`], as a number.
    last_fault: AtomicU32,
    /// When it came back into use (milliseconds); 0 = it was never out of use.
    back_at: AtomicU64,
}

/// What an upstream did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamFault {
    /// There was no answer, or no valid one.
    Reason(Reason),
    /// It answered with a status of `circuit_breaker.failure_statuses`.
    Status(u16),
}

impl UpstreamFault {
    const STATUS: u32 = 1 << 16;

    /// Whether both are of one kind: all statuses are.
    pub fn is_like(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Status(_), Self::Status(_)))
    }

    /// The fault as a number other than 0.
    fn number(self) -> u32 {
        match self {
            Self::Reason(reason) => reason as u32 + 1,
            Self::Status(status) => Self::STATUS | u32::from(status),
        }
    }

    fn of(number: u32) -> Option<Self> {
        if number & Self::STATUS != 0 {
            return Some(Self::Status(number as u16));
        }
        Reason::ALL.get((number as usize).checked_sub(1)?).copied().map(Self::Reason)
    }
}

impl fmt::Display for UpstreamFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reason(reason) => f.write_str(reason.name()),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

impl Server {
    const LOOK_UP_MS: u64 = 1000;

    /// A server at that address.
    pub fn new(config: UpstreamConfig, address: Option<Address>, slot: usize, workers: usize) -> Self {
        let authority = match &config.origin {
            tcp @ Origin::Tcp { .. } => tcp.to_string(),
            // Its targets are asked for what the whole name stands for.
            Origin::Srv(_) => config.origin.domain().to_owned(),
            Origin::Unix(_) => "localhost".to_owned(),
        };
        Self {
            address,
            authority,
            places: Places::default(),
            slot,
            cells: (0..workers).map(|_| UpstreamStats::default()).collect(),
            health: Health::default(),
            warnings: Warnings::default(),
            weight: AtomicU32::new(config.weight),
            rank: AtomicU32::new(Share::WHOLE.rank),
            limits: std::array::from_fn(|_| AtomicUsize::new(usize::MAX)),
            retired: AtomicBool::new(false),
            circuit: Circuit::default(),
            latency: PeakEwma::default(),
            avoided_until: AtomicU64::new(0),
            quiet_until: AtomicU64::new(0),
            failures_in_a_row: AtomicU32::new(0),
            last_fault: AtomicU32::new(0),
            back_at: AtomicU64::new(0),
            config,
        }
    }

    /// Whether there is an address to connect to.
    pub fn is_resolved(&self) -> bool {
        self.address.is_some()
    }

    /// Whether it may get new requests, if its circuit allows it.
    pub fn is_usable(&self) -> bool {
        self.is_resolved() && !self.health.is_failing() && self.has_weight()
    }

    /// Its weight, which determines its share of requests.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Whether its weight is not 0.
    pub fn has_weight(&self) -> bool {
        self.weight() > 0
    }

    /// Whether it gets requests, even if only trial requests: what the pages and `backend_health` show.
    pub fn is_healthy(&self) -> bool {
        self.is_usable() && self.circuit.state() != CircuitState::Open
    }

    /// Connections in use or being opened, and tunnels, of all workers.
    pub fn in_flight(&self) -> u64 {
        self.cells.iter().map(|cell| cell.active.value() + cell.tunnels.value()).sum()
    }

    /// Notes that it served a request.
    pub fn note_success(&self) {
        // Written only if it changes, because all workers share the cache line.
        if self.failures_in_a_row.load(Relaxed) != 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
    }

    /// Notes that it failed a request.
    pub fn note_failure(&self, fault: UpstreamFault) {
        self.failures_in_a_row.fetch_add(1, Relaxed);
        self.last_fault.store(fault.number(), Relaxed);
    }

    /// How many requests it has failed since it last served one.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Relaxed)
    }

    /// The last fault.
    pub fn last_fault(&self) -> Option<UpstreamFault> {
        UpstreamFault::of(self.last_fault.load(Relaxed))
    }

    /// It takes requests again (milliseconds), so `slow_start_ms` begins.
    pub fn came_back(&self, now: u64) {
        self.back_at.store(now.max(1), Relaxed);
    }

    /// The part of its share that it gets during `slow_start_ms`, out of 2^32.
    pub fn share(&self, now: u64, slow_start_ms: u32) -> u64 {
        const ALL: u64 = 1 << 32;
        let back_at = self.back_at.load(Relaxed);
        let elapsed = now.saturating_sub(back_at);
        if back_at == 0 || elapsed >= u64::from(slow_start_ms) { ALL } else { elapsed * ALL / u64::from(slow_start_ms) }
    }

    /// Whether it is of this upstream: then a reload keeps it, with all its state, as long as its address is one of the upstream's.
    pub fn is(&self, config: &UpstreamConfig) -> bool {
        let UpstreamConfig { name, origin, weight: _, is_checked: _, is_backup, send_proxy } = &self.config;
        (name, origin, is_backup, send_proxy) == (&config.name, &config.origin, &config.is_backup, &config.send_proxy)
    }

    /// It gets requests only while no server of a lower rank is usable. Backups come after all others. A pool has the ranks of its
    /// servers by heart, so that those of a pool that is replaced do not change.
    pub fn rank(&self) -> u32 {
        let of_backups = if self.config.is_backup { Share::LAST + 1 } else { 0 };
        of_backups + self.rank.load(Relaxed)
    }

    /// Takes over what may change: its configuration in a reload, its share with every look-up.
    pub fn update(&self, config: &UpstreamConfig, share: Share) {
        self.weight.store(config.weight * share.weight, Relaxed);
        self.rank.store(share.rank, Relaxed);
    }

    /// Sets its limits, which are those of its pool.
    pub fn set_limits(&self, limits: &PoolLimits) {
        let values = [limits.max_conns_per_upstream, limits.max_tunnels_per_upstream, limits.upstream_idle_conns];
        self.limits.iter().zip(values).for_each(|(limit, value)| limit.store(value, Relaxed));
    }

    /// How many connections and tunnels it may have.
    pub fn most(&self) -> UpstreamLimits {
        let [connections, tunnels, _] = &self.limits;
        UpstreamLimits { connections: connections.load(Relaxed), tunnels: tunnels.load(Relaxed) }
    }

    /// How many idle connections each worker may keep.
    pub fn most_idle(&self) -> usize {
        self.limits[2].load(Relaxed)
    }

    /// Whether there is room for what a request needs besides a place.
    pub fn has_room(&self, needs: Needs) -> bool {
        self.places.has_room(needs, self.most())
    }

    /// It is no longer in any pool: its connections are closed after what they are doing.
    pub fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// It is in a pool, again if it was retired.
    pub fn revive(&self) {
        self.retired.store(false, Relaxed);
    }

    /// Whether it was retired.
    pub fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// Its host name; `None` if it was configured as an address.
    pub fn host_name(&self) -> Option<&str> {
        self.config.origin.name()
    }

    /// A connect went unanswered: for so long (milliseconds) others are tried first.
    pub fn avoid(&self, now: u64, ms: u32) {
        self.avoided_until.store(now + u64::from(ms).max(1), Relaxed);
    }

    /// A connection was made: it is tried like the others.
    pub fn welcome(&self) {
        if self.avoided_until.load(Relaxed) != 0 {
            self.avoided_until.store(0, Relaxed);
        }
    }

    /// Takes its turn, unless others are to be tried first. Once that time is over, one request finds out whether it is still so.
    pub fn claim_turn(&self, now: u64, ms: u32) -> bool {
        let until = self.avoided_until.load(Relaxed);
        until == 0 || now >= until && self.avoided_until.compare_exchange(until, now + u64::from(ms).max(1), Relaxed, Relaxed).is_ok()
    }

    /// Whether a connect to it went unanswered, and none has succeeded since.
    pub fn is_doubtful(&self) -> bool {
        self.avoided_until.load(Relaxed) != 0
    }

    /// It does not accept a connection. Returns whether its name is to be looked up, at most once a second.
    pub fn claim_look_up(&self, now: u64) -> bool {
        let quiet_until = self.quiet_until.load(Relaxed);
        now >= quiet_until && self.quiet_until.compare_exchange(quiet_until, now + Self::LOOK_UP_MS, Relaxed, Relaxed).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::check::HealthVerdict;

    #[test]
    fn who_fails_its_checks_or_has_no_weight_is_not_used() {
        let config = |weight| UpstreamConfig {
            name: "a".into(),
            origin: Origin::tcp("127.0.0.1", 1),
            weight,
            is_checked: true,
            is_backup: false,
            send_proxy: None,
        };
        let server = Server::new(config(1), Origin::tcp("127.0.0.1", 1).address(), 0, 1);
        let is = || (server.is_usable(), server.is_healthy());
        assert_eq!(is(), (true, true));
        server.health.set_checked(true);
        assert_eq!(is(), (true, true));
        server.health.set_verdict(HealthVerdict::Failing);
        assert_eq!(is(), (false, false));
        server.health.set_verdict(HealthVerdict::Passing);
        server.update(&config(0), Share::WHOLE);
        assert_eq!((is(), server.weight()), ((false, false), 0));
    }

    #[test]
    fn one_request_finds_out_whether_an_address_that_swallowed_a_connection_still_does() {
        let config = UpstreamConfig {
            name: "a".into(),
            origin: Origin::tcp("127.0.0.1", 1),
            weight: 1,
            is_checked: true,
            is_backup: false,
            send_proxy: None,
        };
        let server = Server::new(config, None, 0, 1);
        assert!(server.claim_turn(0, 100) && !server.is_doubtful());
        server.avoid(1000, 100);
        assert_eq!([1000, 1099, 1100, 1101, 1200].map(|now| server.claim_turn(now, 100)), [false, false, true, false, true]);
        server.welcome();
        assert!(server.claim_turn(1201, 100) && !server.is_doubtful());
    }
}
