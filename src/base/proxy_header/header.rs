//! What a header says.

use std::fmt;
use std::net::SocketAddr;

/// A header.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// How many bytes it has: those after them are the stream's.
    pub length: usize,
    /// For whom the connection speaks.
    pub announced: Announced,
}

/// For whom a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Announced {
    /// For the proxy itself, as its health checks do, or for somebody that it cannot name.
    Itself,
    /// For a client with an address.
    Ip {
        /// The client.
        source: SocketAddr,
        /// Where that has connected to.
        destination: SocketAddr,
    },
    /// For a client that came through a Unix socket.
    Unix,
}

/// Why bytes are refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// They begin no header.
    NoHeader,
    /// They begin one that is wrong.
    Malformed(&'static str),
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::NoHeader => f.write_str("no PROXY protocol header came first"),
            Self::Malformed(why) => write!(f, "the PROXY protocol header is malformed: {why}"),
        }
    }
}
