//! Nothing is buffered whole: a side that does not read stops the other from sending, and memory does not grow.

use crate::support::*;
use serde_json::json;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const MIB: usize = 1 << 20;
const BLOCK: usize = 64 << 10;

/// A proxy without time limits.
fn patient(origin: &Origin) -> Proxy {
    let never = json!({"read_ms": 0, "write_ms": 0, "total_ms": 0, "client_body_ms": 0, "client_write_ms": 0});
    Config::to(origin).set("timeouts", never).set("limits.max_body_size", 0).start()
}

/// `GET /N` answers with N MiB of the pattern, anything else with its own name; counts what it could send.
fn fountain(sent: &Arc<AtomicUsize>) -> Origin {
    let (sent, pattern) = (sent.clone(), Pattern::new());
    Origin::each(move |conn, request| {
        let Ok(mib) = request.target[1..].parse::<usize>() else { return conn.answer(request.what()) };
        socket2::SockRef::from(&conn.wire().stream).set_send_buffer_size(4 * BLOCK).unwrap();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", mib * MIB));
        for at in (0..mib * MIB).step_by(BLOCK) {
            if conn.wire().write(pattern.at(at, BLOCK)).is_err() {
                return conn.close();
            }
            sent.fetch_add(BLOCK, SeqCst);
        }
    })
}

/// The value at which `count` stops rising.
fn standstill(count: &AtomicUsize) -> usize {
    let mut seen = (count.load(SeqCst), Instant::now());
    wait_until("it stands still", || {
        let now = count.load(SeqCst);
        if now != seen.0 || now == 0 {
            seen = (now, Instant::now());
        }
        seen.1.elapsed() > Duration::from_millis(700)
    });
    seen.0
}

/// Reads `n` bytes of the pattern from `offset` on, and compares each.
#[track_caller]
fn take_pattern(wire: &mut crate::support::wire::Wire, pattern: &Pattern, offset: usize, n: usize) {
    let mut block = vec![0; BLOCK];
    let mut at = offset;
    while at < offset + n {
        let most = BLOCK.min(offset + n - at);
        let got = wire.some(&mut block[..most]).unwrap_or_else(|end| panic!("{end:?} at {at}"));
        assert!(block[..got] == *pattern.at(at, got), "wrong bytes near {at}");
        at += got;
    }
}

#[test]
fn a_client_that_does_not_read_stops_the_origin() {
    let sent = Arc::new(AtomicUsize::new(0));
    let origin = fountain(&sent);
    let proxy = patient(&origin);
    proxy.get("/warm").expect(200);
    let before = proxy.rss_bytes();
    let mut client = Client::with_small_buffer(proxy.addr(), 64 << 10);
    client.send_get("/512");
    let stopped = standstill(&sent);
    let growth = proxy.rss_bytes().saturating_sub(before);
    assert!(stopped < 64 * MIB, "the origin could send {stopped} bytes to nobody");
    assert!(growth < 4 * MIB, "grew by {growth} bytes");
    assert_eq!(client.head().unwrap().status, 200);
    take_pattern(&mut client.wire, &Pattern::new(), 0, 64 * MIB); // and it flows again
    assert!(sent.load(SeqCst) > stopped);
    let growth = proxy.rss_bytes().saturating_sub(before);
    assert!(growth < 4 * MIB, "grew by {growth} bytes");
    client.reset();
    wait_until("the origin is let go", || origin.open() == 0);
}

#[test]
fn an_origin_that_does_not_read_stops_the_client() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |conn| {
        while conn.read_head().is_some_and(|head| head.method == "GET") {
            conn.answer("warm");
        }
        opened.pass();
        take_pattern(conn.wire(), &Pattern::new(), 0, 64 * MIB);
        conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = patient(&origin);
    proxy.get("/warm").expect(200);
    let before = proxy.rss_bytes();
    let mut client = proxy.client();
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 512 * MIB));
    let sent = Arc::new(AtomicUsize::new(0));
    let (mut writer, count) = (client.writer(), sent.clone());
    std::thread::spawn(move || {
        let pattern = Pattern::new();
        for at in (0..512 * MIB).step_by(BLOCK) {
            if writer.write(pattern.at(at, BLOCK)).is_err() {
                return;
            }
            count.fetch_add(BLOCK, SeqCst);
        }
    });
    let stopped = standstill(&sent);
    let growth = proxy.rss_bytes().saturating_sub(before);
    assert!(stopped < 64 * MIB, "the client could send {stopped} bytes to nobody");
    assert!(growth < 4 * MIB, "grew by {growth} bytes");
    gate.release(1);
    assert_eq!(client.response().expect(200).text(), "ok");
    assert!(sent.load(SeqCst) > stopped);
}

