//! What is known of an upstream's checks, for all workers and the pages. One worker writes it.

use super::check::HealthVerdict;
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The state as `/backends/health` shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HealthState {
    /// It is not checked.
    Off,
    /// It is checked, with this verdict.
    Checked(HealthVerdict),
}

impl HealthState {
    /// The word on the page.
    pub fn name(self) -> &'static str {
        match self {
            Self::Off => "off",
            Self::Checked(HealthVerdict::Unchecked) => "unchecked",
            Self::Checked(HealthVerdict::Passing) => "passing",
            Self::Checked(HealthVerdict::Failing) => "failing",
        }
    }
}

const OFF: u8 = 0;
const UNCHECKED: u8 = 1;
const PASSING: u8 = 2;
const FAILING: u8 = 3;

/// The state of an upstream's checks.
#[derive(Debug, Default)]
pub struct Health {
    state: AtomicU8,
    /// Whether it gets requests even if it fails: all of its pool do.
    is_ignored: AtomicBool,
    /// Why the last failed check failed.
    last_error: Mutex<Option<String>>,
}

impl Health {
    /// The present state.
    pub fn state(&self) -> HealthState {
        match self.state.load(SeqCst) {
            UNCHECKED => HealthState::Checked(HealthVerdict::Unchecked),
            PASSING => HealthState::Checked(HealthVerdict::Passing),
            FAILING => HealthState::Checked(HealthVerdict::Failing),
            _ => HealthState::Off,
        }
    }

    /// Whether it must get no requests. Asked for every request.
    pub fn is_failing(&self) -> bool {
        self.state.load(SeqCst) == FAILING && !self.is_ignored.load(SeqCst)
    }

    /// Says whether it gets requests even if it fails. Returns whether that is new.
    pub fn ignore_failure(&self, is_ignored: bool) -> bool {
        self.is_ignored.swap(is_ignored, SeqCst) != is_ignored
    }

    /// Whether it is checked.
    pub fn is_checked(&self) -> bool {
        self.state.load(SeqCst) != OFF
    }

    /// Turns checking on or off. An upstream that is checked already keeps its verdict.
    pub fn set_checked(&self, is_checked: bool) {
        if is_checked {
            // Fails where it is checked already, which is intended.
            let _ = self.state.compare_exchange(OFF, UNCHECKED, SeqCst, SeqCst);
        } else {
            self.state.store(OFF, SeqCst);
            *self.error() = None;
        }
    }

    /// Takes a verdict, unless it is not checked any more.
    pub fn set_verdict(&self, verdict: HealthVerdict) {
        let new = match verdict {
            HealthVerdict::Unchecked => UNCHECKED,
            HealthVerdict::Passing => PASSING,
            HealthVerdict::Failing => FAILING,
        };
        let _ = self.state.fetch_update(SeqCst, SeqCst, |old| (old != OFF).then_some(new));
    }

    /// Stores why a check failed.
    pub fn set_error(&self, text: String) {
        if self.state() != HealthState::Off {
            *self.error() = Some(text);
        }
    }

    /// Why the last failed check failed.
    pub fn last_error(&self) -> Option<String> {
        self.error().clone()
    }

    fn error(&self) -> MutexGuard<'_, Option<String>> {
        self.last_error.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_verdict_lasts_while_it_is_checked() {
        let health = Health::default();
        assert_eq!((health.state(), health.is_failing()), (HealthState::Off, false));
        health.set_checked(true);
        assert_eq!(health.state(), HealthState::Checked(HealthVerdict::Unchecked));
        health.set_verdict(HealthVerdict::Failing);
        health.set_error("why".into());
        health.set_checked(true);
        assert_eq!((health.state().name(), health.is_failing(), health.last_error()), ("failing", true, Some("why".into())));
        health.set_checked(false);
        assert_eq!((health.state().name(), health.is_failing(), health.last_error()), ("off", false, None));
    }

    #[test]
    fn a_failure_may_be_ignored() {
        let health = Health::default();
        health.set_checked(true);
        health.set_verdict(HealthVerdict::Failing);
        assert_eq!((health.ignore_failure(true), health.is_failing(), health.state().name()), (true, false, "failing"));
        assert_eq!((health.ignore_failure(true), health.ignore_failure(false), health.is_failing()), (false, true, true));
    }

    #[test]
    fn a_verdict_that_comes_too_late_is_none() {
        let health = Health::default();
        health.set_verdict(HealthVerdict::Failing);
        health.set_error("why".into());
        assert_eq!((health.state(), health.last_error()), (HealthState::Off, None));
    }
}
