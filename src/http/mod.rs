//! The grammar and framing of HTTP/1.1 (RFC 9110, RFC 9112): bytes in, facts out. No socket, no clock, no allocation for a field.
//!
//! A message that two parsers could read differently is a [`Refusal`], never a guess.

mod accept;
pub mod chunked;
pub mod connection;
pub mod cookie;
pub mod date;
pub mod fields;
mod first_line;
pub mod forwarded;
pub mod framing;
pub mod head;
mod options;
pub mod preface;
mod quick;
pub mod request;
pub mod response;
pub mod scan;
pub mod target;
mod trailers;
pub mod write;

/// How many fields a head may have, whatever is configured: the parser's table lies on the stack.
pub const MAX_FIELDS: usize = 1024;

/// The pseudonym in `Via` and `Proxy-Status`.
pub const NAME: &str = "tidegate";

/// Why a message is refused. The texts are for the person who sent it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// It violates the grammar, or can be read in two ways.
    Malformed(&'static str),
    /// The request line is longer than allowed.
    LineTooLong,
    /// A field line, their number or the whole head is larger than allowed.
    HeadTooLarge(&'static str),
    /// There is more content than allowed.
    BodyTooLarge,
    /// The major version is not HTTP/1.
    Version,
    /// A method that a reverse proxy does not serve.
    Method,
    /// A transfer coding other than a single `chunked`.
    Coding,
    /// A switch to a protocol that was not asked for.
    Upgrade,
    /// An `Expect` other than `100-continue`.
    Expectation,
}

/// How large a head may be.
#[derive(Clone, Copy, Debug)]
pub struct HeadLimits {
    /// Bytes of the first line.
    pub first_line: usize,
    /// Bytes of one field line.
    pub line: usize,
    /// Number of field lines.
    pub lines: usize,
    /// Bytes of the whole head.
    pub total: usize,
}
