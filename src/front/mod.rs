//! A client's connection as a state machine that touches no socket: it reads heads and content, writes answers in its protocol, and
//! knows how the connection goes on after each. It knows no upstream.

pub mod h1;
pub mod many;

use crate::http::framing::Recode;

/// The exchange that a request has begun, as its front has to know it.
#[derive(Clone, Copy, Debug)]
pub struct NewExchange {
    /// Its key.
    pub key: usize,
    /// How whoever takes the request's content needs it delimited.
    pub content: Recode,
}
