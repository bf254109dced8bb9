//! A pool: upstreams that share requests, and the queue of requests that wait for a place at any of them.

use super::names::Share;
pub use super::pick::{ConnectionKind, Grant, NoGrant, PickRequest, Requirements, RetryChoice, SessionPick};
use super::reservation::Reservation;
use super::server::Server;
use super::sticky::{Secret, Sticky};
use crate::balance::{Ask, Balance, Balancer, Member, View};
use crate::config::model::{self, Origin};
use crate::guard::breaker::CircuitState;
use crate::guard::retry::Budget;
use crate::guard::wait_queue::WaitQueue;
use crate::observe::quiet::Warnings;
use crate::tls::client::{ClientTls, Departure};
use std::collections::BTreeSet;
use std::io;
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;

/// A pool of upstream servers.
#[derive(Debug)]
pub struct Pool {
    /// The name, which is the `pool` label of metrics.
    pub name: String,
    /// The servers in the order of the configuration; those of one upstream are its addresses, in their order.
    pub servers: Vec<Arc<Server>>,
    /// What logs call them: the upstream's name, with the address where it has several.
    labels: Vec<String>,
    /// For each server, which ones are of the same upstream.
    siblings: Vec<Range<usize>>,
    /// The queue of waiting requests.
    pub queue: WaitQueue,
    /// How many retries its requests may make; kept across reloads.
    pub budget: Arc<Budget>,
    /// Which warnings about it were logged, to limit their number.
    pub warnings: Warnings,
    pub(super) policy: Policy,
    balance: Balance,
    /// For the servers of each later rank, which are used only while no earlier one is sound.
    backups: Vec<(u32, Balance)>,
    /// The share of each server, which the balances were made for.
    shares: Vec<Share>,
    /// A server that was in use when one was looked for.
    pub(super) in_use: AtomicUsize,
    /// Its sticky sessions, if it has such.
    pub sticky: Option<Sticky>,
    /// TLS to those of its servers that speak it.
    pub tls: Option<Arc<ClientTls>>,
}

/// The settings of a pool.
#[derive(Debug, PartialEq)]
pub(super) struct Policy {
    balance: model::BalanceConfig,
    weights: Vec<u32>,
    slow_start_ms: u32,
    sticky: Option<model::StickyConfig>,
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
            sticky: config.sticky.clone(),
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
    pub fn new(config: &model::PoolConfig, servers: Vec<Arc<Server>>, budget: Arc<Budget>, secret: &Secret) -> Self {
        let start = fastrand::u32(..);
        let balance = |rank: u32| Balance::new(&config.balance, &members(&servers, |server| server.rank() == rank), start);
        let later: BTreeSet<u32> = servers.iter().map(|server| server.rank()).filter(|&rank| rank > 0).collect();
        let siblings = siblings(&servers);
        Self {
            name: config.name.clone(),
            labels: servers.iter().zip(&siblings).map(|(server, siblings)| label(server, siblings.len() > 1)).collect(),
            siblings,
            queue: WaitQueue::new(servers.len()),
            budget,
            warnings: Warnings::default(),
            policy: Policy::of(config),
            balance: balance(0),
            backups: later.into_iter().map(|rank| (rank, balance(rank))).collect(),
            shares: shares(&servers),
            in_use: AtomicUsize::new(0),
            sticky: config.sticky.as_ref().map(|sticky| Sticky::new(sticky, secret, &config.name, &servers)),
            tls: config.tls.clone(),
            servers,
        }
    }

    /// Goes on with the TLS sessions of an earlier pool, if nothing about them has changed.
    pub fn with_sessions_of(mut self, former: Option<&Self>) -> Self {
        let kept = former.filter(|former| former.tls == self.tls).and_then(|former| former.tls.clone());
        self.tls = kept.or(self.tls);
        self
    }

    /// What a connection to this server begins TLS with, if it does. A server that is to be spoken to by TLS, without what that needs, is
    /// an error: it is never spoken to in plain text.
    pub fn departure(&self, server: &Server) -> io::Result<Option<Departure>> {
        let Origin::Tcp { host, tls: true, .. } = &server.config.origin else { return Ok(None) };
        let found = self.tls.as_ref().and_then(|tls| tls.towards(host));
        found.map(Some).ok_or_else(|| io::Error::new(io::ErrorKind::InvalidInput, "an upstream by https:// without settings for TLS"))
    }

