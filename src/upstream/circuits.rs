//! The circuits of a pool: what opens one and what makes one half-open also depends on the other servers.

use super::pool::Pool;
use super::server::{Server, UpstreamFault};
use crate::config::model::Breaker;
use crate::guard::breaker::{AttemptVerdict, CircuitChange, CircuitOpening, CircuitPermit, CircuitState};
use std::fmt;
use std::sync::Arc;

/// A circuit that has just opened.
#[derive(Debug)]
pub struct OpenCircuit {
    pub pool: Arc<Pool>,
    /// The server's index in the pool.
    pub server: usize,
}

impl Pool {
    /// Makes a circuit half-open if its time is over. Servers that `refused` the request do not count as usable others.
    #[inline]
    pub fn wake(&self, index: usize, refused: &[usize], now: u64) {
        if let Some(opening) = self.servers[index].circuit.opening() {
            self.wake_open(index, opening, refused, now);
        }
    }

    #[cold]
    fn wake_open(&self, index: usize, opening: CircuitOpening, refused: &[usize], now: u64) {
        let breaker = &self.policy.breaker;
        let is_over = |ms: u32| now.saturating_sub(opening.at) >= u64::from(ms);
        let why = if is_over(breaker.timeout_ms) {
            "circuit_breaker.timeout_ms is over"
        } else if breaker.last_resort_ms > 0 && is_over(breaker.last_resort_ms) && self.is_last(index, refused) {
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
        let Breaker { timeout_ms, last_resort_ms, .. } = self.policy.breaker;
        let opening = self.servers[index].circuit.opening()?;
        let is_last_resort = last_resort_ms > 0 && last_resort_ms < timeout_ms && self.is_last(index, &[]);
        Some(opening.at + u64::from(if is_last_resort { last_resort_ms } else { timeout_ms }))
    }

    /// Whether no other server is usable, apart from those in `without`.
    pub fn is_last(&self, index: usize, without: &[usize]) -> bool {
        let is_usable = |server: &Server| server.is_usable() && server.circuit.state() != CircuitState::Open;
        !self.servers.iter().enumerate().any(|(other, server)| other != index && !without.contains(&other) && is_usable(server))
    }

    /// Whether a server takes requests that was not tried.
    pub fn has_untried(&self, is_tried: impl Fn(usize) -> bool, now: u64) -> bool {
        (0..self.servers.len()).any(|index| !is_tried(index) && self.takes_requests_from(index, now))
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
