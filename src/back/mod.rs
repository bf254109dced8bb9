//! A connection to an upstream as a state machine that touches no socket: it reads heads and content of answers. It knows no client.

pub mod h1;
