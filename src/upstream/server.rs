//! One upstream server: what all workers share of it.

use crate::balance::PeakEwma;
use crate::config::model::Upstream;
use crate::guard::breaker::{Circuit, State};
use crate::guard::places::Places;
use crate::health::state::Health;
use crate::observe::quiet::Warnings;
use crate::observe::reason::Reason;
use crate::observe::stats::UpstreamStats;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// See the module. Everything in it is either fixed or atomic; the addresses are read only to dial.
#[derive(Debug)]
pub struct Server {
    /// As configured when it was made; its weight may have changed since.
    pub config: Upstream,
    /// `host:port`, as it stands in a `Host` field.
    pub authority: String,
    /// Connections open or being made, idle ones too; and tunnels.
    pub places: Places,
    /// Its slot in every worker's table of idle connections: unique among the servers that live.
    pub slot: usize,
    /// One block of counters a worker.
    pub cells: Box<[UpstreamStats]>,
    /// Whether requests are let through to it.
    pub circuit: Circuit,
    /// How long it takes to answer, where the pool's balance asks.
    pub latency: PeakEwma,
    /// What its checks say.
    pub health: Health,
    /// What was told of it.
    pub warnings: Warnings,
    addresses: Mutex<Arc<[SocketAddr]>>,
    next_address: AtomicUsize,
    resolved: AtomicBool,
    weight: AtomicU32,
    retired: AtomicBool,
    /// How often its name has led to none of the addresses that it had before.
    life: AtomicU32,
    /// Until then its name is not looked up again for want of a connection (milliseconds).
    quiet_until: AtomicU64,
    failures_in_a_row: AtomicU32,
    /// A [`Fault`] in its number.
    last_fault: AtomicU32,
    /// When it came back (milliseconds); 0 = it was never away.
    back_at: AtomicU64,
}

/// What an upstream did wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// There was no answer, or none that could be used.
    Reason(Reason),
    /// It answered with a status of `circuit_breaker.failure_statuses`.
    Status(u16),
}

impl Fault {
    const STATUS: u32 = 1 << 16;

    /// Whether one request may have brought both about: a status is like another.
    pub fn is_like(self, other: Self) -> bool {
        self == other || matches!((self, other), (Self::Status(_), Self::Status(_)))
    }

    /// Not 0.
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

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Reason(reason) => f.write_str(reason.name()),
            Self::Status(status) => write!(f, "status {status}"),
        }
    }
}

impl Server {
    const LOOK_UP_MS: u64 = 1000;

    /// A server without addresses yet.
    pub fn new(config: Upstream, slot: usize, workers: usize) -> Self {
        let literal = config.host.parse::<std::net::Ipv6Addr>().is_ok();
        let authority = if literal { format!("[{}]:{}", config.host, config.port) } else { format!("{}:{}", config.host, config.port) };
        let server = Self {
            authority,
            places: Places::default(),
            slot,
            cells: (0..workers).map(|_| UpstreamStats::default()).collect(),
            health: Health::default(),
            warnings: Warnings::default(),
            addresses: Mutex::new(Arc::new([])),
            next_address: AtomicUsize::new(0),
            resolved: AtomicBool::new(false),
            weight: AtomicU32::new(config.weight),
            retired: AtomicBool::new(false),
            circuit: Circuit::default(),
            latency: PeakEwma::default(),
            life: AtomicU32::new(0),
            quiet_until: AtomicU64::new(0),
            failures_in_a_row: AtomicU32::new(0),
            last_fault: AtomicU32::new(0),
            back_at: AtomicU64::new(0),
            config,
        };
        if let Ok(ip) = server.config.host.parse() {
            server.set_addresses(&[SocketAddr::new(ip, server.config.port)]);
        }
        server
    }

    /// Whether there is an address to dial.
    pub fn is_resolved(&self) -> bool {
        self.resolved.load(Relaxed)
    }

    /// Whether it may be given new requests, if its circuit lets them through.
    pub fn is_usable(&self) -> bool {
        self.is_resolved() && !self.health.is_failing() && self.has_weight()
    }

    /// Its share of new requests.
    pub fn weight(&self) -> u32 {
        self.weight.load(Relaxed)
    }

    /// Whether it is to be given new requests at all.
    pub fn has_weight(&self) -> bool {
        self.weight() > 0
    }

    /// Whether requests are given to it, be it on trial: what the pages and `backend_health` show.
    pub fn is_healthy(&self) -> bool {
        self.is_usable() && self.circuit.state() != State::Open
    }

    /// Connections with an exchange on them, or being made, and tunnels, of all workers.
    pub fn in_flight(&self) -> u64 {
        self.cells.iter().map(|cell| cell.active.value() + cell.tunnels.value()).sum()
    }

    /// It served a request.
    pub fn note_success(&self) {
        // A store only where it changes something: the line is shared by all workers.
        if self.failures_in_a_row.load(Relaxed) != 0 {
            self.failures_in_a_row.store(0, Relaxed);
        }
    }

    /// It failed a request.
    pub fn note_failure(&self, fault: Fault) {
        self.failures_in_a_row.fetch_add(1, Relaxed);
        self.last_fault.store(fault.number(), Relaxed);
    }

    /// Requests that it failed since it served one.
    pub fn failures_in_a_row(&self) -> u32 {
        self.failures_in_a_row.load(Relaxed)
    }

    /// What it did wrong last.
    pub fn last_fault(&self) -> Option<Fault> {
        Fault::of(self.last_fault.load(Relaxed))
    }

