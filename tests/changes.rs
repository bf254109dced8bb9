//! What must stay true of the requests that a pool spreads while the addresses of its names come and go, and circuits open and close.
//! Everything is the proxy's own, from the configuration to the pick: only the network is missing.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::net::SocketAddr;
use std::sync::Arc;
use tidegate::balance::hash;
use tidegate::config::model::BalanceConfig::{self, Adaptive, ConsistentHash, LeastConnections, RoundRobin, Weighted};
use tidegate::config::model::{Config, Origin, UpstreamConfig};
use tidegate::config::{ConfigSources, load};
use tidegate::guard::breaker::{AttemptVerdict, CircuitState};
use tidegate::guard::places::Needs;
use tidegate::observe::reason::Reason;
use tidegate::site::Site;
use tidegate::upstream::names::{Names, in_order};
use tidegate::upstream::pool::{ConnectionKind, Grant, PickRequest, Pool, Requirements, RetryChoice};
use tidegate::upstream::server::{Server, UpstreamFault};

const WORKERS: usize = 3;
/// Changes of each history.
const CHANGES: usize = 15;

/// A pool that changes: its upstreams are names, and servers are their addresses.
struct Changing {
    site: Site,
    names: Names,
    /// For each name its addresses, of which none ever comes again under another name.
    addresses: Vec<Vec<u16>>,
    given: u16,
    now: u64,
    rng: fastrand::Rng,
}

/// What happened, and at which server.
#[derive(Clone, Debug)]
enum Change {
    Came(String),
    Went(String),
    Opened(String),
    Closed(String),
}

/// What a server is called.
fn label(server: &Server) -> String {
    format!("{}{:?}", server.config.name, server.address)
}

fn takes_requests(server: &Server) -> bool {
    server.is_usable() && server.circuit.state() == CircuitState::Closed
}

fn name_of(upstream: usize) -> Arc<str> {
    format!("n{upstream}.test").into()
}

fn config_of(balance: BalanceConfig, weights: &[u32]) -> Config {
    let Ok(loaded) = load(ConfigSources { alone: true, ..ConfigSources::default() }) else { panic!("the defaults load") };
    let mut config = loaded.config;
    let upstream = |(upstream, &weight): (usize, &u32)| {
        let name = name_of(upstream);
        UpstreamConfig {
            name: name.to_string(),
            origin: Origin::tcp(&name, 80),
            weight,
            is_checked: false,
            is_backup: false,
            send_proxy: None,
        }
    };
    config.pools[0].upstreams = weights.iter().enumerate().map(upstream).collect();
    config.pools[0].balance = balance;
    config
}

impl Changing {
    /// One name for each weight, with one to four addresses.
    fn new(balance: BalanceConfig, weights: &[u32], seed: u64) -> Self {
        fastrand::seed(seed);
        let (mut names, rng) = (Names::default(), fastrand::Rng::with_seed(seed));
        weights.iter().enumerate().for_each(|(upstream, _)| names.set(name_of(upstream), in_order(Vec::new())));
        let site = Site::new(config_of(balance, weights), WORKERS, None, &names, 1000);
        let mut changing = Self { site, names, addresses: vec![Vec::new(); weights.len()], given: 0, now: 1000, rng };
        for upstream in 0..weights.len() {
            (0..changing.rng.usize(1..=4)).for_each(|_| changing.give(upstream));
        }
        changing
    }

    fn pool(&self) -> &Arc<Pool> {
        &self.site.pools[0]
    }

    fn servers(&self) -> &[Arc<Server>] {
        &self.pool().servers
    }

    fn give(&mut self, upstream: usize) {
        self.given += 1;
        self.addresses[upstream].push(self.given);
        self.renew(upstream);
    }

    /// As a look-up does it.
    fn renew(&mut self, upstream: usize) {
        let addresses = self.addresses[upstream].iter().map(|n| SocketAddr::from(([10, 0, (n >> 8) as u8, *n as u8], 0)).into());
        self.names.set(name_of(upstream), in_order(addresses.collect()));
        let next = self.site.renew(WORKERS, &self.names, self.now).expect("it makes a difference");
        self.site.retire(&next);
        self.site = next;
    }

