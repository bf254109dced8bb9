//! A bounded ring buffer for one direction of a connection.
//!
//! ```text
//!     released        sent          checked        filled
//!        |    kept     |    ready     |     raw      |     room
//!        |  (replay)   | (may go out) | (not looked  |  (for reading)
//!        |             |              |  at yet)     |
//! ```
//!
//! `released <= sent <= checked <= filled <= released + capacity`. Bytes come in as raw, a machine checks them (and may
//! shorten them in place), the shell sends them; after that they are kept until released, so that they can be sent again.
//! A ring without storage has capacity 0: an idle connection holds none.

/// A bounded ring buffer whose bytes pass through four stages.
#[derive(Debug, Default)]
pub struct Ring {
    storage: Box<[u8]>,
    /// Index of the first kept byte.
    at: u32,
    kept: u32,
    ready: u32,
    raw: u32,
}

impl Ring {
    /// Gives it storage. It must have none yet.
    pub fn attach(&mut self, storage: Box<[u8]>) {
        debug_assert!(self.storage.is_empty());
        debug_assert!(u32::try_from(storage.len()).is_ok());
        self.storage = storage;
    }

    /// Takes the storage away, with its content.
    pub fn detach(&mut self) -> Box<[u8]> {
        let storage = std::mem::take(self).storage;
        debug_assert_eq!(self.len(), 0);
        storage
    }

    /// Moves the content to larger storage and returns the old.
    pub fn move_to(&mut self, mut storage: Box<[u8]>) -> Box<[u8]> {
        debug_assert!(storage.len() >= self.len());
        let (a, b) = self.slices(0, self.len());
        storage[..a.len()].copy_from_slice(a);
        storage[a.len()..a.len() + b.len()].copy_from_slice(b);
        self.at = 0;
        std::mem::replace(&mut self.storage, storage)
    }

    /// Whether it has storage.
    pub fn is_attached(&self) -> bool {
        !self.storage.is_empty()
    }

    /// Bytes that it can hold.
    pub fn capacity(&self) -> usize {
        self.storage.len()
    }

    /// Bytes that it holds, kept ones included.
    pub fn len(&self) -> usize {
        (self.kept + self.ready + self.raw) as usize
    }

    /// Whether it holds nothing at all.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Bytes that can still be read into it.
    pub fn room(&self) -> usize {
        self.capacity() - self.len()
    }

    /// Bytes sent but kept for another attempt.
    pub fn kept(&self) -> usize {
        self.kept as usize
    }

    /// Bytes checked and not yet sent.
    pub fn ready(&self) -> usize {
        self.ready as usize
    }

    /// Bytes not checked yet.
    pub fn raw(&self) -> usize {
        self.raw as usize
    }

    /// The free part, to read into; the second slice is the part beyond the wrap.
    pub fn room_mut(&mut self) -> (&mut [u8], &mut [u8]) {
        let (capacity, len, room) = (self.capacity(), self.len(), self.room());
        let start = self.wrap(len);
        let first = room.min(capacity - start);
        let (left, right) = self.storage.split_at_mut(start);
        (&mut right[..first], &mut left[..room - first])
    }

    /// Copies bytes into the free part, which must have room for them.
    pub fn push(&mut self, bytes: &[u8]) {
        let (first, second) = self.room_mut();
        let (head, tail) = bytes.split_at(bytes.len().min(first.len()));
        first[..head.len()].copy_from_slice(head);
        second[..tail.len()].copy_from_slice(tail);
        self.fill(bytes.len());
    }

    /// Notes that `n` bytes were read into the free part.
    pub fn fill(&mut self, n: usize) {
        debug_assert!(n <= self.room());
        self.raw += n as u32;
    }

    /// The raw bytes in one piece; they are moved first if they wrap.
    pub fn raw_mut(&mut self) -> &mut [u8] {
        let (skip, n) = ((self.kept + self.ready) as usize, self.raw());
        let start = self.at as usize + skip;
        if start + n <= self.capacity() {
            return &mut self.storage[start..start + n];
        }
        if start < self.capacity() {
            self.storage.rotate_left(self.at as usize);
            self.at = 0;
        }
        let start = self.wrap(skip);
        &mut self.storage[start..start + n]
    }

    /// The raw bytes; the second slice is the part beyond the wrap.
    pub fn raw_slices(&self) -> (&[u8], &[u8]) {
        self.slices((self.kept + self.ready) as usize, self.raw())
    }

    /// Notes that the first `consumed` raw bytes were checked, and that of these the first `kept` remain, now ready to be sent.
    pub fn check(&mut self, consumed: usize, kept: usize) {
        debug_assert!(kept <= consumed && consumed <= self.raw());
        if kept < consumed && consumed < self.raw() {
            let raw = self.raw();
            self.raw_mut().copy_within(consumed..raw, kept);
        }
        self.raw -= consumed as u32;
        self.ready += kept as u32;
        self.rewind_if_empty();
    }

