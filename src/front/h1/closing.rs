//! The end of an exchange, and the end of a connection: what the client was told about its connection is kept to.

use super::FrontH1;
use super::head::{DRAIN_IDLE_MS, request_limits};
use super::serving::Fate;
use super::state::{Ending, FrontEvent, FrontState, Why};
use crate::base::ring::Ring;
use crate::http::framing::Body;
use crate::machine::deadlines::after;
use crate::machine::{Effect, ExchangeEnd, Turn};
use std::io::IoSlice;

/// How long the rest of a request is read and dropped after its answer.
const LINGER_MS: u32 = 2000;
/// When delivery is first checked before a reset, and then after twice as long each time, because no event reports it.
const DELIVERY_MS: u64 = 10;

impl FrontH1 {
    /// The exchange is over: takes back the ring, and goes on as the client was told. `is_read`: all of the request has been read.
    pub fn on_exchange_end(&mut self, end: ExchangeEnd, ring: Ring, is_read: bool, turn: &mut Turn) {
        self.ring = ring;
        self.deadline = 0;
        let FrontState::Serving(serving) = std::mem::replace(&mut self.state, FrontState::Closed(Ending::Plain)) else { return };
        let (fate, ends_with_close) = (serving.fate, serving.ends_with_close);
        self.state = match end {
            ExchangeEnd::Answered if fate == Fate::Kept && is_read => self.await_head(turn),
            ExchangeEnd::Answered if fate == Fate::Kept => {
                self.deadline = after(turn.now.millis(), LINGER_MS);
                FrontState::Discarding(serving.body)
            }
            // A client that did not ask for the close may have sent its next request already.
            ExchangeEnd::Answered if is_read && serving.is_last && self.ring.raw() == 0 => self.part(turn),
            ExchangeEnd::Answered | ExchangeEnd::Lingers => self.linger(Why::Answered, turn),
            ExchangeEnd::Cut if !ends_with_close => self.linger(Why::Cut, turn),
            ExchangeEnd::Cut | ExchangeEnd::CutOff => self.cut_off(turn),
            ExchangeEnd::Closed => FrontState::Closed(Ending::Plain),
            // The kernel still delivers what it has after a plain close.
            ExchangeEnd::ClosedMidway => FrontState::Closed(if ends_with_close { Ending::Reset } else { Ending::Plain }),
        };
    }

    /// One of several exchanges has begun: its deadlines apply, and no longer those of an idle connection.
    pub fn on_one_begin(&mut self) {
        self.deadline = 0;
    }

    /// One of several exchanges is over.
    pub fn on_one_end(&mut self, exchange: usize, end: ExchangeEnd, rest: &[IoSlice], turn: &mut Turn) {
        let FrontState::Many { protocol, idle_since, .. } = &mut self.state else { return };
        protocol.on_end(exchange, end, rest);
        if protocol.exchanges().is_empty() {
            *idle_since = turn.now.millis();
            self.deadline = self.many_deadline(turn.now.millis(), turn);
        }
    }

    /// Until when a connection without an exchange stays open.
    pub(super) fn many_deadline(&self, idle_since: u64, turn: &Turn) -> u64 {
        let keepalive_ms = turn.site.config.timeouts.client_keepalive_ms;
        let closes = turn.is_leaving || keepalive_ms == 0;
        if closes { idle_since + DRAIN_IDLE_MS } else { after(idle_since, keepalive_ms) }
    }

    /// An event of a connection with several exchanges, which were told of it before.
    pub(super) fn on_many(&mut self, mut many: FrontState, event: FrontEvent, turn: &mut Turn) -> FrontState {
        let FrontState::Many { protocol, is_read, .. } = &mut many else { return many };
        let (has_none, now) = (protocol.exchanges().is_empty(), turn.now.millis());
        match event {
            FrontEvent::Gone | FrontEvent::Cut | FrontEvent::SentAway if has_none => FrontState::Closed(Ending::Plain),
            FrontEvent::OverLimit => self.linger(Why::Answered, turn),
            FrontEvent::Evicted if has_none && self.ring.raw() == 0 => FrontState::Closed(Ending::Plain),
            FrontEvent::Delivered if has_none && *is_read => FrontState::Closed(Ending::Plain),
            FrontEvent::Deadline if has_none && self.deadline != 0 && self.deadline <= now => self.linger(Why::Idle, turn),
            FrontEvent::Fin => {
                *is_read = true;
                many
            }
            FrontEvent::Drain if has_none => {
                self.deadline = self.many_deadline(now, turn);
                many
            }
            _ => many,
        }
    }

    pub(super) fn on_discarded_bytes(&mut self, mut body: Body, turn: &mut Turn) -> FrontState {
        let limits = request_limits(&turn.site.config.limits);
        let scanned = body.scan(self.ring.raw_mut(), &limits).map(|step| self.ring.check(step.consumed, 0));
        match scanned {
            // Where the next request begins is unknown.
            Err(_) => self.linger(Why::Answered, turn),
            Ok(()) if body.is_ended() => self.await_head(turn),
            Ok(()) if self.ring.room() == 0 => self.linger(Why::Answered, turn),
            Ok(()) => FrontState::Discarding(body),
        }
    }

    /// Closes the connection if the client loses nothing by that; otherwise lingers. What arrives at a closed socket is answered with a
    /// reset, which destroys everything that has not been read.
    pub(super) fn part(&mut self, turn: &mut Turn) -> FrontState {
        self.drain(turn, Effect::Part);
        FrontState::Draining(Why::Answered)
    }

    /// Resets the connection once what was sent before has arrived.
    fn cut_off(&mut self, turn: &mut Turn) -> FrontState {
        self.drain(turn, Effect::AskDelivered);
        let until = std::mem::replace(&mut self.deadline, turn.now.millis() + DELIVERY_MS);
        FrontState::Draining(Why::Broken { until })
    }

    /// Half-closes, then reads and drops what still comes (RFC 9112 9.6).
    pub(super) fn linger(&mut self, why: Why, turn: &mut Turn) -> FrontState {
        self.drain(turn, Effect::HalfClose);
        FrontState::Draining(why)
    }

    fn drain(&mut self, turn: &mut Turn, effect: Effect) {
        self.ring.clear();
        self.deadline = after(turn.now.millis(), LINGER_MS);
        turn.effects.push(effect);
    }

    pub(super) fn on_lingering_deadline(&mut self, why: Why, turn: &mut Turn) -> FrontState {
        let now = turn.now.millis();
        match why {
            Why::Broken { until } if until > now => {
                let waited = now.saturating_sub(until - u64::from(LINGER_MS));
                self.deadline = until.min(now + waited.max(DELIVERY_MS));
                turn.effects.push(Effect::AskDelivered);
                FrontState::Draining(why)
            }
            Why::Cut | Why::Broken { .. } => FrontState::Closed(Ending::Reset),
            Why::Answered | Why::Idle => FrontState::Closed(Ending::Plain),
        }
    }
}
