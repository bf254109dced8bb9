//! What the machines share: the flows between them, what a turn lends to them, what they ask of the worker, and how they fail.
//!
//! There are three: a front speaks with a client, an exchange is one request with its answer, a back speaks with an upstream. None of
//! them touches a socket or knows another; they meet in `session`.

pub mod deadlines;
pub mod effect;
pub mod failure;
pub mod flow;
pub mod next_hop;
pub mod outcome;
pub mod recipient;
pub mod service;
pub mod turn;

pub use effect::{Direction, Effect};
pub use outcome::{AnswerEnd, ExchangeEnd, Passed};
pub use turn::{Journal, Turn};
