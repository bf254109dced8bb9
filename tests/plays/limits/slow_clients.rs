//! Hundreds of deliberately slow clients: each is cut off at its limit and told why where an answer can still begin, and neither
//! other clients nor memory are affected.

use crate::support::*;
use serde_json::json;
use std::time::{Duration, Instant};

const CROWD: usize = 200;
const MS: Duration = Duration::from_millis(1);
/// Of an exchange that is slow on either side: two rings, and what a send of 256 KiB may leave over.
const MOST_HELD: usize = 2 * 16_384 + (256 << 10);

/// Reads whole requests, and answers a `GET` without end.
fn origin() -> Origin {
    Origin::each(|conn, request| {
        assert_eq!(request.method, "GET", "no slow body comes to its end");
        socket2::SockRef::from(&conn.wire().stream).set_send_buffer_size(64 << 10).unwrap();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while conn.wire().write(&[b'x'; 65_536]).is_ok() {}
    })
}

/// The crowd's `/slow` has an origin and limits of its own. Exchanges hold their connections as long as they may: there are enough.
fn config(neighbours: &Origin, slow: &Origin, timeouts: serde_json::Value) -> Config {
    let route = json!([{"match": {"path": "/slow"}, "proxy": "slow", "timeouts": timeouts}]);
    let config = Config::to(neighbours).set("workers", 2).set("routes", route).set("limits.max_conns_per_upstream", 1000);
    config.set("pools.slow.upstreams", json!([{"host": "127.0.0.1", "port": slow.port()}]))
}

/// The origin's queue takes about a hundred at once.
fn in_step(origin: &Origin, i: usize) {
    wait_until("the origin has most of them", || origin.connections() + 50 > i);
}

/// While neighbours go about their business: opens the crowd, and pokes each until it is gone. `poke` says whether it is.
#[track_caller]
fn besiege(
    proxy: &Proxy,
    open: impl Fn(usize) -> Client,
    poke: impl Fn(usize, &mut Client) -> bool,
    mut gone: impl FnMut(usize, Client, Duration),
) {
    let load = Load::start(proxy.addr(), 2, 2, 3 * MS);
    load.wait_for_more(50);
    let (answered, fds, rss) = (load.answered(), proxy.fds(), proxy.rss_bytes());
    let mut crowd: Vec<_> = (0..CROWD).map(|i| (i, Instant::now(), open(i))).collect();
    let (mut round, mut peak) = (0, 0);
    wait_until("all of the crowd are gone", || {
        round += 1;
        if round % 20 == 1 {
            peak = proxy.rss_bytes().max(peak);
        }
        let mut waiting = Vec::new();
        for (i, begin, mut client) in crowd.drain(..) {
            // Each is poked now and then only: they are slow.
            if i % 10 == round % 10 && poke(i, &mut client) {
                gone(i, client, begin.elapsed());
            } else {
                waiting.push((i, begin, client));
            }
        }
        crowd = waiting;
        crowd.is_empty()
    });
    let growth = peak.saturating_sub(rss);
    assert!(growth < CROWD * MOST_HELD, "grew by {growth} bytes");
    assert!(load.answered() - answered > 50, "{} answers meanwhile", load.answered() - answered);
    load.wait_for_more(50);
    load.stop().expect_flawless();
    wait_until("nothing of it is left", || {
        let metric = |name: &str, labels: &[&str]| proxy.metric(name, labels);
        let clients = metric("proxy_client_connections", &[]);
        proxy.fds() <= fds + 8 && clients == 0.0 && metric("proxy_upstream_connections", &["state=\"active\""]) == 0.0
    });
}

/// One more byte, as far as anybody takes it; whether an answer or the end is there.
fn drip(client: &mut Client, bytes: &str) -> bool {
    let _ = client.try_send(bytes);
    client.has_news()
}

#[track_caller]
fn expect_no_sooner(took: Duration, least: Duration) {
    assert!(took + 10 * MS >= least, "gone after {took:?}, too soon");
}

#[test]
fn slow_heads() {
    let (neighbours, slow) = (Origin::busy("a"), origin());
    let limits = json!({"client_request_line_ms": 1500, "client_header_ms": 2500});
    let proxy = config(&neighbours, &slow, json!({})).set("timeouts", limits).start();
    let begun = ["", "GET /slow", "GET /slow HTTP/1.1\r\nHost: a\r\nX: "];
    let open = |i: usize| {
        let mut client = proxy.client();
        client.send(begun[i % 3]);
        client
    };
    let poke = |i: usize, client: &mut Client| drip(client, ["", "x", "x"][i % 3]);
    besiege(&proxy, open, poke, |i, mut client, took| {
        expect_no_sooner(took, [2500 * MS, 1500 * MS, 2500 * MS][i % 3]);
        if begun[i % 3].is_empty() {
            assert_eq!(client.expect_end(), End::Closed, "nothing came, so nothing is answered");
            return;
        }
        let answer = client.response().expect(408);
        assert_eq!(answer.fields.get("Proxy-Status"), Some("tidegate; error=http_request_timeout"));
        assert!(answer.fields.lists("Connection", "close"));
        client.expect_end();
    });
    let told = (0..CROWD).filter(|i| !begun[i % 3].is_empty()).count();
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"client\""]), told as f64);
    assert_eq!(slow.connections(), 0);
}

