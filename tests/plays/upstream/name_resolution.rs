//! Names: looked up repeatedly, used as soon as they have an address, and harmless while they have none.

use crate::support::*;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A short interval.
const AGAIN_MS: u64 = 50;

fn to_names(upstreams: &[(&str, u16)]) -> Config {
    let upstreams = upstreams.iter().map(|(host, port)| json!({"host": host, "port": port}));
    Config::new().set("upstreams", upstreams.collect::<Vec<_>>()).set("resolve_ms", AGAIN_MS)
}

fn said(proxy: &Proxy, level: &str, part: &str) -> Vec<String> {
    proxy.diagnostics().into_iter().filter(|line| line.contains(&format!(" {level} ")) && line.contains(part)).collect()
}

#[track_caller]
fn wait_for_more(proxy: &Proxy, name: &str, n: usize) {
    let before = proxy.asked(name);
    wait_until(&format!("{name} was looked up {n} times more"), || proxy.asked(name) >= before + n);
}

/// A listener at 127.0.0.2 and one at 127.0.0.3, on one port.
fn neighbours() -> [TcpListener; 2] {
    loop {
        let one = TcpListener::bind("127.0.0.2:0").unwrap();
        if let Ok(other) = TcpListener::bind(("127.0.0.3", one.local_addr().unwrap().port())) {
            return [one, other];
        }
    }
}

/// Answers with its name; its requests for `/wait` do so when the gate opens. Also, how many connections are open to it.
fn named(name: &'static str, listener: TcpListener, gate: &Gate) -> (Origin, Arc<AtomicUsize>) {
    let open = Arc::new(AtomicUsize::new(0));
    let (count, gate) = (open.clone(), gate.clone());
    let origin = Origin::over(listener, move |conn| {
        count.fetch_add(1, SeqCst);
        while let Some(request) = conn.read_request() {
            if request.target == "/wait" {
                gate.pass();
            }
            conn.answer(name);
        }
        count.fetch_sub(1, SeqCst);
    });
    (origin, open)
}

#[test]
fn a_name_that_does_not_exist_stands_beside_one_that_does() {
    let origin = Origin::hello();
    let proxy = to_names(&[("name.invalid", 80), ("localhost", origin.port())]).start();
    for _ in 0..20 {
        assert_eq!(proxy.client().get("/x").expect(200).text(), "GET /x");
    }
    assert_eq!((&proxy.backend(0)["resolved"], &proxy.backend(0)["healthy"]), (&json!(false), &json!(false)));
    assert_eq!((&proxy.backend(1)["resolved"], &proxy.backend(1)["healthy"]), (&json!(true), &json!(true)));
    assert!(get(proxy.admin(), "/health").expect(200).text().contains("degraded"));
    assert!(said(&proxy, "WARN", "name.invalid cannot").len() <= 1, "{:?}", proxy.diagnostics());
    assert!(said(&proxy, "INFO", "localhost").is_empty() && said(&proxy, "WARN", "localhost").is_empty());
}

#[test]
fn a_name_that_begins_to_lead_somewhere_is_used_without_a_restart() {
    let origin = Origin::hello();
    let proxy = to_names(&[("late.test", origin.port())]).launch().names("").start();
    let answer = proxy.client().get("/");
    proxy.expect_refusal(answer, 502, "dns_error");
    wait_for_more(&proxy, "late.test", 5);
    assert_eq!((&proxy.backend(0)["resolved"], get(proxy.admin(), "/health").status), (&json!(false), 503));
    assert_eq!(said(&proxy, "WARN", "late.test").len(), 1, "once, not each time: {:?}", proxy.diagnostics());
    proxy.set_names("late.test 127.0.0.1\n");
    wait_until("it is used", || proxy.get("/x").status == 200);
    assert_eq!((&proxy.backend(0)["resolved"], get(proxy.admin(), "/health").status), (&json!(true), 200));
    wait_until("it says so", || said(&proxy, "INFO", "late.test").iter().any(|line| line.contains("127.0.0.1")));
}

#[test]
fn a_name_that_moves_takes_new_and_kept_connections_with_it() {
    let [here, there] = neighbours();
    let port = here.local_addr().unwrap().port();
    let gate = Gate::default();
    let (a, open) = named("a", here, &gate);
    let (b, _) = named("b", there, &gate);
    let config = to_names(&[("moves.test", port)]).set("workers", 2);
    let proxy = config.launch().names("moves.test 127.0.0.2\n").start();
    let mut kept: Vec<_> = (0..6).map(|_| proxy.client()).collect();
    for client in &mut kept {
        assert_eq!(client.get("/").expect(200).text(), "a");
    }
    let mut waits = proxy.client();
    waits.send_get("/wait");
    wait_until("it is in flight", || a.requests().iter().any(|request| request.target == "/wait"));
    proxy.set_names("moves.test 127.0.0.3\n");
    wait_until("only the busy connection is left", || open.load(SeqCst) == 1);
    for client in &mut kept {
        assert_eq!(client.get("/").expect(200).text(), "b");
    }
    gate.release(1);
    assert_eq!(waits.response().expect(200).text(), "a", "what was in flight ends where it began");
    wait_until("and its connection is not kept", || open.load(SeqCst) == 0);
    assert_eq!(waits.get("/").expect(200).text(), "b");
    wait_until("it says so", || !said(&proxy, "INFO", "moves.test").is_empty());
    let moved = said(&proxy, "INFO", "moves.test");
    assert_eq!(moved.len(), 1, "{moved:?}");
    assert!(moved[0].contains(&format!("[127.0.0.2:{port}] -> [127.0.0.3:{port}]")), "{moved:?}");
    assert_eq!(b.requests().len(), kept.len() + 1);
}

