//! Limits warnings that would repeat for every request while an upstream is down: one is logged at once, and then one a second with
//! the number that was held back, so that they do not hide all others. Where none follows, the writer of the logs tells what is left.

use super::reason::Reason;
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// How long the same warning is held back.
const PAUSE: Duration = Duration::from_secs(1);
const PAUSE_MS: u64 = PAUSE.as_millis() as u64;

type Kinds = [Quiet; Reason::COUNT + 1];

/// The warnings about one thing: an upstream, a pool, a worker. Each kind is limited by itself.
#[derive(Debug)]
pub struct Warnings(Arc<Kinds>);

/// A kind of warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    Failed(Reason),
    /// An answer was dropped for another attempt.
    Dropped,
}

/// What to do with a warning.
#[derive(Debug)]
pub enum WarningAction {
    /// Log it now; so many were held back before.
    Tell(u64),
    /// It is held back, as the first in this pause: log it with those that follow when the pause is over.
    HoldFirst(Pause),
    /// It is held back and counted.
    Hold,
}

/// A pause in which something was held back.
#[derive(Debug)]
pub struct Pause {
    kinds: Arc<Kinds>,
    index: usize,
    until: u64,
}

/// A warning that waits for the end of its pause.
#[derive(Debug)]
pub struct HeldWarning {
    pause: Pause,
    due: Instant,
    target: &'static str,
    what: String,
    trace_id: String,
}

/// Formats as a warning with the number of those that were held back.
pub struct CountedWarning<'a> {
    pub what: fmt::Arguments<'a>,
    /// How many more were held back.
    pub more: u64,
    pub trace_id: &'a str,
}

/// The end of the pause in milliseconds, and in the lower bits how many were held back since it began.
#[derive(Debug, Default)]
struct Quiet(AtomicU64);

impl Default for Warnings {
    fn default() -> Self {
        Self(Arc::new(std::array::from_fn(|_| Quiet::default())))
    }
}

impl Warnings {
    /// What to do with a warning at this time (milliseconds).
    pub fn ask(&self, kind: WarningKind, now: u64) -> WarningAction {
        let index = match kind {
            WarningKind::Failed(reason) => reason as usize,
            WarningKind::Dropped => Reason::COUNT,
        };
        match self.0[index].ask(now) {
            QuietAction::Tell(held) => WarningAction::Tell(held),
            QuietAction::HoldFirst(until) => WarningAction::HoldFirst(Pause { kinds: self.0.clone(), index, until }),
            QuietAction::Hold => WarningAction::Hold,
        }
    }
}

impl HeldWarning {
    /// Holds a warning back until the pause, which has just begun to hold back, is over.
    pub fn new(pause: Pause, target: &'static str, what: fmt::Arguments<'_>, trace_id: &str) -> Self {
        Self { pause, due: Instant::now() + PAUSE, target, what: what.to_string(), trace_id: trace_id.to_owned() }
    }

    /// When to tell it.
    pub(super) fn due(&self) -> Instant {
        self.due
    }

    /// Calls `tell` with the target and the line, unless a later warning has told what was held back.
    pub(super) fn tell(&self, tell: impl FnOnce(&'static str, fmt::Arguments<'_>)) {
        let held = self.pause.kinds[self.pause.index].take(self.pause.until);
        if let Some(more) = held.checked_sub(1) {
            let told = CountedWarning { what: format_args!("{}", self.what), more, trace_id: &self.trace_id };
            tell(self.target, format_args!("{told}"));
        }
    }
}

impl fmt::Display for CountedWarning<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { what, more, trace_id } = self;
        match more {
            0 => write!(f, "{what} trace_id={trace_id}"),
            more => write!(f, "{what} (and {more} more since the last such line) trace_id={trace_id}"),
        }
    }
}

/// As [`WarningAction`], with the end of the pause.
#[derive(Debug, PartialEq, Eq)]
enum QuietAction {
    Tell(u64),
    HoldFirst(u64),
    Hold,
}

