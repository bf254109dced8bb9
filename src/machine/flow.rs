//! One direction of an exchange: what is written here for whoever takes it, then content that passes through the ring in place.
//!
//! The bytes go out in this order:
//!
//! ```text
//!     block (heads, or framing) | spill (left over from the scratch) | ring, checked bytes | tail (framing)
//! ```
//!
//! What block and tail mean is known to the machine that speaks the taker's protocol, and to nobody else.

use crate::base::pool::BufferPool;
use crate::base::ring::Ring;
use crate::http::framing::Body;
use crate::http::{HeadLimits, Refusal};
use std::io::IoSlice;

/// Blocks that have grown beyond this are freed after the exchange.
const MAX_BLOCK_KEPT: usize = 16 * 1024;

/// The state of one direction.
#[derive(Debug, Default)]
pub struct Flow {
    /// Content, and before it is looked at whatever the sender sends.
    pub ring: Ring,
    /// Bytes that were written here.
    pub block: Vec<u8>,
    /// How many of them have been sent.
    pub block_sent: usize,
    /// What a send from the scratch buffer left over.
    spill: Vec<u8>,
    /// How many bytes of it have not been sent.
    spill_left: usize,
    /// Opaque bytes that were read past the ring, and are neither sent nor spilled yet.
    past: usize,
    tail: &'static [u8],
    /// Whether the block is framing of content that has come, not a head.
    is_frame: bool,
    /// Whether all of the content has come.
    pub is_ended: bool,
    /// How many bytes were sent in total.
    pub sent: u64,
    /// How many of these, and of those to come, are not content.
    pub overhead: u64,
    /// How many bytes are sent before the final head, for interim ones.
    pub final_at: u64,
    /// The length of the block when [`Flow::open_head`] was last called.
    head_at: usize,
    /// What `overhead` was then.
    overhead_at: u64,
}

impl Flow {
    /// Prepares it for another exchange; the block's storage stays. The ring's goes back to where it was lent.
    pub fn reset(&mut self, buffers: &mut BufferPool) {
        let Self {
            ring,
            block,
            block_sent,
            spill,
            spill_left,
            past,
            tail,
            is_frame,
            is_ended,
            sent,
            overhead,
            final_at,
            head_at,
            overhead_at,
        } = self;
        buffers.take_back(ring);
        block.clear();
        if block.capacity() > MAX_BLOCK_KEPT {
            *block = Vec::new();
        }
        (*spill, *tail, *is_frame, *is_ended) = (Vec::new(), b"", false, false);
        (*block_sent, *spill_left, *past, *head_at) = (0, 0, 0, 0);
        (*sent, *overhead, *final_at, *overhead_at) = (0, 0, 0, 0);
    }

    /// Prepares the block for a head to be appended; returns how many bytes will have been sent before it.
    pub fn open_head(&mut self) -> u64 {
        if self.block_sent == self.block.len() {
            self.clear_block();
        }
        (self.head_at, self.overhead_at) = (self.block.len(), self.overhead);
        self.sent + (self.block.len() - self.block_sent) as u64
    }

    /// Notes that the head is written: what was appended is overhead.
    pub fn close_head(&mut self) {
        self.overhead += (self.block.len() - self.head_at) as u64;
    }

    /// Takes back a head of which nothing was sent, and the content after it.
    pub fn retract(&mut self) {
        (self.overhead, self.is_frame) = (self.overhead_at, false);
        self.block.truncate(self.head_at);
        self.drop_content();
    }

    /// Drops what was not sent of the content.
    pub fn drop_content(&mut self) {
        self.ring.clear();
        (self.spill, self.spill_left, self.past, self.tail) = (Vec::new(), 0, 0, b"");
        self.is_ended = true;
    }

    /// How many bytes of content were sent. Where the sender's own framing passes through, what is not sent of it counts as if it were.
    pub fn content_sent(&self) -> u64 {
        let unsent = if self.is_frame { self.block.len() - self.block_sent + self.tail.len() } else { 0 };
        (self.sent + unsent as u64).saturating_sub(self.overhead)
    }

    /// Ends the content here, before its end.
    pub fn cut(&mut self) {
        self.ring.drop_raw();
        self.is_ended = true;
    }

