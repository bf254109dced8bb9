//! From a request to a connection: pick an upstream, wait in the queue where all are full, and wait for the connect itself.

use super::attempt::{Heard, Hold};
use super::deadlines::Timer;
use super::state::{Leg, Place, Streaming};
use super::{Attempt, Context, Exchange, ExchangeState};
use crate::guard::breaker::AttemptVerdict;
use crate::guard::places::Needs;
use crate::http::Refusal;
use crate::machine::deadlines::after;
use crate::machine::failure::{Failure, Time};
use crate::machine::{Effect, Turn};
use crate::observe::reason::{Blame, Reason};
use crate::upstream::pool::{Grant, NoGrant, PickRequest, Requirements, RetryChoice, SessionPick};
use crate::upstream::reservation::Reservation;
use crate::upstream::server::UpstreamFault;
use std::rc::Rc;

/// What an address gets at least to take a connection (milliseconds), however many others are left.
const LEAST_SHARE_MS: u64 = 250;

/// What an address gets at most that has let a connect go unanswered before (milliseconds).
const DOUBTFUL_MS: u64 = 1000;

/// The time is divided by no more addresses than this.
const MOST_SHARES: usize = 20;

/// How long a trial request may wait for its content, or for the answer of the last upstream, before another trial may begin.
const TRIAL_MS: u64 = 1000;

impl Exchange {
    /// Asks the pool for an upstream, once for each attempt.
    pub(super) fn connect(&mut self, cx: &mut Context) -> ExchangeState {
        let turn = &mut *cx.turn;
        if !Rc::ptr_eq(&self.site, &turn.site) {
            self.follow_names(turn);
        }
        let needs = self.needs();
        let now = turn.now.millis();
        let want = Requirements { worker: turn.worker, needs, now, tried: &self.tried, again: self.again };
        if let Some(server) = self.session {
            match self.pool().pick_for_session(server, want) {
                SessionPick::Granted(grant) => return self.attempt(grant, turn),
                SessionPick::Full if self.timeouts.queue_ms > 0 => return self.queue(cx),
                SessionPick::Full | SessionPick::Over => self.session = None,
            }
        }
        let want = Requirements { worker: turn.worker, needs, now, tried: &self.tried, again: self.again };
        match self.pool().pick(PickRequest { rng: &mut turn.rng, key: self.key, want }) {
            Ok(grant) => self.attempt(grant, turn),
            Err(NoGrant::Full) => self.queue(cx),
            Err(NoGrant::NoTunnel) => self.fail_without_tunnel(cx),
            Err(NoGrant::Unresolved) => self.fail(Failure::new(Reason::DnsError, "no upstream's name is resolved"), cx),
            Err(NoGrant::Unavailable) => self.fail_unavailable(cx),
        }
    }

    /// What the request needs at an upstream, as things stand.
    fn needs(&self) -> Needs {
        let has_left = self.has_half_closed && self.up.is_ended;
        Needs { is_partial: !self.is_here(), tunnel: self.asked.wants_upgrade, has_left }
    }

    /// Whether its content has come, or as much as is read ahead. Requests with slow clients would otherwise take the upstreams' places
    /// from all others.
    pub(super) fn is_here(&self) -> bool {
        let is_full = self.up.ring.is_attached() && self.up.ring.room() == 0;
        self.up.is_ended || is_full || self.bytes_in >= self.site.config.limits.buffer_size as u64
    }

    /// Content has come while there is no connection. Once it is complete, a queued request competes for all places instead of half of
    /// them.
    pub(super) fn on_early_content(&mut self, leg: Leg, content: Result<(), Refusal>, cx: &mut Context) -> ExchangeState {
        if let Err(refusal) = self.take_content(content) {
            return self.left(leg, cx.turn).fail(Failure::of_request(refusal), cx);
        }
        match leg {
            Leg::Queued(place) if place.needs.is_partial && self.is_here() => {
                self.queue_due = 0;
                self.rejoin(place, cx)
            }
            Leg::Queued(place) if place.needs.is_partial => ExchangeState::ConnectingUpstream(Leg::Queued(Place { until: 0, ..place })),
            leg => ExchangeState::ConnectingUpstream(leg),
        }
    }

    /// The client closed its sending side: the request goes behind those whose clients surely still wait.
    pub(super) fn on_queued_half_close(&mut self, place: Place, cx: &mut Context) -> ExchangeState {
        if self.needs() == place.needs { ExchangeState::ConnectingUpstream(Leg::Queued(place)) } else { self.rejoin(place, cx) }
    }

