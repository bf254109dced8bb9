//! Round robin is exact, for the process and not only for a worker; a name stands for all its addresses.

use crate::support::*;
use serde_json::json;
use std::time::{Duration, Instant};

fn three() -> [Origin; 3] {
    ["a", "b", "c"].map(Origin::named)
}

fn counts(origins: &[Origin; 3]) -> [usize; 3] {
    [0, 1, 2].map(|i| origins[i].requests().len())
}

#[test]
fn three_origins_take_turns() {
    let origins = three();
    let proxy = Config::to_all(origins.each_ref().map(Origin::addr)).start();
    let mut client = proxy.client();
    let names: String = (0..12).map(|_| client.get("/").expect(200).text().to_owned()).collect();
    assert!("abcabcabcabcabc".contains(&names), "{names}");
    for origin in &origins {
        let upstream = format!("upstream=\"{}\"", origin.addr());
        assert_eq!(proxy.metric("proxy_upstream_requests_total", &[&upstream, "pool=\"default\""]), 4.0);
    }
    let line = proxy.log_of(client.get("/").expect(200).trace_id());
    assert!(origins.iter().any(|o| line.contains(&format!(" upstream={} attempts=1 ", o.addr()))), "{line:?}");
}

#[test]
fn the_turns_are_the_processs_whichever_worker_answers() {
    let origins = three();
    let proxy = Config::to_all(origins.each_ref().map(Origin::addr)).set("workers", 2).start();
    assert_eq!(proxy.workers, 2);
    let names: String = (0..60).map(|_| proxy.get("/").expect(200).text().to_owned()).collect();
    assert!("abc".repeat(21).contains(&names), "{names}");
}

#[test]
fn at_the_same_time_shares_are_exact_too() {
    let origins = three();
    let proxy = Config::to_all(origins.each_ref().map(Origin::addr)).set("workers", 2).start();
    std::thread::scope(|scope| {
        for _ in 0..6 {
            scope.spawn(|| {
                let mut client = proxy.client();
                for _ in 0..50 {
                    client.get("/").expect(200);
                }
            });
        }
    });
    assert_eq!(counts(&origins), [100; 3]);
}

#[test]
fn a_name_is_as_good_as_an_address() {
    let origin = Origin::hello();
    for upstream in [json!({"host": "localhost", "port": origin.port()}), json!({"url": format!("http://localhost:{}", origin.port())})] {
        let proxy = Config::new().set("upstreams", json!([upstream])).start();
        for _ in 0..4 {
            // Where the name has an address of IPv6 first, its refusal leads on to the next one.
            assert_eq!(proxy.client().post("/name", "x").expect(200).text(), "POST /name");
        }
        let line = proxy.log_of(proxy.get("/").expect(200).trace_id());
        assert!(line.contains(&format!(" upstream=localhost:{} attempts=1 ", origin.port())), "{line:?}");
        assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0);
    }
}

#[test]
fn an_upstream_may_have_a_name_of_its_own() {
    let origin = Origin::hello();
    let upstream = json!({"host": "127.0.0.1", "port": origin.port(), "name": "blue"});
    let proxy = Config::new().set("upstreams", json!([upstream])).start();
    let answer = proxy.get("/").expect(200);
    assert!(proxy.log_of(answer.trace_id()).contains(" upstream=blue "));
    assert_eq!(proxy.metric("proxy_upstream_requests_total", &["upstream=\"blue\""]), 1.0);
}

#[test]
fn a_name_that_does_not_resolve_stops_no_start() {
    let begin = Instant::now();
    let proxy = Config::new().set("upstreams", json!([{"host": "no-such-name.invalid", "port": 80}])).start();
    assert!(begin.elapsed() < Duration::from_secs(10), "ready after {:?}", begin.elapsed());
    let answer = proxy.client().get("/");
    proxy.expect_refusal(answer, 502, "dns_error");
}

#[test]
fn who_does_not_resolve_gets_no_turn() {
    let origin = Origin::hello();
    let upstreams = json!([{"host": "no-such-name.invalid", "port": 80}, {"host": "127.0.0.1", "port": origin.port()}]);
    let proxy = Config::new().set("upstreams", upstreams).start();
    for _ in 0..4 {
        proxy.get("/").expect(200);
    }
}
