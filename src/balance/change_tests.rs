//! What must stay true of every algorithm while servers come, go, change their weights, and fail.

use super::tests::{Blank, members as of_weights};
use super::*;
use crate::balance::model::BalanceConfig::{self, Adaptive, ConsistentHash, LeastConnections, Random, RoundRobin, Weighted};
use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

const HEAVIEST: [u32; 3] = [1, 5, 1000];

/// A pool that changes: each server has a name, which no other ever gets, a weight, and whether it takes requests.
struct Changing {
    servers: Vec<(u32, u32, bool)>,
    named: u32,
    heaviest: u32,
    rng: fastrand::Rng,
}

/// What happened.
#[derive(Clone, Copy, Debug)]
enum Change {
    Came(u32),
    Went(u32),
    Weight(u32),
    /// It takes requests from now on, or no longer.
    Circuit(u32, bool),
}

impl Changing {
    fn new(seed: u64, heaviest: u32) -> Self {
        let mut pool = Self { servers: Vec::new(), named: 0, heaviest, rng: fastrand::Rng::with_seed(seed) };
        for _ in 0..pool.rng.usize(1..8) {
            pool.add();
        }
        pool
    }

    fn add(&mut self) -> u32 {
        self.named += 1;
        let at = self.rng.usize(..=self.servers.len());
        let weight = self.rng.u32(1..=self.heaviest);
        self.servers.insert(at, (self.named, weight, true));
        self.named
    }

    /// Changes one server; at least one takes requests afterwards.
    fn change(&mut self) -> Change {
        loop {
            let index = self.rng.usize(..self.servers.len());
            let name = self.servers[index].0;
            let before = self.servers.clone();
            let change = match self.rng.u8(..5) {
                0 if self.servers.len() < 12 => Change::Came(self.add()),
                1 => Change::Went(self.servers.remove(index).0),
                2 => {
                    self.servers[index].1 = self.rng.u32(1..=self.heaviest);
                    Change::Weight(name)
                }
                _ => {
                    self.servers[index].2 ^= true;
                    Change::Circuit(name, self.servers[index].2)
                }
            };
            if self.servers.iter().any(|&(.., takes)| takes) {
                return change;
            }
            self.servers = before;
        }
    }

    fn balance(&mut self, config: &BalanceConfig) -> Balance {
        let weights: Vec<u32> = self.servers.iter().map(|&(_, weight, _)| weight).collect();
        let mut members = of_weights(&weights);
        members.iter_mut().zip(&self.servers).for_each(|(member, (name, ..))| member.name = format!("s{name}"));
        Balance::new(config, &members, self.rng.u32(..))
    }

    fn pick(&mut self, balance: &Balance, key: u64) -> usize {
        let servers = &self.servers;
        balance.pick(&mut Ask { view: &Blank, rng: &mut self.rng, key }, |index| servers[index].2).expect("one takes requests")
    }
}

/// A pool whose servers have changed is a new one; where only circuits have, it is the same.
fn follow(config: &BalanceConfig, seed: u64, heaviest: u32, mut look: impl FnMut(&mut Changing, &Balance, Option<Change>)) {
    let mut pool = Changing::new(seed, heaviest);
    let mut balance = pool.balance(config);
    look(&mut pool, &balance, None);
    for _ in 0..20 {
        let change = pool.change();
        if !matches!(change, Change::Circuit(..)) {
            balance = pool.balance(config);
        }
        look(&mut pool, &balance, Some(change));
    }
}

#[test]
fn round_robin_is_within_one_of_exact_over_all_workers() {
    for seed in 0..40 {
        follow(&RoundRobin, seed, 1, |pool, balance, _| {
            let servers = &pool.servers;
            let worker = |picks: usize| {
                let mut rng = fastrand::Rng::with_seed(seed);
                let mut ask = Ask { view: &Blank, rng: &mut rng, key: 0 };
                let mut counts = vec![0; servers.len()];
                (0..picks).for_each(|_| counts[balance.pick(&mut ask, |index| servers[index].2).unwrap()] += 1);
                counts
            };
            let counts = std::thread::scope(|scope| {
                let workers = [17, 100, 131].map(|picks| scope.spawn(move || worker(picks)));
                workers.map(|worker| worker.join().unwrap())
            });
            let totals = (0..servers.len()).filter(|&index| servers[index].2).map(|index| counts.iter().map(|counts| counts[index]).sum());
            let (least, most) = totals.fold((usize::MAX, 0), |(least, most), total: usize| (least.min(total), most.max(total)));
            assert!(most - least <= 1, "seed {seed}: {least} to {most} of {servers:?}");
        });
    }
}

/// From whichever request one counts: as many requests as the weights of all that take requests give each exactly its weight.
#[test]
fn weighted_is_exact_over_every_period() {
    for seed in 0..60 {
        follow(&Weighted, seed, HEAVIEST[seed as usize % 3], |pool, balance, change| {
            let period: usize = pool.servers.iter().filter(|(.., takes)| *takes).map(|&(_, weight, _)| weight as usize).sum();
            let picks: Vec<usize> = (0..2 * period).map(|_| pool.pick(balance, 0)).collect();
            let mut counts: BTreeMap<usize, u32> = BTreeMap::new();
            for (n, &pick) in picks.iter().enumerate() {
                *counts.entry(pick).or_default() += 1;
                if let Some(passed) = n.checked_sub(period) {
                    *counts.entry(picks[passed]).or_default() -= 1;
                }
                if n + 1 >= period {
                    let exact = pool.servers.iter().enumerate().all(|(index, &(_, weight, takes))| {
                        counts.get(&index).copied().unwrap_or_default() == if takes { weight } else { 0 }
                    });
                    assert!(exact, "seed {seed}, after {change:?}, up to pick {n}: {counts:?} of {:?}", pool.servers);
                }
            }
        });
    }
}

