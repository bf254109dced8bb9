//! Active health checks: an upstream that fails them gets no requests until it passes again, and nothing else is affected.

use crate::support::exposition::sum;
use crate::support::patient::{Patient, checked, checks, health, often, wait_for};
use crate::support::*;
use serde_json::{Value, json};

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
    let shown = proxy.backend(1);
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
    assert_eq!(proxy.backend(1)["last_error"], "answered 200, expected 404");
    assert_eq!(proxy.backend(0)["last_error"], Value::Null);
}

#[test]
fn who_accepts_and_says_nothing_fails() {
    let mute = Origin::each(|conn, request| match request.target.as_str() {
        "/health" => drop(conn.wait_for_end()),
        _ => conn.answer("not asked"),
    });
    let proxy = checked(&[&mute]).set("health_check.timeout_ms", 100).start();
    wait_for(&proxy, 0, "failing");
    assert_eq!(proxy.backend(0)["last_error"], "did not answer within 100 ms");
    let answer = proxy.get("/");
    assert!(answer.fields.has("Retry-After"), "{answer:?}");
    proxy.expect_refusal(answer, 503, "destination_unavailable");
}

#[test]
fn who_is_not_there_fails() {
    let proxy = Config::to_all([nobody()]).set("health_check", often()).start();
    wait_for(&proxy, 0, "failing");
    assert_eq!(proxy.backend(0)["last_error"], "refused the connection");
}

#[test]
fn what_is_no_answer_fails() {
    let closing = Origin::each(|conn, _| conn.close());
    let cases = [
        (closing, "closed the connection before it answered"),
        (Origin::saying("+OK hello\r\n\r\n"), "its answer is malformed: its first line is no status line"),
        (
            Origin::saying(format!("HTTP/1.1 200 OK\r\nA: {}\r\n\r\n", "x".repeat(17_000))),
            "the head of its answer is over the limits: a field line is too long",
        ),
    ];
    let proxy = checked(&cases.each_ref().map(|(origin, _)| origin)).start();
    for (index, (_, error)) in cases.iter().enumerate() {
        wait_for(&proxy, index, "failing");
        assert_eq!(proxy.backend(index)["last_error"], *error);
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
    assert_eq!(proxy.backend(0)["last_error"], Value::Null);
}

/// Such as `localhost`, which is often ::1 too.
#[test]
fn an_upstream_with_an_address_where_nobody_listens_comes_back() {
    let patient = Patient::named("a");
    let upstream = json!({"host": "half.test", "port": patient.origin.port()});
    let config = checked(&[&patient.origin]).set("upstreams", vec![upstream]);
    let proxy = config.launch().names("half.test 127.0.0.9 127.0.0.1\n").start();
    wait_for(&proxy, 0, "passing");
    patient.says(500);
    wait_for(&proxy, 0, "failing");
    patient.says(200);
    wait_for(&proxy, 0, "passing");
}

#[test]
fn an_upstream_can_be_left_out() {
    let (a, b) = (Patient::named("a"), Patient::named("b"));
    b.says(500);
    let mut config = checked(&[&a.origin, &b.origin]);
    config.0["upstreams"][1]["health_check_enabled"] = json!(false);
    let proxy = config.start();
    wait_until("the other is checked", || a.checks() >= 5);
    assert_eq!((proxy.backend(1)["health_check"].clone(), b.checks()), (json!("off"), 0));
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
    assert_eq!(proxy.backend(0)["health_check"], "unchecked");
    wait_until("it is being checked", || checks(&origin) == 1);
    proxy.get("/").expect(200);
    let shown = proxy.backend(0);
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
    proxy.expect_nothing_counted();
    proxy.get("/one").expect(200);
    proxy.log_with("GET /one"); // and by now anything else would have been logged as well
    assert_eq!(proxy.log_lines().len(), 1);
    assert_eq!(proxy.backend(0)["requests_total"], 1);
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
