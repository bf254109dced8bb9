//! The answer of a name server has a bounded number of targets that can be dialled; and no bytes cause a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tidegate::upstream::invariants::answer(input);
});
