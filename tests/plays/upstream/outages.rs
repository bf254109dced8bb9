//! Upstreams that are killed, hang or come back, some of them under load or during a reload, with the default retries and circuit
//! breaker.

use crate::support::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::time::{Duration, Instant};

/// A process that answers with its name and what it received. It is killed when it is dropped.
fn backend(name: &str, port: u16) -> Proxy {
    Launch::new(["echo", "--name", name, &format!("127.0.0.1:{port}")]).start()
}

/// In front of these ports, with everything but the ports as it is by default.
fn in_front_of(ports: &[u16]) -> Config {
    let upstreams: Vec<_> = ports.iter().map(|port| json!({"host": "127.0.0.1", "port": port})).collect();
    Config(json!({"listen": "127.0.0.1:0", "metrics_listen": "127.0.0.1:0", "workers": 2, "upstreams": upstreams}))
}

/// The answers so far by origin, and all other outcomes in words.
#[derive(Default)]
struct Tally {
    by_name: BTreeMap<String, usize>,
    faults: Vec<String>,
    slowest: Duration,
}

/// Asks with those methods without a rest while `play` goes on; half of the clients keep their connection.
fn under_load(addr: SocketAddr, method: &str, play: impl FnOnce(&Mutex<Tally>)) -> Tally {
    let (tally, is_over) = (Mutex::new(Tally::default()), AtomicBool::new(false));
    std::thread::scope(|scope| {
        for clerk in 0..4 {
            let (tally, is_over) = (&tally, &is_over);
            scope.spawn(move || {
                let mut client = Client::connect(addr);
                for i in 0.. {
                    if is_over.load(SeqCst) {
                        return;
                    }
                    if clerk % 2 == 0 {
                        client = Client::connect(addr);
                    }
                    let (nonce, begin) = (format!("/{clerk}/{i}"), Instant::now());
                    client.send(format!("{method} {nonce} HTTP/1.1\r\nHost: play.test\r\nContent-Length: 2\r\n\r\nok"));
                    let answer = client.response();
                    let mut tally = tally.lock().unwrap();
                    tally.slowest = tally.slowest.max(begin.elapsed());
                    let text = answer.text();
                    if answer.status == 200 && answer.cut.is_none() && text.contains(&format!("\n{method} {nonce} HTTP/1.1\n")) {
                        *tally.by_name.entry(text.lines().next().unwrap().to_owned()).or_default() += 1;
                    } else {
                        tally.faults.push(format!("{} {text:?}", answer.status));
                    }
                    drop(tally);
                    take_time(Duration::from_millis(2));
                }
            });
        }
        // A play that fails must not leave the clients running.
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| play(&tally)));
        is_over.store(true, SeqCst);
        outcome.unwrap_or_else(|fault| std::panic::resume_unwind(fault));
    });
    tally.into_inner().unwrap()
}

/// Waits until that one has given as many more answers.
#[track_caller]
fn wait_for_more(tally: &Mutex<Tally>, name: &str, n: usize) {
    let count = || tally.lock().unwrap().by_name.get(name).copied().unwrap_or(0);
    let before = count();
    wait_until(&format!("{name} has answered {n} more"), || count() >= before + n);
}

#[test]
fn an_upstream_that_is_killed_and_comes_back_costs_no_get() {
    let ports = [free_port(), free_port()];
    let [a, mut b] = [("a", ports[0]), ("b", ports[1])].map(|(name, port)| backend(name, port));
    let proxy = in_front_of(&ports).set("circuit_breaker.timeout_ms", 200).start();
    let tally = under_load(proxy.addr(), "GET", |tally| {
        for _ in 0..3 {
            wait_for_more(tally, "b", 30);
            b.signal("KILL");
            b.wait_exit();
            wait_for_more(tally, "a", 60);
            b = backend("b", ports[1]);
        }
        wait_for_more(tally, "b", 30);
    });
    assert!(tally.faults.is_empty(), "{} of {:?}: {:?}", tally.faults.len(), tally.by_name, tally.faults[0]);
    assert_eq!(proxy.metric("proxy_errors_total", &[]), 0.0);
    drop(a);
}

#[test]
fn a_post_is_answered_by_the_other_or_refused_and_never_doubled() {
    let gate = Gate::default();
    let held = gate.clone();
    // The first ends each connection while many requests are with it.
    let dying = Origin::each(move |conn, _| {
        held.pass();
        conn.reset();
    });
    let origin = Origin::hello();
    let proxy = in_front_of(&[dying.port(), origin.port()]).start();
    let mut clients: Vec<_> = (0..10).map(|_| proxy.client()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send(format!("POST /{i} HTTP/1.1\r\nHost: play.test\r\nContent-Length: 2\r\n\r\nok"));
    }
    wait_until("each is with one of them", || dying.requests().len() + origin.requests().len() == 10);
    gate.release(10);
    let statuses: Vec<_> = clients.iter_mut().map(|client| client.response().status).collect();
    let count = |status| statuses.iter().filter(|&&s| s == status).count();
    assert_eq!((count(200), count(502)), (5, 5), "{statuses:?}");
    assert_eq!((dying.requests().len(), origin.requests().len()), (5, 5));
}

