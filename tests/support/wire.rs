//! What both ends of a play share: a socket with a buffer, from which HTTP/1.1 is read strictly: the first byte that the RFC does not
//! allow fails the test.

use super::PATIENCE;
use super::http::{self, Part, Style};
use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::time::Duration;

/// Why no more bytes come: the peer said so, cut us off, or said nothing for as long as we cared to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    Closed,
    Reset,
    Silent,
}

/// Fields in the order they came, names as they were written.
#[derive(Clone, Debug, Default)]
pub struct Fields(pub Vec<(String, String)>);

impl Fields {
    pub fn all(&self, name: &str) -> Vec<&str> {
        let of_name = self.0.iter().filter(|(n, _)| n.eq_ignore_ascii_case(name));
        of_name.map(|(_, v)| v.as_str()).collect()
    }

    /// The value of a field that must not come twice.
    #[track_caller]
    pub fn get(&self, name: &str) -> Option<&str> {
        let all = self.all(name);
        assert!(all.len() < 2, "{name} came {} times: {all:?}", all.len());
        all.first().copied()
    }

    pub fn has(&self, name: &str) -> bool {
        !self.all(name).is_empty()
    }

    /// Whether the comma-separated field contains that word.
    pub fn lists(&self, name: &str, word: &str) -> bool {
        let items = self.all(name).join(",");
        items.split(',').any(|item| item.trim().eq_ignore_ascii_case(word))
    }

    fn of(fields: impl IntoIterator<Item = http::Field>) -> Fields {
        Fields(fields.into_iter().map(|field| (field.name, latin(&field.value))).collect())
    }
}

/// A head as it was received: the first line, and the fields.
#[derive(Clone, Debug)]
pub struct Head {
    pub start: String,
    pub fields: Fields,
    pub raw: Vec<u8>,
}

pub struct Wire {
    pub stream: TcpStream,
    buf: Vec<u8>,
}

impl Wire {
    pub fn new(stream: TcpStream) -> Wire {
        // A Unix socket has no such thing.
        let _ = stream.set_nodelay(true);
        stream.set_read_timeout(Some(PATIENCE)).unwrap();
        stream.set_write_timeout(Some(PATIENCE)).unwrap();
        Wire { stream, buf: Vec::new() }
    }

    pub fn write(&mut self, bytes: &[u8]) -> Result<(), End> {
        self.stream.write_all(bytes).map_err(|e| end(e.kind()))
    }

    /// The next bytes, as many as are there; never none.
    pub fn some(&mut self, out: &mut [u8]) -> Result<usize, End> {
        if !self.buf.is_empty() {
            let n = out.len().min(self.buf.len());
            out[..n].copy_from_slice(&self.buf[..n]);
            self.buf.drain(..n);
            return Ok(n);
        }
        loop {
            match self.stream.read(out) {
                Ok(0) => return Err(End::Closed),
                Ok(n) => return Ok(n),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(end(e.kind())),
            }
        }
    }

    /// A head up to its empty line, or why there is none; `Err` after part of one is a cut as well.
    pub fn head(&mut self) -> Result<Head, End> {
        let raw = self.until(b"\r\n\r\n")?;
        match http::head(&raw, Style::Any) {
            Part::Whole(head, length) if length == raw.len() => {
                Ok(Head { start: latin(&head.first), fields: Fields::of(head.fields), raw })
            }
            Part::Bad(why) => panic!("{why}: {}", raw.escape_ascii()),
            Part::Whole(..) | Part::Cut => panic!("not one head: {}", raw.escape_ascii()),
        }
    }

    /// Exactly `n` bytes, added to `out`; at an end `out` has what came.
    pub fn take(&mut self, mut n: usize, out: &mut Vec<u8>) -> Result<(), End> {
        let mut block = [0; 65_536];
        while n > 0 {
            let most = n.min(block.len());
            let got = self.some(&mut block[..most])?;
            out.extend_from_slice(&block[..got]);
            n -= got;
        }
        Ok(())
    }

