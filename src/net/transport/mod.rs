//! What moves bytes between two ends, and alone knows when that is possible.
//!
//! ```text
//!     preface (who the peer is) -> handshake -> open -> closing (what must be said before the end)
//! ```
//!
//! A plain socket is open from the beginning, and its close needs no words. Whatever its stage, a transport is used in the same
//! way: it takes the poll's events, and goes on by itself with what it has to say or to hear; until it is open nothing can be read
//! or written. Readiness is a hint and its own affair: it may hold bytes back that no event will announce, a read may have to wait
//! for a write, and the other way round.

pub mod plain;
pub mod preface;
pub mod tls;

use crate::base::address::Peer;
use crate::base::ring::Ring;
use crate::guard::descriptors::Descriptor;
use std::io::{self, IoSlice};
use std::net::SocketAddr;
use std::ops::{Deref, DerefMut};

/// One end of a connection that carries bytes.
///
/// Dropping it closes both directions.
pub trait Transport {
    /// A pipe through which bytes can be moved without being copied.
    type Pipe;

    /// Takes what an event of the poll says.
    fn on_edge(&mut self, edge: Edge);
    /// Whether the other end has yet to say, in a preface, for whom it speaks. Until then nothing can be read.
    fn awaits_peer(&self) -> bool {
        false
    }
    /// For whom it speaks, or why that cannot be told and the connection is of no use: told once, when the preface has come.
    fn take_peer(&mut self) -> Option<Result<Introduction, String>> {
        None
    }
    /// Has a connection that is being dialled begin with these bytes, whatever else is on top of the socket.
    fn say_first(&mut self, bytes: Vec<u8>);
    /// Goes on with a connection that was dialled, after an event.
    fn open(&mut self) -> Opening;
    /// Whether the handshake of a connection that was accepted is still to be done. A step of it, which a read takes, costs as much
    /// as many requests.
    fn is_opening(&self) -> bool {
        false
    }
    /// Whether the socket of a connection that was dialled is connected, and the handshake on top of it is still to be done.
    fn is_amid_handshake(&self) -> bool {
        false
    }
    /// Whether something of that handshake has come: who has begun it is served like one whose head has begun.
    fn is_shaking(&self) -> bool {
        false
    }
    /// Looks whether the other end has said that it sends no more, where nobody wants to read what it has sent before.
    fn look_for_end(&mut self) {}
    /// Whether what was taken by a send lies here still, so that closing the socket would lose it.
    fn has_unsent(&self) -> bool {
        false
    }
    /// Whether anything was written since this was last asked.
    fn take_moved(&mut self) -> bool {
        false
    }
    /// How the handshake went: told once, when it is over.
    fn take_handshake(&mut self) -> Option<Handshake> {
        None
    }
    /// Why the connection is lost, where that is known of what is on top of the socket.
    fn fault(&self) -> Option<io::Error> {
        None
    }

    /// Whether a read may bring something: bytes, an end, or a loss.
    fn may_read(&self) -> bool;
    /// Whether a send may take something.
    fn may_write(&self) -> bool;
    /// Whether the connection is over in both directions, as far as events have told. What came before may still be read.
    fn is_gone(&self) -> bool;
    /// Whether the other end sends no more, as far as events have told. What came before that may still be unread.
    fn is_ending(&self) -> bool;

    /// Tries the next read, whatever events have told.
    fn look_again(&mut self);
    /// Reads once into the ring's free part.
    fn fill(&mut self, ring: &mut Ring) -> Transfer;
    /// Reads once into a plain buffer.
    fn read(&mut self, buffer: &mut [u8]) -> Transfer;
    /// Writes once. Empty slices are skipped. A failure says nothing about what came before: a read tells.
    fn send(&mut self, slices: &[IoSlice]) -> Transfer;

    /// Whether bytes may go past it through a pipe at this moment.
    fn may_pour(&self) -> bool {
        false
    }
    /// Reads once into an empty pipe, where that is allowed. It may move fewer bytes although more could be read.
    fn pour_in(&mut self, _: &mut Self::Pipe, _: usize) -> Transfer {
        Transfer::Blocked
    }
    /// Writes once out of a pipe that holds at least `most`.
    fn pour_out(&mut self, _: &mut Self::Pipe, _: usize) -> Transfer {
        Transfer::Blocked
    }

