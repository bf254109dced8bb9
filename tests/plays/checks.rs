//! Active health checks: who fails them gets no requests, who passes them again does, and nobody else notices.

use crate::support::proxy::{split_sample, sum};
use crate::support::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicU16, Ordering::SeqCst};

/// An origin whose answers to checks a play decides.
struct Patient {
    origin: Origin,
    status: Arc<AtomicU16>,
}

impl Patient {
    /// Answers requests with its name, and checks with 200 for now.
    fn named(name: &'static str) -> Patient {
        let status = Arc::new(AtomicU16::new(200));
        let said = status.clone();
        let origin = Origin::each(move |conn, request| match request.target.as_str() {
            "/health" => conn.send(format!("HTTP/1.1 {} Said\r\nContent-Length: 3\r\n\r\nso.", said.load(SeqCst))),
            _ => conn.answer(name),
        });
        Patient { origin, status }
    }

    fn says(&self, status: u16) {
        self.status.store(status, SeqCst);
    }

    fn checks(&self) -> usize {
        checks(&self.origin)
    }
}

/// Checks that came.
fn checks(origin: &Origin) -> usize {
    origin.requests().iter().filter(|request| request.target == "/health").count()
}

/// Often, and with patience: only a play about timeouts has a short one.
fn often() -> Value {
    json!({"interval_ms": 20, "timeout_ms": 15_000, "failure_threshold": 2, "success_threshold": 3})
}

fn checked(origins: &[&Origin]) -> Config {
    Config::to_all(origins.iter().map(|origin| origin.addr())).set("health_check", often())
}

/// Of an upstream, by its place in the configuration.
fn page(proxy: &Proxy, index: usize) -> Value {
    let page: Value = serde_json::from_slice(&get(proxy.admin(), "/backends/health").expect(200).body).expect("JSON");
    page["backends"][index].clone()
}

#[track_caller]
fn wait_for(proxy: &Proxy, index: usize, state: &str) {
    wait_until(&format!("upstream {index} is {state}"), || page(proxy, index)["health_check"] == state);
}

fn health(proxy: &Proxy) -> (u16, Value) {
    let answer = get(proxy.admin(), "/health");
    (answer.status, serde_json::from_slice::<Value>(&answer.body).expect("JSON"))
}

#[test]
fn who_fails_its_checks_leaves_and_returns_unnoticed() {
    let (a, b) = (Patient::named("a"), Patient::named("b"));
    let proxy = checked(&[&a.origin, &b.origin]).set("workers", 2).start();
    wait_for(&proxy, 0, "passing");
    wait_for(&proxy, 1, "passing");
    b.says(500);
    wait_for(&proxy, 1, "failing");
    let mut client = proxy.client();
    for _ in 0..20 {
        assert_eq!(client.get("/").expect(200).text(), "a");
        assert_eq!(proxy.get("/").expect(200).text(), "a");
    }
    let shown = page(&proxy, 1);
    assert_eq!((&shown["healthy"], &shown["last_error"]), (&json!(false), &json!("answered 500, expected 200 to 399")));
    let name = b.origin.addr();
    let said = |what: &str| proxy.diagnostics().iter().filter(|line| line.contains(what)).cloned().collect::<Vec<_>>();
    let gone = format!("health check of upstream {name} of pool default: passing -> failing: answered 500, expected 200 to 399");
    wait_until("it says so", || said(&gone).len() == 1);
    assert!(said(&gone)[0].contains(" WARN "), "{:?}", said(&gone));

    let before = b.checks();
    b.says(200);
    wait_for(&proxy, 1, "passing");
    assert!(b.checks() >= before + 3, "three in a row bring it back: {before}, {}", b.checks());
    let names: String = (0..10).map(|_| proxy.get("/").expect(200).text().to_owned()).collect();
    assert_eq!(names.matches('b').count(), 5, "{names}");
    let back = format!("health check of upstream {name} of pool default: failing -> passing: answered 200");
    wait_until("it says so", || said(&back).len() == 1);
    assert!(said(&back)[0].contains(" INFO "), "{:?}", said(&back));
}

#[test]
fn what_a_check_is() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("health_check", json!({"path": "/up", "interval_ms": 60_000})).start();
    wait_for(&proxy, 0, "passing");
    let head = String::from_utf8(origin.request().raw_head).unwrap();
    let name = origin.addr();
    assert_eq!(
        head.trim_end(),
        format!("GET /up HTTP/1.1\r\nHost: {name}\r\nUser-Agent: tidegate-health-check\r\nAccept: */*\r\nConnection: close")
    );
    wait_until("its connection is closed", || origin.open() == 0);
}

#[test]
fn each_check_has_a_connection_and_there_is_one_at_a_time() {
    let origin = Origin::hello().counting();
    let _proxy = checked(&[&origin]).start();
    wait_until("there were some", || checks(&origin) >= 5);
    let requests = origin.requests();
    assert!(requests.iter().enumerate().all(|(i, request)| request.conn == i + 1), "{requests:?}");
    assert_eq!(origin.most_open(), 1);
}

