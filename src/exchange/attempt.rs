//! One attempt to get an answer from an upstream.

use crate::guard::breaker::CircuitPermit;
use crate::guard::places::Needs;
use crate::machine::failure::Silence;
use crate::upstream::server::UpstreamFault;

/// One attempt at one upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// The index of the server in its pool, once picked.
    pub server: Option<usize>,
    /// The permit of the server's circuit, until the attempt is settled.
    pub permit: Option<CircuitPermit>,
    /// What it holds at the server besides its connection's place.
    pub holds: Needs,
    /// Whether it has a connection, or one is being made.
    pub has_upstream: bool,
    /// Whether the connection had served before.
    pub reused: bool,
    /// Whether a stale connection was replaced already.
    pub replaced: bool,
    /// Whether the upstream takes no more bytes.
    pub broken: bool,
    /// Whether a byte of an answer has come.
    pub answered: bool,
    /// Whether the upstream closed its sending side.
    pub upstream_fin: bool,
    /// Whether an interim response has come, or was passed on.
    pub has_interim: bool,
    /// How many bytes the kernel took on this connection.
    pub taken: u64,
    /// How many bytes the kernel must have taken before the client counts as having sent more of its content.
    pub more_at: u64,
    /// Since when the client has sent next to nothing of the content that it owes (milliseconds); 0 if it owes none.
    pub lacking_since: u64,
    /// When the attempt began, or the latest byte of the request was sent (microseconds).
    pub sent_at: u64,
    /// Which timeout passed, if it did not answer in time.
    pub silence: Silence,
    /// The time from the pick to the connection, unless it is a kept one.
    pub connect_micros: Option<u64>,
    /// The time from sending the request to the response's head.
    pub upstream_micros: Option<u64>,
}

/// A fault of a server.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// The server's index in the pool.
    pub server: usize,
    /// The fault.
    pub fault: UpstreamFault,
    /// The permit by which it is reported to the circuit; `None` once that was done.
    pub permit: Option<CircuitPermit>,
}
