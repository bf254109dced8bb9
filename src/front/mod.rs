//! A client's connection as a state machine that touches no socket: it reads heads and content, writes answers in its protocol, and
//! knows how the connection goes on after each. It knows no upstream.

pub mod h1;
pub mod many;
