//! Connections are kept on both sides, and a kept connection that has died causes no failure.

use crate::support::*;
use serde_json::json;
use std::time::{Duration, Instant};

#[test]
fn one_connection_on_each_side_carries_many_requests() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for i in 0..50 {
        assert_eq!(client.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"));
    }
    assert_eq!((origin.connections(), origin.requests().len()), (1, 50));
}

#[test]
fn clients_share_the_pooled_connection() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    for i in 0..5 {
        assert_eq!(proxy.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"));
    }
    assert_eq!(origin.connections(), 1);
    assert!(origin.requests().iter().all(|r| !r.fields.lists("Connection", "close")), "the client's close is its own");
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let origin = Origin::each(|conn, request| match request.method.as_str() {
        "HEAD" => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
        _ => conn.answer(format!("{} {}", request.what(), request.text())),
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    let mut burst = String::new();
    for i in 0..20 {
        burst += &format!("GET /{i} HTTP/1.1\r\nHost: play.test\r\n\r\n");
        burst += &format!("HEAD /{i} HTTP/1.1\r\nHost: play.test\r\n\r\n");
        burst += &format!("POST /{i} HTTP/1.1\r\nHost: play.test\r\nContent-Length: 4\r\n\r\nGET ");
        burst += &format!("PUT /{i} HTTP/1.1\r\nHost: play.test\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    }
    client.send(burst);
    for i in 0..20 {
        assert_eq!(client.response().expect(200).text(), format!("GET /{i} "));
        assert_eq!(client.response_to("HEAD").expect(200).body, b"");
        assert_eq!(client.response().expect(200).text(), format!("POST /{i} GET "));
        assert_eq!(client.response().expect(200).text(), format!("PUT /{i} abc"));
    }
    // A connection that answered a HEAD rests for a moment before it serves again.
    assert!(origin.connections() <= 21, "{} connections", origin.connections());
}

#[test]
fn after_connection_close_nothing_more_is_served() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send("GET /1 HTTP/1.1\r\nHost: play.test\r\nConnection: x, CLOSE\r\n\r\nGET /2 HTTP/1.1\r\nHost: play.test\r\n\r\n");
    let answer = client.response().expect(200);
    assert!(answer.fields.lists("Connection", "close"), "{:?}", answer.fields);
    client.expect_end();
    proxy.get("/3").expect(200);
    assert_eq!(origin.requests().iter().map(|r| r.target.as_str()).collect::<Vec<_>>(), ["/1", "/3"]);
}

#[test]
fn an_origin_that_closes_is_not_met_again_on_that_connection() {
    let closing = "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok";
    let old = "HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\nok";
    for bytes in [closing, old] {
        // It announces the end and keeps the connection open all the same.
        let origin = Origin::start(move |conn| {
            while conn.read_request().is_some() {
                conn.send(bytes);
            }
        });
        let proxy = Config::to(&origin).start();
        let mut client = proxy.client();
        for _ in 0..3 {
            let answer = client.get("/").expect(200);
            assert_eq!(answer.version, "HTTP/1.1");
            assert!(!answer.fields.lists("Connection", "close"), "the origin's close is its own");
        }
        assert_eq!(origin.connections(), 3, "{bytes:?}");
        wait_until("the proxy has closed them", || origin.open() == 0);
    }
}

/// An origin that ends each connection by `end` at its second request, unanswered.
fn one_answer_a_connection(end: fn(&mut Conn)) -> Origin {
    Origin::start(move |conn| {
        let Some(request) = conn.read_request() else {
            return;
        };
        conn.answer(request.what());
        if conn.read_request().is_some() {
            end(conn);
        }
    })
}

#[test]
fn a_get_on_a_pooled_connection_that_just_closed_is_saved() {
    for end in [Conn::close, Conn::reset] {
        let origin = one_answer_a_connection(end);
        let proxy = Config::to(&origin).start();
        let mut client = proxy.client();
        for i in 0..6 {
            assert_eq!(client.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"));
        }
        // It is no retry, and no fault of the origin's.
        assert_eq!(proxy.metric("proxy_retries_total", &[]), 0.0);
        assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0);
        assert_eq!(proxy.metric("proxy_responses_total", &["status_class=\"2xx\""]), 6.0);
        assert_eq!(proxy.metric("proxy_upstream_requests_total", &[]), 6.0);
    }
}

#[test]
fn a_put_that_is_saved_takes_its_body_along() {
    let origin = one_answer_a_connection(Conn::close);
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.get("/warm").expect(200);
    client.send("PUT /x HTTP/1.1\r\nHost: play.test\r\nContent-Length: 5\r\n\r\nhello");
    client.response().expect(200);
    let puts = origin.requests().into_iter().filter(|r| r.method == "PUT").collect::<Vec<_>>();
    assert!(puts.len() == 2 && puts.iter().all(|r| r.body == b"hello"), "{puts:?}");
}

#[test]
fn a_post_on_a_pooled_connection_that_just_closed_is_not_sent_twice() {
    for end in [Conn::close, Conn::reset] {
        let origin = one_answer_a_connection(end);
        let proxy = Config::to(&origin).start();
        let mut client = proxy.client();
        client.get("/warm").expect(200);
        let answer = client.post("/pay", "one");
        proxy.expect_refusal(answer, 502, "connection_terminated");
        assert_eq!(origin.requests().iter().filter(|r| r.method == "POST").count(), 1);
    }
}

#[test]
fn a_pooled_connection_that_was_seen_to_close_is_not_used() {
    let origin = Origin::start(|conn| {
        let request = conn.read_request();
        conn.answer(request.unwrap().what()); // and closes
    });
    let proxy = Config::to(&origin).start();
    for i in 0..3 {
        let upstream = format!("upstream=\"{}\"", origin.addr());
        let answer = proxy.client().post(&format!("/{i}"), "x").expect(200);
        assert_eq!(answer.text(), format!("POST /{i}"));
        wait_until("the proxy has noticed", || proxy.metric("proxy_upstream_connections", &[&upstream]) == 0.0);
    }
}

#[test]
fn a_fresh_connection_that_closes_unanswered_is_an_error() {
    for (end, method) in [(Conn::close as fn(&mut Conn), "GET"), (Conn::reset, "GET"), (Conn::close, "POST")] {
        let origin = Origin::start(move |conn| {
            conn.read_request();
            end(conn);
        });
        let proxy = Config::to(&origin).start();
        let mut client = proxy.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: play.test\r\nContent-Length: 0\r\n\r\n"));
        let answer = client.response();
        proxy.expect_refusal(answer, 502, "connection_terminated");
        assert_eq!(origin.requests().len(), 1);
        assert_eq!(proxy.metric("proxy_upstream_errors_total", &["type=\"other\""]), 1.0);
    }
}

#[test]
fn an_idle_pooled_connection_is_closed_in_time() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("timeouts.upstream_keepalive_ms", 300).start();
    let begin = Instant::now();
    proxy.get("/").expect(200);
    wait_until("the pooled connection is closed", || origin.open() == 0);
    assert!(begin.elapsed() >= Duration::from_millis(290), "too early: {:?}", begin.elapsed());
    wait_until("the gauge says so", || proxy.metric("proxy_upstream_connections", &[]) == 0.0);
    proxy.get("/").expect(200);
    assert_eq!(origin.connections(), 2);
}

#[test]
fn upstream_keepalive_of_0_keeps_nothing() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("timeouts.upstream_keepalive_ms", 0).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        client.get("/").expect(200);
    }
    assert_eq!(origin.connections(), 3);
    wait_until("all are closed", || origin.open() == 0);
}

