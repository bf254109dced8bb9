//! From the socket to the stream: reads, records, and the steps of the handshake.

use super::super::plain::Socket;
use super::super::{Handshake, TlsVersion, Transfer, Transport};
use super::{TlsStage, TlsTransport};
use rustls::{Connection, HandshakeKind, ProtocolVersion};
use std::cell::Cell;
use std::io::Read;

/// The least and the most bytes that are read from the socket at once.
const LEAST_READ: usize = 4096;
const SCRATCH_BYTES: usize = 64 * 1024;

thread_local! {
    /// Where a thread's connections lay what they read, before it is decrypted.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// What one read has brought.
pub(super) struct Pulled {
    /// Bytes of the socket.
    read: usize,
    /// Bytes of the stream.
    plaintext: usize,
}

impl<S: Socket> TlsTransport<S> {
    /// Reads once from the socket, or takes what was left over, and gives it to the connection. Bytes of the stream that come out of it
    /// go into the room.
    pub(super) fn pull(&mut self, room: &mut [u8]) -> Result<Pulled, Transfer> {
        if !self.unfed.is_empty() {
            let bytes = std::mem::take(&mut self.unfed);
            return Ok(Pulled { read: bytes.len(), plaintext: self.feed(&bytes, room) });
        }
        let mut scratch = SCRATCH.take();
        scratch.resize(SCRATCH_BYTES, 0);
        let most = room.len().clamp(LEAST_READ, SCRATCH_BYTES);
        let pulled = match self.plain.read(&mut scratch[..most]) {
            Transfer::Bytes(read) if self.is_foreign(&scratch[..read]) => {
                (self.stage, self.outcome) = (TlsStage::Foreign, Some(Handshake::Foreign));
                Ok(Pulled { read, plaintext: 0 })
            }
            Transfer::Bytes(read) => Ok(Pulled { read, plaintext: self.feed(&scratch[..read], room) }),
            Transfer::Blocked => Err(Transfer::Blocked),
            _ => {
                self.is_over = true;
                self.fail(None);
                Err(Transfer::Failed)
            }
        };
        SCRATCH.set(scratch);
        pulled
    }

    /// Whether a connection that begins with these bytes was meant to be plain HTTP. A handshake begins with 22. An upstream that is
    /// spoken to in TLS may say anything, but one of plain HTTP answers.
    fn is_foreign(&self, bytes: &[u8]) -> bool {
        let is_http = || if self.is_server() { bytes[0].is_ascii_alphabetic() } else { bytes.starts_with(&b"HTTP/"[..bytes.len().min(5)]) };
        self.stage == TlsStage::Handshake && self.cursor.is_at_start() && is_http()
    }

    /// Gives bytes that were read to the connection, and puts what comes out of it into the room. Returns how many bytes that is.
    fn feed(&mut self, mut bytes: &[u8], room: &mut [u8]) -> usize {
        let mut plaintext = 0;
        while !bytes.is_empty() && !self.has_ended() {
            let before = bytes;
            let taken = self.tls.read_tls(&mut bytes).unwrap_or(0);
            // It takes nothing while it holds much, which is where the room is full. Otherwise no message is that long.
            if taken == 0 && self.held > 0 {
                self.unfed = bytes.to_vec();
                break;
            }
            if taken == 0 {
                self.is_over = true;
                self.fail(None);
                break;
            }
            self.cursor.advance(&before[..taken]);
            self.digest();
            plaintext += self.take_held(&mut room[plaintext..]);
        }
        plaintext
    }

    /// Has the connection look at what it was given.
    fn digest(&mut self) {
        match self.tls.process_new_packets() {
            Ok(state) => {
                self.held = state.plaintext_bytes_to_read();
                self.is_closed = state.peer_has_closed();
                if self.stage == TlsStage::Handshake && !self.tls.is_handshaking() {
                    self.stage = TlsStage::Open;
                    self.outcome = Some(Handshake::made(&self.tls));
                }
            }
            Err(error) => self.fail(Some(error)),
        }
    }

    /// There will be no more of the stream. The other end is told why, where it is its fault.
    fn fail(&mut self, error: Option<rustls::Error>) {
        // What came before it can still be taken.
        self.held = usize::MAX;
        let closed = || "the connection was closed in the middle of the handshake".to_owned();
        self.note_failure(error.as_ref().map_or_else(closed, ToString::to_string));
        self.fault = self.fault.take().or(error);
        self.flush();
    }

    /// Who has not said anything has not begun a handshake.
    pub(super) fn note_failure(&mut self, why: String) {
        let has_begun = !self.is_server() || !self.cursor.is_at_start();
        if self.stage == TlsStage::Handshake && has_begun {
            (self.stage, self.outcome) = (TlsStage::Failed, Some(Handshake::Failed { version: version(&self.tls), why }));
        }
    }

    /// Takes bytes of the stream that lie in the connection.
    pub(super) fn take_held(&mut self, room: &mut [u8]) -> usize {
        let mut taken = 0;
        while self.held > 0 && taken < room.len() {
            match self.tls.reader().read(&mut room[taken..]) {
                Ok(n @ 1..) => {
                    taken += n;
                    self.held = self.held.saturating_sub(n);
                }
                Ok(_) | Err(_) => self.held = 0,
            }
        }
        taken
    }

    /// Bytes of the stream, or what there is instead, after at most one read.
    pub(super) fn take(&mut self, room: &mut [u8]) -> Transfer {
        if self.stage == TlsStage::Foreign {
            return self.plain.read(room);
        }
        self.flush();
        if let n @ 1.. = self.take_held(room) {
            return Transfer::Bytes(n);
        }
        if !self.has_ended() {
            let was_opening = self.is_opening();
            match self.pull(room) {
                Ok(Pulled { plaintext: n @ 1.., .. }) => {
                    self.sent = 0;
                    // The other end may wait for the end of our handshake, however long the answer takes.
                    if was_opening {
                        self.flush();
                    }
                    return Transfer::Bytes(n);
                }
                Ok(Pulled { read, .. }) if !self.has_ended() => {
                    self.flush();
                    return Transfer::Beside(read);
                }
                Err(Transfer::Blocked) => return Transfer::Blocked,
                _ => {}
            }
        }
        self.has_told = true;
        if self.is_closed { Transfer::Fin } else { Transfer::Failed }
    }

    /// Goes on with the handshake as far as possible.
    pub(super) fn shake(&mut self) {
        self.flush();
        while self.stage == TlsStage::Handshake && !self.has_ended() && self.plain.may_read() {
            if self.pull(&mut []).is_err() {
                break;
            }
            self.flush();
        }
    }
}

impl Handshake {
    fn made(tls: &Connection) -> Self {
        let is_resumed = tls.handshake_kind() == Some(HandshakeKind::Resumed);
        Self::Made { version: version(tls).unwrap_or(TlsVersion::V13), is_resumed }
    }
}

fn version(tls: &Connection) -> Option<TlsVersion> {
    match tls.protocol_version()? {
        ProtocolVersion::TLSv1_2 => Some(TlsVersion::V12),
        ProtocolVersion::TLSv1_3 => Some(TlsVersion::V13),
        _ => None,
    }
}
