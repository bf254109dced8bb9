//! Round robin is exact, for the process and not only for a worker, and begins anywhere.

use crate::support::*;
use serde_json::json;

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

/// Started again and again, none of several is always the first.
#[test]
fn round_robin_begins_anywhere() {
    let origins = ["a", "b"].map(Origin::named);
    let config = || Config::to_all(origins.iter().map(Origin::addr));
    for balance in ["round_robin", "weighted"] {
        let proxy = config().set("balance", balance).start();
        let mut firsts = Vec::new();
        for i in 0..64 {
            let third = nobody();
            let upstreams = origins.iter().map(Origin::addr).chain((i % 2 == 0).then_some(third));
            let upstreams =
                upstreams.map(|a| json!({"host": a.ip().to_string(), "port": a.port(), "weight": if a == third { 0 } else { 1 }}));
            proxy.reload(&config().set("balance", balance).set("upstreams", upstreams.collect::<Vec<_>>()));
            firsts.push(proxy.get("/").expect(200).text().to_owned());
            if firsts.iter().any(|first| *first != firsts[0]) {
                break;
            }
        }
        assert!(firsts.iter().any(|first| *first != firsts[0]), "{balance}: always {}", firsts[0]);
    }
}
