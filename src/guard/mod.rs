//! Limits that hold for the whole process.

pub mod breaker;
pub mod descriptors;
pub mod door;
pub mod gate;
pub mod retry;
