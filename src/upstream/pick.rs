//! What a pool is asked for one attempt of a request, and what it answers.

use super::reservation::Reservation;
use crate::guard::breaker::CircuitPermit;
use crate::guard::places::Needs;

/// A request that looks for an upstream.
pub struct PickRequest<'a> {
    /// The source of chance.
    pub rng: &'a mut fastrand::Rng,
    /// The key for `balance: consistent_hash`.
    pub key: u64,
    /// Which upstreams are acceptable.
    pub want: Requirements<'a>,
}

/// What is needed of an upstream.
#[derive(Clone, Copy)]
pub struct Requirements<'a> {
    /// The index of the asking worker.
    pub worker: usize,
    /// What the request needs; queued requests have needs of their own.
    pub needs: Needs,
    /// The present time in milliseconds.
    pub now: u64,
    /// Servers that have failed this request already, and are used only if there is no other.
    pub tried: &'a [usize],
    /// Where a failed request may go.
    pub again: RetryChoice,
}

/// Where a failed request may go.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RetryChoice {
    /// To any server that takes requests.
    #[default]
    Anywhere,
    /// The same; and if none does, to one that failed it, even if its circuit has opened since.
    Regardless,
    /// Only to a server that it has not tried.
    Elsewhere,
}

/// A server for a request. One that is dropped is declined.
#[derive(Debug)]
pub struct Grant {
    /// The server's index in the pool.
    pub server: usize,
    /// By which the outcome is reported to its circuit.
    pub permit: CircuitPermit,
    /// A place, unless this worker has an idle connection to be used; and what the request needs besides.
    pub reserved: Reservation,
}

/// What kind of connection a request would use.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionKind {
    /// A new one, for which a place is taken.
    New,
    /// A kept one, which has its place.
    Kept,
}

/// Why no server is picked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoGrant {
    /// Every usable server is full, or other requests wait already: join the queue.
    Full,
    /// No server that takes requests has room for a tunnel.
    NoTunnel,
    /// No server has an address.
    Unresolved,
    /// No server takes requests, or none of those allowed.
    Unavailable,
}

/// The result of a pick for a client whose session belongs to a server.
#[derive(Debug)]
pub enum SessionPick {
    Granted(Grant),
    /// It is full, or others wait for it: to be waited for.
    Full,
    /// It is not usable, or has failed the request: the session is over.
    Over,
}
