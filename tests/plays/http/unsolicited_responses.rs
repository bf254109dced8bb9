//! What an upstream sends unasked reaches no client: neither after an answer, nor late, nor before a close.

use crate::support::*;
use std::time::Duration;

/// A whole answer that nobody asked for.
const EVIL: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL";

/// The answer that a client is to have.
const MINE: &str = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine";

/// Says `answer` to a request for `/stray`, and `stray` that much later.
fn straying(answer: &'static str, stray: &'static str, late: Duration) -> Origin {
    Origin::each(move |conn, request| {
        let is_asked = request.target.starts_with("/stray");
        conn.send(if is_asked { answer } else { MINE });
        if is_asked {
            take_time(late);
            conn.send(stray);
        }
    })
}

/// Two clients at a time: one causes the stray answer; the other, whose request is queued or comes right after, must get its own.
fn strays_reach_nobody(origin: &Origin, method: &str, places: usize) {
    let proxy = Config::to(origin).set("limits.max_conns_per_upstream", places).set("workers", 1).start();
    for _ in 0..40 {
        let (mut first, mut second) = (proxy.client(), proxy.client());
        let pair = format!("{method} /stray HTTP/1.1\r\nHost: a\r\n\r\nGET /next HTTP/1.1\r\nHost: a\r\n\r\n");
        first.send(pair);
        second.send_get("/other");
        first.response_to(method);
        for client in [&mut first, &mut second] {
            assert_eq!(client.response().expect(200).text(), "mine", "behind {method}");
        }
    }
}

