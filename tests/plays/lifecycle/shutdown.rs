//! The end: requests in progress are finished, new ones are refused, and nothing is waited for in vain.

use crate::support::*;
use std::time::{Duration, Instant};

#[test]
fn forty_in_flight_are_all_answered() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let mut proxy = Config::to(&origin).set("workers", 2).start();
    let mut clients: Vec<_> = (0..40).map(|_| proxy.client()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send_get(&format!("/{i}"));
    }
    wait_until("all are in flight", || origin.requests().len() == 40);
    let idle = proxy.client();
    proxy.signal("TERM");
    proxy.wait_until_draining();
    wait_until("nothing idle is kept any more", || idle.has_news());
    gate.release(40);
    for (i, client) in clients.iter_mut().enumerate() {
        let answer = client.response().expect(200);
        assert_eq!(answer.text(), format!("GET /{i}"));
        assert!(answer.fields.lists("Connection", "close"), "{:?}", answer.fields);
    }
    assert_eq!(proxy.wait_exit(), 0);
    wait_until("all are in the log", || proxy.log_lines().iter().filter(|l| l.contains("\" 200 ")).count() == 40);
}

#[test]
fn an_idle_connection_holds_nothing_up() {
    for signal in ["TERM", "INT"] {
        let origin = Origin::hello();
        let mut proxy = Config::to(&origin).start();
        let mut clients = [proxy.client(), proxy.client()];
        clients[0].get("/").expect(200);
        wait_until("both are accepted", || proxy.metric("proxy_client_connections", &[]) == 2.0);
        let begin = Instant::now();
        proxy.signal(signal);
        for client in &mut clients {
            client.expect_end();
        }
        assert_eq!(proxy.wait_exit(), 0);
        assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    }
}

#[test]
fn an_answer_that_streams_comes_to_its_end() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::each(move |conn, _| {
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        opened.pass();
        conn.send("6\r\n world\r\n0\r\n\r\n");
    });
    let mut proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send_get("/");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.wire.line().unwrap(), "5");
    proxy.signal("TERM");
    proxy.wait_until_draining();
    gate.release(1);
    let mut body = Vec::new();
    client.wire.take(7, &mut body).unwrap();
    client.wire.chunked(&mut body, &mut Vec::new()).unwrap();
    assert_eq!(body, b"hello\r\n world");
    client.expect_end();
    assert_eq!(proxy.wait_exit(), 0);
}

#[test]
fn while_draining_new_requests_are_told_so() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let mut proxy = Config::to(&origin).set("shutdown.new_requests", "reject").start();
    let mut held = proxy.client();
    held.send_get("/held");
    wait_until("it is in flight", || origin.requests().len() == 1);
    proxy.signal("TERM");
    proxy.wait_until_draining();
    assert!(get(proxy.admin(), "/health").text().contains("\"status\":\"draining\""));
    let mut late = proxy.client();
    let answer = late.get("/late");
    let answer = proxy.expect_refusal(answer, 503, "draining");
    assert!(answer.fields.lists("Connection", "close") && answer.fields.has("Retry-After"), "{answer:?}");
    late.expect_end();
    gate.release(1);
    assert_eq!(held.response().expect(200).text(), "GET /held");
    assert_eq!(proxy.wait_exit(), 0);
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_second_signal_ends_at_once() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let mut proxy = Config::to(&origin).start();
    let mut held = proxy.client();
    held.send_get("/held");
    wait_until("it is in flight", || origin.requests().len() == 1);
    let begin = Instant::now();
    proxy.signal_twice(["TERM", "TERM"]);
    assert_eq!(proxy.wait_exit(), 0);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    held.wire.rest(&mut Vec::new());
    proxy.log_with(" error=draining ");
    gate.release(1);
}

#[test]
fn grace_has_its_end() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let mut proxy = Config::to(&origin).set("shutdown.grace_ms", 800).start();
    let mut held = proxy.client();
    held.send_get("/held");
    wait_until("it is in flight", || origin.requests().len() == 1);
    let begin = Instant::now();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(), 0);
    let took = begin.elapsed();
    assert!(took >= Duration::from_millis(780) && took < Duration::from_secs(10), "{took:?}");
    proxy.log_with(" error=draining ");
    gate.release(1);
}

#[test]
fn with_nothing_to_do_it_ends_at_once() {
    let mut proxy = Config::new().start();
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(), 0);
}

