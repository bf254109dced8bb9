//! The normal form of a target is one: made twice it stays, it never leaves the root, and it is that of what goes on.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tidegate::http::check_target::target(input);
});
