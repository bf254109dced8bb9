//! The last usable upstream: keeping requests from it must not cost more than its fault does. Each scene reports the cost.

use super::clients::{Clients, Done};
use super::upstream::{Book, Mood, Upstream};
use crate::support::*;
use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The defaults, apart from what the scene is about.
fn in_front_of(addrs: &[SocketAddr]) -> Config {
    let upstreams: Vec<Value> = addrs.iter().map(|addr| json!({"host": "127.0.0.1", "port": addr.port()})).collect();
    Config(json!({"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", "upstreams": upstreams}))
}

fn hello_at(addr: SocketAddr) -> Origin {
    let mut listener = None;
    wait_until("the port is free again", || {
        listener = TcpListener::bind(addr).ok();
        listener.is_some()
    });
    Origin::over(listener.unwrap(), |conn| {
        if conn.read_request().is_some() {
            conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
        }
    })
}

/// One upstream is restarted in 1.5 s, with a request every 0.1 s. Returns the errors in that time, and after it.
fn restarted(config: Config, addr: SocketAddr) -> (usize, usize) {
    let mut origin = Some(hello_at(addr));
    let proxy = config.start();
    (0..10).for_each(|_| drop(proxy.get("/").expect(200)));
    origin = origin.and(None);
    let begin = Instant::now();
    let (mut while_away, mut after, mut good) = (0, 0, 0);
    while good < 10 && begin.elapsed() < Duration::from_secs(60) {
        if origin.is_none() && begin.elapsed() >= Duration::from_millis(1500) {
            origin = Some(hello_at(addr));
        }
        match (proxy.get("/").status, origin.is_some()) {
            (200, _) => good += 1,
            (_, false) => while_away += 1,
            (_, true) => (after, good) = (after + 1, 0),
        }
        sleep(Duration::from_millis(100));
    }
    assert!(good >= 10, "it is not served again");
    (while_away, after)
}

#[test]
fn a_restart_of_the_only_upstream() {
    for check in [Value::Null, json!({"path": "/", "interval_ms": 200})] {
        let addr = nobody();
        let has_checks = !check.is_null();
        let (while_away, after) = restarted(in_front_of(&[addr]).set("health_check", check), addr);
        println!("restarted, checks {has_checks}: {while_away} errors while it was away, {after} after");
        // One second of `last_resort_ms`, with allowance for a busy machine.
        assert!(after <= 15, "{after} requests failed after it was back");
    }
}

/// Two upstreams are killed in turn, for half a second each.
#[test]
fn two_that_are_killed_by_turns() {
    let book = Arc::new(Book::default());
    let mut upstreams = [0, 1].map(|number| Upstream::new(number, Mood::Well, &book));
    let proxy = in_front_of(&upstreams.each_ref().map(|upstream| upstream.addr)).start();
    let mut clients = Clients::start(proxy.addr(), 1);
    upstreams.iter().for_each(|upstream| upstream.wait_for_more(20));
    // The circuit of the one killed before is still open each time.
    for which in [0, 1, 0, 1] {
        upstreams[which].kill();
        sleep(Duration::from_millis(500));
        upstreams[which].open();
        sleep(Duration::from_millis(700));
    }
    let done = clients.stop();
    let is_lost = |done: &&Done| done.is_idempotent() && done.failure.as_ref().is_some_and(|failure| !failure.had_begun);
    let lost: Vec<&str> =
        done.iter().filter(is_lost).filter_map(|done| done.failure.as_ref()).map(|failure| failure.why.as_str()).collect();
    println!("two killed by turns: {} of {} requests failed that could be repeated", lost.len(), done.len());
    drop(proxy);
    upstreams.iter().for_each(Upstream::settle);
    assert!(lost.len() * 100 <= done.len(), "{} of {}: {:?}", lost.len(), done.len(), &lost[..lost.len().min(5)]);
}

/// One path that always fails does not make the rest of an application unreachable.
#[test]
fn one_path_does_not_hide_the_others() {
    let origin = Origin::each(|conn, request| match request.target.as_str() {
        "/busy" => conn.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n"),
        "/cut" => {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            conn.close();
        }
        "/hangs-up" => conn.close(),
        "/poll" => drop(conn.wait_for_end()),
        _ => conn.answer("ok"),
    });
    let proxy = in_front_of(&[origin.addr()]).set("timeouts.read_ms", 200).start();
    for path in ["/busy", "/cut", "/hangs-up", "/poll"] {
        for _ in 0..4 {
            let answer = proxy.get(path);
            assert!(answer.status >= 500 || answer.cut.is_some(), "{answer:?}");
            assert_eq!(proxy.get("/").expect(200).text(), "ok");
        }
    }
    println!("one path fails: nothing else did");
}
