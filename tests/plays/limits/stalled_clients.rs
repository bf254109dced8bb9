//! A client that does not take its answer holds a place at an upstream, but only while no other request needs it.

use crate::support::*;
use serde_json::json;

const LARGE: usize = 10 << 20; // more than the kernel's buffers take on the way

fn origin() -> Origin {
    Origin::each(|conn, request| {
        if request.target.starts_with("/large") {
            // A client that was cut off closes its connection.
            let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {LARGE}\r\n\r\n");
            let _ = conn.wire().write(head.as_bytes()).and_then(|()| conn.wire().write(&vec![b'x'; LARGE]));
            return;
        }
        conn.answer(request.what());
    })
}

fn proxy(origin: &Origin, places: usize) -> Proxy {
    let timeouts = json!({"client_write_ms": 0, "queue_ms": 60_000, "read_ms": 0, "write_ms": 0, "total_ms": 0});
    Config::to(origin).set("workers", 2).set("timeouts", timeouts).set("limits.max_conns_per_upstream", places).start()
}

/// Sends some of its content.
fn faltering(proxy: &Proxy, i: usize) -> Client {
    let mut client = proxy.client();
    client.send(format!("POST /upload/{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\n"));
    client.send(vec![b'x'; 40_000]);
    client
}

fn active(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_upstream_connections", &["state=\"active\""])
}

fn cut(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_errors_total", &["reason=\"client_write_timeout\""])
}

/// Takes nothing of what it asks for.
fn deaf(proxy: &Proxy, i: usize) -> Client {
    let mut client = Client::with_small_buffer(proxy.addr(), 16_384);
    client.send_get(&format!("/large/{i}"));
    client
}

#[test]
fn the_longest_stalled_makes_room_for_who_waits_and_nobody_else_is_cut() {
    let origin = origin();
    let proxy = proxy(&origin, 4);
    let mut crowd = Vec::new();
    for i in 0..4 {
        crowd.push(deaf(&proxy, i));
        wait_until("it has a place", || active(&proxy) == (i + 1) as f64);
        proxy.wait_for_standstill();
    }
    assert_eq!(cut(&proxy), 0.0);
    proxy.get("/polite").expect(200);
    assert_eq!(cut(&proxy), 1.0);
    // The place is kept, for who comes next.
    (0..5).for_each(|_| drop(proxy.get("/polite").expect(200)));
    let ended: Vec<bool> = crowd.iter_mut().map(|client| client.response().cut.is_none()).collect();
    assert_eq!(ended, [false, true, true, true]);
    assert_eq!(cut(&proxy), 1.0);
    let line = proxy.log_with("/large/0");
    assert!(line.contains(" error=client_write_timeout "), "{line}");
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0, "no fault of the upstream");
}

#[test]
fn a_crowd_that_takes_nothing_does_not_stop_the_service() {
    let origin = origin();
    let proxy = proxy(&origin, 6);
    let crowd: Vec<Client> = (0..12).map(|i| deaf(&proxy, i)).collect();
    wait_until("all places are taken", || active(&proxy) == 6.0);
    for i in 0..5 {
        proxy.get(&format!("/polite/{i}")).expect(200);
    }
    drop(crowd);
}

#[test]
fn uploads_that_come_to_a_halt_make_room_for_who_waits() {
    let origin = origin();
    let proxy = proxy(&origin, 4);
    let mut crowd = Vec::new();
    for i in 0..4 {
        crowd.push(faltering(&proxy, i));
        wait_until("it has a place", || active(&proxy) == (i + 1) as f64);
    }
    proxy.get("/polite").expect(200);
    proxy.get("/polite").expect(200);
    let mut refused: Vec<&mut Client> = crowd.iter_mut().filter(|client| client.has_news()).collect();
    assert_eq!(refused.len(), 1, "the place is kept for who comes next");
    let answer = refused[0].response();
    let answer = proxy.expect_refusal(answer, 408, "http_request_timeout");
    assert!(answer.text().contains("others wait"), "{}", answer.text());
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0, "no fault of the upstream");
    assert_eq!(proxy.metric("circuit_breaker_state", &[]), 0.0);
}

#[test]
fn uploads_that_come_byte_by_byte_do_not_stop_the_service() {
    let origin = origin();
    let proxy = proxy(&origin, 4);
    let mut crowd: Vec<Client> = (0..8).map(|i| faltering(&proxy, i)).collect();
    wait_until("all places are taken", || active(&proxy) == 4.0);
    let mut polite = proxy.client();
    polite.send_get("/polite");
    wait_until("it is served", || {
        for client in &mut crowd {
            // Whoever was refused has closed its connection.
            let _ = client.try_send("x");
        }
        polite.has_news()
    });
    polite.response().expect(200);
}

/// Each kind of stalled client keeps to its half, and together they would have it all.
#[test]
fn whoever_takes_nothing_and_whoever_sends_nothing_have_one_half_together() {
    let origin = origin();
    let proxy = proxy(&origin, 4);
    let deaf: Vec<Client> = (0..2).map(|i| deaf(&proxy, i)).collect();
    wait_until("they have places", || active(&proxy) == 2.0);
    let slow: Vec<Client> = (0..2)
        .map(|i| {
            let mut client = proxy.client();
            client.send(format!("POST /upload/{i} HTTP/1.1\r\nHost: a\r\nContent-Length: 1000000\r\n\r\nx"));
            client
        })
        .collect();
    wait_until("all places are taken", || active(&proxy) == 4.0);
    proxy.get("/polite").expect(200);
    drop((deaf, slow));
}
