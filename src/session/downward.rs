//! The answer on its way from the upstream to the client.

use super::seat::Seat;
use crate::back::h1::{FoundResponse, Reading, response_limits};
use crate::exchange::Context;
use crate::http::HeadLimits;
use crate::http::response::Response;
use crate::machine::recipient::ClientSide;
use crate::machine::{Direction, Passed, Turn};
use crate::observe::reason::Reason;

/// How reading heads goes on.
enum Heads {
    /// The final one is here.
    Done,
    /// More has to come first, or the exchange has gone another way.
    Wait,
}

impl<C: ClientSide> Seat<'_, C> {
    pub(super) fn on_upstream_bytes(&mut self, turn: &mut Turn) {
        self.exchange.on_upstream_progress();
        if self.exchange.is_stray() {
            return self.step(turn, |x, _, cx| x.on_stray(cx));
        }
        self.exchange.on_answer_bytes();
        self.take_answer(turn);
    }

    pub(super) fn on_upstream_fin(&mut self, turn: &mut Turn) {
        self.exchange.attempt.upstream_fin = true;
        let has_begun = self.exchange.down.ring.raw() > 0;
        if self.exchange.outcome.status != 0 || (has_begun && !self.back.holds_switch()) {
            return self.take_answer(turn);
        }
        self.step(turn, |x, _, cx| x.on_no_answer(has_begun, cx));
    }

    /// Processes new bytes of the answer: heads until the final one, then the content.
    pub(super) fn take_answer(&mut self, turn: &mut Turn) {
        if self.back.holds_switch() && !self.exchange.is_request_out() {
            return;
        }
        let limits = response_limits(&self.exchange.site.config.limits);
        while self.exchange.outcome.status == 0 {
            if matches!(self.take_head(&limits, turn), Heads::Wait) {
                return;
            }
        }
        if self.exchange.outcome.status == 101 {
            return self.open_tunnel(turn);
        }
        match self.back.read_content(&mut self.exchange.down, &limits) {
            Ok(None) => {}
            Ok(Some(ready)) => self.client.frame(ready, &mut self.exchange.down),
            Err(refusal) => return self.step(turn, |x, _, cx| x.fail_response(refusal, cx)),
        }
        let is_cut = self.exchange.attempt.upstream_fin && !self.exchange.down.is_ended && !self.back.is_held_up(&self.exchange.down);
        if is_cut && !self.back.close(&mut self.exchange.down) {
            return self.step(turn, |x, _, cx| x.fail_upstream(Reason::ResponseIncomplete, cx));
        }
        if self.exchange.down.is_ended {
            self.on_answer_whole(turn);
        }
    }

    fn take_head(&mut self, limits: &HeadLimits, turn: &mut Turn) -> Heads {
        let Self { client, exchange, back, .. } = self;
        if exchange.down.pending() >= exchange.site.config.limits.buffer_size {
            // Many interim responses wait for the client; until it takes them the upstream waits too.
            return Heads::Wait;
        }
        let reading = Reading {
            limits,
            to_head: exchange.asked.to_head,
            is_request_out: exchange.is_request_out(),
            is_reused: exchange.attempt.reused,
        };
        // The bytes are set apart, because the exchange is changed while they are read.
        let mut ring = std::mem::take(&mut exchange.down.ring);
        let asked_switch = back.asked_switch();
        let take = |response: &Response, turn: &mut Turn| {
            asked_switch.check(&exchange.up.block, response)?;
            exchange.take_head(response, &mut Context { turn, front: *client })
        };
        let (found, length) = back.read_head(ring.raw_mut(), reading, turn, take);
        if matches!(found, FoundResponse::Head(Passed::Interim | Passed::Final(_))) {
            ring.skip(length);
        }
        exchange.down.ring = ring;
        match found {
            FoundResponse::Head(Passed::Interim) => return Heads::Done,
            FoundResponse::Head(Passed::Final(_)) => {
                back.begin_content(&mut exchange.down);
                return Heads::Done;
            }
            FoundResponse::Head(Passed::Over(status)) => self.step(turn, |x, _, cx| x.drop_answer(status, cx)),
            FoundResponse::Head(Passed::Aside) => self.step(turn, |x, _, cx| x.on_aside(cx.turn)),
            FoundResponse::NoHttp => {
                let first: Vec<u8> = self.exchange.down.ring.raw_mut().to_vec();
                self.step(turn, |x, _, cx| x.on_no_http(&first, cx));
            }
            FoundResponse::Refused(refusal) => self.step(turn, |x, _, cx| x.fail_response(refusal, cx)),
            FoundResponse::More if self.exchange.attempt.upstream_fin => {
                self.step(turn, |x, _, cx| x.on_no_answer(x.down.ring.raw() > 0, cx));
            }
            FoundResponse::More => self.make_room_for_head(limits, turn),
        }
        Heads::Wait
    }

    /// A head that does not fit an ordinary ring gets a larger one, as long as it lasts.
    fn make_room_for_head(&mut self, limits: &HeadLimits, turn: &mut Turn) {
        let ring = &mut self.exchange.down.ring;
        if !self.back.holds_switch() && ring.is_attached() && ring.room() == 0 {
            let small = ring.move_to(vec![0; limits.total].into_boxed_slice());
            turn.buffers.give_back(small);
        }
    }

    /// The upstream has switched to the protocol that was asked for.
    fn open_tunnel(&mut self, turn: &mut Turn) {
        self.client.open_tunnel();
        self.back.open_tunnel();
        self.step(turn, |x, _, cx| x.open_tunnel(cx.turn));
        self.on_tunnel_bytes(turn);
        if self.exchange.attempt.upstream_fin {
            // It came while the 101 had to wait for the client.
            self.step(turn, |x, state, cx| x.on_tunnel_fin(state, Direction::Down, cx.turn));
        }
    }

    /// The last byte of the answer is here.
    pub(super) fn on_answer_whole(&mut self, turn: &mut Turn) {
        // What follows the content is dropped before the client's side makes a frame of the rest.
        let end = self.back.end(&mut self.exchange.down);
        if self.back.is_framed_by_client() {
            self.client.end_content(&mut self.exchange.down);
        }
        self.step(turn, |x, _, cx| x.on_answer_whole(end, cx));
    }
}
