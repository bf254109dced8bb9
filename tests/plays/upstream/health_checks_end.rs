//! Active health checks over the life of a process: what a reload begins and ends, and what a drain does.

use crate::support::patient::{Patient, checked, checks, health, wait_for};
use crate::support::*;
use serde_json::{Value, json};
use std::net::TcpListener;
use std::time::{Duration, Instant};

#[test]
fn a_reload_begins_and_ends_checks() {
    let patient = Patient::named("a");
    let plain = Config::to(&patient.origin);
    let config = checked(&[&patient.origin]);
    let proxy = plain.clone().set("workers", 2).start();
    assert_eq!(proxy.backend(0)["health_check"], "off");
    assert_eq!(health(&proxy).1["features"]["health_checks"], false);
    patient.says(500);
    proxy.reload(&config.clone().set("workers", 2));
    wait_for(&proxy, 0, "failing");
    // A change of the checks' settings does not change the verdict.
    proxy.reload(&config.clone().set("workers", 2).set("health_check.failure_threshold", 65_535));
    assert_eq!(proxy.backend(0)["health_check"], "failing");
    assert_eq!(proxy.get("/").status, 503);
    proxy.reload(&plain.clone().set("workers", 2));
    wait_for(&proxy, 0, "off");
    let before = patient.checks();
    for _ in 0..20 {
        assert_eq!(proxy.get("/").expect(200).text(), "a");
    }
    proxy.reload(&plain.clone().set("workers", 2).set("timeouts.read_ms", 14_000));
    assert!(patient.checks() <= before + 1, "it is not checked any more");
    assert_eq!(proxy.backend(0)["last_error"], Value::Null);
    proxy.reload(&config.set("workers", 2));
    wait_for(&proxy, 0, "failing");
}

#[test]
fn a_reload_takes_the_checks_of_upstreams_that_come_and_go() {
    let (a, b, c) = (Patient::named("a"), Patient::named("b"), Patient::named("c"));
    [&b, &c].iter().for_each(|patient| patient.says(500));
    let proxy = checked(&[&a.origin, &b.origin]).start();
    wait_for(&proxy, 0, "passing");
    wait_for(&proxy, 1, "failing");
    let (checked_a, connections_b) = (a.checks(), b.origin.connections());
    proxy.reload(&checked(&[&a.origin, &c.origin]));
    assert_eq!(proxy.backend(0)["health_check"], "passing");
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

/// Checks of upstreams that hang hold a descriptor each; clients must get theirs all the same, without a flood of log
/// lines.
#[test]
fn upstreams_that_hang_leave_descriptors_to_clients() {
    let (origin, silent) = (Origin::hello(), TcpListener::bind("127.0.0.1:0").unwrap());
    let port = silent.local_addr().unwrap().port();
    let hanging: Vec<Value> = (0..60).map(|n| json!({"name": format!("{n}"), "host": "127.0.0.1", "port": port})).collect();
    let check = json!({"interval_ms": 100, "timeout_ms": 1000, "failure_threshold": 1});
    let proxy = Config::to(&origin)
        .set("workers", 2)
        .set("pools", json!({"hanging": {"upstreams": hanging, "health_check": check}}))
        .start_with_descriptors(80);
    wait_until("some are found out", || health(&proxy).1["backends"]["healthy"].as_u64() < Some(60));
    let begun = Instant::now();
    (0..30).for_each(|n| drop(proxy.get(&format!("/{n}")).expect(200)));
    assert!(begun.elapsed() < Duration::from_secs(2), "{:?}", begun.elapsed());
    let said = |part: &str| proxy.diagnostics().iter().filter(|line| line.contains(part)).count();
    assert_eq!((said("cannot accept"), said("health checks are left out")), (0, 1));
}
