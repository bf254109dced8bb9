//! How an open circuit closes again: after a while a few requests try the upstream; a reload does not change that.

use super::breaker_opens::{changes, circuit, expect_unavailable, guarded, wait_for_changes};
use crate::support::*;
use serde_json::json;
use std::net::{SocketAddr, TcpListener};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

type Script = dyn Fn(&mut Conn, Request) + Send + Sync;

/// An origin that fails at first: it refuses connections, and closes those that it has.
struct Patient {
    addr: SocketAddr,
    script: Arc<Script>,
    seen: Arc<AtomicUsize>,
    is_well: Arc<AtomicBool>,
    origin: Mutex<Option<Origin>>,
}

impl Patient {
    /// Once it is well, `script` answers.
    fn sick(script: impl Fn(&mut Conn, Request) + Send + Sync + 'static) -> Patient {
        Patient { addr: nobody(), script: Arc::new(script), seen: Arc::default(), is_well: Arc::default(), origin: Mutex::default() }
    }

    fn hello() -> Patient {
        Patient::sick(|conn, request| conn.answer(request.what()))
    }

    /// How many requests it has answered.
    fn seen(&self) -> usize {
        self.seen.load(SeqCst)
    }

    fn set_well(&self, is_well: bool) {
        self.is_well.store(is_well, SeqCst);
        let mut origin = self.origin.lock().unwrap();
        *origin = None;
        if !is_well {
            return;
        }
        let mut listener = None;
        wait_until("the port is free again", || {
            listener = TcpListener::bind(self.addr).ok();
            listener.is_some()
        });
        let (script, seen, health) = (self.script.clone(), self.seen.clone(), self.is_well.clone());
        *origin = Some(Origin::over(listener.unwrap(), move |conn| {
            while let Some(request) = conn.read_request() {
                if !health.load(SeqCst) {
                    return conn.close();
                }
                seen.fetch_add(1, SeqCst);
                script(conn, request);
            }
        }));
    }

    /// The same with short times. The first failure opens the circuit.
    fn config(&self) -> Config {
        guarded([self.addr], 300).set("circuit_breaker.failure_threshold", 1)
    }

    /// It has failed a request, works from now on, and its circuit is half-open.
    fn on_trial(&self, config: Config) -> Proxy {
        let proxy = config.start();
        let answer = proxy.get("/");
        proxy.expect_refusal(answer, 502, "connection_refused");
        self.set_well(true);
        wait_for_changes(&proxy, self.addr, 2);
        proxy
    }
}

#[test]
fn after_its_time_it_is_half_open_whether_or_not_a_request_comes() {
    let patient = Patient::hello();
    let proxy = patient.on_trial(patient.config().set("workers", 2));
    let said = changes(&proxy, patient.addr);
    assert_eq!(said, ["closed -> open: connection_refused, 1 in a row", "open -> half_open: circuit_breaker.timeout_ms is over"]);
    assert_eq!(patient.seen(), 0);
}

#[test]
fn the_pages_show_a_half_open_circuit() {
    let patient = Patient::hello();
    let proxy = patient.on_trial(patient.config());
    assert_eq!(circuit(&proxy, patient.addr), "half_open");
    assert_eq!(proxy.metric("circuit_breaker_state", &[]), 1.0);
    assert_eq!(proxy.metric("backend_health", &[]), 1.0);
    (0..2).for_each(|_| drop(proxy.get("/").expect(200)));
    assert_eq!(circuit(&proxy, patient.addr), "closed");
    assert_eq!(proxy.metric("circuit_breaker_state", &[]), 0.0);
}

#[test]
fn before_its_time_nobody_is_let_through() {
    let patient = Patient::hello();
    let proxy = patient.config().set("circuit_breaker.timeout_ms", 86_400_000).start();
    proxy.get("/").expect(502);
    patient.set_well(true);
    for _ in 0..10 {
        expect_unavailable(&proxy, proxy.get("/"), 86_400_000);
    }
    assert_eq!(patient.seen(), 0);
}

#[test]
fn enough_trials_that_succeed_close_it() {
    for threshold in [1, 2, 4] {
        let patient = Patient::hello();
        let proxy = patient.on_trial(patient.config().set("circuit_breaker.success_threshold", threshold));
        for _ in 0..threshold {
            assert_eq!(changes(&proxy, patient.addr).len(), 2);
            proxy.get("/").expect(200);
        }
        wait_for_changes(&proxy, patient.addr, 3);
        let said = changes(&proxy, patient.addr);
        assert_eq!(said[2], format!("half_open -> closed: {threshold} trial requests succeeded"));
    }
}

