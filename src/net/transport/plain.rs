//! A socket as it is: every byte is a byte of the stream.
//!
//! Both directions are registered once, edge-triggered, for the socket's whole life. What an edge told is kept until a refusal
//! (WouldBlock) or a short transfer takes it back. A spurious edge is harmless.

use super::{Close, Edge, Opening, Transfer, Transport};
use crate::base::ring::Ring;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};

/// A stream socket that does not block.
pub trait Socket {
    /// A pipe through which bytes can be moved without being copied.
    type Pipe;
    /// Moves up to `most` bytes into an empty pipe. It may move fewer although more could be read.
    fn pour_in(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;
    /// Moves up to `most` bytes out of a pipe that holds at least as many.
    fn pour_out(&mut self, pipe: &mut Self::Pipe, most: usize) -> io::Result<usize>;
    /// Copies what could be read, and leaves it there.
    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize>;
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

/// A socket with what is known of its readiness.
#[derive(Debug)]
pub struct PlainTransport<S> {
    socket: S,
    /// As events reported it, and as transfers since have changed it.
    ready: Edge,
    /// A write has failed because the connection is reset. The kernel reports that once: a read then sees an end that is no FIN.
    is_reset: bool,
    /// What is to be said before anything else, and was not yet.
    first_words: Option<Box<FirstWords>>,
}

/// Bytes that a connection begins with.
#[derive(Debug)]
struct FirstWords(Vec<u8>);

impl<S: Socket> PlainTransport<S> {
    /// A socket that was accepted: it can be written to.
    pub fn accepted(socket: S) -> Self {
        Self { socket, ready: Edge { writable: true, ..Edge::default() }, is_reset: false, first_words: None }
    }

    /// A socket that is connecting.
    pub fn dialled(socket: S) -> Self {
        Self { socket, ready: Edge::default(), is_reset: false, first_words: None }
    }

    /// The socket, to tie it to a poll.
    pub fn socket(&self) -> &S {
        &self.socket
    }

    /// Copies what could be read, and leaves it there. Bytes that come later are told by an edge.
    pub fn peek(&mut self, into: &mut [u8]) -> Transfer {
        loop {
            match self.socket.peek(into) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                peeked => return self.after_read(peeked, into.len()),
            }
        }
    }

    /// The connection is made: says what is to be said first.
    fn say_first_words(&mut self) -> Opening {
        while let Some(mut words) = self.first_words.take() {
            match self.send(&[IoSlice::new(&words.0)]) {
                Transfer::Bytes(n) => drop(words.0.drain(..n)),
                Transfer::Blocked | Transfer::Beside(_) => {
                    self.first_words = Some(words);
                    return Opening::Pending;
                }
                Transfer::Fin | Transfer::Failed => return Opening::Failed(ErrorKind::ConnectionReset.into()),
            }
            self.first_words = Some(words).filter(|words| !words.0.is_empty());
        }
        Opening::Open
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
                self.ready.readable = true;
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

impl<S: Socket> Transport for PlainTransport<S> {
    type Pipe = S::Pipe;

    fn on_edge(&mut self, edge: Edge) {
        self.ready.readable |= edge.readable;
        self.ready.writable |= edge.writable;
        self.ready.read_closed |= edge.read_closed;
        self.ready.urgent |= edge.urgent;
        self.ready.gone |= edge.gone;
    }

    fn say_first(&mut self, bytes: Vec<u8>) {
        self.first_words = Some(Box::new(FirstWords(bytes))).filter(|words| !words.0.is_empty());
    }

    fn open(&mut self) -> Opening {
        let failed = self.ready.gone || self.ready.read_closed;
        match failed.then(|| self.socket.take_error()).flatten() {
            Some(error) => Opening::Failed(error),
            None if self.ready.writable || failed => self.say_first_words(),
            None => Opening::Pending,
        }
    }

    fn may_read(&self) -> bool {
        self.ready.readable
    }

    fn may_write(&self) -> bool {
        self.ready.writable
    }

    fn is_gone(&self) -> bool {
        self.ready.gone
    }

    fn is_ending(&self) -> bool {
        self.ready.read_closed
    }

    fn look_again(&mut self) {
        self.ready.readable = true;
    }

    fn fill(&mut self, ring: &mut Ring) -> Transfer {
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

    fn read(&mut self, buffer: &mut [u8]) -> Transfer {
        let room = buffer.len();
        let read = self.socket.read(&mut [IoSliceMut::new(buffer)]);
        self.after_read(read, room)
    }

    fn send(&mut self, slices: &[IoSlice]) -> Transfer {
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

    /// splice(2) stops at an urgent byte.
    fn may_pour(&self) -> bool {
        !self.ready.urgent
    }

    /// A short read says nothing about readiness: a pipe may be full before it holds `most`.
    fn pour_in(&mut self, pipe: &mut S::Pipe, most: usize) -> Transfer {
        match self.socket.pour_in(pipe, most) {
            Ok(n @ 1..) => Transfer::Bytes(n),
            read => self.after_read(read, 0),
        }
    }

    fn pour_out(&mut self, pipe: &mut S::Pipe, most: usize) -> Transfer {
        let written = self.socket.pour_out(pipe, most);
        self.after_write(written, 0)
    }

    fn check_quiet(&mut self) -> bool {
        let is_over = self.ready.gone || self.ready.read_closed;
        !is_over && (!self.ready.readable || self.read(&mut [0]) == Transfer::Blocked)
    }

    fn check_quiet_now(&mut self) -> bool {
        self.look_again();
        self.check_quiet()
    }

    fn is_delivered(&self) -> bool {
        self.socket.is_delivered()
    }

    fn may_part(&self) -> bool {
        self.is_delivered()
    }

    fn close(&mut self, how: Close) {
        match how {
            // If it fails, the other end is gone, which the next read shows.
            Close::Sending => drop(self.socket.shutdown_write()),
            Close::Reset => self.socket.reset_on_close(),
        }
    }

    /// The kernel delivers what it has, and its FIN says the rest.
    fn take_leave(&mut self) -> bool {
        true
    }
}

impl<S: AsFd> AsFd for PlainTransport<S> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}
