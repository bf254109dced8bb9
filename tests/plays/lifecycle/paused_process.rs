//! A process that is stopped for a while (`docker pause`, SIGSTOP, a laptop that sleeps) and continued: what came meanwhile came in
//! time, and is read before any deadline is judged.

use crate::support::*;
use serde_json::json;
use std::time::{Duration, Instant};

/// Every deadline of these plays; a loaded machine gets everything under way in less.
const DEADLINE_MS: u64 = 4000;

/// Stops it until every deadline is over; `meanwhile` happens in between.
fn freeze(proxy: &Proxy, meanwhile: impl FnOnce()) {
    proxy.signal("STOP");
    let begin = Instant::now();
    meanwhile();
    wait_until("its deadlines are long over", || begin.elapsed() > Duration::from_millis(DEADLINE_MS + 1000));
    proxy.signal("CONT");
}

#[test]
fn answers_that_came_meanwhile_are_passed_on() {
    for workers in [1, 2] {
        let gate = Gate::default();
        let origin = Origin::gated(&gate);
        let timeouts = json!({"read_ms": DEADLINE_MS, "total_ms": DEADLINE_MS});
        let proxy =
            Config::to(&origin).set("workers", workers).set("timeouts", timeouts).set("circuit_breaker.failure_threshold", 3).start();
        let mut clients: Vec<_> = (0..20).map(|_| proxy.client()).collect();
        clients.iter_mut().enumerate().for_each(|(i, client)| client.send_get(&format!("/{i}")));
        wait_until("all are in flight", || origin.requests().len() == 20);
        freeze(&proxy, || gate.release(20));
        for (i, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.response().expect(200).text(), format!("GET /{i}"));
        }
        assert_eq!(proxy.metric("circuit_breaker_state", &[]), 0.0, "it is no fault of the upstream");
        assert_eq!(proxy.metric("proxy_timeout_errors_total", &[]), 0.0);
    }
}

#[test]
fn who_waited_for_a_place_gets_the_one_that_came_free_meanwhile() {
    for workers in [1, 2] {
        let gate = Gate::default();
        let origin = Origin::gated(&gate);
        let config = Config::to(&origin).set("workers", workers).set("limits.max_conns_per_upstream", 1);
        let proxy = config.set("timeouts.queue_ms", DEADLINE_MS).start();
        let [mut holder, mut waiter] = [proxy.client(), proxy.client()];
        holder.send_get("/holder");
        wait_until("it is in flight", || origin.requests().len() == 1);
        waiter.send_get("/waiter");
        wait_until("it waits", || proxy.metric("proxy_queued_requests", &[]) == 1.0);
        freeze(&proxy, || gate.release(2));
        assert_eq!(holder.response().expect(200).text(), "GET /holder");
        assert_eq!(waiter.response().expect(200).text(), "GET /waiter");
    }
}

/// More of them than the kernel reports at once.
#[test]
fn requests_that_came_meanwhile_are_answered() {
    const CLIENTS: usize = 1200;
    let routes = json!([{"respond": {"body": "here"}}]);
    let timeouts = json!({"client_header_ms": 15_000, "client_request_line_ms": 15_000, "client_keepalive_ms": 15_000});
    let proxy = Config::new().set("routes", routes).set("timeouts", timeouts).start();
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| proxy.client()).collect();
    // Every other one is at its second request.
    clients.iter_mut().step_by(2).for_each(|client| drop(client.get("/").expect(200)));
    let before = proxy.metric("proxy_bytes_received_total", &[]);
    clients.iter_mut().for_each(|client| client.send("GET / HTTP"));
    wait_until("all have begun", || proxy.metric("proxy_bytes_received_total", &[]) == before + 10.0 * CLIENTS as f64);
    proxy.signal("STOP");
    let begin = Instant::now();
    clients.iter_mut().for_each(|client| client.send("/1.1\r\nHost: a\r\n\r\n"));
    wait_until("its deadlines are long over", || begin.elapsed() > Duration::from_secs(16));
    proxy.signal("CONT");
    clients.iter_mut().for_each(|client| assert_eq!(client.response().expect(200).text(), "here"));
}
