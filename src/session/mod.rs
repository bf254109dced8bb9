//! A client's connection as a state machine that touches no socket: events come in, effects and ring bytes go out.
//!
//! ```text
//!              head whole                connected               answer whole
//!  ReadingHead ----------> ConnectingUpstream ------> StreamingBody ------------> Replying
//!     ^   |                        |                       |                       |  |
//!     |   `--- answer made here ---+------- failure -------+---------------------->'  |
//!     |                                                                               |
//!     `------------------------------ the connection persists ------------------------+
//!                                                                                     |
//!                                      Closed <------ Draining <---- bytes may still come
//!
//!  StreamingBody ---- 101 ----> Tunnelling ----> Closed
//! ```
//!
//! The session is in one state at a time, and a transition consumes it. No state has a buffer of its own: bytes are in the two
//! rings and in the blocks of the [`Exchange`]. Which bytes are wanted ([`Session::wants_client`] …) is computed from the state,
//! never stored. What is due at the end of an answer is done before its last byte can be read by the client.

pub mod deadlines;
pub mod event;
pub mod exchange;
pub mod failure;
pub mod half;
pub mod turn;

mod connect;
mod note;
mod read_head;
mod reply;
mod retry;
mod stream;
#[cfg(test)]
mod tests;
mod tunnel;
mod waits;

pub use event::{Direction, Effect, Event};
pub use exchange::Exchange;
pub use turn::{Journal, Turn};

pub use read_head::DRAIN_IDLE_MS;

use crate::base::address::Peer;
use crate::base::ring::Ring;
use crate::guard::gate::Ticket;
use crate::guard::places::Needs;
use crate::upstream::pool::Pool;
use read_head::ReadHead;
use std::io::IoSlice;
use std::sync::{Arc, Weak};

/// The state, with the data that is valid in it.
#[derive(Debug)]
enum State {
    /// Between requests, or within a head.
    ReadingHead(ReadHead),
    /// Waiting for a place, for another attempt, or for the connect itself.
    ConnectingUpstream(Box<Exchange>),
    /// An exchange with an upstream: two halves that move independently, heads included.
    StreamingBody(Box<Exchange>),
    /// The whole answer is here or is made here; the upstream connection, if there was one, has been released.
    Replying(Box<Exchange>),
    /// Everything was sent; what still comes is read and dropped, so that no reset overtakes the answer.
    Draining(Why),
    /// After a 101: bytes pass both ways without being looked at.
    Tunnelling(Box<Exchange>),
    /// The worker closes the socket at the end of the turn.
    Closed(Ending),
}

/// Why a half-closed connection is still read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Why {
    /// A reset could destroy its answer.
    Answered,
    /// It was idle when the process began to drain.
    Idle,
    /// Its answer was cut off, which the half-close shows.
    Cut,
    /// Its answer was cut off, which only a reset shows. The reset waits until what was sent before has arrived, or until this
    /// time (milliseconds).
    Broken {
        /// When the reset happens at the latest.
        until: u64,
    },
}

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// FIN after what was sent.
    Plain,
    /// RST, so that the client sees that something is missing.
    Reset,
}

/// A client's connection.
#[derive(Debug)]
pub struct Session {
    state: State,
    /// Bytes from the client.
    pub up: Ring,
    /// Bytes from the upstream.
    pub down: Ring,
    /// The deadline of the state's own wait.
    phase: u64,
    client: Peer,
    /// Whether the client will send nothing beyond what was read or lies in its socket.
    client_fin: bool,
    /// Whether it was accepted after the process began to drain.
    is_late: bool,
    /// Identifies the current wait. Each wait gets a new one, so that a message for an earlier wait is recognised as late.
    serial: u64,
}

impl Session {
    /// A session for a connection that was just accepted. `serial` tells it from earlier ones in its slot.
    pub fn new(client: Peer, serial: u64, turn: &Turn) -> Self {
        let timeouts = &turn.site.config.timeouts;
        let head = ReadHead::first(turn.now.millis(), timeouts, turn.is_draining);
        Self {
            phase: head.deadline(),
            state: State::ReadingHead(head),
            up: Ring::default(),
            down: Ring::default(),
            client,
            client_fin: false,
            is_late: turn.is_draining,
            serial: serial << 32,
        }
    }

