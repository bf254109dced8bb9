//! Active health checks: what is sent, what the answer means, and what several outcomes in a row mean. No socket, no clock.

pub mod check;
pub mod probe;
pub mod state;
