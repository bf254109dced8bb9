//! From a request to a connection: pick an upstream, wait in line where all are full, and for the connect itself.

use super::deadlines::after;
use super::exchange::{Exchange, Pause};
use super::failure::Failure;
use super::{Effect, Session, State, Turn};
use crate::guard::breaker::Verdict;
use crate::http::write;
use crate::observe::reason::Reason;
use crate::upstream::pool::{Grant, Pick, Seeker};

/// How often a request that is held looks whether places are still scarce.
const HOLD_MS: u64 = 500;
/// A trial request has so long to bring its content; then another may be tried beside it.
const TRIAL_MS: u64 = 1000;

impl Session {
    /// Asks the pool, once an attempt.
    pub(super) fn connect(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        let limit = exchange.site.config.limits.max_conns_per_upstream;
        let now = turn.now.millis();
        exchange.pause = None;
        if self.can_hold(&exchange) && exchange.pool().is_scarce(limit) {
            exchange.pause = Some(Pause::Held);
            self.phase = now + HOLD_MS;
            return State::ConnectingUpstream(exchange);
        }
        let Exchange { key, tried, .. } = &*exchange;
        match exchange.pool().pick(Seeker { worker: turn.worker, limit, now, rng: &mut turn.rng, key: *key, tried }) {
            Pick::Granted(grant) => self.attempt(exchange, grant, turn),
            Pick::Full => self.queue(exchange, turn),
            Pick::Unresolved => self.fail(exchange, Failure::new(Reason::DnsError, "no upstream's name is resolved"), turn),
            Pick::Unavailable => self.on_dismissed(exchange, turn),
        }
    }

    /// Whether the request can wait here for more of its content: where places at the upstreams are scarce, those whose clients
    /// are slow would take them from all others.
    fn can_hold(&self, exchange: &Exchange) -> bool {
        let has_room = !self.up.is_attached() || self.up.room() > 0;
        !exchange.up.is_complete() && has_room && !exchange.asked.awaits_continue
    }

    /// More of the content of a request that was held has come.
    pub(super) fn on_held_bytes(&mut self, exchange: Box<Exchange>, turn: &mut Turn) -> State {
        match self.on_body_bytes(exchange, turn, State::ConnectingUpstream) {
            State::ConnectingUpstream(exchange) => self.connect(exchange, turn),
            failed => failed,
        }
    }

    fn attempt(&mut self, mut exchange: Box<Exchange>, grant: Grant, turn: &mut Turn) -> State {
        let Grant { server, reuse, permit } = grant;
        (exchange.attempt.server, exchange.attempt.permit) = (Some(server), Some(permit));
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
        self.phase = after(turn.now.millis(), exchange.timeouts.connect_ms);
        turn.effects.push(Effect::Connect { server, reuse });
        State::ConnectingUpstream(exchange)
    }

    /// Stands in line; a dial for which no descriptor was left comes here too, and waits on from where it was.
    pub(super) fn queue(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        let starved = exchange.attempt.has_upstream;
        if starved {
            exchange.attempt.has_upstream = false;
            if let Some((server, permit)) = exchange.attempt.server.zip(exchange.attempt.permit.take()) {
                // Nobody in line is told: they would find no descriptor either.
                exchange.pool().settle(server, permit, Verdict::Unknown, turn.now.millis());
            }
            if let Some(cell) = exchange.server().map(|server| &server.cells[turn.worker]) {
                cell.requests.sub(1);
                cell.retries.sub((exchange.attempts > 1).into());
            }
            exchange.attempts -= 1;
        }
        if exchange.timeouts.queue_ms == 0 {
            return self.fail_full(exchange, turn);
        }
        if exchange.queue_due == 0 {
            exchange.queue_due = after(turn.now.millis(), exchange.timeouts.queue_ms);
        }
        self.phase = exchange.queue_due;
        exchange.is_queued = true;
        self.serial += 1;
        turn.stats.queued_requests.add(1);
        turn.effects.push(Effect::Queue { starved });
        State::ConnectingUpstream(exchange)
    }

    pub(super) fn fail_full(&mut self, exchange: Box<Exchange>, turn: &mut Turn) -> State {
        let detail = "every upstream has limits.max_conns_per_upstream connections, and none got free within timeouts.queue_ms";
        self.fail(exchange, Failure::new(Reason::ConnectionLimitReached, detail), turn)
    }

    pub(super) fn on_admitted(&mut self, mut exchange: Box<Exchange>, grant: Grant, turn: &mut Turn) -> State {
        exchange.leave_line(turn);
        self.attempt(exchange, grant, turn)
    }

    /// No server of the pool takes requests.
    pub(super) fn on_dismissed(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        exchange.leave_line(turn);
        let seconds = exchange.pool().retry_after(turn.now.millis());
        self.fail(exchange, Failure::new(Reason::DestinationUnavailable, "no upstream takes requests now").retry_after(seconds), turn)
    }

    pub(super) fn on_connected(&mut self, mut exchange: Box<Exchange>, reused: bool, turn: &Turn) -> State {
        let may_be_slow = exchange.attempt.permit.is_some_and(|permit| permit.is_trial()) && !exchange.up.is_complete();
        self.phase = if may_be_slow { turn.now.millis() + TRIAL_MS } else { 0 };
        exchange.attempt.reused = reused;
        if exchange.asked.needs_host {
            let authority = exchange.server().map(|server| server.authority.clone()).unwrap_or_default();
            write::put_host(&mut exchange.up.block, &authority);
        }
        State::StreamingBody(exchange)
    }

    /// The pooled connection was closed by the upstream before a byte of an answer: a fresh one takes its place, once.
    pub(super) fn replace_stale(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        exchange.attempt.replaced = true;
        exchange.attempt.reused = false;
        exchange.attempt.broken = false;
        exchange.attempt.upstream_fin = false;
        exchange.attempt.taken = 0;
        exchange.up.replay(&mut self.up);
        self.phase = after(turn.now.millis(), exchange.timeouts.connect_ms);
        turn.effects.push(Effect::Reconnect);
        State::ConnectingUpstream(exchange)
    }
}

impl Exchange {
    /// It stands in line no more.
    fn leave_line(&mut self, turn: &Turn) {
        if std::mem::take(&mut self.is_queued) {
            turn.stats.queued_requests.sub(1);
        }
    }
}
