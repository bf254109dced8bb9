//! What can happen to a session, and what it asks the worker to do.

use crate::admin::{AdminPage, RenderedPage};
use crate::observe::reason::Reason;
use crate::upstream::pool::Grant;

/// A direction of transfer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to upstream.
    Up,
    /// Upstream to client.
    Down,
}

impl Direction {
    /// The opposite direction.
    pub fn turned(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// What the worker tells the session. The bytes themselves are in the rings.
#[derive(Debug)]
pub enum Event {
    /// It was accepted only to be told that its client has too many connections.
    OverLimit,
    /// Its place is needed: it ends, unless a request is in progress.
    Evicted,
    /// New raw bytes in the `up` ring.
    ClientBytes,
    /// The client closed its sending side: what it sent before still counts.
    ClientFin,
    /// A FIN lies behind what the client has sent, read or not: it sends nothing after that.
    ClientHalfClosed,
    /// The client is lost: reset, closed on both sides, or a send to it failed.
    ClientGone,
    /// The client's socket took that many bytes of [`super::Session::client_output`].
    ClientTook(usize),
    /// Its turn in the queue has come: a place was taken for it, or an idle connection of this worker comes with it.
    Admitted(Grant),
    /// It leaves the queue unserved: every server of the pool is down, or no more tunnels are allowed.
    Dismissed,
    /// The connection to the upstream is made.
    UpstreamConnected {
        /// Whether it has served before, in which case the upstream may be closing it at this moment.
        reused: bool,
    },
    /// No connection could be made.
    ConnectFailed(Reason),
    /// There was no descriptor for a new connection: the session must wait in the queue.
    NoDescriptor,
    /// New raw bytes in the `down` ring.
    UpstreamBytes,
    /// The upstream closed its sending side.
    UpstreamFin,
    /// The connection to the upstream is reset or failed.
    UpstreamGone,
    /// The upstream takes no more bytes; what it still sends decides the outcome.
    UpstreamBroken,
    /// The upstream's socket took that many bytes of [`super::Session::upstream_output`].
    UpstreamTook(usize),
    /// That many opaque bytes were read past the ring. They are sent next.
    Moved(Direction, usize),
    /// That many of these were sent; what is left was spilled before.
    Passed(Direction, usize),
    /// An admin page is ready.
    Rendered(Box<RenderedPage>),
    /// Other requests wait for the place that is held by an answer which the client does not take.
    MakeRoom,
    /// The client has all that was sent to it.
    Delivered,
    /// A deadline of the session may have passed.
    Deadline,
    /// The process ends soon.
    Drain,
    /// The process ends now.
    Cut,
}

/// What the session asks the worker to do, carried out at once and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect to a server of the exchange's pool, by an idle connection or with the place that was taken.
    Connect {
        /// The server's index in the pool.
        server: usize,
        /// Whether to take an idle connection.
        reuse: bool,
    },
    /// The kept connection was stale: open a new one in its place.
    Reconnect,
    /// Join the pool's queue.
    Queue {
        /// Whether a descriptor is what is missing: then only a freed one helps.
        starved: bool,
    },
    /// Leave the queue.
    LeaveQueue,
    /// The connection is a tunnel now: others may have its place.
    Tunnel,
    /// The exchange no longer needs its upstream connection.
    Release {
        /// Whether it may serve again. If not, it is in the middle of something, and is reset.
        keep: bool,
    },
    /// The answer is complete, but its connection cannot serve again: close it.
    CloseUpstream,
    /// The answer had no content: if its connection is kept, it waits a moment before it serves again.
    LetRest,
    /// Render a page of the admin port.
    Render(AdminPage),
    /// Close the sending side to the client.
    HalfClose,
    /// Tell whether the client has everything and sends nothing more; if not, close the sending side.
    Part,
    /// Tell whether the client has everything that was sent.
    AskDelivered,
    /// Close the sending side to the upstream.
    HalfCloseUpstream,
    /// Reset the upstream connection when it is closed, so that the upstream does not take the end for a regular one.
    ResetUpstream,
}
