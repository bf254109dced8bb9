//! From a request to a connection: pick an upstream, wait in the queue where all are full, and wait for the connect itself.

use super::deadlines::after;
use super::exchange::{Attempt, Exchange};
use super::failure::{Failure, Time};
use super::{Effect, Session, State, Turn};
use crate::guard::breaker::AttemptVerdict;
use crate::guard::places::Needs;
use crate::http::scan::HeadScan;
use crate::http::write;
use crate::observe::reason::Reason;
use crate::upstream::pool::{Grant, Pick, PickRequest, Requirements, RetryChoice};

/// How long a trial request may wait for its content, or for the answer of the last upstream, before another trial may begin.
const TRIAL_MS: u64 = 1000;

impl Session {
    /// Asks the pool for an upstream, once for each attempt.
    pub(super) fn connect(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        exchange.is_backing_off = false;
        let needs = self.needs(&exchange);
        let (most, now) = (exchange.site.most(), turn.now.millis());
        let Exchange { key, again, tried, .. } = &*exchange;
        let want = Requirements { worker: turn.worker, most, needs, now, tried, again: *again };
        match exchange.pool().pick(PickRequest { rng: &mut turn.rng, key: *key, want }) {
            Pick::Granted(grant) => self.attempt(exchange, grant, turn),
            Pick::Full => self.queue(exchange, turn),
            Pick::NoTunnel => self.fail_without_tunnel(exchange, turn),
            Pick::Unresolved => self.fail(exchange, Failure::new(Reason::DnsError, "no upstream's name is resolved"), turn),
            Pick::Unavailable => self.fail_unavailable(exchange, turn),
        }
    }

    /// What the request needs at an upstream, as things stand.
    fn needs(&self, x: &Exchange) -> Needs {
        let has_left = self.client_fin && x.up.is_complete();
        Needs { is_partial: !self.is_here(x), tunnel: x.asked.wants_upgrade, has_left }
    }

    /// Whether its content has come, or as much as is read ahead. Requests with slow clients would otherwise take the upstreams' places
    /// from all others.
    pub(super) fn is_here(&self, x: &Exchange) -> bool {
        let is_full = self.up.is_attached() && self.up.room() == 0;
        x.up.is_complete() || is_full || x.bytes_in >= x.site.config.limits.buffer_size as u64
    }

    /// More content of a queued request has come. Once it is complete, the request competes for all places instead of half of them.
    pub(super) fn on_queued_bytes(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        match self.on_body_bytes(x, turn, State::ConnectingUpstream) {
            State::ConnectingUpstream(mut x) if x.queued_for.is_partial && self.is_here(&x) => {
                x.queue_due = 0;
                self.rejoin(x, turn)
            }
            State::ConnectingUpstream(x) => {
                if x.queued_for.is_partial {
                    self.phase = 0;
                }
                State::ConnectingUpstream(x)
            }
            failed => failed,
        }
    }

    /// The client was told to send its content.
    pub(super) fn on_invitation_took(&mut self, mut x: Box<Exchange>, n: usize) -> State {
        x.on_client_progress();
        x.down.took(n, &mut self.down);
        State::ConnectingUpstream(x)
    }

    /// The client closed its sending side: the request goes behind those whose clients surely still wait.
    pub(super) fn on_queued_half_close(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        if self.needs(&x) == x.queued_for { State::ConnectingUpstream(x) } else { self.rejoin(x, turn) }
    }

    fn rejoin(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        x.leave_line(turn);
        turn.effects.push(Effect::LeaveQueue);
        self.connect(x, turn)
    }

    fn attempt(&mut self, mut exchange: Box<Exchange>, grant: Grant, turn: &mut Turn) -> State {
        let Grant { server, reuse, permit, holds } = grant;
        (exchange.attempt.server, exchange.attempt.permit, exchange.attempt.holds) = (Some(server), Some(permit), holds);
        exchange.attempt.has_upstream = true;
        exchange.attempt.sent_at = turn.now.micros;
        exchange.attempts += 1;
        exchange.attempt.taken = 0;
        let pool = exchange.pool();
        let cell = &pool.servers[server].cells[turn.worker];
        cell.requests.add(1);
        if exchange.attempts > 1 {
            cell.retries.add(1)
        } else {
            pool.budget.count_request(turn.worker, turn.now.millis())
        }
        let now = turn.now.millis();
        exchange.waits.attempt = after(now, exchange.timeouts.attempt_ms);
        self.phase = after(now, exchange.timeouts.connect_ms);
        turn.effects.push(Effect::Connect { server, reuse });
        State::ConnectingUpstream(exchange)
    }