    /// Handles an event: changes the state, and leaves effects behind. An event without a meaning in this state is ignored.
    pub fn handle(&mut self, event: Event, turn: &mut Turn) {
        use Event::*;
        use State::*;
        self.client_fin |= matches!(event, ClientHalfClosed);
        let state = std::mem::replace(&mut self.state, Closed(Ending::Plain));
        self.state = match (state, event) {
            (ReadingHead(head), ClientBytes) => self.on_head_bytes(head, turn),
            (ReadingHead(head), ClientFin) => self.on_head_fin(head, turn),
            (ReadingHead(head), Deadline) => self.on_head_deadline(head, turn),
            (ReadingHead(head), Drain) => self.on_head_drain(head, turn),
            (ReadingHead(_), ClientGone) => self.on_head_lost(turn),
            (ReadingHead(head), Cut) => self.on_head_cut(head, turn),
            (ReadingHead(head), Evicted) if !head.has_begun() && self.up.raw() == 0 => Closed(Ending::Plain),
            (ReadingHead(_), OverLimit) => self.on_over_limit(turn),

            (ConnectingUpstream(x), ClientBytes) if x.is_queued => self.on_queued_bytes(x, turn),
            (ConnectingUpstream(x), ClientTook(n)) => self.on_invitation_took(x, n),
            (ConnectingUpstream(x), ClientBytes) => self.on_body_bytes(x, turn, ConnectingUpstream),
            (ConnectingUpstream(x), ClientHalfClosed) if x.is_queued => self.on_queued_half_close(x, turn),
            (ConnectingUpstream(x), Admitted(grant)) => self.on_admitted(x, grant, turn),
            (ConnectingUpstream(x), Dismissed) => self.on_dismissed(x, turn),
            (ConnectingUpstream(x), UpstreamConnected { reused }) => self.on_connected(x, reused, turn),
            (ConnectingUpstream(x), ConnectFailed(reason)) => self.fail_upstream(x, reason, turn),
            (ConnectingUpstream(x), NoDescriptor) => self.queue(x, turn),

            (StreamingBody(x), ClientBytes) => self.on_body_bytes(x, turn, StreamingBody),
            (StreamingBody(x), ClientTook(n)) => self.on_client_took(x, n, turn),
            (StreamingBody(x), UpstreamTook(n)) => self.on_upstream_took(x, n, turn),
            (StreamingBody(x), UpstreamBytes) => self.on_upstream_bytes(x, turn),
            (StreamingBody(x), UpstreamFin) => self.on_upstream_fin(x, turn),
            (StreamingBody(x), UpstreamGone) => self.on_upstream_gone(x, turn),
            (StreamingBody(x), UpstreamBroken) => self.on_upstream_broken(x),
            (StreamingBody(x), Moved(direction, n)) => self.on_moved(x, direction, n, turn),
            (StreamingBody(x), Passed(direction, n)) => self.on_passed(x, direction, n, turn),

            (Replying(x), ClientBytes) => self.on_dropped_bytes(x, turn),
            (Replying(x), ClientTook(n)) => self.on_reply_took(x, n, turn),
            (Replying(x), Passed(Direction::Down, n)) => self.on_reply_passed(x, n, turn),
            (Replying(x), Rendered(page)) => self.on_rendered(x, *page, turn),

            (Tunnelling(x), ClientBytes | UpstreamBytes) => self.on_tunnel_bytes(x, turn),
            (Tunnelling(x), ClientTook(n)) => self.on_tunnel_took(x, Direction::Down, n, turn),
            (Tunnelling(x), UpstreamTook(n)) => self.on_tunnel_took(x, Direction::Up, n, turn),
            (Tunnelling(x), Moved(direction, n)) => self.on_tunnel_moved(x, direction, n),
            (Tunnelling(x), Passed(direction, n)) => self.on_tunnel_passed(x, direction, n, turn),
            (Tunnelling(x), ClientFin) => self.on_tunnel_fin(x, Direction::Up, turn),
            (Tunnelling(x), UpstreamFin) => self.on_tunnel_fin(x, Direction::Down, turn),
            (Tunnelling(x), UpstreamBroken) => self.on_tunnel_broken(x, true, turn),
            (Tunnelling(x), UpstreamGone) => self.on_tunnel_broken(x, false, turn),
            (Tunnelling(x), ClientGone) => self.on_tunnel_aborted(x, turn),
            (Tunnelling(x), Deadline) => self.on_tunnel_deadline(x, turn),
            (Tunnelling(x), Cut) => self.on_tunnel_cut(x, turn),

            (ConnectingUpstream(x) | StreamingBody(x), ClientFin) => self.on_body_fin(x, turn),
            (Replying(x), ClientFin) => self.on_reply_fin(x, turn),
            (Replying(x), Evicted) => self.abort(x, turn),
            (Replying(x), ClientHalfClosed) => self.on_reply_half_close(x),
            (ConnectingUpstream(x) | StreamingBody(x) | Replying(x), ClientGone) => self.abort(x, turn),
            (ConnectingUpstream(x), Deadline) => self.on_deadline(x, turn, ConnectingUpstream),
            (StreamingBody(x), MakeRoom) => self.make_room(x, turn),
            (StreamingBody(x), Deadline) => self.on_streaming_deadline(x, turn),
            (Replying(x), Deadline) => self.on_deadline(x, turn, Replying),
            (ConnectingUpstream(x) | StreamingBody(x) | Replying(x), Cut) => self.on_cut(x, turn),

            (Draining(why), ClientBytes) => self.on_lingering_bytes(why),
            (Draining(Why::Broken { .. }), Delivered | Evicted | Cut) => Closed(Ending::Reset),
            (Draining(why @ Why::Broken { .. }), ClientFin) => Draining(why),
            (Draining(_), ClientFin | ClientGone | Delivered | Evicted | Cut) => Closed(Ending::Plain),
            (Draining(why), Deadline) => self.on_lingering_deadline(why, turn),

            (state, _) => state,
        };
        self.settle_content(turn);
        self.update_waits(turn);
    }

