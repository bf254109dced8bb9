//! By chance, in proportion to the weights.

use super::lots::{DrawnIndices, WeightedLots};
use super::{Ask, Balancer, View};

/// The `random` algorithm.
#[derive(Debug)]
pub struct Random(WeightedLots);

impl Random {
    /// For the upstreams that have a weight.
    pub fn new(weights: &[u32]) -> Self {
        Self(WeightedLots::new(weights))
    }
}

impl Balancer for Random {
    fn pick<V: View>(&self, ask: &mut Ask<V>, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut drawn = DrawnIndices::default();
        while let Some(index) = self.0.draw(ask.rng, &mut drawn) {
            if take(index) {
                return Some(index);
            }
        }
        self.0.others(ask.rng, &drawn).find(|&index| take(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::{assert_shares, shares};

    #[test]
    fn shares_are_those_of_the_weights() {
        let balancer = Random::new(&[5, 0, 1, 2]);
        assert_shares(&shares(&balancer, 4, 80_000, |_| true), &[5.0, 0.0, 1.0, 2.0], 0.03);
    }

    #[test]
    fn who_is_left_shares_by_weight_too() {
        let balancer = Random::new(&[90, 1, 2]);
        assert_shares(&shares(&balancer, 3, 30_000, |index| index != 0), &[0.0, 1.0, 2.0], 0.03);
    }
}
