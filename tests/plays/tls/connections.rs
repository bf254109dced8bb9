//! What goes over TLS once it stands: content both ways, ends, and those who are slow.

use super::handshakes::{config, start};
use crate::support::tls::{Authority, Session};
use crate::support::*;
use rustls::version::{TLS12, TLS13};
use serde_json::json;
use std::io::{Read, Write};
use std::time::Duration;

/// A proxy in front of an origin, and whom to trust.
fn before(origin: &Origin, change: impl FnOnce(Config) -> Config) -> (Proxy, Authority) {
    let authority = Authority::new("play");
    let (config, files) = config(&[("a", &authority.issue(&["a.test"]))], json!({}));
    let upstreams = json!([{"host": "127.0.0.1", "port": origin.port()}]);
    let config = config.set("routes", json!([])).set("upstreams", upstreams);
    (start((change(config), files)), authority)
}

fn pattern(n: usize) -> Vec<u8> {
    (0..n).map(|i| (i * 7 + (i >> 8) * 13) as u8).collect()
}

#[test]
fn content_passes_whole_in_both_directions() {
    let origin = Origin::each(|conn, request| conn.answer(&request.body));
    let (proxy, authority) = before(&origin, |config| config);
    for version in [&TLS12, &TLS13] {
        let mut client = authority.client_of(version).connect(proxy.addr(), "a.test");
        for n in [0, 1, 1400, 4095, 16_384, 16_385, 100_000, 3 << 20] {
            let content = pattern(n);
            client.send(format!("POST /{n} HTTP/1.1\r\nHost: a.test\r\nContent-Length: {n}\r\n\r\n"));
            client.send(&content);
            assert!(client.response().expect(200).body == content, "{n}");
        }
        // Chunks of all sizes, and many requests at once.
        let chunks: String = (1..300).map(|n| format!("{n:x}\r\n{}\r\n", "x".repeat(n))).collect();
        client.send(format!("POST / HTTP/1.1\r\nHost: a.test\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}0\r\n\r\n"));
        assert_eq!(client.response().expect(200).body.len(), 299 * 150);
        client.send("GET / HTTP/1.1\r\nHost: a.test\r\n\r\n".repeat(50));
        (0..50).for_each(|_| drop(client.response().expect(200)));
    }
}

#[test]
fn what_is_behind_learns_that_the_client_uses_tls() {
    let origin = Origin::hello();
    let sticky = json!({"cookie": "at"});
    let (proxy, authority) = before(&origin, |config| config.set("sticky", sticky));
    let answer = authority.client().connect(proxy.addr(), "a.test").get("/").expect(200);
    assert_eq!(origin.request().fields.get("X-Forwarded-Proto"), Some("https"));
    assert!(answer.fields.get("Set-Cookie").unwrap().contains("; Secure"), "{:?}", answer.fields);
}

/// The close is said, so that the client knows that nothing is missing.
#[test]
fn an_answer_that_ends_with_the_connection_is_whole_only_with_a_close() {
    let whole = Origin::start(|conn| {
        conn.read_request();
        conn.send("HTTP/1.0 200 OK\r\n\r\nall of it");
        conn.close();
    });
    let cut = Origin::start(|conn| {
        conn.read_request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\na part");
        conn.reset();
    });
    for (origin, end) in [(whole, None), (cut, Some(()))] {
        let (proxy, authority) = before(&origin, |config| config);
        let mut client = authority.client().connect(proxy.addr(), "a.test");
        client.send("GET / HTTP/1.0\r\n\r\n");
        let answer = client.response();
        assert_eq!((answer.status, answer.cut.map(|_| ())), (200, end), "{answer:?}");
        // The relay resets the play's client where no close was said.
        assert_eq!(answer.body, if end.is_some() { &b"a part"[..] } else { b"all of it" });
    }
}