    /// Whether bytes from the client are wanted, and there is room for them (a ring without storage counts as having room).
    pub fn wants_client(&self) -> bool {
        let has_room = !self.up.is_attached() || self.up.room() > 0;
        match &self.state {
            State::ReadingHead(_) => has_room,
            State::ConnectingUpstream(x) | State::StreamingBody(x) => !x.up.is_complete() && has_room,
            State::Replying(x) => !x.up.is_complete() && has_room,
            State::Tunnelling(x) => !x.up.is_complete() && has_room,
            State::Draining(_) => true,
            State::Closed(_) => false,
        }
    }

    /// Whether bytes from the upstream are wanted, and there is room for them.
    pub fn wants_upstream(&self) -> bool {
        let has_room = !self.down.is_attached() || self.down.room() > 0;
        match &self.state {
            State::StreamingBody(x) => !x.attempt.upstream_fin && has_room,
            State::Tunnelling(x) => !x.down.is_complete() && has_room,
            _ => false,
        }
    }

    /// Whether the first bytes of a request are in the ring already, so that [`Event::ClientBytes`] is due without a read.
    pub fn is_behind(&self) -> bool {
        matches!(&self.state, State::ReadingHead(head) if head.is_behind(&self.up))
    }

    /// Whether there are bytes to send to either side.
    pub fn has_output(&self) -> bool {
        match &self.state {
            State::ConnectingUpstream(x) => x.down.is_owing(&self.down),
            State::StreamingBody(x) | State::Replying(x) | State::Tunnelling(x) => x.down.is_owing(&self.down) || x.up.is_owing(&self.up),
            _ => false,
        }
    }

    /// How many bytes of that direction were read past the ring and must be sent before anything else.
    pub fn past(&self, direction: Direction) -> usize {
        match (&self.state, direction) {
            (State::StreamingBody(x) | State::Tunnelling(x), Direction::Up) if !x.attempt.broken => x.up.past(),
            (State::StreamingBody(x) | State::Replying(x) | State::Tunnelling(x), Direction::Down) => x.down.past(),
            _ => 0,
        }
    }

    /// The bytes for the client, for one send.
    pub fn client_output(&self) -> Option<[IoSlice<'_>; 5]> {
        match &self.state {
            State::ConnectingUpstream(x) | State::StreamingBody(x) | State::Replying(x) | State::Tunnelling(x)
                if x.down.pending(&self.down) > 0 =>
            {
                Some(x.down.output(&self.down))
            }
            _ => None,
        }
    }

    /// The bytes for the upstream, for one send.
    pub fn upstream_output(&self) -> Option<[IoSlice<'_>; 5]> {
        match &self.state {
            State::StreamingBody(x) | State::Tunnelling(x) if !x.attempt.broken && x.up.pending(&self.up) > 0 => {
                Some(x.up.output(&self.up))
            }
            _ => None,
        }
    }

    /// How many bytes of that direction need no look and may bypass the ring: none while other bytes are to be sent first.
    pub fn opaque(&self, direction: Direction) -> u64 {
        match (&self.state, direction) {
            (State::StreamingBody(x) | State::Tunnelling(x), Direction::Up) if !x.attempt.broken => x.up.opaque(&self.up),
            (State::StreamingBody(x) | State::Tunnelling(x), Direction::Down) => x.down.opaque(&self.down),
            _ => 0,
        }
    }