#[test]
fn the_expected_status_is_a_range() {
    let (a, b) = (Patient::named("a"), Patient::named("b"));
    a.says(404);
    let config = checked(&[&a.origin, &b.origin]).set("health_check.expected_status", json!([404, 404]));
    let proxy = config.start();
    wait_for(&proxy, 0, "passing");
    wait_for(&proxy, 1, "failing");
    assert_eq!(page(&proxy, 1)["last_error"], "answered 200, expected 404");
    assert_eq!(page(&proxy, 0)["last_error"], Value::Null);
}

#[test]
fn who_accepts_and_says_nothing_fails() {
    let mute = Origin::each(|conn, request| match request.target.as_str() {
        "/health" => drop(conn.wait_for_end()),
        _ => conn.answer("not asked"),
    });
    let proxy = checked(&[&mute]).set("health_check.timeout_ms", 100).start();
    wait_for(&proxy, 0, "failing");
    assert_eq!(page(&proxy, 0)["last_error"], "did not answer within 100 ms");
    let answer = proxy.get("/");
    assert!(answer.fields.has("Retry-After"), "{answer:?}");
    proxy.expect_refusal(answer, 503, "destination_unavailable");
}

#[test]
fn who_is_not_there_fails() {
    let proxy = Config::to_all([nobody()]).set("health_check", often()).start();
    wait_for(&proxy, 0, "failing");
    assert_eq!(page(&proxy, 0)["last_error"], "refused the connection");
}

#[test]
fn what_is_no_answer_fails() {
    let closing = Origin::each(|conn, _| conn.close());
    let cases = [
        (closing, "closed the connection before it answered"),
        (Origin::saying("+OK hello\r\n\r\n"), "its answer is malformed: its head is malformed"),
        (
            Origin::saying(format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(9000))),
            "the head of its answer is over the limits: a field line is too long",
        ),
    ];
    let proxy = checked(&cases.each_ref().map(|(origin, _)| origin)).start();
    for (index, (_, error)) in cases.iter().enumerate() {
        wait_for(&proxy, index, "failing");
        assert_eq!(page(&proxy, index)["last_error"], *error);
    }
}

#[test]
fn an_answer_may_come_byte_by_byte_after_an_interim_one() {
    let origin = Origin::each(|conn, _| {
        let answer = "HTTP/1.1 103 Early Hints\r\nLink: <a>\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";
        conn.send_slowly(answer, std::time::Duration::from_millis(1));
    });
    let proxy = checked(&[&origin]).start();
    wait_for(&proxy, 0, "passing");
    assert_eq!(page(&proxy, 0)["last_error"], Value::Null);
}

#[test]
fn an_upstream_can_be_left_out() {
    let (a, b) = (Patient::named("a"), Patient::named("b"));
    b.says(500);
    let mut config = checked(&[&a.origin, &b.origin]);
    config.0["upstreams"][1]["health_check_enabled"] = json!(false);
    let proxy = config.start();
    wait_until("the other is checked", || a.checks() >= 5);
    assert_eq!((page(&proxy, 1)["health_check"].clone(), b.checks()), (json!("off"), 0));
    assert_eq!(health(&proxy).1["status"], "healthy");
}

#[test]
fn before_its_first_check_it_is_usable() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::each(move |conn, request| {
        if request.target == "/health" {
            held.pass();
        }
        conn.answer("here");
    });
    let proxy = checked(&[&origin]).start();
    assert_eq!(page(&proxy, 0)["health_check"], "unchecked");
    wait_until("it is being checked", || checks(&origin) == 1);
    proxy.get("/").expect(200);
    let shown = page(&proxy, 0);
    assert_eq!((&shown["health_check"], &shown["healthy"]), (&json!("unchecked"), &json!(true)));
    assert_eq!(health(&proxy).0, 200);
    gate.release(1000);
    wait_for(&proxy, 0, "passing");
}

#[test]
fn checks_are_no_requests() {
    let (a, b) = (Patient::named("a"), Patient::named("b"));
    b.says(500);
    let proxy = checked(&[&a.origin, &b.origin]).start();
    wait_for(&proxy, 1, "failing");
    wait_until("there were some", || a.checks() >= 5);
    let scrape = proxy.scrape();
    let samples = scrape.lines().filter(|line| !line.starts_with('#')).filter_map(split_sample);
    for (name, labels, value) in samples.filter(|(name, ..)| name.starts_with("proxy_") && *name != "proxy_build_info") {
        assert_eq!(value, 0.0, "{name}{{{labels}}}");
    }
    proxy.get("/one").expect(200);
    proxy.log_with("GET /one"); // and by now anything else would have been logged as well
    assert_eq!(proxy.log_lines().len(), 1);
    assert_eq!(page(&proxy, 0)["requests_total"], 1);
}

