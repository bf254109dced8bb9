//! Counting places: taking one is one atomic operation.

use crate::base::sync::{AtomicUsize, Ordering::SeqCst};

/// The number of places taken; the caller supplies the limit, because a reload may change it.
#[derive(Debug, Default)]
pub struct Gate(AtomicUsize);

impl Gate {
    /// Takes a place if fewer than `limit` are taken.
    pub fn try_enter(&self, limit: usize) -> bool {
        self.0.fetch_update(SeqCst, SeqCst, |taken| (taken < limit).then_some(taken + 1)).is_ok()
    }

    /// Gives a place back.
    pub fn leave(&self) {
        let before = self.0.fetch_sub(1, SeqCst);
        debug_assert!(before > 0, "a place was given back twice");
    }

    /// The number of places taken now.
    pub fn taken(&self) -> usize {
        self.0.load(SeqCst)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit() {
        let gate = Gate::default();
        assert!(gate.try_enter(2) && gate.try_enter(2) && !gate.try_enter(2));
        gate.leave();
        assert!(gate.try_enter(2));
        assert_eq!(gate.taken(), 2);
    }
}