    /// A chunked body: its data, and the lines that framed it; returns the trailers.
    pub fn chunked(&mut self, out: &mut Vec<u8>, sizes: &mut Vec<String>) -> Result<Fields, End> {
        loop {
            let line = self.line()?;
            let n = http::chunk_size(line.as_bytes(), Style::Canonical).unwrap_or_else(|| panic!("bad chunk size {line:?}")) as usize;
            sizes.push(line);
            if n == 0 {
                break;
            }
            self.take(n, out)?;
            assert_eq!(self.line()?, "", "no line end after a chunk");
        }
        let mut trailers = Vec::new();
        loop {
            let line = self.raw_line()?;
            if line.is_empty() {
                return Ok(Fields::of(trailers));
            }
            trailers.push(http::field(&line, Style::Any).unwrap_or_else(|why| panic!("{why}: {}", line.escape_ascii())));
        }
    }

    /// Everything up to the end, and which end it was.
    pub fn rest(&mut self, out: &mut Vec<u8>) -> End {
        let mut block = [0; 65_536];
        loop {
            match self.some(&mut block) {
                Ok(n) => out.extend_from_slice(&block[..n]),
                Err(end) => return end,
            }
        }
    }

    /// Whether nothing, not even an end, comes for that long.
    pub fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.stream.set_read_timeout(Some(time)).unwrap();
        let quiet = self.buf.is_empty() && self.stream.peek(&mut [0]).is_err_and(|e| end(e.kind()) == End::Silent);
        self.stream.set_read_timeout(Some(PATIENCE)).unwrap();
        quiet
    }

    /// Whether bytes or an end can be read at once.
    pub fn is_readable(&self) -> bool {
        self.stream.set_nonblocking(true).unwrap();
        let waits = self.buf.is_empty() && self.stream.peek(&mut [0]).is_err_and(|e| e.kind() == ErrorKind::WouldBlock);
        self.stream.set_nonblocking(false).unwrap();
        !waits
    }

    pub fn half_close(&mut self) {
        self.stream.shutdown(Shutdown::Write).unwrap();
    }

    /// Makes the close of the socket a reset.
    pub fn arm_reset(&self) {
        socket2::SockRef::from(&self.stream).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub fn line(&mut self) -> Result<String, End> {
        Ok(latin(&self.raw_line()?))
    }

    fn raw_line(&mut self) -> Result<Vec<u8>, End> {
        match http::line(&self.until(b"\n")?) {
            Part::Whole(line, _) => Ok(line.to_vec()),
            Part::Bad(why) => panic!("{why}"),
            Part::Cut => unreachable!("its end has come"),
        }
    }

    fn until(&mut self, mark: &[u8]) -> Result<Vec<u8>, End> {
        let mut block = [0; 16_384];
        let mut seen = 0;
        loop {
            if let Some(i) = self.buf[seen..].windows(mark.len()).position(|w| w == mark) {
                return Ok(self.buf.drain(..seen + i + mark.len()).collect());
            }
            seen = (self.buf.len() + 1).saturating_sub(mark.len());
            match self.stream.read(&mut block) {
                Ok(0) => return Err(End::Closed),
                Ok(n) => self.buf.extend_from_slice(&block[..n]),
                Err(e) if e.kind() == ErrorKind::Interrupted => {}
                Err(e) => return Err(end(e.kind())),
            }
        }
    }
}

/// Each byte as a character, so that no byte is lost.
fn latin(bytes: &[u8]) -> String {
    bytes.iter().map(|b| *b as char).collect()
}

fn end(kind: ErrorKind) -> End {
    match kind {
        ErrorKind::WouldBlock | ErrorKind::TimedOut => End::Silent,
        ErrorKind::UnexpectedEof => End::Closed,
        _ => End::Reset,
    }
}