#[test]
fn two_hundred_mib_come_down_byte_by_byte() {
    let origin = fountain(&Arc::default());
    let proxy = patient(&origin);
    let mut client = proxy.client();
    client.get("/warm").expect(200);
    let before = proxy.rss_bytes();
    client.send_get("/200");
    assert_eq!(client.head().unwrap().status, 200);
    take_pattern(&mut client.wire, &Pattern::new(), 0, 200 * MIB);
    let growth = proxy.rss_bytes().saturating_sub(before);
    assert!(growth < 4 * MIB, "grew by {growth} bytes");
    assert_eq!(client.get("/after").expect(200).text(), "GET /after");
    let log = proxy.log_with("\"GET /200 HTTP/1.1\"");
    assert!(log.contains(&format!(" 200 {} ", 200 * MIB)), "{log:?}");
}

#[test]
fn two_hundred_mib_go_up_byte_by_byte() {
    let origin = Origin::start(|conn| {
        while let Some(head) = conn.read_head() {
            if let Some(n) = head.fields.get("Content-Length") {
                take_pattern(conn.wire(), &Pattern::new(), 0, n.parse().unwrap());
            }
            conn.answer(head.method);
        }
    });
    let proxy = patient(&origin);
    let mut client = proxy.client();
    client.get("/warm").expect(200);
    let before = proxy.rss_bytes();
    client.send(format!("PUT / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", 200 * MIB));
    let pattern = Pattern::new();
    for at in (0..200 * MIB).step_by(BLOCK) {
        client.send(pattern.at(at, BLOCK));
    }
    assert_eq!(client.response().expect(200).text(), "PUT");
    let growth = proxy.rss_bytes().saturating_sub(before);
    assert!(growth < 4 * MIB, "grew by {growth} bytes");
    assert!(proxy.metric("proxy_bytes_received_total", &[]) >= (200 * MIB) as f64);
}

#[test]
fn chunks_of_every_size_keep_their_bytes_both_ways() {
    let pieces = |pattern: &Pattern, send: &mut dyn FnMut(&[u8])| {
        let (mut dice, mut at) = (Dice(7), 0);
        while at < 12 * MIB {
            let n = match dice.below(4) {
                0 => 1 + dice.below(20),
                1 => 1 + dice.below(2_000),
                2 => 16_384 - 4 + dice.below(8), // about a ring
                _ => 1 + dice.below(200_000),
            };
            let chunk = [format!("{n:x}\r\n").as_bytes(), pattern.at(at, n), b"\r\n"].concat();
            send(&chunk);
            at += n;
        }
        send(b"0\r\n\r\n");
        at
    };
    let origin = Origin::each(move |conn, request| {
        let pattern = Pattern::new();
        assert!(request.body.chunks(BLOCK).enumerate().all(|(i, b)| b == pattern.at(i * BLOCK, b.len())));
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
        assert_eq!(pieces(&pattern, &mut |bytes| conn.send(bytes)), request.body.len());
    });
    let pattern = Pattern::new();
    for ring in [4096, 16_384] {
        let config = Config::to(&origin).set("limits.max_body_size", 0).set("limits.buffer_size", ring);
        let proxy = config.start();
        let mut client = proxy.client();
        client.send("PUT / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
        let total = pieces(&pattern, &mut |bytes| client.send(bytes));
        let answer = client.response().expect(200);
        assert_eq!(answer.body.len(), total);
        assert!(answer.body.chunks(BLOCK).enumerate().all(|(i, b)| b == pattern.at(i * BLOCK, b.len())));
    }
}

#[test]
fn fifty_slow_readers_cost_little_and_harm_nobody() {
    const READERS: usize = 50;
    let sent = Arc::new(AtomicUsize::new(0));
    let origin = fountain(&sent);
    let proxy = patient(&origin);
    proxy.get("/warm").expect(200);
    let before = proxy.rss_bytes();
    let mut readers: Vec<_> = (0..READERS).map(|_| Client::with_small_buffer(proxy.addr(), 4096)).collect();
    for reader in &mut readers {
        reader.send_get("/100");
    }
    wait_until("all are being served", || origin.requests().len() == READERS + 1);
    standstill(&sent);
    let growth = proxy.rss_bytes().saturating_sub(before);
    let two_rings_and_a_scratch = 2 * 16_384 + (256 << 10);
    assert!(growth < READERS * two_rings_and_a_scratch, "grew by {growth} bytes");
    for i in 0..20 {
        assert_eq!(proxy.get(&format!("/other-{i}")).expect(200).text(), format!("GET /other-{i}"));
    }
    let pattern = Pattern::new();
    for reader in &mut readers {
        assert_eq!(reader.head().unwrap().status, 200);
        take_pattern(&mut reader.wire, &pattern, 0, 256 << 10);
    }
    drop(readers);
    wait_until("all are gone", || proxy.metric("proxy_client_connections", &[]) == 0.0);
    wait_until("the origin is let go", || proxy.metric("proxy_upstream_connections", &["state=\"active\""]) == 0.0);
}
