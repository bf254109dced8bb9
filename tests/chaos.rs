//! Chaos: the real proxy between clients that check every answer, and upstreams that fail in every way.
//!
//! ```text
//!     make chaos SEED=n     two minutes, and a table: CHAOS_SEED=n CHAOS_SECONDS=8 cargo test --test chaos -- --nocapture
//! ```
//!
//! The seed decides which requests are made, which of them an upstream fails and how, and when upstreams come and go; it does not
//! decide how threads are scheduled. Without variables it is short. Goals are counts; times are reported, and never asserted.

mod support;

mod chaos {
    pub mod clients;
    mod last;
    pub mod report;
    pub mod scenes;
    pub mod stage;
    pub mod upstream;
}

use chaos::report::{self, Report};
use chaos::scenes;
use chaos::stage::Run;
use std::time::Duration;

#[test]
fn what_can_be_saved_is_saved() {
    let variable =
        |name, default| std::env::var(name).map_or(default, |text| text.parse().unwrap_or_else(|_| panic!("{name} is a number")));
    let (seed, seconds) = (variable("CHAOS_SEED", 1.0) as u64, variable("CHAOS_SECONDS", 1.5));
    let run = Run { seed, time: Duration::from_secs_f64(seconds) };
    println!("\n{}", report::head());
    let play = |scene: &fn(Run) -> Report| {
        let report = scene(run);
        println!("{}", report.row());
        report
    };
    let reports: Vec<Report> = scenes::ALL.iter().map(play).collect();
    println!("\nSeed {seed}, {seconds} s a scene.\n");
    reports.iter().for_each(|report| println!("{}", report.words()));
    assert!(reports.iter().all(Report::is_good), "goals are missed, see above; again with: make chaos SEED={seed}");
}
