//! A pool: upstreams that share requests, and the one line of requests that wait for a place at any of them.

use super::server::Server;
use crate::balance::{Ask, Balance, Balancer, View};
use crate::config::model;
use crate::guard::breaker::{Permit, State, Verdict};
use crate::guard::gate::Line;
use crate::guard::places::{Most, Needs};
use crate::guard::retry::Budget;
use crate::observe::quiet::Warnings;
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
    /// What was told of it.
    pub warnings: Warnings,
    pub(super) policy: Policy,
    balance: Balance,
}

/// What a pool goes by.
#[derive(Debug, PartialEq)]
pub(super) struct Policy {
    balance: model::Balance,
    weights: Vec<u32>,
    slow_start_ms: u32,
    pub(super) breaker: model::Breaker,
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
    /// Chance.
    pub rng: &'a mut fastrand::Rng,
    /// What `balance: consistent_hash` goes by.
    pub key: u64,
    /// Which will do.
    pub want: Want<'a>,
}

/// What is wanted of an upstream.
#[derive(Clone, Copy)]
pub struct Want<'a> {
    /// Index of the worker that asks.
    pub worker: usize,
    /// What each server may have.
    pub most: Most,
    /// Of the request; of those in line their own count.
    pub needs: Needs,
    /// Milliseconds.
    pub now: u64,
    /// Servers that have failed this request already: only if there is no other.
    pub tried: &'a [usize],
    /// Where it may go after that.
    pub again: Again,
}

/// Where a request that has failed may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Again {
    /// To any server that takes requests.
    #[default]
    Anywhere,
    /// Likewise; and where none does, to one that refused it before, though that has opened its circuit.
    Regardless,
    /// To a server that it has not tried.
    Elsewhere,
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
    /// No server takes requests, or none that it may go to.
    Unavailable,
}

impl Pool {
    /// A pool of these servers.
    pub fn new(config: &model::Pool, servers: Vec<Arc<Server>>, budget: Arc<Budget>) -> Self {
        let balance = Balance::new(&config.balance, &config.upstreams, fastrand::u32(..));
        let (name, warnings) = (config.name.clone(), Warnings::default());
        Self { name, servers, line: Line::default(), budget, warnings, policy: Policy::of(config), balance }
    }

    /// Whether this is what the configuration means.
    pub fn is(&self, config: &model::Pool) -> bool {
        self.name == config.name && self.policy == Policy::of(config)
    }

    /// Asked once an attempt.
    pub fn pick(&self, seeker: Seeker) -> Pick {
        let Want { now, most, needs, again, .. } = seeker.want;
        let must_wait = self.line.has_any(|other| other.goes_before(needs));
        match if must_wait { None } else { self.grant(seeker, true) } {
            Some(grant) => Pick::Granted(grant),
            None if again == Again::Elsewhere => Pick::Unavailable,
            None if needs.tunnel && self.is_up(now) && !self.has_tunnel(most) => Pick::NoTunnel,
            None if must_wait || self.is_up(now) => Pick::Full,
            None if !self.servers.is_empty() && !self.servers.iter().any(|server| server.is_resolved()) => Pick::Unresolved,
            None => Pick::Unavailable,
        }
    }