/// Whoever cuts a connection off must not make less than the whole request look like all of it.
#[test]
fn content_that_is_cut_off_is_never_taken_for_complete() {
    let origin = Origin::start(|conn| {
        let request = conn.read_head().unwrap();
        assert!(conn.read_body(request).is_none(), "it looks complete");
    });
    let (proxy, authority) = before(&origin, |config| config);
    let heads = ["Content-Length: 10\r\n\r\n12345", "Transfer-Encoding: chunked\r\n\r\n5\r\n12345\r\n"];
    for (n, head) in heads.into_iter().enumerate() {
        let mut session = authority.client().handshake(proxy.addr(), "a.test").unwrap();
        let mut stream = rustls::Stream::new(&mut session.tls, &mut session.stream);
        stream.write_all(format!("POST / HTTP/1.1\r\nHost: a.test\r\n{head}").as_bytes()).unwrap();
        wait_until("it is at the origin", || origin.heads().len() == n + 1);
        session.stream.shutdown(std::net::Shutdown::Write).unwrap();
        wait_until("it is over", || proxy.metric("proxy_client_connections", &[]) == 0.0);
    }
    wait_until("both are logged", || proxy.log_lines().len() == 2);
    assert!(proxy.log_lines().iter().all(|line| line.contains("\" 499 ")), "{:?}", proxy.log_lines());
}

/// A client that has sent all says so, and reads on.
#[test]
fn a_close_of_one_direction_leaves_the_other() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let (proxy, authority) = before(&origin, |config| config);
    let mut client = authority.client().connect(proxy.addr(), "a.test");
    client.send_get("/");
    wait_until("it is at the origin", || origin.heads().len() == 1);
    client.half_close();
    gate.release(1);
    client.response().expect(200);
    client.expect_end();
}

/// What the client says at the end of its stream counts as much as a FIN.
#[test]
fn who_says_that_nothing_follows_and_waits_long_counts_as_gone() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let (proxy, authority) = before(&origin, |config| config.set("timeouts.client_half_close_ms", 100));
    let mut client = authority.client().connect(proxy.addr(), "a.test");
    client.send_get("/");
    wait_until("it is at the origin", || origin.heads().len() == 1);
    client.half_close();
    wait_until("the upstream is let go", || proxy.log_lines().iter().any(|line| line.contains("\" 499 ")));
    gate.release(1);
}

/// Asks for that many bytes with little room for them, and reads nothing yet.
fn ask_for(proxy: &Proxy, authority: &Authority, bytes: usize) -> Session {
    let stream = Client::with_small_buffer(proxy.addr(), 20_000).wire.stream;
    let mut session = authority.client().handshake_over(stream, "a.test").unwrap();
    let mut stream = rustls::Stream::new(&mut session.tls, &mut session.stream);
    stream.write_all(format!("GET /{bytes} HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n").as_bytes()).unwrap();
    session
}

/// The last bytes of an answer lie encrypted in the proxy when the exchange is over. They belong to the client all the same.
#[test]
fn a_reader_that_pauses_before_the_end_gets_all_of_an_answer() {
    let origin = Origin::each(|conn, request| conn.answer(vec![b'x'; request.target[1..].parse().unwrap()]));
    let (proxy, authority) = before(&origin, |config| config);
    // How many bytes the proxy takes for a client that reads nothing: the last of them lie in it, encrypted.
    let held_up = ask_for(&proxy, &authority, 64 << 20);
    let last = proxy.wait_for_standstill();
    drop(held_up);
    let sizes: Vec<usize> = (1..8).map(|n| last - n * 10_000).collect();
    let sessions: Vec<Session> = sizes.iter().map(|&bytes| ask_for(&proxy, &authority, bytes)).collect();
    // Longer than what is left to say may take where nothing waits for the client.
    take_time(Duration::from_millis(5500));
    for (bytes, mut session) in sizes.into_iter().zip(sessions) {
        let mut answer = Vec::new();
        let end = rustls::Stream::new(&mut session.tls, &mut session.stream).read_to_end(&mut answer);
        assert!(end.is_ok() && answer.len() > bytes, "{} of {bytes}, {end:?}", answer.len());
    }
}

#[test]
fn a_client_that_reads_nothing_holds_little() {
    let origin = Origin::each(|conn, _| conn.answer(vec![b'x'; 64 << 20]));
    let (proxy, authority) = before(&origin, |config| config);
    let before = proxy.rss_bytes();
    let mut session = authority.client().handshake(proxy.addr(), "a.test").unwrap();
    let mut stream = rustls::Stream::new(&mut session.tls, &mut session.stream);
    stream.write_all(b"GET / HTTP/1.1\r\nHost: a.test\r\n\r\n").unwrap();
    proxy.wait_for_standstill();
    let grown = proxy.rss_bytes().saturating_sub(before);
    assert!(grown < 4 << 20, "{grown} bytes for one slow reader");
}
