//! Which side a failure is counted against: no client can open the circuits of a pool by what it asks for.

use super::breaker_opens::changes;
use crate::support::*;
use serde_json::json;
use std::net::SocketAddr;

/// With the retries and the breaker of the defaults.
fn three(script: impl Fn(&mut Conn, Request) + Clone + Send + Sync + 'static) -> (Vec<Origin>, Config) {
    let origins: Vec<Origin> = (0..3).map(|_| Origin::each(script.clone())).collect();
    let mut config = Config::to_all(origins.iter().map(Origin::addr));
    let keys = config.0.as_object_mut().expect("a section");
    keys.remove("retry");
    keys.remove("circuit_breaker");
    (origins, config)
}

fn opened(proxy: &Proxy, origins: &[Origin]) -> Vec<String> {
    let addrs: Vec<SocketAddr> = origins.iter().map(Origin::addr).collect();
    addrs.into_iter().flat_map(|addr| changes(proxy, addr)).collect()
}

#[test]
fn a_url_on_which_all_of_them_hang_up_opens_no_circuit() {
    let (origins, config) = three(|conn, request| match request.target.as_str() {
        "/poison" => conn.close(),
        _ => conn.answer("ok"),
    });
    let proxy = config.start();
    for _ in 0..5 {
        let answer = proxy.get("/poison");
        proxy.expect_refusal(answer, 502, "connection_terminated");
        proxy.get("/").expect(200);
    }
    assert_eq!(opened(&proxy, &origins), [""; 0]);
}

#[test]
fn an_upgrade_that_is_answered_differently_opens_no_circuit() {
    let (origins, config) = three(|conn, request| match request.target.as_str() {
        "/" => conn.answer("ok"),
        _ => conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: websocket\r\n\r\n"),
    });
    let proxy = config.start();
    for _ in 0..12 {
        let request = "GET /ws HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket/13\r\n\r\n";
        let answer = ask(proxy.addr(), request);
        proxy.expect_refusal(answer, 502, "http_upgrade_failed");
    }
    proxy.get("/").expect(200);
    assert_eq!(opened(&proxy, &origins), [""; 0]);
}

#[test]
fn uploads_that_are_not_whole_open_no_circuit() {
    let (origins, config) = three(|conn, _| conn.answer("ok"));
    // They close the connection as soon as there is a head, because they consider it slow.
    let hasty: Vec<Origin> = (0..3).map(|_| Origin::start(|conn| drop(conn.wire().head()))).collect();
    let proxy = config.set("upstreams", Config::to_all(hasty.iter().map(Origin::addr)).0["upstreams"].clone()).start();
    for _ in 0..12 {
        let answer = ask(proxy.addr(), "POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\nx");
        assert_eq!(answer.status, 502);
    }
    assert_eq!(opened(&proxy, &hasty), [""; 0]);
    drop(origins);
}

#[test]
fn after_silence_the_only_upstream_is_not_asked_again() {
    let origin = Origin::each(|conn, _| _ = conn.wait_for_end());
    let retry = json!({"max_retries": 2, "backoff_ms": 0});
    let proxy = Config::to(&origin).set("retry", retry).set("timeouts.read_ms", 300).start();
    let answer = proxy.get("/");
    let answer = proxy.expect_refusal(answer, 504, "connection_read_timeout");
    assert!(answer.text().contains(" sent nothing for 300 ms (timeouts.read_ms)"), "{answer:?}");
    assert_eq!(origin.heads().len(), 1);
}
