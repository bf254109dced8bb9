//! From the outcomes of successive checks to a verdict.
//!
//! ```text
//!     unchecked --- first success -------------------> passing
//!     unchecked --- failure_threshold failures ------> failing
//!     passing   --- failure_threshold failures ------> failing
//!     failing   --- success_threshold successes -----> passing
//! ```
//!
//! Thresholds count outcomes in a row: one of the other kind starts the count again.

use crate::config::model::HealthCheck;

/// What the checks say about an upstream.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HealthVerdict {
    /// Not enough is known; it gets requests.
    #[default]
    Unchecked,
    /// It gets requests.
    Passing,
    /// It gets none.
    Failing,
}

/// The verdict on an upstream, and the outcomes towards another one.
#[derive(Clone, Copy, Debug, Default)]
pub struct CheckHistory {
    verdict: HealthVerdict,
    /// How many outcomes in a row speak against the verdict.
    against: u32,
}

impl CheckHistory {
    /// The present verdict.
    pub fn verdict(self) -> HealthVerdict {
        self.verdict
    }

    /// Adds an outcome. Returns the previous verdict if it has changed.
    pub fn on_outcome(&mut self, is_good: bool, config: &HealthCheck) -> Option<HealthVerdict> {
        let (other, threshold) = match (self.verdict, is_good) {
            (HealthVerdict::Unchecked, true) => (HealthVerdict::Passing, 1),
            (HealthVerdict::Failing, true) => (HealthVerdict::Passing, config.success_threshold),
            (HealthVerdict::Unchecked | HealthVerdict::Passing, false) => (HealthVerdict::Failing, config.failure_threshold),
            (HealthVerdict::Passing, true) | (HealthVerdict::Failing, false) => {
                self.against = 0;
                return None;
            }
        };
        self.against += 1;
        if self.against < threshold {
            return None;
        }
        self.against = 0;
        Some(std::mem::replace(&mut self.verdict, other))
    }
}

#[cfg(test)]
mod tests {
    use super::HealthVerdict::*;
    use super::*;

    /// The verdict after each outcome: `+` good, `-` bad.
    fn verdicts(outcomes: &str, failure_threshold: u32, success_threshold: u32) -> Vec<HealthVerdict> {
        let config = HealthCheck { failure_threshold, success_threshold, ..crate::health::tests::check() };
        let mut check = CheckHistory::default();
        let verdict = |outcome| {
            let before = check.verdict();
            let changed = check.on_outcome(outcome == '+', &config);
            assert_eq!(changed, (check.verdict() != before).then_some(before), "it says when the verdict changes");
            check.verdict()
        };
        outcomes.chars().map(verdict).collect()
    }

    #[test]
    fn the_first_success_is_enough_for_who_was_never_checked() {
        assert_eq!(verdicts("+", 3, 2), [Passing]);
        assert_eq!(verdicts("--+", 3, 2), [Unchecked, Unchecked, Passing]);
    }

    #[test]
    fn failures_in_a_row_make_it_fail() {
        assert_eq!(verdicts("---", 3, 2), [Unchecked, Unchecked, Failing]);
        assert_eq!(verdicts("+---", 3, 2), [Passing, Passing, Passing, Failing]);
        assert_eq!(verdicts("+--+--", 3, 2), [Passing; 6]);
        assert_eq!(verdicts("+-", 1, 1), [Passing, Failing]);
    }

    #[test]
    fn successes_in_a_row_bring_it_back() {
        assert_eq!(verdicts("-++", 1, 2), [Failing, Failing, Passing]);
        assert_eq!(verdicts("-+-+-++", 1, 2), [Failing, Failing, Failing, Failing, Failing, Failing, Passing]);
        assert_eq!(verdicts("-+-+", 1, 1), [Failing, Passing, Failing, Passing]);
    }

    #[test]
    fn a_count_begins_anew_with_each_verdict() {
        assert_eq!(verdicts("--++--++", 2, 2), [Unchecked, Failing, Failing, Passing, Passing, Failing, Failing, Passing]);
    }

    #[test]
    fn a_long_run_changes_nothing() {
        let run = format!("{}{}", "+".repeat(1000), "-".repeat(1000));
        let verdicts = verdicts(&run, 65_535, 65_535);
        assert!(verdicts.iter().all(|verdict| *verdict == Passing));
    }
}
