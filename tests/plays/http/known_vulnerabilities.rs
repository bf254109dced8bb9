//! Known mistakes of other proxies, servers and libraries, with their numbers: where those got out of step, this one must not.
//! (Cache keys, CVE-2026-2836, follow with the cache.)

use crate::support::*;
use serde_json::json;
use std::time::Duration;

/// Looks like a request, but is none where a request cannot begin.
const SMUGGLED: &str = "GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n";
const AFTER: &str = "GET /main/after HTTP/1.1\r\nHost: a\r\n\r\n";

#[track_caller]
fn expect_nothing_smuggled(proxy: &Proxy, origin: &Origin) {
    let seen = origin.heads().into_iter().find(|head| head.target.contains("smuggled"));
    assert!(seen.is_none(), "{seen:?}");
    let logged = proxy.log_lines().into_iter().find(|line| line.contains("GET /smuggled"));
    assert_eq!(logged, None);
}

/// Both framings of a body.
fn bodies(content: &str) -> [String; 2] {
    let n = content.len();
    [format!("Content-Length: {n}\r\n\r\n{content}"), format!("Transfer-Encoding: chunked\r\n\r\n{n:x}\r\n{content}\r\n0\r\n\r\n")]
}

/// Pingora CVE-2025-4366: the rest of a request that was answered early was read as the next request.
#[test]
fn what_is_left_of_a_request_answered_early_is_no_request() {
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.read_head() {
            let is_early = head.target == "/main/early";
            if is_early {
                conn.answer("early");
            }
            match conn.read_body(head) {
                Some(request) if !is_early => conn.answer(request.what()),
                Some(_) => {}
                None => return,
            }
        }
    });
    let upstreams = |port: u16| json!([{"host": "127.0.0.1", "port": port}]);
    let routes = json!([
        {"match": {"path_prefix": "/main"}, "proxy": "main"},
        {"match": {"path": "/gone"}, "proxy": "gone"},
        {"match": {"path": "/made"}, "respond": {"status": 200, "body": "made here"}},
        {"match": {"path": "/echo"}, "echo": {"name": "e"}},
    ]);
    let config = Config::new().set("pools.main.upstreams", upstreams(origin.port())).set("routes", routes);
    let proxy = config.set("pools.gone.upstreams", upstreams(free_port())).set("limits.max_body_size", 1000).start();
    let loops = format!("Via: {}\r\n", ["1.1 tidegate"; 10].join(", "));
    let (whole, oversize) = (SMUGGLED.to_owned(), SMUGGLED.repeat(50));
    // Whether the answer comes before the body.
    let cases = [
        ("POST /nowhere", "", &whole, 404, true),
        ("POST /main", "", &oversize, 413, true),
        ("POST /main", "Expect: tea\r\n", &whole, 417, true),
        ("TRACE /main", "", &whole, 501, true),
        ("CONNECT a:1", "", &whole, 501, true),
        ("POST /main", "X : y\r\n", &whole, 400, true),
        ("POST /main", loops.as_str(), &whole, 508, true),
        ("POST /gone", "", &whole, 502, true),
        ("POST /main/early", "", &whole, 200, true),
        ("POST /made", "", &whole, 200, false),
        ("POST /echo", "", &whole, 200, false),
    ];
    for (line, fields, content, status, may_be_early) in cases {
        for body in bodies(content) {
            for comes_late in [false, true] {
                let is_announced = body.starts_with("Content-Length");
                if comes_late && (!may_be_early || (status == 413 && !is_announced)) {
                    continue;
                }
                let (framing, rest) = body.split_at(body.find("\r\n\r\n").unwrap() + 4);
                let head = format!("{line} HTTP/1.1\r\nHost: a\r\n{fields}{framing}");
                let mut client = proxy.client();
                let answer = if comes_late {
                    client.send(head);
                    let answer = client.response();
                    let _ = client.try_send([rest, AFTER].concat());
                    answer
                } else {
                    let _ = client.try_send([&head, rest, AFTER].concat());
                    client.response()
                };
                let what = format!("{line} {fields}{framing:?} late: {comes_late}");
                assert_eq!((answer.status, answer.cut), (status, None), "{what}");
                let next = client.try_response_to("GET");
                assert_eq!(next.is_err(), answer.fields.lists("Connection", "close"), "{what}: {next:?}");
                match next {
                    Ok(next) => assert_eq!(next.expect(200).text(), "GET /main/after", "{what}"),
                    Err(end) => assert_ne!(end, End::Silent, "{what}"),
                }
            }
        }
    }
    expect_nothing_smuggled(&proxy, &origin);
}

