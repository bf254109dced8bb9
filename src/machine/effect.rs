//! What the machines ask the worker to do.

use crate::admin::AdminPage;

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

/// What a machine asks the worker to do, carried out at once and in order.
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

impl Effect {
    /// Whether a front asks for it, about its connection.
    pub fn is_for_front(self) -> bool {
        matches!(self, Self::HalfClose | Self::Part | Self::AskDelivered)
    }
}