#[test]
fn the_warmest_connection_is_used_first() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let proxy = Config::to(&origin).start();
    let mut clients = [proxy.client(), proxy.client(), proxy.client()];
    for client in &mut clients {
        client.send_get("/");
    }
    wait_until("three are in flight", || origin.requests().len() == 3);
    gate.release(100);
    for client in &mut clients {
        client.response().expect(200);
    }
    for _ in 0..10 {
        clients[0].get("/").expect(200);
    }
    let conns = origin.requests()[3..].iter().map(|r| r.conn).collect::<Vec<_>>();
    assert!(conns.iter().all(|c| *c == conns[0]), "last in, first out: {conns:?}");
}

#[test]
fn the_pool_keeps_no_more_than_it_may() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let proxy = Config::to(&origin).set("limits.upstream_idle_conns", 2).start();
    let mut clients = [(); 6].map(|_| proxy.client());
    for client in &mut clients {
        client.send_get("/");
    }
    wait_until("six are in flight", || origin.requests().len() == 6);
    gate.release(100);
    for client in &mut clients {
        client.response().expect(200);
    }
    wait_until("all but two are closed", || origin.open() == 2);
    assert_eq!(proxy.metric("proxy_upstream_connections", &["state=\"idle\""]), 2.0);
}

#[test]
fn an_answer_before_the_body_leaves_the_client_in_step() {
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.read_head() {
            conn.answer(format!("{} {}", head.method, head.target)); // whatever its body is
        }
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send("POST /early HTTP/1.1\r\nHost: play.test\r\nContent-Length: 40\r\n\r\n");
    assert_eq!(client.response().expect(200).text(), "POST /early");
    // The body looks like a request; it must not become one, at neither side.
    client.send("GET /evil HTTP/1.1\r\nHost: evil.test\r\n\r\nx");
    client.send_get("/after");
    assert_eq!(client.response().expect(200).text(), "GET /after");
    assert!(origin.heads().iter().all(|r| r.target != "/evil"));
    assert!(origin.heads().iter().skip(1).all(|r| r.conn != 1), "that connection still owed a body");
}

#[test]
fn limits_of_idle_time_are_each_sides_own() {
    let origin = Origin::hello();
    let timeouts = json!({"client_keepalive_ms": 0, "upstream_keepalive_ms": 60_000});
    let proxy = Config::to(&origin).set("timeouts", timeouts).start();
    for _ in 0..3 {
        let mut client = proxy.client();
        let answer = client.get("/").expect(200);
        assert!(answer.fields.lists("Connection", "close"), "{:?}", answer.fields);
        client.expect_end();
    }
    assert_eq!(origin.connections(), 1);
}