#[test]
fn all_addresses_take_turns_whatever_their_order_in_the_answers() {
    let [here, there] = neighbours();
    let port = here.local_addr().unwrap().port();
    let gate = Gate::default();
    let (a, b) = (named("a", here, &gate).0, named("b", there, &gate).0);
    let orders = ["both.test 127.0.0.2 127.0.0.3\n", "both.test 127.0.0.3 127.0.0.2\n"];
    let config = to_names(&[("both.test", port)]).set("timeouts.upstream_keepalive_ms", 0);
    let proxy = config.launch().names(orders[0]).start();
    for order in orders.iter().cycle().skip(1).take(6) {
        proxy.set_names(order);
        wait_for_more(&proxy, "both.test", 2);
        (0..4).for_each(|_| drop(proxy.get("/").expect(200)));
    }
    assert_eq!((a.requests().len(), b.requests().len()), (12, 12));
    assert!(said(&proxy, "INFO", "both.test").is_empty(), "nothing has changed: {:?}", proxy.diagnostics());
}

#[test]
fn when_look_ups_fail_the_last_good_address_stays() {
    let origin = Origin::busy("a");
    let good = "www.test 127.0.0.1\n";
    let proxy = to_names(&[("www.test", origin.port())]).launch().names(good).start();
    let load = Load::start(proxy.addr(), 2, 2, Duration::from_millis(2));
    load.wait_for_more(20);
    proxy.set_names("");
    wait_for_more(&proxy, "www.test", 6);
    load.wait_for_more(50);
    assert_eq!(proxy.backend(0)["resolved"], json!(true));
    wait_until("it says so", || !said(&proxy, "WARN", "www.test").is_empty());
    let failed = said(&proxy, "WARN", "www.test");
    assert!(failed.len() == 1 && failed[0].contains("stay in use"), "{failed:?}");
    proxy.set_names(good);
    wait_until("it is well again", || !said(&proxy, "INFO", "www.test").is_empty());
    wait_for_more(&proxy, "www.test", 4);
    load.stop().expect_flawless();
    assert_eq!((said(&proxy, "WARN", "www.test").len(), said(&proxy, "INFO", "www.test").len()), (1, 1));
}

#[test]
fn a_look_up_that_hangs_holds_nothing_else_up() {
    let [here, there] = neighbours();
    let port = here.local_addr().unwrap().port();
    let gate = Gate::default();
    let ((_a, _), (_b, _)) = (named("a", here, &gate), named("b", there, &gate));
    let config = to_names(&[("slow.test", port), ("quick.test", port)]);
    let names = |quick: &str, slow: &str| format!("quick.test {quick}\nslow.test {slow}\nslow2.test hang\n");
    // It never ends, so nothing may wait for it.
    let mut proxy = config.clone().launch().names(&names("127.0.0.2", "hang")).start();
    let is_missing = |proxy: &Proxy| said(proxy, "WARN", "not looked up yet").len();
    assert_eq!(proxy.get("/").expect(200).text(), "a");
    wait_until("it says which one it does not wait for", || is_missing(&proxy) == 1);
    proxy.set_names(&names("127.0.0.3", "hang"));
    wait_until("the other name is looked up all the same", || proxy.get("/").expect(200).text() == "b");

    let config = config.set("routes", json!([{"match": {"path": "/new"}, "respond": {"body": "new"}}]));
    proxy.reload(&config);
    assert_eq!((proxy.get("/new").expect(200).text(), proxy.get("/").expect(200).text()), ("new", "b"));
    assert_eq!(is_missing(&proxy), 1, "it was not waited for again");
    wait_for_more(&proxy, "quick.test", 5);
    assert_eq!((proxy.asked("slow.test"), proxy.resolvers() <= 6), (1, true), "no look-up beside one that hangs");

    let more = json!([{"host": "slow.test", "port": port}, {"host": "quick.test", "port": port}, {"host": "slow2.test", "port": port}]);
    proxy.reload(&config.set("upstreams", more));
    assert_eq!(proxy.get("/").expect(200).text(), "b");
    wait_until("a new one was waited for, not for ever", || is_missing(&proxy) == 2);
    proxy.set_names(&names("127.0.0.3", "127.0.0.2"));
    wait_until("the slow one has come", || proxy.backend(0)["resolved"] == json!(true));
    assert_eq!(proxy.backend(2)["resolved"], json!(false));
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(), 0, "nor is it waited for at the end");
}

