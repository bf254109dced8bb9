//! A token bucket in one number (GCRA): the time at which the bucket will be full again. A request moves that time on by its cost.
//! One that would move it further ahead than a burst lasts is over the limit.

use super::meter::{Debt, DroppedDebt, Meter};
use crate::config::model::Rate;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Times are in this part of a microsecond: fine enough for millions of requests a second, and sufficient for 35 years.
const PARTS: u64 = 1 << 14;

/// A rate, expressed in times.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// The time that one request costs.
    cost: u64,
    /// The time that a burst costs.
    burst: u64,
}

impl Pace {
    /// Rounded so that the rate is never exceeded.
    pub fn new(rate: Rate) -> Self {
        let cost = (1_000_000 * PARTS).div_ceil(u64::from(rate.requests_per_second.max(1)));
        Self { cost, burst: cost.saturating_mul(rate.burst.max(1).into()) }
    }
}

/// The time at which the bucket is full again.
#[derive(Clone, Copy, Debug, Default)]
pub struct Bucket {
    full_at: u64,
}

impl Bucket {
    /// The bucket with one more request, or the microseconds until there is room for it.
    fn with_one(self, pace: &Pace, now: u64) -> Result<Self, u64> {
        let now = now.saturating_mul(PARTS);
        let full_at = self.full_at.max(now).saturating_add(pace.cost);
        let excess = full_at.saturating_sub(now.saturating_add(pace.burst));
        if excess == 0 { Ok(Self { full_at }) } else { Err(excess.div_ceil(PARTS)) }
    }
}

impl Meter for Bucket {
    type Quota = Pace;

    fn wait(&mut self, pace: &Pace, now: u64) -> Result<(), u64> {
        self.with_one(pace, now).map(drop)
    }

    fn take(&mut self, pace: &Pace, now: u64) {
        if let Ok(bucket) = self.with_one(pace, now) {
            *self = bucket;
        }
    }

    fn debt(&mut self, now: u64) -> Debt {
        Debt(self.full_at.saturating_sub(now.saturating_mul(PARTS)), 0)
    }

    fn bequeath(&self) -> DroppedDebt {
        DroppedDebt { at: self.full_at, count: 0 }
    }

    fn inherit(legacy: DroppedDebt) -> Self {
        Self { full_at: legacy.at }
    }
}

/// A bucket that all threads share, without a lock.
#[derive(Debug, Default)]
pub struct SharedBucket(AtomicU64);

impl SharedBucket {
    /// Whether one more request may come now; the error is the wait in microseconds.
    pub fn wait(&self, pace: &Pace, now: u64) -> Result<(), u64> {
        Bucket { full_at: self.0.load(Relaxed) }.with_one(pace, now).map(drop)
    }

    /// Counts a request; the error is the wait in microseconds.
    pub fn take(&self, pace: &Pace, now: u64) -> Result<(), u64> {
        let mut full_at = self.0.load(Relaxed);
        loop {
            let next = Bucket { full_at }.with_one(pace, now)?.full_at;
            match self.0.compare_exchange_weak(full_at, next, Relaxed, Relaxed) {
                Ok(_) => return Ok(()),
                Err(other) => full_at = other,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: u64 = 1_000_000;

    fn pace(requests_per_second: u32, burst: u32) -> Pace {
        Pace::new(Rate { requests_per_second, burst })
    }

    #[test]
    fn a_burst_and_then_the_rate() {
        let (bucket, pace) = (SharedBucket::default(), pace(10, 5));
        let mut now = 77 * SECOND;
        assert!((0..5).all(|_| bucket.take(&pace, now).is_ok()));
        assert_eq!(bucket.take(&pace, now), Err(100_000));
        now += 99_999;
        assert_eq!(bucket.take(&pace, now), Err(1));
        now += 1;
        assert_eq!((bucket.take(&pace, now), bucket.take(&pace, now)), (Ok(()), Err(100_000)));
        now += 3600 * SECOND;
        assert!((0..5).all(|_| bucket.take(&pace, now).is_ok()) && bucket.take(&pace, now).is_err());
    }

    /// At any rate and after any load, no more than the burst and what the rate has given since is allowed, and hardly less. A
    /// client that waits as long as it was told is accepted.
    #[test]
    fn the_rate_is_kept_and_the_wait_is_true() {
        for seed in 0..300 {
            let mut rng = fastrand::Rng::with_seed(seed);
            let rate = [1, 2, 3, 7, 10, 1000, 99_999, 10_000_000][rng.usize(0..8)];
            let burst = rng.u32(1..50);
            let (bucket, pace) = (SharedBucket::default(), pace(rate, burst));
            let start = rng.u64(0..1_000_000_000_000_000);
            let (mut now, mut taken) = (start, 0u64);
            for _ in 0..500 {
                match bucket.take(&pace, now) {
                    Ok(()) => taken += 1,
                    Err(wait) => {
                        assert!(wait > 0);
                        now += wait;
                        assert_eq!(bucket.take(&pace, now), Ok(()), "seed {seed}");
                        taken += 1;
                    }
                }
                let most = u64::from(burst) + (u128::from(now - start) * u128::from(rate) / u128::from(SECOND)) as u64;
                assert!(taken <= most, "seed {seed}: {taken} of {most}");
                now += if rng.bool() { 0 } else { rng.u64(0..2 * SECOND / u64::from(rate) + 2) };
            }
            // Asked all the time, it gives all it may: the clock has microseconds, and a burst makes up for the rounding.
            let (start, mut given) = (now, 0);
            while now < start + 1000 * SECOND / u64::from(rate) {
                match bucket.take(&pace, now) {
                    Ok(()) => given += 1,
                    Err(wait) => now += wait,
                }
            }
            let due = (now - start) * u64::from(rate) / SECOND;
            assert!(given + 2 >= due || burst < 2 + rate / 500_000, "seed {seed}: {given} of {due} at {rate}");
        }
    }

    #[test]
    fn a_clock_that_is_a_little_late_gives_nothing() {
        let (bucket, pace) = (SharedBucket::default(), pace(10, 1));
        assert_eq!(bucket.take(&pace, 5 * SECOND), Ok(()));
        assert_eq!(bucket.take(&pace, 5 * SECOND - 400), Err(100_400));
    }

    #[test]
    fn threads_share_it() {
        let (bucket, pace) = (SharedBucket::default(), pace(1, 1000));
        let take = || (0..2000).filter(|_| bucket.take(&pace, 1).is_ok()).count();
        let taken: usize =
            std::thread::scope(|scope| [(); 4].map(|()| scope.spawn(take)).map(|thread| thread.join().unwrap()).iter().sum());
        assert_eq!(taken, 1000);
    }
}
