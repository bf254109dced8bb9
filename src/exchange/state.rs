//! The states of an exchange, each with the data that is valid in it. Deadlines are in milliseconds; 0 = none.

use crate::guard::places::Needs;
use crate::machine::ExchangeEnd;
use crate::source::Supply;
use std::sync::Arc;

/// The state of an exchange.
#[derive(Debug)]
pub enum ExchangeState {
    /// On the way to a connection.
    ConnectingUpstream(Leg),
    /// With a connection: two flows that move independently, heads included.
    StreamingBody(Streaming),
    /// The answer is here or is made here; the upstream connection, if there was one, has been released.
    Replying(Reply),
    /// After a 101: bytes pass both ways without being looked at.
    Tunnelling(Tunnel),
    /// It is over.
    Done(ExchangeEnd),
}

/// What an exchange without a connection waits for.
#[derive(Debug)]
pub enum Leg {
    /// The time between two attempts.
    Backoff {
        /// Its end.
        until: u64,
    },
    /// A place at an upstream.
    Queued(Place),
    /// The connection itself.
    Dialing {
        /// When it must be there.
        until: u64,
    },
}

/// A place in the queue.
#[derive(Clone, Copy, Debug)]
pub struct Place {
    /// What the request needs there.
    pub needs: Needs,
    /// Since when it waits (microseconds).
    pub since: u64,
    /// Until when.
    pub until: u64,
}

/// An exchange with a connection.
#[derive(Clone, Copy, Debug)]
pub struct Streaming {
    /// If it is a trial for the circuit: when another trial may begin, although this one has no outcome yet.
    pub trial_until: u64,
}

/// An answer on its way to the client.
#[derive(Debug)]
pub enum Reply {
    /// It is made once the request has been read.
    Reading,
    /// A helper thread renders it, and skips it if this is gone.
    Rendering(Arc<()>),
    /// A source has yet to produce the rest of it.
    Producing(Box<Supply>),
    /// All of it is here. How the exchange ends once the client has it.
    Sending(ExchangeEnd),
}

/// Bytes that pass both ways.
#[derive(Clone, Copy, Debug, Default)]
pub struct Tunnel {
    /// Until when nothing need move.
    pub idle_until: u64,
    /// Whether the client's half-close was passed on.
    pub up_is_closed: bool,
    /// Whether the upstream's half-close was passed on.
    pub down_is_closed: bool,
}

impl Reply {
    /// Whether its head was written.
    pub fn has_begun(&self) -> bool {
        matches!(self, Self::Producing(_) | Self::Sending(_))
    }
}

impl ExchangeState {
    /// The deadline of what this state waits for.
    pub fn deadline(&self) -> u64 {
        match self {
            Self::ConnectingUpstream(Leg::Backoff { until } | Leg::Dialing { until }) => *until,
            Self::ConnectingUpstream(Leg::Queued(place)) => place.until,
            Self::StreamingBody(streaming) => streaming.trial_until,
            Self::Tunnelling(tunnel) => tunnel.idle_until,
            Self::Replying(_) | Self::Done(_) => 0,
        }
    }
}
