//! One verdict, whole or in pieces; an accepted head means the same once rewritten, and no bytes cause a panic.
#![no_main]

// `tests/corpus.rs` replays the corpus by the same functions.
#[path = "../../tests/invariants/mod.rs"]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = invariants::messages::request_head(input);
});