    /// Joins the queue. A dial for which there was no descriptor comes here too, and keeps the deadline of its first wait.
    pub(super) fn queue(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        let starved = exchange.attempt.has_upstream;
        if starved {
            exchange.withdraw(turn);
            if exchange.again == RetryChoice::Elsewhere {
                // The queue might lead it back to the upstream that was silent.
                exchange.attempt = Attempt::default();
                return self.fail_unavailable(exchange, turn);
            }
        }
        exchange.queued_for = self.needs(&exchange);
        if exchange.asked.awaits_continue && exchange.pool().is_on_trial(turn.now.millis()) {
            // Only a complete request may be a trial, and without a trial no upstream would tell this client to send its content.
            exchange.invite(turn);
        }
        // Missing content has a deadline of its own; the wait for a place begins after that.
        let owes_content = exchange.queued_for.is_partial && !exchange.asked.awaits_continue;
        if exchange.timeouts.queue_ms == 0 && !owes_content {
            return self.fail_full(exchange, turn);
        }
        if exchange.queue_due == 0 && !owes_content {
            exchange.queue_due = after(turn.now.millis(), exchange.timeouts.queue_ms);
        }
        self.phase = if owes_content { 0 } else { exchange.queue_due };
        exchange.is_queued = true;
        exchange.queued_at = turn.now.micros;
        self.serial += 1;
        turn.stats.queued_requests.add(1);
        turn.effects.push(Effect::Queue { starved });
        State::ConnectingUpstream(exchange)
    }

    pub(super) fn fail_full(&mut self, exchange: Box<Exchange>, turn: &mut Turn) -> State {
        let (most, time) = (exchange.site.most(), Time(exchange.timeouts.queue_ms));
        let what = if exchange.pool().is_on_trial(turn.now.millis()) {
            "the upstreams are on trial (circuit_breaker), and none had room for another request".to_owned()
        } else if exchange.queued_for.is_partial {
            format!(
                "requests whose content is to come have {} connections, half of limits.max_conns_per_upstream, and none was done",
                most.half()
            )
        } else {
            format!("every upstream has {} connections (limits.max_conns_per_upstream), and none got free", most.connections)
        };
        let detail = format!("{what} within {time} (timeouts.queue_ms)");
        self.fail(exchange, Failure::new(Reason::ConnectionLimitReached, detail), turn)
    }

    fn fail_without_tunnel(&mut self, exchange: Box<Exchange>, turn: &mut Turn) -> State {
        let detail = "every upstream has limits.max_tunnels_per_upstream upgraded connections";
        self.fail(exchange, Failure::new(Reason::ConnectionLimitReached, detail), turn)
    }

    pub(super) fn on_admitted(&mut self, mut exchange: Box<Exchange>, grant: Grant, turn: &mut Turn) -> State {
        exchange.leave_line(turn);
        self.attempt(exchange, grant, turn)
    }

    /// Nobody in the queue can be served, or nobody with such needs. A request that failed at a server may still go back to it.
    pub(super) fn on_dismissed(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        exchange.leave_line(turn);
        if exchange.again == RetryChoice::Regardless { self.connect(exchange, turn) } else { self.fail_unavailable(exchange, turn) }
    }

    /// No server of the pool takes requests, or none that this request may go to.
    fn fail_unavailable(&mut self, exchange: Box<Exchange>, turn: &mut Turn) -> State {
        if let Some(failure) = exchange.first_silence() {
            return self.refuse(exchange, failure, turn);
        }
        if exchange.asked.wants_upgrade && exchange.pool().is_up(turn.now.millis()) {
            return self.fail_without_tunnel(exchange, turn);
        }
        let seconds = exchange.pool().retry_after(turn.now.millis());
        let detail = format!("no upstream takes requests: {}", exchange.pool().absence());
        self.fail(exchange, Failure::new(Reason::DestinationUnavailable, detail).retry_after(seconds), turn)
    }