    /// It takes requests again (milliseconds): `slow_start_ms` begins.
    pub fn came_back(&self, now: u64) {
        self.back_at.store(now.max(1), Relaxed);
    }

    /// Its share of what it would get, in parts of 2^32, `slow_start_ms` after it came back being all.
    pub fn share(&self, now: u64, slow_start_ms: u32) -> u64 {
        const ALL: u64 = 1 << 32;
        let back_at = self.back_at.load(Relaxed);
        let elapsed = now.saturating_sub(back_at);
        if back_at == 0 || elapsed >= u64::from(slow_start_ms) { ALL } else { elapsed * ALL / u64::from(slow_start_ms) }
    }

    /// Whether a configuration means this server: then it lives on, with all its state.
    pub fn is(&self, config: &Upstream) -> bool {
        let Upstream { name, host, port, tls, weight: _, is_checked: _ } = &self.config;
        (name, host, port, tls) == (&config.name, &config.host, &config.port, &config.tls)
    }

    /// Takes what may change while it lives on.
    pub fn update(&self, config: &Upstream) {
        self.weight.store(config.weight, Relaxed);
    }

    /// It is in no pool any more: its connections end with what they are doing.
    pub fn retire(&self) {
        self.retired.store(true, Relaxed);
    }

    /// See [`Server::retire`].
    pub fn is_retired(&self) -> bool {
        self.retired.load(Relaxed)
    }

    /// The name that leads to it; `None` if it was given as an address.
    pub fn host_name(&self) -> Option<&str> {
        let host = &self.config.host;
        host.parse::<IpAddr>().is_err().then_some(host)
    }

    /// Takes the answer of a look-up. Returns the former addresses if these are others, whatever their order; an empty answer
    /// changes nothing.
    pub fn set_addresses(&self, addresses: &[SocketAddr]) -> Option<Arc<[SocketAddr]>> {
        let mut current = self.lock();
        if addresses.is_empty() || sorted(&current) == sorted(addresses) {
            return None;
        }
        let former = std::mem::replace(&mut *current, addresses.into());
        self.resolved.store(true, Relaxed);
        if !former.is_empty() && !former.iter().any(|address| addresses.contains(address)) {
            self.begin_anew();
        }
        Some(former)
    }

    /// Verdicts were about machines that its name leads to no more.
    fn begin_anew(&self) {
        self.life.fetch_add(1, SeqCst);
        self.circuit.reset();
        self.health.forget();
        self.failures_in_a_row.store(0, Relaxed);
        self.last_fault.store(0, Relaxed);
        self.latency.forget();
    }

    /// A number that changes when its name leads to none of the addresses that it had before.
    pub fn life(&self) -> u32 {
        self.life.load(SeqCst)
    }

    /// None of its addresses takes a connection. Says whether its name is to be looked up for that, which it is once a second.
    pub fn wants_look_up(&self, now: u64) -> bool {
        let quiet_until = self.quiet_until.load(Relaxed);
        now >= quiet_until && self.quiet_until.compare_exchange(quiet_until, now + Self::LOOK_UP_MS, Relaxed, Relaxed).is_ok()
    }

    /// Its addresses.
    pub fn addresses(&self) -> Arc<[SocketAddr]> {
        self.lock().clone()
    }

    /// Its addresses, and with which of them the next connection begins: each begins with the next.
    pub fn addresses_in_turn(&self) -> (Arc<[SocketAddr]>, usize) {
        let addresses = self.addresses();
        let first = self.next_address.fetch_add(1, Relaxed) % addresses.len().max(1);
        (addresses, first)
    }

    /// One of its addresses: those of a name take turns by the number of the `turn`.
    pub fn address(&self, turn: usize) -> Option<SocketAddr> {
        let addresses = self.lock();
        addresses.get(turn % addresses.len().max(1)).copied()
    }

    fn lock(&self) -> MutexGuard<'_, Arc<[SocketAddr]>> {
        self.addresses.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn sorted(addresses: &[SocketAddr]) -> Vec<SocketAddr> {
    let mut sorted = addresses.to_vec();
    sorted.sort_unstable();
    sorted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::check::Verdict;

    #[test]
    fn who_fails_its_checks_or_has_no_weight_is_not_used() {
        let config = |weight| Upstream { name: "a".into(), host: "127.0.0.1".into(), port: 1, tls: false, weight, is_checked: true };
        let server = Server::new(config(1), 0, 1);
        let is = || (server.is_usable(), server.is_healthy());
        assert_eq!(is(), (true, true));
        server.health.set_checked(true);
        assert_eq!(is(), (true, true));
        server.health.set_verdict(Verdict::Failing);
        assert_eq!(is(), (false, false));
        server.health.set_verdict(Verdict::Passing);
        server.update(&config(0));
        assert_eq!((is(), server.weight()), ((false, false), 0));
    }

    #[test]
    fn addresses_by_their_number() {
        let config = Upstream { name: "a".into(), host: "name.invalid".into(), port: 1, tls: false, weight: 1, is_checked: true };
        let server = Server::new(config, 0, 1);
        assert_eq!(server.address(5), None);
        let addresses = [1, 2].map(|last| SocketAddr::from(([10, 0, 0, last], 1)));
        server.set_addresses(&addresses);
        assert_eq!([0, 1, 2].map(|turn| server.address(turn)), [Some(addresses[0]), Some(addresses[1]), Some(addresses[0])]);
    }
}
