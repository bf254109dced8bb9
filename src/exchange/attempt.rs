//! One attempt to get an answer from an upstream.

use crate::guard::breaker::CircuitPermit;
use crate::machine::failure::{Silence, Trouble};
use crate::observe::reason::Reason;
use crate::upstream::reservation::Reservation;
use crate::upstream::server::UpstreamFault;

/// One attempt at one upstream.
#[derive(Debug, Default)]
pub struct Attempt {
    /// The index of the server in its pool, once picked.
    pub server: Option<usize>,
    /// What it holds of that server, from the pick until the connection is let go.
    pub(super) hold: Option<Hold>,
    /// Whether the connection had served before.
    pub reused: bool,
    /// Whether the upstream takes no more bytes.
    pub broken: bool,
    /// How much of an answer has come.
    pub heard: Heard,
    /// Whether the upstream closed its sending side.
    pub upstream_fin: bool,
    /// Why the addresses failed that were dialled before the present one.
    pub dialled: Option<Reason>,
    /// Whether the address took the connection, and TLS is still to be agreed on.
    pub is_amid_handshake: bool,
    /// Why the connection failed, where more is known than the reason.
    pub trouble: Option<Box<Trouble>>,
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

/// What an attempt holds of its server: it has a connection, or one is being made.
#[derive(Debug)]
pub(super) struct Hold {
    /// The permit of the server's circuit, until the outcome is reported.
    pub(super) permit: Option<CircuitPermit>,
    /// What is reserved besides the connection's place, which goes over to the connection.
    pub(super) reserved: Reservation,
}

/// How much of an answer an attempt has had, before the final head.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub enum Heard {
    /// No byte.
    #[default]
    Nothing,
    /// Some bytes.
    Bytes,
    /// An interim response.
    Interim,
}

impl Attempt {
    /// Takes the permit, to report the outcome by it.
    #[inline]
    pub(super) fn take_permit(&mut self) -> Option<CircuitPermit> {
        self.hold.as_mut()?.permit.take()
    }

    /// What it has reserved, if that is anything: for most requests it is nothing.
    #[inline]
    pub(super) fn reserved(&mut self) -> Option<&mut Reservation> {
        self.hold.as_mut().map(|hold| &mut hold.reserved).filter(|reserved| !reserved.is_empty())
    }
}

/// A fault of a server.
#[derive(Debug)]
pub struct Charge {
    /// The server's index in the pool.
    pub server: usize,
    /// The fault.
    pub fault: UpstreamFault,
    /// The permit by which it is reported to the circuit; `None` once that was done.
    pub permit: Option<CircuitPermit>,
}
