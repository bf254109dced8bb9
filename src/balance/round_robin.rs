//! One after the other, exact for the whole process, because all workers share the position.
//! For upstreams of equal weight; where weights differ, [`Weighted`](super::Weighted) is used.

use super::{Ask, Balancer, View};
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// How many rounds of turns a pick may take while other workers take turns in between.
const TURNS: usize = 4;

/// The `round_robin` algorithm.
#[derive(Debug)]
pub struct RoundRobin {
    position: AtomicUsize,
    /// The upstreams that have a weight.
    order: Box<[u32]>,
}

impl RoundRobin {
    /// For the upstreams that have a weight. `start` is random: with a fixed one, every start and every change of the pool would send
    /// the next request to the same upstream.
    pub fn new(weights: &[u32], start: u32) -> Self {
        let order = (0..weights.len() as u32).filter(|&index| weights[index as usize] > 0).collect();
        Self { position: AtomicUsize::new(start as usize), order }
    }
}

impl Balancer for RoundRobin {
    fn pick<V: View>(&self, _: &mut Ask<V>, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        let count = self.order.len();
        let (mut first, mut last) = (0, 0);
        // An upstream that refuses loses its turn, so that the one after it does not get twice its share.
        for taken in 0..TURNS * count {
            if taken == count && last == usize::wrapping_add(first, count - 1) {
                // All turns of a round were ours, and so all upstreams have been asked.
                return None;
            }
            last = self.position.fetch_add(1, Relaxed);
            first = if taken == 0 { last } else { first };
            let index = self.order[last % count] as usize;
            if take(index) {
                return Some(index);
            }
        }
        // Other workers take turns too, so all of ours may have fallen on one upstream: each is asked once more.
        self.order.iter().map(|&index| index as usize).find(|&index| take(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::{Blank, picks};

    #[test]
    fn every_upstream_gets_its_turn() {
        assert_eq!(picks(&RoundRobin::new(&[1, 1, 0, 1], 0), 7, |_| true), [0, 1, 3, 0, 1, 3, 0].map(Some));
    }

    /// Another worker may take turns in between, so that all of ours fall on one that refuses.
    #[test]
    fn turns_stay_fair_however_workers_alternate() {
        let balancer = RoundRobin::new(&[1, 1, 1], 0);
        let mut shares = [0_u32; 3];
        for _ in 0..100 {
            let mut others = 0;
            let mut ours = Vec::new();
            let picked = balancer.pick(&mut Ask { view: &Blank, rng: &mut fastrand::Rng::with_seed(1), key: 0 }, |index| {
                if index == 1 && others < 3 {
                    others += 1;
                    ours.extend(picks(&balancer, 2, |index| index != 1).into_iter().flatten());
                }
                index != 1
            });
            ours.extend(picked);
            ours.iter().for_each(|&index| shares[index] += 1);
        }
        assert!(shares[1] == 0 && shares[0].abs_diff(shares[2]) <= 1, "{shares:?}");
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
