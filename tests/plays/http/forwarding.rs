//! A request goes to the origin and its answer comes back, however their bodies are framed.

use crate::support::*;
use std::time::Duration;

#[test]
fn a_get_is_answered_by_the_origin() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let answer = proxy.client().get("/a/b?c=%20d&e").expect(200);
    assert_eq!(answer.text(), "GET /a/b?c=%20d&e");
    let seen = origin.request();
    assert_eq!(seen.what(), "GET /a/b?c=%20d&e");
    assert_eq!(seen.fields.get("Host"), Some("play.test"));
    assert!(!seen.fields.has("Content-Length") && !seen.fields.has("Transfer-Encoding"), "{:?}", seen.fields);
}

#[test]
fn every_method_takes_its_body_along() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for method in ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GET", "REPORT"] {
        client.send(format!("{method} /m HTTP/1.1\r\nHost: play.test\r\nContent-Length: 10\r\n\r\nto {method:7}"));
        assert_eq!(client.response().expect(200).text(), format!("to {method:7}"));
    }
    client.send("POST /m HTTP/1.1\r\nHost: play.test\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(client.response().expect(200).text(), "");
    let methods = origin.requests().into_iter().map(|r| r.method).collect::<Vec<_>>();
    assert_eq!(methods, ["POST", "PUT", "PATCH", "DELETE", "OPTIONS", "GET", "REPORT", "POST"]);
}

#[test]
fn a_chunked_request_arrives_without_its_extensions_but_with_its_trailers() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: play.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n");
    client.send("5;secret=\"a;b\"\r\nhello\r\n006 ; x\r\n world\r\n0;last\r\nX-Sum: 42\r\n\r\n");
    assert_eq!(client.response().expect(200).text(), "hello world");
    let seen = origin.request();
    assert_eq!(seen.text(), "hello world");
    assert_eq!(seen.trailers.get("X-Sum"), Some("42"));
    assert!(seen.sizes.iter().all(|line| !line.contains([';', ' '])), "{:?}", seen.sizes);
    assert_eq!(client.get("/next").expect(200).text(), "");
}

#[test]
fn a_chunked_answer_arrives_without_its_extensions_but_with_its_trailers() {
    let origin = Origin::saying(
        "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n\
         5;secret=1\r\nhello\r\nB\r\n, the world\r\n0;end\r\nX-Sum: 42\r\n\r\n",
    );
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/").expect(200);
        assert_eq!(answer.text(), "hello, the world");
        assert_eq!(answer.trailers.get("X-Sum"), Some("42"));
        assert!(answer.sizes.iter().all(|line| !line.contains(';')), "{:?}", answer.sizes);
    }
    assert_eq!(origin.connections(), 1);
}

#[test]
fn an_answer_that_ends_with_its_connection_is_chunked_for_a_client_of_1_1() {
    let origin = Origin::start(|conn| {
        conn.read_request();
        conn.send("HTTP/1.1 200 OK\r\n\r\nuntil the end");
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/").expect(200);
        assert!(answer.fields.lists("Transfer-Encoding", "chunked"), "{:?}", answer.fields);
        assert_eq!(answer.text(), "until the end");
    }
}

#[test]
fn a_client_of_1_0_gets_no_chunks() {
    let closing = Origin::start(|conn| {
        conn.read_request();
        conn.send("HTTP/1.1 200 OK\r\n\r\nhello");
    });
    let chunking = Origin::saying("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX-T: 1\r\n\r\n");
    for origin in [closing, chunking] {
        let proxy = Config::to(&origin).start();
        // Keep-alive is impossible here: only the close ends the body.
        let answer = ask(proxy.addr(), "GET / HTTP/1.0\r\nHost: play.test\r\nConnection: keep-alive\r\n\r\n").expect(200);
        assert!(!answer.fields.has("Transfer-Encoding") && !answer.fields.has("Content-Length"), "{:?}", answer.fields);
        assert_eq!(answer.text(), "hello");
    }
}

#[test]
fn a_client_of_1_0_keeps_its_connection_only_if_it_asks_to() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for path in ["/1", "/2"] {
        client.send(format!("GET {path} HTTP/1.0\r\nHost: play.test\r\nConnection: Keep-Alive\r\n\r\n"));
        let answer = client.response().expect(200);
        assert_eq!(answer.text(), format!("GET {path}"));
        assert!(answer.fields.lists("Connection", "keep-alive"), "{:?}", answer.fields);
    }
    client.send("GET /3 HTTP/1.0\r\nHost: play.test\r\n\r\n");
    assert_eq!(client.response().expect(200).text(), "GET /3");
    assert_eq!(client.expect_end(), End::Closed);
}

