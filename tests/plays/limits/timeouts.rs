//! Every wait has its limit, and the error names the side that was slow.

use crate::support::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const MS: Duration = Duration::from_millis(1);

fn timeouts(origin: &Origin, timeouts: Value) -> Proxy {
    Config::to(origin).set("timeouts", timeouts).set("limits.max_body_size", 0).start()
}

/// Runs `wait`, which must not end before `least` is over.
#[track_caller]
fn no_sooner_than<T>(least: Duration, wait: impl FnOnce() -> T) -> T {
    let begin = Instant::now();
    let result = wait();
    let took = begin.elapsed();
    assert!(took + 10 * MS >= least, "after {took:?}, too soon");
    result
}

#[test]
fn connect() {
    // A listener that accepts nothing and whose queue is full: the kernel drops what more comes.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&"127.0.0.1:0".parse::<std::net::SocketAddr>().unwrap().into()).unwrap();
    full.listen(1).unwrap();
    let addr = full.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = std::net::TcpStream::connect_timeout(&addr, 300 * MS) {
        queue.push(stream);
    }
    let proxy = Config::to_all([addr]).set("timeouts.connect_ms", 400).start();
    let mut client = proxy.client();
    let answer = no_sooner_than(400 * MS, || client.get("/"));
    proxy.expect_refusal(answer, 504, "connection_timeout");
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"connect\""]), 1.0);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &["type=\"timeout\""]), 1.0);
    client.send_get("/the-connection-stays");
    assert_eq!(client.response().expect(504).status, 504);
}

#[test]
fn read() {
    let origin = Origin::start(|conn| {
        conn.read_request();
        conn.wait_for_end();
    });
    let proxy = timeouts(&origin, json!({"read_ms": 300}));
    let mut client = proxy.client();
    let answer = no_sooner_than(300 * MS, || client.post("/", "x"));
    proxy.expect_refusal(answer, 504, "connection_read_timeout");
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"read\""]), 1.0);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &["type=\"timeout\""]), 1.0);
    wait_until("the proxy has closed that connection", || origin.open() == 0);
    assert_eq!(client.post("/the-connection-stays", "x").expect(504).status, 504);
}

#[test]
fn read_when_the_answer_has_begun() {
    let origin = Origin::start(|conn| {
        conn.read_request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello");
        conn.wait_for_end();
    });
    let proxy = timeouts(&origin, json!({"read_ms": 300}));
    let answer = no_sooner_than(300 * MS, || proxy.client().get("/"));
    assert!(answer.status == 200 && answer.cut.is_some(), "{answer:?}");
    let line = proxy.log_of(answer.trace_id());
    assert!(line.contains(" error=connection_read_timeout "), "{line:?}");
    assert_eq!(proxy.metric("proxy_errors_total", &["reason=\"connection_read_timeout\""]), 1.0);
}

#[test]
fn read_starts_anew_with_each_byte() {
    let origin = Origin::each(|conn, _| {
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        conn.send_slowly("hello", 400 * MS);
    });
    let proxy = timeouts(&origin, json!({"read_ms": 1200}));
    let answer = no_sooner_than(1600 * MS, || proxy.client().get("/"));
    assert_eq!(answer.expect(200).text(), "hello");
}

/// Sends a head and a body without end, in the background, as far as the proxy takes it.
fn upload_without_end(client: &mut Client) {
    client.send("POST / HTTP/1.1\r\nHost: play.test\r\nContent-Length: 1000000000\r\n\r\n");
    let mut writer = client.writer();
    std::thread::spawn(move || while writer.write(&[b'x'; 65_536]).is_ok() {});
}

#[test]
fn write() {
    let origin = Origin::start(|conn| {
        conn.read_head();
        take_time(PATIENCE); // reads nothing more
    });
    let proxy = timeouts(&origin, json!({"write_ms": 400}));
    let mut client = proxy.client();
    upload_without_end(&mut client);
    let answer = no_sooner_than(400 * MS, || client.response());
    proxy.expect_refusal(answer, 504, "connection_write_timeout");
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"write\""]), 1.0);
}

#[test]
fn total() {
    let origin = Origin::each(|conn, request| {
        if request.target == "/begun" {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            for _ in 0..100 {
                conn.send("1\r\nx\r\n");
                take_time(50 * MS);
            }
        }
        conn.wait_for_end();
    });
    let proxy = timeouts(&origin, json!({"total_ms": 500, "read_ms": 10_000}));
    let answer = no_sooner_than(500 * MS, || proxy.client().get("/silent"));
    proxy.expect_refusal(answer, 504, "http_response_timeout");
    let answer = no_sooner_than(500 * MS, || proxy.client().get("/begun"));
    assert!(answer.status == 200 && answer.cut.is_some(), "{answer:?}");
    assert!(proxy.log_of(answer.trace_id()).contains(" error=http_response_timeout "));
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"total\""]), 2.0);
}

#[test]
fn total_even_if_interim_answers_keep_coming() {
    let origin = Origin::start(|conn| {
        conn.read_request();
        while conn.wire().write(b"HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n").is_ok() {
            take_time(MS);
        }
    });
    let proxy = timeouts(&origin, json!({"total_ms": 500}));
    let mut client = proxy.client();
    client.send_get("/");
    if let Ok(answer) = client.try_response_to("GET") {
        assert!([502, 504].contains(&answer.status), "{answer:?}");
    }
    wait_until("the origin is let go", || origin.open() == 0);
}

#[test]
fn client_request_line() {
    let origin = Origin::hello();
    let proxy = timeouts(&origin, json!({"client_request_line_ms": 300, "client_header_ms": 15_000}));
    let mut client = proxy.client();
    client.send("GET /slow");
    let answer = no_sooner_than(300 * MS, || client.response());
    proxy.expect_refusal(answer, 408, "http_request_timeout");
    client.expect_end();
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"client\""]), 1.0);
    assert_eq!(origin.connections(), 0);
}

