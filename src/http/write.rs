//! Heads as they are forwarded: always with line ends and framing fields of our own, whatever came in (RFC 9110 7.6).

use super::NAME;
use super::fields::Field;
use super::framing::{BodyLength, Recode};
use super::head::{FieldLine, Fields};
use super::request::Request;
use super::response::Response;
use crate::base::address::Peer;
use crate::base::text::{self, push_decimal};
use std::io::Write;
use std::net::IpAddr;

/// What the proxy adds to a request that it forwards.
#[derive(Clone, Copy, Debug)]
pub struct RequestAdditions<'a> {
    /// The other end of the client's connection.
    pub client: Peer,
    /// `http` or `https`: how the client connected.
    pub scheme: &'a str,
    /// The value of `X-Trace-ID`.
    pub trace_id: &'a [u8],
    /// Whether the client is a trusted proxy, whose forwarding fields are kept and added to.
    pub is_trusted: bool,
    /// Whether `Via` is added; if not, none is forwarded either.
    pub via: bool,
}

/// Appends the head of a forwarded request. Where the client named no host (HTTP/1.0), `Host` is left to [`put_host`].
pub fn request_head(out: &mut Vec<u8>, request: &Request, forward: RequestAdditions) {
    let fields = request.fields;
    let line = fields.first_line();
    // Whether the first line can be copied: the target is in origin-form, and the version is the one that is sent.
    let stays = request.path.len() == request.target.len()
        && line.len() == request.method.len() + request.target.len() + b"  HTTP/1.1\r\n".len()
        && line.ends_with(b" HTTP/1.1\r\n");
    if !stays {
        let slash = if request.path.starts_with('?') { "/" } else { "" };
        put(out, [request.method.as_bytes(), b" ", slash.as_bytes(), request.path.as_bytes(), b" HTTP/1.1\r\n"]);
        if !request.authority.is_empty() {
            put(out, [b"Host: ", request.authority, b"\r\n"]);
        }
    }
    // A search that most requests do not need.
    let declared = if request.declares_length { fields.first(Field::ContentLength) } else { None };
    let length_stays = declared.is_some_and(is_plain);
    let expect_stays = request.expects_continue && fields.of(Field::Expect).all(|line| line.value().eq_ignore_ascii_case(b"100-continue"));
    let mut expects = request.expects_continue;
    push_lines(out, fields, stays, |line| {
        let passes = match line.class() {
            Field::Other | Field::Accept | Field::UserAgent | Field::Referer => true,
            Field::Via => forward.via,
            Field::Authorization | Field::Cookie | Field::Date => true,
            Field::Host => stays,
            Field::ContentLength => length_stays,
            Field::MaxForwards => request.max_forwards.is_none(),
            // Several `Expect` fields become one.
            Field::Expect => expect_stays && std::mem::take(&mut expects),
            Field::Forwarding => forward.is_trusted && !line.name().eq_ignore_ascii_case(b"x-forwarded-for"),
            Field::LookAlike => {
                let [name, trace_id] = [line.name(), forward.trace_id].map(String::from_utf8_lossy);
                log::debug!(target: "request", "dropped {name:?}, which reads like a field that frames or routes trace_id={trace_id}");
                false
            }
            _ => false,
        };
        passes && !(request.connection.names_fields && fields.names(line.name(), line.class()))
    });
    match request.length {
        BodyLength::Known(n) if !length_stays => push_content_length(out, n),
        BodyLength::Chunked => put(out, [b"Transfer-Encoding: chunked\r\n"]),
        // RFC 9110 8.6: a method that usually has content states that this request has none.
        BodyLength::Empty if !length_stays && (declared.is_some() || matches!(request.method, "POST" | "PUT" | "PATCH")) => {
            push_content_length(out, 0)
        }
        _ => {}
    }
    if expects {
        put(out, [b"Expect: 100-continue\r\n"]);
    }
    if let Some(left) = request.max_forwards {
        put(out, [b"Max-Forwards: "]);
        push_decimal(out, left.saturating_sub(1));
        put(out, [b"\r\n"]);
    }
    if request.takes_trailers {
        put(out, [b"TE: trailers\r\n"]);
    }
    if let Some(protocol) = request.upgrade {
        put(out, [b"Upgrade: ", protocol.as_bytes(), b"\r\n"]);
    }
    match (request.takes_trailers, request.upgrade.is_some()) {
        (true, true) => put(out, [b"Connection: TE, Upgrade\r\n"]),
        (true, false) => put(out, [b"Connection: TE\r\n"]),
        (false, true) => put(out, [b"Connection: Upgrade\r\n"]),
        (false, false) => {}
    }
    push_forwarding(out, request, forward);
    end_head(out, forward.via.then_some(request.minor), forward.trace_id);
}

