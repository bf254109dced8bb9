//! The seeded simulation: the production worker (machines, pump, dial, queue, timers) over TCP in memory, on a virtual clock,
//! between clients and origins that a seed makes polite or hostile. Seeds from five thousand millions on have connections that carry
//! records (`sim::record`): of clients, of origins, or of both.
//!
//! ```text
//!     make sim SEED=n       one seed again: SIM_SEED=n cargo test --test sim
//!     SIM_SEEDS=a..b        many
//!     SIM_FROM=n            new seeds from there on, of both kinds, beside those of an ordinary run
//!     SIM_TRACE=1           tells every step
//! ```

#[path = "shared/http.rs"]
mod http;

mod sim {
    pub mod admin;
    pub mod checked;
    pub mod checks;
    pub mod client;
    pub mod delivery;
    pub mod extras;
    pub mod fair;
    pub mod frames;
    pub mod ledger;
    pub mod many;
    pub mod net;
    pub mod origin;
    pub mod parse;
    pub mod record;
    pub mod rest;
    pub mod seen;
    pub mod socket;
    pub mod transport;
    pub mod tube;
    pub mod weather;
    pub mod wire;
    pub mod world;
}

use sim::seen;
use sim::world::{HEADER_SEEDS, RECORD_SEEDS, World};
use std::ops::Range;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Plain seeds of an ordinary run, which takes 30 to 45 seconds.
const SEEDS: u64 = 6000;
/// As many of those in which connections carry records.
const RECORDS: u64 = 3000;
/// And of those in which clients come with headers of the PROXY protocol.
const HEADERS: u64 = 1000;
/// Seeds that nobody has run before, where a run is told where they begin.
const NEW: u64 = 1500;
/// Seeds that failed once. What a seed means changes with the simulation, so each of these faults also has a test elsewhere.
const FORMER: &[u64] = &[
    5696,
    106_510,
    127_512,
    159_308,
    163_301,
    166_074,
    180_413,
    311_453,
    1_500_002_048,
    3_200_001_945,
    3_200_003_885,
    3_400_004_510,
    7_100_001_465,
    7_200_000_192,
    6_490_971_816,
    9_140_546_647,
];
/// Threads that run seeds.
const THREADS: usize = 2;
/// A seed takes milliseconds; one that takes this long hangs within a turn.
const PATIENCE: Duration = Duration::from_secs(60);
/// No seed.
const NONE: u64 = u64::MAX;

/// The seeds that run, for the watchdog.
static CURRENT: [AtomicU64; THREADS] = [const { AtomicU64::new(NONE) }; THREADS];

/// Set when a seed has failed: then no other is begun.
static FAILED: AtomicBool = AtomicBool::new(false);

/// Marks a seed as running until it is dropped, also when the seed fails.
struct Running<'a>(&'a AtomicU64);

impl<'a> Running<'a> {
    fn begin(current: &'a AtomicU64, seed: u64) -> Self {
        current.store(seed, Relaxed);
        Self(current)
    }
}

impl Drop for Running<'_> {
    fn drop(&mut self) {
        self.0.store(NONE, Relaxed);
        FAILED.fetch_or(std::thread::panicking(), Relaxed);
    }
}

#[test]
fn every_seed_ends_well() {
    let trace = std::env::var("SIM_TRACE").is_ok();
    let seeds = seeds();
    println!("seeds {seeds:?}");
    std::thread::spawn(watch);
    std::thread::scope(|scope| {
        for (thread, current) in CURRENT.iter().enumerate() {
            let seeds = seeds.iter().cloned().flatten().skip(thread).step_by(THREADS);
            scope.spawn(move || {
                for seed in seeds.take_while(|_| !FAILED.load(Relaxed)) {
                    let _running = Running::begin(current, seed);
                    run(seed, trace);
                }
            });
        }
    });
    println!("seen: {}", seen::describe());
    let missing = seen::missing();
    let is_ordinary = seeds.len() > 1;
    assert!(!is_ordinary || missing.is_empty(), "in an ordinary run there was none of these: {missing:?}");
}

/// The seeds to run: those that failed once, the ordinary ones, and new ones; of each kind, plain ones and such with records.
#[allow(clippy::single_range_in_vec_init)]
fn seeds() -> Vec<Range<u64>> {
    let variable = |name| std::env::var(name).ok();
    let number = |name| variable(name).map(|value| value.parse::<u64>().unwrap_or_else(|_| panic!("{name} is a number")));
    if let Some(seed) = number("SIM_SEED") {
        return vec![seed..seed + 1];
    }
    if let Some(range) = variable("SIM_SEEDS") {
        let (from, to) = range.split_once("..").expect("SIM_SEEDS is a..b");
        return vec![from.parse().expect("SIM_SEEDS is a..b")..to.parse().expect("SIM_SEEDS is a..b")];
    }
    let mut seeds: Vec<_> = FORMER.iter().map(|&seed| seed..seed + 1).collect();
    seeds.extend([0..SEEDS, RECORD_SEEDS..RECORD_SEEDS + RECORDS, HEADER_SEEDS..HEADER_SEEDS + HEADERS]);
    if let Some(from) = number("SIM_FROM") {
        seeds.extend([from..from + NEW, RECORD_SEEDS + from..RECORD_SEEDS + from + NEW, HEADER_SEEDS + from..HEADER_SEEDS + from + NEW]);
    }
    seeds
}

fn run(seed: u64, trace: bool) {
    let mut world = World::new(seed, trace);
    if catch_unwind(AssertUnwindSafe(|| world.run())).is_err() {
        eprintln!("{}", world.describe());
        // After a failure, dropping the world would only panic again.
        std::mem::forget(world);
        panic!("seed {seed} fails; again with: make sim SEED={seed} (SIM_TRACE=1 tells every step)");
    }
}

/// A loop within a turn would never return: this names the seed and ends the process.
fn watch() {
    let mut seen = [(NONE, Instant::now()); THREADS];
    loop {
        std::thread::sleep(Duration::from_millis(200));
        for (current, (seed, since)) in CURRENT.iter().zip(&mut seen) {
            let now = current.load(Relaxed);
            if now != *seed {
                (*seed, *since) = (now, Instant::now());
            } else if now != NONE && since.elapsed() > PATIENCE {
                eprintln!("seed {now} hangs; again with: make sim SEED={now}");
                std::process::exit(101);
            }
        }
    }
}
