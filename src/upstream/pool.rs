//! A pool: upstreams that share requests, and the one line of requests that wait for a place at any of them.

use super::server::{Fault, Server};
use crate::balance::{Ask, Balance, Balancer, View};
use crate::config::model;
use crate::guard::breaker::{Change, Permit, Verdict};
use crate::guard::gate::Line;
use crate::guard::places::{Most, Needs};
use crate::guard::retry::Budget;
use std::fmt;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub struct Pool {
    /// The `pool` label everywhere.
    pub name: String,
    /// In the order of the configuration.
    pub servers: Vec<Arc<Server>>,
    /// Requests that wait.
    pub line: Line,
    /// What its requests may spend on retries; a reload leaves it.
    pub budget: Arc<Budget>,
    policy: Policy,
    balance: Balance,
}

/// What a pool goes by.
#[derive(Debug, PartialEq)]
struct Policy {
    balance: model::Balance,
    weights: Vec<u32>,
    slow_start_ms: u32,
    breaker: model::Breaker,
    /// What it takes a server that fails its checks to pass them (milliseconds): all but the first may have to come yet.
    recovery_ms: u64,
}

impl Policy {
    fn of(config: &model::Pool) -> Self {
        Self {
            balance: config.balance.clone(),
            weights: config.upstreams.iter().map(|upstream| upstream.weight).collect(),
            slow_start_ms: config.slow_start_ms,
            breaker: config.breaker.clone(),
            recovery_ms: config
                .health_check
                .as_ref()
                .map_or(0, |check| u64::from(check.interval_ms) * u64::from(check.success_threshold.saturating_sub(1))),
        }
    }
}

/// Who looks for an upstream.
pub struct Seeker<'a> {
    /// Index of its worker.
    pub worker: usize,
    /// What each server may have.
    pub most: Most,
    /// Of the request; of those in line their own count.
    pub needs: Needs,
    /// Milliseconds.
    pub now: u64,
    /// Chance.
    pub rng: &'a mut fastrand::Rng,
    /// What `balance: consistent_hash` goes by.
    pub key: u64,
    /// Servers that have failed this request already: only if there is no other.
    pub tried: &'a [usize],
}

/// A server that a request was given. Each is settled once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Grant {
    /// Index in the pool.
    pub server: usize,
    /// This worker has an idle connection to it; otherwise a place was taken: dial.
    pub reuse: bool,
    /// Of its circuit.
    pub permit: Permit,
    /// What was taken there beyond a place: given back before the place is, or as soon as it is not needed any more.
    pub holds: Needs,
}

/// With what a request comes in at a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Entry {
    /// A place is taken for it.
    New,
    /// It gets a connection that has its place.
    Kept,
}

/// What a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// A server.
    Granted(Grant),
    /// Every usable server is full, or others wait already: stand in line.
    Full,
    /// No server that takes requests has room for a tunnel.
    NoTunnel,
    /// No server has an address.
    Unresolved,
    /// No server takes requests.
    Unavailable,
}

/// A circuit that has opened.
#[derive(Debug)]
pub struct OpenCircuit {
    /// Whose.
    pub pool: Arc<Pool>,
    /// Index in the pool.
    pub server: usize,
    /// When it becomes half-open (milliseconds).
    pub until: u64,
}

impl Pool {
    /// A pool of these servers.
    pub fn new(config: &model::Pool, servers: Vec<Arc<Server>>, budget: Arc<Budget>) -> Self {
        let balance = Balance::new(&config.balance, &config.upstreams);
        Self { name: config.name.clone(), servers, line: Line::default(), budget, policy: Policy::of(config), balance }
    }

    /// Whether this is what the configuration means.
    pub fn is(&self, config: &model::Pool) -> bool {
        self.name == config.name && self.policy == Policy::of(config)
    }

    /// Asked once an attempt.
    pub fn pick(&self, seeker: Seeker) -> Pick {
        let Seeker { now, most, needs, .. } = seeker;
        let must_wait = self.line.has_any(|other| other.goes_before(needs));
        match if must_wait { None } else { self.grant(seeker, true) } {
            Some(grant) => Pick::Granted(grant),
            None if needs.tunnel && self.is_up(now) && !self.has_tunnel(most) => Pick::NoTunnel,
            None if must_wait || self.is_up(now) => Pick::Full,
            None if !self.servers.is_empty() && !self.servers.iter().any(|server| server.is_resolved()) => Pick::Unresolved,
            None => Pick::Unavailable,
        }
    }

    /// Those that have failed the request, and those that are being ramped up, are passed over while there are others.
    pub(super) fn grant(&self, seeker: Seeker, may_reuse: bool) -> Option<Grant> {
        let Seeker { worker, most, needs, now, rng, key, tried } = seeker;
        let slow_start_ms = self.policy.slow_start_ms;
        let chance = if slow_start_ms > 0 { rng.u64(..1 << 32) } else { 0 };
        let enter = |index: usize| {
            let is_idle = may_reuse && self.servers[index].cells[worker].idle.value() > 0;
            self.enter(index, if is_idle { Entry::Kept } else { Entry::New }, most, needs, now)
        };
        let (mut granted, mut passed_over) = (None, false);
        let mut ask = Ask { view: &Moment { pool: self, now }, rng, key };
        self.balance.pick(&mut ask, |index| {
            if tried.contains(&index) || (slow_start_ms > 0 && self.servers[index].share(now, slow_start_ms) <= chance) {
                passed_over = true;
                return false;
            }
            granted = enter(index);
            granted.is_some()
        });
        if passed_over && granted.is_none() {
            self.balance.pick(&mut ask, |index| {
                granted = enter(index);
                granted.is_some()
            });
        }
        granted
    }

