//! Pools and the servers in them: who is picked, what is open to whom, where a name leads.

pub mod absence;
pub mod circuits;
pub mod idle;
pub mod pool;
mod queue;
pub mod resolve;
pub mod schedule;
pub mod server;