/// Tells where the request comes from. What a trusted proxy says about that is kept: `X-Forwarded-For`, and `Forwarded` (RFC
/// 7239) where it is used, get that proxy's address added. A peer at a Unix socket has none.
fn push_forwarding(out: &mut Vec<u8>, request: &Request, forward: RequestAdditions) {
    let said = |name: &[u8]| forward.is_trusted && request.fields.iter().any(|field| field.name().eq_ignore_ascii_case(name));
    push_forwarded_for(out, request, forward);
    if said(b"forwarded") {
        put(out, [b"Forwarded: for="]);
        match forward.client {
            Peer::Unix => put(out, [b"unix"]),
            Peer::Ip(ip, _) => {
                let quote = if ip.is_ipv6() { [&b"\"["[..], b"]\""] } else { [&b""[..]; 2] };
                put(out, [quote[0]]);
                push_ip(out, ip);
                put(out, [quote[1]]);
            }
        }
        put(out, [b";proto=", forward.scheme.as_bytes(), b"\r\n"]);
    }
    if !said(b"x-forwarded-proto") {
        put(out, [b"X-Forwarded-Proto: ", forward.scheme.as_bytes(), b"\r\n"]);
    }
    if !request.authority.is_empty() && !said(b"x-forwarded-host") {
        put(out, [b"X-Forwarded-Host: ", request.authority, b"\r\n"]);
    }
}

fn push_forwarded_for(out: &mut Vec<u8>, request: &Request, forward: RequestAdditions) {
    const NAME: &[u8] = b"X-Forwarded-For: ";
    let start = out.len();
    put(out, [NAME]);
    if forward.is_trusted {
        let hops = request.fields.iter().filter(|field| field.name().eq_ignore_ascii_case(b"x-forwarded-for"));
        for hop in hops.flat_map(|field| text::list(field.value())) {
            put(out, [hop, b", "]);
        }
    }
    match forward.client {
        Peer::Ip(ip, _) => push_ip(out, ip),
        Peer::Unix if out.len() == start + NAME.len() => return out.truncate(start),
        Peer::Unix => out.truncate(out.len() - b", ".len()),
    }
    put(out, [b"\r\n"]);
}

/// Gives a head that was written without `Host` the upstream's own, in place of that of an earlier attempt.
pub fn put_host(head: &mut Vec<u8>, authority: &str) {
    let line_end = |from: usize| head[from..].iter().position(|&b| b == b'\n').map_or(from, |lf| from + lf + 1);
    let start = line_end(0);
    let end = if head[start..].starts_with(b"Host: ") { line_end(start) } else { start };
    let host = ["Host: ", authority, "\r\n"].concat();
    head.splice(start..end, host.bytes());
}

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
    end_head(out, Some(response.minor), reply.trace_id);
}

