//! What the error log says while something is wrong: warnings that do not hide each other, and where an upstream failed.

use crate::support::*;
use serde_json::{Value, json};

#[test]
fn a_dead_upstream_is_a_warning_once_and_not_for_every_request() {
    for (threshold, reason) in [(0, "connection_refused"), (3, "destination_unavailable")] {
        let pools = json!({"api": {"upstreams": [{"url": format!("http://{}", nobody()), "name": "one"}]}});
        let breaker = json!({"failure_threshold": threshold, "timeout_ms": 600_000, "last_resort_ms": 0});
        let config = Config::new().set("pools", pools).set("routes", json!([{"proxy": "api"}])).set("circuit_breaker", breaker);
        let proxy = config.set("logging.access_log", Value::Null).start();
        let begin = std::time::Instant::now();
        let mut client = proxy.client();
        (0..300).for_each(|i| drop(client.get(&format!("/{i}"))));
        let seconds = begin.elapsed().as_secs() as usize;
        let warnings = proxy.said(&format!("WARN upstream: {reason}: pool api: "));
        assert!((1..=seconds + 2).contains(&warnings.len()), "{seconds} s: {:#?}", proxy.diagnostics());
        assert!(warnings[0].contains(" trace_id="), "{warnings:?}");
        let cause = if threshold == 0 { "one refused the connection" } else { "no upstream takes requests: 1 circuit open" };
        assert!(warnings[0].contains(cause), "{warnings:?}");
        let changes = proxy.said("circuit closed -> open").len();
        assert_eq!(changes, if threshold == 0 { 0 } else { 1 }, "changes are always told: {:#?}", proxy.diagnostics());
        if threshold > 0 {
            continue;
        }
        take_time(std::time::Duration::from_millis(1100)); // after which the next may be told
        let last = client.get("/last").trace_id().to_owned();
        wait_until("the next is told", || proxy.said(&last).len() == 1);
        let told: usize = proxy.said(" more since the last such line)").iter().map(|line| held(line)).sum();
        assert_eq!(told + proxy.said("refused the connection").len(), 301, "all are accounted for: {:#?}", proxy.diagnostics());
    }
}

/// The number of requests that warnings with that part tell of, one by one or together.
fn accounted(proxy: &Proxy, part: &str) -> usize {
    proxy.said(part).iter().map(|line| 1 + if line.contains("(and ") { held(line) } else { 0 }).sum()
}

/// The last of them were told with the next warning, which may be hours later, or never.
#[test]
fn the_end_of_a_burst_is_told_although_nothing_follows() {
    let breaker = json!({"failure_threshold": 0});
    let config = Config::new().set("upstreams", json!([{"url": format!("http://{}", nobody())}])).set("circuit_breaker", breaker);
    let mut proxy = config.set("workers", 2).start();
    let burst = |requests: usize| {
        let mut clients = [proxy.client(), proxy.client(), proxy.client()];
        (0..requests).for_each(|i| drop(clients[i % 3].get("/").expect(502)));
    };
    let refused = " WARN upstream: connection_refused: ";
    burst(60);
    wait_until("all are accounted for", || accounted(&proxy, refused) == 60);
    burst(2);
    wait_until("a single one too", || accounted(&proxy, refused) == 62);
    assert!(proxy.said(refused).iter().all(|line| line.contains(" trace_id=")), "{:?}", proxy.diagnostics());

    // The end does not wait for it, and its last line stays the last.
    burst(10);
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(), 0);
    let stopped = |line: &String| line.contains(" stopped: ");
    wait_until("the last line is read", || proxy.diagnostics().last().is_some_and(stopped));
    assert_eq!(accounted(&proxy, refused), 72, "{:#?}", proxy.diagnostics());
}

/// `(and 299 more since the last such line)`
fn held(line: &str) -> usize {
    line.split("(and ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn at_level_debug_every_request_is_told_of() {
    let config = Config::new().set("upstreams", json!([{"url": format!("http://{}", nobody())}]));
    let proxy = config.set("logging.level", "debug").start();
    let mut client = proxy.client();
    for i in 0..20 {
        let answer = client.get(&format!("/{i}")).expect(502);
        wait_until("it is told", || !proxy.said(answer.trace_id()).is_empty());
    }
}

#[test]
fn where_an_upstream_failed_is_told_by_error_detail() {
    let upstreams = json!([{"url": format!("http://{}", nobody()), "name": "hidden-name"}]);
    let ask_as = |proxy: &Proxy, field: &str| {
        let answer = ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: h\r\n{field}Connection: close\r\n\r\n")).expect(502);
        let long = "502 connection_refused: hidden-name refused the connection\n";
        let short = format!("502 connection_refused: trace_id={}\n", answer.trace_id());
        assert!([long, &short].contains(&answer.text()), "{:?}", answer.text());
        assert_eq!(answer.fields.get("Proxy-Status"), Some("tidegate; error=connection_refused"));
        answer.text() == long
    };
    let forwarded = "X-Forwarded-For: 127.0.0.1\r\n";
    for (setting, plain, through) in
        [(None, true, false), (Some("auto"), true, false), (Some("always"), true, true), (Some("never"), false, false)]
    {
        let config = Config::new().set("upstreams", upstreams.clone());
        let config = setting.into_iter().fold(config, |config, setting| config.set("error_detail", setting));
        let proxy = config.start();
        assert_eq!((ask_as(&proxy, ""), ask_as(&proxy, forwarded)), (plain, through), "{setting:?}");
        wait_until("the log has everything", || !proxy.said("hidden-name refused the connection").is_empty());
    }
}
