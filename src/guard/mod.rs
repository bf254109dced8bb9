//! Limits that hold for the whole process.

pub mod descriptors;
pub mod door;
pub mod gate;
