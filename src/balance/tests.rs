//! What holds for every algorithm, and helpers for their own tests.

use super::*;
use std::collections::BTreeSet;

/// A view that knows nothing.
pub struct Blank;

impl View for Blank {
    fn load(&self, _: usize) -> u64 {
        0
    }

    fn latency(&self, _: usize) -> u64 {
        0
    }
}

/// A view with given values.
pub struct Known {
    pub loads: Vec<u64>,
    pub latencies: Vec<u64>,
}

impl Known {
    /// Upstreams that differ only in their loads.
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

/// The picks of a balancer, one after the other.
pub fn picks(balancer: &impl Balancer, times: usize, take: impl Fn(usize) -> bool) -> Vec<Option<usize>> {
    picks_of(balancer, &Blank, times, take)
}

fn picks_of(balancer: &impl Balancer, view: &impl View, times: usize, take: impl Fn(usize) -> bool) -> Vec<Option<usize>> {
    let mut rng = fastrand::Rng::with_seed(1);
    (0..times).map(|_| balancer.pick(&mut Ask { key: rng.u64(..), view, rng: &mut rng }, &take)).collect()
}

/// How often it picks each of the `upstreams`.
pub fn shares(balancer: &impl Balancer, upstreams: usize, times: usize, take: impl Fn(usize) -> bool) -> Vec<usize> {
    let picks = picks(balancer, times, take);
    (0..upstreams).map(|index| picks.iter().filter(|&&pick| pick == Some(index)).count()).collect()
}

/// The same, with a view of given values.
pub fn shares_of(balancer: &impl Balancer, known: &Known, times: usize, take: impl Fn(usize) -> bool) -> Vec<usize> {
    let picks = picks_of(balancer, known, times, take);
    (0..known.loads.len()).map(|index| picks.iter().filter(|&&pick| pick == Some(index)).count()).collect()
}

/// The order in which it offers them, each once.
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

/// The shares differ from the weights by no more than this part.
#[track_caller]
pub fn assert_shares(shares: &[usize], weights: &[f64], tolerance: f64) {
    let (all, sum) = (shares.iter().sum::<usize>() as f64, weights.iter().sum::<f64>());
    for (&share, &weight) in shares.iter().zip(weights) {
        let expected = all * weight / sum;
        assert!((share as f64 - expected).abs() <= expected * tolerance, "{shares:?} of {weights:?}");
    }
}

/// Servers of these weights, named by their positions.
pub fn members(weights: &[u32]) -> Vec<Member> {
    let member = |(index, &weight): (usize, &u32)| Member { name: format!("10.0.0.{index}:80"), weight };
    weights.iter().enumerate().map(member).collect()
}

const ALL: [model::BalanceConfig; 6] = [
    model::BalanceConfig::RoundRobin,
    model::BalanceConfig::Random,
    model::BalanceConfig::Weighted,
    model::BalanceConfig::LeastConnections,
    model::BalanceConfig::ConsistentHash { header: None },
    model::BalanceConfig::Adaptive,
];

#[test]
fn a_configuration_gets_what_it_names() {
    let name = |config: &model::BalanceConfig, weights: &[u32]| {
        let text = format!("{:?}", Balance::new(config, &members(weights), 0));
        text.split('(').next().unwrap().to_owned()
    };
    let names = ALL.each_ref().map(|config| name(config, &[2, 0, 2]));
    assert_eq!(names, ["RoundRobin", "Random", "Weighted", "LeastConnections", "ConsistentHash", "Adaptive"]);
    assert_eq!(name(&model::BalanceConfig::RoundRobin, &[2, 1]), "Weighted");
}

/// Any pool, any loads, and any upstreams that refuse.
#[test]
fn only_who_takes_is_picked_and_all_are_asked_before_none_is() {
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..3000 {
        let config = &ALL[round % ALL.len()];
        let count = if round % 100 < 6 { rng.usize(40..200) } else { rng.usize(..12) };
        let heaviest = [1, 3, 1000][rng.usize(..3)];
        let weights: Vec<u32> = (0..count).map(|_| if rng.u8(..4) == 0 { 0 } else { rng.u32(1..=heaviest) }).collect();
        let most = [1, 4, u64::MAX][rng.usize(..3)];
        let known = Known {
            loads: (0..count).map(|_| rng.u64(..most)).collect(),
            latencies: (0..count).map(|_| rng.u64(..100_000) * rng.u64(..2)).collect(),
        };
        let balancer = Balance::new(config, &members(&weights), 0);
        for _ in 0..10 {
            let chance = [0, 1, 5, 10][rng.usize(..4)];
            let up: Vec<bool> = (0..count).map(|_| rng.u8(..10) < chance).collect();
            let (mut asked, mut taken, key) = (BTreeSet::new(), 0, rng.u64(..));
            let picked = balancer.pick(&mut Ask { view: &known, rng: &mut rng, key }, |index| {
                assert!(weights[index] > 0, "{config:?} offers {index} of {weights:?}");
                asked.insert(index);
                taken += usize::from(up[index]);
                up[index]
            });
            let weighted = (0..count).filter(|&index| weights[index] > 0);
            match picked {
                Some(index) => assert!(up[index] && asked.contains(&index) && taken == 1, "{config:?}"),
                None => assert!(taken == 0 && asked == weighted.collect(), "{config:?} asks {asked:?} of {weights:?}"),
            }
        }
    }
}

/// Exact where upstreams take turns, within 5 percent where chance decides, within 20 percent where a hash does.
#[test]
fn shares_are_those_of_the_weights_whatever_the_algorithm() {
    for config in &ALL {
        let tolerance = match config {
            model::BalanceConfig::RoundRobin | model::BalanceConfig::Weighted => 0.0,
            model::BalanceConfig::ConsistentHash { .. } => 0.2,
            _ => 0.05,
        };
        for weights in [&[1, 1, 1, 1][..], &[5, 1, 2], &[100, 300, 0, 200]] {
            let balancer = Balance::new(config, &members(weights), 0);
            let expected: Vec<f64> = weights.iter().copied().map(f64::from).collect();
            assert_shares(&shares(&balancer, weights.len(), 24_000, |_| true), &expected, tolerance);
        }
    }
}

/// Workers share one order: their total is as exact as the count of one worker.
#[test]
fn turns_are_exact_over_threads() {
    for (config, weights) in [
        (model::BalanceConfig::RoundRobin, [1, 1, 1]),
        (model::BalanceConfig::RoundRobin, [5, 1, 2]),
        (model::BalanceConfig::Weighted, [5, 1, 2]),
    ] {
        let balancer = Balance::new(&config, &members(&weights), 0);
        let mut totals = [0; 3];
        std::thread::scope(|scope| {
            let threads = [(); 4].map(|_| scope.spawn(|| shares(&balancer, 3, 6_000, |_| true)));
            for thread in threads {
                totals.iter_mut().zip(thread.join().unwrap()).for_each(|(total, share)| *total += share);
            }
        });
        let sum = weights.iter().sum::<u32>() as usize;
        assert_eq!(totals, weights.map(|weight| 24_000 * weight as usize / sum), "{config:?}");
    }
}

/// Makes the next pool of this thread begin with its first upstream.
pub fn begin_with_the_first() {
    let is_it = |seed: &u64| fastrand::Rng::with_seed(*seed).u32(..).is_multiple_of(60);
    fastrand::seed((0..).find(is_it).unwrap_or_default());
}
