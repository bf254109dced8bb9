//! Lines on their way from one thread to the writer: bounded, and never waited for. What does not fit is dropped and counted.
//!
//! ```text
//!   batch --push (copy)--> lines --take (swap)--> sink's buffer
//!   worker's own           shared, locked          writer's own
//! ```
//!
//! Each of the three keeps its memory, so that after the first lines no thread allocates.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// What may wait in one queue, in bytes: some 7,000 lines of the access log. Enough for a disk that stalls for a moment, and
/// little enough that a target which never comes back costs no memory to speak of. Reserved at once; only what is used
/// becomes resident.
pub(super) const QUEUE_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Queue {
    lines: Mutex<Vec<u8>>,
    /// Lines that did not fit and that nobody has been told of yet.
    dropped: AtomicU64,
}

/// What [`Queue::push`] had no room for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) lines: u64,
    /// The writer does not know of any drop yet.
    pub(super) is_first: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { lines: Mutex::new(Vec::with_capacity(QUEUE_BYTES)), dropped: AtomicU64::new(0) }
    }

    /// Takes in as many of these whole lines as there is room for.
    pub(super) fn push(&self, lines: &[u8]) -> Dropped {
        let fitting = {
            let mut waiting = self.locked();
            let fitting = whole_lines(lines, QUEUE_BYTES.saturating_sub(waiting.len()));
            waiting.extend_from_slice(&lines[..fitting]);
            fitting
        };
        if fitting == lines.len() {
            return Dropped { lines: 0, is_first: false };
        }
        let lines = count_lines(&lines[fitting..]);
        Dropped { lines, is_first: self.dropped.fetch_add(lines, Relaxed) == 0 }
    }

    /// Moves everything to the end of `buffer`. False if there is nothing.
    pub(super) fn take(&self, buffer: &mut Vec<u8>) -> bool {
        let mut waiting = self.locked();
        if waiting.is_empty() {
            return false;
        }
        if buffer.is_empty() {
            std::mem::swap(&mut *waiting, buffer);
        } else {
            // Rare, but no copy under the lock all the same.
            let lines = std::mem::replace(&mut *waiting, Vec::with_capacity(QUEUE_BYTES));
            drop(waiting);
            buffer.extend_from_slice(&lines);
        }
        true
    }

    pub(super) fn is_empty(&self) -> bool {
        self.locked().is_empty()
    }

    pub(super) fn dropped(&self) -> u64 {
        self.dropped.load(Relaxed)
    }

    pub(super) fn take_dropped(&self) -> u64 {
        self.dropped.swap(0, Relaxed)
    }

    fn locked(&self) -> MutexGuard<'_, Vec<u8>> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Length of as many whole lines as `room` bytes can hold.
pub(super) fn whole_lines(lines: &[u8], room: usize) -> usize {
    if lines.len() <= room {
        return lines.len();
    }
    memchr::memrchr(b'\n', &lines[..room]).map_or(0, |end| end + 1)
}

/// How many lines end in there.
pub(super) fn count_lines(lines: &[u8]) -> u64 {
    memchr::memchr_iter(b'\n', lines).count() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_does_not_fit_is_dropped_by_whole_lines_and_counted() {
        let queue = Queue::new();
        let line = [[b'x'; 99].as_slice(), b"\n"].concat();
        let fitting = QUEUE_BYTES / line.len();
        assert_eq!(queue.push(&line.repeat(fitting - 1)), Dropped { lines: 0, is_first: false });
        assert_eq!(queue.push(&line.repeat(3)), Dropped { lines: 2, is_first: true }, "one more fits");
        assert_eq!(queue.push(&line), Dropped { lines: 1, is_first: false });
        assert_eq!((queue.dropped(), queue.take_dropped(), queue.dropped()), (3, 3, 0));

        let mut buffer = Vec::new();
        assert!(queue.take(&mut buffer));
        assert_eq!(buffer, line.repeat(fitting));
        assert!(!queue.take(&mut buffer) && queue.is_empty());
        assert_eq!(queue.push(&line).lines, 0, "there is room again");
    }

    #[test]
    fn memory_goes_round() {
        let queue = Queue::new();
        let mut buffer = Vec::with_capacity(QUEUE_BYTES);
        let mut places = std::collections::HashSet::new();
        for _ in 0..10 {
            queue.push(b"a\n");
            queue.push(b"b\n");
            assert!(queue.take(&mut buffer));
            assert_eq!(buffer, b"a\nb\n");
            places.insert(buffer.as_ptr());
            buffer.clear();
        }
        assert_eq!(places.len(), 2);
    }

    #[test]
    fn a_rest_is_not_overtaken() {
        let queue = Queue::new();
        queue.push(b"new\n");
        let mut buffer = b"rest\n".to_vec();
        assert!(queue.take(&mut buffer));
        assert_eq!(buffer, b"rest\nnew\n");
    }
}
