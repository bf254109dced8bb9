//! How often and how long a request is retried, and what else happens meanwhile: other requests on the same connection, clients
//! that leave, the end of the process. `retry_eligibility.rs` is about which requests are repeated.

use crate::support::*;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// So long that nobody sees the end of a wait: it is drawn from up to a day.
const FOR_EVER: u64 = 86_400_000;

fn to(addrs: impl IntoIterator<Item = SocketAddr>, retry: Value) -> Config {
    Config::to_first_of(addrs).set("retry", retry)
}

/// The origin's connections end unanswered, and before any answer there is a wait without end.
fn waiting(origin: &Origin) -> Config {
    to([origin.addr()], json!({"backoff_ms": FOR_EVER, "max_backoff_ms": FOR_EVER}))
}

fn closing() -> Origin {
    Origin::each(|conn, _| conn.close())
}

#[track_caller]
fn expect_attempts(proxy: &Proxy, answer: &Response, attempts: usize) {
    let line = proxy.log_of(answer.trace_id());
    assert!(line.contains(&format!(" attempts={attempts} ")), "{line:?}");
}

#[track_caller]
fn wait_for_an_attempt(proxy: &Proxy) {
    wait_until("an attempt has failed", || proxy.diagnostics().iter().any(|line| line.contains("trying again")));
}

#[test]
fn with_max_retries_0_there_is_one_attempt() {
    let origin = Origin::hello();
    let proxy = to([nobody(), origin.addr()], json!({"max_retries": 0})).start();
    let answer = proxy.get("/x");
    let answer = proxy.expect_refusal(answer, 502, "connection_refused");
    expect_attempts(&proxy, &answer, 1);
    assert_eq!((proxy.metric("proxy_retries_total", &[]), origin.heads().len()), (0.0, 0));
}

#[test]
fn by_default_there_are_three_and_the_failure_of_the_last_is_the_answer() {
    let (refusing, ends) = (nobody(), closing());
    let proxy = to([refusing, ends.addr()], json!({})).start();
    let answer = proxy.get("/x");
    // Both have failed it, so the third attempt may go to either.
    assert!(
        answer.status == 502 && ["connection_refused", "connection_terminated"].iter().any(|r| answer.text().contains(r)),
        "{answer:?}"
    );
    expect_attempts(&proxy, &answer, 3);
    assert_eq!(proxy.metric("proxy_upstream_requests_total", &[]), 3.0);
    assert_eq!((proxy.metric("proxy_retries_total", &[]), proxy.metric("proxy_upstream_errors_total", &[])), (2.0, 3.0));
    assert_eq!((proxy.metric("proxy_errors_total", &[]), proxy.metric("proxy_responses_total", &[])), (1.0, 1.0));
}

