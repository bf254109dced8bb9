//! A slow client is never mistaken for a slow upstream, nor the other way round: each wait counts against the side that is waited for.

use crate::support::*;
use serde_json::{Value, json};
use std::time::Duration;

const MS: Duration = Duration::from_millis(1);

fn timeouts(origin: &Origin, timeouts: Value) -> Proxy {
    Config::to(origin).set("timeouts", timeouts).set("limits.max_body_size", 0).start()
}

const LARGE: usize = 16 << 20; // more than the kernel's buffers take on the way

#[test]
fn a_slow_reader_is_no_slow_upstream() {
    let origin = Origin::each(|conn, _| conn.answer(vec![b'x'; LARGE]));
    let proxy = timeouts(&origin, json!({"read_ms": 300, "write_ms": 300}));
    let mut client = Client::with_small_buffer(proxy.addr(), 16_384);
    client.send_get("/");
    assert_eq!(client.head().unwrap().status, 200);
    let mut body = Vec::new();
    for part in [LARGE / 4, LARGE / 4, LARGE / 2] {
        take_time(800 * MS);
        client.wire.take(part, &mut body).expect("the answer goes on");
    }
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &[]), 0.0);
}

#[test]
fn a_slow_sender_is_no_slow_upstream() {
    let origin = Origin::echoing();
    let proxy = timeouts(&origin, json!({"read_ms": 300, "write_ms": 300, "connect_ms": 300}));
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\n");
    for byte in ["a", "b", "c"] {
        take_time(800 * MS);
        client.send(byte);
    }
    assert_eq!(client.response().expect(200).text(), "abc");
}

#[test]
fn an_origin_slow_to_read_is_no_slow_sender() {
    let origin = Origin::start(|conn| {
        let head = conn.read_head().unwrap();
        take_time(1000 * MS);
        let request = conn.read_body(head).unwrap();
        conn.answer(request.body.len().to_string());
    });
    let proxy = timeouts(&origin, json!({"client_body_ms": 300, "client_header_ms": 300, "read_ms": 300}));
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {LARGE}\r\n\r\n"));
    let mut writer = client.writer();
    let upload = std::thread::spawn(move || writer.write(&vec![b'x'; LARGE]));
    assert_eq!(client.response().expect(200).text(), LARGE.to_string());
    upload.join().unwrap().unwrap();
}

#[test]
fn an_origin_slow_to_answer_is_no_slow_client() {
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.read_head() {
            take_time(1000 * MS);
            if head.fields.has("Expect") {
                conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            }
            let request = conn.read_body(head).unwrap();
            conn.answer(&request.body);
        }
    });
    let limits = json!({
        "client_request_line_ms": 300, "client_header_ms": 300, "client_body_ms": 300, "client_keepalive_ms": 300,
        "client_write_ms": 300, "upstream_keepalive_ms": 300, "queue_ms": 300, "connect_ms": 300, "write_ms": 300,
    });
    let proxy = timeouts(&origin, limits);
    assert_eq!(proxy.client().post("/", "abc").expect(200).text(), "abc");
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 100);
    client.send("hello");
    assert_eq!(client.response().expect(200).text(), "hello");
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &[]), 0.0);
}
