//! A header of the PROXY protocol: one verdict, whole or in pieces, and the same meaning as to another implementation.
#![no_main]

// `tests/corpus.rs` replays the corpus by the same functions.
#[path = "../../tests/invariants/mod.rs"]
mod invariants;

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = invariants::proxy_header::header(input);
});
