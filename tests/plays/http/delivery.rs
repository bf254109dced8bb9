//! What was promised to a client arrives, whatever happens afterwards; and an upstream learns at once that a client has left.

use crate::support::*;

/// More than the proxy's rings and a client's small buffer hold, less than what the kernel takes of the proxy.
const LARGE: usize = 1_500_000;

fn large(n: usize) -> Vec<u8> {
    let pattern = Pattern::new();
    [pattern.at(0, n / 2), pattern.at(n / 2, n - n / 2)].concat()
}

#[test]
fn what_comes_late_takes_nothing_of_the_answer() {
    for late in ["\r\n", "GET /next HTTP/1.1\r\nHost: a\r\n\r\n"] {
        let origin = Origin::each(|conn, _| conn.answer(large(LARGE)));
        let proxy = Config::to(&origin).start();
        let mut client = Client::with_small_buffer(proxy.addr(), 16_384);
        client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello");
        proxy.log_with(" 200 ");
        client.send(late);
        assert!(client.response().expect(200).body == large(LARGE));
        assert_eq!(client.expect_end(), End::Closed);
        drop(client);
        wait_until("its place is free", || proxy.metric("proxy_client_connections", &[]) == 0.0);
        assert_eq!(proxy.log_lines().len(), 1);
    }
}

#[test]
fn who_has_closed_its_side_and_reads_late_gets_all() {
    let origin = Origin::each(|conn, _| conn.answer(large(LARGE)));
    let proxy = Config::to(&origin).start();
    let mut client = Client::with_small_buffer(proxy.addr(), 16_384);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    proxy.log_with(" 200 ");
    client.half_close();
    assert!(client.response().expect(200).body == large(LARGE));
    assert_eq!(client.expect_end(), End::Closed);
}

/// Answers `/whole` completely, and anything else only in part.
fn breaking_off() -> Origin {
    Origin::each(|conn, request| match request.target.as_str() {
        "/whole" => conn.answer(large(400_000)),
        "/chunks" => {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
            conn.reset();
        }
        _ => {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
            conn.reset();
        }
    })
}

#[test]
fn a_cut_answer_takes_nothing_of_the_one_before() {
    for second in ["/length", "/chunks"] {
        let origin = breaking_off();
        let proxy = Config::to(&origin).start();
        let mut client = Client::with_small_buffer(proxy.addr(), 4096);
        client.send(format!("GET /whole HTTP/1.1\r\nHost: a\r\n\r\nGET {second} HTTP/1.1\r\nHost: a\r\n\r\n"));
        proxy.log_with("http_response_incomplete");
        // It sends something more, and reads late.
        let _ = client.try_send("\r\n");
        assert!(client.response().expect(200).body == large(400_000));
        let cut = client.response();
        assert_eq!((cut.text(), cut.cut.is_some()), ("hello", true));
    }
}

#[test]
fn a_cut_that_only_a_reset_shows_waits_for_what_came_before() {
    let origin = breaking_off();
    let proxy = Config::to(&origin).start();
    let mut client = Client::with_small_buffer(proxy.addr(), 4096);
    let ask = |path| format!("GET {path} HTTP/1.0\r\nHost: a\r\nConnection: keep-alive\r\n\r\n");
    client.send(ask("/whole") + &ask("/chunks"));
    proxy.log_with("http_response_incomplete");
    assert!(client.response().expect(200).body == large(400_000));
    let cut = client.response();
    assert_eq!((cut.text(), cut.cut), ("hello", Some(End::Reset)));
}

#[test]
fn the_end_of_its_time_takes_nothing_of_the_answer_before() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::each(move |conn, request| match request.target.as_str() {
        "/whole" => conn.answer(large(400_000)),
        _ => {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
            opened.pass();
        }
    });
    let proxy = Config::to(&origin).set("timeouts.total_ms", 3000).start();
    let mut client = Client::with_small_buffer(proxy.addr(), 4096);
    client.send("GET /whole HTTP/1.1\r\nHost: a\r\n\r\nGET /late HTTP/1.1\r\nHost: a\r\n\r\n");
    proxy.log_with("http_response_timeout");
    assert!(client.response().expect(200).body == large(400_000));
    let cut = client.response();
    assert_eq!((cut.text(), cut.cut.is_some()), ("hello", true));
    gate.release(1);
}

#[test]
fn an_upstream_learns_of_a_client_that_left_by_a_reset() {
    for begun in [false, true] {
        let (send, ends) = std::sync::mpsc::channel();
        let send = std::sync::Mutex::new(send);
        let origin = Origin::start(move |conn| {
            conn.read_request();
            if begun {
                conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhello");
            }
            let end = conn.wait_for_end();
            send.lock().unwrap().send(end).unwrap();
        });
        let proxy = Config::to(&origin).start();
        for round in 1..=5 {
            let mut client = proxy.client();
            client.send_get("/");
            if begun {
                assert_eq!(client.head().unwrap().status, 200);
            } else {
                wait_until("the origin has it", || origin.requests().len() == round);
            }
            client.reset();
            // A FIN would leave a port of this machine in TIME_WAIT for a minute.
            assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), End::Reset);
        }
    }
}

#[test]
fn an_upstream_whose_time_is_up_is_reset() {
    let (send, ends) = std::sync::mpsc::channel();
    let send = std::sync::Mutex::new(send);
    let origin = Origin::start(move |conn| {
        conn.read_request();
        let end = conn.wait_for_end();
        send.lock().unwrap().send(end).unwrap();
    });
    let proxy = Config::to(&origin).set("timeouts.read_ms", 300).set("retry.max_retries", 0).start();
    let answer = proxy.get("/");
    proxy.expect_refusal(answer, 504, "connection_read_timeout");
    assert_eq!(ends.recv_timeout(PATIENCE).unwrap(), End::Reset);
}
