//! Upstreams that are used only while no other of their pool is.

use crate::support::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};

fn upstreams(primaries: &[&Origin], backup: &Origin) -> Value {
    let one = |origin: &Origin, is_backup: bool| json!({"url": format!("http://{}", origin.addr()), "backup": is_backup});
    primaries.iter().map(|origin| one(origin, false)).chain([one(backup, true)]).collect()
}

fn asked(proxy: &Proxy, n: usize) -> Vec<String> {
    let mut answers: Vec<String> = (0..n).map(|_| proxy.get("/").expect(200).text().to_owned()).collect();
    answers.sort();
    answers.dedup();
    answers
}

#[test]
fn a_backup_serves_while_the_checks_of_all_others_fail_and_no_longer() {
    let is_well = Arc::new(AtomicBool::new(true));
    let sick = |name: &'static str, is_well: Arc<AtomicBool>| {
        Origin::each(move |conn, request| match request.target == "/check" && !is_well.load(SeqCst) {
            true => conn.send("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
            false => conn.answer(name),
        })
    };
    let (a, b, backup) = (sick("a", is_well.clone()), sick("b", is_well.clone()), Origin::named("backup"));
    let check = json!({"path": "/check", "interval_ms": 50, "failure_threshold": 1, "success_threshold": 1});
    for balance in ["round_robin", "random", "weighted", "least_connections", "consistent_hash", "adaptive"] {
        is_well.store(true, SeqCst);
        let config = Config::new().set("upstreams", upstreams(&[&a, &b], &backup)).set("health_check", check.clone());
        let proxy = config.set("balance", balance).start();
        assert!(!asked(&proxy, 20).contains(&"backup".to_owned()), "{balance}");
        is_well.store(false, SeqCst);
        wait_until("both fail their checks", || [0, 1].iter().all(|i| proxy.backend(*i)["health_check"] == "failing"));
        assert_eq!(asked(&proxy, 20), ["backup"], "{balance}");
        is_well.store(true, SeqCst);
        wait_until("both pass again", || [0, 1].iter().all(|i| proxy.backend(*i)["health_check"] == "passing"));
        assert!(!asked(&proxy, 20).contains(&"backup".to_owned()), "{balance}");
    }
}

#[test]
fn a_backup_serves_while_the_circuit_of_the_only_other_is_open() {
    let (failing, backup) = (Origin::saying("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n"), Origin::named("backup"));
    let breaker = json!({"failure_threshold": 2, "failure_statuses": [503], "timeout_ms": 86_400_000});
    let proxy = Config::new().set("upstreams", upstreams(&[&failing], &backup)).set("circuit_breaker", breaker).start();
    let mut client = proxy.client();
    assert_eq!([(); 4].map(|()| client.get("/").status), [503, 503, 200, 200]);
    assert_eq!(proxy.page("/health", 200)["status"], "degraded");
}

#[test]
fn a_request_that_no_other_can_answer_is_repeated_at_the_backup_only_if_none_is_usable() {
    let backup = Origin::named("backup");
    let breaker = json!({"failure_threshold": 1, "timeout_ms": 86_400_000});
    let upstreams = json!([{"url": format!("http://{}", nobody())}, {"url": format!("http://{}", backup.addr()), "backup": true}]);
    let config = Config::new().set("upstreams", upstreams).set("circuit_breaker", breaker).set("retry.max_retries", 1);
    let proxy = config.start();
    assert_eq!(proxy.get("/").expect(200).text(), "backup", "the refusal has opened the circuit");
}

#[test]
fn a_pool_of_nothing_but_backups_is_served_by_them() {
    let backup = Origin::named("backup");
    let proxy = Config::new().set("upstreams", upstreams(&[], &backup)).start();
    assert_eq!(asked(&proxy, 2), ["backup"]);
}
