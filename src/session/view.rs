//! What can be seen of a client's connection and its exchange: computed from their states, never stored.

use super::{Direction, Ending, Session, Talk, Talks};
use crate::exchange::{Exchange, ExchangeState};
use crate::front::h1::FrontH1;
use crate::machine::flow::Flow;
use crate::machine::recipient::ClientSide;
use std::io::IoSlice;

/// A client's connection with its exchange.
#[derive(Clone, Copy)]
pub struct SessionView<'a> {
    /// Its front.
    pub front: &'a FrontH1,
    /// Its exchange.
    pub talk: Option<&'a Talk>,
}

impl<'a> SessionView<'a> {
    /// The front with what it has of these.
    pub fn new(front: &'a FrontH1, talks: &'a Talks) -> Self {
        Self { front, talk: front.exchange().map(|key| &talks[key]) }
    }

    /// The same with one exchange, where there may be several.
    pub fn of(front: &'a FrontH1, talk: &'a Talk) -> Self {
        Self { front, talk: Some(talk) }
    }

    /// The exchange, while there is one.
    pub fn exchange(self) -> Option<&'a Exchange> {
        self.talk.map(|talk| &talk.exchange)
    }

    /// Whether bytes from the client are wanted, and there is room for them.
    pub fn wants_client(self) -> bool {
        self.talk.map_or_else(|| self.front.wants_bytes(), |talk| talk.exchange.wants_content())
    }

    /// Whether bytes from the upstream are wanted, and there is room for them.
    pub fn wants_upstream(self) -> bool {
        self.talk.is_some_and(|talk| talk.exchange.wants_upstream())
    }

    /// Whether the first bytes of a request are in the ring already, so that [`super::Event::ClientBytes`] is due without a read.
    pub fn is_behind(self) -> bool {
        self.front.is_behind()
    }

    /// Whether there are bytes to send to either side.
    pub fn has_output(self) -> bool {
        self.talk.is_some_and(|talk| talk.exchange.down.is_owing() || talk.exchange.to_upstream().is_some_and(Flow::is_owing))
    }

    /// The flow of a direction, as long as its taker takes bytes.
    fn flow(self, direction: Direction) -> Option<&'a Flow> {
        let exchange = self.exchange()?;
        match direction {
            Direction::Up => exchange.to_upstream(),
            Direction::Down => Some(&exchange.down),
        }
    }

    /// How many bytes of that direction were read past the ring and must be sent before anything else.
    pub fn past(self, direction: Direction) -> usize {
        self.flow(direction).map_or(0, Flow::past)
    }

    /// The bytes of that direction, for one send.
    pub fn output(self, direction: Direction) -> Option<[IoSlice<'a>; 5]> {
        self.flow(direction).filter(|flow| flow.pending() > 0).map(Flow::output)
    }

    /// How many bytes of that direction need no look and may bypass the ring: none while other bytes are to be sent first.
    #[inline(always)]
    pub fn opaque(self, direction: Direction) -> u64 {
        let Some(talk) = self.talk else { return 0 };
        let Exchange { up, down, .. } = &talk.exchange;
        match (talk.exchange.state(), direction) {
            (ExchangeState::StreamingBody(_) | ExchangeState::Tunnelling(_), Direction::Down) => talk.back.opaque(down),
            (ExchangeState::StreamingBody(_) | ExchangeState::Tunnelling(_), Direction::Up) if !talk.exchange.attempt.broken => {
                self.front.serving().map_or(0, |serving| serving.opaque(up))
            }
            _ => 0,
        }
    }

    /// The earliest deadline (milliseconds).
    pub fn next_deadline(self) -> Option<u64> {
        match self.talk {
            Some(talk) => talk.exchange.next_deadline(),
            None => Some(self.front.deadline()).filter(|&at| at != 0),
        }
    }

    /// Whether the client must still be told something before the process may end.
    pub fn is_finishing(self) -> bool {
        self.front.is_busy() || self.front.has_had_its_last()
    }

    /// Whether what still comes from the client is dropped.
    pub fn is_lingering(self) -> bool {
        match self.exchange().map(Exchange::state) {
            Some(ExchangeState::Tunnelling(tunnel)) => tunnel.down_is_closed,
            _ => self.front.is_draining(),
        }
    }

    /// How to close the socket, once it is to be closed.
    pub fn ending(self) -> Option<Ending> {
        self.front.ending()
    }

    /// Panics unless front and exchange are consistent: for the simulation and the fuzzer.
    pub fn check(self) {
        assert!(self.front.ring.len() <= self.front.ring.capacity());
        match self.talk {
            Some(talk) => {
                assert!(!self.front.ring.is_attached(), "the front has a ring, and so has its exchange");
                assert!(talk.exchange.end().is_none(), "an exchange that is over is being served");
                talk.exchange.check();
            }
            None => assert!(!self.front.is_busy() || self.front.serving().is_none()),
        }
    }
}

impl Session<'_> {
    /// Stores what a send of opaque bytes left over; it is sent before anything else of that direction.
    pub fn spill(&mut self, direction: Direction, bytes: &[u8]) {
        let Some(talk) = self.about.or(self.front.exchange()).and_then(|key| self.talks.get_mut(key)) else { return };
        let is_taken = SessionView { front: self.front, talk: Some(talk) }.flow(direction).is_some();
        let Exchange { up, down, .. } = &mut talk.exchange;
        match direction {
            // Its taker failed meanwhile, so these bytes have no recipient any more.
            _ if !is_taken => {}
            Direction::Up => up.spill(bytes),
            Direction::Down => down.spill(bytes),
        }
    }
}
