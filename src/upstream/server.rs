//! One upstream server: what all workers share of it.

use crate::config::model::Upstream;
use crate::guard::gate::Gate;
use crate::health::state::Health;
use crate::observe::stats::UpstreamStats;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};

/// See the module. Everything in it is either fixed or atomic; the addresses are read only to dial.
#[derive(Debug)]
pub struct Server {
    /// As configured when it was made; its weight may have changed since.
    pub config: Upstream,
    /// `host:port`, as it stands in a `Host` field.
    pub authority: String,
    /// Connections open or being made, idle ones too.
    pub places: Gate,
    /// Its slot in every worker's table of idle connections: unique among the servers that live.
    pub slot: usize,
    /// One block of counters a worker.
    pub cells: Box<[UpstreamStats]>,
    /// What its checks say.
    pub health: Health,
    back_at: AtomicU64,
    addresses: Mutex<Arc<[SocketAddr]>>,
    next_address: AtomicUsize,
    resolved: AtomicBool,
    weight: AtomicU32,
    retired: AtomicBool,
}

impl Server {
    /// A server without addresses yet.
    pub fn new(config: Upstream, slot: usize, workers: usize) -> Self {
        let literal = config.host.parse::<std::net::Ipv6Addr>().is_ok();
        let authority = if literal { format!("[{}]:{}", config.host, config.port) } else { format!("{}:{}", config.host, config.port) };
        let server = Self {
            authority,
            places: Gate::default(),
            slot,
            cells: (0..workers).map(|_| UpstreamStats::default()).collect(),
            health: Health::default(),
            back_at: AtomicU64::new(0),
            addresses: Mutex::new(Arc::new([])),
            next_address: AtomicUsize::new(0),
            resolved: AtomicBool::new(false),
            weight: AtomicU32::new(config.weight),
            retired: AtomicBool::new(false),
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

    /// Whether it may be given new requests.
    pub fn is_usable(&self) -> bool {
        self.is_healthy() && self.weight.load(Relaxed) > 0
    }

    /// Whether it could answer, whatever its weight: what the pages and `backend_health` show.
    pub fn is_healthy(&self) -> bool {
        self.is_resolved() && !self.health.is_failing()
    }

    /// It was down, and takes requests again from now on (milliseconds of the process's clock).
    pub fn came_back(&self, now_ms: u64) {
        self.back_at.store(now_ms, Relaxed);
    }

    /// When it last came back; 0 = it was never down.
    pub fn back_at(&self) -> u64 {
        self.back_at.load(Relaxed)
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

    /// Takes the answer of a look-up; an empty one changes nothing.
    pub fn set_addresses(&self, addresses: &[SocketAddr]) {
        if !addresses.is_empty() {
            *self.addresses.lock().unwrap_or_else(PoisonError::into_inner) = addresses.into();
            self.resolved.store(true, Relaxed);
        }
    }

    /// Its addresses, and with which of them the next connection begins: each begins with the next.
    pub fn addresses(&self) -> (Arc<[SocketAddr]>, usize) {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let first = self.next_address.fetch_add(1, Relaxed) % addresses.len().max(1);
        (addresses, first)
    }
    /// One of its addresses: those of a name take turns by the number of the `turn`.
    pub fn address(&self, turn: usize) -> Option<SocketAddr> {
        let addresses = self.addresses.lock().unwrap_or_else(PoisonError::into_inner);
        addresses.get(turn % addresses.len().max(1)).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::health::check::Verdict;

    #[test]
    fn who_fails_its_checks_is_not_used_and_who_has_no_weight_is_still_healthy() {
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
        assert_eq!(is(), (false, true));
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
