//! The front for HTTP/1.
//!
//! ```text
//!              head whole             exchange over
//!  ReadingHead ----------> Serving ---------------------> Draining ----> Closed
//!     ^   ^                  |  |                            ^
//!     |   `--- it persists --'  `--- rest of the request ----|
//!     |                                     v                |
//!     `--------------------------------- Discarding ---------'
//! ```

mod answer;
mod closing;
mod head;
mod read_head;
mod serving;
mod state;

pub use head::{DRAIN_IDLE_MS, request_limits};
pub use serving::Serving;
pub use state::{Demand, Ending, FoundRequest, FrontEvent, FrontState};

use crate::base::address::Peer;
use crate::base::ring::Ring;
use crate::front::many::Multiplexed;
use crate::machine::Turn;
use crate::machine::failure::Failure;
use crate::machine::recipient::ClientSide;
use crate::observe::reason::Reason;
use head::ReadHead;
use state::Why;

/// What a client is told that speaks plain HTTP where TLS is served.
const PLAIN_HTTP: &str = "this port speaks TLS, and plain HTTP was spoken to it: use https://";

/// A client's connection.
#[derive(Debug)]
pub struct FrontH1 {
    state: FrontState,
    /// Bytes from the client, while no exchange has them.
    pub ring: Ring,
    /// The deadline of the state's own wait.
    deadline: u64,
    client: Peer,
    /// Whether the client will send nothing beyond what was read or lies in its socket.
    client_fin: bool,
    /// Whether it was accepted after the process began to drain.
    is_late: bool,
}

impl FrontH1 {
    /// A front for a connection that was just accepted.
    pub fn new(client: Peer, turn: &Turn) -> Self {
        let head = ReadHead::first(turn.now.millis(), &turn.site.config.timeouts, turn.is_draining);
        Self {
            deadline: head.deadline(),
            state: FrontState::ReadingHead(head),
            ring: Ring::default(),
            client,
            client_fin: false,
            is_late: turn.is_draining,
        }
    }

    /// The connection, on which nothing was read yet, carries several exchanges at once.
    pub fn carry_many(&mut self, protocol: Box<dyn Multiplexed>, turn: &Turn) {
        let idle_since = turn.now.millis();
        self.state = FrontState::Many { protocol, idle_since, is_read: false };
        self.deadline = self.many_deadline(idle_since, turn);
    }

    /// Handles an event; one without a meaning in this state is ignored. New bytes of a head are left to [`FrontH1::read_head`].
    pub fn handle(&mut self, event: FrontEvent, turn: &mut Turn) -> Option<Demand> {
        use FrontEvent::*;
        use FrontState::*;
        let (mut ask, now) = (None, turn.now.millis());
        let is_due = self.deadline != 0 && self.deadline <= now;
        self.state = match (std::mem::replace(&mut self.state, Closed(Ending::Plain)), event) {
            (ReadingHead(head), Fin | Gone | Cut) => {
                ask = self.on_head_end(&head, event, turn);
                if ask.is_some() { ReadingHead(head) } else { Closed(Ending::Plain) }
            }
            (ReadingHead(head), Deadline) if is_due && head.has_begun() => {
                ask = Some(Demand::Refuse(Failure::new(Reason::RequestTimeout, "the request's head did not come in time")));
                ReadingHead(head)
            }
            (ReadingHead(_), Deadline) if is_due && turn.is_draining => self.linger(Why::Idle, turn),
            (ReadingHead(_), Deadline) if is_due => self.part(turn),
            (ReadingHead(head), Drain) => self.on_head_drain(head, now),
            (ReadingHead(_), SentAway) => Closed(Ending::Plain),
            (ReadingHead(head), Evicted) if !head.has_begun() && self.ring.raw() == 0 => Closed(Ending::Plain),
            (ReadingHead(head), OverLimit) => {
                let detail = "this client has as many connections open as limits.max_conns_per_client allows";
                ask = Some(Demand::Refuse(Failure::new(Reason::ClientConnectionLimit, detail)));
                ReadingHead(head)
            }

            (ReadingHead(head), Foreign) => {
                ask = Some(Demand::Refuse(Failure::new(Reason::RequestError, PLAIN_HTTP)));
                ReadingHead(head)
            }

            (state @ Many { .. }, event) => self.on_many(state, event, turn),

            (Discarding(body), Bytes) => self.on_discarded_bytes(body, turn),
            (Discarding(_), Fin) => self.part(turn),
            (Discarding(_), Gone | SentAway | Cut) => Closed(Ending::Plain),
            (Discarding(_), Deadline) if is_due => Closed(Ending::Plain),

            (Draining(why), Bytes) => {
                self.ring.clear();
                Draining(why)
            }
            (Draining(Why::Broken { .. }), Delivered | SentAway | Cut) => Closed(Ending::Reset),
            (Draining(why @ Why::Broken { .. }), Fin) => Draining(why),
            (Draining(_), Fin | Gone | Delivered | SentAway | Cut) => Closed(Ending::Plain),
            (Draining(why), Deadline) if is_due => self.on_lingering_deadline(why, turn),

            (state, _) => state,
        };
        ask
    }

    /// Notes that the client sends nothing beyond what it has sent, read or not.
    pub fn on_half_close(&mut self) {
        self.client_fin = true;
    }

    /// Whether the client sends nothing beyond what it has sent.
    pub fn has_half_closed(&self) -> bool {
        self.client_fin
    }

    /// The exchange in progress, with what the front knows of it.
    pub fn serving(&self) -> Option<&Serving> {
        if let FrontState::Serving(serving) = &self.state { Some(serving) } else { None }
    }