    /// The servers of each upstream.
    pub fn upstreams(&self) -> impl Iterator<Item = &[Arc<Server>]> {
        let firsts = self.siblings.iter().enumerate().filter(|(index, siblings)| siblings.start == *index);
        firsts.map(|(_, siblings)| &self.servers[siblings.clone()])
    }

    /// What logs call a server.
    pub fn label(&self, index: usize) -> &str {
        &self.labels[index]
    }

    /// The index of a server, if it is in the pool.
    pub fn index_of(&self, server: &Arc<Server>) -> Option<usize> {
        self.servers.iter().position(|other| Arc::ptr_eq(other, server))
    }

    /// Whether it is what the configuration and these servers describe.
    pub fn is(&self, config: &model::PoolConfig, servers: &[Arc<Server>]) -> bool {
        let same = |(old, new): (&Arc<Server>, &Arc<Server>)| Arc::ptr_eq(old, new);
        let has_servers = self.servers.len() == servers.len() && self.servers.iter().zip(servers).all(same);
        self.name == config.name
            && self.policy == Policy::of(config)
            && self.tls == config.tls
            && has_servers
            && self.shares == shares(servers)
    }

    /// Picks a server. Called once for each attempt.
    pub fn pick(&self, seeker: PickRequest) -> Result<Grant, NoGrant> {
        let Requirements { now, needs, again, .. } = seeker.want;
        let must_wait = self.queue.has_any(|other| other.goes_before(needs));
        match if must_wait { None } else { self.grant(seeker, true) } {
            Some(grant) => Ok(grant),
            None if again == RetryChoice::Elsewhere => Err(NoGrant::Unavailable),
            None if needs.tunnel && self.is_up(now) && !self.has_tunnel() => Err(NoGrant::NoTunnel),
            None if must_wait || self.is_up(now) => Err(NoGrant::Full),
            None if !self.servers.is_empty() && !self.servers.iter().any(|server| server.is_resolved()) => Err(NoGrant::Unresolved),
            None => Err(NoGrant::Unavailable),
        }
    }

    /// Grants a server: a backup only if no other is to be had. `is_new`: it has not waited yet, and comes after those who wait; one that
    /// has waited gets a place for a new connection.
    pub(super) fn grant(&self, PickRequest { rng, key, want }: PickRequest, is_new: bool) -> Option<Grant> {
        let mut ask = Ask { view: &PoolSnapshot { pool: self, now: want.now }, rng, key };
        let granted = self.grant_of::<false>(&self.balance, &mut ask, want, is_new);
        if granted.is_some() { granted } else { self.grant_otherwise(&mut ask, want, is_new) }
    }

    #[cold]
    fn grant_otherwise(&self, ask: &mut Ask<PoolSnapshot>, want: Requirements, is_new: bool) -> Option<Grant> {
        let last = self.last_rank();
        let mut backups = self.backups.iter().filter(|(rank, _)| *rank <= last);
        let backup = backups.find_map(|(_, balance)| self.grant_of::<true>(balance, ask, want, is_new));
        let is_insisted_on = backup.is_none() && want.again == RetryChoice::Regardless;
        if is_insisted_on { self.insist_on_any(ask, want) } else { backup }
    }

    /// Servers that failed the request, that are in slow start, or that have swallowed a connection are passed over while there are
    /// others. Compiled once for backups and once for the others, which nearly all requests go to.
    #[inline]
    fn grant_of<const BACKUPS: bool>(
        &self,
        balance: &Balance,
        ask: &mut Ask<PoolSnapshot>,
        want: Requirements,
        is_new: bool,
    ) -> Option<Grant> {
        let slow_start_ms = self.policy.slow_start_ms;
        let chance = if slow_start_ms > 0 { ask.rng.u64(..1 << 32) } else { 0 };
        let (mut granted, mut passed_over) = (None, false);
        balance.pick(ask, |index| {
            let server = &self.servers[index];
            if want.tried.contains(&index)
                || (slow_start_ms > 0 && server.share(want.now, slow_start_ms) <= chance)
                || !server.claim_turn(want.now, self.avoid_ms())
            {
                passed_over = true;
                return false;
            }
            granted = self.enter_in_turn(index, want, is_new);
            granted.is_some()
        });
        if granted.is_some() || !passed_over { granted } else { self.grant_passed_over(balance, ask, want, is_new) }
    }

