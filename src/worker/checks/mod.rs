//! Active health checks for the whole process, driven by the first worker's loop between its requests. They have sockets and
//! timers of their own, and do not count in limits, metrics or logs of requests.
//!
//! An upstream has one check at a time, and a check one connection. The check waits for its time, connects, sends, reads until the
//! outcome is known, lets the upstream finish its answer, and closes.

mod fail_open;
mod round;

use super::core::Net;
use crate::base::proxy_header;
use crate::base::wheel::Wheel;
use crate::config::model::HealthCheck;
use crate::guard::descriptors::Descriptors;
use crate::health::check::{CheckHistory, HealthVerdict};
use crate::health::probe::ProbeFailure;
use crate::health::state::HealthState;
use crate::http::HeadLimits;
use crate::net::sys::{Lack, lack};
use crate::net::token::Source;
use crate::net::transport::{Edge, Link, Transport};
use crate::site::Site;
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use round::{Phase, Round, fault};
use std::collections::BTreeMap;
use std::fmt::Display;
use std::sync::Arc;

/// First checks are spread over this time, or the interval if that is shorter: soon, but not all at once.
const FIRST_MS: u64 = 1000;
/// Checks begin at multiples of this time, or of a small part of a short interval: waking up costs as much as a check, and so the
/// checks of many upstreams share it.
const BEAT_MS: u64 = 16;
/// How long the rest of an answer is waited for, because a close in the middle of it could disturb the upstream.
const REST_MS: u64 = 250;
/// For how long checks must have had sockets before their lack is logged again.
const QUIET_MS: u64 = 60_000;

/// The checks of all upstreams.
pub struct Checks<T> {
    /// By the slots of their servers, which are also the keys of tokens and timers.
    targets: BTreeMap<usize, Target<T>>,
    wheel: Wheel,
    limits: HeadLimits,
    rng: fastrand::Rng,
    descriptors: Arc<Descriptors>,
    /// Until then (milliseconds) a lack of sockets is not logged.
    quiet_until: u64,
    /// Servers that could not be connected to, since the last call of [`Checks::take_lost`].
    lost: Vec<Arc<Server>>,
    /// Whether a verdict has changed since the last call of [`Checks::take_news`].
    has_news: bool,
}

/// An upstream that is checked.
struct Target<T> {
    pool: Arc<Pool>,
    server: Arc<Server>,
    config: HealthCheck,
    check: CheckHistory,
    /// When a check last failed (milliseconds).
    failed_at: Option<u64>,
    /// When the next check may begin (milliseconds).
    due: u64,
    /// Whether its checks have a time of their own within the interval.
    is_spread: bool,
    round: Option<Round<T>>,
}

impl<T: Transport> Checks<T> {
    /// Without upstreams.
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

