//! TLS over a socket, at either end.
//!
//! The handshake goes on in small steps, with each read, so that whoever drives many connections decides how many steps there are in a
//! turn. A short read of the socket says nothing of the stream: a record may be incomplete, or be the protocol's own affair; and
//! bytes of the stream are held back here when there was no room for all of a record.

mod reading;
mod records;
#[cfg(test)]
mod tests;
mod writing;

use super::plain::{PlainTransport, Socket};
use super::{Close, Edge, Handshake, Opening, Transfer, Transport};
use crate::base::ring::Ring;
use crate::tls::fault::{HandshakeCut, PlainHttp};
use records::RecordCursor;
use rustls::Connection;
use std::io::{self, ErrorKind, IoSlice};

/// How often it looks for something of the stream before it calls a connection busy.
const LOOKS: usize = 64;

/// TLS over a socket.
#[derive(Debug)]
pub struct TlsTransport<S> {
    plain: PlainTransport<S>,
    tls: Connection,
    stage: TlsStage,
    /// Where the bytes that were read end within a record.
    cursor: RecordCursor,
    /// How many bytes of the stream lie in the connection, read and decrypted.
    held: usize,
    /// What was read and the connection did not take, because it holds too much.
    unfed: Vec<u8>,
    /// How many bytes were sent since the other end last said something.
    sent: usize,
    /// The other end has said that nothing follows.
    is_closed: bool,
    /// Nothing more can be read from the socket.
    is_over: bool,
    /// The end was told to whoever reads.
    has_told: bool,
    /// A write has failed.
    is_broken: bool,
    /// A write has taken something since that was asked.
    has_written: bool,
    /// A FIN follows what is to be written.
    ends: bool,
    is_reset: bool,
    fault: Option<rustls::Error>,
    /// How the handshake went, until it is asked for.
    outcome: Option<Handshake>,
}

/// How far a connection is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum TlsStage {
    /// The socket connects, or has something to say before.
    Below,
    Handshake,
    /// The handshake has failed; the reason may still have to be said.
    Failed,
    Open,
    /// The other end speaks plainly, and is answered plainly.
    Foreign,
}

impl<S: Socket> TlsTransport<S> {
    /// On top of a socket that was accepted, or that is connecting.
    pub fn new(plain: PlainTransport<S>, tls: Connection) -> Self {
        let stage = if matches!(tls, Connection::Server(_)) { TlsStage::Handshake } else { TlsStage::Below };
        Self {
            plain,
            tls,
            stage,
            cursor: RecordCursor::default(),
            held: 0,
            unfed: Vec::new(),
            sent: 0,
            is_closed: false,
            is_over: false,
            has_told: false,
            is_broken: false,
            has_written: false,
            ends: false,
            is_reset: false,
            fault: None,
            outcome: None,
        }
    }

    /// The socket, to tie it to a poll.
    pub fn socket(&self) -> &S {
        self.plain.socket()
    }

    fn is_server(&self) -> bool {
        matches!(self.tls, Connection::Server(_))
    }

    fn has_output(&self) -> bool {
        self.tls.wants_write() && !self.is_broken && matches!(self.stage, TlsStage::Handshake | TlsStage::Failed | TlsStage::Open)
    }

    /// The other end has gone away in the middle of the handshake.
    fn cut_off(&mut self) -> Opening {
        self.note_failure("the connection was closed in the middle of the handshake".to_owned());
        Opening::Failed(io::Error::new(ErrorKind::UnexpectedEof, HandshakeCut))
    }

    /// Whether nothing more of the stream can come.
    fn has_ended(&self) -> bool {
        self.is_closed || self.is_over || self.fault.is_some()
    }
}

impl<S: Socket> Transport for TlsTransport<S> {
    type Pipe = S::Pipe;

    fn on_edge(&mut self, edge: Edge) {
        self.plain.on_edge(edge);
        if edge.writable {
            self.flush();
        }
    }

    fn say_first(&mut self, bytes: Vec<u8>) {
        self.plain.say_first(bytes);
    }

    fn open(&mut self) -> Opening {
        if self.stage == TlsStage::Below {
            match self.plain.open() {
                Opening::Open => self.stage = TlsStage::Handshake,
                outcome => return outcome,
            }
        }
        // From here on an error of the socket waits until all that came before it is read: that may tell the reason.
        self.shake();
        match (self.stage, self.fault()) {
            (_, Some(fault)) => Opening::Failed(fault),
            (TlsStage::Foreign, None) => Opening::Failed(io::Error::new(ErrorKind::InvalidData, PlainHttp)),
            (TlsStage::Open, None) => Opening::Open,
            (_, None) if self.is_over || self.is_broken => self.cut_off(),
            (_, None) => Opening::Pending,
        }
    }

