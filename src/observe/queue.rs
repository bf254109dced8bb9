//! Lines on their way from one thread to the writer. The queue is bounded and never waits: lines that do not fit are dropped and counted.
//!
//! ```text
//!   batch --push (copy)--> lines --take (swap)--> sink's buffer
//!   worker's own           shared, locked          writer's own
//! ```
//!
//! Each of the three keeps its memory, so that no thread allocates after the first lines.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// How many bytes may wait in one queue: some 7,000 lines of the access log. Enough for a disk that stalls for a moment, and small
/// enough for a target that never returns. Reserved at once; only what is used becomes resident.
pub(super) const QUEUE_BYTES: usize = 1 << 20;

#[derive(Debug)]
pub(super) struct Queue {
    lines: Mutex<Vec<u8>>,
    /// How many lines did not fit, and were not reported yet.
    dropped: AtomicU64,
}

/// Lines for which [`Queue::push`] had no room.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Dropped {
    pub(super) lines: u64,
    /// Whether the writer does not know of any drop yet.
    pub(super) is_first: bool,
}

impl Queue {
    pub(super) fn new() -> Self {
        Self { lines: Mutex::new(Vec::with_capacity(QUEUE_BYTES)), dropped: AtomicU64::new(0) }
    }

    /// Takes as many of these whole lines as there is room for.
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

    /// Moves everything to the end of `buffer`. Returns false if there is nothing.
    pub(super) fn take(&self, buffer: &mut Vec<u8>) -> bool {
        let mut waiting = self.locked();
        if waiting.is_empty() {
            return false;
        }
        if buffer.is_empty() {
            std::mem::swap(&mut *waiting, buffer);
        } else {
            // This happens rarely, but nothing is copied under the lock even so.
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

/// The length of as many whole lines as `room` bytes can hold.
pub(super) fn whole_lines(lines: &[u8], room: usize) -> usize {
    if lines.len() <= room {
        return lines.len();
    }
    memchr::memrchr(b'\n', &lines[..room]).map_or(0, |end| end + 1)
}

/// How many lines end in these bytes.
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
