//! Places at upstreams are for complete requests: slow senders and tunnels leave enough for the others.

use crate::support::*;
use std::time::{Duration, Instant};

const UPGRADE: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n";

fn active(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_upstream_connections", &["state=\"active\""])
}

fn tunnels(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_upstream_connections", &["state=\"tunnel\""])
}

fn queued(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_queued_requests", &[])
}

fn upload(proxy: &Proxy, fields: &str) -> Client {
    let mut client = proxy.client();
    client.send(format!("POST /slow HTTP/1.1\r\nHost: a\r\n{fields}Content-Length: 10\r\n\r\n"));
    client
}

/// Switches when it is asked to, and answers anything else.
fn switching() -> Origin {
    Origin::start(|conn| {
        while let Some(request) = conn.read_request() {
            if !request.fields.has("Upgrade") || request.target == "/no" {
                conn.answer(request.what());
                continue;
            }
            conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\nhello");
            conn.wait_for_end();
            return;
        }
    })
}

fn tunnel(proxy: &Proxy) -> Client {
    let mut client = proxy.client();
    client.send(UPGRADE);
    assert_eq!(client.head().unwrap().status, 101);
    client
}

#[test]
fn uploads_without_content_take_half_of_the_places_whatever_they_expect() {
    let origin = Origin::hello();
    let config = Config::to(&origin).set("workers", 2).set("limits.max_conns_per_upstream", 5).set("timeouts.queue_ms", 60_000);
    let proxy = config.set("timeouts.client_body_ms", 0).start();
    let mut crowd: Vec<Client> = (0..30).map(|i| upload(&proxy, if i % 3 == 0 { "" } else { "Expect: 100-continue\r\n" })).collect();
    wait_until("some have a place, and the others wait", || (active(&proxy), queued(&proxy)) == (3.0, 27.0));
    for i in 0..50 {
        let begin = Instant::now();
        proxy.get(&format!("/{i}")).expect(200);
        assert!(begin.elapsed() < Duration::from_secs(10), "it passes those who wait for their content");
    }
    assert!(origin.heads().iter().filter(|head| head.method == "POST").count() <= 3);
    // Once their content is complete they are like all others.
    crowd.iter_mut().for_each(|client| client.send("0123456789"));
    crowd.iter_mut().for_each(|client| drop(client.response().expect(200)));
    assert_eq!((active(&proxy), queued(&proxy)), (0.0, 0.0));
}

#[test]
fn who_waits_to_be_told_to_go_on_does_not_wait_for_ever() {
    let origin = Origin::hello();
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 2).set("timeouts.queue_ms", 400);
    let proxy = config.set("timeouts.client_body_ms", 0).start();
    let mut first = upload(&proxy, "Expect: 100-continue\r\n");
    wait_until("it has its place", || active(&proxy) == 1.0);
    let mut second = upload(&proxy, "Expect: 100-continue\r\n");
    wait_until("it waits", || queued(&proxy) == 1.0);
    proxy.get("/").expect(200);
    let refused = second.response();
    proxy.expect_refusal(refused, 503, "connection_limit_reached");
    first.send("0123456789");
    first.response().expect(200);
}

/// A long upload counts as complete once a buffer of its content is here, and gives back its share.
#[test]
fn a_long_upload_is_slow_at_its_beginning_only() {
    let origin = Origin::hello();
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 2).set("timeouts.queue_ms", 60_000);
    let proxy = config.set("timeouts.client_body_ms", 0).set("limits.max_body_size", 0).start();
    let mut long = proxy.client();
    long.send("POST /long HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    wait_until("it has its place", || active(&proxy) == 1.0);
    let mut short = upload(&proxy, "");
    wait_until("it waits", || queued(&proxy) == 1.0);
    long.send(vec![b'x'; 20_000]);
    wait_until("the share is the other's", || (active(&proxy), queued(&proxy)) == (2.0, 0.0));
    short.send("0123456789");
    short.response().expect(200);
    long.send(vec![b'x'; 80_000]);
    long.response().expect(200);
}