#[test]
fn what_is_cut_at_the_end_shows_and_is_logged() {
    for request in ["GET /1 HTTP/1.0\r\n\r\n", "GET /1 HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let origin = Origin::start(|conn| {
            conn.read_request();
            let _ = conn.wire().write(b"HTTP/1.1 200 OK\r\n\r\n").and_then(|()| conn.wire().write(&vec![b'x'; 50 << 20]));
        });
        let mut proxy = Config::to(&origin).set("shutdown.grace_ms", 300).start();
        let mut client = Client::with_small_buffer(proxy.addr(), 4096);
        client.send(request);
        let head = client.head().unwrap();
        proxy.signal("TERM");
        assert_eq!(proxy.wait_exit(), 0);
        let mut rest = Vec::new();
        let end = client.wire.rest(&mut rest);
        let is_chunked = head.fields.has("Transfer-Encoding");
        assert!(end == End::Reset || (is_chunked && !rest.ends_with(b"0\r\n\r\n")), "{end:?} after {} bytes", rest.len());
        assert!(proxy.log_with("/1").contains("error=draining"));
    }
}

#[test]
fn a_head_that_has_begun_is_waited_for() {
    let origin = Origin::hello();
    let mut proxy = Config::to(&origin).set("shutdown.new_requests", "refuse").set("workers", 2).start();
    let mut idle = proxy.client();
    idle.get("/").expect(200);
    let before = proxy.metric("proxy_bytes_received_total", &[]);
    let mut clients: Vec<_> = (0..6).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send("GET / HT"));
    wait_until("all are here", || proxy.metric("proxy_bytes_received_total", &[]) == before + 6.0 * 8.0);
    proxy.signal("TERM");
    assert_eq!(idle.expect_end(), End::Closed);
    for client in &mut clients {
        client.send("TP/1.1\r\nHost: a\r\n\r\n");
        client.response().expect(200);
    }
    assert_eq!(proxy.wait_exit(), 0);
}

#[test]
fn a_worker_that_ends_first_leaves_no_place_taken() {
    for _ in 0..4 {
        let origin = Origin::hello();
        let config = Config::to(&origin).set("workers", 2).set("shutdown.new_requests", "refuse");
        let mut proxy = config.set("limits.max_conns_per_upstream", 1).start();
        // One connection at each worker, most likely: the idle upstream connection is at the one that was asked last.
        let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
        clients.iter_mut().for_each(|client| drop(client.get("/").expect(200)));
        let mut late = proxy.client();
        late.send("GET /late HT");
        wait_until("the head has begun", || proxy.metric("proxy_client_connections", &[]) == 5.0);
        proxy.signal("TERM");
        clients.iter_mut().for_each(|client| assert_eq!(client.expect_end(), End::Closed));
        late.send("TP/1.1\r\nHost: a\r\n\r\n");
        late.response().expect(200);
        assert_eq!(proxy.wait_exit(), 0);
    }
}

#[test]
fn who_leaves_the_queue_is_not_in_it_any_more() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let proxy = Config::to(&origin).set("limits.max_conns_per_upstream", 1).start();
    let mut holder = proxy.client();
    holder.send_get("/holder");
    origin_sees(&origin, 1);
    for _ in 0..20 {
        let mut ghost = proxy.client();
        ghost.send_get("/ghost");
        wait_until("it waits", || proxy.metric("proxy_queued_requests", &[]) == 1.0);
        ghost.reset();
        wait_until("it is gone", || proxy.metric("proxy_queued_requests", &[]) == 0.0);
    }
    gate.release(2);
    holder.response().expect(200);
    // No request waits, so the connection is kept.
    assert_eq!(proxy.metric("proxy_upstream_connections", &["state=\"idle\""]), 1.0);
    proxy.get("/next").expect(200);
    assert_eq!(origin.connections(), 1);
}

fn origin_sees(origin: &Origin, requests: usize) {
    wait_until("the origin has it", || origin.heads().len() == requests);
}

#[test]
fn who_waits_at_the_limit_when_a_listener_goes_is_served() {
    for mode in ["refuse", "reject"] {
        let origin = Origin::hello();
        let mut proxy = Config::to(&origin).set("limits.max_client_conns", 2).set("shutdown.new_requests", mode).start();
        let mut inside: Vec<_> = (0..2).map(|_| proxy.client()).collect();
        inside.iter_mut().for_each(|client| drop(client.get("/").expect(200)));
        let mut outside: Vec<_> = (0..3).map(|_| proxy.client()).collect();
        outside.iter_mut().for_each(|client| client.send_get("/"));
        proxy.signal("TERM");
        outside.iter_mut().for_each(|client| drop(client.response().expect(200)));
        assert_eq!(proxy.wait_exit(), 0);
    }
}
