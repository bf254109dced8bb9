//! One connected socket, and what is known of its readiness.
//!
//! Both directions are registered once, edge-triggered, for the socket's whole life. The bits here are sticky: an edge sets
//! them, only a refusal (WouldBlock) or a short transfer clears them. Readiness is a hint, so a spurious edge is harmless.

use crate::base::ring::Ring;
use crate::guard::descriptors::Descriptor;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};

/// A stream socket that does not block.
pub trait Socket {
    /// A pipe through which bytes can be moved without being copied.
    type Pipe;
    /// Moves up to `most` bytes into an empty pipe. It may move fewer although more could be read.
    fn pour_in(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;
    /// Moves up to `most` bytes out of a pipe that holds at least as many.
    fn pour_out(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;
    /// Reads into the slices in order.
    fn read(&mut self, into: &mut [IoSliceMut]) -> io::Result<usize>;
    /// Writes the slices in order.
    fn write(&mut self, from: &[IoSlice]) -> io::Result<usize>;
    /// Sends a FIN after what was written.
    fn shutdown_write(&mut self) -> io::Result<()>;
    /// Makes the next close send a RST instead of a FIN.
    fn reset_on_close(&mut self);
    /// The error that is pending on the socket, if any.
    fn take_error(&mut self) -> Option<io::Error>;
    /// Whether the other end has acknowledged all that was written.
    fn is_delivered(&self) -> bool;
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
    /// Not possible now; an edge will tell when it is.
    Blocked,
    /// The other end closed its sending side.
    Fin,
    /// The connection is lost.
    Failed,
}

/// A socket with its readiness, and the descriptor that is counted for it.
#[derive(Debug)]
pub struct Link<S> {
    /// The socket.
    pub socket: S,
    /// The readiness as events reported it, and as transfers since have changed it.
    pub ready: Edge,
    /// A write has failed because the connection is reset. The kernel reports that once: a read then sees an end that is no FIN.
    is_reset: bool,
    /// After the socket, so that it is free only once that is closed.
    descriptor: Descriptor,
}

impl<S: Socket> Link<S> {
    /// A socket of which nothing is known yet, except perhaps that it can be written to.
    pub fn new(socket: S, writable: bool, descriptor: Descriptor) -> Self {
        Self { socket, ready: Edge { writable, ..Edge::default() }, is_reset: false, descriptor }
    }

    /// Closes the socket, and leaves its descriptor to another.
    pub fn close(self) -> Descriptor {
        self.descriptor
    }

    /// Adds what an event says.
    pub fn on_edge(&mut self, edge: Edge) {
        self.ready.readable |= edge.readable;
        self.ready.writable |= edge.writable;
        self.ready.read_closed |= edge.read_closed;
        self.ready.urgent |= edge.urgent;
        self.ready.gone |= edge.gone;
    }

    /// Reads once into the ring's free part.
    pub fn fill(&mut self, ring: &mut Ring) -> Transfer {
        let (first, second) = ring.room_mut();
        let room = first.len() + second.len();
        let read = if second.is_empty() {
            self.socket.read(&mut [IoSliceMut::new(first)])
        } else {
            self.socket.read(&mut [IoSliceMut::new(first), IoSliceMut::new(second)])
        };
        let transfer = self.after_read(read, room);
        if let Transfer::Bytes(n) = transfer {
            ring.fill(n);
        }
        transfer
    }

    /// Reads once into a plain buffer.
    pub fn read(&mut self, buffer: &mut [u8]) -> Transfer {
        let room = buffer.len();
        let read = self.socket.read(&mut [IoSliceMut::new(buffer)]);
        self.after_read(read, room)
    }

    /// Whether nothing can be read at this moment, by a read: the bits may be older.
    pub fn is_empty(&mut self) -> bool {
        !self.ready.gone && !self.ready.read_closed && self.read(&mut [0]) == Transfer::Blocked
    }

    /// Writes once. Empty slices are skipped.
    pub fn send(&mut self, slices: &[IoSlice]) -> Transfer {
        let mut filled = [IoSlice::new(&[]); 5];
        let mut count = 0;
        for slice in slices.iter().filter(|slice| !slice.is_empty()).take(filled.len()) {
            filled[count] = *slice;
            count += 1;
        }
        let wanted: usize = filled.iter().map(|slice| slice.len()).sum();
        loop {
            match self.socket.write(&filled[..count]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                written => return self.after_write(written, wanted),
            }
        }
    }

    /// Reads once into an empty pipe. A short read says nothing about readiness: a pipe may be full before it holds `most`.
    pub fn pour_in(&mut self, pipe: &mut S::Pipe, most: usize) -> Transfer {
        match self.socket.pour_in(pipe, most) {
            Ok(n @ 1..) => Transfer::Bytes(n),
            read => self.after_read(read, 0),
        }
    }

    /// Writes once out of a pipe that holds at least `most`.
    pub fn pour_out(&mut self, pipe: &mut S::Pipe, most: usize) -> Transfer {
        let written = self.socket.pour_out(pipe, most);
        self.after_write(written, 0)
    }

    fn after_write(&mut self, written: io::Result<usize>, wanted: usize) -> Transfer {
        match written {
            Ok(n) => {
                self.ready.writable = n >= wanted;
                Transfer::Bytes(n)
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.ready.writable = false;
                Transfer::Blocked
            }
            Err(error) => {
                self.is_reset |= error.kind() == ErrorKind::ConnectionReset;
                Transfer::Failed
            }
        }
    }

    fn after_read(&mut self, read: io::Result<usize>, room: usize) -> Transfer {
        match read {
            Ok(0) => {
                self.ready.readable = false;
                if self.is_reset { Transfer::Failed } else { Transfer::Fin }
            }
            Ok(n) => {
                self.ready.readable = n == room || self.ready.read_closed || self.ready.urgent;
                Transfer::Bytes(n)
            }
            // The readiness stays, so the next turn tries again.
            Err(error) if error.kind() == ErrorKind::Interrupted => Transfer::Blocked,
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                self.ready.readable = false;
                Transfer::Blocked
            }
            Err(_) => {
                self.ready.readable = false;
                Transfer::Failed
            }
        }
    }
}
