//! A circuit for each upstream: what opens it, how requests and pages show it, and what does not count.
//! `breaker_closes.rs` is about how it closes again.

use crate::support::*;
use serde_json::json;
use std::net::{SocketAddr, TcpStream};

/// The default circuit breaker, but for the time that an open circuit stays open, also where it is the last one.
pub fn guarded(addrs: impl IntoIterator<Item = SocketAddr>, timeout_ms: u64) -> Config {
    Config::to_first_of(addrs).set("circuit_breaker", json!({"timeout_ms": timeout_ms, "last_resort_ms": 0}))
}

/// Two upstreams that do the same; a client gets one of them, as long as that circuit is not open.
struct Pair([Origin; 2]);

impl Pair {
    fn each(script: impl Fn(&mut Conn, Request) + Clone + Send + Sync + 'static) -> Pair {
        Pair([Origin::each(script.clone()), Origin::each(script)])
    }

    fn guarded(&self) -> Config {
        guarded(self.0.each_ref().map(Origin::addr), 60_000).set("balance", "consistent_hash")
    }

    /// The changes of their circuits in the log.
    fn changes(&self, proxy: &Proxy) -> Vec<String> {
        self.0.iter().flat_map(|origin| changes(proxy, origin.addr())).collect()
    }

    fn heads(&self) -> usize {
        self.0.iter().map(|origin| origin.heads().len()).sum()
    }
}

/// The changes that were logged of that upstream's circuit, `closed -> open: connection_refused` for instance.
pub fn changes(proxy: &Proxy, upstream: SocketAddr) -> Vec<String> {
    let mark = format!("upstream {upstream} of pool default: circuit ");
    let said = proxy.diagnostics();
    said.iter().filter_map(|line| line.split_once(&mark)).map(|(_, change)| change.to_owned()).collect()
}

/// The circuit as both pages show it, which say the same.
#[track_caller]
pub fn circuit(proxy: &Proxy, upstream: SocketAddr) -> String {
    let page = proxy.page("/backends/health", 200);
    let backends = page["backends"].as_array().expect("a list");
    let backend = backends.iter().find(|backend| backend["name"] == upstream.to_string()).expect("the upstream");
    backend["circuit"].as_str().expect("a name").to_owned()
}

/// Until the circuit has gone through that many changes.
#[track_caller]
pub fn wait_for_changes(proxy: &Proxy, upstream: SocketAddr, n: usize) {
    wait_until(&format!("the circuit of {upstream} has changed {n} times"), || changes(proxy, upstream).len() >= n);
}

/// No upstream takes the request, and the answer says when one will.
#[track_caller]
pub fn expect_unavailable(proxy: &Proxy, answer: Response, timeout_ms: u64) {
    let answer = proxy.expect_refusal(answer, 503, "destination_unavailable");
    let seconds: u64 = answer.fields.get("Retry-After").expect("a Retry-After").parse().expect("seconds");
    let (least, most) = ((timeout_ms / 1000).saturating_sub(PATIENCE.as_secs()), timeout_ms.div_ceil(1000));
    assert!((least.max(1)..=most).contains(&seconds), "{seconds} s of {timeout_ms} ms");
    assert!(proxy.log_of(answer.trace_id()).contains(" upstream=- attempts=0 "));
}

#[test]
fn three_failures_in_a_row_open_it_for_all_workers() {
    let refusing = nobody();
    let proxy = guarded([refusing], 60_000).set("workers", 2).start();
    for _ in 0..3 {
        let answer = proxy.get("/");
        proxy.expect_refusal(answer, 502, "connection_refused");
    }
    // Each on a connection of its own, so that both workers are asked.
    for _ in 0..12 {
        expect_unavailable(&proxy, proxy.get("/"), 60_000);
    }
    assert_eq!(changes(&proxy, refusing), ["closed -> open: connection_refused, 3 in a row"]);
    assert_eq!(proxy.metric("proxy_upstream_requests_total", &[]), 3.0);
    assert_eq!(proxy.metric("proxy_errors_total", &["reason=\"destination_unavailable\""]), 12.0);
}