    /// It goes to the end of the queue, but its time there is not renewed.
    pub(super) fn on_servers_changed(&mut self, place: Place, cx: &mut Context) -> ExchangeState {
        self.rejoin(place, cx)
    }

    fn rejoin(&mut self, place: Place, cx: &mut Context) -> ExchangeState {
        self.left(Leg::Queued(place), cx.turn).connect(cx)
    }

    fn attempt(&mut self, grant: Grant, turn: &mut Turn) -> ExchangeState {
        let now = turn.now.millis();
        self.attempt.sent_at = turn.now.micros;
        self.attempt.taken = 0;
        if self.attempt.dialled.is_none() {
            self.count_attempt(grant.server, turn);
        }
        self.deadlines.set(Timer::Attempt, after(now, self.timeouts.attempt_ms));
        self.hold(grant, turn);
        ExchangeState::ConnectingUpstream(Leg::Dialing { until: after(now, self.timeouts.connect_ms) })
    }

    fn count_attempt(&mut self, server: usize, turn: &Turn) {
        self.attempts += 1;
        if self.attempts > 1 {
            self.pool().servers[server].cells[turn.worker].retries.add(1)
        } else {
            self.site.budget(self.route, self.pool).count_request(turn.worker, turn.now.millis())
        }
    }

    /// Takes what was granted, and asks for the connection.
    #[inline(always)]
    fn hold(&mut self, grant: Grant, turn: &mut Turn) {
        let Grant { server, permit, reserved } = grant;
        let reuse = !reserved.has_place();
        self.attempt.server = Some(server);
        self.attempt.hold = Some(Hold { permit: Some(permit), reserved });
        self.pool().servers[server].cells[turn.worker].requests.add(1);
        turn.effects.push(Effect::Connect { server, reuse });
    }

    /// Goes on with what names lead to now, if nothing but that has changed since it began.
    #[cold]
    fn follow_names(&mut self, turn: &Turn) {
        if !self.site.is_of(&turn.site) {
            return;
        }
        let former = std::mem::replace(&mut self.site, turn.site.clone());
        let (from, to) = (&former.pools[self.pool], &self.site.pools[self.pool]);
        let moved = |index: usize| to.index_of(&from.servers[index]);
        self.attempt.server = self.attempt.server.and_then(moved);
        self.session = self.session.and_then(moved);
        self.tried = self.tried.iter().copied().filter_map(moved).collect();
        // Nobody asks any more how those did that are gone.
        self.faults.retain_mut(|charge| moved(charge.server).map(|index| charge.server = index).is_some());
    }

    /// Joins the queue. A dial for which there was no descriptor comes here too, and keeps the deadline of its first wait.
    pub(super) fn queue(&mut self, cx: &mut Context) -> ExchangeState {
        let starved = self.has_upstream();
        if starved {
            self.withdraw(cx.turn);
            if self.again == RetryChoice::Elsewhere {
                // The queue might lead it back to the upstream that was silent.
                self.attempt = Attempt::default();
                return self.fail_unavailable(cx);
            }
        }
        let (needs, now) = (self.needs(), cx.turn.now);
        if self.asked.awaits_continue && self.pool().is_on_trial(now.millis()) {
            // Only a complete request may be a trial, and without a trial no upstream would tell this client to send its content.
            self.invite(cx);
        }
        // Missing content has a deadline of its own; the wait for a place begins after that.
        let owes_content = needs.is_partial && !self.asked.awaits_continue;
        if self.timeouts.queue_ms == 0 && !owes_content {
            return self.fail_full(needs, cx);
        }
        if self.queue_due == 0 && !owes_content {
            self.queue_due = after(now.millis(), self.timeouts.queue_ms);
        }
        let until = if owes_content { 0 } else { self.queue_due };
        self.serial = cx.turn.number_wait();
        cx.turn.stats.queued_requests.add(1);
        cx.turn.effects.push(Effect::Queue { starved });
        ExchangeState::ConnectingUpstream(Leg::Queued(Place { needs, since: now.micros, until }))
    }

    /// Nobody made a place in time.
    pub(super) fn fail_full(&mut self, needs: Needs, cx: &mut Context) -> ExchangeState {
        let most = self.site.config.pools[self.pool].limits.max_conns_per_upstream;
        let time = Time(self.timeouts.queue_ms);
        let what = if self.pool().is_on_trial(cx.turn.now.millis()) {
            "the upstreams are on trial (circuit_breaker), and none had room for another request".to_owned()
        } else if needs.is_partial {
            format!(
                "requests whose content is to come have {} connections, half of limits.max_conns_per_upstream, and none was done",
                most.div_ceil(2)
            )
        } else {
            format!("every upstream has {most} connections (limits.max_conns_per_upstream), and none got free")
        };
        let detail = format!("{what} within {time} (timeouts.queue_ms)");
        self.fail(Failure::new(Reason::ConnectionLimitReached, detail), cx)
    }

