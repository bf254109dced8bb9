//! From a request to a connection: pick an upstream, wait in line where all are full, and for the connect itself.

use super::deadlines::after;
use super::exchange::Exchange;
use super::failure::Failure;
use super::{Effect, Session, State, Turn};
use crate::http::write;
use crate::observe::reason::Reason;
use crate::upstream::pool::Pick;

/// How often a request that is held looks whether places are still scarce.
const HOLD_MS: u64 = 500;

impl Session {
    /// Asks the pool, once an attempt.
    pub(super) fn connect(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        let limit = exchange.site.config.limits.max_conns_per_upstream;
        exchange.is_held = self.can_hold(&exchange) && exchange.pool().is_scarce(limit);
        if exchange.is_held {
            self.phase = turn.now.millis() + HOLD_MS;
            return State::ConnectingUpstream(exchange);
        }
        match exchange.pool().pick(turn.worker, limit, turn.rng, 0) {
            Pick::Idle(server) => self.attempt(exchange, server, true, turn),
            Pick::Place(server) => self.attempt(exchange, server, false, turn),
            Pick::Full => self.queue(exchange, turn),
            Pick::Unresolved => self.fail(exchange, Failure::new(Reason::DnsError, "no upstream's name is resolved"), turn),
            Pick::Unavailable => self.fail(exchange, Failure::new(Reason::DestinationUnavailable, "no upstream takes requests now"), turn),
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

    fn attempt(&mut self, mut exchange: Box<Exchange>, server: usize, reuse: bool, turn: &mut Turn) -> State {
        exchange.attempt.server = Some(server);
        exchange.attempt.has_upstream = true;
        exchange.attempts += 1;
        exchange.attempt.taken = 0;
        exchange.pool().servers[server].cells[turn.worker].requests.add(1);
        self.phase = after(turn.now.millis(), exchange.timeouts.connect_ms);
        turn.effects.push(Effect::Connect { server, reuse });
        State::ConnectingUpstream(exchange)
    }

    /// Stands in line; a dial for which no descriptor was left comes here too, and waits on from where it was.
    pub(super) fn queue(&mut self, mut exchange: Box<Exchange>, turn: &mut Turn) -> State {
        let starved = exchange.attempt.has_upstream;
        if starved {
            exchange.attempt.has_upstream = false;
            exchange.attempts -= 1;
            exchange.server().into_iter().for_each(|server| server.cells[turn.worker].requests.sub(1));
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

    pub(super) fn on_admitted(&mut self, mut exchange: Box<Exchange>, server: usize, reuse: bool, turn: &mut Turn) -> State {
        if exchange.is_queued {
            exchange.is_queued = false;
            turn.stats.queued_requests.sub(1);
        }
        self.attempt(exchange, server, reuse, turn)
    }

    pub(super) fn on_connected(&mut self, mut exchange: Box<Exchange>, reused: bool, turn: &mut Turn) -> State {
        self.phase = 0;
        exchange.attempt.reused = reused;
        exchange.attempt.sent_at = turn.now.micros;
        if std::mem::take(&mut exchange.asked.needs_host) {
            let authority = exchange.server().map(|server| server.authority.clone()).unwrap_or_default();
            write::insert_host(&mut exchange.up.block, &authority);
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
