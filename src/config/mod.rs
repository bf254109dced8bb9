//! The configuration: from files, variables and options to one checked [`model::Config`].
//!
//! ```text
//!     file.rs ----.
//!     env.rs  ----+--> tree --> conform.rs --> check.rs and others --> model
//!     cli     ----'     ^           ^              two keys together
//!                    tree.rs     keys (the one table of keys, in the words of schema.rs)
//! ```
//!
//! Sources are merged as trees whose values know where they were written, so that all problems are reported together, each at its
//! place. Files are read when asked for, the process's environment never, and nothing is started.

mod address;
mod check;
mod conform;
mod diff;
mod dotenv;
mod doubts;
mod env;
mod file;
mod guards;
mod hints;
// Public for its fuzz target and `tests/corpus.rs` alone.
#[doc(hidden)]
pub mod invariants;
mod keys;
mod listener_tls;
mod listeners;
mod load;
mod mismatch;
pub mod model;
mod pools;
mod reference;
mod report;
mod routes;
mod rules;
mod schema;
mod setting;
pub mod suggest;
#[cfg(test)]
mod tests;
mod tree;
mod units;
mod upstream_tls;
mod values;
mod variables;

pub use diff::changes;
pub use load::{ConfigSources, Effective, Loaded, load};
// Public for `tests/docs.rs` alone.
#[doc(hidden)]
pub use reference::{Row, reference, rows};
pub use report::Problems;
