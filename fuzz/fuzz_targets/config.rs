//! A configuration that reads back to the same as it is printed, or problems with a place each; and no bytes of it cause a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tidegate::config::invariants::file(input);
});
