//! The trailer section of a chunked body (RFC 9112 7.1.2).

use super::fields::{self, Field};
use super::{HeadLimits, Refusal};
use crate::base::steps;

/// How much of a trailer section has come, for its limits.
#[derive(Clone, Debug, Default)]
pub(super) struct TrailerSection {
    lines: u16,
    bytes: u32,
}

/// What stands at the front of the bytes of a trailer section. Lengths include the line's end.
pub(super) enum TrailerLine {
    /// A line of which more must come.
    Incomplete,
    /// A valid field line of this length.
    Field(usize),
    /// The empty line, which ends the section.
    End(usize),
}

const TOO_LARGE: Refusal = Refusal::HeadTooLarge("the trailer section is too large");

impl TrailerSection {
    /// Reads the line at the front of `bytes`.
    pub(super) fn next_line(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<TrailerLine, Refusal> {
        // The line is searched from its start with every piece. That is cheap enough: the search takes 64 bytes a step.
        steps::count(bytes.len() / 64);
        let Some(lf) = memchr::memchr(b'\n', bytes) else {
            return if bytes.len() > limits.line + 1 { Err(TOO_LARGE) } else { Ok(TrailerLine::Incomplete) };
        };
        let Some(line) = bytes[..lf].strip_suffix(b"\r") else {
            return Err(Refusal::Malformed("a trailer line ends in a bare LF"));
        };
        if line.is_empty() {
            return Ok(TrailerLine::End(lf + 1));
        }
        self.lines += 1;
        self.bytes = self.bytes.saturating_add(lf as u32 + 1);
        if usize::from(self.lines) > limits.lines || self.bytes as usize > limits.total || line.len() > limits.line {
            return Err(TOO_LARGE);
        }
        let colon = line.iter().position(|&b| b == b':').unwrap_or(0);
        if !fields::is_token(&line[..colon]) || !fields::is_value(&line[colon + 1..]) {
            return Err(Refusal::Malformed("a trailer field is malformed"));
        }
        Ok(TrailerLine::Field(lf + 1))
    }
}

/// Whether a valid trailer line is passed on: fields that frame, route, authenticate, modify a request, control a response or
/// describe content do not belong there (RFC 9110 6.5.1).
pub(super) fn may_pass(line: &[u8]) -> bool {
    const UNFIT: [&str; 27] = [
        "age",
        "allow",
        "cache-control",
        "content-encoding",
        "content-language",
        "content-location",
        "content-range",
        "content-type",
        "expires",
        "if-match",
        "if-modified-since",
        "if-none-match",
        "if-range",
        "if-unmodified-since",
        "location",
        "pragma",
        "proxy-authenticate",
        "proxy-authorization",
        "range",
        "retry-after",
        "set-cookie",
        "set-cookie2",
        "trailer",
        "vary",
        "warning",
        "www-authenticate",
        "x-http-method-override",
    ];
    let name = &line[..line.iter().position(|&b| b == b':').unwrap_or(0)];
    matches!(fields::classify(name), Field::Common | Field::Other | Field::Date | Field::UserAgent | Field::Referer)
        && !UNFIT.iter().any(|unfit| name.eq_ignore_ascii_case(unfit.as_bytes()))
}
