//! The seeded simulation: the production worker (sessions, pump, dial, line, timers) over TCP in memory, on a virtual clock,
//! between clients and origins that a seed makes polite or hostile.
//!
//! ```text
//!     make sim SEED=n       one seed again: SIM_SEED=n cargo test --test sim
//!     SIM_SEEDS=a..b        many
//!     SIM_TRACE=1           tells every step
//! ```

mod sim {
    pub mod checks;
    pub mod client;
    pub mod ledger;
    pub mod net;
    pub mod origin;
    pub mod parse;
    pub mod socket;
    pub mod weather;
    pub mod wire;
    pub mod world;
}

use sim::world::World;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Seeds of an ordinary run: 20 to 30 seconds.
const SEEDS: u64 = 6000;
/// A seed takes milliseconds; one that takes so long hangs within a turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// The seed that runs, for the watchdog.
static CURRENT: AtomicU64 = AtomicU64::new(0);

#[test]
fn every_seed_ends_well() {
    let variable = |name| std::env::var(name).ok();
    let seeds = match (variable("SIM_SEED"), variable("SIM_SEEDS")) {
        (Some(seed), _) => seed.parse::<u64>().map(|seed| seed..seed + 1).expect("SIM_SEED is a number"),
        (None, Some(range)) => {
            let (from, to) = range.split_once("..").expect("SIM_SEEDS is a..b");
            from.parse().expect("SIM_SEEDS is a..b")..to.parse().expect("SIM_SEEDS is a..b")
        }
        (None, None) => 0..SEEDS,
    };
    let trace = variable("SIM_TRACE").is_some();
    watch();
    for seed in seeds {
        CURRENT.store(seed, Relaxed);
        let mut world = World::new(seed, trace);
        if catch_unwind(AssertUnwindSafe(|| world.run())).is_err() {
            eprintln!("{}", world.describe());
            // What is half done is not taken apart: that would only panic again.
            std::mem::forget(world);
            panic!("seed {seed} fails; again with: make sim SEED={seed} (SIM_TRACE=1 tells every step)");
        }
    }
    CURRENT.store(u64::MAX, Relaxed);
}

/// A loop within a turn never comes back to the world: this names the seed and ends the process.
fn watch() {
    std::thread::spawn(|| {
        let (mut seen, mut since) = (CURRENT.load(Relaxed), Instant::now());
        while seen != u64::MAX {
            std::thread::sleep(Duration::from_millis(200));
            let now = CURRENT.load(Relaxed);
            if now != seen {
                (seen, since) = (now, Instant::now());
            } else if since.elapsed() > PATIENCE {
                eprintln!("seed {seen} hangs; again with: make sim SEED={seen}");
                std::process::exit(101);
            }
        }
    });
}
