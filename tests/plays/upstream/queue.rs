//! Queued requests, and what lets them go on.

use crate::support::*;
use serde_json::json;

/// Answers `/fail` with 503 at once, and anything else when the gate lets it.
fn failing(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::each(move |conn, request| {
        if request.what() == "GET /fail" {
            return conn.send("HTTP/1.1 503 Busy\r\nContent-Length: 0\r\n\r\n");
        }
        gate.pass();
        conn.answer(request.what());
    })
}

fn queued(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_queued_requests", &[])
}

#[test]
fn a_circuit_that_closes_lets_all_of_the_queue_through() {
    let (shut, gate) = (Gate::default(), Gate::default());
    let (full, back) = (Origin::gated(&shut), failing(&gate));
    let config = Config::to_all([full.addr(), back.addr()]).set("limits.max_conns_per_upstream", 2).set("workers", 1);
    let config = config.set("circuit_breaker", json!({"failure_threshold": 1, "success_threshold": 1, "timeout_ms": 300}));
    let config = config.set("timeouts.queue_ms", 60_000).set("timeouts.read_ms", 0).set("timeouts.total_ms", 0);
    let proxy = config.set("retry.max_retries", 0).start();
    let asking = |path: &str| {
        let mut client = proxy.client();
        client.send_get(path);
        client
    };
    // Whichever upstream gets it, one of the two fails until its circuit opens.
    let mut held = Vec::new();
    while proxy.metric("circuit_breaker_state", &[]) == 0.0 {
        held.push(asking("/fail"));
        wait_until("it is somewhere", || full.requests().len() + back.requests().len() == held.len());
    }
    while full.requests().len() < 2 {
        held.push(asking("/held"));
        wait_until("it is somewhere", || full.requests().len() + back.requests().len() == held.len());
    }
    wait_until("its time is over", || proxy.metric("circuit_breaker_state", &[]) == 1.0);
    let before = back.requests().len();
    let mut trial = asking("/trial");
    wait_until("the trial is there", || back.requests().len() == before + 1);
    let waiting: Vec<Client> = (0..2).map(|_| asking("/waiting")).collect();
    wait_until("they wait", || queued(&proxy) == 2.0);
    gate.release(1);
    trial.response().expect(200);
    wait_until("both are asked at once", || back.requests().len() == before + 3);
    assert_eq!((queued(&proxy), waiting.len()), (0.0, 2));
    gate.release(2);
    shut.release(2);
}

/// A reload that makes a new pool: a request held under the earlier configuration joins the queue of a pool that takes no new
/// requests, and still gets its place.
#[test]
fn who_comes_late_into_a_former_queue_gets_the_place_that_gets_free() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 1).set("workers", 2);
    let config = config.set("timeouts.queue_ms", 60_000).set("timeouts.read_ms", 0).set("timeouts.total_ms", 0);
    let proxy = config.clone().start();
    for round in 0..8 {
        let (mut first, mut second) = (proxy.client(), proxy.client());
        first.send_get("/first");
        wait_until("the one place is taken", || origin.requests().len() == 2 * round + 1);
        second.send("PUT /second HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\na");
        wait_until("it is held", || proxy.metric("proxy_requests_total", &[]) == (2 * round + 2) as f64);
        proxy.reload(&config.clone().set("slow_start_ms", round + 1));
        second.send("b");
        wait_until("it waits", || queued(&proxy) == 1.0);
        gate.release(2);
        first.response().expect(200);
        second.response().expect(200);
    }
}
