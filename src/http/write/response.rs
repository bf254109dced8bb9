//! The head of a response as a client gets it.

use super::fields::{end_head, is_plain, push_connection, push_content_length, push_date, push_lines, put};
use crate::base::text::push_decimal;
use crate::http::fields::Field;
use crate::http::framing::{BodyLength, Recode};
use crate::http::response::Response;

/// What the proxy adds to a response that it forwards.
#[derive(Clone, Copy, Debug)]
pub struct ResponseAdditions<'a> {
    /// The client's version: HTTP/1.`minor`.
    pub minor: u8,
    /// Whether the client's connection stays open after it.
    pub persists: bool,
    /// How the body is delimited for the client.
    pub recode: Recode,
    /// The value of `Date` for a response that has none (RFC 9110 6.6.1).
    pub date: &'a [u8],
    /// The value of `X-Trace-ID`.
    pub trace_id: &'a [u8],
    /// The value of a `Set-Cookie` of our own.
    pub set_cookie: Option<&'a str>,
}

/// Appends the head of a forwarded response, interim ones included.
pub fn response_head(out: &mut Vec<u8>, response: &Response, reply: ResponseAdditions) {
    let fields = response.fields;
    let line = fields.first_line();
    let stays = line.starts_with(b"HTTP/1.1 ") && line.len() == response.reason.len() + b"HTTP/1.1 200 \r\n".len();
    if !stays {
        put(out, [b"HTTP/1.1 "]);
        push_decimal(out, response.status.into());
        put(out, [b" ", response.reason, b"\r\n"]);
    }
    // RFC 9110 8.6: no Content-Length in a 1xx or 204.
    let length = response.content_length.filter(|_| !matches!(response.status, 100..=199 | 204));
    let length_stays = length.is_some() && fields.first(Field::ContentLength).is_some_and(is_plain);
    push_lines(out, fields, stays, |line| {
        use Field::*;
        let passes = match line.class() {
            TransferEncoding | Connection | HopByHop | Te | TraceId => false,
            ContentLength => length_stays,
            // RFC 9110 15.5.22: a 426 must tell the client which protocol to upgrade to.
            Upgrade => matches!(response.status, 101 | 426),
            _ => true,
        };
        passes && !(response.connection.names_fields && line.class() != Upgrade && fields.names(line.name(), line.class()))
    });
    if response.status == 101 {
        put(out, [b"Connection: Upgrade\r\n"]);
    } else if !response.is_interim() {
        match (response.length, reply.recode) {
            (BodyLength::Chunked, Recode::Same) | (_, Recode::Enchunk) => put(out, [b"Transfer-Encoding: chunked\r\n"]),
            _ if length_stays => {}
            _ => length.into_iter().for_each(|n| push_content_length(out, n)),
        }
        if response.status == 426 && fields.first(Field::Upgrade).is_some() {
            push_upgrade_and_connection(out, reply.minor, reply.persists);
        } else {
            push_connection(out, reply.minor, reply.persists);
        }
        if !response.has_date {
            push_date(out, reply.date);
        }
    }
    if let Some(cookie) = reply.set_cookie {
        put(out, [b"Set-Cookie: ", cookie.as_bytes(), b"\r\n"]);
    }
    end_head(out, Some(response.minor), reply.trace_id);
}

/// The sender of `Upgrade` also names it in `Connection` (RFC 9110 7.8).
fn push_upgrade_and_connection(out: &mut Vec<u8>, minor: u8, persists: bool) {
    let rest: &[u8] = match (minor, persists) {
        (1, false) => b", close\r\n",
        (0, true) => b", keep-alive\r\n",
        _ => b"\r\n",
    };
    put(out, [b"Connection: Upgrade", rest]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::HeadTable;

    #[test]
    fn a_response_goes_on_canonical() {
        let head = "HTTP/1.1 200 Fine\r\nServer: s\r\nConnection: x-y\r\nX-Y: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut table = HeadTable::default();
        let response = Response::parse(head.as_bytes(), false, &mut table).unwrap();
        let reply =
            ResponseAdditions { minor: 0, persists: false, recode: Recode::Dechunk, date: b"now", trace_id: b"t", set_cookie: None };
        let mut out = Vec::new();
        response_head(&mut out, &response, reply);
        assert_eq!(out, b"HTTP/1.1 200 Fine\r\nServer: s\r\nDate: now\r\nVia: 1.1 tidegate\r\nX-Trace-ID: t\r\n\r\n");
        out.clear();
        response_head(&mut out, &response, ResponseAdditions { minor: 1, recode: Recode::Same, ..reply });
        assert!(out.ends_with(
            b"Server: s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nDate: now\r\nVia: 1.1 tidegate\r\nX-Trace-ID: t\r\n\r\n"
        ));
    }
}