    /// Those that have failed the request, and those that are being ramped up, are passed over while there are others.
    pub(super) fn grant(&self, Seeker { rng, key, want }: Seeker, may_reuse: bool) -> Option<Grant> {
        let Want { now, tried, again, .. } = want;
        let slow_start_ms = self.policy.slow_start_ms;
        let chance = if slow_start_ms > 0 { rng.u64(..1 << 32) } else { 0 };
        let enter = |index: usize| {
            let is_idle = may_reuse && self.servers[index].cells[want.worker].idle.value() > 0;
            self.enter(index, if is_idle { Entry::Kept } else { Entry::New }, want)
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
        if granted.is_some() || !passed_over {
            return granted;
        }
        self.balance.pick(&mut ask, |index| {
            let is_out = again == Again::Elsewhere && tried.contains(&index);
            granted = if is_out { None } else { enter(index) };
            granted.is_some()
        });
        if granted.is_none() && again == Again::Regardless && !self.is_up(now) {
            self.balance.pick(&mut ask, |index| {
                granted = self.insist(index, want);
                granted.is_some()
            });
        }
        granted
    }

    /// Lets a request in at a server, if that has room for it. A trial is for who is ready.
    pub fn enter(&self, index: usize, entry: Entry, want: Want) -> Option<Grant> {
        let Want { needs, most, now, .. } = want;
        let server = &self.servers[index];
        if !server.is_usable() {
            return None;
        }
        let refused: &[usize] = if want.again == Again::Regardless { want.tried } else { &[] };
        self.wake(index, refused, now);
        let permit = server.circuit.admit(&self.policy.breaker)?;
        let has_room = match entry {
            _ if needs.is_partial && permit.is_trial() => false,
            Entry::New => server.places.try_enter(needs, most),
            Entry::Kept => server.places.try_reserve(needs, most),
        };
        if has_room {
            return Some(Grant { server: index, reuse: entry == Entry::Kept, permit, holds: Needs { has_left: false, ..needs } });
        }
        server.circuit.settle(permit, Verdict::Unknown, &self.policy.breaker, now);
        None
    }

    /// It goes where it was refused, though the circuit is open.
    fn insist(&self, index: usize, want: Want) -> Option<Grant> {
        let Want { needs, most, tried, .. } = want;
        let server = &self.servers[index];
        if !tried.contains(&index) || !server.is_usable() {
            return None;
        }
        let permit = server.circuit.insist()?;
        let holds = Needs { has_left: false, ..needs };
        server.places.try_enter(needs, most).then_some(Grant { server: index, reuse: false, permit, holds })
    }

    /// Nobody uses what was granted. The place itself is the caller's to give back, for a connection may hold it.
    pub fn decline(&self, grant: Grant, now: u64) {
        self.settle(grant.server, grant.permit, Verdict::Unknown, now);
        self.servers[grant.server].places.give_back(grant.holds);
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

    /// Whether there is a server that takes requests, be it full now, or on trial.
    pub fn is_up(&self, now: u64) -> bool {
        (0..self.servers.len()).any(|index| self.takes_requests_from(index, now))
    }

    /// Likewise of that server.
    pub(super) fn takes_requests_from(&self, index: usize, now: u64) -> bool {
        self.wake(index, &[], now);
        self.takes_requests(&self.servers[index])
    }

    /// Whether all servers that take requests are on trial.
    pub fn is_on_trial(&self, now: u64) -> bool {
        let mut usable = (0..self.servers.len()).filter(|index| self.takes_requests_from(*index, now)).peekable();
        usable.peek().is_some() && usable.all(|index| self.servers[index].circuit.state() == State::HalfOpen)
    }

    /// Whether it is given requests, be it full now, or on trial.
    pub(super) fn takes_requests(&self, server: &Server) -> bool {
        server.is_usable() && server.circuit.state() != State::Open
    }

    /// Whether its circuit lets one through at this moment.
    pub(super) fn lets_through(&self, server: &Server) -> bool {
        server.is_usable() && server.circuit.would_admit(&self.policy.breaker)
    }

    /// Seconds until one of the servers may take requests again, of a pool that is down: at least 1.
    pub fn retry_after(&self, now: u64) -> u32 {
        let wait = |(index, server): (usize, &Arc<Server>)| {
            let of_circuit = self.wakes_at(index).map_or(0, |at| at.saturating_sub(now));
            let of_checks = if server.health.is_failing() { self.policy.recovery_ms } else { 0 };
            of_circuit.max(of_checks)
        };
        let soonest = self.servers.iter().enumerate().filter(|(_, server)| server.has_weight()).map(wait).min();
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
