//! The access log has one line for each request in each of its formats, which readers of their own understand, and no request forges
//! one.

use crate::support::*;
use serde_json::json;

type Reader = fn(&str) -> Line;

const FORMATS: [(&str, Reader); 3] = [("text", Line::text), ("combined", Line::combined), ("json", Line::json)];

/// One of everything that can become of a request: path, status, and the reason if there is one.
const CASES: [(&str, u16, Option<&str>); 9] = [
    ("/plain", 200, None),
    ("/missing", 404, None),
    ("/head", 200, None),
    ("/upload", 200, None),
    ("/dead", 502, Some("connection_refused")),
    ("/nowhere", 404, Some("destination_not_found")),
    ("/bad", 400, Some("http_request_error")),
    ("/slow", 408, Some("http_request_timeout")),
    ("/gone", 499, Some("client_aborted")),
];

/// Has every case happen once.
fn perform(proxy: &Proxy, reached: &Gate) {
    let ask = |request: &str, method: &str| {
        let mut client = proxy.client();
        client.send(request);
        client.response_to(method)
    };
    for path in ["/plain", "/missing", "/dead", "/nowhere"] {
        ask(&format!("GET {path} HTTP/1.1\r\nHost: h.test\r\nUser-Agent: play/1 \"q\"\r\nReferer: http://r/\r\n\r\n"), "GET");
    }
    ask("HEAD /head HTTP/1.1\r\nHost: h.test\r\n\r\n", "HEAD");
    ask("POST /upload HTTP/1.1\r\nHost: h.test\r\nContent-Length: 5\r\n\r\nhello", "POST");
    ask("GET /bad HTTP/1.1\r\nHost : h.test\r\n\r\n", "GET");
    ask("GET /slow HTTP/1.1\r\nHost: h.test\r\nX: ", "GET");
    let mut client = proxy.client();
    client.send_get("/gone");
    reached.pass();
    client.reset();
}

#[test]
fn every_request_has_one_line_in_every_format() {
    let reached = Gate::default();
    let opened = reached.clone();
    let origin = Origin::each(move |conn, request| match request.target.as_str() {
        "/missing" => conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"),
        "/head" => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"),
        "/gone" => {
            opened.release(1);
            conn.wait_for_end();
        }
        _ => conn.answer(request.what()),
    });
    let pools = json!({
        "live": {"upstreams": [{"url": format!("http://{}", origin.addr()), "name": "live-1"}]},
        "dead": {"upstreams": [{"url": format!("http://{}", nobody())}]},
    });
    let to = |path: &str, pool: &str| json!({"match": {"path": path}, "proxy": pool});
    let mut routes: Vec<_> = ["/plain", "/missing", "/head", "/upload", "/gone"].iter().map(|path| to(path, "live")).collect();
    routes.push(to("/dead", "dead"));
    for (format, read) in FORMATS {
        let config = Config::new().set("pools", pools.clone()).set("routes", routes.clone());
        let proxy = config.set("logging.access_format", format).set("timeouts.client_header_ms", 300).start();
        perform(&proxy, &reached);
        wait_until("all are logged", || proxy.log_lines().len() >= CASES.len());
        let lines: Vec<_> = proxy.log_lines().iter().map(|line| read(line)).collect();
        for (path, status, error) in CASES {
            let of_path: Vec<_> = lines.iter().filter(|line| line.target() == path).collect();
            let [line] = of_path[..] else { panic!("{format}, {path}: {of_path:?} of {:#?}", proxy.log_lines()) };
            assert_eq!((line.status, line.client.as_str()), (status, "127.0.0.1"), "{format}: {line:?}");
            assert!(format == "combined" || line.error.as_deref() == error, "{format}: {line:?}");
            let bytes = match path {
                "/plain" => Some(10),
                "/missing" => Some(4),
                "/upload" => Some(12),
                "/head" | "/gone" => Some(0),
                _ => None,
            };
            assert!(bytes.is_none_or(|bytes| bytes == line.bytes), "{format}: {line:?}");
        }
        assert_eq!(lines.len(), CASES.len(), "{:#?}", proxy.log_lines());
        let of = |path: &str| lines.iter().find(|line| line.target() == path).unwrap();
        let more = |path: &str, name: &str| of(path).more.get(name).map(String::as_str);
        match format {
            "combined" => {
                assert_eq!((more("/plain", "user_agent"), more("/plain", "referer")), (Some("play/1 \"q\""), Some("http://r/")));
                assert_eq!((more("/bad", "user_agent"), more("/head", "referer")), (Some("-"), Some("-")));
            }
            _ => {
                assert_eq!((more("/plain", "upstream"), more("/plain", "attempts")), (Some("live-1"), Some("1")));
                assert_eq!((more("/bad", "upstream"), more("/bad", "attempts")), (Some("-"), Some("0")));
            }
        }
        if format == "json" {
            let wanted = [("method", "POST"), ("version", "HTTP/1.1"), ("host", "h.test"), ("cache", "-"), ("user_agent", "-")];
            wanted.iter().for_each(|(name, value)| assert_eq!(more("/upload", name), Some(*value), "{name}"));
            let bytes_in = more("/upload", "bytes_in").unwrap().parse::<usize>().unwrap();
            assert_eq!(bytes_in, "hello".len());
        }
    }
}