/// One byte in each chunk: what has come counts, not what is announced.
#[test]
fn content_that_is_announced_is_not_here() {
    let origin = Origin::hello();
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 2).set("timeouts.queue_ms", 300);
    let proxy = config.set("timeouts.client_body_ms", 0).start();
    let chunked = |expect: &str| {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n{expect}\r\n"));
        client
    };
    let mut first = chunked("");
    first.send("fffff\r\nx");
    wait_until("it has its place", || active(&proxy) == 1.0);
    let refused = chunked("Expect: 100-continue\r\n").response();
    proxy.expect_refusal(refused, 503, "connection_limit_reached");
    drop(first);
}

#[test]
fn tunnels_hold_no_places_and_have_a_limit_of_their_own() {
    let origin = switching();
    let config = Config::to(&origin).set("workers", 2).set("limits.max_conns_per_upstream", 1);
    let proxy = config.set("limits.max_tunnels_per_upstream", 3).set("timeouts.queue_ms", 60_000).start();
    let mut open: Vec<Client> = (0..3).map(|_| tunnel(&proxy)).collect();
    assert_eq!((tunnels(&proxy), active(&proxy)), (3.0, 0.0));
    (0..9).for_each(|_| drop(proxy.get("/").expect(200)));
    let refused = ask(proxy.addr(), UPGRADE);
    proxy.expect_refusal(refused, 503, "connection_limit_reached");
    drop(open.pop());
    wait_until("one is gone", || tunnels(&proxy) == 2.0);
    open.push(tunnel(&proxy));
    drop(open);
    wait_until("all are gone", || tunnels(&proxy) == 0.0);
    proxy.get("/").expect(200);
}

#[test]
fn who_is_answered_otherwise_gives_the_tunnel_back() {
    let origin = switching();
    let proxy = Config::to(&origin).set("limits.max_tunnels_per_upstream", 1).start();
    let mut client = proxy.client();
    for _ in 0..5 {
        client.send(UPGRADE.replace("/chat", "/no"));
        client.response().expect(200);
    }
    let open = tunnel(&proxy);
    assert_eq!(tunnels(&proxy), 1.0);
    drop(open);
}

#[test]
fn an_upstream_without_room_for_a_tunnel_is_passed_over() {
    let (one, two) = (switching(), switching());
    let proxy = Config::to_all([one.addr(), two.addr()]).set("limits.max_tunnels_per_upstream", 2).start();
    let open: Vec<Client> = (0..4).map(|_| tunnel(&proxy)).collect();
    let refused = ask(proxy.addr(), UPGRADE);
    proxy.expect_refusal(refused, 503, "connection_limit_reached");
    assert_eq!((one.heads().len(), two.heads().len()), (2, 2));
    drop(open);
}

/// All places are taken: a request for a tunnel waits like any other, and its place is free for others at once.
#[test]
fn a_place_is_handed_on_when_its_exchange_becomes_a_tunnel() {
    let gate = Gate::default();
    let origin = Origin::start({
        let gate = gate.clone();
        move |conn| {
            while let Some(request) = conn.read_request() {
                if request.fields.has("Upgrade") {
                    gate.pass();
                    conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: chat\r\n\r\n");
                    conn.wait_for_end();
                    return;
                }
                conn.answer(request.what());
            }
        }
    });
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 60_000);
    let proxy = config.set("timeouts.read_ms", 0).start();
    let (mut first, mut second, mut third) = (proxy.client(), proxy.client(), proxy.client());
    first.send(UPGRADE);
    wait_until("it is there", || origin.requests().len() == 1);
    second.send(UPGRADE);
    wait_until("it waits", || queued(&proxy) == 1.0);
    third.send_get("/third");
    wait_until("it waits too", || queued(&proxy) == 2.0);
    gate.release(1);
    assert_eq!(first.head().unwrap().status, 101);
    wait_until("the second has the place", || origin.requests().len() == 2);
    assert_eq!(queued(&proxy), 1.0);
    gate.release(1);
    assert_eq!(second.head().unwrap().status, 101);
    third.response().expect(200);
}