    fn is_opening(&self) -> bool {
        matches!(self.stage, TlsStage::Below | TlsStage::Handshake)
    }

    fn is_amid_handshake(&self) -> bool {
        self.stage == TlsStage::Handshake && !self.is_server()
    }

    fn is_shaking(&self) -> bool {
        self.is_opening() && (self.plain.may_read() || !self.cursor.is_at_start())
    }

    /// What comes before the end stays in the connection, or here, where it has a bound: no more is read on top of it.
    fn look_for_end(&mut self) {
        let holds = self.held > 0 || !self.unfed.is_empty();
        if self.stage == TlsStage::Open && !holds && !self.has_ended() && self.plain.may_read() {
            // The end is told by the next read, and by `is_ending`.
            let _ = self.pull(&mut []);
        }
    }

    fn has_unsent(&self) -> bool {
        self.has_output()
    }

    fn take_moved(&mut self) -> bool {
        std::mem::take(&mut self.has_written)
    }

    fn take_handshake(&mut self) -> Option<Handshake> {
        self.outcome.take()
    }

    fn fault(&self) -> Option<io::Error> {
        self.fault.as_ref().map(|fault| io::Error::new(ErrorKind::InvalidData, fault.clone()))
    }

    fn may_read(&self) -> bool {
        self.held > 0 || !self.unfed.is_empty() || if self.has_ended() { !self.has_told } else { self.plain.may_read() }
    }

    fn may_write(&self) -> bool {
        self.is_broken || (self.plain.may_write() && matches!(self.stage, TlsStage::Open | TlsStage::Foreign))
    }

    fn is_gone(&self) -> bool {
        self.plain.is_gone()
    }

    fn is_ending(&self) -> bool {
        self.plain.is_ending() || self.is_closed
    }

    fn look_again(&mut self) {
        self.plain.look_again();
    }

    fn fill(&mut self, ring: &mut Ring) -> Transfer {
        let (first, _) = ring.room_mut();
        let transfer = self.take(first);
        if let Transfer::Bytes(n) = transfer {
            ring.fill(n);
        }
        transfer
    }

    fn read(&mut self, buffer: &mut [u8]) -> Transfer {
        self.take(buffer)
    }

    /// What is taken lies in a record, which may be written later: until then no more is taken. What the protocol has to say, such as
    /// tickets, goes with it.
    fn send(&mut self, slices: &[IoSlice]) -> Transfer {
        if self.stage == TlsStage::Foreign {
            return self.plain.send(slices);
        }
        let (mut taken, had_written) = (0, std::mem::take(&mut self.has_written));
        while self.may_write() && !self.is_broken {
            match self.encrypt(slices, taken) {
                Ok(0) => break,
                Ok(n) => taken += n,
                Err(_) => self.is_broken = true,
            }
            self.flush();
        }
        // Of what was written before the failure, the other end may have acted on anything: that counts as taken, and the next send fails.
        let is_untouched = !self.has_written;
        self.has_written |= had_written;
        match taken {
            _ if self.is_broken && is_untouched => Transfer::Failed,
            0 if self.is_broken => Transfer::Failed,
            0 => Transfer::Blocked,
            n => Transfer::Bytes(n),
        }
    }

    fn check_quiet(&mut self) -> bool {
        for _ in 0..LOOKS {
            if self.plain.is_gone() || self.plain.is_ending() {
                return false;
            }
            if !self.may_read() {
                return self.cursor.is_between();
            }
            match self.take(&mut [0]) {
                Transfer::Blocked => return self.cursor.is_between(),
                Transfer::Beside(_) => {}
                _ => return false,
            }
        }
        false
    }

    fn check_quiet_now(&mut self) -> bool {
        self.look_again();
        self.check_quiet()
    }

    fn is_delivered(&self) -> bool {
        !self.has_output() && self.plain.is_delivered()
    }

    /// The other end's close is still to come.
    fn may_part(&self) -> bool {
        self.is_broken || (self.stage != TlsStage::Open && self.plain.may_part())
    }

    fn close(&mut self, how: Close) {
        match how {
            Close::Sending => {
                self.say_close();
                self.ends = true;
                self.flush();
            }
            Close::Reset => {
                self.is_reset = true;
                self.plain.close(Close::Reset);
            }
        }
    }

    fn take_leave(&mut self) -> bool {
        self.note_failure("it was not finished in time, or there was no time for it".to_owned());
        if self.is_reset || self.is_broken {
            return true;
        }
        self.say_close();
        self.flush()
    }
}
