//! A client that closes its sending side may still wait for its answer, or may have left: for a while it is assumed to wait.

use crate::support::*;
use std::time::{Duration, Instant};

fn queued(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_queued_requests", &[])
}

fn asking(proxy: &Proxy, path: &str) -> Client {
    let mut client = proxy.client();
    client.send_get(path);
    client
}

/// One that has sent its request, and sends no more.
fn leaving(proxy: &Proxy, path: &str) -> Client {
    let mut client = asking(proxy, path);
    client.half_close();
    client
}

#[test]
fn who_has_left_is_let_go_and_no_fault_of_the_upstreams() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 2).set("timeouts.queue_ms", 60_000);
    let proxy = config.set("workers", 2).set("timeouts.client_half_close_ms", 500).start();
    let begin = Instant::now();
    let mut gone: Vec<Client> = (0..5).map(|i| leaving(&proxy, &format!("/gone/{i}"))).collect();
    wait_until("two are asked, and three wait", || (origin.requests().len(), queued(&proxy)) == (2, 3.0));
    let mut patient = asking(&proxy, "/patient");
    for client in &mut gone {
        client.expect_end();
    }
    assert!(begin.elapsed() >= Duration::from_millis(490), "gone after {:?}", begin.elapsed());
    wait_until("the places are free", || origin.requests().iter().any(|request| request.target == "/patient"));
    // Two places are free at once; whose request arrives first of the two that get them is chance.
    let mut next = origin.requests().into_iter().skip(2).take(2);
    assert!(next.any(|request| request.target == "/patient"), "who waits goes before those who have left");
    gate.release(5);
    patient.response().expect(200);
    wait_until("all are logged", || proxy.log_lines().iter().filter(|line| line.contains(" 499 ")).count() == 5);
    let lines = proxy.log_lines();
    assert!(lines.iter().filter(|line| line.contains(" 499 ")).all(|line| line.contains(" error=client_aborted ")), "{lines:?}");
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0);
    assert_eq!(proxy.metric("circuit_breaker_state", &[]), 0.0);
}

#[test]
fn those_who_may_have_left_come_after_those_who_wait() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 60_000);
    let proxy = config.set("timeouts.client_half_close_ms", 0).set("workers", 1).start();
    let mut first = asking(&proxy, "/first");
    wait_until("it is asked", || origin.requests().len() == 1);
    let mut crowd = Vec::new();
    for (i, path) in ["/left/0", "/left/1", "/waits/2", "/waits/3"].into_iter().enumerate() {
        crowd.push(if path.starts_with("/left") { leaving(&proxy, path) } else { asking(&proxy, path) });
        wait_until("it waits", || queued(&proxy) == (i + 1) as f64);
    }
    // A request whose client closes while it is queued goes to the end.
    let mut late = asking(&proxy, "/late/4");
    wait_until("it waits", || queued(&proxy) == 5.0);
    crowd[2].half_close();
    // The one worker that there is answers this after it has seen that end.
    assert_eq!(queued(&proxy), 5.0);
    gate.release(6);
    first.response().expect(200);
    crowd.iter_mut().for_each(|client| drop(client.response().expect(200)));
    late.response().expect(200);
    let order: Vec<String> = origin.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(order, ["/first", "/waits/3", "/late/4", "/left/0", "/left/1", "/waits/2"]);
}

/// An origin that reads the content of `/large` after the gate, sends the rest of the answer to `/stream` after the gate, and never answers
/// `/never`.
fn origin(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::start(move |conn| {
        while let Some(head) = conn.read_head() {
            if head.target == "/large" {
                gate.pass();
            }
            let request = conn.read_body(head).unwrap();
            match request.target.as_str() {
                "/never" => drop(conn.wait_for_end()),
                "/large" => conn.answer(request.body.len().to_string()),
                "/stream" => {
                    conn.send("HTTP/1.1 200 OK\r\nContent-Length: 6\r\n\r\nab");
                    gate.pass();
                    conn.send("cdef");
                }
                _ => conn.answer(request.what()),
            }
        }
    })
}

/// Waits until `client_half_close_ms` has passed for a client that closes now.
fn outlast(proxy: &Proxy) {
    leaving(proxy, "/never").expect_end();
}

/// The time runs until the answer begins, and starts anew for each request.
#[test]
fn an_answer_that_has_begun_comes_to_its_end_and_each_request_has_its_own_time() {
    let gate = Gate::default();
    let origin = origin(&gate);
    let proxy = Config::to(&origin).set("timeouts.client_half_close_ms", 1500).start();
    let mut client = proxy.client();
    client.send(["/stream", "/1", "/2"].map(|path| format!("GET {path} HTTP/1.1\r\nHost: a\r\n\r\n")).concat());
    client.half_close();
    wait_until("the answer has begun", || client.has_news());
    outlast(&proxy);
    gate.release(1);
    assert_eq!(client.response().expect(200).text(), "abcdef");
    assert_eq!(client.response().expect(200).text(), "GET /1");
    assert_eq!(client.response().expect(200).text(), "GET /2");
    client.expect_end();
}

/// Content that waits for a slow upstream is still being sent: the time begins once the request is complete.
#[test]
fn an_upload_that_ends_with_a_half_close_is_taken_whole() {
    let gate = Gate::default();
    let origin = origin(&gate);
    let proxy = Config::to(&origin).set("timeouts.client_half_close_ms", 1500).set("limits.max_body_size", 0).start();
    let mut client = proxy.client();
    const LARGE: usize = 16 << 20;
    client.send(format!("POST /large HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let mut writer = client.writer();
    let upload = std::thread::spawn(move || {
        writer.write(&vec![b'x'; LARGE]).unwrap();
        writer.half_close();
    });
    wait_until("it is asked", || origin.heads().len() == 1);
    outlast(&proxy);
    gate.release(1);
    assert_eq!(client.response().expect(200).text(), LARGE.to_string());
    upload.join().unwrap();
}
