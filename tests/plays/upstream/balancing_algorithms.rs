//! Each way to balance, as its upstreams see it: who gets how many, and which. `round_robin.rs` has the turns of round robin.

use crate::support::*;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::time::Duration;

/// Origins that answer with their names, which are also their names in the configuration, so that hashes do not depend on ports.
fn named<const N: usize>(names: [&'static str; N]) -> [Origin; N] {
    names.map(Origin::named)
}

fn upstream(name: &str, origin: &Origin, weight: u32) -> Value {
    json!({"host": "127.0.0.1", "port": origin.port(), "name": name, "weight": weight})
}

fn weighted<const N: usize>(names: [&str; N], origins: &[Origin; N], weights: [u32; N]) -> Value {
    (0..N).map(|i| upstream(names[i], &origins[i], weights[i])).collect()
}

fn counts<const N: usize>(origins: &[Origin; N]) -> [usize; N] {
    origins.each_ref().map(|origin| origin.requests().len())
}

const ABC: [&str; 3] = ["a", "b", "c"];
const ALL: [&str; 6] = ["round_robin", "random", "weighted", "least_connections", "consistent_hash", "adaptive"];

/// Several clients at once, some of which keep their connection, until that many requests are answered.
fn ask_often(proxy: &Proxy, requests: usize) {
    std::thread::scope(|scope| {
        for i in 0..4 {
            scope.spawn(move || {
                let mut client = proxy.client();
                for _ in 0..requests / 4 {
                    match i % 2 {
                        0 => client.get("/").expect(200),
                        _ => proxy.get("/").expect(200),
                    };
                }
            });
        }
    });
}

#[test]
fn shares_by_weight_are_exact_over_all_workers() {
    for balance in ["weighted", "round_robin"] {
        let origins = named(ABC);
        let upstreams = weighted(ABC, &origins, [5, 1, 2]);
        let proxy = Config::new().set("upstreams", upstreams).set("balance", balance).set("workers", 2).start();
        ask_often(&proxy, 160);
        assert_eq!(counts(&origins), [100, 20, 40], "{balance}");
    }
}

#[test]
fn who_has_no_weight_gets_nothing() {
    for balance in ALL {
        let origins = named(ABC);
        let upstreams = weighted(ABC, &origins, [1, 0, 1]);
        let config = Config::new().set("upstreams", upstreams).set("balance", balance);
        let proxy = config.clone().start();
        (0..40).for_each(|_| drop(proxy.get("/").expect(200)));
        assert_eq!((counts(&origins)[1], counts(&origins).iter().sum::<usize>()), (0, 40), "{balance}");
        // Not even if there is no other.
        proxy.reload(&config.set("upstreams", weighted(ABC, &origins, [0, 0, 0])));
        let answer = proxy.get("/");
        proxy.expect_refusal(answer, 503, "destination_unavailable");
    }
}

#[test]
fn a_reload_changes_shares() {
    let origins = named(["a", "b"]);
    let config = |weights| Config::new().set("upstreams", weighted(["a", "b"], &origins, weights)).set("balance", "weighted");
    let proxy = config([3, 1]).start();
    ask_often(&proxy, 40);
    assert_eq!(counts(&origins), [30, 10]);
    proxy.reload(&config([1, 4]));
    ask_often(&proxy, 40);
    assert_eq!(counts(&origins), [38, 42]);
}

#[test]
fn by_chance_all_are_reached() {
    let origins = named(ABC);
    let upstreams = weighted(ABC, &origins, [1, 1, 1]);
    let proxy = Config::new().set("upstreams", upstreams).set("balance", "random").set("workers", 2).start();
    ask_often(&proxy, 240);
    // A share of fewer than thirty in eighty has a chance of one in ten thousand million.
    assert!(counts(&origins).iter().all(|&n| n >= 30), "{:?}", counts(&origins));
}

#[test]
fn where_fewer_are_in_flight_the_next_one_goes() {
    let gate = Gate::default();
    let origins = ["a", "b"].map(|name| {
        let gate = gate.clone();
        Origin::each(move |conn, request| {
            if request.target == "/hold" {
                gate.pass();
            }
            conn.answer(name);
        })
    });
    let config = Config::to_all(origins.each_ref().map(Origin::addr)).set("balance", "least_connections").set("workers", 2);
    let proxy = config.start();
    let mut held: Vec<Client> = Vec::new();
    // One each, and then a second one at one of them.
    for wanted in [[0, 1], [1, 1], [1, 2]] {
        held.push(proxy.client());
        held.last_mut().unwrap().send_get("/hold");
        wait_until("it is in flight", || counts(&origins).iter().sum::<usize>() == held.len());
        let mut counts = counts(&origins);
        counts.sort_unstable();
        assert_eq!(counts, wanted);
    }
    let lighter = if counts(&origins)[0] == 1 { "a" } else { "b" };
    for _ in 0..20 {
        assert_eq!(proxy.get("/").expect(200).text(), lighter);
    }
    gate.release(3);
    held.iter_mut().for_each(|client| drop(client.response().expect(200)));
}

#[test]
fn who_answers_sooner_gets_more() {
    let origins = [0, 40].map(|ms| {
        Origin::each(move |conn, _| {
            take_time(Duration::from_millis(ms));
            conn.answer("ok");
        })
    });
    let proxy = Config::to_all(origins.each_ref().map(Origin::addr)).set("balance", "adaptive").set("workers", 2).start();
    ask_often(&proxy, 200);
    let [fast, slow] = counts(&origins);
    assert!(slow >= 1 && fast >= 4 * slow, "{fast} and {slow}");
}

/// Which upstream answers each of some keys.
type Places = BTreeMap<String, String>;

fn by_key(proxy: &Proxy) -> Places {
    let mut client = proxy.client();
    let ask = |i| {
        client.send(format!("GET / HTTP/1.1\r\nHost: play.test\r\nX-Key: key-{i}\r\n\r\n"));
        (format!("key-{i}"), client.response().expect(200).text().to_owned())
    };
    (0..90).map(ask).collect()
}

fn hashing(upstreams: Value) -> Config {
    Config::new().set("upstreams", upstreams).set("balance", json!({"consistent_hash": {"header": "x-key"}})).set("workers", 2)
}

#[test]
fn a_key_stays_with_its_upstream_through_all_that_does_not_concern_it() {
    let origins = named(ABC);
    let [a, b, c] = [0, 1, 2].map(|i| upstream(ABC[i], &origins[i], 1));
    let proxy = hashing(json!([a, b, c])).start();
    let places = by_key(&proxy);
    for name in ABC {
        let keys = places.values().filter(|place| *place == name).count();
        assert!((15..=50).contains(&keys), "{keys} of 90 keys for {name}");
    }
    assert_eq!(by_key(&proxy), places);
    // The same in another process, whatever the order in which they are listed.
    drop(proxy);
    let proxy = hashing(json!([c, b, a])).start();
    assert_eq!(by_key(&proxy), places);
    // One that is removed leaves its keys to the others, which keep their own.
    proxy.reload(&hashing(json!([c, a])));
    let fewer = by_key(&proxy);
    assert!(places.iter().all(|(key, place)| place == "b" || fewer[key] == *place));
    let heirs: Vec<_> = places.iter().filter(|(_, place)| *place == "b").map(|(key, _)| fewer[key].as_str()).collect();
    assert!(["a", "c"].iter().all(|name| heirs.contains(name)), "{heirs:?}");
    proxy.reload(&hashing(json!([a, b, c])));
    assert_eq!(by_key(&proxy), places);
}

#[test]
fn the_keys_of_one_that_is_down_are_shared_and_come_back() {
    let origins = named(["a", "c"]);
    let down = free_port();
    let [a, c] = [0, 1].map(|i| upstream(["a", "c"][i], &origins[i], 1));
    let upstreams = json!([a, {"host": "127.0.0.1", "port": down, "name": "b"}, c]);
    let retry = json!({"backoff_ms": 0, "budget_percent": 100});
    let breaker = json!({"failure_threshold": 1, "success_threshold": 1, "timeout_ms": 2000});
    let proxy = hashing(upstreams).set("retry", retry).set("circuit_breaker", breaker).start();
    let places = by_key(&proxy);
    let b = Origin::over(std::net::TcpListener::bind(("127.0.0.1", down)).unwrap(), |conn| {
        while conn.read_request().is_some() {
            conn.answer("b");
        }
    });
    wait_until("it has keys again", || by_key(&proxy).values().filter(|place| *place == "b").count() >= 15);
    let back = by_key(&proxy);
    assert!(back.iter().all(|(key, place)| place == "b" || *place == places[key]));
    assert!(b.connections() > 0);
}

/// A client with that address of loopback.
fn from(proxy: &Proxy, last: u8) -> String {
    let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, last], 0)).into()).unwrap();
    socket.connect(&proxy.addr().into()).expect("to connect");
    Client::over(socket.into()).get("/").expect(200).text().to_owned()
}