#[test]
fn slow_bodies() {
    let (neighbours, slow) = (Origin::busy("a"), origin());
    let proxy = config(&neighbours, &slow, json!({"client_body_ms": 1000, "total_ms": 2500})).start();
    let framings = ["Content-Length: 100000", "Content-Length: 100000", "Transfer-Encoding: chunked"];
    let open = |i: usize| {
        let mut client = proxy.client();
        in_step(&slow, i);
        client.send(format!("POST /slow HTTP/1.1\r\nHost: a\r\n{}\r\n\r\n", framings[i % 3]));
        client
    };
    let poke = |i: usize, client: &mut Client| drip(client, ["", "x", "1\r\nx\r\n"][i % 3]);
    besiege(&proxy, open, poke, |i, mut client, took| {
        expect_no_sooner(took, 1000 * MS);
        let answer = client.response();
        let reason = match answer.status {
            408 => "http_request_timeout",
            // A client that drips is never late with the next byte, but with the whole; unless this machine is slower still.
            504 if i % 3 != 0 && took + 10 * MS >= 2500 * MS => "http_response_timeout",
            _ => panic!("{answer:?} after {took:?}"),
        };
        assert_eq!(answer.fields.get("Proxy-Status"), Some(format!("tidegate; error={reason}").as_str()));
        assert!(answer.fields.lists("Connection", "close"));
        client.expect_end();
    });
    wait_until("the origin has seen all of them", || slow.heads().len() == CROWD);
    assert_eq!(slow.requests().len(), 0);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0, "no fault of the upstream");
}

#[test]
fn slow_readers() {
    let (neighbours, slow) = (Origin::busy("a"), origin());
    let config = config(&neighbours, &slow, json!({"client_write_ms": 1000, "total_ms": 2500}));
    // Large blocks that are freed go back to the kernel at once, so that what is still held shows.
    let proxy = config.launch().env("MALLOC_MMAP_THRESHOLD_", 131_072).start();
    let rss = proxy.rss_bytes();
    // One half reads nothing at all.
    let is_silent = |i: usize| i.is_multiple_of(2);
    let open = |i: usize| {
        let mut client = Client::with_small_buffer(proxy.addr(), if is_silent(i) { 4096 } else { 65_536 });
        in_step(&slow, i);
        client.send_get("/slow");
        client
    };
    let poke = |i: usize, client: &mut Client| match is_silent(i) {
        true => client.wire.stream.take_error().unwrap().is_some(),
        false => client.has_news() && client.wire.some(&mut [0; 65_536]).is_err(),
    };
    besiege(&proxy, open, poke, |i, mut client, took| {
        expect_no_sooner(took, 1000 * MS);
        if is_silent(i) {
            assert!(client.response().cut.is_some(), "what it had not read is not taken for the whole");
        }
    });
    let growth = proxy.rss_bytes().saturating_sub(rss);
    assert!(growth < CROWD * 65_536, "{growth} bytes are still held");
    let lines = proxy.log_lines().into_iter().filter(|line| line.contains("GET /slow")).collect::<Vec<_>>();
    let cut = |reason: &str| lines.iter().filter(|line| line.contains("\" 200 ") && line.contains(reason)).count();
    // A client that reads a little may have taken too little from the kernel's buffers for that to show.
    let (by_write, by_total) = (cut(" error=client_write_timeout "), cut(" error=http_response_timeout "));
    assert!(lines.len() == CROWD && by_write + by_total == CROWD && by_write >= CROWD / 2, "{by_write} + {by_total}");
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0, "no fault of the upstream");
}

/// Places at upstreams are for those whose content is there, once half of them are busy.
#[test]
fn silent_senders_leave_places_to_others() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("workers", 2).set("limits.max_conns_per_upstream", 8).start();
    let silent = |_| {
        let mut client = proxy.client();
        client.send("POST /slow HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
        client
    };
    let crowd: Vec<_> = (0..50).map(silent).collect();
    wait_until("half of the places are taken", || proxy.metric("proxy_upstream_connections", &["state=\"active\""]) >= 4.0);
    (0..50).for_each(|_| drop(proxy.get("/").expect(200)));
    for mut client in crowd {
        client.send("67890");
        client.response().expect(200);
    }
}

/// A client that sends a part and waits for its answer gets that once the others are done.
#[test]
fn a_held_request_goes_on_when_places_are_free_again() {
    let gate = Gate::default();
    let origin = Origin::start({
        let gate = gate.clone();
        move |conn| {
            while let Ok(head) = conn.wire().head() {
                if head.start.starts_with("GET") {
                    gate.pass();
                    conn.answer("got");
                } else {
                    // An answer to the head alone.
                    return conn.answer("early");
                }
            }
        }
    });
    let proxy = Config::to(&origin).set("limits.max_conns_per_upstream", 2).start();
    let mut first = proxy.client();
    first.send("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    wait_until("it has a place", || proxy.metric("proxy_upstream_connections", &["state=\"active\""]) >= 1.0);
    let mut second = proxy.client();
    second.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 10\r\n\r\n12345");
    wait_until("it was read", || proxy.metric("proxy_requests_total", &[]) >= 2.0);
    gate.release(1);
    first.response().expect(200);
    assert_eq!(second.response().expect(200).text(), "early");
}