#[test]
fn no_request_forges_a_line_in_any_format() {
    let origin = Origin::hello();
    let evil = "x\\\" 200 \"\t{\"a\":1},\u{e9}\u{2028}\u{85}\u{9b}2J";
    let requests = [
        format!("GET /0 HTTP/1.1\r\nHost: h\r\nUser-Agent: {evil}\r\nReferer: {evil}\r\n\r\n").into_bytes(),
        b"GET /1 HTTP/1.1\r\nHost: h\r\nUser-Agent: \xff\xfe\x80\xc3\r\n\r\n".to_vec(),
        b"GET /2\"b\\c%0a%00 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"GET /3\n{\"time\":\"forged\"}\n HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"GET /4 HTTP/1.1\r\nHost: h\r\nUser-Agent: a\r\n forged\r\n\r\n".to_vec(),
        b"GET /5\x1b[2J HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"GET /6 HTTP/1.1\r\nHost: \"}\\ forged\r\n\r\n".to_vec(),
        b"\x00\xff{} / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
    ];
    for (format, read) in FORMATS {
        let proxy = Config::to(&origin).set("logging.access_format", format).start();
        requests.iter().for_each(|request| drop(ask(proxy.addr(), request)));
        wait_until("all are logged", || proxy.log_lines().len() >= requests.len());
        for line in proxy.log_lines() {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            let line = read(&line);
            assert!(line.client == "127.0.0.1" && (line.status == 200 || line.status == 400), "{line:?}");
        }
        assert_eq!(proxy.log_lines().len(), requests.len(), "{:#?}", proxy.log_lines());
    }
}

/// `time client "request" status bytes seconds …`: the parts before and after the request line, if it is such a line.
fn split_log(line: &str) -> Option<(Vec<&str>, &str, Vec<&str>)> {
    let (before, rest) = line.split_once(" \"")?;
    let (request, after) = rest.rsplit_once("\" ")?;
    let (before, after): (Vec<_>, Vec<_>) = (before.split(' ').collect(), after.split(' ').collect());
    let stamp = before[0].len() == 24 && before[0].ends_with('Z') && before[0].as_bytes()[10] == b'T';
    (before.len() == 2 && after.len() >= 5 && stamp).then_some((before, request, after))
}

#[test]
fn the_access_log_has_one_line_for_each_request() {
    let origin = Origin::each(|conn, request| match request.target.as_str() {
        "/missing" => conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"),
        _ => conn.answer(request.what()),
    });
    let proxy = Config::to(&origin).set("workers", 2).start();
    let mut ids = Vec::new();
    for i in 0..30 {
        let mut client = proxy.client();
        let addr = client.addr().to_string();
        for (path, status, bytes) in [(format!("/a?{i}"), "200", 4 + 3 + i.to_string().len()), ("/missing".into(), "404", 4)] {
            let answer = client.get(&path);
            let line = proxy.log_of(answer.trace_id());
            let (before, request, after) = split_log(&line).unwrap_or_else(|| panic!("{line:?}"));
            assert_eq!((before[1], request), (addr.as_str(), format!("GET {path} HTTP/1.1").as_str()));
            assert_eq!(after[..2], [status, bytes.to_string().as_str()], "{line:?}");
            assert!(after[2].parse::<f64>().is_ok_and(|s| s < 10.0), "{line:?}");
            let (upstream, trace_id) = (format!("upstream={}", origin.addr()), format!("trace_id={}", answer.trace_id()));
            assert_eq!(after[3..], [upstream.as_str(), "attempts=1", trace_id.as_str()]);
            ids.push(answer.trace_id().to_owned());
        }
    }
    assert_eq!(proxy.log_lines().len(), 60);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 60);
}

#[test]
fn no_request_can_forge_a_line() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let forged = "2026-01-02T03:04:05.678Z 6.6.6.6:1 \"GET /forged HTTP/1.1\" 200 1 0.001 upstream=x attempts=1 trace_id=y";
    let requests = [
        "GET /a\" 200 1 0.001 upstream=x attempts=1 trace_id=y HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("GET /a\n{forged}\n HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /a\r{forged}\r HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("{forged}\r\n\r\n"),
        "GET /\x1b[2J\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /a\"b\\c%0a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /\u{85}\u{2028}\u{9b} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "\0\x01\x02\u{7f} / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    ];
    for request in &requests {
        let answer = ask(proxy.addr(), request);
        proxy.log_of(answer.trace_id());
    }
    let lines = proxy.log_lines();
    assert_eq!(lines.len(), requests.len(), "{lines:#?}");
    for line in &lines {
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
        let (before, ..) = split_log(line).unwrap_or_else(|| panic!("{line:?}"));
        assert!(before[1].starts_with("127.0.0.1:"), "{line:?}");
    }
    assert!(lines[4].contains("\\x1b[2J"), "{:?}", lines[4]);
}
