//! What the front knows of the exchange in progress: how the request's content is framed, how the answer's is to be, and what becomes
//! of the connection.

use crate::base::text::push_hex;
use crate::front::NewExchange;
use crate::http::framing::{Body, BodyLength, Recode};
use crate::http::request::Request;
use crate::http::{HeadLimits, Refusal};
use crate::machine::Turn;
use crate::machine::flow::Flow;
use crate::machine::recipient::ClientSide;

/// How the client's connection goes on after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Fate {
    /// It stays open for the next request.
    Kept,
    /// It closes: `Connection: close` was sent, or the close marks the end of the body.
    Closed,
}

/// An exchange in progress.
#[derive(Debug)]
pub struct Serving {
    exchange: usize,
    /// The decoder of the request's content.
    pub(super) body: Body,
    pub(super) framer: Framer,
    /// The client's version: HTTP/1.`minor`.
    pub(super) minor: u8,
    /// The client sends no other request after it, and knows that.
    pub(super) is_last: bool,
    pub(super) fate: Fate,
    /// Whether the client takes the close of its connection for the end of the body.
    pub(super) ends_with_close: bool,
}

impl Serving {
    pub(super) fn new(NewExchange { key, content }: NewExchange, request: &Request, turn: &Turn) -> Self {
        let is_last = !request.connection.persists(request.minor);
        let upgrades_after_content = request.upgrade.is_some() && request.length != BodyLength::Empty;
        let closes = is_last || upgrades_after_content || turn.is_leaving || turn.site.config.timeouts.client_keepalive_ms == 0;
        Self {
            exchange: key,
            body: Body::new(request.length, content),
            framer: Framer::default(),
            minor: request.minor,
            is_last,
            fate: if closes { Fate::Closed } else { Fate::Kept },
            ends_with_close: false,
        }
    }

    /// For a head that is refused: where it ends is not known.
    pub(super) fn of_refused(exchange: usize) -> Self {
        let body = Body::new(BodyLength::UntilClose, Recode::Same);
        let (framer, fate) = (Framer::default(), Fate::Closed);
        Self { exchange, body, framer, minor: 1, is_last: false, fate, ends_with_close: false }
    }

    /// The key of the exchange.
    pub fn exchange(&self) -> usize {
        self.exchange
    }
}

impl ClientSide for Serving {
    fn read_content(&mut self, up: &mut Flow, limits: &HeadLimits) -> Result<(), Refusal> {
        up.scan(&mut self.body, limits).map(drop)
    }

    fn received(&self) -> u64 {
        self.body.received()
    }

    fn announced(&self) -> u64 {
        self.body.content()
    }

    fn opaque(&self, up: &Flow) -> u64 {
        if up.may_bypass() && !up.is_ended { self.body.opaque() } else { 0 }
    }

    fn on_moved(&mut self, n: usize, up: &mut Flow) {
        self.body.moved(n);
        up.is_ended = self.body.is_ended();
    }

    fn took(&mut self, n: usize, down: &mut Flow) {
        down.took(n);
        self.framer.go_on(down);
    }

    fn frame(&mut self, ready: usize, down: &mut Flow) {
        self.framer.frame(ready, down);
    }

    fn lose_framing(&mut self, up: &mut Flow) {
        up.ring.clear();
        (self.body, up.is_ended) = (Body::new(BodyLength::UntilClose, Recode::Same), false);
        self.fate = Fate::Closed;
    }

    fn on_fin(&mut self, up: &mut Flow) {
        up.ring.clear();
        (self.body, up.is_ended) = (Body::default(), true);
        (self.is_last, self.fate) = (true, Fate::Closed);
    }

    fn open_tunnel(&mut self) {
        self.body = Body::new(BodyLength::UntilClose, Recode::Same);
    }
}

/// Puts content into chunks where its end is not known before (RFC 9112 7.1).
#[derive(Debug, Default)]
pub(super) struct Framer {
    /// Whether content that is added goes into chunks.
    makes_chunks: bool,
    /// Whether the last chunk has yet to be written, after the rest of the content, which lies raw in the ring.
    owes_last_chunk: bool,
}

impl Framer {
    /// For an answer made here, whose content is put into chunks.
    pub(super) fn of_chunks() -> Self {
        Self { makes_chunks: true, owes_last_chunk: false }
    }

    /// Content lies raw in the ring. A chunk is made of it once everything but a head was sent.
    pub(super) fn add(&mut self, down: &mut Flow) {
        let rest = down.ring.raw();
        if rest == 0 || (self.makes_chunks && !down.may_frame()) {
            return;
        }
        down.ring.check(rest, rest);
        if self.makes_chunks {
            self.frame(rest, down);
        }
    }

    /// Writes the frame of a chunk of so many bytes, which are ready in the ring.
    fn frame(&mut self, length: usize, down: &mut Flow) {
        let write = |block: &mut Vec<u8>| {
            push_hex(block, length as u64);
            block.extend_from_slice(b"\r\n");
        };
        down.frame(write, b"\r\n");
    }

    /// The content has come to its end.
    pub(super) fn end(&mut self, down: &mut Flow) {
        self.owes_last_chunk = true;
        self.go_on(down);
    }

    /// Nothing more is written.
    pub(super) fn stop(&mut self) {
        self.owes_last_chunk = false;
    }

    pub(super) fn is_done(&self) -> bool {
        !self.owes_last_chunk
    }

    /// Once everything but a head was sent, frames the rest of the content, and then writes the last chunk.
    fn go_on(&mut self, down: &mut Flow) {
        if !self.owes_last_chunk || !down.may_frame() {
            return;
        }
        let rest = down.ring.raw();
        if rest > 0 {
            down.ring.check(rest, rest);
            return self.frame(rest, down);
        }
        self.owes_last_chunk = false;
        down.frame(|block| block.extend_from_slice(b"0\r\n\r\n"), b"");
    }
}
