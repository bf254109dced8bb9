//! What holds for every algorithm, and what their own tests share.

use super::*;
use std::collections::BTreeSet;

/// Nothing is known of anybody.
pub struct Blank;

impl View for Blank {
    fn load(&self, _: usize) -> u64 {
        0
    }

    fn latency(&self, _: usize) -> u64 {
        0
    }
}

/// All is known.
pub struct Known {
    pub loads: Vec<u64>,
    pub latencies: Vec<u64>,
}

impl Known {
    /// Alike but for these.
    pub fn loads(loads: &[u64]) -> Self {
        Self { loads: loads.into(), latencies: vec![1000; loads.len()] }
    }
}

impl View for Known {
    fn load(&self, index: usize) -> u64 {
        self.loads[index]
    }

    fn latency(&self, index: usize) -> u64 {
        self.latencies[index]
    }
}

/// What a balancer picks, one after the other.
pub fn picks(balancer: &impl Balancer, times: usize, take: impl Fn(usize) -> bool) -> Vec<Option<usize>> {
    picks_of(balancer, &Blank, times, take)
}

fn picks_of(balancer: &impl Balancer, view: &impl View, times: usize, take: impl Fn(usize) -> bool) -> Vec<Option<usize>> {
    let mut rng = fastrand::Rng::with_seed(1);
    (0..times).map(|_| balancer.pick(&mut Ask { key: rng.u64(..), view, rng: &mut rng }, &take)).collect()
}

/// How often it picks each of so many.
pub fn shares(balancer: &impl Balancer, upstreams: usize, times: usize, take: impl Fn(usize) -> bool) -> Vec<usize> {
    let picks = picks(balancer, times, take);
    (0..upstreams).map(|index| picks.iter().filter(|&&pick| pick == Some(index)).count()).collect()
}

/// Likewise, by what is known.
pub fn shares_of(balancer: &impl Balancer, known: &Known, times: usize, take: impl Fn(usize) -> bool) -> Vec<usize> {
    let picks = picks_of(balancer, known, times, take);
    (0..known.loads.len()).map(|index| picks.iter().filter(|&&pick| pick == Some(index)).count()).collect()
}

/// In which order it offers them, each once.
pub fn offers(balancer: &impl Balancer, view: &impl View) -> Vec<usize> {
    let (mut rng, mut order) = (fastrand::Rng::with_seed(1), Vec::new());
    let refuse = |index| {
        if !order.contains(&index) {
            order.push(index);
        }
        false
    };
    assert_eq!(balancer.pick(&mut Ask { view, rng: &mut rng, key: 0 }, refuse), None);
    order
}

/// Within this part of what the weights say.
#[track_caller]
pub fn assert_shares(shares: &[usize], weights: &[f64], tolerance: f64) {
    let (all, sum) = (shares.iter().sum::<usize>() as f64, weights.iter().sum::<f64>());
    for (&share, &weight) in shares.iter().zip(weights) {
        let expected = all * weight / sum;
        assert!((share as f64 - expected).abs() <= expected * tolerance, "{shares:?} of {weights:?}");
    }
}

/// Named by their places.
pub fn upstreams(weights: &[u32]) -> Vec<Upstream> {
    let upstream = |(index, &weight): (usize, &u32)| Upstream {
        name: format!("10.0.0.{index}:80"),
        host: format!("10.0.0.{index}"),
        port: 80,
        tls: false,
        weight,
        is_checked: true,
    };
    weights.iter().enumerate().map(upstream).collect()
}
