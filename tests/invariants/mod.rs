//! Properties of any input, each a function that panics where one does not hold: the bodies of the fuzz targets, through which
//! `tests/corpus.rs` replays the corpus. Those of configurations are in `src/config/invariants.rs`, for they need what is private there.
#![allow(dead_code)] // each fuzz target uses one of them

pub mod cost;
pub mod messages;
pub mod proxy_header;
pub mod target;
