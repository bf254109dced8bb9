//! What the proxy shows about itself: counters, the metrics page, the access log and diagnostics.
//!
//! ```text
//!   stats     counters, one block a worker ------> exposition   Prometheus text, summed at scrape
//!   reason    one vocabulary for every failure
//!   quiet     limits warnings that would repeat for every request
//!   access    one finished request -> one line --+
//!   log       front of the `log` facade ---------+--> writer    one thread, bounded queues, targets that may fail
//! ```
//!
//! Nothing here makes a worker wait, and nothing here depends on exchanges, pools or the configuration.

pub mod access;
pub mod escape;
pub mod exposition;
mod families;
mod file;
pub mod log;
pub mod plain;
mod queue;
pub mod quiet;
pub mod reason;
mod settings;
mod shared;
mod sink;
mod stamp;
pub mod stats;
mod stream;
mod thread;
pub mod writer;