    #[cold]
    fn grant_passed_over(&self, balance: &Balance, ask: &mut Ask<PoolSnapshot>, want: Requirements, is_new: bool) -> Option<Grant> {
        let mut granted = None;
        balance.pick(ask, |index| {
            let is_out = want.again == RetryChoice::Elsewhere && want.tried.contains(&index);
            granted = if is_out { None } else { self.enter_in_turn(index, want, is_new) };
            granted.is_some()
        });
        granted
    }

    /// Grants a server, unless others wait for it that come before a newcomer. One that has waited itself gets a place for a new
    /// connection.
    #[inline(always)]
    fn enter_in_turn(&self, index: usize, want: Requirements, is_new: bool) -> Option<Grant> {
        if !is_new {
            return self.enter_now(index, ConnectionKind::New, want);
        }
        let is_awaited = self.queue.is_awaited(index, |other| other.goes_before(want.needs));
        if is_awaited { None } else { self.enter_now(index, self.kind_for(index, want.worker), want) }
    }

    /// No server takes requests: grants one that failed the request before, although its circuit is open.
    fn insist_on_any(&self, ask: &mut Ask<PoolSnapshot>, want: Requirements) -> Option<Grant> {
        let mut granted = None;
        if !self.is_up(want.now) {
            self.balance.pick(ask, |index| {
                granted = self.insist(index, want);
                granted.is_some()
            });
        }
        granted
    }

    /// How long a server is avoided that has let a connect go unanswered (milliseconds).
    fn avoid_ms(&self) -> u32 {
        self.policy.breaker.timeout_ms
    }

    /// A connect to a server went unanswered: others of the pool are tried first for some time.
    pub fn avoid(&self, index: usize, now: u64) {
        self.servers[index].avoid(now, self.avoid_ms());
    }

    /// Another address of the same upstream, for an attempt that could not connect. Those that have swallowed a connection come last.
    pub fn grant_sibling(&self, index: usize, want: Requirements) -> Option<Grant> {
        let Range { start, end } = self.siblings[index];
        let others = || (index + 1..end).chain(start..index).filter(|other| !want.tried.contains(other));
        let is_doubtful = |other: &usize| self.servers[*other].is_doubtful();
        let in_order = others().filter(|other| !is_doubtful(other)).chain(others().filter(is_doubtful));
        in_order.into_iter().find_map(|other| self.enter(other, self.kind_for(other, want.worker), want))
    }

    /// How many addresses of the same upstream are left that were not tried, this one included; at most `most` are counted.
    pub fn addresses_left(&self, index: usize, tried: &[usize], most: usize) -> usize {
        let others = self.siblings[index].clone().filter(|other| *other != index && !tried.contains(other));
        let last = self.last_rank();
        1 + others.filter(|&other| self.takes_requests(other, last)).take(most - 1).count()
    }

    pub(super) fn kind_for(&self, index: usize, worker: usize) -> ConnectionKind {
        if self.servers[index].cells[worker].idle.value() > 0 { ConnectionKind::Kept } else { ConnectionKind::New }
    }

    /// The last rank that gets requests: the first in which a server is usable, and its circuit closed.
    pub(super) fn last_rank(&self) -> u32 {
        if self.backups.is_empty() {
            return u32::MAX;
        }
        let is_sound = |server: &Server| server.is_usable() && server.circuit.state() == CircuitState::Closed;
        let sound = self.servers.iter().zip(&self.shares).filter(|(server, _)| is_sound(server));
        sound.map(|(_, share)| share.rank).min().unwrap_or(u32::MAX)
    }

    /// Grants a server, if it has room, and no earlier ones are to be used.
    pub fn enter(&self, index: usize, entry: ConnectionKind, want: Requirements) -> Option<Grant> {
        let rank = self.shares[index].rank;
        if rank == 0 || rank <= self.last_rank() { self.enter_now(index, entry, want) } else { None }
    }

