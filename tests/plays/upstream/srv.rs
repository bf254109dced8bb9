//! SRV records: they say where the servers are, and how the requests are shared.

use crate::support::*;
use serde_json::{Value, json};

const NAME: &str = "srv:_http._tcp.web.internal";

fn config(server: &NameServer) -> Config {
    Config::new().set("upstreams", json!([{"url": NAME}])).set("resolver", server.addr().to_string())
}

fn rows(proxy: &Proxy) -> Vec<Value> {
    proxy.page("/backends/health", 200)["backends"].as_array().unwrap().clone()
}

fn addresses(proxy: &Proxy) -> Vec<String> {
    rows(proxy).iter().map(|row| row["address"].as_str().unwrap_or_default().to_owned()).collect()
}

fn sorted(origins: &[&Origin]) -> Vec<String> {
    let mut addrs: Vec<_> = origins.iter().map(|origin| origin.addr()).collect();
    addrs.sort();
    addrs.iter().map(ToString::to_string).collect()
}

fn counts(origins: &[&Origin]) -> Vec<usize> {
    origins.iter().map(|origin| origin.requests().len()).collect()
}

#[test]
fn requests_go_to_the_ports_of_the_targets_by_their_weights() {
    let (a, b, c) = (Origin::named("a"), Origin::named("b"), Origin::named("c"));
    let server = NameServer::start(Zone::of(&[(10, 30, a.addr()), (10, 10, b.addr()), (10, 0, c.addr())]));
    let proxy = config(&server).start();
    let mut client = proxy.client();
    (0..82).for_each(|_| drop(client.get("/").expect(200)));
    assert_eq!(counts(&[&a, &b, &c]), [60, 20, 2]);
    assert_eq!(addresses(&proxy), sorted(&[&a, &b, &c]));
    assert!(rows(&proxy).iter().all(|row| row["name"] == NAME));
    let labels = [format!("upstream=\"{NAME}\""), format!("address=\"{}\"", b.addr())];
    assert_eq!(proxy.metric("proxy_upstream_requests_total", &labels.each_ref().map(String::as_str)), 20.0);
    assert_eq!(proxy.page("/health", 200)["status"], "healthy");
    let line = proxy.log_of(proxy.get("/").expect(200).trace_id());
    assert!(line.contains(&format!(" upstream={NAME}[127.0.0.1:")), "{line}");
}

#[test]
fn an_upstreams_weight_multiplies_those_of_its_targets() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let server = NameServer::start(Zone::of(&[(0, 2, a.addr())]));
    let upstreams = json!([{"url": NAME, "weight": 2}, {"url": format!("http://{}", b.addr())}]);
    let proxy = config(&server).set("upstreams", upstreams).start();
    let mut client = proxy.client();
    (0..50).for_each(|_| drop(client.get("/").expect(200)));
    assert_eq!(counts(&[&a, &b]), [40, 10]);
}

#[test]
fn later_priorities_serve_only_while_no_earlier_one_is_usable() {
    let failing = || Origin::saying("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let (first, second, third) = (failing(), failing(), Origin::named("third"));
    let server = NameServer::start(Zone::of(&[(30, 9, third.addr()), (10, 1, first.addr()), (20, 9, second.addr())]));
    let breaker = json!({"failure_threshold": 2, "failure_statuses": [503], "timeout_ms": 86_400_000});
    let proxy = config(&server).set("circuit_breaker", breaker).start();
    let mut client = proxy.client();
    assert_eq!([(); 6].map(|()| client.get("/").status), [503, 503, 503, 503, 200, 200]);
    assert_eq!(counts(&[&first, &second, &third]), [2, 2, 2]);
    // The priorities change, and with them nothing that is known of the servers.
    server.set(Zone::of(&[(10, 1, third.addr()), (20, 1, first.addr()), (20, 9, second.addr())]));
    wait_until("the weight is known", || rows(&proxy).iter().any(|row| row["address"] == third.addr().to_string() && row["weight"] == 1));
    assert_eq!([(); 4].map(|()| client.get("/").status), [200; 4]);
    let circuits: Vec<_> = rows(&proxy).iter().filter(|row| row["circuit"] == "open").cloned().collect();
    assert_eq!(circuits.len(), 2, "{circuits:?}");
}

#[test]
fn an_answer_holds_as_long_as_it_says_and_the_last_good_one_stays() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let server = NameServer::start(Zone::of(&[(0, 1, a.addr())]));
    // `resolve_ms` is 30 s; the answer says 1 s.
    let proxy = config(&server).start();
    assert_eq!(proxy.get("/").expect(200).text(), "a");
    server.set(Zone { ttl: 86_400, ..Zone::of(&[(0, 1, b.addr())]) });
    wait_until("the answer was asked for again", || addresses(&proxy) == sorted(&[&b]));
    wait_until("a worker has heard of it", || proxy.get("/").expect(200).text() == "b");
    assert_eq!(proxy.said("the addresses of srv:_http._tcp.web.internal have changed").len(), 1);
    let asked = server.asked().len();
    assert!(asked <= 4, "{asked} questions");
}