    /// Checks whether nothing has come, of bytes or an end, as far as events have told. What has come only in part, and may be bytes, is
    /// not nothing. It may read, and loses what it finds.
    fn check_quiet(&mut self) -> bool;
    /// The same at this very moment, because events may be older.
    fn check_quiet_now(&mut self) -> bool;
    /// Whether the other end has acknowledged all that was written, and all that had to be said.
    fn is_delivered(&self) -> bool;
    /// Whether nothing can be lost by closing both directions now, after a read that was refused. Where the other end has yet to say
    /// its close, that would find the socket closed, and make the kernel reset the connection.
    fn may_part(&self) -> bool;
    /// Ends it in one of these ways.
    fn close(&mut self, how: Close);
    /// Says what is left to say before it is dropped: what was taken and lies here still, and that this is a regular end. Returns
    /// whether all is said; if not, an event will tell when it may go on.
    fn take_leave(&mut self) -> bool;
}

/// For whom a connection speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Introduction {
    /// The client.
    pub client: Peer,
    /// Where that has connected to, if it was told.
    pub destination: Option<SocketAddr>,
}

/// How far a connection is that was dialled.
#[derive(Debug)]
pub enum Opening {
    /// An event will tell.
    Pending,
    /// Bytes can be exchanged.
    Open,
    /// There is no connection.
    Failed(io::Error),
}

/// How one end of a connection is closed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Close {
    /// Nothing follows what was written. The other end is told so, and may go on sending.
    Sending,
    /// Both directions, by the drop that follows: the other end sees that this is no regular end.
    Reset,
}

/// What one event of the poll says about a socket.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    /// Bytes, a FIN or an error can be read.
    pub readable: bool,
    /// Bytes can be written.
    pub writable: bool,
    /// A FIN lies behind the bytes: no further edge will announce it.
    pub read_closed: bool,
    /// An urgent byte lies among the others: reads stop in front of it although more follows.
    pub urgent: bool,
    /// The connection is reset, or both directions are closed.
    pub gone: bool,
}

impl From<&mio::event::Event> for Edge {
    fn from(event: &mio::event::Event) -> Self {
        let (read_closed, gone) = (event.is_read_closed(), event.is_error() || event.is_write_closed());
        let readable = event.is_readable() || read_closed || gone;
        Self { readable, writable: event.is_writable(), read_closed, urgent: event.is_priority(), gone }
    }
}

/// How a transfer went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transfer {
    /// That many bytes were moved, at least one.
    Bytes(usize),
    /// That many bytes were moved which are the transport's own affair, and none of the stream's. More may follow.
    Beside(usize),
    /// Not possible now; an edge will tell when it is.
    Blocked,
    /// The other end closed its sending side.
    Fin,
    /// The connection is lost.
    Failed,
}

/// How a TLS handshake went.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Handshake {
    /// The connection is open.
    Made {
        /// The version that was agreed on.
        version: TlsVersion,
        /// Whether it goes on with an earlier session.
        is_resumed: bool,
    },
    /// The other end speaks plain HTTP. What it has sent is dropped, and from here on it is answered plainly.
    Foreign,
    /// There is no connection.
    Failed {
        /// The version, as far as one was agreed on.
        version: Option<TlsVersion>,
        /// The reason, in words.
        why: String,
    },
}

/// A version of TLS.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TlsVersion {
    /// 1.2, RFC 5246.
    V12,
    /// 1.3, RFC 8446.
    V13,
}

/// A transport, and the descriptor that is counted for it.
#[derive(Debug)]
pub struct Link<T> {
    transport: T,
    /// After the transport, so that it is free only once that is closed.
    descriptor: Descriptor,
}

impl<T> Link<T> {
    /// The descriptor was admitted for this transport.
    pub fn new(transport: T, descriptor: Descriptor) -> Self {
        Self { transport, descriptor }
    }

    /// Closes the transport, and leaves its descriptor to another.
    pub fn replace(self) -> Descriptor {
        self.descriptor
    }
}

impl<T> Deref for Link<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.transport
    }
}

impl<T> DerefMut for Link<T> {
    fn deref_mut(&mut self) -> &mut T {
        &mut self.transport
    }
}