#[test]
fn consistent_hash_moves_only_what_must_move() {
    const KEYS: u64 = 500;
    for seed in 0..60 {
        let mut before: Vec<u32> = Vec::new();
        follow(&ConsistentHash { header: None }, seed, HEAVIEST[seed as usize % 3], |pool, balance, change| {
            let owner = |key: u64| pool.pick(balance, hash(&key.to_le_bytes()));
            let owners: Vec<usize> = (0..KEYS).map(owner).collect();
            let owners: Vec<u32> = owners.into_iter().map(|index| pool.servers[index].0).collect();
            for (&old, &new) in before.iter().zip(&owners).filter(|(old, new)| old != new) {
                let must = match change {
                    Some(Change::Came(name) | Change::Circuit(name, true)) => new == name,
                    Some(Change::Went(name) | Change::Circuit(name, false)) => old == name,
                    Some(Change::Weight(name)) => old == name || new == name,
                    None => false,
                };
                assert!(must, "seed {seed}: {change:?} moves a key from {old} to {new} of {:?}", pool.servers);
            }
            before = owners;
        });
    }
}

/// A change of the pool, or a start, does not send the next request to the same server each time.
#[test]
fn turns_begin_anywhere() {
    for config in [RoundRobin, Weighted, Random, LeastConnections, Adaptive] {
        let mut pool = Changing::new(7, 3);
        pool.servers = (0..5).map(|name| (name, 3, name != 2)).collect();
        let mut firsts = [0; 5];
        for _ in 0..1000 {
            let balance = pool.balance(&config);
            firsts[pool.pick(&balance, 0)] += 1;
        }
        // One may get the turns of who is passed over too.
        assert!([0, 1, 3, 4].iter().all(|&index| (100..=500).contains(&firsts[index])), "{config:?}: {firsts:?}");
    }
}

/// Requests in flight and times to answer, as a pool knows them.
struct Served {
    loads: Vec<u64>,
    latencies: Vec<PeakEwma>,
    now: u64,
}

impl View for Served {
    fn load(&self, index: usize) -> u64 {
        self.loads[index]
    }

    fn latency(&self, index: usize) -> u64 {
        self.latencies[index].value(self.now)
    }
}

/// The longest time for which a server that takes requests and has none gets none, in milliseconds. Servers take up to 2,000 times as
/// long as others, one answer in 200 takes 20 s, and circuits open and close.
fn longest_wait(config: &BalanceConfig, seed: u64) -> u64 {
    let mut pool = Changing::new(seed, 5);
    for _ in 0..3 {
        pool.add();
    }
    let (balance, count) = (pool.balance(config), pool.servers.len());
    let mut served = Served { loads: vec![0; count], latencies: (0..count).map(|_| PeakEwma::default()).collect(), now: 1000 };
    let usual: Vec<u64> = (0..count).map(|_| [1, 20, 2000][pool.rng.usize(..3)]).collect();
    let mut ends: BinaryHeap<Reverse<(u64, u64, usize)>> = BinaryHeap::new();
    let (mut idle_since, mut longest) = (vec![served.now; count], 0);
    for _ in 0..60_000 {
        served.now += pool.rng.u64(..20);
        while let Some(&Reverse((end, begun, index))) = ends.peek().filter(|Reverse((end, ..))| *end <= served.now) {
            ends.pop();
            served.latencies[index].observe(end, (end - begun) * 1000);
            served.loads[index] -= 1;
            idle_since[index] = end;
        }
        if pool.rng.u16(..500) == 0 {
            let index = pool.rng.usize(..count);
            pool.servers[index].2 ^= true;
            if pool.servers.iter().all(|(.., takes)| !takes) {
                pool.servers[index].2 = true;
            }
            idle_since[index] = served.now;
        }
        let servers = &pool.servers;
        let index = balance.pick(&mut Ask { view: &served, rng: &mut pool.rng, key: 0 }, |index| servers[index].2).unwrap();
        let time = if pool.rng.u8(..200) == 0 { 20_000 } else { usual[index] + pool.rng.u64(..=usual[index]) };
        ends.push(Reverse((served.now + time, served.now, index)));
        served.loads[index] += 1;
        let idle = (0..count).filter(|&index| served.loads[index] == 0 && pool.servers[index].2);
        longest = idle.map(|index| served.now - idle_since[index]).fold(longest, u64::max);
    }
    longest
}

#[test]
fn least_connections_starves_nobody() {
    for seed in 0..10 {
        let longest = longest_wait(&LeastConnections, seed);
        assert!(longest < 10_000, "seed {seed}: {longest} ms");
    }
}

/// A server that was slow is asked again once its time has decayed to that of the others, which is a matter of minutes at most.
#[test]
fn adaptive_starves_nobody() {
    for seed in 0..10 {
        let longest = longest_wait(&Adaptive, seed);
        assert!(longest < 180_000, "seed {seed}: {longest} ms");
    }
}