#[test]
fn the_pages_show_an_open_circuit() {
    let refusing = nobody();
    let origin = Origin::hello();
    let proxy = guarded([refusing, origin.addr()], 60_000).set("retry.max_retries", 1).start();
    (0..3).for_each(|_| drop(proxy.get("/").expect(200)));
    wait_for_changes(&proxy, refusing, 1);
    assert_eq!((circuit(&proxy, refusing).as_str(), circuit(&proxy, origin.addr()).as_str()), ("open", "closed"));
    let of = |addr: SocketAddr| format!("upstream=\"{addr}\"");
    assert_eq!(proxy.metric("circuit_breaker_state", &[&of(refusing)]), 2.0);
    assert_eq!(proxy.metric("circuit_breaker_state", &[&of(origin.addr())]), 0.0);
    assert_eq!([refusing, origin.addr()].map(|addr| proxy.metric("backend_health", &[&of(addr)])), [0.0, 1.0]);
    assert!(get(proxy.admin(), "/health").expect(200).text().contains("\"status\":\"degraded\""));
}

#[test]
fn the_others_get_the_requests_of_an_open_one() {
    let refusing = nobody();
    let origin = Origin::hello();
    let proxy = guarded([refusing, origin.addr()], 60_000).set("retry", json!({"backoff_ms": 0})).start();
    let mut client = proxy.client();
    for _ in 0..30 {
        client.get("/").expect(200);
    }
    // It was asked three times, and each time the other one took over the request.
    assert_eq!(proxy.metric("proxy_upstream_requests_total", &[&format!("upstream=\"{refusing}\"")]), 3.0);
    assert_eq!((proxy.metric("proxy_retries_total", &[]), origin.requests().len()), (3.0, 30));
}

#[test]
fn a_success_between_begins_the_count_anew() {
    let pair = Pair::each(|conn, request| match request.target.as_str() {
        "/bad" => conn.close(),
        _ => conn.answer("ok"),
    });
    let proxy = pair.guarded().start();
    for _ in 0..3 {
        (0..2).for_each(|_| assert_eq!(proxy.get("/bad").status, 502));
        proxy.get("/good").expect(200);
    }
    assert_eq!(pair.changes(&proxy), [""; 0]);
    (0..3).for_each(|_| assert_eq!(proxy.get("/bad").status, 502));
    wait_until("a circuit is open", || !pair.changes(&proxy).is_empty());
    assert_eq!(pair.changes(&proxy), ["closed -> open: connection_terminated, 3 in a row"]);
}

/// A script for each kind of failure that an upstream may be blamed for.
fn failing(kind: &'static str) -> Pair {
    Pair::each(move |conn, _| match kind {
        "connection_terminated" => conn.reset(),
        "http_protocol_error" => conn.send("HTTP/1.1 2OO Well\r\n\r\n"),
        "http_response_incomplete" => {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf");
            conn.close();
        }
        "connection_read_timeout" => drop(conn.wait_for_end()),
        status => conn.send(format!("HTTP/1.1 {status} No\r\nContent-Length: 2\r\n\r\nno")),
    })
}

#[test]
fn every_fault_of_the_upstream_counts_and_is_named() {
    let kinds =
        ["connection_terminated", "http_protocol_error", "http_response_incomplete", "connection_read_timeout", "502", "503", "504"];
    for kind in kinds {
        let pair = failing(kind);
        let proxy = pair.guarded().set("circuit_breaker.failure_threshold", 2).set("timeouts.read_ms", 200).start();
        for _ in 0..2 {
            assert_eq!(pair.changes(&proxy), [""; 0], "{kind}");
            drop(proxy.get("/"));
        }
        wait_until("a circuit is open", || !pair.changes(&proxy).is_empty());
        let why = if kind.starts_with('5') { format!("status {kind}") } else { kind.to_owned() };
        // The other stays closed, whatever it does, because there is no third.
        (0..4).for_each(|_| drop(proxy.get("/")));
        assert_eq!(pair.changes(&proxy), [format!("closed -> open: {why}, 2 in a row")]);
        assert_eq!(pair.heads(), 6);
    }
}