/// Ends a head: `Via` with the received version and [`NAME`] if it is wanted, the trace id, and the empty line.
fn end_head(out: &mut Vec<u8>, via: Option<u8>, trace_id: &[u8]) {
    let Some(minor) = via else { return put(out, [b"X-Trace-ID: ", trace_id, b"\r\n\r\n"]) };
    let version = if minor == 0 { b"Via: 1.0 " } else { b"Via: 1.1 " };
    put(out, [version, NAME.as_bytes(), b"\r\nX-Trace-ID: ", trace_id, b"\r\n\r\n"]);
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

/// Whether a number has no leading zeros, and so stands as it would be written.
fn is_plain(number: &[u8]) -> bool {
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
fn push_lines(out: &mut Vec<u8>, fields: Fields, first_stays: bool, mut passes: impl FnMut(&FieldLine) -> bool) {
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

/// Every octet in decimal with a dot after it, and how many digits it has.
static OCTETS: [([u8; 4], u8); 256] = {
    let (mut table, mut octet) = ([([b'.'; 4], 0); 256], 0);
    while octet < 256 {
        let count = 1 + (octet > 9) as usize + (octet > 99) as usize;
        let (mut rest, mut at) = (octet, count);
        while at > 0 {
            at -= 1;
            table[octet].0[at] = b'0' + (rest % 10) as u8;
            rest /= 10;
        }
        table[octet].1 = count as u8;
        octet += 1;
    }
    table
};

fn push_ip(out: &mut Vec<u8>, ip: IpAddr) {
    match ip {
        IpAddr::V4(ip) => {
            let (mut text, mut len) = ([0; 16], 0);
            for octet in ip.octets() {
                let (digits, count) = OCTETS[usize::from(octet)];
                // Four bytes are always copied: what lies beyond the dot is overwritten by the next octet.
                text[len..len + 4].copy_from_slice(&digits);
                len += usize::from(count) + 1;
            }
            out.extend_from_slice(&text[..len - 1]);
        }
        // Writing to a Vec does not fail.
        IpAddr::V6(ip) => drop(write!(out, "{ip}")),
    }
}

/// Inlined, so that a literal becomes a store or two instead of a call.
#[inline(always)]
fn put<const N: usize>(out: &mut Vec<u8>, pieces: [&[u8]; N]) {
    for piece in pieces {
        out.extend_from_slice(piece);
    }
}

/// Whether a 101 names the protocol that the forwarded head asked for, and no other (RFC 9110 7.8).
pub fn asked_for(head: &[u8], response: &Response) -> bool {
    let mut offers = response.fields.of(Field::Upgrade);
    let (Some(offer), None) = (offers.next(), offers.next()) else { return false };
    let asked = head.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"Upgrade: "));
    asked.is_some_and(|asked| offer.value().eq_ignore_ascii_case(asked.trim_ascii()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::HeadTable;

    fn forwarded(head: &str) -> String {
        forwarded_by(head, false)
    }

    fn forwarded_by(head: &str, is_trusted: bool) -> String {
        let mut table = HeadTable::default();
        let request = Request::parse(head.as_bytes(), &mut table).unwrap();
        let mut out = Vec::new();
        request_head(
            &mut out,
            &request,
            RequestAdditions { client: Peer::of([127, 0, 0, 1].into(), None), scheme: "http", trace_id: b"t", is_trusted, via: true },
        );
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
    fn addresses_are_written_as_they_are_displayed() {
        let mut rng = fastrand::Rng::with_seed(1);
        for octet in 0..=255 {
            let ip = IpAddr::from([octet, rng.u8(..), rng.u8(..), octet]);
            let mut text = Vec::new();
            push_ip(&mut text, ip);
            assert_eq!(String::from_utf8(text).unwrap(), ip.to_string());
        }
    }

    #[test]
    fn a_request_without_host_gets_the_upstreams() {
        let mut head = forwarded("GET / HTTP/1.0\r\n\r\n").into_bytes();
        put_host(&mut head, "another:9002");
        put_host(&mut head, "127.0.0.1:9001");
        assert!(head.starts_with(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nX-Forwarded-For"));
    }

    #[test]
    fn a_response_goes_on_canonical() {
        let head = "HTTP/1.1 200 Fine\r\nServer: s\r\nConnection: x-y\r\nX-Y: 1\r\nTransfer-Encoding: chunked\r\n\r\n";
        let mut table = HeadTable::default();
        let response = Response::parse(head.as_bytes(), false, &mut table).unwrap();
        let reply = ResponseAdditions { minor: 0, persists: false, recode: Recode::Dechunk, date: b"now", trace_id: b"t" };
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
