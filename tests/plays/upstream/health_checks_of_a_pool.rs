//! Health checks of all upstreams of a pool together: what becomes of requests when all fail, and what many checks cost.

use crate::support::patient::{Patient, checked, health, wait_for};
use crate::support::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::TcpListener;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};

fn answers(proxy: &Proxy) -> BTreeSet<String> {
    (0..10).map(|_| proxy.get("/").expect(200).text().to_owned()).collect()
}

fn set_of(names: &[&str]) -> BTreeSet<String> {
    names.iter().map(|name| name.to_string()).collect()
}

#[test]
fn where_every_check_fails_requests_may_go_on() {
    let (a, b) = (Patient::named("a"), Patient::named("b"));
    let config = checked(&[&a.origin, &b.origin]).set("health_check.fail_open", true);
    let proxy = config.clone().set("workers", 2).start();
    wait_for(&proxy, 0, "passing");
    b.says(500);
    wait_for(&proxy, 1, "failing");
    assert_eq!(answers(&proxy), set_of(&["a"]), "while one passes, who fails is left out");
    a.says(500);
    wait_for(&proxy, 0, "failing");
    assert_eq!(answers(&proxy), set_of(&["a", "b"]));
    for index in [0, 1] {
        let shown = proxy.backend(index);
        assert_eq!((&shown["healthy"], &shown["last_error"]), (&json!(true), &json!("answered 500, expected 200 to 399")));
        assert_eq!(proxy.metric("backend_health", &[&format!("upstream={}", shown["name"])]), 1.0);
    }
    assert_eq!((health(&proxy).0, &health(&proxy).1["status"]), (200, &json!("healthy")));
    let line = "every upstream of pool default fails its health checks: requests go on as if none did (health_check.fail_open)";
    wait_until("it says so", || proxy.said(line).len() == 1);
    b.says(200);
    wait_for(&proxy, 1, "passing");
    assert_eq!(answers(&proxy), set_of(&["b"]));
    assert_eq!(health(&proxy).1["status"], "degraded");
    wait_until("it says so", || proxy.said("upstreams of pool default that fail their health checks are left out again").len() == 1);
}

#[test]
fn a_reload_turns_it_on_and_off() {
    let a = Patient::named("a");
    a.says(500);
    let config = checked(&[&a.origin]);
    let open = config.clone().set("health_check.fail_open", true);
    let proxy = config.clone().start();
    wait_for(&proxy, 0, "failing");
    proxy.expect_refusal(proxy.get("/"), 503, "destination_unavailable");
    proxy.reload(&open);
    wait_until("requests go on", || proxy.get("/").status == 200);
    proxy.reload(&config);
    wait_until("they are refused again", || proxy.get("/").status == 503);
    assert_eq!(proxy.backend(0)["health_check"], "failing");
}

#[test]
fn who_is_not_checked_does_not_fail() {
    let (a, b) = (Patient::named("a"), Patient::named("b"));
    a.says(500);
    let mut config = checked(&[&a.origin, &b.origin]).set("health_check.fail_open", true);
    config.0["upstreams"][1]["health_check_enabled"] = json!(false);
    let proxy = config.start();
    wait_for(&proxy, 0, "failing");
    assert_eq!(answers(&proxy), set_of(&["b"]));
}

/// Time of the processor, so that whatever else runs on this machine does not count. In a build for release a check takes some tens
/// of microseconds; the bound is for this one, and would be passed by what looks at all upstreams for each check.
#[test]
fn a_thousand_upstreams_are_checked_each_second() {
    let seen = Arc::new(AtomicUsize::new(0));
    let count = seen.clone();
    let origin = Origin::over(TcpListener::bind("0.0.0.0:0").unwrap(), move |conn| {
        while conn.wire().head().is_ok() {
            count.fetch_add(1, SeqCst);
            conn.answer("ok");
        }
    });
    let hosts = (0..1000).map(|n| json!({"host": format!("127.7.{}.{}", n / 250, n % 250 + 1), "port": origin.port()}));
    let check = json!({"interval_ms": 1000, "timeout_ms": 15_000, "failure_threshold": 5, "expected_body": "ok", "fail_open": true});
    let proxy = Config::new().set("upstreams", hosts.collect::<Vec<_>>()).set("health_check", check).start();
    let passing = || {
        let page: Value = serde_json::from_slice(&get(proxy.admin(), "/backends/health").body).expect("JSON");
        page["backends"].as_array().unwrap().iter().filter(|backend| backend["health_check"] == "passing").count()
    };
    wait_until("all pass", || passing() == 1000);
    let before = (proxy.cpu_seconds(), seen.load(SeqCst));
    wait_until("each was checked thrice more", || seen.load(SeqCst) >= before.1 + 3000);
    let each = (proxy.cpu_seconds() - before.0) / (seen.load(SeqCst) - before.1) as f64;
    println!("a check takes {:.0} microseconds of processor time", each * 1e6);
    assert!(each < 0.002, "{each} s");
    assert_eq!(passing(), 1000);
}