#[test]
fn a_trial_that_fails_opens_it_again() {
    let patient = Patient::hello();
    let proxy = patient.on_trial(patient.config());
    proxy.get("/").expect(200);
    patient.set_well(false);
    // One success is not enough to close it, but one failure opens it again.
    proxy.get("/").expect(502);
    wait_for_changes(&proxy, patient.addr, 3);
    assert_eq!(changes(&proxy, patient.addr)[2], "half_open -> open: connection_refused, 1 in a row");
    expect_unavailable(&proxy, proxy.get("/"), 300);
    // The same again until it works.
    patient.set_well(true);
    wait_for_changes(&proxy, patient.addr, 4);
    (0..2).for_each(|_| drop(proxy.get("/").expect(200)));
    wait_for_changes(&proxy, patient.addr, 5);
}

#[test]
fn so_many_trials_run_at_a_time() {
    for (at_a_time, workers) in [(1, 2), (2, 1), (3, 2)] {
        let gate = Gate::default();
        let held = gate.clone();
        let patient = Patient::sick(move |conn, request| {
            held.pass();
            conn.answer(request.what());
        });
        let config = patient.config().set("circuit_breaker.half_open_requests", at_a_time).set("workers", workers);
        let proxy = patient.on_trial(config.set("circuit_breaker.success_threshold", 100));
        let begin = Instant::now();
        let ask = |path: &str| {
            let mut client = proxy.client();
            client.send_get(path);
            client
        };
        let trials: Vec<_> = (0..at_a_time).map(|_| ask("/trial")).collect();
        wait_until("they try", || patient.seen() == at_a_time);
        let others: Vec<_> = (0..6).map(|_| ask("/waits")).collect();
        wait_until("the others wait", || proxy.metric("proxy_queued_requests", &[]) == 6.0 || begin.elapsed() > LAST);
        assert!(patient.seen() == at_a_time || begin.elapsed() > LAST);
        gate.release(at_a_time + 6);
        for mut client in trials.into_iter().chain(others) {
            client.response().expect(200);
        }
    }
}

/// At the last upstream another trial may begin after this time.
const LAST: Duration = Duration::from_millis(900);

/// Each success doubles the number of trials, and waiting requests are admitted.
#[test]
fn those_who_wait_are_not_served_one_by_one() {
    let gate = Gate::default();
    let held = gate.clone();
    let patient = Patient::sick(move |conn, request| {
        held.pass();
        conn.answer(request.what());
    });
    let config = patient.config().set("circuit_breaker.success_threshold", 3).set("workers", 2);
    let proxy = patient.on_trial(config.set("timeouts.queue_ms", 60_000));
    let clients: Vec<_> = (0..60).map(|_| proxy.client()).collect();
    let clients: Vec<_> = clients
        .into_iter()
        .map(|mut client| {
            client.send_get("/");
            client
        })
        .collect();
    // One, two, four: the third success closes it, and all others go.
    let mut released = 0;
    for at_a_time in [1, 2] {
        wait_until("so many try", || patient.seen() >= released + at_a_time);
        gate.release(1);
        released += 1;
    }
    wait_until("four try", || patient.seen() >= released + 3);
    gate.release(1);
    wait_until("all are there", || patient.seen() == 60);
    gate.release(57);
    for mut client in clients {
        client.response().expect(200);
    }
}

#[test]
fn a_trial_whose_answer_has_begun_holds_up_no_other() {
    let gate = Gate::default();
    let held = gate.clone();
    let patient = Patient::sick(move |conn, request| {
        if request.target == "/long" {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
            held.pass();
            conn.send("k");
        } else {
            conn.answer("ok");
        }
    });
    let proxy = patient.on_trial(patient.config());
    let mut long = proxy.client();
    long.send_get("/long");
    wait_until("its answer has begun", || long.has_news());
    (0..2).for_each(|_| drop(proxy.get("/").expect(200)));
    wait_for_changes(&proxy, patient.addr, 3);
    gate.release(1);
    assert_eq!(long.response().expect(200).text(), "ok");
    assert_eq!(changes(&proxy, patient.addr).len(), 3);
}

#[test]
fn a_trial_whose_client_leaves_says_nothing_and_makes_room() {
    let patient = Patient::sick(|conn, request| match request.target.as_str() {
        "/hold" => drop(conn.wait_for_end()),
        _ => conn.answer("ok"),
    });
    let proxy = patient.on_trial(patient.config());
    let mut client = proxy.client();
    client.send_get("/hold");
    wait_until("it tries", || patient.seen() == 1);
    client.reset();
    wait_until("it is gone", || proxy.metric("proxy_errors_total", &["reason=\"client_aborted\""]) == 1.0);
    assert_eq!(changes(&proxy, patient.addr).len(), 2);
    (0..2).for_each(|_| drop(proxy.get("/").expect(200)));
    wait_for_changes(&proxy, patient.addr, 3);
}

