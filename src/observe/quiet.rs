//! Limits warnings that would repeat for every request while an upstream is down: one is logged at once, and then one a second with
//! the number that was held back, so that they do not hide all others.

use super::reason::Reason;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How long the same warning is held back (milliseconds).
const PAUSE_MS: u64 = 1000;

/// The warnings about one thing: an upstream, a pool, a worker. Each kind is limited by itself.
#[derive(Debug)]
pub struct Warnings([Quiet; Reason::COUNT + 1]);

/// A kind of warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A failure.
    Failed(Reason),
    /// An answer was dropped for another attempt.
    Dropped,
}

/// The end of the pause in milliseconds, and in the lower bits how many were held back since it began.
#[derive(Debug, Default)]
struct Quiet(AtomicU64);

impl Default for Warnings {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Quiet::default()))
    }
}

impl Warnings {
    /// Returns whether to log it now (`now` is in milliseconds), and if so, how many were held back before.
    pub fn ask(&self, kind: Kind, now: u64) -> Option<u64> {
        let index = match kind {
            Kind::Failed(reason) => reason as usize,
            Kind::Dropped => Reason::COUNT,
        };
        self.0[index].ask(now)
    }
}

impl Quiet {
    const BITS: u32 = 24;
    /// Leaves room so that threads that count at the same moment do not overflow into the time.
    const MOST: u64 = (1 << Self::BITS) - (1 << 12);

    fn ask(&self, now: u64) -> Option<u64> {
        let word = self.0.load(Relaxed);
        let (until, held) = (word >> Self::BITS, word & ((1 << Self::BITS) - 1));
        if now >= until {
            let next = (now + PAUSE_MS) << Self::BITS;
            if self.0.compare_exchange(word, next, Relaxed, Relaxed).is_ok() {
                return Some(held);
            }
        }
        if held < Self::MOST {
            self.0.fetch_add(1, Relaxed);
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_and_then_one_a_second_with_the_number_held_back() {
        let warnings = Warnings::default();
        let refused = |now| warnings.ask(Kind::Failed(Reason::ConnectionRefused), now);
        assert_eq!(refused(5_000), Some(0));
        assert_eq!(warnings.ask(Kind::Dropped, 5_000), Some(0), "another kind");
        assert!((0..500).all(|i| refused(5_000 + i).is_none()));
        assert_eq!((refused(5_999), refused(6_000), refused(6_001)), (None, Some(501), None));
        assert_eq!((refused(60_000), refused(62_000)), (Some(1), Some(0)));
    }

    #[test]
    fn no_number_is_too_large() {
        let quiet = Quiet::default();
        assert_eq!(quiet.ask(0), Some(0));
        (0..(1u64 << Quiet::BITS) + 10).for_each(|_| assert_eq!(quiet.ask(1), None));
        assert_eq!(quiet.ask(1000), Some(Quiet::MOST));
    }
}
