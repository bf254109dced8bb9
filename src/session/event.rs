//! What can happen to a client's connection and its exchange.

use crate::machine::Direction;
use crate::observe::reason::Reason;

/// What the worker tells a session. The bytes themselves are in the rings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Event {
    /// It was accepted only to be told that its client has too many connections.
    OverLimit,
    /// It spoke plain HTTP to an address that serves TLS, and is answered in the same way.
    Foreign,
    /// It is idle, and its place or its descriptor is needed: it ends, unless something of a request has come meanwhile.
    Evicted,
    /// It lingers, or is only told that its client has too many connections, and its descriptor is needed: it ends, whatever it does.
    SentAway,
    /// New raw bytes in the `up` ring.
    ClientBytes,
    /// The client closed its sending side: what it sent before still counts.
    ClientFin,
    /// A FIN lies behind what the client has sent, read or not: it sends nothing after that.
    ClientHalfClosed,
    /// The client is lost: reset, closed on both sides, or a send to it failed.
    ClientGone,
    /// The client's socket took that many bytes of the exchange's output to it.
    ClientTook(usize),
    /// Its turn in the queue has come: a place was taken for it, or an idle connection of this worker comes with it. The grant lies
    /// with the exchange.
    Admitted,
    /// It leaves the queue unserved: every server of the pool is down, or no more tunnels are allowed.
    Dismissed,
    /// The pool that it waits in the queue of has other servers now.
    ServersChanged,
    /// The connection to the upstream is made.
    UpstreamConnected {
        /// Whether it has served before, in which case the upstream may be closing it at this moment.
        reused: bool,
    },
    /// No connection could be made.
    ConnectFailed(Reason),
    /// There was no descriptor for a new connection: the exchange must wait in the queue.
    NoDescriptor,
    /// New raw bytes in the `down` ring.
    UpstreamBytes,
    /// The upstream closed its sending side.
    UpstreamFin,
    /// The connection to the upstream is reset or failed.
    UpstreamGone,
    /// The upstream takes no more bytes; what it still sends decides the outcome.
    UpstreamBroken,
    /// The upstream's socket took that many bytes of the exchange's output to it.
    UpstreamTook(usize),
    /// That many opaque bytes were read past the ring. They are sent next.
    Moved(Direction, usize),
    /// That many of these were sent; what is left was spilled before.
    Passed(Direction, usize),
    /// An admin page is ready. It lies with the exchange.
    Rendered,
    /// The producer of an answer has more of its content.
    SourceReady,
    /// Other requests wait for the place that is held by an answer which the client does not take.
    MakeRoom,
    /// The client has all that was sent to it.
    Delivered,
    /// A deadline of the front or of the exchange may have passed.
    Deadline,
    /// The process ends soon.
    Drain,
    /// The process ends now.
    Cut,
}

impl Event {
    /// Whether it concerns every exchange of a client that has several.
    pub fn is_for_all(self) -> bool {
        matches!(self, Self::ClientFin | Self::ClientHalfClosed | Self::ClientGone | Self::SentAway | Self::Deadline | Self::Cut)
    }
}
