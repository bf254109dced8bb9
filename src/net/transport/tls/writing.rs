//! From the stream to the socket: records of a fitting size, and the words of the end.

use super::super::plain::{PlainTransport, Socket};
use super::super::{Close, Transfer, Transport};
use super::{TlsStage, TlsTransport};
use std::io::{self, ErrorKind, IoSlice, Write};

/// The most bytes of the stream that are encrypted before they are written. What a slow reader does not take of them stays here.
const BURST: usize = 64 * 1024;
/// The first bytes after the other end has said something go in smaller records: it can read what has arrived of them before a
/// window of TCP is full.
const EARLY_BYTES: usize = 12 * 1024;
const EARLY_RECORD: usize = 4096;
/// How many slices one send takes.
const SLICES: usize = 8;

impl<S: Socket> TlsTransport<S> {
    /// Encrypts as much as is written at once. Returns how many bytes of the stream that takes.
    pub(super) fn encrypt(&mut self, slices: &[IoSlice], from: usize) -> io::Result<usize> {
        let mut taken = 0;
        while taken < BURST {
            let early = EARLY_BYTES.saturating_sub(self.sent);
            let most = if early > 0 { EARLY_RECORD } else { BURST - taken };
            let (pieces, count) = window(slices, from + taken, most);
            if count == 0 {
                break;
            }
            let n = self.tls.writer().write_vectored(&pieces[..count])?;
            if n == 0 {
                break;
            }
            (taken, self.sent) = (taken + n, self.sent.saturating_add(n));
        }
        Ok(taken)
    }

    /// Writes what is to be written; then, if it has ended, a FIN. Returns whether nothing is left.
    pub(super) fn flush(&mut self) -> bool {
        while self.has_output() {
            if !self.plain.may_write() {
                return false;
            }
            match self.tls.write_tls(&mut SocketWriter(&mut self.plain)) {
                Ok(_) => self.has_written = true,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                Err(_) => self.is_broken = true,
            }
        }
        if std::mem::take(&mut self.ends) && !self.is_broken {
            self.plain.close(Close::Sending);
        }
        true
    }

    /// Says that nothing follows, except to who has said nothing.
    pub(super) fn say_close(&mut self) {
        if self.stage != TlsStage::Foreign && self.fault.is_none() && !self.cursor.is_at_start() {
            self.tls.send_close_notify();
        }
    }
}

/// The socket, as the connection writes to it.
struct SocketWriter<'a, S>(&'a mut PlainTransport<S>);

impl<S: Socket> Write for SocketWriter<'_, S> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_vectored(&[IoSlice::new(bytes)])
    }

    fn write_vectored(&mut self, slices: &[IoSlice]) -> io::Result<usize> {
        match self.0.send(slices) {
            Transfer::Bytes(n) => Ok(n),
            Transfer::Blocked => Err(ErrorKind::WouldBlock.into()),
            _ => Err(ErrorKind::BrokenPipe.into()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// At most `most` bytes of what lies behind the first `skip`, in order; and how many slices that takes.
fn window<'a>(slices: &'a [IoSlice], mut skip: usize, mut most: usize) -> ([IoSlice<'a>; SLICES], usize) {
    let (mut pieces, mut count) = ([IoSlice::new(&[]); SLICES], 0);
    for slice in slices {
        let left = &slice[skip.min(slice.len())..];
        skip -= slice.len() - left.len();
        let piece = &left[..left.len().min(most)];
        most -= piece.len();
        if !piece.is_empty() && count < SLICES {
            (pieces[count], count) = (IoSlice::new(piece), count + 1);
        }
    }
    (pieces, count)
}