    /// Has the decoder look at the ring's raw bytes; returns how many bytes are ready to be sent because of that.
    pub fn scan(&mut self, decoder: &mut Body, limits: &HeadLimits) -> Result<usize, Refusal> {
        if self.is_ended || self.ring.raw() == 0 {
            return Ok(0);
        }
        let framing = decoder.framing();
        let step = decoder.scan(self.ring.raw_mut(), limits)?;
        self.ring.check(step.consumed, step.kept);
        self.overhead += decoder.framing() - framing;
        self.is_ended = decoder.is_ended();
        if step.consumed == 0 && self.ring.room() == 0 && self.ring.ready() == 0 {
            return Err(Refusal::HeadTooLarge("a trailer line is larger than the buffer"));
        }
        Ok(step.kept)
    }

    /// How many bytes can be sent now.
    pub fn pending(&self) -> usize {
        self.block.len() - self.block_sent + self.spill_left + self.ring.ready() + self.tail.len()
    }

    /// How many bytes were read past the ring and must be sent before anything else.
    pub fn past(&self) -> usize {
        self.past
    }

    /// Whether there is something for the receiver to take.
    pub fn is_owing(&self) -> bool {
        self.past + self.pending() > 0
    }

    /// Whether content may bypass the ring: only while it and everything before it is empty.
    pub fn may_bypass(&self) -> bool {
        !self.is_owing() && self.ring.is_empty()
    }

    /// Whether bytes can be read into the ring; one without storage counts as having room.
    pub fn has_room(&self) -> bool {
        !self.ring.is_attached() || self.ring.room() > 0
    }

    /// The bytes that can be sent now, by one system call.
    pub fn output(&self) -> [IoSlice<'_>; 5] {
        let (first, second) = self.ring.ready_slices();
        [&self.block[self.block_sent..], self.spill_rest(), first, second, self.tail].map(IoSlice::new)
    }

    fn spill_rest(&self) -> &[u8] {
        if self.spill_left == 0 { b"" } else { &self.spill[self.spill.len() - self.spill_left..] }
    }

    /// Notes that `n` of these were sent. Bytes of the ring are kept there until they are released.
    pub fn took(&mut self, mut n: usize) {
        self.sent += n as u64;
        let mut take = |available: usize| {
            let taken = n.min(available);
            n -= taken;
            taken
        };
        self.block_sent += take(self.block.len() - self.block_sent);
        let had_spill = self.spill_left > 0;
        self.spill_left -= take(self.spill_left);
        self.ring.sent(take(self.ring.ready()));
        self.tail = &self.tail[take(self.tail.len())..];
        if had_spill && self.spill_left == 0 {
            self.spill = Vec::new();
        }
    }

    /// Notes that `n` opaque bytes were read past the ring.
    pub fn moved(&mut self, n: usize) {
        self.past += n;
    }

    /// Notes that `n` of them were sent.
    pub fn passed(&mut self, n: usize) {
        self.past -= n;
        self.sent += n as u64;
    }

    /// Stores what a send from the scratch buffer left over.
    pub fn spill(&mut self, bytes: &[u8]) {
        debug_assert!(self.spill_left == 0);
        self.past -= bytes.len();
        self.spill_left = bytes.len();
        self.spill = bytes.to_vec();
    }

    /// Makes everything that was sent ready to be sent again; the ring must have kept its part.
    pub fn replay(&mut self) {
        self.block_sent = 0;
        self.ring.replay();
    }

    /// Whether the next piece of content can be framed: of what comes before it, nothing but heads is unsent.
    pub fn may_frame(&self) -> bool {
        let is_head = !self.is_frame || self.block_sent == self.block.len();
        is_head && self.spill_left + self.ring.ready() + self.tail.len() == 0
    }

    /// Frames what is ready, where [`Flow::may_frame`] was true before it was: `write` appends what goes before it, `tail` goes behind it.
    pub fn frame(&mut self, write: impl FnOnce(&mut Vec<u8>), tail: &'static [u8]) {
        if self.block_sent == self.block.len() {
            self.clear_block();
        }
        let before = self.block.len();
        write(&mut self.block);
        (self.tail, self.is_frame) = (tail, true);
        self.overhead += (self.block.len() - before + tail.len()) as u64;
    }

    fn clear_block(&mut self) {
        self.block.clear();
        (self.block_sent, self.is_frame) = (0, false);
    }
}
