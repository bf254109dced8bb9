//! Whole, in pieces or past the decoder: the same data, canonical, never longer, and no bytes of it cause a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tidegate::http::check::chunked(input);
});
