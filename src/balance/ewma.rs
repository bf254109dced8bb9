//! How long an upstream takes to answer: a moving average that follows a rise at once and a fall slowly.

use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// The time in which the weight of a sample falls to 1/e.
const DECAY_MS: f64 = 10_000.0;

/// Each worker reads the clock once a turn: a stamp may be ahead of another worker's time by as much as this.
const MOST_LAG_MS: u32 = 60_000;

/// Microseconds in the upper half, as the bits of an `f32`, because whole numbers would round small steps away. The
/// millisecond of the last sample in the lower half; it wraps after 49 days. Zero means that nothing is known.
#[derive(Debug, Default)]
pub struct PeakEwma(AtomicU64);

impl PeakEwma {
    /// Adds a sample. A longer time counts at once; a shorter one counts the more, the older the last sample is.
    pub fn observe(&self, now_ms: u64, micros: u64) {
        // Zero would mean "unknown".
        let sample = micros.clamp(1, u64::from(u32::MAX)) as f32;
        let later = |packed: u64| {
            let LastSample { micros: old, age_ms, stamp } = LastSample::new(packed, now_ms);
            let weight = (-f64::from(age_ms) / DECAY_MS).exp();
            let new = if sample >= old { sample } else { (f64::from(old) * weight + f64::from(sample) * (1.0 - weight)) as f32 };
            Some(u64::from(new.to_bits()) << 32 | u64::from(stamp)).filter(|&new| new != packed)
        };
        let _ = self.0.fetch_update(Relaxed, Relaxed, later);
    }

    /// The average in microseconds at this time; 0 if the last sample is too old.
    pub fn value(&self, now_ms: u64) -> u64 {
        let packed = self.0.load(Relaxed);
        let value = match LastSample::new(packed, now_ms) {
            LastSample { micros, age_ms: 0, .. } => f64::from(micros),
            LastSample { micros, age_ms, .. } => f64::from(micros) * (-f64::from(age_ms) / DECAY_MS).exp(),
        };
        if value < 1.0 && packed != 0 {
            // Cleared while its age can be told: after the stamp wraps it would look recent.
            let _ = self.0.compare_exchange(packed, 0, Relaxed, Relaxed);
        }
        (value as u64).min(u64::from(u32::MAX))
    }
}

struct LastSample {
    micros: f32,
    age_ms: u32,
    /// The present time, or that of a worker that is ahead.
    stamp: u32,
}

impl LastSample {
    fn new(packed: u64, now_ms: u64) -> Self {
        let (micros, now, stamp) = (f32::from_bits((packed >> 32) as u32), now_ms as u32, packed as u32);
        match now.wrapping_sub(stamp) {
            age_ms if age_ms <= u32::MAX - MOST_LAG_MS || micros == 0.0 => Self { micros, age_ms, stamp: now },
            _ => Self { micros, age_ms: 0, stamp },
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn peaks_count_at_once_and_calm_slowly() {
        let ewma = PeakEwma::default();
        assert_eq!(ewma.value(5), 0);
        ewma.observe(1000, 1_000);
        ewma.observe(1001, 50_000);
        assert_eq!(ewma.value(1001), 50_000);
        ewma.observe(11_001, 1_000);
        // 50,000 / e, and the rest of 1,000.
        assert_eq!(ewma.value(11_001), 19_026);
        ewma.observe(11_001, 1_000);
        assert_eq!(ewma.value(11_001), 19_026);
    }

    #[test]
    fn many_small_steps_add_up() {
        let ewma = PeakEwma::default();
        ewma.observe(0, 1_000);
        (1..=10_000).for_each(|now| ewma.observe(now, 900));
        assert!((935..=938).contains(&ewma.value(10_000)), "{}", ewma.value(10_000));
    }

    #[test]
    fn what_is_not_heard_of_is_forgotten() {
        let ewma = PeakEwma::default();
        ewma.observe(0, 10_000);
        assert_eq!([0, 10_000, 20_000].map(|now| ewma.value(now)), [10_000, 3_678, 1_353]);
        assert_eq!(ewma.value(100_000), 0);
        // It stays forgotten.
        assert_eq!(ewma.value(0), 0);
    }

    #[test]
    fn the_clock_may_wrap_and_lag() {
        let (ewma, wrap) = (PeakEwma::default(), 1 << 32);
        ewma.observe(wrap - 5_000, 10_000);
        assert_eq!(ewma.value(wrap + 5_000), 3_678);
        ewma.observe(wrap + 5_000, 20_000);
        assert_eq!(ewma.value(wrap + 5_000), 20_000);
        // A worker whose turn began earlier neither forgets nor turns time back.
        ewma.observe(wrap + 4_990, 10);
        assert_eq!((ewma.value(wrap + 4_990), ewma.value(wrap + 15_000)), (20_000, 7_357));
    }

    #[test]
    fn samples_are_held_to_their_range() {
        let ewma = PeakEwma::default();
        ewma.observe(0, 0);
        assert_eq!(ewma.value(0), 1);
        ewma.observe(0, u64::MAX);
        assert_eq!(ewma.value(0), u64::from(u32::MAX));
    }

    #[test]
    fn no_peak_is_lost_between_threads() {
        let ewma = PeakEwma::default();
        std::thread::scope(|scope| {
            (0..4).for_each(|thread| {
                drop(scope.spawn({
                    let ewma = &ewma;
                    move || (0..1000).for_each(|sample| ewma.observe(7, 1 + thread * 1000 + sample))
                }))
            });
        });
        assert_eq!(ewma.value(7), 4000);
    }
}
