//! Mistakes of other proxies in reading heads: invalid answers, fields for one connection, invalid hosts.

use crate::support::*;

/// Invalid answers were passed on as HTTP/0.9, or as the body of a 200.
#[test]
fn what_is_no_answer_is_never_passed_on_as_one() {
    let not_answers: [&[u8]; 16] = [
        b"<html>secret</html>",
        b"<html>secret</html>\r\n\r\n",
        b"secret\n",
        b"\x15\x03\x03\x00\x02\x02\x28secret\r\n\r\n",
        b"\x00\x00\x12\x04\x00\x00\x00\x00\x00secret\r\n\r\n",
        b"HTTP/0.9 200 OK\r\nX: secret\r\n\r\n",
        b"HTTP/1.10 200 OK\r\nX: secret\r\n\r\n",
        b"HTTP/1.1\r\nX: secret\r\n\r\n",
        b"HTTP/1.1 \r\nX: secret\r\n\r\n",
        b"HTTP/1.1 OK 200\r\nX: secret\r\n\r\n",
        b"HTTP/1.1 099 OK\r\nX: secret\r\n\r\n",
        b"HTTP/1.1 600 OK\r\nX: secret\r\n\r\n",
        b"http/1.1 200 OK\r\nX: secret\r\n\r\n",
        b"HTTP/1.1 200 OK\nX: secret\n\n",
        b"HTTP/1.1 200 OK\r\nsecret\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX: secret",
    ];
    let origin = Origin::start(move |conn| {
        let Some(request) = conn.read_request() else { return };
        conn.send(not_answers[request.target[1..].parse::<usize>().unwrap()]);
    });
    let proxy = Config::to(&origin).start();
    for (i, bytes) in not_answers.iter().enumerate() {
        for version in ["1.1", "1.0"] {
            let answer = ask(proxy.addr(), format!("GET /{i} HTTP/{version}\r\nHost: a\r\n\r\n")).expect(502);
            let reason = answer.fields.get("Proxy-Status").unwrap();
            let reasons = ["http_protocol_error", "http_response_incomplete"];
            assert!(reasons.iter().any(|known| reason.ends_with(known)), "{reason} for {:?}", String::from_utf8_lossy(bytes));
            // First bytes that begin no status line stand in the sentence; nothing passes as an answer.
            assert!(answer.text().starts_with("502 http_") && !answer.fields.has("X"), "{answer:?}");
        }
    }
}

/// Fields that `Connection` names were passed on (nginx, HAProxy); or it could name away what others rely on.
#[test]
fn what_connection_names_ends_here() {
    let origin = Origin::each(|conn, request| {
        conn.send(format!(
            "HTTP/1.1 200 OK\r\n{}\r\nContent-Length: 2\r\n\r\nok",
            request.fields.get("X-Say").unwrap().replace('/', "\r\n")
        ));
    });
    let proxy = Config::to(&origin).start();
    for fields in [
        "Connection: x-hop/X-Hop: 1/x-hop: 2",
        "X-HOP: 1/Connection: close,,x-other , X-Hop",
        "Connection: x-other/X-Hop: 1/connection: ,\tX-HOP",
    ] {
        let lines = fields.replace('/', "\r\n");
        let answer = ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: a\r\n{lines}\r\nX-Say: {fields}\r\nX-Kept: 1\r\n\r\n")).expect(200);
        let seen = origin.requests().pop().unwrap().fields;
        assert!(!seen.has("X-Hop") && seen.has("X-Kept") && !seen.lists("Connection", "x-hop"), "{seen:?}");
        assert!(!answer.fields.has("X-Hop") && !answer.fields.lists("Connection", "x-hop"), "{:?}", answer.fields);
    }
    // An answer's length and date are not its hop's either.
    let say = "Connection: close, content-length, date, via/Date: Thu, 01 Jan 1970 00:00:00 GMT";
    let answer = ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: a\r\nX-Say: {say}\r\n\r\n")).expect(200);
    assert_eq!((answer.text(), answer.fields.get("Content-Length")), ("ok", Some("2")));
    assert!(answer.fields.has("Date") && answer.fields.has("Via"));
}

/// A `Host` that is not one went on: to the wrong virtual host, into links, into cache keys.
#[test]
fn a_host_is_a_host() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let hosts = [
        "",
        " ",
        "a b",
        "a\tb",
        "a/b",
        "a\\b",
        "a?b",
        "a#b",
        "u@a",
        "127.0.0.1:80@evil.test",
        "http://a",
        "a:b",
        "a:80:80",
        "a:-1",
        "a:65536",
        ":80",
        "::1",
        "[::1",
        "[::1]80",
        "[a]",
        "[]",
        "\"a\"",
        "<a>",
        "{a}",
        "a|b",
        "a^b",
        "a`b",
        "a\u{e9}",
    ];
    for host in hosts {
        // An absolute target does not excuse it, nor does the old version.
        for line in ["GET / HTTP/1.1", "GET http://a/ HTTP/1.1", "GET / HTTP/1.0"] {
            refused(&proxy, format!("{line}\r\nHost: {host}\r\n\r\n"), &[400]);
        }
        // What ends an authority is no part of one.
        if !host.contains(['/', '?']) {
            refused(&proxy, format!("GET http://{host}/ HTTP/1.1\r\nHost: a\r\n\r\n"), &[400]);
        }
    }
    for fields in ["X: y\r\n", "Host: a\r\nHost: a\r\n", "Host: a\r\nhOST: b\r\n", " Host: a\r\n", "X: y\r\n Host: a\r\n", "Host : a\r\n"] {
        refused(&proxy, format!("GET / HTTP/1.1\r\n{fields}\r\n"), &[400]);
    }
    assert_eq!(origin.connections(), 0);
    for host in ["a", "A.example:8080", "a:", "127.0.0.1", "[::1]:80", "a_b.test", "xn--caf-dma.test"] {
        ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect(200);
        assert_eq!(origin.requests().pop().unwrap().fields.get("Host"), Some(host));
    }
}
