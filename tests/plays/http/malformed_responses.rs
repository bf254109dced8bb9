//! An origin that breaks framing harms only one exchange, and the client can always tell.

use crate::support::*;
use std::time::Duration;

/// Reads a request, sends `bytes` and ends the connection by `end`.
fn ending(bytes: &'static [u8], end: fn(&mut Conn)) -> Origin {
    Origin::start(move |conn| {
        conn.read_request();
        conn.send(bytes);
        end(conn);
    })
}

/// Keeps the connection until the proxy ends it.
fn waits(conn: &mut Conn) {
    conn.wait_for_end();
}

#[test]
fn a_malformed_head_becomes_502() {
    let heads: [&[u8]; 18] = [
        b"garbage\r\n\r\n",
        b"hello, this is HTTP/0.9\r\n\r\n",
        b"HTTP/1.1 abc OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 20 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 2000 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 -20 OK\r\nContent-Length: 2\r\n\r\nok",
        b" HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"ICY 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/2.0 200 OK\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nok!",
        b"HTTP/1.1 200 OK\r\nContent-Length: two\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: +2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999999999999\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\nno colon\r\nContent-Length: 2\r\n\r\nok",
        b"HTTP/1.1 200 OK\r\n: no name\r\nContent-Length: 2\r\n\r\nok",
        b"\0\0\0\0\r\n\r\n",
    ];
    for head in heads {
        let what = String::from_utf8_lossy(head);
        let origin = ending(head, waits);
        let proxy = Config::to(&origin).set("timeouts.read_ms", 10_000).start();
        let mut client = proxy.client();
        client.send_get("/");
        let answer = client.response();
        assert_eq!(answer.status, 502, "for {what:?}");
        proxy.expect_refusal(answer, 502, "http_protocol_error");
        wait_until("the proxy has closed that connection", || origin.open() == 0);
        client.send_get("/again"); // and the client's connection is none the worse
        assert_eq!(client.response().status, 502);
        assert_eq!(proxy.metric("proxy_upstream_errors_total", &["type=\"other\""]), 2.0, "{what:?}");
    }
}

#[test]
fn a_control_in_an_answers_head_is_not_passed_on() {
    for bad in ["X: a\0b", "X: a\rb", "X: a\x01b", "X: a\r\n b", "X : b"] {
        let origin = Origin::saying(format!("HTTP/1.1 200 OK\r\n{bad}\r\nContent-Length: 2\r\n\r\nok"));
        let proxy = Config::to(&origin).start();
        let answer = proxy.client().get("/"); // strictly read
        let whole = answer.status == 200 && answer.body == b"ok" && answer.cut.is_none();
        assert!(whole || answer.status == 502, "{bad:?}: {answer:?}");
    }
}

#[test]
fn a_head_over_the_limits_becomes_502() {
    let field = format!("HTTP/1.1 200 OK\r\nX: {}\r\nContent-Length: 2\r\n\r\nok", "y".repeat(17_000));
    let many = format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", "X: y\r\n".repeat(200));
    let endless = format!("HTTP/1.1 200 OK\r\n{}", format!("X: {}\r\n", "y".repeat(1000)).repeat(90));
    for head in [field, many, endless] {
        let origin = Origin::saying(head);
        let proxy = Config::to(&origin).start();
        let answer = proxy.client().get("/");
        proxy.expect_refusal(answer, 502, "http_response_header_size");
    }
}

#[test]
fn a_head_that_breaks_off_becomes_502() {
    let begun: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Le";
    let interim_only: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";
    for (bytes, end) in [(begun, Conn::close as fn(&mut Conn)), (begun, Conn::reset), (interim_only, Conn::close)] {
        let origin = ending(bytes, end);
        let proxy = Config::to(&origin).start();
        let answer = proxy.client().get("/").expect(502);
        assert!(answer.fields.has("Proxy-Status"), "{:?}", answer.fields);
        assert_eq!(origin.requests().len(), 1, "an answer had begun");
    }
}

#[test]
fn a_switch_nobody_asked_for_becomes_502() {
    let origin = ending(b"HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n", waits);
    let proxy = Config::to(&origin).start();
    assert!(proxy.client().get("/").expect(502).fields.has("Proxy-Status"));
}