#[test]
fn an_upstream_that_hangs_is_waited_for_and_then_left_out() {
    let ports = [free_port(), free_port()];
    let [a, b] = [("a", ports[0]), ("b", ports[1])].map(|(name, port)| backend(name, port));
    let config = in_front_of(&ports).set("timeouts", json!({"read_ms": 400, "connect_ms": 400}));
    let proxy = config.set("circuit_breaker.timeout_ms", 60_000).start();
    let tally = under_load(proxy.addr(), "GET", |tally| {
        wait_for_more(tally, "b", 20);
        b.signal("STOP");
        wait_until("its circuit is open", || proxy.diagnostics().iter().any(|line| line.contains("circuit closed -> open")));
        wait_for_more(tally, "a", 200);
    });
    b.signal("CONT");
    assert!(tally.faults.is_empty(), "{} of {:?}: {:?}", tally.faults.len(), tally.by_name, tally.faults[0]);
    assert!(tally.slowest >= Duration::from_millis(350), "{:?}", tally.slowest);
    // Each of the four clients waited for it at most a few times.
    assert!(proxy.metric("proxy_retries_total", &[]) <= 8.0);
    drop(a);
}

#[test]
fn where_all_are_down_requests_are_refused_at_once_and_served_as_soon_as_one_is_back() {
    let ports = [free_port(), free_port()];
    let proxy = in_front_of(&ports).set("circuit_breaker.timeout_ms", 300).set("workers", 2).start();
    let begin = Instant::now();
    let attempts = || proxy.metric("proxy_upstream_requests_total", &[]);
    let statuses: Vec<_> = (0..60).map(|_| proxy.get("/").status).collect();
    assert!(statuses.iter().all(|status| [502, 503].contains(status)), "{statuses:?}");
    // Three failures each to open the circuits, some more attempts of the same requests, and then one trial each at a time.
    let trials = 2.0 * (begin.elapsed().as_millis() as f64 / 300.0 + 1.0);
    assert!(attempts() <= 6.0 + 30.0 + trials, "{} attempts in {:?}", attempts(), begin.elapsed());
    let _b = backend("b", ports[1]);
    wait_until("it is served", || proxy.get("/").status == 200);
    wait_until("it is served again and again", || (0..10).all(|_| proxy.get("/").status == 200));
}

#[test]
fn a_reload_between_two_attempts_changes_nothing_for_the_request() {
    let gate = Gate::default();
    let held = gate.clone();
    let ends = Origin::each(move |conn, _| {
        held.pass();
        conn.reset();
    });
    let (old, new) = (Origin::named("old"), Origin::named("new"));
    let mut config = in_front_of(&[ends.port(), old.port()]);
    // Its weight makes it the first, wherever the round begins.
    config.0["upstreams"][0]["weight"] = 3.into();
    let proxy = config.start();
    let mut client = proxy.client();
    client.send_get("/x");
    wait_until("it is in flight", || ends.requests().len() == 1);
    proxy.reload(&in_front_of(&[new.port()]).set("retry.max_retries", 0));
    gate.release(1);
    let answer = client.response().expect(200);
    assert_eq!(answer.text(), "old");
    assert!(proxy.log_of(answer.trace_id()).contains(" attempts=2 "));
    assert_eq!(client.get("/y").expect(200).text(), "new");
}

#[test]
fn a_reload_refills_no_budget() {
    let config = in_front_of(&[free_port(), free_port()]).set("retry", json!({"backoff_ms": 0}));
    let config = config.set("circuit_breaker.failure_threshold", 0);
    let proxy = config.clone().start();
    let begin = Instant::now();
    for i in 0..40 {
        // What concerns the pool, and what does not.
        match i {
            20 => proxy.reload(&config.clone().set("timeouts.read_ms", 1234)),
            30 => proxy.reload(&config.clone().set("balance", "random")),
            _ => {}
        }
        proxy.get("/").expect(502);
    }
    // A machine that takes longer than the budget's ten seconds has had another one since.
    let budgets = 1 + begin.elapsed().as_secs() / 10;
    let retries = proxy.metric("proxy_retries_total", &[]);
    assert!(retries >= 30.0 && retries <= 30.0 * budgets as f64, "{retries} retries");
}

#[test]
fn an_exchange_that_takes_too_long_counts_against_its_upstream_but_not_a_slow_client() {
    let hang = |conn: &mut Conn, _| _ = conn.wait_for_end();
    let origins = [Origin::each(hang), Origin::each(hang)];
    let config = in_front_of(&origins.each_ref().map(Origin::port)).set("timeouts", json!({"total_ms": 300}));
    let proxy = config.set("circuit_breaker.failure_threshold", 1).start();
    let opened = || proxy.diagnostics().iter().filter(|line| line.contains("circuit closed -> open: http_response_timeout")).count();
    let answer = ask(proxy.addr(), "PUT / HTTP/1.1\r\nHost: play.test\r\nContent-Length: 9\r\n\r\nhalf");
    proxy.expect_refusal(answer, 504, "http_response_timeout");
    assert_eq!(opened(), 0);
    let answer = proxy.get("/");
    proxy.expect_refusal(answer, 504, "http_response_timeout");
    wait_until("its circuit is open", || opened() == 1);
}