    fn fail_without_tunnel(&mut self, cx: &mut Context) -> ExchangeState {
        let detail = "every upstream has limits.max_tunnels_per_upstream upgraded connections";
        self.fail(Failure::new(Reason::ConnectionLimitReached, detail), cx)
    }

    pub(super) fn on_admitted(&mut self, place: Place, grant: Grant, cx: &mut Context) -> ExchangeState {
        self.leave_queue(place, cx.turn);
        self.attempt(grant, cx.turn)
    }

    /// Nobody in the queue can be served, or nobody with such needs. A request that failed at a server may still go back to it.
    pub(super) fn on_dismissed(&mut self, place: Place, cx: &mut Context) -> ExchangeState {
        self.leave_queue(place, cx.turn);
        let may_go_on = self.again == RetryChoice::Regardless || self.session.is_some();
        if may_go_on { self.connect(cx) } else { self.fail_unavailable(cx) }
    }

    /// No server of the pool takes requests, or none that this request may go to.
    fn fail_unavailable(&mut self, cx: &mut Context) -> ExchangeState {
        let now = cx.turn.now.millis();
        if let Some(failure) = self.first_silence() {
            return self.refuse(failure, cx);
        }
        if self.asked.wants_upgrade && self.pool().is_up(now) {
            return self.fail_without_tunnel(cx);
        }
        let seconds = self.pool().retry_after(now);
        let detail = format!("no upstream takes requests: {}", self.pool().absence());
        self.fail(Failure::new(Reason::DestinationUnavailable, detail).retry_after(seconds), cx)
    }

    /// The address did not take the connection: the upstream's other addresses follow at once, as the same attempt.
    pub(super) fn on_connect_failed(&mut self, reason: Reason, until: u64, cx: &mut Context) -> ExchangeState {
        let turn = &mut *cx.turn;
        let now = turn.now.millis();
        // What is said of an upstream outlasts what is said of this machine, which may not speak the family of some address.
        let told = self.attempt.dialled.filter(|_| reason.blame() != Blame::Upstream).unwrap_or(reason);
        let has_time = until == 0 || until > now;
        let next = if has_time { self.take_sibling(turn) } else { None };
        if next.is_none() && !(has_time && self.may_await_sibling()) {
            if told != reason {
                // The earlier addresses are to blame, and have been counted.
                self.conclude(AttemptVerdict::Unknown, turn);
            }
            return self.fail_upstream(told, cx);
        }
        if reason.timeout().is_some()
            && let Some(index) = self.attempt.server
        {
            self.pool().avoid(index, now);
        }
        self.count_upstream_error(reason, turn);
        if self.is_its_fault(reason, turn) {
            self.accuse(UpstreamFault::Reason(reason), turn);
        }
        self.let_go(turn);
        self.tried.extend(self.attempt.server);
        self.attempt = Attempt { dialled: Some(told), sent_at: self.attempt.sent_at, ..Attempt::default() };
        let Some(grant) = next else {
            self.deadlines.set(Timer::Attempt, 0);
            return self.queue(cx);
        };
        self.hold(grant, turn);
        ExchangeState::ConnectingUpstream(Leg::Dialing { until })
    }

    /// Whether other addresses of the upstream are only full, and the request may wait for one of them.
    fn may_await_sibling(&self) -> bool {
        let is_left = |index| self.pool().addresses_left(index, &self.tried, 2) > 1;
        self.timeouts.queue_ms > 0 && self.again != RetryChoice::Elsewhere && self.attempt.server.is_some_and(is_left)
    }

    fn take_sibling(&mut self, turn: &Turn) -> Option<Grant> {
        let index = self.attempt.server?;
        let (needs, now) = (self.needs(), turn.now.millis());
        let want = Requirements { worker: turn.worker, needs, now, tried: &self.tried, again: self.again };
        self.pool().grant_sibling(index, want)
    }

