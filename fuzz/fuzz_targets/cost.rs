//! Reading and rewriting a head takes a bounded number of steps for each of its bytes, whatever it says.
#![no_main]

use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| tidegate::http::check_cost::head(input));
