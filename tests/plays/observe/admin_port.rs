//! The admin port: what it shows is true, and showing it changes nothing.

use crate::support::proxy::{split_sample, sum};
use crate::support::*;
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
fn health_tells_the_state_of_the_upstreams() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let answer = get(proxy.admin(), "/health").expect(200);
    assert!(answer.fields.get("Content-Type").unwrap().starts_with("application/json"));
    let health: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(health["status"], "healthy");
    assert!(health["uptime_seconds"].is_number(), "{health}");
    assert_eq!(health["backends"], serde_json::json!({"healthy": 1, "total": 1}));
    for feature in ["circuit_breaker", "rate_limiting", "health_checks", "cache"] {
        assert!(health["features"][feature].is_boolean(), "{feature} in {health}");
    }
}

#[test]
fn health_without_upstreams_is_well_and_without_usable_ones_is_not() {
    let proxy = Config::new().start();
    assert!(get(proxy.admin(), "/health").expect(200).text().contains("\"status\":\"healthy\""));
    let proxy = Config::new().set("upstreams", serde_json::json!([{"host": "no-such-name.invalid", "port": 80}])).start();
    assert!(get(proxy.admin(), "/health").expect(503).text().contains("\"status\":\"unhealthy\""));
}

#[test]
fn other_paths_and_methods_are_told_so() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let mut client = Client::connect(proxy.admin());
    client.get("/nothing-here").expect(404);
    let answer = Client::connect(proxy.admin()).post("/metrics", "body").expect(405);
    assert!(answer.fields.lists("Allow", "GET") && answer.fields.lists("Allow", "HEAD"), "{:?}", answer.fields);
    client.send("HEAD /health HTTP/1.1\r\nHost: admin\r\n\r\n");
    let length = client.response_to("HEAD").expect(200).fields.get("Content-Length").unwrap().to_owned();
    assert_ne!(length, "0");
    client.get("/health").expect(200); // all that was read whole, on one connection
    get(proxy.admin(), "/health?verbose").expect(200);
}

#[test]
fn the_admin_port_is_as_strict_as_any() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("timeouts.client_header_ms", 300).start();
    assert_eq!(ask(proxy.admin(), "GET /health HTTP/1.1\r\nHost : a\r\n\r\n").status, 400);
    assert_eq!(ask(proxy.admin(), "GET /health HTTP/1.1\r\nX: y").status, 408);
    Client::connect(proxy.admin()).expect_end();
}

#[test]
fn looking_changes_nothing() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    for path in ["/metrics", "/health", "/nothing-here", "/metrics"] {
        get(proxy.admin(), path);
    }
    ask(proxy.admin(), "nonsense\r\n\r\n");
    let scrape = proxy.scrape();
    let samples = scrape.lines().filter(|l| !l.starts_with('#')).filter_map(split_sample);
    for (name, labels, value) in samples.filter(|(name, ..)| name.starts_with("proxy_") && *name != "proxy_build_info") {
        assert_eq!(value, 0.0, "{name}{{{labels}}}");
    }
    proxy.get("/one").expect(200);
    proxy.log_with("GET /one"); // and by now anything else would have been logged as well
    assert_eq!(proxy.log_lines().len(), 1);
}

#[test]
fn there_may_be_no_admin_port() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("metrics_listen", serde_json::Value::Null).start();
    assert!(proxy.ready.contains(" metrics=off "), "{:?}", proxy.ready);
    proxy.get("/").expect(200);
}

/// Idle connections must not keep those after the 64th from getting an answer.
#[test]
fn idle_connections_to_the_admin_port_give_way() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("timeouts.client_header_ms", 3_600_000).start();
    let idle: Vec<Client> = (0..100).map(|_| Client::connect(proxy.admin())).collect();
    for _ in 0..3 {
        get(proxy.admin(), "/health").expect(200);
    }
    drop(idle);
    let scrape = proxy.scrape();
    assert_eq!(sum(&scrape, "proxy_connections_evicted_total", &[]), 0.0, "the admin port's connections count nowhere");
}

/// Pages were rendered for every client that had asked and left, one after the other, before any other client got an answer; and the
/// memory for them stayed in use.
#[test]
fn pages_are_made_once_for_all_and_for_nobody_who_has_left() {
    let upstreams: Vec<_> = (0..3000).map(|n| serde_json::json!({"host": "127.0.0.1", "port": 10_000 + n})).collect();
    let proxy = Config::new().set("upstreams", upstreams).start();
    let length = get(proxy.admin(), "/metrics").expect(200).body.len();
    assert!(length > 1_000_000, "{length} is no large page");
    let before = proxy.rss_bytes();
    for n in 0..1500 {
        let mut client = Client::connect(proxy.admin());
        client.send_get("/metrics");
        if n % 2 == 0 {
            client.reset();
        }
    }
    let begin = std::time::Instant::now();
    get(proxy.admin(), "/health").expect(200);
    assert!(begin.elapsed() < std::time::Duration::from_secs(10), "/health came after {:?}", begin.elapsed());
    // A client may well have closed its sending side and read on.
    let mut half_closed = Client::connect(proxy.admin());
    half_closed.send_get("/metrics");
    half_closed.half_close();
    assert!(half_closed.response().expect(200).body.len() > 1_000_000);
    let mut clients: Vec<_> = (0..60).map(|_| Client::connect(proxy.admin())).collect();
    clients.iter_mut().for_each(|client| client.send_get("/metrics"));
    clients.iter_mut().for_each(|client| assert!(client.response().expect(200).body.len() > 1_000_000));
    drop(clients);
    wait_until("it has let go of the pages", || proxy.rss_bytes() < before + 40 * 1024 * 1024);
}
