//! What is kept of a request's head for the access log, and the trace id.

use crate::base::text;
use crate::http::fields::is_token;
use crate::observe::access::RequestLine;

/// Parts of the request's head for the log, because the head is gone from its ring by then.
#[derive(Debug, Default)]
pub(super) struct Note {
    text: Vec<u8>,
    ends: [u32; Self::PARTS],
    minor: Option<u8>,
}

impl Note {
    /// Method, target, host, user agent, referer; or only the raw first line.
    pub(super) const PARTS: usize = 5;
    /// How much of a raw line is kept (bytes).
    pub(super) const MAX_RAW: usize = 4096;

    pub(super) fn take(&mut self, parts: [&[u8]; Self::PARTS], minor: Option<u8>) {
        self.text.clear();
        self.minor = minor;
        for (end, part) in self.ends.iter_mut().zip(parts) {
            self.text.extend_from_slice(part);
            *end = self.text.len() as u32;
        }
    }

    pub(super) fn clear(&mut self) {
        self.text.clear();
        (self.ends, self.minor) = ([0; Self::PARTS], None);
    }

    /// The request line, as far as it is known.
    pub(super) fn line(&self) -> RequestLine<'_> {
        match self.minor {
            Some(minor) => {
                let version: &[u8] = if minor == 0 { b"HTTP/1.0" } else { b"HTTP/1.1" };
                RequestLine::Parsed { method: self.part(0), target: self.part(1), version }
            }
            None => RequestLine::Raw(self.part(0)),
        }
    }

    fn part(&self, index: usize) -> &[u8] {
        let start = index.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.text[start as usize..self.ends[index] as usize]
    }

    pub(super) fn known(&self, index: usize) -> Option<&[u8]> {
        Some(self.part(index)).filter(|part| !part.is_empty())
    }
}

/// The value of `X-Trace-ID`: a UUID, or what a trusted proxy sent.
#[derive(Clone, Copy, Debug)]
pub(super) struct TraceId {
    text: [u8; Self::MAX],
    len: u8,
}

impl TraceId {
    /// The greatest length of one that is taken over (bytes).
    const MAX: usize = 128;
    const UUID: u8 = 36;

    /// Makes a random UUID.
    pub(super) fn make(&mut self, rng: &mut fastrand::Rng) {
        let id = text::uuid(rng.u128(..));
        self.text[..id.len()].copy_from_slice(&id);
        self.len = Self::UUID;
    }

    /// Takes one over, if it is a token and not too long.
    pub(super) fn take(&mut self, given: &[u8]) {
        if given.len() <= Self::MAX && is_token(given) {
            self.text[..given.len()].copy_from_slice(given);
            self.len = given.len() as u8;
        }
    }

    pub(super) fn as_bytes(&self) -> &[u8] {
        &self.text[..self.len.into()]
    }

    pub(super) fn as_str(&self) -> &str {
        // It consists of hexadecimal digits and dashes, or is a token: ASCII in both cases.
        std::str::from_utf8(self.as_bytes()).unwrap_or_default()
    }
}

impl Default for TraceId {
    fn default() -> Self {
        Self { text: [b'0'; Self::MAX], len: Self::UUID }
    }
}