    /// Drops the first `n` raw bytes; nothing may lie in front of them.
    pub fn skip(&mut self, n: usize) {
        debug_assert!(self.kept == 0 && self.ready == 0 && n <= self.raw());
        self.at = self.wrap(n) as u32;
        self.raw -= n as u32;
        self.rewind_if_empty();
    }

    /// The bytes that may go out.
    pub fn ready_slices(&self) -> (&[u8], &[u8]) {
        self.slices(self.kept(), self.ready())
    }

    /// Notes that `n` ready bytes were sent; they are kept until released.
    pub fn sent(&mut self, n: usize) {
        debug_assert!(n <= self.ready());
        self.ready -= n as u32;
        self.kept += n as u32;
    }

    /// Drops the kept bytes.
    pub fn release(&mut self) {
        self.at = self.wrap(self.kept()) as u32;
        self.kept = 0;
        self.rewind_if_empty();
    }

    /// Makes all kept bytes ready again, for another attempt.
    pub fn replay(&mut self) {
        self.ready += self.kept;
        self.kept = 0;
    }

    /// Drops what was checked, sent or not; raw bytes stay.
    pub fn drop_checked(&mut self) {
        self.sent(self.ready());
        self.release();
    }

    /// Drops the raw bytes.
    pub fn drop_raw(&mut self) {
        self.raw = 0;
        self.rewind_if_empty();
    }

    /// Drops everything.
    pub fn clear(&mut self) {
        (self.at, self.kept, self.ready, self.raw) = (0, 0, 0, 0);
    }

    /// An empty ring starts over at 0, so that its content seldom wraps.
    fn rewind_if_empty(&mut self) {
        if self.is_empty() {
            self.at = 0;
        }
    }

    fn wrap(&self, offset: usize) -> usize {
        let index = self.at as usize + offset;
        if index >= self.capacity() { index - self.capacity() } else { index }
    }

    fn slices(&self, offset: usize, n: usize) -> (&[u8], &[u8]) {
        let start = self.wrap(offset);
        let first = n.min(self.capacity() - start);
        (&self.storage[start..start + first], &self.storage[..n - first])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(capacity: usize) -> Ring {
        let mut ring = Ring::default();
        ring.attach(vec![0; capacity].into_boxed_slice());
        ring
    }

    fn put(ring: &mut Ring, bytes: &[u8]) {
        let (a, b) = ring.room_mut();
        let first = a.len().min(bytes.len());
        a[..first].copy_from_slice(&bytes[..first]);
        b[..bytes.len() - first].copy_from_slice(&bytes[first..]);
        ring.fill(bytes.len());
    }

    fn ready(ring: &Ring) -> Vec<u8> {
        let (a, b) = ring.ready_slices();
        [a, b].concat()
    }

    #[test]
    fn without_storage_it_is_full_and_empty() {
        let mut ring = Ring::default();
        assert_eq!((ring.room(), ring.len(), ring.is_attached()), (0, 0, false));
        assert!(ring.raw_mut().is_empty());
        ring.release();
        assert!(ring.ready_slices().0.is_empty());
    }

    #[test]
    fn kept_bytes_can_be_sent_again_until_released() {
        let mut ring = ring(8);
        put(&mut ring, b"abcdef");
        ring.check(6, 6);
        ring.sent(4);
        assert_eq!((ring.kept(), ring.room()), (4, 2));
        ring.replay();
        assert_eq!(ready(&ring), b"abcdef");
        ring.sent(5);
        ring.release();
        assert_eq!((ready(&ring), ring.room()), (b"f".to_vec(), 7));
    }

    #[test]
    fn checking_shortens_in_place_and_keeps_what_follows() {
        let mut ring = ring(8);
        put(&mut ring, b"abXXcd");
        ring.check(4, 2);
        assert_eq!((ready(&ring), ring.raw_slices().0), (b"ab".to_vec(), &b"cd"[..]));
    }

    /// Compared with a model: whatever the order of operations, bytes come out as they went in.
    #[test]
    fn agrees_with_a_queue_under_random_operations() {
        let mut rng = fastrand::Rng::with_seed(7);
        for capacity in [1, 2, 3, 7, 16] {
            let (mut ring, mut next_in, mut next_out) = (ring(capacity), 0u8, 0u8);
            for _ in 0..20_000 {
                match rng.u8(0..6) {
                    0 | 1 => {
                        let n = rng.usize(0..=ring.room());
                        let bytes: Vec<u8> = (0..n).map(|i| next_in.wrapping_add(i as u8)).collect();
                        next_in = next_in.wrapping_add(n as u8);
                        put(&mut ring, &bytes);
                    }
                    2 => {
                        let n = rng.usize(0..=ring.raw());
                        ring.check(n, n);
                    }
                    3 => {
                        let n = rng.usize(0..=ring.ready());
                        let expected: Vec<u8> = (0..n).map(|i| next_out.wrapping_add(i as u8)).collect();
                        assert_eq!(&ready(&ring)[..n], expected);
                        next_out = next_out.wrapping_add(n as u8);
                        ring.sent(n);
                    }
                    4 => ring.release(),
                    _ => drop(ring.raw_mut()),
                }
                assert!(ring.len() <= ring.capacity());
            }
        }
    }
}
