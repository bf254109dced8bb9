//! Mail from other threads to a worker's loop: a short lock to put a letter in, one wake-up for a full box.

use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering::SeqCst, PoisonError};

/// Wakes a loop that sleeps in its poll.
pub trait Wake: Send + Sync {
    /// Must not block.
    fn wake(&self);
}

/// One worker's letter box.
pub struct Mailbox<M> {
    letters: Mutex<Vec<M>>,
    full: AtomicBool,
    waker: Box<dyn Wake>,
}

impl<M> Mailbox<M> {
    /// An empty box whose reader is woken by `waker`.
    pub fn new(waker: Box<dyn Wake>) -> Self {
        Self { letters: Mutex::new(Vec::new()), full: AtomicBool::new(false), waker }
    }

    /// Puts a letter in and wakes the reader, unless an earlier one still lies there.
    pub fn post(&self, letter: M) {
        self.lock().push(letter);
        if !self.full.swap(true, SeqCst) {
            self.waker.wake();
        }
    }

    /// Whether there is something to collect: one load, for every turn of the loop.
    pub fn is_full(&self) -> bool {
        self.full.load(SeqCst)
    }

    /// Swaps the letters with the (empty) `into`.
    pub fn collect(&self, into: &mut Vec<M>) {
        debug_assert!(into.is_empty());
        self.full.store(false, SeqCst);
        std::mem::swap(&mut *self.lock(), into);
    }

    /// A panic elsewhere ends the process anyway; a poisoned list of letters is still a list.
    fn lock(&self) -> MutexGuard<'_, Vec<M>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
