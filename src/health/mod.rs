//! Active health: what a check says, what its answer means, and what comes of several in a row. No socket, no clock.

pub mod check;
pub mod probe;
pub mod state;