#[test]
fn failure_statuses_are_those_that_are_set() {
    let pair = Pair::each(|conn, request| {
        conn.send(format!("HTTP/1.1 {} Said\r\nContent-Length: 2\r\n\r\nok", &request.target[1..]));
    });
    let proxy = pair.guarded().set("circuit_breaker.failure_statuses", json!([500, 404])).start();
    let mut client = proxy.client();
    for status in [502, 503, 504, 502, 400, 410, 429, 501] {
        client.get(&format!("/{status}")).expect(status);
    }
    assert_eq!(pair.changes(&proxy), [""; 0]);
    for status in [404, 500, 404] {
        client.get(&format!("/{status}")).expect(status);
    }
    wait_until("a circuit is open", || !pair.changes(&proxy).is_empty());
    assert_eq!(pair.changes(&proxy), ["closed -> open: status 404, 3 in a row"]);
}

#[test]
fn what_is_not_the_upstreams_fault_does_not_count() {
    let pair = Pair::each(|conn, request| match request.target.as_str() {
        "/4xx" => conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        "/500" => conn.send("HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n"),
        "/hold" => drop(conn.wait_for_end()),
        _ => conn.answer("ok"),
    });
    let proxy = pair.guarded().set("circuit_breaker.failure_threshold", 1).start();
    // Clients that leave while the upstream works, or in the middle of their own content.
    for head in ["GET /hold HTTP/1.1\r\nHost: play.test\r\n\r\n", "PUT /hold HTTP/1.1\r\nHost: play.test\r\nContent-Length: 9\r\n\r\nhalf"]
    {
        let mut client = proxy.client();
        let before = pair.heads();
        client.send(head);
        wait_until("it is in flight", || pair.heads() > before);
        client.reset();
    }
    wait_until("both are gone", || proxy.metric("proxy_errors_total", &["reason=\"client_aborted\""]) == 2.0);
    for (path, status) in [("/4xx", 404), ("/500", 500)] {
        proxy.get(path).expect(status);
    }
    // Requests that are refused before any upstream is asked.
    ask(proxy.addr(), "GET /x HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n").expect(400);
    proxy.get("/").expect(200);
    assert_eq!(pair.changes(&proxy), [""; 0]);
}

#[test]
fn a_stale_pooled_connection_does_not_count() {
    for end in [Conn::close, Conn::reset] {
        // Each connection serves one answer.
        let once = move |conn: &mut Conn| {
            if conn.read_request().is_some() {
                conn.answer("ok");
            }
            if conn.read_request().is_some() {
                end(conn);
            }
        };
        let pair = Pair([Origin::start(once), Origin::start(once)]);
        let proxy = pair.guarded().set("circuit_breaker.failure_threshold", 1).start();
        let mut client = proxy.client();
        for _ in 0..4 {
            client.get("/").expect(200);
        }
        // This request cannot be repeated; even so the failure is no sign of a failing upstream.
        client.post("/", "x").expect(502);
        client.get("/").expect(200);
        assert_eq!(pair.changes(&proxy), [""; 0]);
        assert_eq!(proxy.metric("proxy_retries_total", &[]), 0.0);
    }
}

#[test]
fn one_request_counts_once_however_often_it_tries() {
    let origin = Origin::each(|conn, _| conn.close());
    let retry = json!({"max_retries": 4, "backoff_ms": 0});
    let proxy = guarded([origin.addr()], 60_000).set("retry", retry).set("circuit_breaker.failure_threshold", 2).start();
    for n in [1, 2, 3] {
        let answer = proxy.client().get("/");
        proxy.expect_refusal(answer, 502, "connection_terminated");
        assert_eq!((origin.heads().len(), &proxy.backend(0)["consecutive_failures"]), (5 * n, &json!(n)));
    }
    // A request that was written does not open the last circuit.
    assert_eq!(changes(&proxy, origin.addr()).len(), 0);
}

