//! One after the other, exact for the whole process: the position is one number that all workers share.
//! For upstreams of one weight; where weights differ, [`Weighted`](super::Weighted) goes round.

use super::{Ask, Balancer, View};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The position.
#[derive(Debug)]
pub struct RoundRobin {
    position: AtomicUsize,
    /// Those with a weight.
    order: Box<[u32]>,
}

impl RoundRobin {
    /// Over the upstreams that have a weight. `start` is by chance: were it fixed, every start and every change of the pool would send
    /// the next request to the same upstream.
    pub fn new(weights: &[u32], start: u32) -> Self {
        let order = (0..weights.len() as u32).filter(|&index| weights[index as usize] > 0).collect();
        Self { position: AtomicUsize::new(start as usize), order }
    }
}

impl Balancer for RoundRobin {
    fn pick<V: View>(&self, _: &mut Ask<V>, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        // Who is passed over uses its turn up: those after it get no more of them than the others.
        let turns = self.order.iter().map(|_| self.order[self.position.fetch_add(1, Relaxed) % self.order.len()]);
        // Other workers take turns too: ours may all have been the same one's.
        turns.chain(self.order.iter().copied()).map(|index| index as usize).find(|&index| take(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::picks;

    #[test]
    fn every_upstream_gets_its_turn() {
        assert_eq!(picks(&RoundRobin::new(&[1, 1, 0, 1], 0), 7, |_| true), [0, 1, 3, 0, 1, 3, 0].map(Some));
    }

    #[test]
    fn it_begins_anywhere() {
        assert_eq!(
            [0, 1, 2, 3, u32::MAX].map(|start| picks(&RoundRobin::new(&[1, 1, 0, 1], start), 1, |_| true)[0]),
            [0, 1, 3, 0, 0].map(Some)
        );
    }

    #[test]
    fn the_turn_of_who_is_passed_over_is_nobodys() {
        let balancer = RoundRobin::new(&[1, 1, 1], 0);
        assert_eq!(picks(&balancer, 4, |index| index != 1), [0, 2, 0, 2].map(Some));
        assert_eq!(picks(&balancer, 1, |_| false), [None]);
        assert_eq!(picks(&RoundRobin::new(&[0], 0), 1, |_| true), [None]);
    }
}