#[test]
fn content_behind_an_answer_that_has_none_is_nobodys_answer() {
    let answers = [
        ("HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 44\r\n\r\n"),
        ("GET", "HTTP/1.1 204 None\r\n\r\n"),
        ("GET", "HTTP/1.1 304 Same\r\nContent-Length: 44\r\n\r\n"),
        ("GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ];
    for (method, answer) in answers {
        let origin = straying(answer, EVIL, Duration::from_micros(500));
        strays_reach_nobody(&origin, method, 1);
        strays_reach_nobody(&origin, method, 1000);
    }
}

#[test]
fn content_that_was_declared_where_none_may_be_is_nobodys_answer() {
    let chunks = "2c\r\nHTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nEVIL!\r\n0\r\n\r\n";
    let answers = [
        ("GET", "HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n", chunks),
        ("GET", "HTTP/1.1 204 None\r\nContent-Length: 44\r\n\r\n", EVIL),
        ("GET", "HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n", chunks),
        ("HEAD", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", EVIL),
    ];
    for (method, answer, stray) in answers {
        let origin = straying(answer, stray, Duration::from_millis(20));
        let proxy = Config::to(&origin).start();
        for _ in 0..5 {
            let mut client = proxy.client();
            client.send(format!("{method} /stray HTTP/1.1\r\nHost: a\r\n\r\n"));
            client.response_to(method);
            wait_until("it is closed", || origin.open() == 0);
            assert_eq!(client.get("/next").expect(200).text(), "mine");
        }
        assert_eq!(origin.heads().iter().filter(|head| head.conn == 1).count(), 1, "it serves nobody else");
    }
}

#[test]
fn late_content_behind_any_answer_is_nobodys_answer() {
    for stray in ["\r\n", "more of the same", "<html>\r\n\r\n"] {
        let origin = straying(MINE, stray, Duration::from_micros(500));
        strays_reach_nobody(&origin, "GET", 1);
        strays_reach_nobody(&origin, "GET", 1000);
    }
}

/// Answers the first request of a connection, and at the second says something else instead.
fn unfaithful(instead: &'static str) -> Origin {
    Origin::start(move |conn| {
        let Some(request) = conn.read_request() else { return };
        conn.answer(request.what());
        if conn.read_request().is_some() {
            conn.send(instead);
        }
    })
}

const FAREWELL: &str = "HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\nConnection: close\r\n\r\n";

#[test]
fn a_farewell_that_crosses_a_request_is_no_answer_to_it() {
    for instead in [FAREWELL, "HTTP/1.0 408 Request Timeout\r\n\r\n", "\r\n", "goodbye\r\n"] {
        let origin = unfaithful(instead);
        let proxy = Config::to(&origin).set("retry.max_retries", 0).start();
        let mut client = proxy.client();
        for i in 0..6 {
            assert_eq!(client.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"));
        }
        // It is no retry, and no fault of the origin's.
        assert_eq!(proxy.metric("proxy_retries_total", &[]), 0.0);
        assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0);
        assert_eq!(proxy.metric("proxy_upstream_requests_total", &[]), 6.0);
    }
}

#[test]
fn what_may_not_be_sent_twice_has_the_farewell_for_an_answer() {
    let origin = unfaithful(FAREWELL);
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.get("/warm").expect(200);
    client.post("/pay", "one").expect(408);
    assert_eq!(origin.requests().iter().filter(|request| request.method == "POST").count(), 1);
    let origin = unfaithful("goodbye\r\n");
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.get("/warm").expect(200);
    let answer = client.post("/pay", "one");
    let answer = proxy.expect_refusal(answer, 502, "http_protocol_error");
    assert!(answer.text().contains("\"goodbye"), "{}", answer.text());
    assert_eq!(origin.requests().iter().filter(|request| request.method == "POST").count(), 1);
}

#[test]
fn a_408_on_a_fresh_connection_is_an_answer() {
    let origin = Origin::start(|conn| {
        conn.read_request();
        conn.send(FAREWELL);
    });
    let proxy = Config::to(&origin).start();
    proxy.get("/").expect(408);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn who_asks_again_and_again_without_content_needs_few_connections() {
    let origin = Origin::each(|conn, _| conn.send("HTTP/1.1 204 None\r\n\r\n"));
    let proxy = Config::to(&origin).set("workers", 1).start();
    let mut client = proxy.client();
    let mut asked = 0;
    wait_until("most are served by a connection that has rested", || {
        client.get("/").expect(204);
        asked += 1;
        origin.connections() * 4 <= asked
    });
    // Without a pause, and with one place, each takes the place of the one before; nobody waits for its rest.
    let proxy = Config::to(&origin).set("workers", 1).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 0).start();
    let mut client = proxy.client();
    for _ in 0..200 {
        client.get("/").expect(204);
    }
    assert_eq!(proxy.metric("proxy_upstream_requests_total", &[]), 200.0);
}

#[test]
fn an_origin_of_another_protocol_is_told_at_its_first_words() {
    for (banner, shown) in [
        ("SSH-2.0-OpenSSH_9.6\r\n", "\"SSH-2.0-OpenSSH_9.6\\r\\n\""),
        ("220 mail.test ESMTP\r\n", "\"220 mail.test ESMTP\\r\\n\""),
        ("\x15\x03\x03\x00\x02\x02\x28", "\"\\x15\\x03\\x03\\x00\\x02\\x02(\""),
    ] {
        let origin = Origin::start(move |conn| {
            conn.send(banner);
            conn.wait_for_end();
        });
        // Far beyond the patience of this test.
        let proxy = Config::to(&origin).set("timeouts.read_ms", 120_000).set("retry.max_retries", 0).start();
        let answer = proxy.get("/");
        let answer = proxy.expect_refusal(answer, 502, "http_protocol_error");
        assert!(answer.text().contains(shown), "{}", answer.text());
    }
}

#[test]
fn as_many_interim_answers_as_an_origin_likes() {
    let origin = Origin::each(|conn, request| {
        conn.send("HTTP/1.1 102 Processing\r\n\r\n".repeat(200));
        conn.answer(request.what());
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/a").expect(200);
        assert_eq!((answer.text(), &answer.interim[..]), ("GET /a", &[102; 200][..]));
    }
    assert_eq!(proxy.metric("proxy_errors_total", &[]), 0.0);
}

#[test]
fn endless_interim_answers_are_bounded_by_the_client_and_by_time() {
    let origin = Origin::start(|conn| {
        conn.read_request();
        let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(900)).repeat(100);
        while conn.wire().write(hint.as_bytes()).is_ok() {}
    });
    let proxy = Config::to(&origin).set("timeouts.client_write_ms", 1000).start();
    let before = proxy.rss_bytes();
    let mut client = Client::with_small_buffer(proxy.addr(), 4096);
    client.send_get("/");
    proxy.log_with("client_write_timeout");
    assert!(proxy.rss_bytes() < before + 8_000_000, "{} after {before}", proxy.rss_bytes());
    let proxy = Config::to(&origin).set("timeouts.total_ms", 1000).start();
    let answer = proxy.client().get("/");
    assert!(answer.interim.len() > 100);
    proxy.expect_refusal(answer, 504, "http_response_timeout");
}
