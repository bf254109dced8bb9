//! How a message body is delimited (RFC 9112 6.3), and how it is passed on to a recipient that needs it delimited differently.

use super::chunked::{ChunkOutput, ChunkProgress, Decoder};
use super::{HeadLimits, Refusal};
use crate::base::text;

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyLength {
    /// No body.
    Empty,
    /// `Content-Length`, at least 1.
    Known(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// A response body that ends when its connection is closed.
    UntilClose,
}

/// One plain decimal number that fits (RFC 9112 6.2): no sign, no list, no blanks inside.
pub(super) fn read_content_length(value: &[u8]) -> Option<u64> {
    let value = text::trim(value);
    if value.is_empty() {
        return None;
    }
    value.iter().try_fold(0u64, |n, &b| {
        let digit = b.is_ascii_digit().then(|| u64::from(b - b'0'))?;
        n.checked_mul(10)?.checked_add(digit)
    })
}

/// Exactly `chunked` (RFC 9112 6.1). Codings that exist but are not supported get another refusal than nonsense.
pub(super) fn read_transfer_encoding(value: &[u8]) -> Result<(), Refusal> {
    if text::trim(value).eq_ignore_ascii_case(b"chunked") {
        return Ok(());
    }
    let known = |coding: &[u8]| {
        ["gzip", "x-gzip", "deflate", "compress", "x-compress", "chunked", "identity"]
            .iter()
            .any(|name| coding.eq_ignore_ascii_case(name.as_bytes()))
    };
    let ends_chunked = text::list(value).last().is_some_and(|coding| coding.eq_ignore_ascii_case(b"chunked"));
    let chunked_once = text::list(value).filter(|coding| coding.eq_ignore_ascii_case(b"chunked")).count() == 1;
    if text::list(value).all(known) && ends_chunked && chunked_once {
        return Err(Refusal::Coding);
    }
    Err(Refusal::Malformed("Transfer-Encoding is not a single chunked"))
}

/// How the body is delimited for the recipient, compared with how it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recode {
    /// In the same way.
    Same,
    /// Chunked to an HTTP/1.0 client: only the data, ended by the close.
    Dechunk,
    /// Only the data, which the recipient's side frames anew. Until close to an HTTP/1.1 client becomes chunks in this way, so that a
    /// truncated body is recognised.
    Enchunk,
}

/// What is still to come of a body.
#[derive(Clone, Debug)]
enum RemainingBody {
    Ended,
    Known(u64),
    Chunked(Decoder),
    UntilClose,
}

/// A body on its way: how much is left of it, and what is kept of its framing.
#[derive(Clone, Debug)]
pub struct Body {
    rest: RemainingBody,
    recode: Recode,
    content: u64,
    /// Bytes of framing that were passed on.
    framing: u64,
}

impl Default for Body {
    fn default() -> Self {
        Self { rest: RemainingBody::Ended, recode: Recode::Same, content: 0, framing: 0 }
    }
}

impl Body {
    /// A body of which nothing has come yet.
    pub fn new(length: BodyLength, recode: Recode) -> Self {
        let rest = match length {
            BodyLength::Empty | BodyLength::Known(0) => RemainingBody::Ended,
            BodyLength::Known(n) => RemainingBody::Known(n),
            BodyLength::Chunked => RemainingBody::Chunked(Decoder::default()),
            BodyLength::UntilClose => RemainingBody::UntilClose,
        };
        Self { rest, recode, content: 0, framing: 0 }
    }

    /// Whether all of it has come.
    pub fn is_ended(&self) -> bool {
        matches!(self.rest, RemainingBody::Ended)
    }

    /// Whether every run of data must be framed as a chunk by the sender.
    pub fn is_enchunked(&self) -> bool {
        self.recode == Recode::Enchunk
    }

    /// Content bytes so far; for a chunked body as many as its chunk sizes have announced.
    pub fn content(&self) -> u64 {
        self.content
    }

    /// Content bytes that have come.
    pub fn received(&self) -> u64 {
        match &self.rest {
            RemainingBody::Chunked(decoder) => decoder.announced() - decoder.opaque(),
            _ => self.content,
        }
    }

    /// How many of the bytes that were passed on are framing.
    pub fn framing(&self) -> u64 {
        self.framing
    }

    /// Processes new bytes, and shortens them in place to what is passed on.
    pub fn scan(&mut self, bytes: &mut [u8], limits: &HeadLimits) -> Result<ChunkProgress, Refusal> {
        let step = match &mut self.rest {
            RemainingBody::Ended => ChunkProgress { consumed: 0, kept: 0 },
            RemainingBody::Known(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= n as u64;
                self.content += n as u64;
                ChunkProgress { consumed: n, kept: n }
            }
            RemainingBody::Chunked(decoder) => {
                let keep = if self.recode == Recode::Same { ChunkOutput::Framing } else { ChunkOutput::Data };
                let before = decoder.announced() - decoder.opaque();
                let step = decoder.decode(bytes, keep, limits)?;
                let data = decoder.announced() - decoder.opaque() - before;
                self.content = decoder.announced();
                self.framing += step.kept as u64 - data;
                step
            }
            RemainingBody::UntilClose => ChunkProgress { consumed: bytes.len(), kept: bytes.len() },
        };
        self.note_end();
        Ok(step)
    }

    /// How many of the following bytes need no look, framing or change.
    pub fn opaque(&self) -> u64 {
        match &self.rest {
            _ if self.recode == Recode::Enchunk => 0,
            RemainingBody::Known(left) => *left,
            RemainingBody::Chunked(decoder) => decoder.opaque(),
            RemainingBody::UntilClose if self.recode == Recode::Same => u64::MAX,
            RemainingBody::Ended | RemainingBody::UntilClose => 0,
        }
    }

    /// Notes that `n` of the [`Body::opaque`] bytes were moved past it.
    pub fn moved(&mut self, n: usize) {
        match &mut self.rest {
            RemainingBody::Known(left) => {
                *left -= n as u64;
                self.content += n as u64;
            }
            RemainingBody::Chunked(decoder) => decoder.moved(n as u64),
            RemainingBody::Ended | RemainingBody::UntilClose => {}
        }
        self.note_end();
    }

    /// The sender has closed its side. Returns whether that completes the body, which is so for a body until close.
    pub fn close(&mut self) -> bool {
        if matches!(self.rest, RemainingBody::UntilClose) {
            self.rest = RemainingBody::Ended;
        }
        self.is_ended()
    }

    fn note_end(&mut self) {
        let ended = match &self.rest {
            RemainingBody::Known(left) => *left == 0,
            RemainingBody::Chunked(decoder) => decoder.is_ended(),
            RemainingBody::Ended | RemainingBody::UntilClose => false,
        };
        if ended {
            self.rest = RemainingBody::Ended;
        }
    }
}
