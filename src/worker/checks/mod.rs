//! Active health checks, for the whole process: the first worker's loop drives them between its requests. They have sockets and
//! timers of their own, and take part in no limit, metric or log of requests.
//!
//! An upstream has one check at a time, and a check one connection. It waits for its next turn, connects, sends, reads until there
//! is an outcome, rests until the upstream has said the rest, and is closed.

mod round;

use super::core::Net;
use crate::base::wheel::Wheel;
use crate::config::model::HealthCheck;
use crate::guard::descriptors::Descriptors;
use crate::health::check::{Check, Verdict};
use crate::health::probe::Fault;
use crate::health::state::State;
use crate::http::HeadLimits;
use crate::net::link::{Edge, Socket};
use crate::net::sys::{Lack, lack};
use crate::net::token::Source;
use crate::site::Site;
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use round::{Phase, Place, Round, Way, fault};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

/// First checks come within this time, or the interval if that is shorter: soon, and not all at once.
const FIRST_MS: u64 = 1000;
/// The rest of an answer is waited for so long: a close in the middle of it would trouble the upstream.
const REST_MS: u64 = 250;
/// That checks go without is said again only after they had what they need for so long.
const QUIET_MS: u64 = 60_000;

/// See the module.
pub struct Checks<S> {
    /// By the slots of their servers, which are the keys of tokens and timers.
    targets: BTreeMap<usize, Target<S>>,
    wheel: Wheel,
    limits: HeadLimits,
    rng: fastrand::Rng,
    descriptors: Arc<Descriptors>,
    /// Until then nothing is said about checks for which there is no socket (milliseconds).
    quiet_until: u64,
    /// Servers that could not be connected to at any of their addresses, since this was asked last.
    lost: Vec<Arc<Server>>,
    /// A verdict has changed since this was asked last.
    has_news: bool,
}

/// An upstream that is checked.
struct Target<S> {
    pool: Arc<Pool>,
    server: Arc<Server>,
    config: HealthCheck,
    check: Check,
    /// When one failed last (milliseconds).
    failed_at: Option<u64>,
    /// What was known of the server's addresses when it was checked last: [`Server::life`].
    life: u32,
    /// With which of its addresses the next check begins.
    turn: usize,
    /// When the next check may begin (milliseconds).
    due: u64,
    round: Option<Round<S>>,
}

impl<S: Socket> Checks<S> {
    /// Nothing is checked yet.
    pub fn new(seed: u64, descriptors: Arc<Descriptors>) -> Self {
        Self {
            targets: BTreeMap::new(),
            wheel: Wheel::default(),
            limits: HeadLimits { first_line: 0, line: 0, lines: 0, total: 0 },
            rng: fastrand::Rng::with_seed(seed),
            descriptors,
            quiet_until: 0,
            lost: Vec::new(),
            has_news: false,
        }
    }

    /// Checks what this site wants checked. Servers that stay keep their verdict, and a check under way goes on.
    pub fn take_site(&mut self, site: &Site, now: u64) {
        let limits = &site.config.limits;
        let (line, lines, total) = (limits.max_header_size, limits.max_headers, limits.max_total_headers);
        self.limits = HeadLimits { first_line: line, line, lines, total };
        let mut old = std::mem::take(&mut self.targets);
        for (pool, server, config) in site.checks() {
            let (pool, server, config) = (pool.clone(), server.clone(), config.clone());
            let mut target = match old.remove(&server.slot) {
                Some(target) if Arc::ptr_eq(&target.server, &server) => target,
                _ => {
                    let due = now + self.rng.u64(0..=FIRST_MS.min(config.interval_ms.into()));
                    self.wheel.set(server.slot as u32, due);
                    Target::new(pool.clone(), server, config.clone(), due)
                }
            };
            (target.pool, target.config) = (pool, config);
            let latest = now + interval(&mut self.rng, &target.config);
            if target.due > latest {
                target.due = latest;
                if target.round.is_none() {
                    self.wheel.set(target.server.slot as u32, latest);
                }
            }
            self.targets.insert(target.server.slot, target);
        }
        // Somebody may wait for one that was failing until now.
        self.has_news |= !old.is_empty();
        old.keys().for_each(|slot| self.wheel.cancel(*slot as u32));
    }