    /// Grants a server whose rank gets requests, if it has room. Only a complete request may be a trial.
    fn enter_now(&self, index: usize, entry: ConnectionKind, want: Requirements) -> Option<Grant> {
        let Requirements { needs, now, .. } = want;
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
            ConnectionKind::New => Reservation::with_place(server, needs),
            ConnectionKind::Kept => Reservation::without_place(server, needs),
        }?;
        reserved.add_trial(trial);
        Some(Grant { server: index, permit, reserved })
    }

    /// Grants a server that failed the request before, although its circuit is open.
    fn insist(&self, index: usize, want: Requirements) -> Option<Grant> {
        let Requirements { needs, tried, .. } = want;
        let server = &self.servers[index];
        if !tried.contains(&index) || !server.is_usable() {
            return None;
        }
        let permit = server.circuit.insist()?;
        let reserved = Reservation::with_place(server, needs)?;
        Some(Grant { server: index, permit, reserved })
    }

    /// Notes how long a server took to answer, or has not answered; stored only if the balancing algorithm needs it.
    pub fn observe(&self, index: usize, micros: u64, now: u64) {
        if matches!(self.policy.balance, model::BalanceConfig::Adaptive) {
            self.servers[index].latency.observe(now, micros);
        }
    }

    /// Whether the circuit breaker counts that status as a failure.
    pub fn is_fault(&self, status: u16) -> bool {
        self.policy.breaker.failure_statuses.contains(status)
    }

    /// Whether some server takes requests, even if it is full now or on trial.
    pub fn is_up(&self, now: u64) -> bool {
        let last = self.last_rank();
        (0..self.servers.len()).any(|index| self.takes_requests_from(index, last, now))
    }

    /// The same for one server, where ranks up to the `last` get requests.
    pub(super) fn takes_requests_from(&self, index: usize, last: u32, now: u64) -> bool {
        self.wake(index, &[], now);
        self.takes_requests(index, last)
    }

    /// Whether all servers that take requests are on trial.
    pub fn is_on_trial(&self, now: u64) -> bool {
        let last = self.last_rank();
        let mut usable = (0..self.servers.len()).filter(|&index| self.takes_requests_from(index, last, now)).peekable();
        usable.peek().is_some() && usable.all(|index| self.servers[index].circuit.state() == CircuitState::HalfOpen)
    }

    /// Whether a server is given requests, even if it is full now or on trial.
    pub(super) fn takes_requests(&self, index: usize, last: u32) -> bool {
        let server = &self.servers[index];
        server.is_usable() && server.circuit.state() != CircuitState::Open && self.shares[index].rank <= last
    }

    /// Whether its circuit would let a request through at this moment.
    pub(super) fn lets_through(&self, index: usize) -> bool {
        let server = &self.servers[index];
        server.is_usable() && self.shares[index].rank <= self.last_rank() && server.circuit.would_admit(&self.policy.breaker)
    }

    /// Seconds until a server of a pool that is down may take requests again: at least 1.
    pub fn retry_after(&self, now: u64) -> u32 {
        let is_out = self.is_out();
        let wait = |(index, server): (usize, &Arc<Server>)| {
            let of_circuit = self.wakes_if(index, is_out).map_or(0, |at| at.saturating_sub(now));
            let of_checks = if server.health.is_failing() { self.policy.recovery_ms } else { 0 };
            of_circuit.max(of_checks)
        };
        let soonest = self.servers.iter().enumerate().filter(|(_, server)| server.has_weight()).map(wait).min();
        soonest.unwrap_or_default().div_ceil(1000).clamp(1, u32::MAX.into()) as u32
    }
}

/// The whole weight and rank of each server.
fn shares(servers: &[Arc<Server>]) -> Vec<Share> {
    servers.iter().map(|server| Share { rank: server.rank(), weight: server.weight() }).collect()
}

/// What the balancing algorithm is told of those of the servers that it balances over.
fn members(servers: &[Arc<Server>], is_in: impl Fn(&Server) -> bool) -> Vec<Member> {
    let member = |server: &Arc<Server>| Member {
        // As an address it is known by the upstream's name, as before names were looked up here.
        name: label(server, server.host_name().is_some()),
        weight: if is_in(server) { server.weight() } else { 0 },
    };
    servers.iter().map(member).collect()
}

/// The upstream's name, and the address if that is asked for.
fn label(server: &Server, with_address: bool) -> String {
    let name = &server.config.name;
    server.address.as_ref().filter(|_| with_address).map_or_else(|| name.clone(), |address| format!("{name}[{address}]"))
}

/// For each server, the indices of the servers of its upstream, which stand together.
fn siblings(servers: &[Arc<Server>]) -> Vec<Range<usize>> {
    let of_one = servers.chunk_by(|a, b| a.config.name == b.config.name);
    let mut start = 0;
    let ranges = of_one.flat_map(|chunk| {
        let range = start..start + chunk.len();
        start = range.end;
        std::iter::repeat_n(range.clone(), chunk.len())
    });
    ranges.collect()
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