    /// Checks the upstreams of this site. Servers that stay keep their verdict, and a check in progress goes on.
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
                    let due = moment(&mut self.rng, now, now + FIRST_MS.min(config.interval_ms.into()), &config);
                    self.wheel.set(server.slot as u32, due);
                    Target::new(pool.clone(), server, config.clone(), due)
                }
            };
            if target.config.interval_ms != config.interval_ms {
                target.is_spread = false;
                target.due = target.due.min(spread(&mut self.rng, now, &config));
                if target.round.is_none() {
                    self.wheel.set(target.server.slot as u32, target.due);
                }
            }
            (target.pool, target.config) = (pool, config);
            self.targets.insert(target.server.slot, target);
        }
        // A request may wait for a server that was failing and is no longer checked.
        self.has_news |= !old.is_empty();
        old.keys().for_each(|slot| self.wheel.cancel(*slot as u32));
        for (pool, config) in site.pools.iter().zip(&site.config.pools) {
            self.has_news |= fail_open::settle(pool, config.health_check.as_ref());
        }
    }

    /// Stops checking; the last verdicts stand.
    pub fn stop(&mut self) {
        self.targets.clear();
        self.wheel = Wheel::default();
    }

    /// When the next timer is due (milliseconds).
    pub fn next_wake(&self) -> Option<u64> {
        self.wheel.next_wake()
    }

    /// The servers that took no connection since the last call.
    pub(super) fn take_lost(&mut self) -> impl Iterator<Item = Arc<Server>> {
        std::mem::take(&mut self.lost).into_iter()
    }

    /// Whether a verdict has changed since the last call: queued requests may wait for that.
    pub fn take_news(&mut self) -> bool {
        std::mem::take(&mut self.has_news)
    }

    /// An event for the connection of a check.
    pub fn on_edge(&mut self, slot: usize, edge: Edge, now: u64) {
        let Some(round) = self.targets.get_mut(&slot).and_then(|target| target.round.as_mut()) else { return };
        round.link.on_edge(edge);
        if round.phase != Phase::Resting {
            let outcome = round.talk();
            if round.phase == Phase::Talking {
                self.wheel.set(slot as u32, round.end);
            }
            match outcome {
                None => return,
                Some(Err(fault)) if round.phase == Phase::Connecting => {
                    self.lose(slot, fault, now);
                    return self.end_round(slot, now);
                }
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

    /// Handles timers that are due: checks begin, or end.
    pub fn expire<N: Net<Transport = T>>(&mut self, net: &mut N, now: u64) {
        self.wheel.advance(now);
        while let Some(slot) = self.wheel.pop_due().map(|key| key as usize) {
            let Some(target) = self.targets.get(&slot) else { continue };
            let timeout_ms = target.config.timeout_ms;
            match target.round.as_ref().map(|round| (round.phase, round.on_timeout(timeout_ms))) {
                None => self.begin_round(slot, net, now),
                Some((Phase::Connecting, fault)) => self.lose(slot, fault, now),
                Some((Phase::Talking, fault)) => self.conclude(slot, Err(fault), now),
                Some((Phase::Resting, _)) => {}
            }
            if self.wheel.deadline(slot as u32).is_none() {
                self.end_round(slot, now);
            }
        }
    }

    /// Begins a check. Without a socket it ends without an outcome.
    fn begin_round<N: Net<Transport = T>>(&mut self, slot: usize, net: &mut N, now: u64) {
        let Some(target) = self.targets.get_mut(&slot) else { return };
        let is_spread = std::mem::replace(&mut target.is_spread, true);
        target.due = if is_spread { next(&mut self.rng, now, &target.config) } else { spread(&mut self.rng, now, &target.config) };
        let Some(address) = &target.server.address else { return };
        let address = target.config.port.map_or(address.clone(), |port| address.clone().at_port(port));
        let Some(descriptor) = self.descriptors.admit_check() else {
            return self.starve("as many as the limit of descriptors (ulimit -n) has room for are under way", now);
        };
        let departure = target.pool.departure(&target.server);
        match departure.and_then(|departure| net.dial(&address, departure, Source::Check(slot))) {
            Ok(mut transport) => {
                // Another port than that of requests speaks for itself.
                if let (Some(version), None) = (target.server.config.send_proxy, target.config.port) {
                    transport.say_first(proxy_header::write(version, None));
                }
                let end = now + u64::from(target.config.timeout_ms);
                self.wheel.set(slot as u32, end);
                target.round =
                    Some(Round::new(Link::new(transport, descriptor), end, (&target.pool, &target.server), &target.config, self.limits));
            }
            // A lack of local addresses says nothing about the upstream.
            Err(error) => match lack(&error) {
                None => self.lose(slot, fault(&error), now),
                Some(Lack::Address | Lack::Descriptors | Lack::Memory) => self.starve(error, now),
            },
        }
    }

    /// The server did not take the connection.
    fn lose(&mut self, slot: usize, fault: ProbeFailure, now: u64) {
        self.lost.extend(self.targets.get(&slot).map(|target| target.server.clone()));
        self.conclude(slot, Err(fault), now);
    }

    /// Logs that there is no socket for a check.
    fn starve(&mut self, why: impl Display, now: u64) {
        if now >= self.quiet_until {
            log::warn!(target: "upstream", "health checks are left out: {why}");
        }
        self.quiet_until = now + QUIET_MS;
    }

    /// Closes the connection and waits for the next check.
    fn end_round(&mut self, slot: usize, now: u64) {
        if let Some(target) = self.targets.get_mut(&slot) {
            target.round.take().into_iter().for_each(Round::leave);
            self.wheel.set(slot as u32, target.due.max(now));
        }
    }

    /// Takes an outcome.
    fn conclude(&mut self, slot: usize, outcome: Result<u16, ProbeFailure>, now: u64) {
        let Some(target) = self.targets.get_mut(&slot) else { return };
        let Target { pool, server, config, check, due, failed_at, .. } = target;
        let index = pool.index_of(server);
        let name = index.map_or(server.config.name.as_str(), |index| pool.label(index));
        if now < self.quiet_until {
            // While sockets are short, upstreams whose checks were left out come first.
            *due = next(&mut self.rng, now, config);
        }
        match &outcome {
            Ok(_) if config.port.is_none() => {
                server.welcome();
                self.has_news |= index.is_some_and(|index| pool.on_check_passed(index, *failed_at));
            }
            Ok(_) => self.has_news |= index.is_some_and(|index| pool.on_check_passed(index, *failed_at)),
            Err(fault) => {
                *failed_at = Some(now);
                log::debug!(target: "upstream", "health check of upstream {name} of pool {}: {fault}", pool.name);
                server.health.set_error(fault.to_string());
            }
        }
        let Some(old) = check.on_outcome(outcome.is_ok(), config) else { return };
        let verdict = check.verdict();
        if server.health.is_failing() && verdict != HealthVerdict::Failing {
            server.came_back(now);
        }
        fail_open::set_verdict(pool, server, verdict, config);
        self.has_news = true;
        let pool = &pool.name;
        let (old, new) = (HealthState::Checked(old).name(), HealthState::Checked(verdict).name());
        match outcome {
            Ok(status) => {
                log::info!(target: "upstream", "health check of upstream {name} of pool {pool}: {old} -> {new}: answered {status}")
            }
            Err(fault) => log::warn!(target: "upstream", "health check of upstream {name} of pool {pool}: {old} -> {new}: {fault}"),
        }
    }
}

impl<T> Target<T> {
    fn new(pool: Arc<Pool>, server: Arc<Server>, config: HealthCheck, due: u64) -> Self {
        Self { pool, server, config, check: CheckHistory::default(), failed_at: None, due, is_spread: false, round: None }
    }
}

/// When the second check begins: checks that began together come at any time of the interval from then on.
fn spread(rng: &mut fastrand::Rng, now: u64, config: &HealthCheck) -> u64 {
    let interval = u64::from(config.interval_ms);
    let from = now + interval / 10;
    moment(rng, from, from + interval, config)
}

/// When the check after one that begins now begins: after the interval, changed randomly by up to a tenth, so that the checks of
/// many upstreams or proxies do not coincide.
fn next(rng: &mut fastrand::Rng, now: u64, config: &HealthCheck) -> u64 {
    let (interval, tenth) = (u64::from(config.interval_ms), u64::from(config.interval_ms) / 10);
    moment(rng, now + interval - tenth, now + interval + tenth, config)
}

/// A random time in this range, both ends included, on a beat where there is one.
fn moment(rng: &mut fastrand::Rng, from: u64, to: u64, config: &HealthCheck) -> u64 {
    let beat = (u64::from(config.interval_ms) / 32).clamp(1, BEAT_MS);
    let time = rng.u64(from..=to);
    let on_beat = time - time % beat;
    if on_beat < from { (on_beat + beat).min(to) } else { on_beat }
}

#[cfg(test)]
mod tests;
