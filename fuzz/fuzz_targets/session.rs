//! A hostile client and a hostile upstream around the production worker: what every side receives can be read in one way only,
//! answers belong to their requests, and nothing is left behind. The input is a list of operations (`tests/hostile`).
#![no_main]

// What an input means is told by `tests/session_fuzz.rs`, which takes findings as well.
#[path = "../../tests/hostile/mod.rs"]
#[allow(dead_code)]
mod hostile;

#[path = "../../tests/sim"]
mod sim {
    pub mod fair;
    pub mod frames;
    pub mod socket;
    pub mod tube;
    // The simulation uses more of these modules than this target.
    #[allow(dead_code)]
    pub mod wire;
}

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| hostile::run(input));
