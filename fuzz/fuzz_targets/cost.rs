//! Reading and rewriting a head takes a number of steps for each of its bytes, and no more, however it is made.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tidegate::http::check_cost::head(input));
