//! Reading and rewriting a head takes a bounded number of steps for each of its bytes, whatever it says.
#![no_main]

// `tests/corpus.rs` replays the corpus by the same functions.
#[path = "../../tests/invariants/mod.rs"]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| invariants::cost::head(input));
