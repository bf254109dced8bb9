//! How often, and after which wait, a request may be tried again.

use crate::config::model::Retry;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed, Ordering::SeqCst};

/// Retries that a pool may always make within the budget's period, however few its requests are.
const ALWAYS: u64 = 30;
/// The budget's period in seconds.
const SECONDS: u64 = 10;
/// Seconds that a window stores; a power of two above the period.
const SLOTS: usize = 16;

/// The wait before the `nth` retry (from 0) in milliseconds: "full jitter", uniform between 0 and a bound that doubles.
pub fn backoff(retry: &Retry, nth: u32, rng: &mut fastrand::Rng) -> u64 {
    let bound = u64::from(retry.backoff_ms).checked_shl(nth.min(32)).unwrap_or(u64::MAX);
    rng.u64(0..=bound.min(retry.max_backoff_ms.into()))
}

/// How many retries a pool may make: a share of its requests in the last ten seconds, so that retries do not bury a failing pool.
/// Holds for the whole process.
#[derive(Debug)]
pub struct Budget {
    /// One for each worker, so that counting a request is a plain store.
    requests: Box<[SecondCounts]>,
    retries: SecondCounts,
}

impl Budget {
    /// A budget of which nothing is used.
    pub fn new(workers: usize) -> Self {
        Self { requests: (0..workers).map(|_| SecondCounts::default()).collect(), retries: SecondCounts::default() }
    }

    /// Counts a request. Only the worker's own thread may call it.
    pub fn count_request(&self, worker: usize, now_ms: u64) {
        self.requests[worker].add_alone(now_ms / 1000);
    }

    /// Takes a retry from the budget, if it has one left.
    pub fn take(&self, percent: u32, now_ms: u64) -> bool {
        let second = now_ms / 1000;
        let requests: u64 = self.requests.iter().map(|window| window.sum(second, SECONDS)).sum();
        let allowed = ALWAYS.max(requests * u64::from(percent) / 100);
        // Counted before it is checked: of two that want the last one, neither gets it rather than both. Eleven seconds are
        // summed, because the first of them is only partly over.
        self.retries.add(second);
        let is_there = self.retries.sum(second, SECONDS + 1) <= allowed;
        if !is_there {
            self.retries.take_back(second);
        }
        is_there
    }
}

/// Counts by second: each slot has the second in its upper half and the count in its lower half.
#[derive(Debug, Default)]
#[repr(align(128))]
struct SecondCounts([AtomicU64; SLOTS]);

impl SecondCounts {
    fn slot(&self, second: u64) -> &AtomicU64 {
        &self.0[second as usize % SLOTS]
    }

    fn next(slot: u64, second: u64) -> u64 {
        if slot >> 32 == second { slot + 1 } else { second << 32 | 1 }
    }

    /// For a single writing thread.
    fn add_alone(&self, second: u64) {
        let slot = self.slot(second);
        slot.store(Self::next(slot.load(Relaxed), second), Relaxed);
    }

    fn add(&self, second: u64) {
        let _ = self.slot(second).fetch_update(SeqCst, SeqCst, |slot| Some(Self::next(slot, second)));
    }

    fn take_back(&self, second: u64) {
        let _ = self.slot(second).fetch_update(SeqCst, SeqCst, |slot| (slot >> 32 == second).then(|| slot - 1));
    }

    /// The sum of the last `seconds`, this one included, and of later ones that other workers have counted.
    fn sum(&self, second: u64, seconds: u64) -> u64 {
        let is_within = |slot: &u64| second.saturating_sub(slot >> 32) < seconds;
        self.0.iter().map(|slot| slot.load(Relaxed)).filter(is_within).map(|slot| slot & u64::from(u32::MAX)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_wait_is_uniform_below_a_bound_that_doubles() {
        let retry = Retry { backoff_ms: 25, max_backoff_ms: 60, ..Retry::default() };
        let mut rng = fastrand::Rng::with_seed(1);
        for (nth, bound) in [(0, 25), (1, 50), (2, 60), (40, 60), (u32::MAX, 60)] {
            let waits: Vec<u64> = (0..5000).map(|_| backoff(&retry, nth, &mut rng)).collect();
            let mean = waits.iter().sum::<u64>() / 5000;
            assert_eq!((waits.iter().min(), waits.iter().max()), (Some(&0), Some(&bound)));
            assert!(mean.abs_diff(bound / 2) <= 2, "{mean} of {bound}");
        }
        assert_eq!(backoff(&Retry { backoff_ms: 0, ..retry }, 3, &mut rng), 0);
    }

    #[test]
    fn few_requests_have_thirty_retries_and_many_a_share() {
        let budget = Budget::new(2);
        let taken = |now| (0..1000).filter(|_| budget.take(20, now)).count();
        assert_eq!((taken(5_000), taken(14_999)), (30, 0));
        assert_eq!(taken(16_000), 30);
        (0..400).for_each(|n| budget.count_request(n % 2, 30_000));
        assert_eq!((taken(31_000), taken(35_000)), (80, 0));
        assert_eq!(taken(41_000), 0, "the requests are too long ago, the retries not quite");
        assert_eq!(taken(42_000), 30);
    }

    /// In no ten seconds are more retries made than are allowed at their end.
    #[test]
    fn no_ten_seconds_have_more_than_their_share() {
        let mut rng = fastrand::Rng::with_seed(9);
        let (budget, mut requests, mut retries, mut now) = (Budget::new(1), Vec::new(), Vec::new(), 0u64);
        let since = |times: &[u64], now: u64| times.iter().rev().take_while(|at| now - **at < 10_000).count();
        for _ in 0..20_000 {
            now += rng.u64(0..20);
            if rng.u8(0..3) > 0 {
                budget.count_request(0, now);
                requests.push(now);
            }
            if rng.bool() && budget.take(20, now) {
                retries.push(now);
                let allowed = (since(&requests, now) / 5).max(30);
                assert!(since(&retries, now) <= allowed, "{} of {allowed}", since(&retries, now));
            }
        }
        assert!(retries.len() > 1000, "{}", retries.len());
    }

    /// Each worker reads the clock for itself, so their seconds may differ.
    #[test]
    fn a_worker_that_is_behind_sees_what_others_took() {
        let budget = Budget::new(2);
        assert_eq!((0..100).filter(|_| budget.take(20, 11_000)).count(), 30);
        assert_eq!((0..100).filter(|_| budget.take(20, 10_999)).count(), 0);
    }

    #[test]
    fn who_asks_at_once_gets_no_more() {
        let budget = Budget::new(1);
        let taken = AtomicU64::new(0);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| taken.fetch_add((0..100).filter(|_| budget.take(0, 1)).count() as u64, SeqCst));
            }
        });
        assert!(taken.into_inner() <= 30);
    }
}
