//! A sliding window: at most so many requests in any second, however they are spread.
//!
//! It stores the times of the last second's requests; those of one moment form one run. It is exact while there are few runs.
//! When its room is used up, runs that are close together are merged at the later time: such requests are counted a little
//! longer than a second, never shorter.

use super::meter::{Debt, DroppedDebt, Meter};

/// In microseconds.
const SECOND: u64 = 1_000_000;

/// The requests of the last second.
#[derive(Clone, Copy, Debug)]
pub struct Window<const RUNS: usize> {
    /// The times of the runs (microseconds), in ascending order from `start` to `end`.
    at: [u64; RUNS],
    count: [u32; RUNS],
    start: usize,
    end: usize,
    /// The number of requests in the runs from `start` to `end`.
    total: u32,
    /// The latest time it was asked at: another thread's time may be a little older.
    latest: u64,
}

impl<const RUNS: usize> Default for Window<RUNS> {
    fn default() -> Self {
        Self { at: [0; RUNS], count: [0; RUNS], start: 0, end: 0, total: 0, latest: 0 }
    }
}

impl<const RUNS: usize> Window<RUNS> {
    /// Runs closer than this may be merged: a second then has fewer runs than there is room for.
    const CLOSE: u64 = SECOND / (RUNS as u64 / 2);

    /// Drops what is a second old; returns the time to go by.
    fn advance(&mut self, now: u64) -> u64 {
        self.latest = self.latest.max(now);
        while self.start < self.end && self.at[self.start].saturating_add(SECOND) <= self.latest {
            self.total -= self.count[self.start];
            self.start += 1;
        }
        self.latest
    }

    fn push(&mut self, at: u64, count: u32) {
        self.total = self.total.saturating_add(count);
        if self.start < self.end && self.at[self.end - 1] == at {
            self.count[self.end - 1] += count;
            return;
        }
        if self.end == RUNS {
            self.make_room();
        }
        (self.at[self.end], self.count[self.end]) = (at, count);
        self.end += 1;
    }

    /// Moves the runs to the front. Usually that frees enough; otherwise close runs are merged.
    fn make_room(&mut self) {
        let is_crowded = self.end - self.start > RUNS / 4 * 3;
        let mut end = 0;
        for run in self.start..self.end {
            let (at, count) = (self.at[run], self.count[run]);
            if is_crowded && end > 0 && self.at[end - 1] / Self::CLOSE == at / Self::CLOSE {
                (self.at[end - 1], self.count[end - 1]) = (at, self.count[end - 1] + count);
            } else {
                (self.at[end], self.count[end]) = (at, count);
                end += 1;
            }
        }
        (self.start, self.end) = (0, end);
    }
}

impl<const RUNS: usize> Meter for Window<RUNS> {
    type Quota = u32;

    fn wait(&mut self, most: &u32, now: u64) -> Result<(), u64> {
        let now = self.advance(now);
        if self.total < *most { Ok(()) } else { Err(self.at[self.start] + SECOND - now) }
    }

    fn take(&mut self, _: &u32, now: u64) {
        let now = self.advance(now);
        self.push(now, 1);
    }

    fn debt(&mut self, now: u64) -> Debt {
        self.advance(now);
        Debt(self.total.into(), self.end.checked_sub(1).map_or(0, |last| self.at[last]))
    }

    fn bequeath(&self) -> DroppedDebt {
        DroppedDebt { at: self.end.checked_sub(1).map_or(0, |last| self.at[last]), count: self.total }
    }

    fn inherit(legacy: DroppedDebt) -> Self {
        let mut window = Self::default();
        if legacy.count > 0 {
            window.push(legacy.at, legacy.count);
        }
        window
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// For any pattern of requests, no more than allowed in any second, at most a little fewer, and exactly as many where the times
    /// are few. A client that waits as long as it was told is accepted.
    fn check<const RUNS: usize>(seed: u64) {
        let mut rng = fastrand::Rng::with_seed(seed);
        let most = [1, 2, 5, 20, 100, 1000][rng.usize(0..6)];
        let stride = [1, 100, 5_000, 50_000, 400_000][rng.usize(0..5)];
        let (mut window, mut now) = (Window::<RUNS>::default(), rng.u64(0..1 << 50));
        let mut taken: VecDeque<u64> = VecDeque::new();
        for _ in 0..4000 {
            let recent = |since: u64| taken.iter().filter(|&&at| at + since > now).count();
            let (within, nearly) = (recent(SECOND), recent(SECOND + Window::<RUNS>::CLOSE));
            let wait = window.wait(&most, now);
            assert!(wait.is_err() || within < most as usize, "seed {seed}: one more in a second");
            assert!(wait.is_ok() || nearly >= most as usize, "seed {seed}: refused with {nearly} of {most}");
            if (most as usize) <= RUNS / 2 {
                assert_eq!(wait.is_ok(), within < most as usize, "seed {seed}: exact while there are few");
            }
            if let Err(wait) = wait {
                assert!((1..=SECOND).contains(&wait));
                if rng.bool() {
                    now += wait;
                    assert_eq!(window.wait(&most, now), Ok(()), "seed {seed}: the wait");
                } else {
                    now += rng.u64(0..=stride);
                    continue;
                }
            }
            window.take(&most, now);
            taken.push_back(now);
            if taken.len() > 3 * most as usize + 100 {
                taken.pop_front();
            }
            now += if rng.u8(0..3) == 0 { rng.u64(0..=stride) } else { 0 };
        }
    }

    #[test]
    fn at_most_so_many_in_any_second() {
        (0..200).for_each(check::<32>);
        (0..100).for_each(check::<256>);
    }

    #[test]
    fn an_older_reading_of_the_clock_gives_nothing() {
        let mut window = Window::<32>::default();
        window.take(&1, 5_000_000);
        assert_eq!(window.wait(&1, 6_000_000), Ok(()));
        // The second is over, and stays over.
        assert_eq!(window.wait(&1, 5_999_000), Ok(()));
        window.take(&1, 5_999_000);
        assert_eq!(window.wait(&1, 6_999_999), Err(1));
    }

    #[test]
    fn an_heir_is_allowed_no_more() {
        let mut window = Window::<32>::default();
        (0..40).for_each(|i| window.take(&100, i * 10_000));
        let mut heir = Window::<32>::inherit(window.bequeath());
        for now in (390_000..1_500_000).step_by(7_000) {
            assert!(heir.wait(&40, now).is_err() || window.wait(&40, now).is_ok());
        }
        assert!(Window::<32>::inherit(DroppedDebt::default()).debt(0).is_none());
    }
}
