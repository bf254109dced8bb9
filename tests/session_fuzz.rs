//! Replays the seeds and findings of the fuzz target `session` without a fuzzer, and some thousand random inputs.
//!
//! ```text
//!     SESSION_INPUT=file cargo test --test session_fuzz     one input: its operations, and what comes of them
//!     SESSION_INPUTS=100000                                 so many at random instead
//!     SESSION_FROM=n                                        others than those from seed 0 on
//! ```

mod hostile;

mod sim {
    pub mod fair;
    pub mod frames;
    pub mod socket;
    pub mod tube;
    // The simulation uses more of these modules than this test.
    #[allow(dead_code)]
    pub mod wire;
}

use std::panic::catch_unwind;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::{Duration, Instant};

/// Inputs of an ordinary run: some seconds.
const INPUTS: u64 = 20_000;
/// An input takes a millisecond; one that takes this long hangs within a turn.
const PATIENCE: Duration = Duration::from_secs(60);

/// Returns whether all invariants held; if not, prints what the input means.
fn holds(name: &str, input: &[u8]) -> bool {
    let held = catch_unwind(|| hostile::run(input)).is_ok();
    if !held {
        eprintln!("{name}: an invariant does not hold, see above\n{}", hostile::describe(input));
    }
    held
}

#[test]
fn seeds_hold() {
    if let Ok(file) = std::env::var("SESSION_INPUT") {
        let input = std::fs::read(&file).expect("the input");
        println!("{}", hostile::describe(&input));
        return hostile::run(&input);
    }
    let directory = Path::new(env!("CARGO_MANIFEST_DIR")).join("fuzz/corpus/session");
    let mut files: Vec<_> = std::fs::read_dir(&directory).expect("the corpus").map(|entry| entry.unwrap().path()).collect();
    files.sort();
    let wrong: Vec<_> = files.iter().filter(|file| !holds(&file.display().to_string(), &std::fs::read(file).unwrap())).collect();
    assert!(wrong.is_empty(), "{wrong:#?}");
    assert!(files.len() > 40, "only {} files in {}", files.len(), directory.display());
}

/// Random bytes, mostly low ones, which are plain choices: purely random inputs hardly have a request that is accepted.
fn chance(seed: u64) -> Vec<u8> {
    let mut rng = fastrand::Rng::with_seed(seed);
    let plain = rng.u8(1..10);
    (0..rng.usize(10..300)).map(|_| if rng.u8(0..10) < plain { rng.u8(0..40) } else { rng.u8(..) }).collect()
}

#[test]
fn anything_holds() {
    let number = |name, usual| std::env::var(name).map_or(usual, |n| n.parse().unwrap_or_else(|_| panic!("{name} is a number")));
    let (count, from) = (number("SESSION_INPUTS", INPUTS), number("SESSION_FROM", 0));
    println!("inputs {from}..{}", from + count);
    let current = &*Box::leak(Box::new(AtomicU64::new(0)));
    std::thread::spawn(move || watch(current));
    for seed in from..from + count {
        current.store(seed, Relaxed);
        let input = chance(seed);
        if !holds(&format!("input {seed}"), &input) {
            let path = std::env::temp_dir().join(format!("session-{seed}"));
            std::fs::write(&path, &input).unwrap();
            panic!("input {seed} fails; again with: SESSION_INPUT={} cargo test --test session_fuzz seeds", path.display());
        }
    }
    current.store(u64::MAX, Relaxed);
    let delivered = hostile::judge::DELIVERED.load(Relaxed);
    assert!(count < INPUTS || delivered > count / 50, "in {count} inputs {delivered} answers arrived that had been taken whole");
}

#[test]
fn what_comes_byte_by_byte_is_looked_at_a_bounded_number_of_times() {
    hostile::cost::trickle();
}

/// A loop within a turn would never return: this names the input and ends the process.
fn watch(current: &AtomicU64) {
    let (mut seen, mut since) = (current.load(Relaxed), Instant::now());
    while seen != u64::MAX {
        std::thread::sleep(Duration::from_millis(200));
        let now = current.load(Relaxed);
        if now != seen {
            (seen, since) = (now, Instant::now());
        } else if since.elapsed() > PATIENCE {
            eprintln!("input {seen} hangs\n{}", hostile::describe(&chance(seen)));
            std::process::exit(101);
        }
    }
}

/// MANY_SEED=n plays one connection.
#[test]
fn many_exchanges_on_one_connection_do_not_disturb_each_other() {
    if let Ok(seed) = std::env::var("MANY_SEED") {
        hostile::many::run(seed.parse().expect("a number"));
        return;
    }
    let (mut whole, mut most) = (0, 0);
    for seed in 0..300 {
        let played = catch_unwind(|| hostile::many::run(seed));
        let (here, at_once) = played.unwrap_or_else(|_| panic!("MANY_SEED={seed}"));
        (whole, most) = (whole + u64::from(here), most.max(at_once));
    }
    assert!(whole > 6000 && most > 10, "{whole} streams were whole, {most} at once");
}

#[test]
fn of_several_stalled_exchanges_on_one_connection_one_is_cut() {
    hostile::many::stalled::one_is_cut();
}