    /// Checks nothing any more; the last verdicts stand.
    pub fn stop(&mut self) {
        self.targets.clear();
        self.wheel = Wheel::default();
    }

    /// A server has other addresses. If none of the former is among them, what was being asked there is no outcome, and the next
    /// check comes at once.
    pub(super) fn on_addresses(&mut self, server: &Arc<Server>, now: u64) {
        let Some(target) = self.targets.get_mut(&server.slot).filter(|target| Arc::ptr_eq(&target.server, server)) else { return };
        if target.life != server.life() {
            // What was found at the former addresses says nothing about the new ones.
            *target = Target::new(target.pool.clone(), server.clone(), target.config.clone(), now);
            self.wheel.set(server.slot as u32, now);
        }
    }

    /// When the next timer may fire (milliseconds).
    pub fn next_wake(&self) -> Option<u64> {
        self.wheel.next_wake()
    }

    /// Servers none of whose addresses took a connection since this was asked last.
    pub(super) fn take_lost(&mut self) -> impl Iterator<Item = Arc<Server>> {
        std::mem::take(&mut self.lost).into_iter()
    }

    /// Whether a verdict has changed since this was asked last: somebody may wait for that.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// An edge for the connection of a check.
    pub fn on_edge<N: Net<Socket = S>>(&mut self, slot: usize, edge: Edge, net: &mut N, now: u64) {
        let Some(round) = self.targets.get_mut(&slot).and_then(|target| target.round.as_mut()) else { return };
        round.link.on_edge(edge);
        if round.phase != Phase::Resting {
            let outcome = round.talk(edge);
            if round.phase == Phase::Talking {
                self.wheel.set(slot as u32, round.way.end);
            }
            match outcome {
                None => return,
                Some(Err(fault)) if round.phase == Phase::Connecting => return self.go_on(slot, fault, net, now),
                Some(outcome) => {
                    round.phase = Phase::Resting;
                    self.wheel.set(slot as u32, now + REST_MS);
                    self.conclude(slot, outcome, now);
                }
            }
        }
        let rests = self.targets.get_mut(&slot).and_then(|target| target.round.as_mut()).is_some_and(Round::rest);
        if !rests {
            self.end_round(slot, now);
        }
    }

    /// Timers that have come: checks begin, or are over.
    pub fn expire<N: Net<Socket = S>>(&mut self, net: &mut N, now: u64) {
        self.wheel.advance(now);
        while let Some(slot) = self.wheel.pop_due().map(|key| key as usize) {
            let Some(target) = self.targets.get(&slot) else { continue };
            let timeout_ms = target.config.timeout_ms;
            match target.round.as_ref().map(|round| round.phase) {
                None => self.begin_round(slot, net, now),
                Some(Phase::Connecting) => self.go_on(slot, Fault::ConnectTimeout(timeout_ms), net, now),
                Some(Phase::Talking) => self.conclude(slot, Err(Fault::AnswerTimeout(timeout_ms)), now),
                Some(Phase::Resting) => {}
            }
            if self.wheel.deadline(slot as u32).is_none() {
                self.end_round(slot, now);
            }
        }
    }

    /// Begins with the next address. Where it has none yet, or the system has no socket to spare, its turn is over without an
    /// outcome.
    fn begin_round<N: Net<Socket = S>>(&mut self, slot: usize, net: &mut N, now: u64) {
        let Some(target) = self.targets.get_mut(&slot) else { return };
        target.due = now + interval(&mut self.rng, &target.config);
        let way = Way { next: target.turn, left: target.server.addresses().len(), end: now + u64::from(target.config.timeout_ms) };
        if way.left == 0 {
            return;
        }
        let Some(place) = Place::take(&self.descriptors) else {
            return self.starve("as many as the limit of descriptors (ulimit -n) has room for are under way", now);
        };
        target.turn = target.turn.wrapping_add(1);
        self.dial(slot, way, place, None, net, now);
    }

    /// An address did not take the connection: the next one, if there is one.
    fn go_on<N: Net<Socket = S>>(&mut self, slot: usize, fault: Fault, net: &mut N, now: u64) {
        let Some(round) = self.targets.get_mut(&slot).and_then(|target| target.round.take()) else { return };
        let (way, place) = round.give_up();
        self.dial(slot, way, place, Some(fault), net, now);
        if self.targets.get(&slot).is_some_and(|target| target.round.is_none()) {
            self.end_round(slot, now);
        }
    }