#[test]
fn a_name_that_is_gone_and_a_server_that_is_silent_change_nothing() {
    let a = Origin::named("a");
    let good = Zone::of(&[(0, 1, a.addr())]);
    let server = NameServer::start(good.clone());
    let proxy = config(&server).set("resolve_ms", 50).start();
    server.set(Zone { rcode: 3, ..good.clone() });
    wait_until("that is said", || !proxy.said("cannot be looked up: there is no such name; its last addresses stay in use").is_empty());
    proxy.get("/").expect(200);
    server.set(good.clone());
    wait_until("that is over", || !proxy.said("can be looked up again").is_empty());
    server.set(Zone { is_silent: true, ..good });
    let silent = format!("cannot be looked up: name server {}: it does not answer", server.addr());
    wait_until("that is said too", || !proxy.said(&silent).is_empty());
    proxy.get("/").expect(200);
}

#[test]
fn a_long_answer_comes_by_tcp() {
    let a = Origin::named("a");
    let many: Vec<_> = (0..300).map(|i| (0, 1, format!("127.0.1.{}:{}", i % 250, a.port() - (i / 250)).parse().unwrap())).collect();
    let server = NameServer::start(Zone { is_cut: true, ..Zone::of(&[&[(0, 1, a.addr())], &many[..]].concat()) });
    let proxy = config(&server).start();
    assert_eq!(rows(&proxy).len(), 301);
    assert_eq!(server.asked()[..2], ["udp", "tcp"]);
}

#[test]
fn a_forged_answer_is_ignored() {
    let (good, bad) = (Origin::named("good"), Origin::named("bad"));
    let server = NameServer::start(Zone { forged: Some(bad.addr()), ..Zone::of(&[(0, 1, good.addr())]) });
    let proxy = config(&server).start();
    assert_eq!(proxy.get("/").expect(200).text(), "good");
    assert_eq!(addresses(&proxy), sorted(&[&good]));
}

#[test]
fn targets_without_addresses_are_looked_up_by_the_system() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let server = NameServer::start(Zone { has_addresses: false, ..Zone::of(&[(0, 1, a.addr()), (0, 1, b.addr())]) });
    let proxy = config(&server).launch().names("t0.test 127.0.0.1\n").start();
    assert_eq!(addresses(&proxy), sorted(&[&a]), "what is not known is left out");
    proxy.set_names("t1.test 127.0.0.1\n");
    wait_until("the other is known too", || addresses(&proxy) == sorted(&[&a, &b]));
}

#[test]
fn a_name_server_that_is_dead_is_passed_over() {
    let a = Origin::named("a");
    let server = NameServer::start(Zone::of(&[(0, 1, a.addr())]));
    let resolver = format!("ns.test:{}", server.addr().port());
    let proxy = config(&server).set("resolver", resolver).launch().names("ns.test 127.0.0.9 127.0.0.1\n").start();
    assert_eq!(addresses(&proxy), sorted(&[&a]));
    proxy.get("/").expect(200);
}

#[test]
fn a_reload_asks_another_server() {
    let (a, b) = (Origin::named("a"), Origin::named("b"));
    let first = NameServer::start(Zone { ttl: 86_400, ..Zone::of(&[(0, 1, a.addr())]) });
    let second = NameServer::start(Zone { ttl: 86_400, ..Zone::of(&[(0, 1, b.addr())]) });
    let proxy = config(&first).start();
    assert_eq!(addresses(&proxy), sorted(&[&a]));
    proxy.reload(&config(&second));
    wait_until("it was asked", || addresses(&proxy) == sorted(&[&b]));
}

#[test]
fn a_name_without_records_stops_no_start() {
    let a = Origin::named("a");
    let server = NameServer::start(Zone { rcode: 3, ..Zone::of(&[(0, 1, a.addr())]) });
    let proxy = config(&server).set("resolve_ms", 50).start();
    let answer = proxy.client().get("/");
    proxy.expect_refusal(answer, 502, "dns_error");
    assert_eq!(rows(&proxy)[0]["resolved"], false);
    server.set(Zone::of(&[(0, 1, a.addr())]));
    wait_until("it has an address", || proxy.get("/").status == 200);
}
