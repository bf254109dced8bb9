//! Where a front, an exchange and a back meet: bytes of one become facts for the others, and their answers bytes again.
//!
//! All of it touches no socket: an event comes in, the machines move, effects and bytes in rings are left behind. So the worker drives
//! it in production, and tests without a network drive the same code.

pub mod event;
pub mod talks;
pub mod view;

mod downward;
mod many;
mod seat;
#[cfg(test)]
mod tests;

pub use event::Event;
pub use talks::{Talk, Talks};
pub use view::SessionView;

pub use crate::front::h1::{DRAIN_IDLE_MS, Ending};
pub use crate::machine::{Direction, Effect, Journal, Turn};

use crate::front::NewExchange;
use crate::front::h1::{self, Demand, FoundRequest, FrontH1};
use crate::http::request::Request;
use crate::machine::failure::Failure;
use crate::machine::recipient::ClientSide;
use seat::Seat;

/// A client's connection with its exchange.
pub struct Session<'a> {
    /// The key of the client.
    pub client: usize,
    /// The exchange that the event is about, where there may be several.
    pub about: Option<usize>,
    /// Its front.
    pub front: &'a mut FrontH1,
    /// All exchanges of the worker.
    pub talks: &'a mut Talks,
}

impl Session<'_> {
    /// Handles an event: moves the machines, and leaves effects behind. An event without a meaning in this state is ignored. Returns the
    /// key of the exchange that was concerned, or has begun; if that has ended, the owner of the exchanges removes it.
    #[inline(always)]
    pub fn handle(&mut self, event: Event, turn: &mut Turn) -> Option<usize> {
        if matches!(event, Event::ClientHalfClosed) {
            self.front.on_half_close();
        }
        if let Some(serving) = self.front.serving_mut() {
            let key = serving.exchange();
            if seat(serving, &mut self.talks[key]).handle(event, turn) {
                self.end(key, turn);
            }
            return Some(key);
        }
        if self.front.many().is_some() {
            return self.handle_many(event, turn);
        }
        self.on_front_event(event, turn)
    }

    /// The exchange is over, and the client's connection goes on without it.
    fn end(&mut self, key: usize, turn: &mut Turn) {
        let exchange = &mut self.talks[key].exchange;
        let Some(end) = exchange.end() else { return };
        let (ring, is_read) = (std::mem::take(&mut exchange.up.ring), exchange.up.is_ended);
        self.front.on_exchange_end(end, ring, is_read, turn);
    }

    /// An event while the client has no exchange, or one that is not about any. Returns the key of one that has begun, even if it has
    /// ended as well.
    #[inline(always)]
    fn on_front_event(&mut self, event: Event, turn: &mut Turn) -> Option<usize> {
        let event = match event {
            Event::ClientBytes if self.front.is_asking() => return self.on_head_bytes(turn),
            Event::ClientBytes => h1::FrontEvent::Bytes,
            Event::ClientFin => h1::FrontEvent::Fin,
            Event::ClientGone => h1::FrontEvent::Gone,
            Event::Delivered => h1::FrontEvent::Delivered,
            Event::OverLimit => h1::FrontEvent::OverLimit,
            Event::Foreign => h1::FrontEvent::Foreign,
            Event::Evicted => h1::FrontEvent::Evicted,
            Event::SentAway => h1::FrontEvent::SentAway,
            Event::Deadline => h1::FrontEvent::Deadline,
            Event::Drain => h1::FrontEvent::Drain,
            Event::Cut => h1::FrontEvent::Cut,
            _ => return None,
        };
        let key = match self.front.handle(event, turn)? {
            Demand::Refuse(failure) => self.refuse_head(failure, false, turn),
            Demand::RefuseAtEnd(failure) => self.refuse_head(failure, true, turn),
            Demand::Abandon => self.abandon(turn),
        };
        Some(key)
    }

    /// A head may be whole: begins an exchange.
    fn on_head_bytes(&mut self, turn: &mut Turn) -> Option<usize> {
        let Self { client, front, talks, .. } = self;
        let (peer, has_half_closed, is_late) = (front.client(), front.has_half_closed(), front.is_late());
        let mut opened = Ok(());
        let begin = |request: &Request, turn: &mut Turn| {
            let key = talks.begin(*client, peer, has_half_closed, turn);
            let talk = &mut talks[key];
            opened = talk.open(request, is_late, turn);
            NewExchange { key, content: talk.back.content_form() }
        };
        match front.read_head(turn, begin) {
            FoundRequest::More => None,
            FoundRequest::Request(key) => {
                self.start(key, opened, turn);
                Some(key)
            }
            FoundRequest::Refused(refusal) => Some(self.refuse_head(Failure::of_request(refusal), false, turn)),
        }
    }

    #[inline(always)]
    fn start(&mut self, key: usize, opened: Result<(), Failure>, turn: &mut Turn) {
        turn.requests_begun += 1;
        turn.stats.requests.add(1);
        let ring = std::mem::take(&mut self.front.ring);
        let Some(serving) = self.front.serving_mut() else { return };
        let talk = &mut self.talks[key];
        talk.exchange.up.ring = ring;
        if seat(serving, talk).start(opened, turn) {
            self.end(key, turn);
        }
    }

    /// Answers a head that is refused; whatever else has come or comes is dropped.
    fn refuse_head(&mut self, failure: Failure, is_cut: bool, turn: &mut Turn) -> usize {
        let key = self.talks.begin(self.client, self.front.client(), self.front.has_half_closed(), turn);
        self.talks[key].exchange.open_refused(self.front.ring.raw_mut(), is_cut);
        self.front.serve_refused(key);
        self.talks[key].exchange.up.ring = std::mem::take(&mut self.front.ring);
        if self.front.serving_mut().is_some_and(|serving| seat(serving, &mut self.talks[key]).refuse(failure, turn)) {
            self.end(key, turn);
        }
        key
    }

    /// The client left in the middle of a head.
    fn abandon(&mut self, turn: &mut Turn) -> usize {
        let key = self.talks.begin(self.client, self.front.client(), self.front.has_half_closed(), turn);
        self.talks[key].exchange.open_refused(self.front.ring.raw_mut(), false);
        self.front.serve_refused(key);
        if let Some(serving) = self.front.serving_mut() {
            seat(serving, &mut self.talks[key]).abandon(turn);
        }
        self.end(key, turn);
        key
    }
}

/// An exchange with its neighbours.
fn seat<'a, C: ClientSide>(client: &'a mut C, talk: &'a mut Talk) -> Seat<'a, C> {
    let Talk { exchange, back, grant, page, .. } = talk;
    Seat { client, exchange, back, grant, page }
}