    /// Changes one server; at least one takes requests afterwards.
    fn change(&mut self) -> Change {
        loop {
            let index = self.rng.usize(..self.servers().len());
            let server = self.servers()[index].clone();
            let upstream = self.site.config.pools[0].upstreams.iter().position(|upstream| upstream.name == server.config.name);
            let upstream = upstream.expect("every server has one");
            let is_last = self.servers().iter().all(|other| Arc::ptr_eq(other, &server) || !takes_requests(other));
            match self.rng.u8(..4) {
                0 if self.servers().len() < 12 => {
                    self.give(upstream);
                    let came = SocketAddr::from(([10, 0, (self.given >> 8) as u8, self.given as u8], 80));
                    let server = self.servers().iter().find(|server| server.address == Some(came.into())).expect("it is there");
                    return Change::Came(label(server));
                }
                1 if !is_last && self.addresses[upstream].len() > 1 => {
                    let at = self.servers()[..index].iter().filter(|other| other.config.name == server.config.name).count();
                    self.addresses[upstream].sort_unstable();
                    self.addresses[upstream].remove(at);
                    self.renew(upstream);
                    assert!(server.is_retired());
                    return Change::Went(label(&server));
                }
                2 if server.circuit.state() == CircuitState::Open => {
                    self.close(index);
                    return Change::Closed(label(&server));
                }
                3 if !is_last && server.circuit.state() == CircuitState::Closed => {
                    self.open(index);
                    return Change::Opened(label(&server));
                }
                _ => {}
            }
        }
    }

    fn enter(&self, index: usize) -> Grant {
        let want = Requirements { worker: 0, needs: Needs::default(), now: self.now, tried: &[], again: RetryChoice::Anywhere };
        self.pool().enter(index, ConnectionKind::New, want).expect("its circuit lets one through")
    }

    /// Connections to it are refused until its circuit opens.
    fn open(&self, index: usize) {
        let fault = UpstreamFault::Reason(Reason::ConnectionRefused);
        let mut opened = None;
        while opened.is_none() {
            opened = self.pool().blame(index, self.enter(index).permit, fault, true, self.now);
        }
    }

    /// A check passes, and then as many trial requests as it takes.
    fn close(&self, index: usize) {
        assert!(self.pool().on_check_passed(index, None));
        while self.servers()[index].circuit.state() != CircuitState::Closed {
            self.pool().settle(index, self.enter(index).permit, AttemptVerdict::Success, self.now);
        }
    }

    /// One request that is answered at once.
    fn pick(&self, worker: usize, key: u64, rng: &mut fastrand::Rng) -> usize {
        let want = Requirements { worker, needs: Needs::default(), now: self.now, tried: &[], again: RetryChoice::Anywhere };
        let grant = self.pool().pick(PickRequest { rng, key, want }).expect("one takes requests");
        let index = grant.server;
        self.pool().settle(index, grant.permit, AttemptVerdict::Success, self.now);
        index
    }
}

/// Looks at a pool at the beginning, and after each of its changes.
fn follow(balance: &BalanceConfig, weights: &[u32], seed: u64, mut look: impl FnMut(&mut Changing, Option<Change>)) {
    let mut pool = Changing::new(balance.clone(), weights, seed);
    look(&mut pool, None);
    for _ in 0..CHANGES {
        let change = pool.change();
        look(&mut pool, Some(change));
    }
}

#[test]
fn round_robin_is_within_one_of_exact_over_all_workers() {
    for seed in 0..40 {
        follow(&RoundRobin, &[1, 1, 1], seed, |pool, change| {
            let work = |worker: usize| {
                let (mut rng, mut counts) = (fastrand::Rng::with_seed(seed), vec![0; pool.servers().len()]);
                (0..[17, 100, 131][worker]).for_each(|_| counts[pool.pick(worker, 0, &mut rng)] += 1);
                counts
            };
            let counts: Vec<Vec<usize>> = std::thread::scope(|scope| {
                let workers = [0, 1, 2].map(|worker| scope.spawn(move || work(worker)));
                workers.into_iter().map(|worker| worker.join().unwrap()).collect()
            });
            let totals: Vec<usize> = (0..pool.servers().len()).map(|index| counts.iter().map(|counts| counts[index]).sum()).collect();
            let of_usable = || pool.servers().iter().zip(&totals).filter(|(server, _)| takes_requests(server)).map(|(_, total)| *total);
            assert_eq!(of_usable().sum::<usize>(), 248, "seed {seed}, after {change:?}: some went to one that takes none: {totals:?}");
            let (least, most) = (of_usable().min().unwrap(), of_usable().max().unwrap());
            assert!(most - least <= 1, "seed {seed}, after {change:?}: {totals:?}");
        });
    }
}

