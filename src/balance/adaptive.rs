//! Two upstreams are drawn by weight, and the one with the lower cost is asked: its time to answer, times its requests in flight.
//!
//! Two choices are nearly as good as comparing all, and workers that see the same numbers do not all choose the same upstream.

use super::lots::{DrawnIndices, WeightedLots};
use super::{Ask, Balancer, View};

/// The `adaptive` algorithm.
#[derive(Debug)]
pub struct Adaptive {
    lots: WeightedLots,
    /// The mean weight of the upstreams that have one.
    mean_weight: f64,
}

impl Adaptive {
    /// For the upstreams that have a weight.
    pub fn new(weights: &[u32]) -> Self {
        let (sum, count) =
            weights.iter().filter(|&&weight| weight > 0).fold((0.0, 0.0), |(sum, n), &weight| (sum + f64::from(weight), n + 1.0));
        Self { lots: WeightedLots::new(weights), mean_weight: sum / f64::max(count, 1.0) }
    }

    /// The time to answer, times one plus the requests in flight. Only the requests are divided by the weight: the draw is already by
    /// weight, so that idle upstreams get their shares without it.
    fn cost(&self, index: usize, load: u64, latency: u64) -> f64 {
        latency as f64 * (1.0 + load as f64 * self.mean_weight / self.lots.weight(index) as f64)
    }

    /// Two upstreams, the one to be asked first in front.
    fn order<V: View>(&self, view: &V, a: usize, b: usize) -> (usize, usize) {
        let (load_a, load_b, latency_a, latency_b) = (view.load(a), view.load(b), view.latency(a), view.latency(b));
        // An upstream whose time is unknown gets one request to find out. Until that is answered, its time is taken to be the other's.
        let known = |latency, load, other: u64| if latency == 0 && load > 0 { other.max(1) } else { latency };
        let cost_a = self.cost(a, load_a, known(latency_a, load_a, latency_b));
        let cost_b = self.cost(b, load_b, known(latency_b, load_b, latency_a));
        if cost_b < cost_a { (b, a) } else { (a, b) }
    }
}

impl Balancer for Adaptive {
    fn pick<V: View>(&self, ask: &mut Ask<V>, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut drawn = DrawnIndices::default();
        let mut held = self.lots.draw(ask.rng, &mut drawn)?;
        // The upstream that was not chosen is compared with the next one drawn.
        while let Some(next) = self.lots.draw(ask.rng, &mut drawn) {
            let (better, other) = self.order(ask.view, held, next);
            if take(better) {
                return Some(better);
            }
            held = other;
        }
        let mut rest = std::iter::once(held).chain(self.lots.others(ask.rng, &drawn));
        rest.find(|&index| take(index))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::{Known, assert_shares, shares, shares_of};

    #[test]
    fn of_two_the_one_that_answers_sooner_is_asked() {
        let balancer = Adaptive::new(&[1, 1]);
        let order =
            |loads: [u64; 2], latencies: [u64; 2]| balancer.order(&Known { loads: loads.into(), latencies: latencies.into() }, 0, 1).0;
        assert_eq!(order([0, 0], [2000, 1000]), 1);
        assert_eq!(order([0, 4], [2000, 1000]), 0);
        assert_eq!(order([5, 5], [1000, 1000]), 0);
        // Unknown: it is asked once, and then taken to be like the other.
        assert_eq!(order([0, 0], [1, 0]), 1);
        assert_eq!(order([0, 1], [1000, 0]), 0);
        assert_eq!(order([5, 1], [1000, 0]), 1);
        assert_eq!(order([2, 1], [0, 0]), 1);
    }

    #[test]
    fn the_slow_one_gets_little() {
        let known = Known { loads: vec![2; 4], latencies: vec![1000, 1000, 9000, 1000] };
        assert_shares(&shares_of(&Adaptive::new(&[1; 4]), &known, 30_000, |_| true), &[1.0, 1.0, 0.0, 1.0], 0.03);
    }

    #[test]
    fn alike_they_share_by_weight_idle_and_busy() {
        let weights = [5, 0, 1, 2];
        let balancer = Adaptive::new(&weights);
        assert_shares(&shares(&balancer, 4, 80_000, |_| true), &[5.0, 0.0, 1.0, 2.0], 0.03);
        let mut known = Known { loads: vec![0; 4], latencies: vec![1000; 4] };
        assert_shares(&shares_of(&balancer, &known, 80_000, |_| true), &[5.0, 0.0, 1.0, 2.0], 0.03);
        let mut rng = fastrand::Rng::with_seed(1);
        // 800 requests that do not end.
        for _ in 0..800 {
            let picked = balancer.pick(&mut Ask { view: &known, rng: &mut rng, key: 0 }, |_| true);
            known.loads[picked.unwrap()] += 1;
        }
        let loads: Vec<usize> = known.loads.iter().map(|&load| load as usize).collect();
        assert_shares(&loads, &[5.0, 0.0, 1.0, 2.0], 0.1);
    }
}