    /// Stores what a send of opaque bytes left over; it is sent before anything else of that direction.
    pub fn spill(&mut self, direction: Direction, bytes: &[u8]) {
        match (&mut self.state, direction) {
            (State::StreamingBody(x) | State::Tunnelling(x), Direction::Up) => x.up.spill(bytes),
            (State::StreamingBody(x) | State::Replying(x) | State::Tunnelling(x), Direction::Down) => x.down.spill(bytes),
            // It was closed or failed meanwhile, so these bytes have no recipient any more.
            _ => {}
        }
    }

    /// How to close the socket, once the session is closed.
    pub fn ending(&self) -> Option<Ending> {
        if let State::Closed(ending) = self.state { Some(ending) } else { None }
    }

    /// The earliest deadline (milliseconds).
    pub fn next_deadline(&self) -> Option<u64> {
        match self.exchange() {
            Some(x) => x.waits.earliest(self.phase),
            None => (self.phase != 0).then_some(self.phase),
        }
    }

    /// Whether a request is being served.
    pub fn is_busy(&self) -> bool {
        self.exchange().is_some()
    }

    /// Whether it waits for the next request, of which nothing has come.
    pub fn is_resting(&self) -> bool {
        matches!(&self.state, State::ReadingHead(head) if head.is_between_requests())
    }

    /// Since when it has waited for a request (also its first) of which nothing has come (milliseconds).
    pub fn idle_since(&self) -> Option<u64> {
        match &self.state {
            State::ReadingHead(head) if !head.has_begun() && self.up.raw() == 0 => Some(head.since()),
            _ => None,
        }
    }

    /// Whether it only lingers, so that its last answer is not lost to a reset.
    pub fn has_had_its_last(&self) -> bool {
        matches!(self.state, State::Draining(Why::Answered | Why::Cut | Why::Broken { .. }))
    }

    /// Whether it is between requests, or in the middle of a head.
    pub fn is_asking(&self) -> bool {
        matches!(self.state, State::ReadingHead(_))
    }

    /// Whether a head has begun and is incomplete.
    pub fn is_within_head(&self) -> bool {
        matches!(&self.state, State::ReadingHead(head) if head.has_begun())
    }

    /// Whether the client must still be told something before the process may end.
    pub fn is_finishing(&self) -> bool {
        self.is_busy() || self.has_had_its_last()
    }

    /// Whether what still comes from the client is dropped.
    pub fn is_lingering(&self) -> bool {
        match &self.state {
            State::Draining(_) => true,
            State::Tunnelling(x) => x.down_is_closed,
            _ => false,
        }
    }

    /// The exchange, while there is one.
    pub fn exchange(&self) -> Option<&Exchange> {
        match &self.state {
            State::ConnectingUpstream(x) | State::StreamingBody(x) | State::Replying(x) | State::Tunnelling(x) => Some(x),
            _ => None,
        }
    }

    /// The pool of its exchange.
    pub fn pool(&self) -> Option<&Arc<Pool>> {
        self.exchange().map(Exchange::pool)
    }

    /// A reference that is gone once it no longer waits for a page.
    pub fn asker(&self) -> Weak<()> {
        self.exchange().and_then(|x| x.asker.as_ref()).map_or_else(Weak::new, Arc::downgrade)
    }

    /// Its ticket for the queue.
    pub fn ticket(&self, worker: usize, key: usize) -> Ticket {
        Ticket { worker, key, serial: self.serial }
    }

    /// Whether a ticket or message was made for its current wait.
    pub fn is_serial(&self, serial: u64) -> bool {
        self.serial == serial
    }

    /// The peer.
    pub fn client(&self) -> Peer {
        self.client
    }

    /// Panics unless the session is consistent, as it must be after every event: for the simulation and the fuzzer.
    pub fn check(&self) {
        assert!(self.up.len() <= self.up.capacity() && self.down.len() <= self.down.capacity());
        match &self.state {
            State::ReadingHead(_) => assert!(self.down.is_empty(), "bytes for a client without an exchange"),
            State::ConnectingUpstream(x) => assert!(!x.is_queued || !x.attempt.has_upstream, "in line with a connection"),
            State::StreamingBody(x) => assert!(x.attempt.has_upstream && !x.is_queued, "streaming without a connection"),
            State::Tunnelling(x) => assert!(x.attempt.has_upstream, "a tunnel without an upstream"),
            State::Replying(x) => {
                assert!(!x.attempt.has_upstream && !x.is_queued, "an answered exchange holds an upstream");
                assert_eq!(x.attempt.holds, Needs::default(), "an answered exchange holds a share of an upstream");
            }
            State::Draining(_) | State::Closed(_) => {}
        }
    }
}
