//! A configuration is read back unchanged from what is printed, or has problems with a place each; and no bytes cause a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tidegate::config::invariants::file(input);
});