#[test]
fn the_pages_tell_how_many_are_left() {
    let (a, b) = (Patient::named("a"), Patient::named("b"));
    let proxy = checked(&[&a.origin, &b.origin]).start();
    let usable = |origin: &Origin| sum(&proxy.scrape(), "backend_health", &[&format!("upstream=\"{}\"", origin.addr())]);
    wait_for(&proxy, 1, "passing");
    let (status, page) = health(&proxy);
    assert_eq!((status, &page["status"], &page["features"]["health_checks"]), (200, &json!("healthy"), &json!(true)));
    a.says(503);
    wait_for(&proxy, 0, "failing");
    let (status, page) = health(&proxy);
    assert_eq!((status, &page["status"], &page["backends"]), (200, &json!("degraded"), &json!({"healthy": 1, "total": 2})));
    assert_eq!((usable(&a.origin), usable(&b.origin)), (0.0, 1.0));
    b.says(503);
    wait_for(&proxy, 1, "failing");
    let (status, page) = health(&proxy);
    assert_eq!((status, &page["status"], &page["backends"]), (503, &json!("unhealthy"), &json!({"healthy": 0, "total": 2})));
    proxy.expect_refusal(proxy.get("/"), 503, "destination_unavailable");
}

#[test]
fn a_request_that_waits_goes_to_who_returns() {
    let gate = Gate::default();
    let held = gate.clone();
    let a = Origin::each(move |conn, request| {
        if request.target != "/health" {
            held.pass();
        }
        conn.answer("a");
    });
    let b = Patient::named("b");
    b.says(500);
    let proxy = checked(&[&a, &b.origin]).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 60_000).start();
    wait_for(&proxy, 1, "failing");
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.send_get("/");
    wait_until("the first is there", || a.requests().iter().any(|request| request.target == "/"));
    second.send_get("/");
    wait_until("the second waits", || proxy.metric("proxy_queued_requests", &[]) == 1.0);
    b.says(200);
    assert_eq!(second.response().expect(200).text(), "b");
    gate.release(1);
    assert_eq!(first.response().expect(200).text(), "a");
}

#[test]
fn a_reload_begins_and_ends_checks() {
    let patient = Patient::named("a");
    let plain = Config::to(&patient.origin);
    let config = checked(&[&patient.origin]);
    let proxy = plain.clone().set("workers", 2).start();
    assert_eq!(page(&proxy, 0)["health_check"], "off");
    assert_eq!(health(&proxy).1["features"]["health_checks"], false);
    patient.says(500);
    proxy.reload(&config.clone().set("workers", 2));
    wait_for(&proxy, 0, "failing");
    // What changes about its checks does not change what is thought of it.
    proxy.reload(&config.clone().set("workers", 2).set("health_check.failure_threshold", 65_535));
    assert_eq!(page(&proxy, 0)["health_check"], "failing");
    assert_eq!(proxy.get("/").status, 503);
    proxy.reload(&plain.clone().set("workers", 2));
    wait_for(&proxy, 0, "off");
    let before = patient.checks();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").expect(200).text(), "a");
    }
    proxy.reload(&plain.clone().set("workers", 2).set("timeouts.read_ms", 14_000));
    assert!(patient.checks() <= before + 1, "it is not checked any more");
    assert_eq!(page(&proxy, 0)["last_error"], Value::Null);
    proxy.reload(&config.set("workers", 2));
    wait_for(&proxy, 0, "failing");
}

#[test]
fn a_reload_takes_the_checks_of_upstreams_that_come_and_go() {
    let (a, b, c) = (Patient::named("a"), Patient::named("b"), Patient::named("c"));
    [&b, &c].iter().for_each(|patient| patient.says(500));
    let proxy = checked(&[&a.origin, &b.origin]).start();
    wait_for(&proxy, 1, "failing");
    let (checked_a, connections_b) = (a.checks(), b.origin.connections());
    proxy.reload(&checked(&[&a.origin, &c.origin]));
    assert_eq!(page(&proxy, 0)["health_check"], "passing");
    wait_for(&proxy, 1, "failing");
    wait_until("who stays is checked on", || a.checks() > checked_a + 3);
    assert!(b.origin.connections() <= connections_b + 2, "who is gone is not checked any more");
    assert_eq!(proxy.get("/").expect(200).text(), "a");
}

#[test]
fn a_drain_ends_the_checks() {
    let gate = Gate::default();
    let held = gate.clone();
    let origin = Origin::each(move |conn, request| {
        if request.target != "/health" {
            held.pass();
        }
        conn.answer("here");
    });
    let mut proxy = checked(&[&origin]).start();
    let mut client = proxy.client();
    client.send_get("/");
    wait_until("it is in flight", || origin.requests().iter().any(|request| request.target == "/"));
    proxy.signal("TERM");
    wait_until("it drains", || health(&proxy).1["status"] == "draining");
    let before = checks(&origin);
    for _ in 0..100 {
        health(&proxy);
    }
    assert!(checks(&origin) <= before + 1, "{before} checks, then {}", checks(&origin));
    gate.release(1);
    client.response().expect(200);
    assert_eq!(proxy.wait_exit(), 0);
}