#[test]
fn client_header_even_if_bytes_keep_coming() {
    let origin = Origin::hello();
    let proxy = timeouts(&origin, json!({"client_header_ms": 500}));
    let mut client = proxy.client();
    client.get("/good").expect(200); // the next head's time begins with its first byte
    let begin = Instant::now();
    client.send("GET /slow HTTP/1.1\r\nHost: a\r\n");
    while client.is_quiet_for(50 * MS) {
        assert!(begin.elapsed() < PATIENCE, "dripping keeps it open for ever");
        let _ = client.try_send("x");
    }
    assert!(begin.elapsed() >= 490 * MS, "too soon: {:?}", begin.elapsed());
    let answer = client.response();
    proxy.expect_refusal(answer, 408, "http_request_timeout");
    client.expect_end();
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_silent_connection_is_closed_without_an_answer() {
    let origin = Origin::hello();
    let proxy = timeouts(&origin, json!({"client_header_ms": 300}));
    let mut client = proxy.client();
    no_sooner_than(300 * MS, || client.expect_end());
    assert_eq!(proxy.metric("proxy_requests_total", &[]), 0.0);
    wait_until("it is not counted as open", || proxy.metric("proxy_client_connections", &[]) == 0.0);
}

#[test]
fn client_body() {
    let origin = Origin::echoing();
    let proxy = timeouts(&origin, json!({"client_body_ms": 300}));
    for begun in ["Content-Length: 10\r\n\r\nabc", "Transfer-Encoding: chunked\r\n\r\n5\r\nabc"] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\n{begun}"));
        let answer = no_sooner_than(300 * MS, || client.response());
        proxy.expect_refusal(answer, 408, "http_request_timeout");
        client.expect_end();
    }
    assert_eq!(origin.requests().len(), 0);
    wait_until("what was begun at the origin is closed", || origin.open() == 0);
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"client\""]), 2.0);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0, "no fault of the upstream");
}

#[test]
fn client_keepalive() {
    let origin = Origin::hello();
    let proxy = timeouts(&origin, json!({"client_keepalive_ms": 300}));
    let mut client = proxy.client();
    client.get("/").expect(200);
    assert_eq!(no_sooner_than(290 * MS, || client.expect_end()), End::Closed);
    assert_eq!(proxy.metric("proxy_errors_total", &[]), 0.0, "an idle end is no error");
}

#[test]
fn client_write() {
    let origin = Origin::start(|conn| {
        conn.read_request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n");
        while conn.wire().write(&[b'x'; 65_536]).is_ok() {}
    });
    let proxy = timeouts(&origin, json!({"client_write_ms": 400}));
    let mut client = Client::with_small_buffer(proxy.addr(), 4096);
    client.send_get("/");
    no_sooner_than(400 * MS, || wait_until("the proxy has given up", || origin.connections() == 1 && origin.open() == 0));
    assert!(client.response().cut.is_some());
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"client\""]), 1.0);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0, "no fault of the upstream");
}

#[test]
fn zero_means_no_limit() {
    let origin = Origin::each(|conn, request| {
        take_time(300 * MS);
        conn.answer(request.what());
    });
    let none = json!({
        "connect_ms": 0, "read_ms": 0, "write_ms": 0, "total_ms": 0, "client_request_line_ms": 0, "client_header_ms": 0,
        "client_body_ms": 0, "client_write_ms": 0,
    });
    let proxy = timeouts(&origin, none);
    let mut client = proxy.client();
    take_time(100 * MS);
    assert_eq!(client.get("/patient").expect(200).text(), "GET /patient");
}

#[test]
fn an_attempt_that_hangs_is_made_elsewhere() {
    let hanging = Origin::each(|conn, _| _ = conn.wait_for_end());
    let origin = Origin::hello();
    let retry = json!({"max_retries": 1, "backoff_ms": 0, "budget_percent": 100});
    let limits = json!({"attempt_ms": 400, "read_ms": 60_000});
    let proxy = Config::to_first_of([hanging.addr(), origin.addr()]).set("retry", retry).set("timeouts", limits).start();
    let answer = no_sooner_than(400 * MS, || proxy.get("/x")).expect(200);
    assert_eq!(answer.text(), "GET /x");
    let line = proxy.log_of(answer.trace_id());
    assert!(line.contains(&format!(" upstream={} attempts=2 ", origin.addr())), "{line:?}");
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"read\""]), 1.0);
    let says = format!("{} did not answer within 400 ms (timeouts.attempt_ms)", hanging.addr());
    wait_until("the log names the key", || proxy.diagnostics().iter().any(|line| line.contains(&says)));
}

#[test]
fn an_attempt_ends_with_the_answer_s_head_and_not_before() {
    // Each byte is in time for `read_ms`.
    let dripping = Origin::each(|conn, _| conn.send_slowly("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 100 * MS));
    let proxy = timeouts(&dripping, json!({"attempt_ms": 500, "read_ms": 60_000}));
    let answer = no_sooner_than(500 * MS, || proxy.get("/"));
    let answer = proxy.expect_refusal(answer, 504, "connection_read_timeout");
    assert!(answer.text().contains(" did not answer within 500 ms (timeouts.attempt_ms)"), "{answer:?}");
    wait_until("the proxy has closed that connection", || dripping.open() == 0);
    let long = Origin::each(|conn, _| {
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
        conn.send_slowly("hello", 300 * MS);
    });
    let proxy = timeouts(&long, json!({"attempt_ms": 1200}));
    let answer = no_sooner_than(1200 * MS, || proxy.get("/"));
    assert_eq!(answer.expect(200).text(), "hello");
}
