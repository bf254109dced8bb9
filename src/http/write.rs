//! Heads as they go on: always our own line ends and framing fields, whatever came in (RFC 9110 7.6).

use super::fields::{self, Field, classify};
use super::framing::{Length, Recode};
use super::request::Request;
use super::response::Response;
use crate::base::text::{self, push_decimal};
use httparse::Header;
use std::io::Write;
use std::net::IpAddr;

/// The pseudonym in `Via` and `Proxy-Status`.
pub const NAME: &str = "tidegate";

/// What the proxy adds to a request that it forwards.
#[derive(Clone, Copy, Debug)]
pub struct Forward<'a> {
    /// Of the connection.
    pub client: IpAddr,
    /// `http` or `https`: how the client spoke to us.
    pub scheme: &'a str,
    /// `X-Trace-ID`.
    pub trace_id: &'a str,
    /// The client is a proxy whose word on where a request comes from is kept, and added to.
    pub is_trusted: bool,
}

/// Appends the head of a forwarded request. Where the client named no host (HTTP/1.0), `Host` is left out: [`insert_host`].
pub fn request_head(out: &mut Vec<u8>, request: &Request, forward: Forward) {
    put(out, &[request.method, " ", if request.path.starts_with('?') { "/" } else { "" }, request.path, " HTTP/1.1\r\n"]);
    if !request.authority.is_empty() {
        put(out, &["Host: ", request.authority, "\r\n"]);
    }
    for field in request.fields {
        let name = field.name.as_bytes();
        let passes = match classify(name) {
            Field::Other if fields::is_look_alike(name) => {
                log::debug!("dropped {:?}, which reads like a field that frames or routes trace_id={}", field.name, forward.trace_id);
                false
            }
            Field::Other => true,
            Field::MaxForwards => request.max_forwards.is_none(),
            Field::Via | Field::Accept | Field::UserAgent | Field::Referer => true,
            Field::Authorization | Field::Cookie | Field::Date => true,
            Field::Expect => request.expects_continue,
            Field::Forwarding => forward.is_trusted && !name.eq_ignore_ascii_case(b"x-forwarded-for"),
            _ => false,
        };
        if passes && !(request.connection.names_fields && is_named(request.fields, name)) {
            push_field(out, field);
        }
    }
    match request.length {
        Length::Known(n) => push_content_length(out, n),
        Length::Chunked => put(out, &["Transfer-Encoding: chunked\r\n"]),
        // RFC 9110 8.6: a method that expects content says that there is none.
        Length::Empty if matches!(request.method, "POST" | "PUT" | "PATCH") => push_content_length(out, 0),
        Length::Empty | Length::UntilClose => {}
    }
    if let Some(left) = request.max_forwards {
        put(out, &["Max-Forwards: "]);
        push_decimal(out, left.saturating_sub(1));
        put(out, &["\r\n"]);
    }
    if request.takes_trailers {
        put(out, &["TE: trailers\r\n"]);
    }
    if let Some(protocol) = request.upgrade {
        put(out, &["Upgrade: ", protocol, "\r\n"]);
    }
    match (request.takes_trailers, request.upgrade.is_some()) {
        (true, true) => put(out, &["Connection: TE, Upgrade\r\n"]),
        (true, false) => put(out, &["Connection: TE\r\n"]),
        (false, true) => put(out, &["Connection: Upgrade\r\n"]),
        (false, false) => {}
    }
    push_forwarding(out, request, forward);
    put(out, &[if request.minor == 0 { "Via: 1.0 " } else { "Via: 1.1 " }, NAME]);
    put(out, &["\r\nX-Trace-ID: ", forward.trace_id, "\r\n\r\n"]);
}

/// Where the request comes from. What a trusted proxy says of that stays; `X-Forwarded-For`, and `Forwarded` (RFC 7239) where
/// it is used, get the proxy's own address added.
fn push_forwarding(out: &mut Vec<u8>, request: &Request, forward: Forward) {
    let said = |name: &str| forward.is_trusted && request.fields.iter().any(|field| field.name.eq_ignore_ascii_case(name));
    put(out, &["X-Forwarded-For: "]);
    if forward.is_trusted {
        let hops = request.fields.iter().filter(|field| field.name.eq_ignore_ascii_case("x-forwarded-for"));
        for hop in hops.flat_map(|field| text::list(field.value)) {
            out.extend_from_slice(hop);
            out.extend_from_slice(b", ");
        }
    }
    push_ip(out, forward.client);
    put(out, &["\r\n"]);
    if said("forwarded") {
        let quote = if forward.client.to_canonical().is_ipv6() { ["\"[", "]\""] } else { ["", ""] };
        put(out, &["Forwarded: for=", quote[0]]);
        push_ip(out, forward.client);
        put(out, &[quote[1], ";proto=", forward.scheme, "\r\n"]);
    }
    if !said("x-forwarded-proto") {
        put(out, &["X-Forwarded-Proto: ", forward.scheme, "\r\n"]);
    }
    if !request.authority.is_empty() && !said("x-forwarded-host") {
        put(out, &["X-Forwarded-Host: ", request.authority, "\r\n"]);
    }
}