#[test]
fn those_that_have_not_failed_the_request_come_first() {
    for balance in ["round_robin", "random", "least_connections", "consistent_hash", "adaptive"] {
        let bad = [closing(), closing()];
        let origin = Origin::hello();
        let addrs = [bad[0].addr(), bad[1].addr(), origin.addr()];
        let proxy = to(addrs, json!({"max_retries": 2, "backoff_ms": 0, "budget_percent": 100})).set("balance", balance).start();
        for i in 0..12 {
            assert_eq!(proxy.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"), "{balance}");
            for bad in &bad {
                assert!(bad.requests().iter().filter(|r| r.target == format!("/{i}")).count() < 2, "{balance}: twice to the same");
            }
        }
    }
}

#[test]
fn where_there_is_no_other_the_same_is_asked_again() {
    let origin = Origin::start(|conn| match (conn.number, conn.read_request()) {
        (3.., Some(request)) => conn.answer(request.what()),
        _ => conn.close(),
    });
    let proxy = to([origin.addr()], json!({"max_retries": 2})).start();
    let answer = proxy.get("/x").expect(200);
    expect_attempts(&proxy, &answer, 3);
    assert_eq!(proxy.metric("proxy_retries_total", &[]), 2.0);
}

#[test]
fn a_pool_and_a_route_have_retries_of_their_own() {
    let refusing = |_| json!({"host": "127.0.0.1", "port": free_port()});
    let upstreams: Vec<_> = (0..4).map(refusing).collect();
    let config = Config::new().set("retry", json!({"max_retries": 0, "backoff_ms": 0})).set("upstreams", upstreams.clone());
    let config = config.set("pools.p", json!({"upstreams": upstreams, "retry": {"max_retries": 1}}));
    let proxy = config
        .set(
            "routes",
            json!([
                {"match": {"path": "/route"}, "proxy": "p", "retry": {"max_retries": 3}},
                {"match": {"path": "/none"}, "proxy": "p", "retry": {"max_retries": 0}},
                {"match": {"path": "/pool"}, "proxy": "p"},
            ]),
        )
        .start();
    for (path, attempts) in [("/", 1), ("/pool", 2), ("/route", 4), ("/none", 1)] {
        let answer = proxy.get(path);
        let answer = proxy.expect_refusal(answer, 502, "connection_refused");
        expect_attempts(&proxy, &answer, attempts);
    }
    assert_eq!(proxy.metric("proxy_retries_total", &["pool=\"p\""]), 4.0);
    assert_eq!(proxy.metric("proxy_retries_total", &["pool=\"default\""]), 0.0);
}

#[test]
fn where_every_origin_is_down_retries_keep_to_their_budget() {
    for (requests, percent, allowed) in [(60, 20, 30), (400, 20, 80), (100, 0, 30)] {
        let addrs = [nobody(), nobody(), nobody()];
        let retry = json!({"max_retries": 2, "backoff_ms": 0, "budget_percent": percent});
        let proxy = to(addrs, retry).set("workers", 2).start();
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let mut client = proxy.client();
                    (0..requests / 4).for_each(|_| assert_eq!(client.get("/").expect(502).status, 502));
                });
            }
        });
        let retries = proxy.metric("proxy_retries_total", &[]) as usize;
        // A machine that takes longer than the ten seconds of a budget has had another one since.
        assert!(retries >= 25 && retries <= allowed, "{retries} retries for {requests} requests, {percent} percent");
        assert_eq!(proxy.metric("proxy_upstream_requests_total", &[]) as usize, requests + retries);
        assert_eq!(proxy.metric("proxy_errors_total", &["reason=\"connection_refused\""]) as usize, requests);
    }
}

#[test]
fn total_ms_bounds_all_attempts_together() {
    let hang = |conn: &mut Conn| {
        conn.read_request();
        conn.wait_for_end();
    };
    let silent: Vec<Origin> = (0..9).map(|_| Origin::start(hang)).collect();
    let retry = json!({"max_retries": 100, "backoff_ms": 0});
    let proxy = to(silent.iter().map(Origin::addr), retry).set("timeouts", json!({"read_ms": 250, "total_ms": 900})).start();
    let begin = Instant::now();
    let answer = proxy.client().get("/x");
    assert!(begin.elapsed() > Duration::from_millis(880), "after {:?}", begin.elapsed());
    // What was in the way first.
    let answer = proxy.expect_refusal(answer, 504, "connection_read_timeout");
    assert!(answer.text().contains(" sent nothing for 250 ms (timeouts.read_ms)"), "{answer:?}");
    let line = Line::text(&proxy.log_of(answer.trace_id()));
    let attempts: usize = line.more["attempts"].parse().unwrap();
    let heads: usize = silent.iter().map(|origin| origin.heads().len()).sum();
    assert!((2..=4).contains(&attempts) && heads == attempts, "{line:?}");
    assert!(silent.iter().all(|origin| origin.heads().len() <= 1), "nobody is asked twice");
}

#[test]
fn total_ms_ends_a_wait_between_two_attempts() {
    let origin = closing();
    let proxy = waiting(&origin).set("timeouts.total_ms", 500).start();
    let mut client = proxy.client();
    let answer = client.get("/x");
    let answer = proxy.expect_refusal(answer, 504, "http_response_timeout");
    // The only one that was asked is still named.
    let line = proxy.log_of(answer.trace_id());
    assert!(line.contains(&format!(" upstream={} attempts=1 ", origin.addr())), "{line:?}");
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"total\""]), 1.0);
    assert_eq!(client.get("/the-connection-stays").expect(504).status, 504);
}

#[test]
fn a_client_that_leaves_between_two_attempts_is_let_go() {
    let origin = closing();
    let proxy = waiting(&origin).start();
    let mut client = proxy.client();
    client.send_get("/left");
    wait_for_an_attempt(&proxy);
    client.reset();
    let line = proxy.log_with("/left");
    assert!(line.contains("\" 499 ") && line.contains(" attempts=1 error=client_aborted "), "{line:?}");
    wait_until("nothing is left of it", || {
        proxy.metric("proxy_client_connections", &[]) + proxy.metric("proxy_upstream_connections", &[]) == 0.0
    });
    assert_eq!(proxy.metric("proxy_errors_total", &["reason=\"client_aborted\""]), 1.0);
    assert_eq!(origin.connections(), 1);
}

