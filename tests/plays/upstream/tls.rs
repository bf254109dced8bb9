//! TLS to upstreams: what a connection can carry, how long it is kept, and how it ends.

use crate::support::patient::{checks, often, wait_for};
use crate::support::*;
use serde_json::json;
use std::net::{TcpListener, TcpStream};
use std::time::Duration;
use tungstenite::Message;

/// One upstream at that URL, verified by this issuer.
pub fn to(url: &str, issuer: &Issuer) -> Config {
    Config::new().set("upstreams", json!([{"url": url}])).set("upstream_tls", json!({"ca_file": issuer.file()}))
}

/// An origin behind TLS, at 127.0.0.1.
fn behind(origin: &Origin) -> (Issuer, TlsRelay) {
    let issuer = Issuer::new("plays");
    let relay = TlsRelay::new(&issuer.issue(&["localhost", "127.0.0.1"]), origin.addr());
    (issuer, relay)
}

pub fn handshakes(proxy: &Proxy, labels: &[&str]) -> f64 {
    proxy.metric("proxy_tls_handshakes_total", &[&["side=\"upstream\""], labels].concat())
}

#[test]
fn requests_share_connections_on_which_tickets_may_come() {
    let origin = Origin::hello();
    let (issuer, relay) = behind(&origin);
    let proxy = to(&relay.url("127.0.0.1"), &issuer).set("workers", 1).start();
    let mut client = proxy.client();
    for i in 0..20 {
        assert_eq!(client.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"));
        if i == 0 {
            // TLS 1.3 sends its tickets after the handshake, often when nobody is asking for anything.
            take_time(Duration::from_millis(50));
        }
    }
    assert_eq!((origin.connections(), relay.seen().len()), (1, 1), "{:?}", relay.seen());
    assert_eq!(relay.seen()[0].alpn.as_deref(), Some("http/1.1"));
    assert_eq!(handshakes(&proxy, &["result=\"ok\"", "version=\"1.3\"", "resumed=\"false\""]), 1.0);
    let head = String::from_utf8(origin.heads()[0].raw_head.clone()).unwrap();
    assert!(head.contains("X-Forwarded-Proto: http\r\n"), "the client came without TLS: {head}");
}

#[test]
fn what_the_protocol_says_on_an_idle_connection_does_not_end_it() {
    let origin = Origin::hello();
    let issuer = Issuer::new("plays");
    let papers = issuer.issue(&["127.0.0.1"]);
    let relay = TlsRelay::with(ServerSettings::new(&papers).only(&rustls::version::TLS13).restless(), origin.addr());
    let proxy = to(&relay.url("127.0.0.1"), &issuer).set("workers", 1).start();
    let mut client = proxy.client();
    for i in 0..8 {
        assert_eq!(client.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"));
        take_time(Duration::from_millis(20));
    }
    assert_eq!((origin.connections(), relay.seen().len()), (1, 1), "{:?}", relay.seen());
}

#[test]
fn sessions_go_on_with_all_workers_and_across_a_reload() {
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let origin = Origin::hello();
        let issuer = Issuer::new("plays");
        let papers = issuer.issue(&["127.0.0.1"]);
        let relay = TlsRelay::with(ServerSettings::new(&papers).only(version), origin.addr());
        let config = || to(&relay.url("127.0.0.1"), &issuer).set("timeouts.upstream_keepalive_ms", 0).set("workers", 2);
        let proxy = config().start();
        for _ in 0..6 {
            proxy.get("/").expect(200);
            wait_until("it is closed", || origin.open() == 0);
        }
        // Another upstream: the pool is another one, its TLS is not.
        let more = json!([{"url": relay.url("127.0.0.1")}, {"host": "127.0.0.1", "port": nobody().port(), "weight": 0}]);
        proxy.reload(&config().set("upstreams", more));
        proxy.get("/").expect(200);
        let seen: Vec<bool> = relay.seen().iter().map(|seen| seen.is_resumed).collect();
        assert_eq!(seen, [false, true, true, true, true, true, true], "{version:?}");
        let shown = if version.version == rustls::ProtocolVersion::TLSv1_3 { "version=\"1.3\"" } else { "version=\"1.2\"" };
        assert_eq!(handshakes(&proxy, &["result=\"ok\"", shown, "resumed=\"true\""]), 6.0);
        assert_eq!(handshakes(&proxy, &["result=\"ok\"", shown, "resumed=\"false\""]), 1.0);
    }
}

/// Some megabytes in which every loss shows.
fn large() -> Vec<u8> {
    let pattern = Pattern::new();
    (0..12_345_678).step_by(12_345).flat_map(|at| pattern.at(at, 12_345).to_vec()).collect()
}

#[test]
fn large_bodies_pass_in_both_directions() {
    let origin = Origin::each(|conn, request| match request.method.as_str() {
        "GET" => conn.answer(large()),
        _ => conn.answer(request.body),
    });
    let (issuer, relay) = behind(&origin);
    let proxy = to(&relay.url("127.0.0.1"), &issuer).set("limits.max_body_size", 0).start();
    let down = large();
    let mut client = proxy.client();
    assert!(client.get("/").expect(200).body == down, "the download is another");
    let mut writer = client.writer();
    let up = down.clone();
    let sending = std::thread::spawn(move || {
        writer.write(format!("POST / HTTP/1.1\r\nHost: play.test\r\nContent-Length: {}\r\n\r\n", up.len()).as_bytes()).unwrap();
        writer.write(&up).unwrap();
    });
    let answer = client.response_to("POST").expect(200);
    sending.join().unwrap();
    assert!(answer.body == down, "what was sent comes back another");
    // The same in chunks, which are looked at.
    let mut writer = client.writer();
    let up = down.clone();
    let sending = std::thread::spawn(move || {
        writer.write(b"POST / HTTP/1.1\r\nHost: play.test\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap();
        for piece in up.chunks(50_000) {
            writer.write(format!("{:x}\r\n", piece.len()).as_bytes()).unwrap();
            writer.write(&[piece, b"\r\n"].concat()).unwrap();
        }
        writer.write(b"0\r\n\r\n").unwrap();
    });
    let answer = client.response_to("POST").expect(200);
    sending.join().unwrap();
    assert!(answer.body == down, "what was sent in chunks comes back another");
}

#[test]
fn only_a_close_that_was_said_ends_an_answer_without_a_length() {
    let origin = Origin::each(|conn, request| {
        match request.target.as_str() {
            "/counted" => conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 5\r\n\r\nwhole"),
            _ => conn.send("HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nas far as it goes"),
        }
        conn.close();
    });
    let issuer = Issuer::new("plays");
    let papers = issuer.issue(&["127.0.0.1"]);
    let polite = TlsRelay::new(&papers, origin.addr());
    let rude = TlsRelay::with(ServerSettings::new(&papers).without_close_notify(), origin.addr());
    let proxy = to(&polite.url("127.0.0.1"), &issuer).start();
    assert_eq!(proxy.get("/").expect(200).text(), "as far as it goes");
    assert_eq!(proxy.get("/counted").expect(200).text(), "whole");
    let proxy = to(&rude.url("127.0.0.1"), &issuer).start();
    assert_eq!(proxy.get("/counted").expect(200).text(), "whole");
    let cut = proxy.get("/");
    assert!(cut.cut.is_some(), "anybody may have ended it: {cut:?}");
    assert!(proxy.log_of(cut.trace_id()).contains(" error=http_response_incomplete "));
}

#[test]
fn an_upstream_that_closes_an_idle_connection_is_not_asked_on_it_again() {
    let origin = Origin::start(|conn| {
        if let Some(request) = conn.read_request() {
            conn.answer(request.what());
        }
    });
    let (issuer, relay) = behind(&origin);
    let proxy = to(&relay.url("127.0.0.1"), &issuer).start();
    let mut client = proxy.client();
    for i in 0..10 {
        assert_eq!(client.get(&format!("/{i}")).expect(200).text(), format!("GET /{i}"));
    }
    assert_eq!(origin.connections(), 10);
    wait_until("all are closed", || origin.open() == 0);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0);
}

#[test]
fn names_and_addresses_are_asked_for_and_a_server_name_instead() {
    let origin = Origin::hello();
    let issuer = Issuer::new("plays");
    let relay = TlsRelay::new(&issuer.issue(&["localhost", "127.0.0.1", "inner.test"]), origin.addr());
    let asked = |config: Config| {
        config.start().get("/").expect(200);
        relay.seen().last().unwrap().sni.clone()
    };
    assert_eq!(asked(to(&relay.url("localhost"), &issuer)).as_deref(), Some("localhost"));
    assert_eq!(asked(to(&relay.url("127.0.0.1"), &issuer)), None, "addresses are no server names (RFC 6066, section 3)");
    let renamed = to(&relay.url("127.0.0.1"), &issuer).set("upstream_tls.server_name", "inner.test");
    assert_eq!(asked(renamed).as_deref(), Some("inner.test"));
    // A pool's own settings, key by key over the global ones.
    let pool = json!({"upstreams": [{"url": relay.url("127.0.0.1")}], "upstream_tls": {"server_name": "inner.test"}});
    let of_pool = Config::new()
        .set("upstream_tls", json!({"ca_file": issuer.file(), "server_name": "other.test"}))
        .set("pools", json!({"inner": pool}))
        .set("routes", json!([{"proxy": "inner"}]));
    assert_eq!(asked(of_pool).as_deref(), Some("inner.test"));
}

#[test]
fn only_the_versions_that_both_speak_matter() {
    let origin = Origin::hello();
    let issuer = Issuer::new("plays");
    let papers = issuer.issue(&["127.0.0.1"]);
    let relay = TlsRelay::with(ServerSettings::new(&papers).only(&rustls::version::TLS12), origin.addr());
    let proxy = to(&relay.url("127.0.0.1"), &issuer).start();
    let mut client = proxy.client();
    client.get("/a").expect(200);
    client.get("/b").expect(200);
    assert_eq!(origin.connections(), 1);
    assert_eq!(handshakes(&proxy, &["result=\"ok\"", "version=\"1.2\""]), 1.0);
}

#[test]
fn checks_speak_it_and_say_what_is_wrong_with_it() {
    let origin = Origin::hello();
    let (issuer, relay) = behind(&origin);
    let stranger = Issuer::new("stranger");
    let odd = TlsRelay::new(&stranger.issue(&["127.0.0.1"]), origin.addr());
    let upstreams = json!([{"url": relay.url("127.0.0.1")}, {"url": odd.url("127.0.0.1")}]);
    let proxy = to(&relay.url("127.0.0.1"), &issuer)
        .set("upstreams", upstreams)
        .set("health_check", often())
        .set("health_check.host", "checked.test")
        .start();
    wait_for(&proxy, 0, "passing");
    wait_for(&proxy, 1, "failing");
    assert!(checks(&origin) > 0 && origin.heads()[0].fields.get("Host") == Some("checked.test"));
    let error = proxy.backend(1)["last_error"].to_string();
    assert!(error.contains("unknown issuer") && error.contains(&issuer.file()), "{error}");
    for _ in 0..10 {
        assert_eq!(proxy.get("/x").expect(200).text(), "GET /x");
    }
}

#[test]
fn a_websocket_goes_through() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
        while let Ok(message) = socket.read() {
            if (message.is_text() || message.is_binary()) && socket.send(message).is_err() {
                break;
            }
        }
    });
    let issuer = Issuer::new("plays");
    let relay = TlsRelay::new(&issuer.issue(&["127.0.0.1"]), addr);
    let proxy = to(&relay.url("127.0.0.1"), &issuer).start();
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut socket, answer) = tungstenite::client(format!("ws://{}/ws", proxy.addr()), stream).unwrap();
    assert_eq!(answer.status(), 101);
    let large = Message::binary((0..2 << 20).map(|i| (i % 251) as u8).collect::<Vec<u8>>());
    for message in [Message::text("hello"), large, Message::text("bye")] {
        socket.send(message.clone()).unwrap();
        assert!(socket.read().unwrap() == message);
    }
    socket.close(None).unwrap();
    while socket.read().is_ok() {}
    drop(socket);
    wait_until("the tunnel is gone", || proxy.metric("proxy_upstream_connections", &["state=\"tunnel\""]) == 0.0);
}
