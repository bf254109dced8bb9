//! A hostile client and a hostile upstream around the production worker: what every side hears is read in one way, belongs
//! together, and nothing is left behind. The input is a list of operations (`tests/hostile`).
#![no_main]

// What an input means is told by `tests/session_fuzz.rs`, which takes findings as well.
#[path = "../../tests/hostile/mod.rs"]
#[allow(dead_code)]
mod hostile;

#[path = "../../tests/sim"]
mod sim {
    pub mod socket;
    // The simulation looks at more of a connection than is asked for here.
    #[allow(dead_code)]
    pub mod wire;
}

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| hostile::run(input));
