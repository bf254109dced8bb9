//! Storage for rings. The buffer that came back last is lent first, because it is still in the cache.

use super::ring::Ring;

/// How many unused buffers are kept: enough for the busy connections of a turn.
const MAX_FREE: usize = 256;

/// Buffers of one size.
#[derive(Debug)]
pub struct BufferPool {
    free: Vec<Box<[u8]>>,
    size: usize,
}

impl BufferPool {
    /// A pool of buffers of `size` bytes, empty at first.
    pub fn new(size: usize) -> Self {
        Self { free: Vec::with_capacity(MAX_FREE), size }
    }

    /// The size of every buffer it lends, in bytes.
    pub fn size(&self) -> usize {
        self.size
    }

    /// Changes the size of what is lent from now on; buffers of the old size are dropped as they come back.
    pub fn resize(&mut self, size: usize) {
        if size != self.size {
            self.size = size;
            self.free.clear();
        }
    }

    /// Lends a buffer, with whatever content its last user left in it.
    pub fn lend(&mut self) -> Box<[u8]> {
        self.free.pop().unwrap_or_else(|| vec![0; self.size].into_boxed_slice())
    }

    /// Takes back what a ring has of it, whatever lies there.
    #[inline]
    pub fn take_back(&mut self, ring: &mut Ring) {
        if ring.is_attached() {
            ring.clear();
            self.give_back(ring.detach());
        }
    }

    /// Takes a buffer back. One of another size, or one too many, is freed.
    pub fn give_back(&mut self, buffer: Box<[u8]>) {
        if buffer.len() == self.size && self.free.len() < MAX_FREE {
            self.free.push(buffer);
        }
    }
}