    /// The connection is made. If it is a kept one, the upstream may be closing it at this moment.
    pub fn on_connected(&mut self, state: ExchangeState, reused: bool, turn: &Turn) -> ExchangeState {
        let ExchangeState::ConnectingUpstream(Leg::Dialing { .. }) = state else { return state };
        let is_trial = self.attempt.hold.as_ref().is_some_and(|hold| hold.reserved.is_trial());
        self.attempt.reused = reused;
        if !reused {
            self.server().into_iter().for_each(|server| server.welcome());
        }
        self.attempt.connect_micros = (!reused).then(|| turn.now.micros.saturating_sub(self.attempt.sent_at));
        ExchangeState::StreamingBody(Streaming { trial_until: if is_trial { turn.now.millis() + TRIAL_MS } else { 0 } })
    }

    /// The kept connection is unusable: the upstream closed it, or what it sent is no answer to this request. It is replaced by a
    /// new one, once.
    pub(super) fn replace_stale(&mut self, turn: &mut Turn) -> ExchangeState {
        let attempt = &mut self.attempt;
        (attempt.reused, attempt.broken, attempt.heard, attempt.upstream_fin) = (false, false, Heard::Nothing, false);
        (attempt.taken, attempt.sent_at) = (0, turn.now.micros);
        (attempt.is_amid_handshake, attempt.trouble) = (false, None);
        self.down.ring.clear();
        self.up.replay();
        turn.effects.push(Effect::Reconnect);
        ExchangeState::ConnectingUpstream(Leg::Dialing { until: after(turn.now.millis(), self.timeouts.connect_ms) })
    }

    /// Until when the present address may be tried (milliseconds), if others are left: the time divided by them. One that let a
    /// connect go unanswered before does not get that much.
    pub fn address_due(&self, now: u64) -> Option<u64> {
        let index = self.attempt.server?;
        let due = self.connect_due();
        let left = due.saturating_sub(now);
        let share = |share: u64| now + share.max(LEAST_SHARE_MS).min(left);
        match self.pool().addresses_left(index, &self.tried, MOST_SHARES) as u64 {
            1 => None,
            count if due > 0 => {
                let most = if self.pool().servers[index].is_doubtful() { DOUBTFUL_MS } else { u64::MAX };
                Some(share((left / count).min(most)))
            }
            _ => None,
        }
    }

    /// When the connection must be there (milliseconds); 0 = never.
    pub fn connect_due(&self) -> u64 {
        let ExchangeState::ConnectingUpstream(Leg::Dialing { until: connect }) = self.state else { return 0 };
        let attempt = self.deadlines.at(Timer::Attempt);
        if connect == 0 || attempt == 0 { connect.max(attempt) } else { connect.min(attempt) }
    }

    /// Gives up its place in the queue, if it has one.
    pub(super) fn left(&mut self, leg: Leg, turn: &mut Turn) -> &mut Self {
        if let Leg::Queued(place) = leg {
            self.leave_queue(place, turn);
            turn.effects.push(Effect::LeaveQueue);
        }
        self
    }

    /// Its time in the queue is over.
    fn leave_queue(&mut self, place: Place, turn: &Turn) {
        turn.stats.queued_requests.sub(1);
        self.queue_micros = Some(self.queue_micros.unwrap_or(0) + turn.now.micros.saturating_sub(place.since));
    }

    /// There was no descriptor for the attempt, so it does not count as one.
    fn withdraw(&mut self, turn: &Turn) {
        // What is given back here does not wake others: without a descriptor they would fail and come back here at once.
        self.attempt.hold = None;
        self.deadlines.set(Timer::Attempt, 0);
        (self.attempt.reused, self.attempt.broken) = (false, false);
        if let Some(cell) = self.server().map(|server| &server.cells[turn.worker]) {
            cell.requests.sub(1);
            cell.retries.sub((self.attempts > 1 && self.attempt.dialled.is_none()).into());
        }
        self.attempts -= u32::from(self.attempt.dialled.is_none());
    }

    /// Takes the place that was reserved for the connection.
    pub fn take_place(&mut self) -> Reservation {
        self.attempt.reserved().map(Reservation::take_place).unwrap_or_default()
    }

    /// Takes what was reserved for a tunnel: the connection holds it from here on.
    pub fn take_tunnel(&mut self) -> Reservation {
        self.attempt.reserved().map(Reservation::take_tunnel).unwrap_or_default()
    }

    /// Gives back part of what the attempt has reserved, because queued requests may need it.
    #[inline]
    pub(super) fn give_back(&mut self, take: impl FnOnce(&mut Reservation) -> Reservation, turn: &mut Turn) {
        // Also for requests of another site's pool that shares this server.
        turn.queue_may_move |= self.attempt.reserved().is_some_and(|reserved| !take(reserved).is_empty());
    }
}
