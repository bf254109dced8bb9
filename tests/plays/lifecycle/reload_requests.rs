//! SIGHUP, as requests see it: the next request is answered by the new configuration, and nothing else changes.

use crate::support::*;
use serde_json::json;
use std::collections::HashMap;
use std::time::{Duration, Instant};

/// How many reloads are made under load; `RELOADS` sets another number.
fn reloads() -> usize {
    std::env::var("RELOADS").map_or(300, |n| n.parse().expect("a number"))
}

/// A proxy that answers everything by itself, with that text.
fn saying(text: &str) -> Config {
    Config::new().set("routes", json!([{"respond": {"body": text}}]))
}

/// How often each target stands in these lines of the access log.
fn by_target(lines: &[String]) -> HashMap<String, usize> {
    let mut counts = HashMap::new();
    lines.iter().for_each(|line| *counts.entry(Line::text(line).target().to_owned()).or_default() += 1);
    counts
}

#[test]
fn hundreds_of_reloads_under_load_cost_no_request() {
    let origins = ["a", "b", "c"].map(Origin::busy);
    let addrs = [0, 1, 2].map(|i: usize| origins[i].addr());
    // One upstream stays, one comes and one goes; and something else changes with it.
    let configs = [([addrs[0], addrs[1]], 15_000), ([addrs[1], addrs[2]], 14_000)]
        .map(|(addrs, read_ms)| Config::to_all(addrs).set("workers", 2).set("timeouts.read_ms", read_ms));
    let proxy = configs[0].clone().start();
    let fds = proxy.fds();
    let load = Load::start(proxy.addr(), 4, 3, Duration::from_millis(2));
    load.wait_for_more(100);
    let reload = |i: usize| proxy.reload(&configs[(i + 1) % 2]);
    (0..100).for_each(reload); // by then every buffer is as large as it gets
    let rss = proxy.rss_bytes();
    (100..reloads()).for_each(reload);
    load.wait_for_more(100);
    let growth = proxy.rss_bytes().saturating_sub(rss);
    let tally = load.stop();
    tally.expect_flawless();
    assert_eq!(proxy.reloads(), (reloads(), 0));
    assert!(growth < 4 << 20, "grew by {growth} bytes over {} reloads", reloads() - 100);
    wait_until("the clients are gone", || proxy.metric("proxy_client_connections", &[]) == 0.0);
    // What is open above the start: an idle connection to each upstream for each client there was, and the scrape's own.
    wait_until("no descriptor is left over", || proxy.fds() <= fds + 2 * 7 + 2);
    wait_until("each is logged", || proxy.log_lines().len() >= tally.targets.len());
    let counts = by_target(&proxy.log_lines());
    assert!(tally.targets.iter().all(|target| counts.get(target) == Some(&1)) && counts.len() == tally.targets.len());
    for name in ["a", "b", "c"] {
        assert!(tally.by_name[name] > 0, "{:?}", tally.by_name);
    }
}

#[test]
fn a_burst_of_connects_meets_a_listener_through_all_reloads() {
    let proxy = saying("one").set("workers", 2).start();
    let addr = proxy.addr();
    let clients = std::thread::spawn(move || (0..800).map(|_| Client::connect(addr)).collect::<Vec<_>>());
    let mut n = 0;
    while !clients.is_finished() || n < 5 {
        proxy.reload(&saying(&format!("{n}")).set("workers", 2));
        n += 1;
    }
    for client in &mut clients.join().expect("every connect") {
        assert_eq!(client.get("/").expect(200).text(), format!("{}", n - 1));
    }
}

#[test]
fn a_kept_connection_sees_the_new_configuration_with_its_next_request() {
    let proxy = saying("0").set("workers", 2).start();
    let mut clients = [(); 4].map(|_| proxy.client());
    for n in 0..10 {
        for client in &mut clients {
            let answer = client.get("/").expect(200);
            assert_eq!(answer.text(), format!("{n}"));
            assert!(!answer.fields.has("Connection"), "{:?}", answer.fields);
        }
        proxy.reload(&saying(&format!("{}", n + 1)).set("workers", 2));
    }
}

#[test]
fn an_exchange_in_flight_ends_on_the_old_one() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::each(move |conn, request| {
        if request.target == "/held" {
            held.pass();
            conn.answer(request.what());
        } else {
            conn.wait_for_end();
        }
    });
    let config = Config::to(&origin);
    let proxy = config.clone().start();
    let mut old = proxy.client();
    old.send_get("/held");
    wait_until("it is in flight", || origin.heads().len() == 1);
    let begin = Instant::now();
    proxy.reload(&config.set("timeouts.read_ms", 150));
    // One that began later is held to the new time, and has used it up before the older one is let go.
    let answer = proxy.get("/late");
    proxy.expect_refusal(answer, 504, "connection_read_timeout");
    wait_until("the older one would be over as well", || begin.elapsed() > Duration::from_millis(300));
    assert!(!old.has_news(), "the new time is not for the old exchange");
    gate.release(1);
    assert_eq!(old.response().expect(200).text(), "GET /held");
    old.send_get("/after");
    let answer = old.response();
    proxy.expect_refusal(answer, 504, "connection_read_timeout");
}