/// From whichever request one counts: as many requests as the weights of all that take requests give each exactly its weight.
#[test]
fn weighted_is_exact_over_every_period() {
    for seed in 0..40 {
        let heaviest = [1, 5, 200][seed as usize % 3];
        let mut dice = fastrand::Rng::with_seed(seed);
        let weights: Vec<u32> = (0..3).map(|_| dice.u32(1..=heaviest)).collect();
        follow(&Weighted, &weights, seed, |pool, change| {
            let weights: Vec<usize> =
                pool.servers().iter().map(|server| if takes_requests(server) { server.weight() as usize } else { 0 }).collect();
            let (period, mut rng) = (weights.iter().sum::<usize>(), fastrand::Rng::with_seed(seed));
            let picks: Vec<usize> = (0..2 * period).map(|n| pool.pick(n % WORKERS, 0, &mut rng)).collect();
            let mut counts = vec![0; weights.len()];
            for (n, &pick) in picks.iter().enumerate() {
                counts[pick] += 1;
                if let Some(passed) = n.checked_sub(period) {
                    counts[picks[passed]] -= 1;
                }
                assert!(n + 1 < period || counts == weights, "seed {seed}, after {change:?}, up to pick {n}: {counts:?}, not {weights:?}");
            }
        });
    }
}

#[test]
fn consistent_hash_moves_only_what_must_move() {
    const KEYS: u64 = 300;
    for seed in 0..40 {
        let heaviest = [1, 5, 1000][seed as usize % 3];
        let mut dice = fastrand::Rng::with_seed(seed);
        let weights: Vec<u32> = (0..3).map(|_| dice.u32(1..=heaviest)).collect();
        let mut before: Vec<String> = Vec::new();
        follow(&ConsistentHash { header: None }, &weights, seed, |pool, change| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let owner = |key: u64| label(&pool.servers()[pool.pick(0, hash(&key.to_le_bytes()), &mut rng)]);
            let owners: Vec<String> = (0..KEYS).map(owner).collect();
            for (old, new) in before.iter().zip(&owners).filter(|(old, new)| old != new) {
                let must = match &change {
                    Some(Change::Came(name) | Change::Closed(name)) => new == name,
                    Some(Change::Went(name) | Change::Opened(name)) => old == name,
                    None => false,
                };
                assert!(must, "seed {seed}: {change:?} moves a key from {old} to {new}");
            }
            before = owners;
        });
    }
}

/// A request that is under way: when it ends and when it began, and its server.
type Underway = Reverse<(u64, u64, usize)>;

/// The longest time for which a server that takes requests and has none gets none, in milliseconds. Servers take up to 2,000 times as
/// long as others, one answer in 200 takes 20 s, and every few hundred requests something changes.
fn longest_wait(balance: &BalanceConfig, seed: u64) -> u64 {
    let mut pool = Changing::new(balance.clone(), &[1, 2, 3], seed);
    // Everything about a server that the proxy does not know, by its slot.
    let (mut ends, mut all): (BinaryHeap<Underway>, BTreeMap<usize, Arc<Server>>) = Default::default();
    let mut since: BTreeMap<usize, u64> = BTreeMap::new();
    let (mut longest, mut rng) = (0, fastrand::Rng::with_seed(seed));
    for _ in 0..40_000 {
        pool.now += rng.u64(..20);
        let now = pool.now;
        while let Some(&Reverse((end, begun, slot))) = ends.peek().filter(|Reverse((end, ..))| *end <= now) {
            ends.pop();
            let server = &all[&slot];
            server.cells[0].active.sub(1);
            if let Some(index) = pool.pool().index_of(server) {
                pool.pool().observe(index, (end - begun) * 1000, end);
            }
            since.insert(slot, end);
        }
        if rng.u16(..300) == 0 {
            pool.change();
            // Who has just come, or come back, begins now.
            let known = |server: &Arc<Server>| takes_requests(server) && since.contains_key(&server.slot);
            let new: Vec<usize> = pool.servers().iter().filter(|server| !known(server)).map(|server| server.slot).collect();
            new.into_iter().for_each(|slot| _ = since.insert(slot, now));
        }
        let index = pool.pick(0, 0, &mut rng);
        let server = &pool.servers()[index];
        all.insert(server.slot, server.clone());
        server.cells[0].active.add(1);
        let usual = [1, 20, 2000][server.slot % 3];
        let time = if rng.u8(..200) == 0 { 20_000 } else { usual + rng.u64(..=usual) };
        ends.push(Reverse((now + time, now, server.slot)));
        for server in pool.servers() {
            let is_idle = takes_requests(server) && server.in_flight() == 0;
            let idle_since = since.entry(server.slot).or_insert(now);
            if is_idle {
                longest = longest.max(now - *idle_since);
            } else {
                *idle_since = now;
            }
        }
    }
    longest
}

#[test]
fn least_connections_starves_nobody() {
    for seed in 0..6 {
        let longest = longest_wait(&LeastConnections, seed);
        assert!(longest < 10_000, "seed {seed}: {longest} ms");
    }
}

/// A server that was slow is asked again once its time has decayed to that of the others, which is a matter of minutes at most.
#[test]
fn adaptive_starves_nobody() {
    for seed in 0..6 {
        let longest = longest_wait(&Adaptive, seed);
        assert!(longest < 180_000, "seed {seed}: {longest} ms");
    }
}