    pub(super) fn on_connected(&mut self, mut exchange: Box<Exchange>, reused: bool, turn: &Turn) -> State {
        let is_trial = exchange.attempt.permit.is_some_and(|permit| permit.is_trial());
        self.phase = if is_trial { turn.now.millis() + TRIAL_MS } else { 0 };
        exchange.attempt.reused = reused;
        exchange.attempt.connect_micros = (!reused).then(|| turn.now.micros.saturating_sub(exchange.attempt.sent_at));
        if exchange.asked.needs_host {
            let authority = exchange.server().map(|server| server.authority.clone()).unwrap_or_default();
            write::put_host(&mut exchange.up.block, &authority);
        }
        State::StreamingBody(exchange)
    }

    /// The kept connection is unusable: the upstream closed it, or what it sent is no answer to this request. It is replaced by a
    /// new one, once.
    pub(super) fn replace_stale(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        exchange.attempt.replaced = true;
        exchange.attempt.sent_at = turn.now.micros;
        exchange.attempt.reused = false;
        exchange.attempt.broken = false;
        exchange.attempt.answered = false;
        exchange.attempt.upstream_fin = false;
        exchange.attempt.taken = 0;
        exchange.attempt.scan = HeadScan::default();
        self.down.clear();
        exchange.up.replay(&mut self.up);
        self.phase = after(turn.now.millis(), exchange.timeouts.connect_ms);
        turn.effects.push(Effect::Reconnect);
        State::ConnectingUpstream(exchange)
    }
}

impl Exchange {
    /// Leaves the queue. Returns whether it was in it.
    pub(super) fn leave_line(&mut self, turn: &Turn) -> bool {
        let was_queued = std::mem::take(&mut self.is_queued);
        if was_queued {
            turn.stats.queued_requests.sub(1);
            self.queue_micros = Some(self.queue_micros.unwrap_or(0) + turn.now.micros.saturating_sub(self.queued_at));
        }
        was_queued
    }

    /// There was no descriptor for the attempt, so it does not count as one.
    fn withdraw(&mut self, turn: &mut Turn) {
        self.attempt.has_upstream = false;
        self.waits.attempt = 0;
        (self.attempt.replaced, self.attempt.reused, self.attempt.broken) = (false, false, false);
        // What is given back here does not wake others: without a descriptor they would fail and come back here at once.
        let may_move = turn.line_may_move;
        self.give_back(self.attempt.holds, turn);
        turn.line_may_move = may_move;
        if let Some((server, permit)) = self.attempt.server.zip(self.attempt.permit.take()) {
            self.pool().settle(server, permit, AttemptVerdict::Unknown, turn.now.millis());
        }
        if let Some(cell) = self.server().map(|server| &server.cells[turn.worker]) {
            cell.requests.sub(1);
            cell.retries.sub((self.attempts > 1).into());
        }
        self.attempts -= 1;
    }

    /// Gives back part of what the attempt holds besides its connection's place, because queued requests may need it.
    pub(super) fn give_back(&mut self, part: Needs, turn: &mut Turn) {
        if part == Needs::default() {
            return;
        }
        let Needs { is_partial, tunnel, .. } = &mut self.attempt.holds;
        (*is_partial, *tunnel) = (*is_partial && !part.is_partial, *tunnel && !part.tunnel);
        if let Some(server) = self.server() {
            server.places.give_back(part);
            // Also for requests of another site's pool that shares this server.
            turn.line_may_move = true;
        }
    }

    /// The part of what the attempt holds that requests with incomplete content need.
    pub(super) fn held_as_partial(&self) -> Needs {
        Needs { is_partial: self.attempt.holds.is_partial, ..Needs::default() }
    }

    /// The part of what the attempt holds that a tunnel needs.
    pub(super) fn held_for_tunnel(&self) -> Needs {
        Needs { tunnel: self.attempt.holds.tunnel, ..Needs::default() }
    }
}