    /// Dials the addresses that are left, until one may take the connection; `former` is why the one before did not. That this
    /// machine has no address to come from says nothing about an upstream either.
    fn dial<N: Net<Socket = S>>(&mut self, slot: usize, mut way: Way, place: Place, mut former: Option<Fault>, net: &mut N, now: u64) {
        let Some(target) = self.targets.get_mut(&slot) else { return };
        let mut nowhere = None;
        while let Some(address) = way.step(&target.server) {
            match net.dial(address, Source::Check(slot)) {
                Ok(socket) => {
                    self.wheel.set(slot as u32, way.until(now));
                    target.round = Some(Round::new(socket, way, place, &target.server, &target.config, self.limits));
                    return;
                }
                Err(error) => match lack(&error) {
                    None => former = Some(fault(&error)),
                    Some(Lack::Address) => nowhere = Some(error),
                    Some(Lack::Descriptors | Lack::Memory) => return self.starve(error, now),
                },
            }
        }
        match (former, nowhere) {
            (Some(fault), _) => {
                self.lost.push(target.server.clone());
                self.conclude(slot, Err(fault), now);
            }
            (None, Some(error)) => self.starve(error, now),
            (None, None) => {}
        }
    }

    /// There is no socket for a check.
    fn starve(&mut self, why: impl Display, now: u64) {
        if now >= self.quiet_until {
            log::warn!(target: "upstream", "health checks are left out: {why}");
        }
        self.quiet_until = now + QUIET_MS;
    }

    /// The connection is closed, and the next turn waited for.
    fn end_round(&mut self, slot: usize, now: u64) {
        if let Some(target) = self.targets.get_mut(&slot) {
            target.round = None;
            self.wheel.set(slot as u32, target.due.max(now));
        }
    }

    /// Takes an outcome.
    fn conclude(&mut self, slot: usize, outcome: Result<u16, Fault>, now: u64) {
        let Some(target) = self.targets.get_mut(&slot) else { return };
        if target.life != target.server.life() {
            // It was asked where its name leads no more.
            return;
        }
        let Target { pool, server, config, check, due, failed_at, .. } = target;
        if now < self.quiet_until {
            // Those that were left out go first.
            *due = now + interval(&mut self.rng, config);
        }
        match &outcome {
            Ok(_) => self.has_news |= pool.on_check_passed(server, *failed_at),
            Err(fault) => {
                *failed_at = Some(now);
                log::debug!(target: "upstream", "health check of upstream {} of pool {}: {fault}", server.config.name, pool.name);
                server.health.set_error(fault.to_string());
            }
        }
        let (pool, name) = (&pool.name, &server.config.name);
        let Some(old) = check.on_outcome(outcome.is_ok(), config) else { return };
        if old == Verdict::Failing {
            server.came_back(now);
        }
        let verdict = check.verdict();
        server.health.set_verdict(verdict);
        self.has_news = true;
        let (old, new) = (State::Checked(old).name(), State::Checked(verdict).name());
        match outcome {
            Ok(status) => {
                log::info!(target: "upstream", "health check of upstream {name} of pool {pool}: {old} -> {new}: answered {status}")
            }
            Err(fault) => log::warn!(target: "upstream", "health check of upstream {name} of pool {pool}: {old} -> {new}: {fault}"),
        }
    }
}

impl<S> Target<S> {
    fn new(pool: Arc<Pool>, server: Arc<Server>, config: HealthCheck, due: u64) -> Self {
        let life = server.life();
        Self { pool, server, config, check: Check::default(), failed_at: None, life, turn: 0, due, round: None }
    }
}

/// As configured, and up to a tenth more or less, so that the checks of many upstreams, or proxies, do not fall into step.
fn interval(rng: &mut fastrand::Rng, config: &HealthCheck) -> u64 {
    let (interval, tenth) = (u64::from(config.interval_ms), u64::from(config.interval_ms) / 10);
    interval - tenth + rng.u64(0..=2 * tenth)
}

#[cfg(test)]
mod tests;
