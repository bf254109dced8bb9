//! What is counted is true at once, and every number has its documented name.

use crate::support::exposition::{split_sample, sum};
use crate::support::*;
use serde_json::json;
use std::collections::HashSet;

#[test]
fn metrics_are_well_formed_and_complete() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    proxy.get("/").expect(200);
    let answer = get(proxy.admin(), "/metrics").expect(200);
    assert!(answer.fields.get("Content-Type").unwrap().starts_with("text/plain; version=0.0.4"));
    let (mut families, mut series) = (HashSet::new(), HashSet::new());
    for line in answer.text().lines() {
        if let Some(family) = line.strip_prefix("# TYPE ") {
            assert!(families.insert(family.split(' ').next().unwrap().to_owned()), "twice: {line}");
        } else if !line.starts_with("# HELP ") {
            let (name, labels, _) = split_sample(line).unwrap_or_else(|| panic!("not a sample: {line:?}"));
            let base = ["_bucket", "_sum", "_count"].iter().find_map(|s| name.strip_suffix(s)).unwrap_or(name);
            assert!(families.contains(base) || families.contains(name), "no TYPE before {line:?}");
            assert!(series.insert((name.to_owned(), labels.to_owned())), "twice: {line}");
        }
    }
    for family in [
        "proxy_requests_total",
        "proxy_requests_parse_errors_total",
        "proxy_responses_total",
        "proxy_request_duration_seconds",
        "proxy_upstream_duration_seconds",
        "proxy_bytes_received_total",
        "proxy_bytes_sent_total",
        "proxy_upstream_requests_total",
        "proxy_client_connections",
        "proxy_upstream_connections",
        "proxy_queued_requests",
        "proxy_access_log_dropped_total",
        "backend_health",
        "process_cpu_seconds_total",
        "process_resident_memory_bytes",
        "process_open_fds",
        "process_start_time_seconds",
        "proxy_build_info",
    ] {
        assert!(families.contains(family), "{family} is missing of {families:?}");
    }
}

#[test]
fn a_counter_is_true_as_soon_as_the_answer_can_be_read() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("workers", 2).start();
    let mut kept = proxy.client();
    for i in 1..=40 {
        match i % 2 {
            0 => proxy.get("/").expect(200),
            _ => kept.get("/").expect(200),
        };
        let scrape = proxy.scrape();
        let n = i as f64;
        assert_eq!(sum(&scrape, "proxy_requests_total", &[]), n);
        assert_eq!(sum(&scrape, "proxy_responses_total", &["status_class=\"2xx\""]), n);
        assert_eq!(sum(&scrape, "proxy_responses_total", &[]), n);
        assert_eq!(sum(&scrape, "proxy_request_duration_seconds_count", &[]), n);
        assert_eq!(sum(&scrape, "proxy_request_duration_seconds_bucket", &["le=\"+Inf\""]), n);
        assert_eq!(sum(&scrape, "proxy_upstream_requests_total", &[]), n);
        assert_eq!(sum(&scrape, "proxy_upstream_duration_seconds_count", &[]), n);
    }
}

#[test]
fn gauges_show_what_is_open() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let proxy = Config::to(&origin).start();
    let upstreams = |state: &str| proxy.metric("proxy_upstream_connections", &[&format!("state=\"{state}\"")]);
    let mut clients = [proxy.client(), proxy.client(), proxy.client()];
    clients[0].send_get("/");
    clients[1].send_get("/");
    wait_until("two are in flight", || origin.requests().len() == 2);
    wait_until("the third is accepted", || proxy.metric("proxy_client_connections", &[]) == 3.0);
    assert_eq!((upstreams("active"), upstreams("idle")), (2.0, 0.0));
    gate.release(2);
    clients[0].response().expect(200);
    clients[1].response().expect(200);
    wait_until("both are idle", || (upstreams("active"), upstreams("idle")) == (0.0, 2.0));
    drop(clients);
    wait_until("the clients are gone", || proxy.metric("proxy_client_connections", &[]) == 0.0);
}

#[test]
fn bytes_are_counted_on_the_clients_side() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.post("/", &"x".repeat(100_000)).expect(200);
    for name in ["proxy_bytes_received_total", "proxy_bytes_sent_total"] {
        wait_until(name, || (100_000.0..102_000.0).contains(&proxy.metric(name, &[])));
    }
}

#[test]
fn what_each_upstream_answered_is_counted_by_class() {
    let origin = Origin::each(|conn, request| match request.target.as_str() {
        "/early" => conn.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        "/missing" => conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        "/broken" => conn.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
        _ => conn.answer("fine"),
    });
    let retry = json!({"max_retries": 1, "statuses": [503], "backoff_ms": 1});
    let proxy = Config::to(&origin).set("retry", retry).start();
    for (path, status) in [("/", 200), ("/early", 200), ("/missing", 404), ("/broken", 503)] {
        proxy.get(path).expect(status);
    }
    let scrape = proxy.scrape();
    let of = |class: &str| sum(&scrape, "proxy_upstream_responses_total", &["pool=\"default\"", &format!("status_class=\"{class}\"")]);
    assert_eq!(["1xx", "2xx", "3xx", "4xx", "5xx"].map(of), [1.0, 2.0, 0.0, 1.0, 2.0], "those that were dropped too");
    assert_eq!(sum(&scrape, "proxy_responses_total", &["status_class=\"5xx\""]), 1.0);
}
