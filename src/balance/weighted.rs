//! Smooth weighted round robin: exact shares, and the turns of each upstream spread over a round as evenly as possible.
//!
//! The turns of each upstream lie on one line of time, evenly spaced, as many in a round as its weight. Upstreams of equal weight
//! have the same spacing and begin one after the other. Weights 5, 1 and 2 (`A B C`) give the order that nginx has:
//!
//! ```text
//!     A   .10     .30   .50     .70     .90
//!     B                   .50
//!     C      .25               .75
//!         A   C   A     A B     A C     A          never two of a light one in a row
//! ```
//!
//! A heap finds the next turn, so that a pool of a thousand costs little more than one of ten. Turns in which an upstream refuses
//! are lost: the others' turns do not move, and nothing is made up for when it returns.

use super::{Ask, Balancer, View};
use std::cmp::{Ordering, Reverse};
use std::collections::binary_heap::PeekMut;
use std::collections::{BTreeMap, BinaryHeap};
use std::sync::{Mutex, PoisonError};

/// The `weighted` algorithm. All workers share one line of time.
#[derive(Debug)]
pub struct Weighted(Mutex<WeightedOrder>);

#[derive(Debug)]
struct WeightedOrder {
    next: BinaryHeap<Reverse<WeightedTurn>>,
    /// The turns that the current pick was refused at; empty between picks.
    refused: Vec<WeightedTurn>,
}

/// The next turn of an upstream, at `time / rate` of a round.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct WeightedTurn {
    time: u64,
    rate: u64,
    /// The distance to its next turn: twice the number of equals, so that each begins in the middle of its own part.
    step: u64,
    index: usize,
}

impl Weighted {
    /// For the upstreams that have a weight. `start` is random: the first round begins that far in, in parts of 2^32.
    pub fn new(weights: &[u32], start: u32) -> Self {
        let moment = WeightedTurn { time: start.into(), rate: 1 << 32, step: 0, index: 0 };
        let (mut steps, mut times) = (BTreeMap::new(), BTreeMap::new());
        weights.iter().for_each(|&weight| *steps.entry(weight).or_insert(0) += 2);
        let turn = |(index, &weight): (usize, &u32)| {
            let (step, time) = (steps[&weight], times.entry(weight).or_insert(1));
            *time += 2;
            let turn = WeightedTurn { time: *time - 2, rate: step * u64::from(weight), step, index };
            if turn > moment { turn } else { turn.after(&moment) }
        };
        let weighted = weights.iter().enumerate().filter(|&(_, &weight)| weight > 0);
        let next: BinaryHeap<_> = weighted.map(turn).map(Reverse).collect();
        let refused = Vec::with_capacity(next.len());
        Self(Mutex::new(WeightedOrder { next, refused }))
    }
}

impl Balancer for Weighted {
    fn pick<V: View>(&self, _: &mut Ask<V>, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut line = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let WeightedOrder { next, refused } = &mut *line;
        let mut taken = None;
        while let Some(mut first) = next.peek_mut() {
            if take(first.0.index) {
                taken = Some(first.0);
                first.0.time += first.0.step;
                break;
            }
            refused.push(PeekMut::pop(first).0);
        }
        // Those that refused continue with their first turn after the one taken; where none was taken, nothing changes.
        next.extend(refused.drain(..).map(|turn| Reverse(taken.map_or(turn, |taken| turn.after(&taken)))));
        taken.map(|turn| turn.index)
    }
}

impl WeightedTurn {
    /// The first turn of this upstream that is later than `other`; the present one is not later.
    fn after(self, other: &WeightedTurn) -> Self {
        let now = (u128::from(other.time) * u128::from(self.rate) / u128::from(other.rate)) as u64;
        Self { time: self.time + (now.saturating_sub(self.time) / self.step + 1) * self.step, ..self }
    }
}

impl Ord for WeightedTurn {
    fn cmp(&self, other: &Self) -> Ordering {
        let product = |time: u64, rate: u64| u128::from(time) * u128::from(rate);
        product(self.time, other.rate).cmp(&product(other.time, self.rate)).then(self.index.cmp(&other.index))
    }
}

impl PartialOrd for WeightedTurn {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::{picks, shares};

    #[test]
    fn shares_are_exact_and_spread() {
        let balancer = Weighted::new(&[5, 1, 2], 0);
        let order: Vec<usize> = picks(&balancer, 160, |_| true).into_iter().flatten().collect();
        assert_eq!(order[..8], [0, 2, 0, 0, 1, 0, 2, 0]);
        assert_eq!([0, 1, 2].map(|index| order.iter().filter(|&&picked| picked == index).count()), [100, 20, 40]);
        assert!(order.windows(2).all(|pair| pair[0] == 0 || pair[0] != pair[1]), "{order:?}");
    }

    #[test]
    fn equals_take_turns_between_those_of_a_heavy_one() {
        assert_eq!(picks(&Weighted::new(&[3, 1, 0, 1, 1], 0), 6, |_| true), [0, 1, 0, 3, 0, 4].map(Some));
        assert_eq!(picks(&Weighted::new(&[7, 7, 7], 0), 6, |_| true), [0, 1, 2, 0, 1, 2].map(Some));
    }

    #[test]
    fn it_begins_anywhere_in_its_round() {
        let firsts = |weights: &[u32]| {
            let starts = (0..1000).map(|i| i << 22);
            let firsts: Vec<_> = starts.map(|start| picks(&Weighted::new(weights, start), 1, |_| true)[0]).collect();
            (0..weights.len()).map(|index| firsts.iter().filter(|&&first| first == Some(index)).count()).collect::<Vec<_>>()
        };
        let firsts_of_three = firsts(&[5, 1, 2]);
        assert!(firsts_of_three[0] > 100 && firsts_of_three[2] > 100, "{firsts_of_three:?}");
        assert!(firsts(&[1, 1, 1, 1]).iter().all(|&count| count > 200));
        for start in [1, 1 << 31, u32::MAX] {
            assert_eq!(shares(&Weighted::new(&[5, 1, 2], start), 3, 80, |_| true), [50, 10, 20]);
        }
    }

    #[test]
    fn who_is_left_shares_exactly_and_who_comes_back_has_no_arrears() {
        let balancer = Weighted::new(&[1000, 1, 2], 0);
        assert_eq!(shares(&balancer, 3, 3000, |index| index != 0), [0, 1000, 2000]);
        assert_eq!(picks(&balancer, 5, |_| false), [None; 5]);
        assert_eq!(shares(&balancer, 3, 1003, |_| true), [1000, 1, 2]);
        let balancer = Weighted::new(&[1, 1, 2], 0);
        assert_eq!(shares(&balancer, 3, 3000, |index| index != 0), [0, 1000, 2000]);
        let back: Vec<_> = picks(&balancer, 4, |_| true);
        assert_eq!(back.iter().filter(|&&index| index == Some(0)).count(), 1);
    }
}
