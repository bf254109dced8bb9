//! One direction of an exchange: a head that is written here, then a body that passes through its ring in place.
//!
//! The bytes go out in this order:
//!
//! ```text
//!     block (heads, or a chunk's size) | spill (left over from the scratch, or a page) | ring, checked bytes | tail (a chunk's CRLF)
//! ```

use crate::base::ring::Ring;
use crate::base::text::push_hex;
use crate::http::framing::Body;
use crate::http::{HeadLimits, Refusal};
use std::io::IoSlice;
use std::sync::Arc;

/// Blocks that have grown beyond this are freed after the exchange.
const MAX_BLOCK_KEPT: usize = 16 * 1024;

/// What is sent after the block and before the ring.
#[derive(Debug)]
enum Spill {
    /// Bytes that a send from the scratch buffer left over.
    Own(Vec<u8>),
    /// A page that other clients get too. It is in memory once, however many take it, and however slowly.
    Shared(Arc<[u8]>),
}

impl Default for Spill {
    fn default() -> Self {
        Self::Own(Vec::new())
    }
}

impl std::ops::Deref for Spill {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Own(bytes) => bytes,
            Self::Shared(bytes) => bytes,
        }
    }
}

/// The state of one direction.
#[derive(Debug, Default)]
pub struct Half {
    /// Bytes that were written here.
    pub block: Vec<u8>,
    /// How many of them have been sent.
    pub block_sent: usize,
    spill: Spill,
    spill_sent: usize,
    /// Opaque bytes that were read past the ring, and are neither sent nor spilled yet.
    past: usize,
    tail: &'static [u8],
    /// Whether the block is the frame of a chunk, or the last chunk.
    is_frame: bool,
    /// Whether the last chunk of an enchunked body has yet to be written, after the rest of the body, which lies raw in the ring.
    last_chunk: bool,
    /// What is still to come of the body.
    pub body: Body,
    /// How many bytes were sent in total.
    pub sent: u64,
    /// How many of these, and of those to come, are not content.
    pub overhead: u64,
    /// The length of the block when [`Half::open_head`] was last called.
    head_at: usize,
    /// What [`Half::overhead`] was then.
    overhead_at: u64,
}

impl Half {
    /// Prepares it for another exchange; the block's storage stays.
    pub fn reset(&mut self) {
        self.clear_block();
        if self.block.capacity() > MAX_BLOCK_KEPT {
            self.block = Vec::new();
        }
        (self.spill, self.spill_sent, self.past) = (Spill::default(), 0, 0);
        (self.tail, self.last_chunk, self.body) = (b"", false, Body::default());
        (self.sent, self.overhead, self.head_at, self.overhead_at) = (0, 0, 0, 0);
    }

    /// Prepares the block for a head to be appended; returns how many bytes will have been sent before it.
    pub fn open_head(&mut self) -> u64 {
        if self.block_sent == self.block.len() {
            self.clear_block();
        }
        (self.head_at, self.overhead_at) = (self.block.len(), self.overhead);
        self.sent + (self.block.len() - self.block_sent) as u64
    }

    /// Notes that the head is written. Of what was appended, all but `content` bytes is overhead.
    pub fn close_head(&mut self, content: usize) {
        self.overhead += (self.block.len() - self.head_at - content) as u64;
    }

    /// Takes back a head of which nothing was sent, and the body after it.
    pub fn retract(&mut self, ring: &mut Ring) {
        self.overhead = self.overhead_at;
        self.block.truncate(self.head_at);
        self.drop_body(ring);
    }

    /// Drops what was not sent of the body.
    pub fn drop_body(&mut self, ring: &mut Ring) {
        ring.clear();
        (self.spill, self.spill_sent, self.past) = (Spill::default(), 0, 0);
        (self.tail, self.last_chunk) = (b"", false);
        self.body = Body::default();
    }

    /// How many bytes of content were sent. Where the sender's own chunks pass through, those not sent yet count as if they were.
    pub fn content_sent(&self) -> u64 {
        let unsent = if self.is_frame { self.block.len() - self.block_sent + self.tail.len() } else { 0 };
        (self.sent + unsent as u64).saturating_sub(self.overhead)
    }

    /// Drops what follows the body.
    pub fn drop_extra(&mut self, ring: &mut Ring) {
        if !self.last_chunk {
            ring.drop_raw();
        }
    }

    /// Ends the body here, before its end.
    pub fn cut(&mut self, ring: &mut Ring) {
        ring.drop_raw();
        (self.last_chunk, self.body) = (false, Body::default());
    }

    /// Processes the ring's raw bytes; returns how many bytes of content and framing were consumed.
    pub fn scan(&mut self, ring: &mut Ring, limits: &HeadLimits) -> Result<usize, Refusal> {
        if self.body.is_ended() || ring.raw() == 0 || (self.body.is_enchunked() && self.pending(ring) > 0) {
            return Ok(0);
        }
        let framing = self.body.framing();
        let step = self.body.scan(ring.raw_mut(), limits)?;
        ring.check(step.consumed, step.kept);
        self.overhead += self.body.framing() - framing;
        if self.body.is_enchunked() && step.kept > 0 {
            self.enchunk(step.kept);
        }
        if step.consumed == 0 && ring.room() == 0 && ring.ready() == 0 {
            return Err(Refusal::HeadTooLarge("a trailer line is larger than the buffer"));
        }
        Ok(step.consumed)
    }

