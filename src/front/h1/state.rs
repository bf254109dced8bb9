//! The states of the front, and what can happen to it.

use super::head::ReadHead;
use super::serving::Serving;
use crate::front::many::Multiplexed;
use crate::http::Refusal;
use crate::http::framing::Body;
use crate::machine::failure::Failure;

/// The state, with the data that is valid in it.
#[derive(Debug)]
pub enum FrontState {
    /// Between requests, or within a head.
    ReadingHead(ReadHead),
    /// An exchange has the ring.
    Serving(Serving),
    /// Several exchanges at once, in a protocol of its own; none of them has the ring.
    Many {
        /// The protocol.
        protocol: Box<dyn Multiplexed>,
        /// Since when there has been no exchange (milliseconds).
        idle_since: u64,
        /// Whether the client's side has ended: nothing more can be read.
        is_read: bool,
    },
    /// The client has its answer, and the rest of its request is read and dropped so that the next one can be found.
    Discarding(Body),
    /// Everything was sent; what still comes is read and dropped, so that no reset overtakes the answer.
    Draining(Why),
    /// The worker closes the socket at the end of the turn.
    Closed(Ending),
}

/// How a socket is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ending {
    /// FIN after what was sent.
    Plain,
    /// RST, so that the client sees that something is missing.
    Reset,
}

/// What can happen to a front while it has no exchange.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrontEvent {
    /// New bytes in the ring.
    Bytes,
    /// The client closed its sending side.
    Fin,
    /// The client is lost.
    Gone,
    /// The client has all that was sent to it.
    Delivered,
    /// It was accepted only to be told that its client has too many connections.
    OverLimit,
    /// It spoke plain HTTP where TLS is served.
    Foreign,
    /// It is idle, and its place is needed.
    Evicted,
    /// It lingers, and its descriptor is needed.
    SentAway,
    /// A deadline may have passed.
    Deadline,
    /// The process ends soon.
    Drain,
    /// The process ends now.
    Cut,
}

/// An exchange that an event of the front asks for.
#[derive(Debug)]
pub enum Demand {
    /// To answer a head that is refused.
    Refuse(Failure),
    /// To tell a client with part of a head that the rest is not waited for.
    RefuseAtEnd(Failure),
    /// To log a request of which nothing more comes.
    Abandon,
}

/// Why a half-closed connection is still read from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Why {
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

/// What new bytes of a head amount to.
#[derive(Debug)]
pub enum FoundRequest {
    /// Not yet a head.
    More,
    /// A request, for which there is an exchange with this key.
    Request(usize),
    /// A head that is refused.
    Refused(Refusal),
}