impl Quiet {
    const BITS: u32 = 24;
    const HELD: u64 = (1 << Self::BITS) - 1;
    /// Leaves room so that threads that count at the same moment do not overflow into the time.
    const MOST: u64 = (1 << Self::BITS) - (1 << 12);

    fn ask(&self, now: u64) -> QuietAction {
        loop {
            let word = self.0.load(Relaxed);
            let (until, held) = (word >> Self::BITS, word & Self::HELD);
            if now >= until {
                let next = (now + PAUSE_MS) << Self::BITS;
                match self.0.compare_exchange(word, next, Relaxed, Relaxed) {
                    Ok(_) => return QuietAction::Tell(held),
                    // Another thread was quicker.
                    Err(_) => continue,
                }
            }
            if held >= Self::MOST {
                return QuietAction::Hold;
            }
            let before = self.0.fetch_add(1, Relaxed);
            return if before & Self::HELD == 0 { QuietAction::HoldFirst(before >> Self::BITS) } else { QuietAction::Hold };
        }
    }

    /// Takes the number that was held back in the pause that ends then; 0 if another pause has begun.
    fn take(&self, until: u64) -> u64 {
        let taken = self.0.fetch_update(Relaxed, Relaxed, |word| (word >> Self::BITS == until).then_some(until << Self::BITS));
        taken.map_or(0, |word| word & Self::HELD)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(verdict: WarningAction) -> Option<u64> {
        if let WarningAction::Tell(held) = verdict { Some(held) } else { None }
    }

    #[test]
    fn the_first_of_a_kind_and_then_one_a_second_with_the_number_held_back() {
        let warnings = Warnings::default();
        let refused = |now| told(warnings.ask(WarningKind::Failed(Reason::ConnectionRefused), now));
        assert_eq!(refused(5_000), Some(0));
        assert_eq!(told(warnings.ask(WarningKind::Dropped, 5_000)), Some(0), "another kind");
        assert!((0..500).all(|i| refused(5_000 + i).is_none()));
        assert_eq!((refused(5_999), refused(6_000), refused(6_001)), (None, Some(501), None));
        assert_eq!((refused(60_000), refused(62_000)), (Some(1), Some(0)));
    }

    #[test]
    fn what_is_left_of_a_burst_is_told_once() {
        let warnings = Warnings::default();
        let ask = |now| warnings.ask(WarningKind::Dropped, now);
        let hold = |now| match ask(now) {
            WarningAction::HoldFirst(pause) => HeldWarning::new(pause, "target", format_args!("it at {now}"), "7"),
            other => panic!("{other:?}"),
        };
        let told_of = |held: &HeldWarning| {
            let mut told = None;
            held.tell(|target, line| told = Some(format!("{target}: {line}")));
            told
        };
        assert_eq!(told(ask(5_000)), Some(0));
        let first = hold(5_001);
        assert!((0..3).all(|_| matches!(ask(5_002), WarningAction::Hold)));
        assert_eq!(told_of(&first).unwrap(), "target: it at 5001 (and 3 more since the last such line) trace_id=7");
        assert_eq!(told_of(&first), None);

        let second = hold(5_003);
        assert_eq!(told_of(&second).unwrap(), "target: it at 5003 trace_id=7");
        let third = hold(5_999);
        assert_eq!((told(ask(6_000)), told_of(&third)), (Some(1), None), "told by the next");
        let fourth = hold(6_001);
        assert_eq!(told_of(&third), None, "of another pause");
        assert!(told_of(&fourth).is_some());
        assert_eq!(told(ask(7_000)), Some(0));
    }

    #[test]
    fn no_number_is_too_large() {
        let quiet = Quiet::default();
        assert_eq!(quiet.ask(0), QuietAction::Tell(0));
        assert_eq!(quiet.ask(1), QuietAction::HoldFirst(1000));
        (0..(1u64 << Quiet::BITS) + 10).for_each(|_| assert_eq!(quiet.ask(1), QuietAction::Hold));
        assert_eq!(quiet.ask(1000), QuietAction::Tell(Quiet::MOST));
    }
}