#[test]
fn a_request_of_1_0_without_a_host_gets_the_upstreams() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    ask(proxy.addr(), "GET /old HTTP/1.0\r\n\r\n").expect(200);
    assert_eq!(origin.request().fields.get("Host"), Some(origin.addr().to_string().as_str()));
}

#[test]
fn answers_without_a_body_leave_the_connection_in_step() {
    let origin = Origin::each(|conn, request| match request.target.as_str() {
        "/204" => conn.send("HTTP/1.1 204 No Content\r\n\r\n"),
        "/304" => conn.send("HTTP/1.1 304 Not Modified\r\nETag: \"x\"\r\nContent-Length: 100\r\n\r\n"),
        "/head" => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1234\r\n\r\n"),
        "/head-chunked" => conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        _ => conn.answer(request.what()),
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/204").expect(204).body, b"");
    assert_eq!(client.get("/304").expect(304).fields.get("ETag"), Some("\"x\""));
    client.send("HEAD /head HTTP/1.1\r\nHost: play.test\r\n\r\n");
    assert_eq!(client.response_to("HEAD").expect(200).fields.get("Content-Length"), Some("1234"));
    client.send("HEAD /head-chunked HTTP/1.1\r\nHost: play.test\r\n\r\n");
    client.response_to("HEAD").expect(200);
    assert_eq!(client.get("/last").expect(200).text(), "GET /last");
    // How many connections that takes depends on how long each rests after an answer without content.
    assert_eq!(origin.requests().len(), 5);
}

#[test]
fn the_origins_own_errors_are_its_own() {
    let origin = Origin::saying("HTTP/1.1 503 Busy\r\nRetry-After: 7\r\nContent-Length: 4\r\n\r\nbusy");
    let proxy = Config::to(&origin).start();
    let answer = proxy.client().get("/").expect(503);
    assert_eq!((answer.text(), answer.fields.get("Retry-After")), ("busy", Some("7")));
    assert!(!answer.fields.has("Proxy-Status"), "{:?}", answer.fields);
    assert!(!proxy.log_of(answer.trace_id()).contains("error="));
}

#[test]
fn bytes_may_come_one_at_a_time() {
    let pause = Duration::from_millis(1);
    let origin = Origin::each(move |conn, request| {
        let n = request.body.len();
        conn.send_slowly(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{n:x}\r\n"), pause);
        conn.send_slowly(&request.body, pause);
        conn.send_slowly("\r\n0\r\nX-T: 1\r\n\r\n", pause);
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let request = "POST / HTTP/1.1\r\nHost: play.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\nX: y\r\n\r\n";
        for byte in request.as_bytes().chunks(1) {
            client.send(byte);
            take_time(pause);
        }
        assert_eq!(client.response().expect(200).text(), "hello");
    }
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::each(move |conn, request| {
        opened.pass();
        conn.answer(request.what());
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send_get("/half");
    client.half_close();
    wait_until("the origin has the request", || origin.requests().len() == 1);
    assert!(client.is_quiet_for(Duration::from_millis(100)), "a FIN from the client ends nothing");
    gate.release(1);
    assert_eq!(client.response().expect(200).text(), "GET /half");
    assert_eq!(client.expect_end(), End::Closed);
}

#[test]
fn an_unreachable_origin_is_named_in_the_answer() {
    let nobody = nobody();
    let proxy = Config::to_all([nobody]).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/");
        let answer = proxy.expect_refusal(answer, 502, "connection_refused");
        assert!(answer.text().contains(&nobody.to_string()), "{:?}", answer.text());
    }
    let upstream = format!("upstream=\"{nobody}\"");
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[&upstream, "type=\"connection_refused\""]), 2.0);
}

#[test]
fn options_that_may_go_no_further_are_answered_here() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let options = |left| format!("OPTIONS / HTTP/1.1\r\nHost: a\r\nMax-Forwards: {left}\r\n\r\n");
    ask(proxy.addr(), options(0)).expect(204);
    assert_eq!(origin.requests().len(), 0);
    ask(proxy.addr(), options(1)).expect(200);
    assert_eq!(origin.request().fields.get("Max-Forwards"), Some("0"));
}