    /// The same, to be changed.
    pub fn serving_mut(&mut self) -> Option<&mut Serving> {
        if let FrontState::Serving(serving) = &mut self.state { Some(serving) } else { None }
    }

    /// The protocol, if it is one with several exchanges at once.
    pub fn many(&self) -> Option<&dyn Multiplexed> {
        if let FrontState::Many { protocol, .. } = &self.state { Some(&**protocol) } else { None }
    }

    /// The same, to be changed, with the ring that it reads from.
    pub fn many_mut(&mut self) -> Option<(&mut dyn Multiplexed, &mut Ring)> {
        if let FrontState::Many { protocol, .. } = &mut self.state { Some((&mut **protocol, &mut self.ring)) } else { None }
    }

    /// The front's part in one of several exchanges.
    pub fn side(&mut self, exchange: usize) -> Option<&mut dyn ClientSide> {
        if let FrontState::Many { protocol, .. } = &mut self.state { protocol.side(exchange) } else { None }
    }

    /// The exchanges in progress, by number.
    pub fn exchange_at(&self, number: usize) -> Option<usize> {
        match &self.state {
            FrontState::Serving(serving) if number == 0 => Some(serving.exchange()),
            FrontState::Many { protocol, .. } => protocol.exchanges().get(number).copied(),
            _ => None,
        }
    }

    /// The key of the exchange in progress, if there can be one only.
    pub fn exchange(&self) -> Option<usize> {
        self.serving().map(Serving::exchange)
    }

    /// The state.
    pub fn state(&self) -> &FrontState {
        &self.state
    }

    /// Whether bytes from the client are wanted, and there is room for them. While an exchange has the ring, that one tells.
    pub fn wants_bytes(&self) -> bool {
        match &self.state {
            FrontState::ReadingHead(_) | FrontState::Many { .. } | FrontState::Discarding(_) => {
                !self.ring.is_attached() || self.ring.room() > 0
            }
            FrontState::Draining(_) => true,
            FrontState::Serving(_) | FrontState::Closed(_) => false,
        }
    }

    /// Whether the first bytes of a request are in the ring already, so that a look at them is due without a read.
    pub fn is_behind(&self) -> bool {
        match &self.state {
            FrontState::ReadingHead(head) => head.is_behind(&self.ring),
            FrontState::Many { protocol, .. } => protocol.has_frame(&self.ring),
            _ => false,
        }
    }

    /// The deadline (milliseconds); 0 = none.
    pub fn deadline(&self) -> u64 {
        self.deadline
    }

    /// How to close the socket, once it is to be closed.
    pub fn ending(&self) -> Option<Ending> {
        if let FrontState::Closed(ending) = self.state { Some(ending) } else { None }
    }

    /// Whether it waits for the next request, of which nothing has come.
    pub fn is_resting(&self) -> bool {
        match &self.state {
            FrontState::ReadingHead(head) => head.is_between_requests(),
            FrontState::Many { protocol, .. } => self.ring.raw() == 0 && protocol.exchanges().is_empty(),
            _ => false,
        }
    }

    /// Since when it has waited for a request (also its first) of which nothing has come (milliseconds).
    pub fn idle_since(&self) -> Option<u64> {
        match &self.state {
            FrontState::ReadingHead(head) if !head.has_begun() && self.ring.raw() == 0 => Some(head.since()),
            FrontState::Many { idle_since, .. } if self.is_resting() => Some(*idle_since),
            _ => None,
        }
    }

    /// Whether it only lingers, so that its last answer is not lost to a reset.
    pub fn has_had_its_last(&self) -> bool {
        matches!(self.state, FrontState::Draining(Why::Answered | Why::Cut | Why::Broken { .. }))
    }

    /// Whether it is between requests, or in the middle of a head.
    pub fn is_asking(&self) -> bool {
        matches!(self.state, FrontState::ReadingHead(_))
    }

    /// Whether the next thing that comes may be a request.
    pub fn awaits_request(&self) -> bool {
        matches!(self.state, FrontState::ReadingHead(_) | FrontState::Many { .. })
    }

    /// Whether a request has begun of which the head is incomplete.
    pub fn is_within_head(&self) -> bool {
        match &self.state {
            FrontState::ReadingHead(head) => head.has_begun(),
            FrontState::Many { protocol, .. } => self.ring.raw() > 0 && protocol.exchanges().is_empty(),
            _ => false,
        }
    }

    /// Whether it has carried several exchanges, and can only be closed: its client sends nothing more, and has all of its answers.
    pub fn is_spent(&self) -> bool {
        let FrontState::Many { protocol, is_read: true, .. } = &self.state else { return false };
        protocol.exchanges().is_empty() && protocol.control().is_empty() && !protocol.has_frame(&self.ring)
    }

    /// Whether what still comes from the client is dropped, and nothing else is waited for.
    pub fn is_draining(&self) -> bool {
        matches!(self.state, FrontState::Draining(_))
    }

    /// Whether a request is being served, or the rest of one is read.
    pub fn is_busy(&self) -> bool {
        match &self.state {
            FrontState::Serving(_) | FrontState::Discarding(_) => true,
            FrontState::Many { protocol, .. } => !protocol.exchanges().is_empty(),
            _ => false,
        }
    }

    /// The connection's preface has told who the peer is.
    pub fn set_client(&mut self, client: Peer) {
        self.client = client;
    }

    /// The peer.
    pub fn client(&self) -> Peer {
        self.client
    }

    /// Whether it was accepted after the process began to drain.
    pub fn is_late(&self) -> bool {
        self.is_late
    }
}