/// Gives a head written without one its `Host`: the upstream's own.
pub fn insert_host(head: &mut Vec<u8>, authority: &str) {
    let line_end = head.iter().position(|&b| b == b'\n').map_or(0, |lf| lf + 1);
    let host = ["Host: ", authority, "\r\n"].concat();
    head.splice(line_end..line_end, host.bytes());
}

/// What the proxy adds to a response that it forwards.
#[derive(Clone, Copy, Debug)]
pub struct Reply<'a> {
    /// The client's version: HTTP/1.`minor`.
    pub minor: u8,
    /// Whether its connection outlives the response.
    pub persists: bool,
    /// How the body is passed on.
    pub recode: Recode,
    /// For a response that has none (RFC 9110 6.6.1).
    pub date: &'a [u8],
    /// `X-Trace-ID`.
    pub trace_id: &'a str,
}

/// Appends the head of a forwarded response, interim ones included.
pub fn response_head(out: &mut Vec<u8>, response: &Response, reply: Reply) {
    put(out, &["HTTP/1.1 "]);
    push_decimal(out, response.status.into());
    put(out, &[" ", response.reason, "\r\n"]);
    for field in response.fields {
        let name = field.name.as_bytes();
        let class = classify(name);
        let switches = response.status == 101 && class == Field::Upgrade;
        let passes = !matches!(
            class,
            Field::ContentLength
                | Field::TransferEncoding
                | Field::Connection
                | Field::HopByHop
                | Field::Te
                | Field::Upgrade
                | Field::TraceId
        );
        if switches || (passes && !(response.connection.names_fields && is_named(response.fields, name))) {
            push_field(out, field);
        }
    }
    if response.status == 101 {
        put(out, &["Connection: Upgrade\r\n"]);
    } else if !response.is_interim() {
        match (response.length, reply.recode) {
            (Length::Chunked, Recode::Same) | (_, Recode::Enchunk) => put(out, &["Transfer-Encoding: chunked\r\n"]),
            (Length::Chunked | Length::UntilClose, _) => {}
            // RFC 9110 8.6: never in a 204.
            _ if response.status == 204 => {}
            _ => response.content_length.into_iter().for_each(|n| push_content_length(out, n)),
        }
        push_connection(out, reply.minor, reply.persists);
        if !response.has_date {
            push_date(out, reply.date);
        }
    }
    put(out, &["Via: 1.1 ", NAME, "\r\nX-Trace-ID: ", reply.trace_id, "\r\n\r\n"]);
}

/// `Connection`, where it is not what the version implies (RFC 9112 9.3).
pub fn push_connection(out: &mut Vec<u8>, minor: u8, persists: bool) {
    match (minor, persists) {
        (1, false) => put(out, &["Connection: close\r\n"]),
        (0, true) => put(out, &["Connection: keep-alive\r\n"]),
        _ => {}
    }
}

/// `Date`.
pub fn push_date(out: &mut Vec<u8>, date: &[u8]) {
    put(out, &["Date: "]);
    out.extend_from_slice(date);
    put(out, &["\r\n"]);
}

/// `Content-Length`.
pub fn push_content_length(out: &mut Vec<u8>, n: u64) {
    put(out, &["Content-Length: "]);
    push_decimal(out, n);
    put(out, &["\r\n"]);
}

fn push_field(out: &mut Vec<u8>, field: &Header) {
    out.extend_from_slice(field.name.as_bytes());
    out.extend_from_slice(b": ");
    out.extend_from_slice(text::trim(field.value));
    out.extend_from_slice(b"\r\n");
}

fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip.to_canonical() {
        IpAddr::V4(ip) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                push_decimal(out, octet.into());
            }
        }
        // Writing to a Vec does not fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

fn put(out: &mut Vec<u8>, pieces: &[&str]) {
    for piece in pieces {
        out.extend_from_slice(piece.as_bytes());
    }
}

