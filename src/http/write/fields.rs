//! Field lines: those that are copied, and those that both kinds of heads have.

use crate::base::text::push_decimal;
use crate::http::NAME;
use crate::http::head::{FieldLine, Fields};

/// Ends a head: `Via` with the received version and [`NAME`] if it is wanted, the trace id, and the empty line.
pub(super) fn end_head(out: &mut Vec<u8>, via: Option<u8>, trace_id: &[u8]) {
    let Some(minor) = via else { return put(out, [b"X-Trace-ID: ", trace_id, b"\r\n\r\n"]) };
    let version = if minor == 0 { b"Via: 1.0 " } else { b"Via: 1.1 " };
    put(out, [version, NAME.as_bytes(), b"\r\nX-Trace-ID: ", trace_id, b"\r\n\r\n"]);
}

/// Whether a number has no leading zeros, and so stands as it would be written.
pub(super) fn is_plain(number: &[u8]) -> bool {
    number.len() == 1 || number.first() != Some(&b'0')
}

/// `Connection`, where it differs from what the version implies (RFC 9112 9.3).
pub fn push_connection(out: &mut Vec<u8>, minor: u8, persists: bool) {
    match (minor, persists) {
        (1, false) => put(out, [b"Connection: close\r\n"]),
        (0, true) => put(out, [b"Connection: keep-alive\r\n"]),
        _ => {}
    }
}

/// `Date`.
pub fn push_date(out: &mut Vec<u8>, date: &[u8]) {
    put(out, [b"Date: "]);
    out.extend_from_slice(date);
    put(out, [b"\r\n"]);
}

/// `Content-Length`.
pub fn push_content_length(out: &mut Vec<u8>, n: u64) {
    put(out, [b"Content-Length: "]);
    push_decimal(out, n);
    put(out, [b"\r\n"]);
}

/// Appends the first line if `first_stays`, and the fields that pass; adjacent canonical lines are copied together.
pub(super) fn push_lines(out: &mut Vec<u8>, fields: Fields, first_stays: bool, mut passes: impl FnMut(&FieldLine) -> bool) {
    let head = fields.head();
    let mut run = 0..if first_stays { fields.first_line().len() } else { 0 };
    for line in fields.iter().filter(|line| passes(line)) {
        match line.canonical() {
            Some(span) if span.start == run.end => run.end = span.end,
            Some(span) => out.extend_from_slice(&head[std::mem::replace(&mut run, span)]),
            None => {
                out.extend_from_slice(&head[std::mem::take(&mut run)]);
                put(out, [line.name(), b": ", line.value(), b"\r\n"]);
            }
        }
    }
    out.extend_from_slice(&head[run]);
}

/// Inlined, so that a literal becomes a store or two instead of a call.
#[inline(always)]
pub(super) fn put<const N: usize>(out: &mut Vec<u8>, pieces: [&[u8]; N]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}