#[test]
fn an_answer_that_breaks_off_is_never_taken_for_a_whole_one() {
    let length: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello";
    let chunks: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n";
    let in_chunk: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\na\r\nhello";
    for bytes in [length, chunks, in_chunk] {
        for end in [Conn::close, Conn::reset] {
            let origin = ending(bytes, end);
            let proxy = Config::to(&origin).start();
            for version in ["1.1", "1.0"] {
                let answer = ask(proxy.addr(), format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
                if answer.status == 502 {
                    continue; // the end may come before a byte of the answer was passed on
                }
                assert!(answer.cut.is_some(), "a whole answer for {version}: {answer:?}");
                let line = proxy.log_of(answer.trace_id());
                let reasons = [" error=http_response_incomplete ", " error=connection_terminated "];
                assert!(reasons.iter().any(|reason| line.contains(reason)), "{line:?}");
            }
            assert!(proxy.metric("proxy_errors_total", &[]) >= 2.0);
        }
    }
}

#[test]
fn an_answer_that_breaks_off_later_is_cut() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |conn| {
        conn.read_request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        opened.pass();
    });
    let proxy = Config::to(&origin).start();
    for version in ["1.1", "1.0"] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let begun = client.head().unwrap();
        let mut body = Vec::new();
        client.wire.take(5, &mut body).unwrap();
        gate.release(1);
        client.expect_end();
        let line = proxy.log_of(begun.trace_id());
        assert!(line.contains("\" 200 5 ") && line.contains(" error=http_response_incomplete "), "{line:?}");
    }
    assert_eq!(proxy.metric("proxy_errors_total", &["reason=\"http_response_incomplete\""]), 2.0);
}

#[test]
fn a_malformed_chunk_of_an_answer_is_never_passed_on_as_its_end() {
    let bodies: [&[u8]; 6] = [
        b"zz\r\nhello\r\n0\r\n\r\n",
        b"+5\r\nhello\r\n0\r\n\r\n",
        b"0x5\r\nhello\r\n0\r\n\r\n",
        b"5\r\nhelloXX0\r\n\r\n",
        b"5\nhello\r\n0\r\n\r\n",
        b"ffffffffffffffffff\r\nhello\r\n0\r\n\r\n",
    ];
    for body in bodies {
        let origin = Origin::saying([b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", body].concat());
        let proxy = Config::to(&origin).start();
        let answer = proxy.client().get("/");
        assert!(answer.status == 502 || answer.cut.is_some(), "{answer:?}");
        wait_until("the proxy has closed that connection", || origin.open() == 0);
    }
}

#[test]
fn bytes_behind_an_answer_are_nobodys_answer() {
    let origin = Origin::each(|conn, request| {
        let evil = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";
        let (what, n) = (request.what(), request.what().len());
        match request.method.as_str() {
            "HEAD" => conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{evil}", evil.len())),
            _ => conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n{what}{evil}")),
        }
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for i in 0..5 {
        assert_eq!(client.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"));
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        assert_eq!(client.response_to("HEAD").expect(200).body, b"");
    }
    assert_eq!(origin.connections(), 10, "none was used again");
}

#[test]
fn bytes_on_an_idle_connection_end_it() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |conn| {
        let request = conn.read_request().unwrap();
        conn.answer(request.what());
        opened.pass();
        conn.send("HTTP/1.1 408 Request Timeout\r\nContent-Length: 4\r\n\r\nEVIL");
        conn.wait_for_end();
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for i in 0..3 {
        assert_eq!(client.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"));
        gate.release(1);
        wait_until("the proxy has closed that connection", || origin.open() == 0);
    }
}

#[test]
fn a_close_delimited_answer_that_is_reset_is_cut() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |conn| {
        conn.read_request();
        conn.send("HTTP/1.1 200 OK\r\n\r\nhello");
        opened.pass();
        conn.reset();
    });
    let proxy = Config::to(&origin).start();
    for version in ["1.1", "1.0"] {
        let mut client = proxy.client();
        client.send(format!("GET / HTTP/{version}\r\nHost: a\r\n\r\n"));
        let begun = client.head().unwrap();
        wait_until("the first bytes are here", || !client.is_quiet_for(Duration::from_millis(10)));
        gate.release(1);
        let mut rest = Vec::new();
        let end = client.wire.rest(&mut rest);
        let whole = match begun.fields.has("Transfer-Encoding") {
            true => rest.ends_with(b"0\r\n\r\n"),
            false => end == End::Closed,
        };
        assert!(!whole, "{version}: {end:?} after {:?}", String::from_utf8_lossy(&rest));
    }
}
