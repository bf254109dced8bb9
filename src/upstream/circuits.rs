//! The circuits of a pool: what opens one and what makes one half-open also depends on the other servers.

use super::pool::Pool;
use super::server::{Server, UpstreamFault};
use crate::config::model::Breaker;
use crate::guard::breaker::{AttemptVerdict, CircuitChange, CircuitOpening, CircuitPermit, CircuitState};
use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;

/// A circuit that has just opened.
#[derive(Debug)]
pub struct OpenCircuit {
    pub pool: Arc<Pool>,
    /// The server's index in the pool.
    pub server: usize,
}

/// The open circuits that a worker knows of, so that they become half-open in time.
#[derive(Debug, Default)]
pub struct OpenCircuits(Vec<(Arc<Pool>, BTreeSet<usize>)>);

impl OpenCircuits {
    /// Those of these pools.
    pub fn of(pools: &[Arc<Pool>]) -> Self {
        let open = |pool: &Arc<Pool>| (0..pool.servers.len()).filter(|&index| pool.servers[index].circuit.opening().is_some()).collect();
        Self(pools.iter().map(|pool| (pool.clone(), open(pool))).filter(|(_, open): &(_, BTreeSet<usize>)| !open.is_empty()).collect())
    }

    /// One has opened.
    pub fn add(&mut self, OpenCircuit { pool, server }: OpenCircuit) {
        match self.0.iter_mut().find(|(other, _)| Arc::ptr_eq(other, &pool)) {
            Some((_, open)) => _ = open.insert(server),
            None => self.0.push((pool, [server].into())),
        }
    }

    /// Makes those half-open whose time is over, and forgets those of retired servers. Returns whether there are fewer.
    pub fn wake(&mut self, now: u64) -> bool {
        let mut has_fewer = false;
        for (pool, open) in &mut self.0 {
            let before = open.len();
            pool.wake_all(open, now);
            has_fewer |= open.len() < before;
        }
        self.0.retain(|(_, open)| !open.is_empty());
        has_fewer
    }

    /// When the first of them becomes half-open, as things are now (milliseconds).
    pub fn soonest(&self) -> Option<u64> {
        let of_pool = |(pool, open): &(Arc<Pool>, BTreeSet<usize>)| {
            let is_out = pool.is_out();
            open.iter().filter_map(|&index| pool.wakes_if(index, is_out)).min()
        };
        self.0.iter().filter_map(of_pool).min()
    }
}

impl Pool {
    /// The same for these circuits of one pool. Takes time in proportion to its servers, however many of them have failed.
    fn wake_all(&self, open: &mut BTreeSet<usize>, now: u64) {
        let mut is_out = self.is_out();
        open.retain(|&index| {
            let server = &self.servers[index];
            let Some(opening) = server.circuit.opening().filter(|_| !server.is_retired()) else { return false };
            self.wake_open(index, opening, now, || is_out);
            // Once one of them is usable, the others are not the last any more.
            is_out &= !is_in_use(server);
            server.circuit.opening().is_some()
        });
    }

    /// Makes a circuit half-open if its time is over. Servers that `refused` the request do not count as usable others.
    #[inline]
    pub fn wake(&self, index: usize, refused: &[usize], now: u64) {
        if let Some(opening) = self.servers[index].circuit.opening() {
            self.wake_open(index, opening, now, || self.is_last(index, refused));
        }
    }

    #[cold]
    fn wake_open(&self, index: usize, opening: CircuitOpening, now: u64, is_last: impl Fn() -> bool) {
        let breaker = &self.policy.breaker;
        let is_over = |ms: u32| now.saturating_sub(opening.at) >= u64::from(ms);
        let why = if is_over(breaker.timeout_ms) {
            "circuit_breaker.timeout_ms is over"
        } else if breaker.last_resort_ms > 0 && is_over(breaker.last_resort_ms) && is_last() {
            "circuit_breaker.last_resort_ms is over, and no other upstream is usable"
        } else {
            return;
        };
        self.half_open(index, opening, why);
    }

    /// A health check has passed. That makes an open circuit half-open if the server could not be connected to, or if a check failed
    /// too while the circuit was open; `failed_at` is when one last failed (milliseconds). Returns whether it did.
    pub fn on_check_passed(&self, index: usize, failed_at: Option<u64>) -> bool {
        let opening = self.servers[index].circuit.opening();
        let speaks = |opening: &CircuitOpening| opening.is_unconnected || failed_at.is_some_and(|at| at >= opening.at);
        opening.filter(speaks).is_some_and(|opening| self.half_open(index, opening, "a health check has passed"))
    }