#[test]
fn a_client_stays_with_its_upstream_by_its_address() {
    // Also with a field that it does not send.
    for balance in [json!("consistent_hash"), json!({"consistent_hash": {"header": "X-Key"}})] {
        let origins = named(ABC);
        let proxy = Config::new().set("upstreams", weighted(ABC, &origins, [1, 1, 1])).set("balance", balance).set("workers", 2).start();
        let places: Vec<String> = (1..60).map(|last| from(&proxy, last)).collect();
        assert!(ABC.iter().all(|name| places.iter().any(|place| place == name)), "{places:?}");
        for (last, place) in (1..60).zip(&places) {
            assert_eq!(from(&proxy, last), *place);
        }
    }
}

#[test]
fn behind_a_trusted_proxy_it_is_the_address_that_this_one_tells() {
    let origins = named(ABC);
    let config = Config::new().set("upstreams", weighted(ABC, &origins, [1, 1, 1])).set("balance", "consistent_hash");
    let ask = |proxy: &Proxy, last: u8| {
        let head = format!("GET / HTTP/1.1\r\nHost: play.test\r\nX-Forwarded-For: 203.0.113.{last}\r\nConnection: close\r\n\r\n");
        ask(proxy.addr(), head).expect(200).text().to_owned()
    };
    for (trusted, reached) in [(json!(["127.0.0.0/8"]), 3), (json!([]), 1)] {
        let proxy = config.clone().set("headers.trusted_proxies", trusted).start();
        let places: Vec<String> = (0..40).map(|last| ask(&proxy, last)).collect();
        assert_eq!(places.iter().collect::<std::collections::BTreeSet<_>>().len(), reached);
        assert!((0..40).all(|last| ask(&proxy, last) == places[usize::from(last)]));
    }
}