/// Pingora CVE-2026-2833: bytes behind a request with `Upgrade` were passed through before the upstream had switched.
#[test]
fn nothing_passes_through_before_101() {
    for answer in [
        "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 200 OK\r\nConnection: upgrade\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 426 Upgrade Required\r\nUpgrade: websocket\r\nContent-Length: 0\r\n\r\n",
        "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n",
        "HTTP/1.1 304 Not Modified\r\nContent-Length: 50\r\n\r\n",
    ] {
        let origin = Origin::start(move |conn| {
            while let Some(request) = conn.read_request() {
                if request.fields.has("Upgrade") {
                    assert!(conn.wire().is_quiet_for(Duration::from_millis(50)), "bytes came before the answer");
                    conn.send(answer);
                } else {
                    // It came as a separate request.
                    assert!(request.fields.has("Via"), "{request:?}");
                    conn.answer(request.what());
                }
            }
        });
        let proxy = Config::to(&origin).start();
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n{SMUGGLED}"));
        assert!(client.response().status != 101);
        assert_eq!(client.response().expect(200).text(), "GET /smuggled");
        assert!(proxy.log_with("GET /smuggled").contains("\" 200 "), "it is a request like any other");
    }
}

/// Pingora CVE-2026-2835: HTTP/1.0 requests with `Transfer-Encoding`, and requests whose body lasts until the close.
#[test]
fn a_request_of_1_0_has_a_length_or_no_body() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    for fields in [
        "Transfer-Encoding: chunked\r\n",
        "Transfer-Encoding: identity\r\n",
        "Connection: keep-alive\r\nTransfer-Encoding: chunked\r\n",
        "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
        "Connection: keep-alive, transfer-encoding\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    ] {
        refused(&proxy, format!("POST / HTTP/1.0\r\nHost: a\r\n{fields}\r\n0\r\n\r\n"), &[400]);
    }
    assert_eq!(origin.connections(), 0);
    let mut client = proxy.client();
    client.send(format!("POST /until-close HTTP/1.0\r\n\r\n{SMUGGLED}"));
    client.half_close();
    assert_eq!(client.response().expect(200).text(), "");
    client.expect_end();
    let mut client = proxy.client();
    client.send(format!("POST /no-length HTTP/1.1\r\nHost: a\r\n\r\n{AFTER}"));
    assert_eq!(client.response().expect(200).text(), "");
    client.response().expect(200);
    assert_eq!(origin.requests().iter().map(|r| r.target.as_str()).collect::<Vec<_>>(), ["/until-close", "/no-length", "/main/after"]);
    expect_nothing_smuggled(&proxy, &origin);
}

/// nghttpx CVE-2026-58055: `Upgrade` with a body, on a pooled connection. It is sent whole first, and neither connection is kept.
#[test]
fn what_follows_an_upgrade_with_a_body_is_no_request() {
    let origin = Origin::each(|conn, request| conn.answer(request.what()));
    let proxy = Config::to(&origin).start();
    for body in bodies(SMUGGLED) {
        let mut client = proxy.client();
        client.get("/main/pooled").expect(200);
        client.send(format!("POST /main HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: websocket\r\n{body}{AFTER}"));
        client.response().expect(200);
        client.expect_end();
    }
    let posts = origin.requests().into_iter().filter(|r| r.method == "POST").collect::<Vec<_>>();
    assert!(posts.len() == 2 && posts.iter().all(|r| r.text() == SMUGGLED), "{posts:?}");
    assert!(origin.requests().iter().all(|r| r.target != "/main/after"));
    expect_nothing_smuggled(&proxy, &origin);
}