    /// The sender closed its side. Returns false if that cut the body off.
    pub fn close(&mut self, ring: &mut Ring) -> bool {
        if self.body.is_enchunked() && !self.body.is_ended() {
            self.last_chunk = true;
            self.enchunk_rest(ring);
        }
        self.body.close()
    }

    /// Whether the whole body has come.
    pub fn is_complete(&self) -> bool {
        self.body.is_ended()
    }

    /// How many bytes can be sent now.
    pub fn pending(&self, ring: &Ring) -> usize {
        self.block.len() - self.block_sent + self.spill.len() - self.spill_sent + ring.ready() + self.tail.len()
    }

    /// How many bytes were read past the ring and must be sent before anything else.
    pub fn past(&self) -> usize {
        self.past
    }

    /// Whether there is something for the receiver to take.
    pub fn is_owing(&self, ring: &Ring) -> bool {
        self.past + self.pending(ring) > 0
    }

    /// Whether everything was sent.
    pub fn is_flushed(&self, ring: &Ring) -> bool {
        !self.is_owing(ring) && !self.last_chunk
    }

    /// The bytes that can be sent now, by one system call.
    pub fn output<'a>(&'a self, ring: &'a Ring) -> [IoSlice<'a>; 5] {
        let (first, second) = ring.ready_slices();
        [&self.block[self.block_sent..], &self.spill[self.spill_sent..], first, second, self.tail].map(IoSlice::new)
    }

    /// Notes that `n` of these were sent. Bytes of the ring are kept there until they are released.
    pub fn took(&mut self, mut n: usize, ring: &mut Ring) {
        self.sent += n as u64;
        let mut take = |available: usize| {
            let taken = n.min(available);
            n -= taken;
            taken
        };
        self.block_sent += take(self.block.len() - self.block_sent);
        self.spill_sent += take(self.spill.len() - self.spill_sent);
        ring.sent(take(ring.ready()));
        self.tail = &self.tail[take(self.tail.len())..];
        if self.spill_sent == self.spill.len() && !self.spill.is_empty() {
            (self.spill, self.spill_sent) = (Spill::default(), 0);
        }
        self.enchunk_rest(ring);
    }

    /// How many of the following bytes may bypass the ring: none, unless it and everything before it is empty.
    pub fn opaque(&self, ring: &Ring) -> u64 {
        if !self.is_owing(ring) && ring.is_empty() { self.body.opaque() } else { 0 }
    }

    /// Notes that `n` opaque bytes were read past the ring.
    pub fn moved(&mut self, n: usize) {
        self.past += n;
        self.body.moved(n);
    }

    /// Notes that `n` of them were sent.
    pub fn passed(&mut self, n: usize) {
        self.past -= n;
        self.sent += n as u64;
    }

    /// Stores what a send from the scratch buffer left over.
    pub fn spill(&mut self, bytes: &[u8]) {
        debug_assert!(self.spill.is_empty());
        self.past -= bytes.len();
        self.spill = Spill::Own(bytes.to_vec());
    }

    /// Appends the content of an answer whose head was just written.
    pub fn append_shared(&mut self, content: Arc<[u8]>) {
        debug_assert!(self.spill.is_empty() && self.past == 0);
        self.spill = Spill::Shared(content);
    }

    /// Makes everything that was sent ready to be sent again; the ring must have kept its part.
    pub fn replay(&mut self, ring: &mut Ring) {
        self.block_sent = 0;
        ring.replay();
    }

    /// Writes the frame of a chunk of so many bytes, which are ready in the ring.
    fn enchunk(&mut self, length: usize) {
        self.clear_block();
        push_hex(&mut self.block, length as u64);
        self.block.extend_from_slice(b"\r\n");
        (self.tail, self.is_frame) = (b"\r\n", true);
        self.overhead += (self.block.len() + self.tail.len()) as u64;
    }

    /// An enchunked body has come to its end. Once everything before it was sent, frames the rest, and then writes the last chunk.
    fn enchunk_rest(&mut self, ring: &mut Ring) {
        if !self.last_chunk || self.pending(ring) > 0 {
            return;
        }
        let rest = ring.raw();
        if rest > 0 {
            ring.check(rest, rest);
            return self.enchunk(rest);
        }
        self.last_chunk = false;
        self.clear_block();
        self.block.extend_from_slice(b"0\r\n\r\n");
        self.is_frame = true;
        self.overhead += self.block.len() as u64;
    }

    fn clear_block(&mut self) {
        self.block.clear();
        (self.block_sent, self.is_frame) = (0, false);
    }
}
