//! The fewest requests in flight for the weight; equals are chosen by chance, in proportion to their weights.

use super::{Ask, Balancer, View};
use std::cmp::Ordering;

/// How many refusals cost a look at all upstreams each.
const LOOKS: usize = 4;

/// How many looks after those take all upstreams with the same load together: mostly failed ones, which have no requests.
const LEVELS: usize = 16;

/// The `least_connections` algorithm.
#[derive(Debug)]
pub struct LeastConnections {
    /// Index and weight of the upstreams that have a weight.
    weighted: Box<[(usize, u32)]>,
}

/// Requests in flight, and the weight that they are divided by.
type LoadLevel = (u64, u32);

impl LeastConnections {
    /// For the upstreams that have a weight.
    pub fn new(weights: &[u32]) -> Self {
        Self { weighted: weights.iter().copied().enumerate().filter(|&(_, weight)| weight > 0).collect() }
    }

    fn least<V: View>(&self, ask: &mut Ask<V>, refused: &[usize]) -> Option<usize> {
        let (mut least, mut level, mut ties) = (None, (u64::MAX, 1), 0);
        for &(index, weight) in self.weighted.iter().filter(|(index, _)| !refused.contains(index)) {
            let own = (ask.view.load(index), weight);
            let order = if least.is_none() { Ordering::Less } else { compare(own, level) };
            ties = u64::from(weight) + if order == Ordering::Equal { ties } else { 0 };
            // Of equals, each replaces the one before with a chance of its weight over the weights seen so far: one pass is enough.
            match order {
                Ordering::Less => (least, level) = (Some(index), own),
                Ordering::Equal if ask.rng.u64(..ties) < u64::from(weight) => least = Some(index),
                _ => {}
            }
        }
        least
    }
}

impl Balancer for LeastConnections {
    fn pick<V: View>(&self, ask: &mut Ask<V>, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut refused = [usize::MAX; LOOKS];
        for look in 0..LOOKS {
            let least = self.least(ask, &refused[..look])?;
            if take(least) {
                return Some(least);
            }
            refused[look] = least;
        }
        let (before, after) = self.weighted.split_at(ask.rng.usize(..self.weighted.len()));
        let row = || after.iter().chain(before).copied();
        let (mut level, mut looks) = (Some((0, 1)), 0..LEVELS);
        while let (Some(now), Some(_)) = (level.take(), looks.next()) {
            for (index, weight) in row() {
                let own = (ask.view.load(index), weight);
                match compare(own, now) {
                    Ordering::Equal if take(index) => return Some(index),
                    Ordering::Greater if level.is_none_or(|level| compare(own, level).is_lt()) => level = Some(own),
                    _ => {}
                }
            }
        }
        // Loads have changed meanwhile, so some may not have been asked.
        row().map(|(index, _)| index).find(|&index| take(index))
    }
}

/// Compares exactly, without a division.
fn compare(a: LoadLevel, b: LoadLevel) -> Ordering {
    (u128::from(a.0) * u128::from(b.1)).cmp(&(u128::from(b.0) * u128::from(a.1)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::{Known, assert_shares, offers, shares};

    #[test]
    fn the_least_for_its_weight_comes_first() {
        let known = Known::loads(&[10, 3, 7, 0, 20]);
        let balancer = LeastConnections::new(&[5, 1, 2, 0, 100]);
        assert_eq!(offers(&balancer, &known), [4, 0, 1, 2]);
        // Loads whose products do not fit in 64 bits.
        let known = Known::loads(&[u64::MAX, u64::MAX - 1]);
        assert_eq!(offers(&LeastConnections::new(&[1000, 1000]), &known), [1, 0]);
        assert_eq!(offers(&LeastConnections::new(&[1]), &Known::loads(&[u64::MAX])), [0]);
    }

    #[test]
    fn levels_go_on_best_first() {
        let loads: Vec<u64> = (0..40).map(|index| [0, 9, 4, 7][index % 4]).collect();
        let known = Known::loads(&loads);
        let picked = |up: fn(usize) -> bool| {
            let mut rng = fastrand::Rng::with_seed(1);
            let mut ask = Ask { view: &known, rng: &mut rng, key: 0 };
            loads[LeastConnections::new(&[1; 40]).pick(&mut ask, up).unwrap()]
        };
        assert_eq!((picked(|index| index % 4 != 0), picked(|index| index % 2 != 0), picked(|index| index == 13)), (4, 7, 9));
    }

    #[test]
    fn an_idle_pool_shares_by_weight() {
        let balancer = LeastConnections::new(&[5, 0, 1, 2]);
        assert_shares(&shares(&balancer, 4, 80_000, |_| true), &[5.0, 0.0, 1.0, 2.0], 0.03);
        assert_shares(&shares(&balancer, 4, 80_000, |index| index != 0), &[0.0, 0.0, 1.0, 2.0], 0.03);
    }
}