#[test]
fn a_half_closed_client_gets_the_answer_of_a_later_attempt() {
    let (ends, origin) = (closing(), Origin::hello());
    let proxy = to([ends.addr(), origin.addr()], json!({"backoff_ms": 200})).start();
    let mut client = proxy.client();
    client.send_get("/x");
    client.half_close();
    assert_eq!(client.response().expect(200).text(), "GET /x");
}

#[test]
fn pipelined_requests_stay_in_order() {
    let (ends, origin) = (closing(), Origin::hello());
    let proxy = to([ends.addr(), origin.addr()], json!({"backoff_ms": 20})).start();
    let mut client = proxy.client();
    let get = |i| format!("GET /{i} HTTP/1.1\r\nHost: play.test\r\n\r\n");
    let put = |i| format!("PUT /{i} HTTP/1.1\r\nHost: play.test\r\nContent-Length: 6\r\n\r\nGET / ");
    client.send((0..20).map(|i| if i % 2 == 0 { get(i) } else { put(i) }).collect::<String>());
    for i in 0..20 {
        let method = ["GET", "PUT"][i % 2];
        assert_eq!(client.response().expect(200).text(), format!("{method} /{i}"));
    }
    assert_eq!(proxy.metric("proxy_retries_total", &[]), 20.0);
}

#[test]
fn an_attempt_that_failed_before_a_drain_is_made_good_in_it() {
    let gate = Gate::default();
    let held = gate.clone();
    let ends = Origin::each(move |conn, _| {
        held.pass();
        conn.close();
    });
    let origin = Origin::hello();
    let mut proxy = to([ends.addr(), origin.addr()], json!({"backoff_ms": 100})).start();
    let mut client = proxy.client();
    client.send_get("/x");
    wait_until("it is in flight", || ends.requests().len() == 1);
    proxy.signal("TERM");
    proxy.wait_until_draining();
    gate.release(1);
    let answer = client.response().expect(200);
    assert!(answer.text() == "GET /x" && answer.fields.lists("Connection", "close"), "{answer:?}");
    assert_eq!(proxy.wait_exit(), 0);
}

#[test]
fn a_wait_between_two_attempts_ends_with_the_grace() {
    let origin = closing();
    let mut proxy = waiting(&origin).set("shutdown.grace_ms", 300).start();
    let mut client = proxy.client();
    client.send_get("/x");
    wait_for_an_attempt(&proxy);
    proxy.signal("TERM");
    let answer = client.response().expect(503);
    assert_eq!(answer.fields.get("Proxy-Status"), Some("tidegate; error=draining"));
    assert_eq!(proxy.wait_exit(), 0);
}

#[test]
fn without_a_host_each_upstream_gets_its_own() {
    let (ends, origin) = (closing(), Origin::hello());
    let proxy = to([ends.addr(), origin.addr()], json!({})).start();
    let answer = ask(proxy.addr(), "PUT /x HTTP/1.0\r\nContent-Length: 2\r\nX-After: 1\r\n\r\nok");
    assert_eq!(answer.expect(200).text(), "PUT /x");
    for origin in [&ends, &origin] {
        let seen = origin.request();
        assert_eq!(seen.fields.get("Host"), Some(origin.addr().to_string().as_str()));
        assert_eq!((seen.fields.get("X-After"), seen.body.as_slice()), (Some("1"), &b"ok"[..]));
    }
}

#[test]
fn who_waits_for_100_is_told_once_and_by_who_takes_the_content() {
    // The first refuses, or ends at the head: nothing was asked of the client yet.
    let ends = Origin::start(|conn| {
        conn.read_head();
    });
    for first in [nobody(), ends.addr()] {
        let origin = Origin::start(|conn| {
            if let Some(head) = conn.read_head() {
                conn.send("HTTP/1.1 100 Continue\r\n\r\n");
                let request = conn.read_body(head).expect("the content");
                conn.answer(request.body);
            }
        });
        let proxy = to([first, origin.addr()], json!({})).start();
        let mut client = proxy.client();
        client.send("PUT /x HTTP/1.1\r\nHost: play.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!(client.head().expect("an interim answer").status, 100);
        client.send("hello");
        let answer = client.response().expect(200);
        assert!(answer.text() == "hello" && answer.interim.is_empty(), "{answer:?}");
        expect_attempts(&proxy, &answer, 2);
    }
}
