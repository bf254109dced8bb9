//! Limits that hold for the whole process.

pub mod breaker;
pub mod client;
pub mod connections;
pub mod descriptors;
pub mod door;
pub mod gate;
pub mod places;
pub mod rate;
pub mod retry;
pub mod wait_queue;
