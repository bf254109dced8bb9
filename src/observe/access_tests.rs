use super::*;
use serde_json::{Value, json};

const RECORD: Record<'static> = Record {
    unix_ms: 1_767_323_045_678,
    client: Peer::Ip(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), Some(53412)),
    peer: Peer::Ip(IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), Some(53412)),
    request: RequestLine::Parsed { method: b"GET", target: b"/a?b", version: b"HTTP/1.1" },
    host: Some(b"example.com"),
    status: 200,
    bytes_in: 87,
    bytes_out: 1234,
    duration_micros: 12_345,
    upstream_micros: Some(9_001),
    queue_micros: Some(1_500),
    connect_micros: None,
    upstream: Some("127.0.0.1:9001"),
    route: Some("api"),
    attempts: 1,
    error: None,
    cache: None,
    trace_id: "0191e5a0-0000-4000-8000-000000000001",
    user_agent: Some(b"curl/8.5.0"),
    referer: None,
};

fn line(format: Format, record: &Record<'_>) -> String {
    let mut out = Vec::new();
    Formatter::default().line(format, record, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn text_has_its_documented_form() {
    assert_eq!(
        line(Format::Text, &RECORD),
        "2026-01-02T03:04:05.678Z 127.0.0.1:53412 \"GET /a?b HTTP/1.1\" 200 1234 0.012 \
         upstream=127.0.0.1:9001 attempts=1 trace_id=0191e5a0-0000-4000-8000-000000000001\n"
    );
}

#[test]
fn what_is_not_known_is_a_dash() {
    let refused = Record {
        request: RequestLine::Raw(b""),
        status: 408,
        bytes_out: 0,
        upstream: None,
        route: None,
        attempts: 0,
        error: Some("http_request_timeout"),
        trace_id: "",
        ..RECORD
    };
    assert_eq!(
        line(Format::Text, &refused),
        "2026-01-02T03:04:05.678Z 127.0.0.1:53412 \"-\" 408 0 0.012 upstream=- attempts=0 \
         error=http_request_timeout trace_id=-\n"
    );
    assert_eq!(
        line(Format::Combined, &Record { user_agent: None, ..refused }),
        "127.0.0.1 - - [02/Jan/2026:03:04:05 +0000] \"-\" 408 - \"-\" \"-\"\n"
    );
    let read: Value = serde_json::from_str(&line(Format::Json, &refused)).unwrap();
    for key in ["method", "uri", "version", "upstream", "trace_id", "cache", "referer"] {
        assert_eq!(read[key], Value::Null, "{key}");
    }
}

#[test]
fn combined_is_apaches() {
    let record = Record { referer: Some(b"http://a/\"b"), ..RECORD };
    assert_eq!(
        line(Format::Combined, &record),
        "127.0.0.1 - - [02/Jan/2026:03:04:05 +0000] \"GET /a?b HTTP/1.1\" 200 1234 \"http://a/\\\"b\" \"curl/8.5.0\"\n"
    );
    // Apache's %t is the time at which the request came, 3 s earlier, and so another second.
    let slow = Record { duration_micros: 3_000_000, ..RECORD };
    assert!(line(Format::Combined, &slow).contains("[02/Jan/2026:03:04:02 +0000]"));
}

#[test]
fn json_has_every_field() {
    let read: Value = serde_json::from_str(&line(Format::Json, &RECORD)).unwrap();
    assert_eq!(
        read,
        json!({
            "time": "2026-01-02T03:04:05.678Z", "client": "127.0.0.1:53412", "peer": null, "method": "GET", "uri": "/a?b",
            "version": "HTTP/1.1", "host": "example.com", "status": 200, "bytes_in": 87, "bytes_out": 1234,
            "duration_ms": 12.345, "upstream_ms": 9.001, "upstream": "127.0.0.1:9001", "queue_ms": 1.5, "connect_ms": null,
            "route": "api", "attempts": 1, "error": null, "cache": null, "trace_id": "0191e5a0-0000-4000-8000-000000000001",
            "traceparent": null, "user": null, "user_agent": "curl/8.5.0",
            "referer": null,
        })
    );
}

#[test]
fn a_raw_request_line_is_shown_as_far_as_it_came() {
    let pieces = |raw: &'static [u8]| {
        let text = |piece: Option<&[u8]>| piece.map(|b| String::from_utf8_lossy(b).into_owned());
        let [method, uri, version] = RequestLine::Raw(raw).pieces();
        (text(method), text(uri), text(version))
    };
    let some = |text: &str| Some(text.to_owned());
    assert_eq!(pieces(b""), (None, None, None));
    assert_eq!(pieces(b"GE"), (some("GE"), None, None));
    assert_eq!(pieces(b"GET "), (some("GET"), None, None));
    assert_eq!(pieces(b"GET /a"), (some("GET"), some("/a"), None));
    assert_eq!(pieces(b"GET /a b HTTP/1.1"), (some("GET"), some("/a b"), some("HTTP/1.1")));
    assert_eq!(pieces(b"GET  HTTP/1.1"), (some("GET"), None, some("HTTP/1.1")));
    assert_eq!(pieces(b" HTTP/1.1"), (None, some("HTTP/1.1"), None));
    assert!(line(Format::Text, &Record { request: RequestLine::Raw(b"GET /a"), ..RECORD }).contains(" \"GET /a\" 200 "));
}

#[test]
fn no_client_can_forge_a_line_or_leave_its_quotes() {
    let evil = b"x\" 200 1\n2026-01-02T03:04:05.678Z \x1b]0;title\x07\\\" \xff\xc2\x9b\r";
    let record = Record {
        request: RequestLine::Raw(evil),
        host: Some(evil),
        user_agent: Some(evil),
        referer: Some(evil),
        trace_id: "\"\n",
        ..RECORD
    };
    for format in [Format::Text, Format::Combined, Format::Json] {
        let line = line(format, &record);
        assert!(line[..line.len() - 1].bytes().all(|b| (0x20..0x7f).contains(&b)), "{line:?}");
    }
    // Outside the format's own quotes no quote is left.
    let combined = line(Format::Combined, &record).replace("\\\\", "").replace("\\\"", "");
    assert_eq!(combined.matches('"').count(), 6);
}

#[test]
fn json_is_valid_whatever_the_bytes() {
    let mut random = fastrand::Rng::with_seed(7);
    for _ in 0..2_000 {
        let mut bytes = || -> Vec<u8> { (0..random.usize(..40)).map(|_| random.u8(..)).collect() };
        let (raw, host, agent, referer) = (bytes(), bytes(), bytes(), bytes());
        let record =
            Record { request: RequestLine::Raw(&raw), host: Some(&host), user_agent: Some(&agent), referer: Some(&referer), ..RECORD };
        let line = line(Format::Json, &record);
        assert_eq!(line.matches('\n').count(), 1);
        serde_json::from_str::<Value>(&line).unwrap_or_else(|e| panic!("{e}: {line:?}"));
    }
}

#[test]
fn addresses() {
    let shown = |client: &str| {
        let peer = Peer::from(client.parse::<std::net::SocketAddr>().unwrap());
        let record = Record { client: peer, peer, ..RECORD };
        let text = line(Format::Text, &record).split(' ').nth(1).unwrap().to_owned();
        (text, line(Format::Combined, &record).split(' ').next().unwrap().to_owned())
    };
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(shown("10.0.200.255:1"), pair("10.0.200.255:1", "10.0.200.255"));
    assert_eq!(shown("[2001:db8::1]:65535"), pair("[2001:db8::1]:65535", "2001:db8::1"));
    assert_eq!(shown("[::ffff:192.0.2.1]:80"), pair("192.0.2.1:80", "192.0.2.1"));
}

#[test]
fn a_client_behind_a_proxy_has_a_port_only_where_one_is_known() {
    let shown = |client| {
        let record = Record { client, ..RECORD };
        let json: Value = serde_json::from_str(&line(Format::Json, &record)).unwrap();
        let word = |format, at| line(format, &record).split(' ').nth(at).unwrap().to_owned();
        assert_eq!(json["peer"], "127.0.0.1:53412");
        (word(Format::Text, 1), word(Format::Combined, 0), json["client"].as_str().unwrap().to_owned())
    };
    let all = |a: &str, b: &str| (a.to_owned(), b.to_owned(), a.to_owned());
    let [v4, v6] = ["192.0.2.1", "2001:db8::1"].map(|text| text.parse().unwrap());
    assert_eq!(shown(Peer::of(v4, None)), all("192.0.2.1", "192.0.2.1"));
    assert_eq!(shown(Peer::of(v4, Some(5))), all("192.0.2.1:5", "192.0.2.1"));
    assert_eq!(shown(Peer::of(v6, None)), all("2001:db8::1", "2001:db8::1"));
    assert_eq!(shown(Peer::of(v6, Some(5))), all("[2001:db8::1]:5", "2001:db8::1"));
    assert_eq!(shown(Peer::Unix), all("unix", "unix"));
}

#[test]
fn a_line_that_fits_allocates_nothing() {
    let (mut formatter, mut out) = (Formatter::default(), Vec::with_capacity(1024));
    let place = out.as_ptr();
    for format in [Format::Text, Format::Combined, Format::Json] {
        out.clear();
        formatter.line(format, &RECORD, &mut out);
    }
    assert_eq!(out.as_ptr(), place);
}