#[test]
fn a_reload_adds_names_and_drops_those_that_are_gone() {
    let origin = Origin::hello();
    let port = origin.port();
    let config = |names: &[&str]| to_names(&names.iter().map(|&name| (name, port)).collect::<Vec<_>>());
    let all = "a.test 127.0.0.1\nb.test 127.0.0.1\nc.test 127.0.0.1\n";
    let proxy = config(&["a.test", "b.test"]).launch().names(all).start();
    wait_for_more(&proxy, "a.test", 2);
    // A reload while names do not resolve does not harm servers that stay.
    proxy.set_names("c.test 127.0.0.1\n");
    proxy.reload(&config(&["b.test", "c.test"]));
    let gone = proxy.asked("a.test");
    for _ in 0..6 {
        proxy.get("/").expect(200);
    }
    wait_for_more(&proxy, "b.test", 5);
    wait_for_more(&proxy, "c.test", 5);
    assert!(proxy.asked("a.test") <= gone + 1, "the one that was under way");
    assert!((0..2).all(|index| proxy.backend(index)["resolved"] == json!(true)));
    wait_until("one thread waits", || proxy.resolvers() >= 1);
    proxy.reload(&Config::to(&origin).set("resolve_ms", AGAIN_MS));
    wait_until("there are no names, and no thread", || proxy.resolvers() == 0);
    assert!(said(&proxy, "WARN", "not looked up yet").is_empty());
}

#[test]
fn never_again_is_kept_and_costs_no_thread() {
    let origin = Origin::hello();
    let proxy = to_names(&[("www.test", origin.port())]).set("resolve_ms", 0).launch().names("www.test 127.0.0.1\n").start();
    wait_until("no thread is left", || proxy.resolvers() == 0);
    proxy.set_names("");
    for _ in 0..20 {
        proxy.get("/").expect(200);
    }
    assert_eq!(proxy.asked("www.test"), 1);
}

#[test]
fn who_waits_in_the_queue_goes_where_a_name_begins_to_lead() {
    let gate = Gate::default();
    let (full, late) = (Origin::gated(&gate), Origin::named("late"));
    let upstreams = json!([{"host": "127.0.0.1", "port": full.port()}, {"host": "late.test", "port": late.port()}]);
    let config = to_names(&[]).set("upstreams", upstreams).set("limits.max_conns_per_upstream", 1);
    let config = config.set("timeouts.queue_ms", 60_000).set("timeouts.total_ms", 0).set("timeouts.read_ms", 0);
    let proxy = config.launch().names("").start();
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.send_get("/first");
    wait_until("the one place is taken", || full.requests().len() == 1);
    second.send_get("/second");
    wait_until("the second waits", || proxy.metric("proxy_queued_requests", &[]) == 1.0);
    proxy.set_names("late.test 127.0.0.1\n");
    assert_eq!(second.response().expect(200).text(), "late");
    gate.release(1);
    assert_eq!(first.response().expect(200).text(), "GET /first");
}

/// Before it is due, because nobody answers at its addresses.
#[test]
fn a_name_that_leads_to_nobody_is_looked_up_at_once_and_its_circuit_begins_anew() {
    let [here, there] = neighbours();
    let port = there.local_addr().unwrap().port();
    drop(here);
    let (b, _) = named("b", there, &Gate::default());
    for check in [Value::Null, json!({"path": "/", "interval_ms": 100, "failure_threshold": 1})] {
        let config = to_names(&[("moves.test", port)]).set("resolve_ms", 86_400_000).set("health_check", check);
        let config = config.set("circuit_breaker", json!({"failure_threshold": 1, "timeout_ms": 86_400_000, "last_resort_ms": 100}));
        let proxy = config.launch().names("moves.test 127.0.0.2\n").start();
        assert!([502, 503].contains(&proxy.get("/").status));
        proxy.set_names("moves.test 127.0.0.3\n");
        wait_until("it is used", || proxy.get("/").status == 200);
        assert_eq!(proxy.backend(0)["circuit"], json!("closed"));
    }
    assert!(!b.requests().is_empty());
}

#[test]
fn the_addresses_of_a_name_share_the_time_of_an_attempt() {
    // One accepts nothing, and its queue is full: the kernel drops what more comes.
    let [full, there] = neighbours();
    let addr = full.local_addr().unwrap();
    socket2::SockRef::from(&full).listen(1).unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
        queue.push(stream);
    }
    let (_origin, _) = named("b", there, &Gate::default());
    let timeouts = json!({"attempt_ms": 1500, "connect_ms": 60_000, "upstream_keepalive_ms": 0});
    let config = to_names(&[("both.test", addr.port())]).set("timeouts", timeouts);
    let proxy = config.launch().names("both.test 127.0.0.2 127.0.0.3\n").start();
    for _ in 0..2 {
        let answer = proxy.get("/").expect(200);
        assert!(proxy.log_of(answer.trace_id()).contains(" attempts=1 "));
    }
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