/// HAProxy CVE-2023-40225: an empty `Content-Length` was passed on, and read as 0 or as nothing.
#[test]
fn an_empty_length_is_no_length() {
    let origin = Origin::start(|conn| {
        while let Some(request) = conn.read_request() {
            let length = request.fields.get("X-Length").unwrap().replace('/', "\r\n");
            conn.send(format!("HTTP/1.1 200 OK\r\n{length}\r\n\r\nhello"));
        }
    });
    let proxy = Config::to(&origin).start();
    for length in [
        "Content-Length:",
        "Content-Length: ",
        "Content-Length:\t",
        "Content-Length: ,",
        "Content-Length:/Content-Length: 5",
        "Content-Length: 5/Content-Length:",
        "content-length:/Transfer-Encoding: chunked",
    ] {
        refused(&proxy, format!("POST / HTTP/1.1\r\nHost: a\r\n{}\r\n\r\nhello", length.replace('/', "\r\n")), &[400]);
        assert_eq!(origin.requests().len(), 0);
    }
    for length in [
        "Content-Length:",
        "Content-Length: ",
        "Content-Length: ,",
        "Content-Length:/Content-Length: 5",
        "Content-Length: 5/Content-Length:",
    ] {
        let answer = ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: a\r\nX-Length: {length}\r\n\r\n"));
        proxy.expect_refusal(answer, 502, "http_protocol_error");
    }
    wait_until("none of these connections is kept", || origin.open() == 0);
}

/// h11 CVE-2025-43859: whatever two bytes stood behind a chunk's data were taken for its end.
#[test]
fn chunk_data_ends_in_crlf_and_nothing_else() {
    let origin = Origin::each(|conn, request| match request.fields.get("X-End") {
        Some(end) => {
            let end: Vec<u8> = end.split(' ').map(|b| u8::from_str_radix(b, 16).unwrap()).collect();
            conn.send([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello".as_slice(), &end, b"0\r\n\r\n"].concat());
        }
        None => conn.answer(request.what()),
    });
    let proxy = Config::to(&origin).start();
    for end in ["XX", "\n", "\r", "\n\r", "\r\r\n", "\n\n", "\r\n\n", " \r\n", "\0\n", "\r\0", "0\n", "2e\r\n"] {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        refused(&proxy, format!("{head}5\r\nhello{end}0\r\n\r\n"), &[400]);
        let hex = end.bytes().map(|b| format!("{b:x}")).collect::<Vec<_>>().join(" ");
        let answer = ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: a\r\nX-End: {hex}\r\n\r\n"));
        assert!(answer.status == 502 || answer.cut.is_some(), "{end:?}: {answer:?}");
    }
    assert!(origin.requests().iter().all(|request| request.method == "GET"), "no such body is whole");
    expect_nothing_smuggled(&proxy, &origin);
}

/// Go CVE-2023-39326: chunk extensions that made the receiver read many times what it was given to use.
#[test]
fn chunk_extensions_may_not_outweigh_the_data() {
    let chunks = |extension: usize, n: usize| format!("1;x={}\r\nd\r\n", "y".repeat(extension)).repeat(n) + "0\r\n\r\n";
    let (modest, greedy) = (chunks(20, 1000), chunks(1000, 1000));
    let (modest_answer, greedy_answer) = (modest.clone(), greedy.clone());
    let origin = Origin::each(move |conn, request| match request.method.as_str() {
        "POST" => conn.answer(&request.body),
        _ => {
            let body = if request.target == "/greedy" { &greedy_answer } else { &modest_answer };
            conn.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{body}"));
        }
    });
    let proxy = Config::to(&origin).start();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let mut client = proxy.client();
    client.send(format!("{head}{modest}"));
    assert_eq!(client.response().expect(200).body.len(), 1000);
    assert_eq!(client.get("/modest").expect(200).body.len(), 1000);
    refused(&proxy, format!("{head}{greedy}"), &[400]);
    assert_eq!(origin.requests().len(), 2, "it went no further");
    let answer = proxy.get("/greedy");
    assert!(answer.status == 502 || answer.cut.is_some(), "{} {:?}", answer.status, answer.cut);
}
