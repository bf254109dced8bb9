//! The head of a request as an upstream gets it.

use super::fields::{end_head, is_plain, push_content_length, push_lines, put};
use super::forwarding::push_forwarding;
use crate::base::text::push_decimal;
use crate::http::cookie;
use crate::http::fields::Field;
use crate::http::forwarded::RequestAdditions;
use crate::http::framing::BodyLength;
use crate::http::request::Request;
use crate::http::response::Response;

/// Appends the head of a forwarded request. Where the client named no host (HTTP/1.0), `Host` is left to [`put_host`].
pub fn request_head(out: &mut Vec<u8>, request: &Request, forward: &RequestAdditions) {
    let fields = request.fields;
    let line = fields.first_line();
    // Whether the first line can be copied: the target is in origin-form, and the version is the one that is sent.
    let stays = request.path.len() == request.target.len()
        && line.len() == request.method.len() + request.target.len() + b"  HTTP/1.1\r\n".len()
        && line.ends_with(b" HTTP/1.1\r\n");
    if !stays {
        let slash: &[u8] = if request.path.starts_with(b"?") { b"/" } else { b"" };
        put(out, [request.method.as_bytes(), b" ", slash, request.path, b" HTTP/1.1\r\n"]);
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
            Field::Common | Field::Other | Field::Accept | Field::UserAgent | Field::Referer => true,
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
    push_hop_by_hop(out, request);
    push_forwarding(out, request, forward);
    end_head(out, forward.via.then_some(request.minor), forward.trace_id);
}

/// The fields that concern only this hop (RFC 9110 7.6).
fn push_hop_by_hop(out: &mut Vec<u8>, request: &Request) {
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
}

/// Gives a head that was written without `Host` the upstream's own, in place of that of an earlier attempt.
pub fn put_host(head: &mut Vec<u8>, authority: &str) {
    let line_end = |from: usize| head[from..].iter().position(|&b| b == b'\n').map_or(from, |lf| from + lf + 1);
    let start = line_end(0);
    let end = if head[start..].starts_with(b"Host: ") { line_end(start) } else { start };
    let host = ["Host: ", authority, "\r\n"].concat();
    head.splice(start..end, host.bytes());
}

/// Whether a 101 names the protocol that the forwarded head asked for, and no other (RFC 9110 7.8).
pub fn asked_for(head: &[u8], response: &Response) -> bool {
    let mut offers = response.fields.of(Field::Upgrade);
    let (Some(offer), None) = (offers.next(), offers.next()) else { return false };
    let asked = head.split(|&b| b == b'\n').find_map(|line| line.strip_prefix(b"Upgrade: "));
    asked.is_some_and(|asked| offer.value().eq_ignore_ascii_case(asked.trim_ascii()))
}

/// Removes the cookies with this name from a head.
#[cold]
pub fn remove_cookie(head: &mut Vec<u8>, name: &[u8]) {
    let mut at = 0;
    while let Some(end) = head[at..].iter().position(|&b| b == b'\n').map(|lf| at + lf + 1) {
        let line = &head[at..end];
        let value = line.get(..b"Cookie:".len()).filter(|start| start.eq_ignore_ascii_case(b"Cookie:")).map(|start| &line[start.len()..]);
        match value.map(<[u8]>::trim_ascii) {
            Some(value) if cookie::has(value, name) => {
                let mut left = b"Cookie: ".to_vec();
                if cookie::push_others(&mut left, value, name) {
                    left.extend_from_slice(b"\r\n");
                } else {
                    left.clear();
                }
                at += left.len();
                head.splice(at - left.len()..end, left);
            }
            _ => at = end,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::address::Peer;
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
            &RequestAdditions {
                client: Peer::of([127, 0, 0, 1].into(), None),
                scheme: "http",
                trace_id: b"t",
                is_trusted,
                via: true,
                own_cookies: &[],
            },
        );
        remove_cookie(&mut out, b"tg");
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
    fn our_own_cookie_is_not_sent_on() {
        let cookies = |fields: &str| {
            let head = forwarded(&format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n"));
            head.lines().filter_map(|line| line.strip_prefix("Cookie: ").map(str::to_owned)).collect::<Vec<_>>()
        };
        assert_eq!(cookies("Cookie: a=1; tg=x; b=2\r\nCookie: c=3\r\nCookie: tg=y\r\n"), ["a=1; b=2", "c=3"]);
        assert_eq!(cookies("Cookie: tg=x\r\n"), [""; 0]);
        assert_eq!(cookies("Cookie: a=1;b=tg=2\r\n"), ["a=1;b=tg=2"], "what has none is not touched");
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
        put_host(&mut head, "another:9002");
        put_host(&mut head, "127.0.0.1:9001");
        assert!(head.starts_with(b"GET / HTTP/1.1\r\nHost: 127.0.0.1:9001\r\nX-Forwarded-For"));
    }
}
