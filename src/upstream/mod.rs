//! Pools and their servers: selection, circuits, queues, name look-ups.

pub mod absence;
pub mod circuits;
mod dns;
pub mod idle;
pub mod invariants;
pub mod lease;
pub mod look_up;
pub mod names;
mod pick;
pub mod pool;
mod queue;
pub mod reservation;
pub mod resolve;
pub mod schedule;
pub mod server;
pub mod sticky;