#[test]
fn an_upload_in_flight_keeps_its_limit_and_its_upstream() {
    let (old, new) = (Origin::each(|conn, request| conn.answer(format!("old {}", request.body.len()))), Origin::named("new"));
    let proxy = Config::to(&old).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
    wait_until("it is in flight", || old.heads().len() == 1);
    proxy.reload(&Config::to(&new).set("limits.max_body_size", 10));
    client.send(format!("{:x}\r\n{}\r\n0\r\n\r\n", 2000, "x".repeat(2000)));
    assert_eq!(client.response().expect(200).text(), "old 2005");
    wait_until("its connection has no use any more", || old.open() == 0);
    assert_eq!(client.get("/").expect(200).text(), "new");
    assert_eq!(client.post("/", "more than ten bytes").status, 413);
}

#[test]
fn a_changed_list_of_upstreams_moves_the_traffic() {
    let (a, b) = (Origin::busy("a"), Origin::busy("b"));
    let proxy = Config::to(&a).set("workers", 2).start();
    let load = Load::start(proxy.addr(), 3, 2, Duration::from_millis(2));
    load.wait_for_more(50);
    for (origin, left, name) in [(&b, &a, "a"), (&a, &b, "b")] {
        proxy.reload(&Config::to(origin).set("workers", 2));
        // One after the other, nothing is given to it once the reload is done and its last exchange has ended.
        wait_until("every connection to it is closed", || left.open() == 0);
        let before = load.so_far();
        load.wait_for_more(50);
        let after = load.so_far();
        assert_eq!(after.by_name.get(name), before.by_name.get(name), "still asked: {name}");
    }
    load.stop().expect_flawless();
}

#[test]
fn idle_connections_to_an_upstream_that_goes_are_closed_at_once() {
    let gate = Gate::default();
    let (a, b) = (Origin::gated(&gate), Origin::hello());
    let proxy = Config::to(&a).start();
    let mut clients = [(); 5].map(|_| proxy.client());
    clients.iter_mut().for_each(|client| client.send_get("/"));
    wait_until("all are in flight", || a.requests().len() == 5);
    gate.release(4);
    wait_until("four are idle", || proxy.metric("proxy_upstream_connections", &["state=\"idle\""]) == 4.0);
    proxy.reload(&Config::to(&b));
    wait_until("the idle ones are closed, the one in use is not", || a.open() == 1);
    gate.release(1);
    for client in &mut clients {
        assert_eq!(client.response().expect(200).text(), "GET /");
    }
    wait_until("and that one goes with its exchange", || a.open() == 0);
    let page = get(proxy.admin(), "/backends/health").expect(200);
    assert!(page.text().contains(&b.addr().to_string()) && !page.text().contains(&a.addr().to_string()), "{}", page.text());
}

#[test]
fn an_upstream_that_stays_keeps_its_connections_and_its_counters() {
    let (a, b) = (Origin::hello(), Origin::hello());
    let item = |origin: &Origin, weight: usize| json!({"host": "127.0.0.1", "port": origin.port(), "weight": weight});
    let config = |items: serde_json::Value| Config::new().set("upstreams", items);
    let proxy = config(json!([item(&a, 1)])).start();
    let count = |name: &str| proxy.metric(name, &[&format!("upstream=\"{}\"", a.addr())]);
    let mut client = proxy.client();
    (0..3).for_each(|_| drop(client.get("/").expect(200)));
    // Another one beside it, another place in the list, another weight: it is the same pool, name and address.
    for items in [json!([item(&a, 1), item(&b, 0)]), json!([item(&b, 0), item(&a, 1)]), json!([item(&a, 5)])] {
        let before = count("proxy_upstream_requests_total");
        proxy.reload(&config(items));
        assert_eq!(count("proxy_upstream_requests_total"), before, "its counters go on");
        assert_eq!(count("proxy_upstream_connections"), 1.0);
        client.get("/").expect(200);
        assert_eq!(count("proxy_upstream_requests_total"), before + 1.0);
        assert_eq!(count("proxy_upstream_duration_seconds_count"), before + 1.0);
    }
    assert_eq!((a.connections(), a.requests().len()), (1, 6), "one connection all the time");
}

#[test]
fn a_burst_of_signals_is_one_or_two_reloads_and_the_last_one_counts() {
    // So many routes that one reload takes longer than ten signals, each of which is noticed.
    let config = |text: &str| {
        let route = |i: usize| json!({"match": {"path": format!("/{i}")}, "respond": {"body": text}});
        Config::new().set("routes", (0..10_000).map(route).collect::<Vec<_>>()).0.to_string()
    };
    let proxy = Launch::new(["-c", "config.yaml"]).file("config.yaml", &config("old")).start();
    let pid = rustix::process::Pid::from_raw(proxy.pid() as i32).unwrap();
    for round in 0..20 {
        let (before, text) = (proxy.reloads().0, format!("{round}"));
        proxy.write("config.yaml", &config(&text));
        let begin = Instant::now();
        for _ in 0..10 {
            rustix::process::kill_process(pid, rustix::process::Signal::HUP).unwrap();
            take_time(Duration::from_micros(200)); // apart enough to be noticed
        }
        let was_one_burst = begin.elapsed() < Duration::from_millis(10);
        wait_until("the last word counts", || proxy.get("/9999").expect(200).text() == text);
        // Whatever is still to come of the burst comes before what is asked for now, or with it.
        proxy.write("config.yaml", &config("after"));
        proxy.signal("HUP");
        wait_until("that counts too", || proxy.get("/9999").expect(200).text() == "after" && proxy.reloads().0 > before + 1);
        if was_one_burst {
            let reloads = proxy.reloads().0 - before;
            assert!((2..=3).contains(&reloads), "{reloads} reloads for one burst and one signal");
            return;
        }
    }
    panic!("this machine cannot send ten signals in a row");
}
