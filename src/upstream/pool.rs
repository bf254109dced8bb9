//! A pool: upstreams that share requests, and the queue of requests that wait for a place at any of them.

pub use super::pick::{ConnectionKind, Grant, NoGrant, PickRequest, Requirements, RetryChoice};
use super::reservation::Reservation;
use super::server::Server;
use crate::balance::{Ask, Balance, Balancer, View};
use crate::config::model;
use crate::guard::breaker::CircuitState;
use crate::guard::gate::WaitQueue;
use crate::guard::retry::Budget;
use crate::observe::quiet::Warnings;
use std::sync::Arc;

/// A pool of upstream servers.
#[derive(Debug)]
pub struct Pool {
    /// The name, which is the `pool` label of metrics.
    pub name: String,
    /// The servers in the order of the configuration.
    pub servers: Vec<Arc<Server>>,
    /// The queue of waiting requests.
    pub queue: WaitQueue,
    /// How many retries its requests may make; kept across reloads.
    pub budget: Arc<Budget>,
    /// Which warnings about it were logged, to limit their number.
    pub warnings: Warnings,
    pub(super) policy: Policy,
    balance: Balance,
}

/// The settings of a pool.
#[derive(Debug, PartialEq)]
pub(super) struct Policy {
    balance: model::BalanceConfig,
    weights: Vec<u32>,
    slow_start_ms: u32,
    pub(super) breaker: model::Breaker,
    /// How long a recovered server needs to pass its checks (milliseconds), if only the first has passed so far.
    recovery_ms: u64,
}

impl Policy {
    fn of(config: &model::PoolConfig) -> Self {
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

impl Pool {
    /// A pool of these servers.
    pub fn new(config: &model::PoolConfig, servers: Vec<Arc<Server>>, budget: Arc<Budget>) -> Self {
        let balance = Balance::new(&config.balance, &config.upstreams, fastrand::u32(..));
        let (name, warnings) = (config.name.clone(), Warnings::default());
        Self { name, servers, queue: WaitQueue::default(), budget, warnings, policy: Policy::of(config), balance }
    }

    /// Whether it is what the configuration describes.
    pub fn is(&self, config: &model::PoolConfig) -> bool {
        self.name == config.name && self.policy == Policy::of(config)
    }

    /// Picks a server. Called once for each attempt.
    pub fn pick(&self, seeker: PickRequest) -> Result<Grant, NoGrant> {
        let Requirements { now, most, needs, again, .. } = seeker.want;
        let must_wait = self.queue.has_any(|other| other.goes_before(needs));
        match if must_wait { None } else { self.grant(seeker, true) } {
            Some(grant) => Ok(grant),
            None if again == RetryChoice::Elsewhere => Err(NoGrant::Unavailable),
            None if needs.tunnel && self.is_up(now) && !self.has_tunnel(most) => Err(NoGrant::NoTunnel),
            None if must_wait || self.is_up(now) => Err(NoGrant::Full),
            None if !self.servers.is_empty() && !self.servers.iter().any(|server| server.is_resolved()) => Err(NoGrant::Unresolved),
            None => Err(NoGrant::Unavailable),
        }
    }

    /// Servers that failed the request, or that are in slow start, are passed over while there are others.
    pub(super) fn grant(&self, PickRequest { rng, key, want }: PickRequest, may_reuse: bool) -> Option<Grant> {
        let Requirements { now, tried, again, .. } = want;
        let slow_start_ms = self.policy.slow_start_ms;
        let chance = if slow_start_ms > 0 { rng.u64(..1 << 32) } else { 0 };
        let enter = |index: usize| {
            let is_idle = may_reuse && self.servers[index].cells[want.worker].idle.value() > 0;
            self.enter(index, if is_idle { ConnectionKind::Kept } else { ConnectionKind::New }, want)
        };
        let (mut granted, mut passed_over) = (None, false);
        let mut ask = Ask { view: &PoolSnapshot { pool: self, now }, rng, key };
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
            let is_out = again == RetryChoice::Elsewhere && tried.contains(&index);
            granted = if is_out { None } else { enter(index) };
            granted.is_some()
        });
        if granted.is_none() && again == RetryChoice::Regardless && !self.is_up(now) {
            self.balance.pick(&mut ask, |index| {
                granted = self.insist(index, want);
                granted.is_some()
            });
        }
        granted
    }

    /// Grants a server, if it has room. Only a complete request may be a trial.
    pub fn enter(&self, index: usize, entry: ConnectionKind, want: Requirements) -> Option<Grant> {
        let Requirements { needs, most, now, .. } = want;
        let server = &self.servers[index];
        if !server.is_usable() {
            return None;
        }
        let refused: &[usize] = if want.again == RetryChoice::Regardless { want.tried } else { &[] };
        self.wake(index, refused, now);
        let (permit, trial) = server.circuit.admit(&self.policy.breaker)?;
        let trial = Reservation::of_trial(server, trial);
        let mut reserved = match entry {
            _ if needs.is_partial && trial.is_trial() => None,
            ConnectionKind::New => Reservation::with_place(server, needs, most),
            ConnectionKind::Kept => Reservation::without_place(server, needs, most),
        }?;
        reserved.add_trial(trial);
        Some(Grant { server: index, permit, reserved })
    }

    /// Grants a server that failed the request before, although its circuit is open.
    fn insist(&self, index: usize, want: Requirements) -> Option<Grant> {
        let Requirements { needs, most, tried, .. } = want;
        let server = &self.servers[index];
        if !tried.contains(&index) || !server.is_usable() {
            return None;
        }
        let permit = server.circuit.insist()?;
        let reserved = Reservation::with_place(server, needs, most)?;
        Some(Grant { server: index, permit, reserved })
    }

    /// Notes how long a server took to answer, or has not answered; stored only if the balancing algorithm needs it.
    pub fn observe(&self, index: usize, micros: u64, now: u64) {
        if matches!(self.balance, Balance::Adaptive(_)) {
            self.servers[index].latency.observe(now, micros);
        }
    }

    /// Whether the circuit breaker counts that status as a failure.
    pub fn is_fault(&self, status: u16) -> bool {
        self.policy.breaker.failure_statuses.contains(status)
    }

    /// Whether some server takes requests, even if it is full now or on trial.
    pub fn is_up(&self, now: u64) -> bool {
        (0..self.servers.len()).any(|index| self.takes_requests_from(index, now))
    }

    /// The same for one server.
    pub(super) fn takes_requests_from(&self, index: usize, now: u64) -> bool {
        self.wake(index, &[], now);
        self.takes_requests(&self.servers[index])
    }

    /// Whether all servers that take requests are on trial.
    pub fn is_on_trial(&self, now: u64) -> bool {
        let mut usable = (0..self.servers.len()).filter(|index| self.takes_requests_from(*index, now)).peekable();
        usable.peek().is_some() && usable.all(|index| self.servers[index].circuit.state() == CircuitState::HalfOpen)
    }

    /// Whether a server is given requests, even if it is full now or on trial.
    pub(super) fn takes_requests(&self, server: &Server) -> bool {
        server.is_usable() && server.circuit.state() != CircuitState::Open
    }

    /// Whether its circuit would let a request through at this moment.
    pub(super) fn lets_through(&self, server: &Server) -> bool {
        server.is_usable() && server.circuit.would_admit(&self.policy.breaker)
    }

    /// Seconds until a server of a pool that is down may take requests again: at least 1.
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

/// The pool at one moment, as the balancing algorithm sees it.
struct PoolSnapshot<'a> {
    pool: &'a Pool,
    now: u64,
}

impl View for PoolSnapshot<'_> {
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
