//! Answers that are made here instead of by an upstream: errors, `echo`, `respond`, the admin port's pages.

pub mod echo;
pub mod page;

use crate::base::text::push_decimal;
use crate::http::write::{push_connection, push_content_length, push_date};

/// The head of an answer, whatever protocol it is written in.
#[derive(Clone, Copy, Debug)]
pub struct Answer<'a> {
    /// 200 to 599.
    pub status: u16,
    pub content_type: &'a str,
    /// More fields, as complete lines.
    pub fields: &'a str,
    /// The length of its content, if that is known.
    pub length: Option<u64>,
}

/// What HTTP/1 needs besides to write an answer.
#[derive(Clone, Copy, Debug)]
pub struct Frame<'a> {
    /// The client's version: HTTP/1.`minor`.
    pub minor: u8,
    /// Whether the client's connection stays open after it.
    pub persists: bool,
    pub date: &'a [u8],
    /// The value of `X-Trace-ID`.
    pub trace_id: &'a [u8],
}

impl Answer<'_> {
    /// Appends it as HTTP/1 text. Content whose length is not known comes in chunks, or before the end of the connection.
    pub fn write(&self, out: &mut Vec<u8>, frame: Frame) {
        out.extend_from_slice(b"HTTP/1.1 ");
        push_decimal(out, self.status.into());
        for piece in [" ", phrase(self.status), "\r\n"] {
            out.extend_from_slice(piece.as_bytes());
        }
        // RFC 9110 15.3.5 and 15.4.5: these have no content, and announce none.
        let empty = matches!(self.status, 204 | 304);
        if !empty {
            for piece in ["Content-Type: ", self.content_type, "\r\n"] {
                out.extend_from_slice(piece.as_bytes());
            }
            match self.length {
                Some(length) => push_content_length(out, length),
                None if frame.minor == 1 => out.extend_from_slice(b"Transfer-Encoding: chunked\r\n"),
                None => {}
            }
        }
        push_connection(out, frame.minor, frame.persists);
        push_date(out, frame.date);
        for piece in [self.fields.as_bytes(), b"X-Trace-ID: ", frame.trace_id, b"\r\n\r\n"] {
            out.extend_from_slice(piece);
        }
    }
}

/// Reason phrases of RFC 9110 and 6585, for people who read raw answers.
fn phrase(status: u16) -> &'static str {
    match status {
        200 => "OK",
        201 => "Created",
        202 => "Accepted",
        204 => "No Content",
        301 => "Moved Permanently",
        302 => "Found",
        303 => "See Other",
        304 => "Not Modified",
        307 => "Temporary Redirect",
        308 => "Permanent Redirect",
        400 => "Bad Request",
        401 => "Unauthorized",
        403 => "Forbidden",
        404 => "Not Found",
        405 => "Method Not Allowed",
        408 => "Request Timeout",
        410 => "Gone",
        413 => "Content Too Large",
        414 => "URI Too Long",
        417 => "Expectation Failed",
        418 => "I'm a teapot",
        429 => "Too Many Requests",
        431 => "Request Header Fields Too Large",
        500 => "Internal Server Error",
        501 => "Not Implemented",
        502 => "Bad Gateway",
        503 => "Service Unavailable",
        504 => "Gateway Timeout",
        505 => "HTTP Version Not Supported",
        508 => "Loop Detected",
        _ => "",
    }
}