/// Whether a 101 names the protocol that the forwarded head asked for, and no other (RFC 9110 7.8).
pub fn asked_for(head: &[u8], response: &Response) -> bool {
    let mut offers = response.fields.iter().filter(|field| classify(field.name.as_bytes()) == Field::Upgrade);
    let (Some(offer), None) = (offers.next(), offers.next()) else { return false };
    let asked = head.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"Upgrade: "));
    asked.is_some_and(|asked| text::trim(offer.value).eq_ignore_ascii_case(asked.trim_ascii()))
}

/// Whether a `Connection` field names this one, and may.
pub(super) fn is_named(all: &[Header], name: &[u8]) -> bool {
    fields::may_be_dropped(classify(name))
        && all
            .iter()
            .filter(|field| classify(field.name.as_bytes()) == Field::Connection)
            .any(|field| text::list(field.value).any(|option| option.eq_ignore_ascii_case(name)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::request::Table;

    fn forwarded(head: &str) -> String {
        forwarded_by(head, false)
    }

    fn forwarded_by(head: &str, is_trusted: bool) -> String {
        let mut table = Table::default();
        let request = Request::parse(head.as_bytes(), &mut table).unwrap();
        let mut out = Vec::new();
        request_head(&mut out, &request, Forward { client: [127, 0, 0, 1].into(), scheme: "http", trace_id: "t", is_trusted });
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_request_goes_on_canonical() {
        let head = "POST http://b/x HTTP/1.1\r\nhost: a\r\nConnection: close, x-gone, cookie, te\r\nX-Gone: 1\r\nCookie:  c \r\nKeep-Alive: 5\r\n\
            Content_Length: 9\r\nX-Forwarded-For: 6.6.6.6\r\nContent-Length: 03\r\nTE: trailers\r\nUpgrade: h2c\r\nmy_field: 1\r\n\r\n";
        assert_eq!(
            forwarded(head),
            "POST /x HTTP/1.1\r\nHost: b\r\nCookie: c\r\nmy_field: 1\r\nContent-Length: 3\r\nTE: trailers\r\nConnection: TE\r\n\
             X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\nX-Forwarded-Host: b\r\nVia: 1.1 tidegate\r\nX-Trace-ID: t\r\n\r\n"
        );
    }

    #[test]
    fn the_word_of_a_trusted_proxy_is_kept_and_added_to() {
        let head = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.1.1.1\r\nx-forwarded-for: 2.2.2.2,3.3.3.3\r\nX-Forwarded-Proto: https\r\n\
            Forwarded: for=1.1.1.1\r\n\r\n";
        assert_eq!(
            forwarded_by(head, true),
            "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-Proto: https\r\nForwarded: for=1.1.1.1\r\n\
             X-Forwarded-For: 1.1.1.1, 2.2.2.2, 3.3.3.3, 127.0.0.1\r\nForwarded: for=127.0.0.1;proto=http\r\n\
             X-Forwarded-Host: a\r\nVia: 1.1 tidegate\r\nX-Trace-ID: t\r\n\r\n"
        );
        assert!(!forwarded(head).contains("1.1.1.1"));
    }

    #[test]
    fn options_are_passed_on_so_often_and_no_more() {
        assert!(forwarded("OPTIONS * HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n").contains("\r\nMax-Forwards: 2\r\n"));
        assert!(forwarded("GET / HTTP/1.1\r\nHost: a\r\nMax-Forwards: 3\r\n\r\n").contains("\r\nMax-Forwards: 3\r\n"));
    }

    #[test]
    fn a_request_without_host_gets_the_upstreams() {
        let mut head = forwarded("GET / HTTP/1.0\r\n\r\n").into_bytes();
        insert_host(&mut head, "127.0.0.1:9001");
        assert!(head.starts_with(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nX-Forwarded-For"));
    }

    #[test]
    fn a_response_goes_on_canonical() {
        let head = "HTTP/1.1 200 Fine\r\nServer: s\r\nConnection: x-y\r\nX-Y: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut table = Table::default();
        let response = Response::parse(head.as_bytes(), false, &mut table).unwrap();
        let reply = Reply { minor: 0, persists: false, recode: Recode::Dechunk, date: b"now", trace_id: "t" };
        let mut out = Vec::new();
        response_head(&mut out, &response, reply);
        assert_eq!(out, b"HTTP/1.1 200 Fine\r\nServer: s\r\nDate: now\r\nVia: 1.1 tidegate\r\nX-Trace-ID: t\r\n\r\n");
        out.clear();
        response_head(&mut out, &response, Reply { minor: 1, recode: Recode::Same, ..reply });
        assert!(out.ends_with(
            b"Server: s\r\nTransfer-Encoding: chunked\r\nConnection: close\r\nDate: now\r\nVia: 1.1 tidegate\r\nX-Trace-ID: t\r\n\r\n"
        ));
    }
}