#[test]
fn what_began_before_it_opened_says_nothing_about_the_trial() {
    let gate = Gate::default();
    let held = gate.clone();
    let patient = Patient::sick(move |conn, _| {
        held.pass();
        conn.answer("late");
    });
    patient.set_well(true);
    let proxy = patient.config().set("circuit_breaker.success_threshold", 1).start();
    let mut late = proxy.client();
    late.send_get("/late");
    wait_until("it is in flight", || patient.seen() == 1);
    patient.set_well(false);
    proxy.get("/").expect(502);
    wait_for_changes(&proxy, patient.addr, 2);
    gate.release(1);
    late.response().expect(200);
    // The trial comes now, and fails.
    proxy.get("/").expect(502);
    wait_for_changes(&proxy, patient.addr, 3);
    assert!(changes(&proxy, patient.addr)[2].starts_with("half_open -> open: "));
}

#[test]
fn a_reload_keeps_the_state_and_0_turns_it_off() {
    let patient = Patient::hello();
    let config = patient.config().set("circuit_breaker.timeout_ms", 86_400_000);
    let proxy = config.clone().start();
    proxy.get("/").expect(502);
    patient.set_well(true);
    let other = Origin::named("other");
    let both = Config::to_all([patient.addr, other.addr()]).0["upstreams"].clone();
    // Changes elsewhere, and in the section itself.
    for config in [
        config.clone().set("timeouts.read_ms", 1234),
        config.clone().set("balance", "random"),
        config.clone().set("circuit_breaker.failure_threshold", 2),
        config.clone().set("slow_start_ms", 1000),
    ] {
        proxy.reload(&config);
        expect_unavailable(&proxy, proxy.get("/"), 86_400_000);
    }
    proxy.reload(&config.clone().set("upstreams", both));
    (0..6).for_each(|_| assert_eq!(proxy.get("/").expect(200).text(), "other"));
    proxy.reload(&config);
    expect_unavailable(&proxy, proxy.get("/"), 86_400_000);
    proxy.reload(&config.set("circuit_breaker.failure_threshold", 0));
    (0..3).for_each(|_| assert_eq!(proxy.get("/x").expect(200).text(), "GET /x"));
}

#[test]
fn a_pool_has_a_breaker_of_its_own() {
    let refusing = json!([{"host": "127.0.0.1", "port": free_port()}]);
    let pools = json!({
        "soon": {"upstreams": refusing, "circuit_breaker": {"failure_threshold": 1, "last_resort_ms": 0}},
        "never": {"upstreams": refusing, "circuit_breaker": {"failure_threshold": 0}},
    });
    let routes = json!([{"match": {"path": "/soon"}, "proxy": "soon"}, {"match": {"path": "/never"}, "proxy": "never"}]);
    let proxy = Config::new().set("pools", pools).set("routes", routes).start();
    proxy.get("/soon").expect(502);
    expect_unavailable(&proxy, proxy.get("/soon"), 20_000);
    (0..10).for_each(|_| drop(proxy.get("/never").expect(502)));
}

/// How many of twenty requests in turn were answered by the upstream that had failed.
fn share(proxy: &Proxy) -> usize {
    (0..20).filter(|_| proxy.get("/").expect(200).text() != "other").count()
}

#[test]
fn one_that_comes_back_is_ramped_up() {
    for slow_start_ms in [0, 500, 86_400_000] {
        let patient = Patient::hello();
        let other = Origin::named("other");
        let config = guarded([patient.addr, other.addr()], 300).set("slow_start_ms", slow_start_ms);
        let proxy = patient.on_trial_beside(config);
        match slow_start_ms {
            // Three times the weight of the other.
            0 => assert_eq!(share(&proxy), 15),
            // It rises within a day; only some seconds have passed.
            86_400_000 => assert!(share(&proxy) + share(&proxy) <= 1),
            _ => wait_until("it has its share", || share(&proxy) == 15),
        }
    }
}

impl Patient {
    /// The same with another upstream that takes over: it failed once, and came back after two trials.
    fn on_trial_beside(&self, config: Config) -> Proxy {
        let proxy = config.set("circuit_breaker.failure_threshold", 1).set("retry", json!({"backoff_ms": 0})).start();
        proxy.get("/").expect(200);
        self.set_well(true);
        wait_for_changes(&proxy, self.addr, 2);
        wait_until("it is back", || {
            proxy.get("/").expect(200);
            changes(&proxy, self.addr).len() == 3
        });
        proxy
    }
}

/// All requests of a pool wait for 100 (Continue) before they send content, so there is no complete request to be a trial.
#[test]
fn where_all_are_uploads_that_wait_to_be_told_to_go_on_it_comes_back_too() {
    for queue_ms in [0, 100] {
        let patient = Patient::hello();
        let proxy = patient.on_trial(patient.config().set("timeouts.queue_ms", queue_ms));
        wait_until("it has come back", || {
            let mut client = proxy.client();
            client.send("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
            // A client that does not get 100 (Continue) gets an error.
            if client.head().is_ok_and(|head| head.status == 100) {
                client.send("12345");
                client.response().expect(200);
            }
            circuit(&proxy, patient.addr) == "closed"
        });
    }
}