    /// Lets a request in at a server, if that has room for it.
    pub fn enter(&self, index: usize, entry: Entry, most: Most, needs: Needs, now: u64) -> Option<Grant> {
        let server = &self.servers[index];
        if !server.is_usable() {
            return None;
        }
        let permit = self.admit(index, now)?;
        let has_room = match entry {
            Entry::New => server.places.try_enter(needs, most),
            Entry::Kept => server.places.try_reserve(needs, most),
        };
        if has_room {
            return Some(Grant { server: index, reuse: entry == Entry::Kept, permit, holds: Needs { has_left: false, ..needs } });
        }
        server.circuit.settle(permit, Verdict::Unknown, &self.policy.breaker, now);
        None
    }

    /// Nobody uses what was granted. The place itself is the caller's to give back, for a connection may hold it.
    pub fn decline(&self, grant: Grant, now: u64) {
        self.settle(grant.server, grant.permit, Verdict::Unknown, now);
        self.servers[grant.server].places.give_back(grant.holds);
    }

    /// Lets an attempt through its server's circuit, if that lets it.
    pub fn admit(&self, index: usize, now: u64) -> Option<Permit> {
        self.wake(index, now);
        self.servers[index].circuit.admit(&self.policy.breaker)
    }

    /// A circuit whose time is over becomes half-open.
    pub fn wake(&self, index: usize, now: u64) {
        let server = &self.servers[index];
        if let Some(change) = server.circuit.wake(now) {
            self.tell(log::Level::Info, server, change, format_args!("circuit_breaker.timeout_ms is over"));
        }
    }

    /// An attempt has ended without a fault of its server. Says whether its circuit may let more through now.
    pub fn settle(&self, index: usize, permit: Permit, verdict: Verdict, now: u64) -> bool {
        let server = &self.servers[index];
        if verdict == Verdict::Success {
            server.note_success();
        }
        let change = server.circuit.settle(permit, verdict, &self.policy.breaker, now);
        if let Some(change) = change {
            server.came_back(now);
            let enough = self.policy.breaker.success_threshold;
            self.tell(log::Level::Info, server, change, format_args!("{enough} trial requests succeeded"));
        }
        change.is_some() || permit.is_trial()
    }

    /// An attempt has failed by its server's fault. Returns the circuit if that opened it: somebody has to wake it in time.
    pub fn blame(self: &Arc<Self>, index: usize, permit: Permit, fault: Fault, now: u64) -> Option<OpenCircuit> {
        let server = &self.servers[index];
        server.note_failure(fault);
        let change = server.circuit.settle(permit, Verdict::Failure, &self.policy.breaker, now)?;
        self.tell(log::Level::Warn, server, change, format_args!("{fault}, {} in a row", server.failures_in_a_row()));
        Some(OpenCircuit { pool: self.clone(), server: index, until: server.circuit.opens_until()? })
    }

    fn tell(&self, level: log::Level, server: &Server, Change { from, to }: Change, why: fmt::Arguments) {
        let (name, pool, from, to) = (&server.config.name, &self.name, from.name(), to.name());
        log::log!(level, "upstream {name} of pool {pool}: circuit {from} -> {to}: {why}");
    }

    /// A server has answered, or has let a request wait in vain, for so long; only a balance that goes by it writes it down.
    pub fn observe(&self, index: usize, micros: u64, now: u64) {
        if matches!(self.balance, Balance::Adaptive(_)) {
            self.servers[index].latency.observe(now, micros);
        }
    }

    /// Whether the breaker counts that status as a failure.
    pub fn is_fault(&self, status: u16) -> bool {
        self.policy.breaker.failure_statuses.contains(status)
    }

    /// Whether there is a server that takes requests, be it full now.
    pub fn is_up(&self, now: u64) -> bool {
        self.servers.iter().enumerate().any(|(index, server)| {
            self.wake(index, now);
            self.takes_requests(server)
        })
    }

    /// Whether it is given requests, be it full now.
    pub(super) fn takes_requests(&self, server: &Server) -> bool {
        server.is_usable() && server.circuit.would_admit(&self.policy.breaker)
    }

    /// Seconds until one of the servers may take requests again, of a pool that is down: at least 1.
    pub fn retry_after(&self, now: u64) -> u32 {
        let wait = |server: &Arc<Server>| {
            let of_circuit = server.circuit.opens_until().map_or(0, |until| until.saturating_sub(now));
            let of_checks = if server.health.is_failing() { self.policy.recovery_ms } else { 0 };
            of_circuit.max(of_checks)
        };
        let soonest = self.servers.iter().filter(|server| server.has_weight()).map(wait).min();
        soonest.unwrap_or_default().div_ceil(1000).clamp(1, u32::MAX.into()) as u32
    }
}

/// The pool as it is now.
struct Moment<'a> {
    pool: &'a Pool,
    now: u64,
}

impl View for Moment<'_> {
    fn load(&self, index: usize) -> u64 {
        self.pool.servers[index].in_flight()
    }

    fn latency(&self, index: usize) -> u64 {
        self.pool.servers[index].latency.value(self.now)
    }
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