#[test]
fn where_the_upstream_of_a_key_is_full_another_takes_over() {
    let gate = Gate::default();
    let origins = ABC.map(|name| {
        let gate = gate.clone();
        Origin::each(move |conn, request| {
            if request.target == "/hold" {
                gate.pass();
            }
            conn.answer(name);
        })
    });
    // An idle connection kept by another worker would occupy a place.
    let proxy = hashing(weighted(ABC, &origins, [1, 1, 1])).set("workers", 1).set("limits.max_conns_per_upstream", 1).start();
    let request = |target: &str| format!("GET {target} HTTP/1.1\r\nHost: play.test\r\nX-Key: mine\r\n\r\n");
    let ask = || ask(proxy.addr(), request("/")).expect(200).text().to_owned();
    let own = ask();
    let mut held = proxy.client();
    held.send(request("/hold"));
    wait_until("it is in flight", || counts(&origins).iter().sum::<usize>() == 2);
    let other = ask();
    assert_ne!(other, own);
    assert!((0..5).all(|_| ask() == other), "one and the same takes over");
    gate.release(1);
    assert_eq!(held.response().expect(200).text(), own);
    wait_until("the place is free", || ask() == own);
}

#[test]
fn each_pool_has_a_balance_of_its_own() {
    let origins = named(ABC);
    let pools = json!({
        "heavy": {"upstreams": weighted(ABC, &origins, [5, 1, 2]), "balance": "weighted"},
        "sticky": {"upstreams": weighted(ABC, &origins, [1, 1, 1]), "balance": {"consistent_hash": {"header": "X-Key"}}},
    });
    let routes = json!([{"match": {"path": "/heavy"}, "proxy": "heavy"}, {"match": {"path": "/sticky"}, "proxy": "sticky"}]);
    let config = Config::new().set("upstreams", weighted(ABC, &origins, [1, 1, 1]));
    let proxy = config.set("balance", "round_robin").set("pools", pools).set("routes", routes).start();
    let shares = |path: &str, n: usize| {
        let names: String = (0..n).map(|_| proxy.get(path).expect(200).text().to_owned()).collect();
        let mut shares = ["a", "b", "c"].map(|name| names.matches(name).count());
        shares.sort_unstable();
        shares
    };
    assert_eq!([shares("/", 30), shares("/heavy", 16), shares("/sticky", 10)], [[10, 10, 10], [2, 4, 10], [0, 0, 10]]);
    for (pool, n) in [("default", 30.0), ("heavy", 16.0), ("sticky", 10.0)] {
        assert_eq!(proxy.metric("proxy_upstream_requests_total", &[&format!("pool=\"{pool}\"")]), n);
    }
}
