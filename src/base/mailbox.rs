//! Messages from other threads to a worker's loop: a short lock to put one in, and one wake-up for however many lie there.

use super::sync::{AtomicBool, Mutex, MutexGuard, Ordering::SeqCst, PoisonError};

/// Wakes a loop that sleeps in its poll.
pub trait Wake: Send + Sync {
    /// Wakes it. Must not block.
    fn wake(&self);
}

/// One worker's mailbox.
pub struct Mailbox<M> {
    letters: Mutex<Vec<M>>,
    full: AtomicBool,
    waker: Box<dyn Wake>,
}

impl<M> Mailbox<M> {
    /// An empty mailbox whose reader is woken by `waker`.
    pub fn new(waker: Box<dyn Wake>) -> Self {
        Self { letters: Mutex::new(Vec::new()), full: AtomicBool::new(false), waker }
    }

    /// Puts a message in. The reader is woken unless an earlier message still lies there, which woke it already.
    pub fn post(&self, letter: M) {
        self.lock().push(letter);
        if !self.full.swap(true, SeqCst) {
            self.waker.wake();
        }
    }

    /// Whether there is something to collect. Costs one load, as every turn of the loop asks.
    pub fn is_full(&self) -> bool {
        self.full.load(SeqCst)
    }

    /// Swaps the messages with the (empty) `into`.
    pub fn collect(&self, into: &mut Vec<M>) {
        debug_assert!(into.is_empty());
        self.full.store(false, SeqCst);
        std::mem::swap(&mut *self.lock(), into);
    }

    /// A poisoned lock is ignored: a panic elsewhere leaves the list valid, and ends the process anyway.
    fn lock(&self) -> MutexGuard<'_, Vec<M>> {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