/// One request has the only place, and two wait for it, one of them perhaps in another worker.
fn a_line(proxy: &Proxy, origin: &Origin) -> [Client; 3] {
    let mut clients = [(); 3].map(|()| proxy.client());
    clients[0].send_get("/first");
    wait_until("it is in flight", || origin.requests().len() == 1);
    clients[1..].iter_mut().for_each(|client| client.send_get("/waits"));
    wait_until("they wait", || proxy.metric("proxy_queued_requests", &[]) == 2.0);
    clients
}

#[test]
fn those_in_the_queue_are_sent_away_when_the_last_circuit_opens() {
    for end in [|conn: &mut Conn| conn.reset(), |conn: &mut Conn| conn.send("HTTP/1.1 503 No\r\nContent-Length: 2\r\n\r\nno")] {
        let gate = Gate::default();
        let held = gate.clone();
        let origin = Origin::each(move |conn, _| {
            held.pass();
            end(conn);
            conn.close();
        });
        let config = guarded([origin.addr()], 60_000).set("circuit_breaker.failure_threshold", 1).set("workers", 2);
        // Only the circuit can dismiss them, because no wait has an end.
        let timeouts = json!({"queue_ms": 86_400_000, "read_ms": 0, "total_ms": 0});
        let proxy = config.set("limits.max_conns_per_upstream", 1).set("timeouts", timeouts).start();
        let [mut first, second, third] = a_line(&proxy, &origin);
        // It stops listening with its last answer.
        let addr = origin.addr();
        drop(origin);
        wait_until("nobody listens", || TcpStream::connect(addr).is_err());
        gate.release(1);
        assert!([502, 503].contains(&first.head().expect("an answer").status));
        let mut answers = [second, third].map(|mut client| client.response());
        answers.sort_by_key(|answer| answer.status);
        let [refused, dismissed] = answers;
        proxy.expect_refusal(refused, 502, "connection_refused");
        expect_unavailable(&proxy, dismissed, 60_000);
        assert_eq!(proxy.metric("proxy_queued_requests", &[]), 0.0);
    }
}

#[test]
fn another_attempt_waits_in_the_queue_for_those_that_are_left() {
    let gate = Gate::default();
    let (refusing, origin) = (nobody(), Origin::gated(&gate));
    let config = guarded([origin.addr(), refusing], 60_000).set("circuit_breaker.failure_threshold", 1);
    let config = config.set("retry", json!({"backoff_ms": 0})).set("limits.max_conns_per_upstream", 1);
    for queue_ms in [86_400_000, 200] {
        let proxy = config.clone().set("timeouts.queue_ms", queue_ms).start();
        let mut clients = [proxy.client(), proxy.client()];
        let before = origin.requests().len();
        clients[0].send_get("/held");
        wait_until("it is in flight", || origin.requests().len() == before + 1);
        clients[1].send_get("/x");
        let answer = if queue_ms == 200 {
            let answer = clients[1].response();
            gate.release(1);
            proxy.expect_refusal(answer, 503, "connection_limit_reached")
        } else {
            wait_until("it waits", || proxy.metric("proxy_queued_requests", &[]) == 1.0);
            gate.release(2);
            clients[1].response().expect(200)
        };
        clients[0].response().expect(200);
        let (last, attempts) = if queue_ms == 200 { (refusing, 1) } else { (origin.addr(), 2) };
        assert!(proxy.log_of(answer.trace_id()).contains(&format!(" upstream={last} attempts={attempts} ")));
        assert_eq!(proxy.metric("proxy_queued_requests", &[]), 0.0);
    }
}
