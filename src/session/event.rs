//! What happens to a session, and what it leaves to be done.

use crate::admin::{Page, Rendered};
use crate::observe::reason::Reason;
use crate::upstream::pool::Grant;

/// One way through the proxy.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Direction {
    /// Client to upstream.
    Up,
    /// Upstream to client.
    Down,
}

impl Direction {
    /// The other one.
    pub fn turned(self) -> Self {
        match self {
            Self::Up => Self::Down,
            Self::Down => Self::Up,
        }
    }
}

/// What the shell tells the session. Bytes themselves lie in the rings.
#[derive(Debug)]
pub enum Event {
    /// It was let in only to be told that its client has too many connections.
    OverLimit,
    /// Its place is needed: it ends, if it is in the middle of nothing.
    Evicted,
    /// New raw bytes in the `up` ring.
    ClientBytes,
    /// The client closed its sending side: what it sent before still counts.
    ClientFin,
    /// A FIN lies behind what the client has sent, read or not: it sends nothing after that.
    ClientHalfClosed,
    /// The client is lost: reset, hung up, or a send to it failed.
    ClientGone,
    /// The client's socket took so many bytes of [`super::Session::client_output`].
    ClientTook(usize),
    /// The line came to this session: a place was taken for it, or an idle connection of this worker comes with it.
    Admitted(Grant),
    /// It is not served any more: every server of the pool is down, or has all the tunnels that it may have.
    Dismissed,
    /// There is a connection to the upstream.
    UpstreamConnected {
        /// It has served before, so the upstream may just be closing it.
        reused: bool,
    },
    /// There will be none.
    ConnectFailed(Reason),
    /// No descriptor was left to dial with: wait in line.
    NoDescriptor,
    /// New raw bytes in the `down` ring.
    UpstreamBytes,
    /// The upstream closed its sending side.
    UpstreamFin,
    /// The upstream's connection is reset or failed.
    UpstreamGone,
    /// It takes no more bytes; what it still says decides.
    UpstreamBroken,
    /// The upstream's socket took so many bytes of [`super::Session::upstream_output`].
    UpstreamTook(usize),
    /// So many opaque bytes were read past the ring. They are sent next.
    Moved(Direction, usize),
    /// So many of them were sent; what is left over was spilled before.
    Passed(Direction, usize),
    /// An admin page is ready.
    Rendered(Box<Rendered>),
    /// Others wait for the place of an answer that the client does not take.
    MakeRoom,
    /// The client has all that was sent to it.
    Delivered,
    /// A deadline that the session set may have come.
    Deadline,
    /// The process ends soon.
    Drain,
    /// The process ends now.
    Cut,
}

/// What the session asks the shell to do, performed at once and in order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    /// Connect to that server of the exchange's pool: with an idle connection, or with the place that was taken.
    Connect {
        /// Index in the pool.
        server: usize,
        /// Take an idle connection.
        reuse: bool,
    },
    /// The pooled connection was stale: dial a fresh one in its place.
    Reconnect,
    /// Stand in the pool's line.
    Queue {
        /// For want of a descriptor: only one that gets free helps.
        starved: bool,
    },
    /// Leave it again.
    LeaveQueue,
    /// The connection is a tunnel now: its place is another's.
    Tunnel,
    /// The exchange needs its upstream connection no more.
    Release {
        /// It may serve again. Otherwise the exchange ends in the middle of something, and the connection is reset.
        keep: bool,
    },
    /// The answer is whole, and its connection serves no other: it is closed.
    CloseUpstream,
    /// The answer had no content: if its connection is kept, it rests before it serves again.
    LetRest,
    /// Make a page of the admin port.
    Render(Page),
    /// Close the sending side towards the client.
    HalfClose,
    /// Say whether the client has all that was sent and says nothing more; if not, close the sending side.
    Part,
    /// Say whether the client has all that was sent.
    AskDelivered,
    /// Close the sending side towards the upstream.
    HalfCloseUpstream,
    /// When the upstream's connection is closed, it is reset: its end must not look like one.
    ResetUpstream,
}