    fn half_open(&self, index: usize, opening: CircuitOpening, why: &str) -> bool {
        let change = self.servers[index].circuit.half_open(opening);
        change.into_iter().for_each(|change| self.tell(log::Level::Info, index, change, format_args!("{why}")));
        change.is_some()
    }

    /// When its circuit becomes half-open, as things are now (milliseconds); `None` if it is not open.
    pub fn wakes_at(&self, index: usize) -> Option<u64> {
        self.wakes_if(index, self.is_out())
    }

    /// The same, where it is known whether no server is usable.
    pub(super) fn wakes_if(&self, index: usize, is_out: bool) -> Option<u64> {
        let Breaker { timeout_ms, last_resort_ms, .. } = self.policy.breaker;
        let opening = self.servers[index].circuit.opening()?;
        let is_last_resort = last_resort_ms > 0 && last_resort_ms < timeout_ms && is_out;
        Some(opening.at + u64::from(if is_last_resort { last_resort_ms } else { timeout_ms }))
    }

    /// Whether no server is usable.
    pub(super) fn is_out(&self) -> bool {
        self.is_last(usize::MAX, &[])
    }

    /// Whether no other server is usable, apart from those in `without`.
    pub fn is_last(&self, index: usize, without: &[usize]) -> bool {
        self.find_other(index, without).is_none()
    }

    /// Another server that is usable. The one that was found last is looked at first, because one is looked for at each open circuit that
    /// a request comes upon.
    fn find_other(&self, index: usize, without: &[usize]) -> Option<usize> {
        let is_other =
            |other: &usize| *other != index && !without.contains(other) && self.servers.get(*other).is_some_and(|server| is_in_use(server));
        let known = self.in_use.load(Relaxed);
        if is_other(&known) {
            return Some(known);
        }
        (0..self.servers.len()).find(is_other).inspect(|&other| self.in_use.store(other, Relaxed))
    }

    /// Whether a server takes requests that was not tried.
    pub fn has_untried(&self, is_tried: impl Fn(usize) -> bool, now: u64) -> bool {
        let last = self.last_rank();
        (0..self.servers.len()).any(|index| !is_tried(index) && self.takes_requests_from(index, last, now))
    }

    /// Whether a server that was tried may be tried again, even if its circuit is open.
    pub fn may_insist(&self, is_tried: impl Fn(usize) -> bool) -> bool {
        (0..self.servers.len()).any(|index| is_tried(index) && self.servers[index].is_usable())
    }

    /// An attempt has ended without its server's fault. Returns whether the circuit may now let more requests through.
    pub fn settle(&self, index: usize, permit: CircuitPermit, verdict: AttemptVerdict, now: u64) -> bool {
        let server = &self.servers[index];
        if verdict == AttemptVerdict::Success {
            server.note_success();
        }
        let change = server.circuit.settle(permit, verdict, &self.policy.breaker, now);
        if let Some(change) = change {
            server.came_back(now);
            let enough = self.policy.breaker.success_threshold;
            self.tell(log::Level::Info, index, change, format_args!("{enough} trial requests succeeded"));
        }
        change.is_some()
    }

    /// An attempt has failed by its server's fault. If that was after something of the request was written, it does not open the
    /// pool's last circuit. Returns the circuit if it has opened, because the caller must arrange for it to become half-open in time.
    pub fn blame(
        self: &Arc<Self>,
        index: usize,
        permit: CircuitPermit,
        fault: UpstreamFault,
        is_unconnected: bool,
        now: u64,
    ) -> Option<OpenCircuit> {
        let server = &self.servers[index];
        server.note_failure(fault);
        let verdict = match is_unconnected {
            true => AttemptVerdict::Unconnected,
            false if self.is_last(index, &[]) => AttemptVerdict::Tolerated,
            false => AttemptVerdict::Failure,
        };
        let change = server.circuit.settle(permit, verdict, &self.policy.breaker, now)?;
        self.tell(log::Level::Warn, index, change, format_args!("{fault}, {} in a row", server.failures_in_a_row()));
        if verdict == AttemptVerdict::Failure && self.is_last(index, &[]) {
            // The last two may have opened at the same moment, each taking the other for usable.
            let _ = server.circuit.opening().map(|opening| self.half_open(index, opening, "no other upstream is usable"));
        }
        Some(OpenCircuit { pool: self.clone(), server: index })
    }

    fn tell(&self, level: log::Level, index: usize, CircuitChange { from, to }: CircuitChange, why: fmt::Arguments) {
        let (name, pool, from, to) = (self.label(index), &self.name, from.name(), to.name());
        log::log!(target: "upstream", level, "upstream {name} of pool {pool}: circuit {from} -> {to}: {why}");
    }
}

/// Whether it is usable, and its circuit not open.
fn is_in_use(server: &Server) -> bool {
    server.is_usable() && server.circuit.state() != CircuitState::Open
}
