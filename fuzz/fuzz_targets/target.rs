//! The normal form of a target is stable, never leaves the root, and equals that of the target that goes on.
#![no_main]

// `tests/corpus.rs` replays the corpus by the same functions.
#[path = "../../tests/invariants/mod.rs"]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = invariants::target::target(input);
});
