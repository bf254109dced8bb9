//! How a message body is delimited (RFC 9112 6.3), and how it is passed on to a recipient that needs it delimited differently.

use super::chunked::{Decoder, Keep, Step};
use super::{HeadLimits, Refusal};

/// How the end of a body is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// No body.
    Empty,
    /// `Content-Length`, at least 1.
    Known(u64),
    /// `Transfer-Encoding: chunked`.
    Chunked,
    /// A response body that ends when its connection is closed.
    UntilClose,
}

/// How the body is delimited for the recipient, compared with how it came.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recode {
    /// In the same way.
    Same,
    /// Chunked to an HTTP/1.0 client: only the data, ended by the close.
    Dechunk,
    /// Until close to an HTTP/1.1 client: in chunks, so that a truncated body is recognised.
    Enchunk,
}

/// What is still to come of a body.
#[derive(Clone, Debug)]
enum Rest {
    Ended,
    Known(u64),
    Chunked(Decoder),
    UntilClose,
}

/// A body on its way: how much is left of it, and what is kept of its framing.
#[derive(Clone, Debug)]
pub struct Body {
    rest: Rest,
    recode: Recode,
    content: u64,
    /// Bytes of framing that were passed on.
    framing: u64,
}

impl Default for Body {
    fn default() -> Self {
        Self { rest: Rest::Ended, recode: Recode::Same, content: 0, framing: 0 }
    }
}

impl Body {
    /// A body of which nothing has come yet.
    pub fn new(length: Length, recode: Recode) -> Self {
        let rest = match length {
            Length::Empty | Length::Known(0) => Rest::Ended,
            Length::Known(n) => Rest::Known(n),
            Length::Chunked => Rest::Chunked(Decoder::default()),
            Length::UntilClose => Rest::UntilClose,
        };
        Self { rest, recode, content: 0, framing: 0 }
    }

    /// Whether all of it has come.
    pub fn is_ended(&self) -> bool {
        matches!(self.rest, Rest::Ended)
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
            Rest::Chunked(decoder) => decoder.announced() - decoder.opaque(),
            _ => self.content,
        }
    }

    /// How many of the bytes that were passed on are framing.
    pub fn framing(&self) -> u64 {
        self.framing
    }

    /// Processes new bytes, and shortens them in place to what is passed on.
    pub fn scan(&mut self, bytes: &mut [u8], limits: &HeadLimits) -> Result<Step, Refusal> {
        let step = match &mut self.rest {
            Rest::Ended => Step { consumed: 0, kept: 0 },
            Rest::Known(left) => {
                let n = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= n as u64;
                self.content += n as u64;
                Step { consumed: n, kept: n }
            }
            Rest::Chunked(decoder) => {
                let keep = if self.recode == Recode::Dechunk { Keep::Data } else { Keep::Framing };
                let before = decoder.announced() - decoder.opaque();
                let step = decoder.decode(bytes, keep, limits)?;
                let data = decoder.announced() - decoder.opaque() - before;
                self.content = decoder.announced();
                self.framing += step.kept as u64 - data;
                step
            }
            Rest::UntilClose => Step { consumed: bytes.len(), kept: bytes.len() },
        };
        self.note_end();
        Ok(step)
    }

    /// How many of the following bytes need no look, framing or change.
    pub fn opaque(&self) -> u64 {
        match &self.rest {
            Rest::Known(left) => *left,
            Rest::Chunked(decoder) => decoder.opaque(),
            Rest::UntilClose if self.recode == Recode::Same => u64::MAX,
            Rest::Ended | Rest::UntilClose => 0,
        }
    }

    /// Notes that `n` of the [`Body::opaque`] bytes were moved past it.
    pub fn moved(&mut self, n: usize) {
        match &mut self.rest {
            Rest::Known(left) => {
                *left -= n as u64;
                self.content += n as u64;
            }
            Rest::Chunked(decoder) => decoder.moved(n as u64),
            Rest::Ended | Rest::UntilClose => {}
        }
        self.note_end();
    }

    /// The sender has closed its side. Returns whether that completes the body, which is so for a body until close.
    pub fn close(&mut self) -> bool {
        if matches!(self.rest, Rest::UntilClose) {
            self.rest = Rest::Ended;
        }
        self.is_ended()
    }

    fn note_end(&mut self) {
        let ended = match &self.rest {
            Rest::Known(left) => *left == 0,
            Rest::Chunked(decoder) => decoder.is_ended(),
            Rest::Ended | Rest::UntilClose => false,
        };
        if ended {
            self.rest = Rest::Ended;
        }
    }
}
