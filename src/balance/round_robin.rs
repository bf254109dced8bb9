//! One after the other, exact for the whole process: the position is one number that all workers share.

use super::Balancer;
use std::sync::atomic::{AtomicUsize, Ordering::Relaxed};

/// The position.
#[derive(Debug, Default)]
pub struct RoundRobin(AtomicUsize);

impl Balancer for RoundRobin {
    fn pick(&self, count: usize, take: &mut dyn FnMut(usize) -> bool) -> Option<usize> {
        if count == 0 {
            return None;
        }
        let start = self.0.fetch_add(1, Relaxed) % count;
        (start..count).chain(0..start).find(|&index| take(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_upstream_gets_its_turn() {
        let balancer = RoundRobin::default();
        let picks: Vec<_> = (0..7).filter_map(|_| balancer.pick(3, &mut |_| true)).collect();
        assert_eq!(picks, [0, 1, 2, 0, 1, 2, 0]);
    }

    #[test]
    fn only_what_is_taken_is_picked() {
        let balancer = RoundRobin::default();
        for _ in 0..5 {
            assert_eq!(balancer.pick(3, &mut |index| index == 1), Some(1));
        }
        assert_eq!(balancer.pick(3, &mut |_| false), None);
        assert_eq!(balancer.pick(0, &mut |_| true), None);
    }
}
