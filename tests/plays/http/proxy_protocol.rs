//! `proxy_protocol`: a proxy in front tells for whom it speaks, before the first request; whoever comes without that is shut out.

use crate::support::*;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

const V1: &[u8] = b"PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n";
const V1_IPV6: &[u8] = b"PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n";
const V4: &[u8] = &[192, 0, 2, 7, 198, 51, 100, 2, 0xdc, 0x04, 0x01, 0xbb];
const GET: &[u8] = b"GET /a HTTP/1.1\r\nHost: play.test\r\nConnection: close\r\n\r\n";
/// The beginning of a ClientHello.
const TLS: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03";

fn v2(command: u8, kind: u8, rest: &[u8]) -> Vec<u8> {
    [&b"\r\n\r\n\0\r\nQUIT\n"[..], &[command, kind], &(rest.len() as u16).to_be_bytes(), rest].concat()
}

fn v2_ipv6() -> Vec<u8> {
    let [source, destination] = ["2001:db8::7", "2001:db8::1"].map(|ip| ip.parse::<std::net::Ipv6Addr>().unwrap().octets());
    v2(0x21, 0x21, &[&source[..], &destination, &[0xdc, 0x04, 0x01, 0xbb]].concat())
}

fn listening() -> Value {
    json!([{"address": "127.0.0.1:0", "proxy_protocol": true}])
}

fn expecting(origin: &Origin) -> Config {
    Config::to(origin).set("listen", listening()).set("logging.level", "debug")
}

fn said_of_refusals(proxy: &Proxy) -> Vec<String> {
    proxy.said("is closed: ")
}

/// The address counts for the log, the upstream, and everything that depends on the client.
#[test]
fn the_client_is_whom_the_header_names() {
    let origin = Origin::hello();
    let proxy = expecting(&origin).start();
    for (header, client, forwarded) in [
        (V1.to_vec(), "192.0.2.7:56324", "192.0.2.7"),
        (V1_IPV6.to_vec(), "[2001:db8::7]:56324", "2001:db8::7"),
        (v2(0x21, 0x11, V4), "192.0.2.7:56324", "192.0.2.7"),
        (v2(0x21, 0x12, V4), "192.0.2.7:56324", "192.0.2.7"),
        (v2_ipv6(), "[2001:db8::7]:56324", "2001:db8::7"),
        (b"PROXY TCP6 ::ffff:192.0.2.7 ::1 56324 443\r\n".to_vec(), "192.0.2.7:56324", "192.0.2.7"),
        // A protocol that was agreed on, a server's name, and a connection's number of a cloud.
        (v2(0x21, 0x11, &[V4, b"\x01\0\x02h2", b"\x02\0\x01a", b"\xea\0\x05\x01vpce"].concat()), "192.0.2.7:56324", "192.0.2.7"),
        (v2(0x21, 0x11, &[V4, &[4, 0x0f, 0xf1], &[0; 4081]].concat()), "192.0.2.7:56324", "192.0.2.7"),
    ] {
        let before = origin.requests().len();
        let answer = ask(proxy.addr(), [&header, GET].concat()).expect(200);
        let line = proxy.log_of(answer.trace_id());
        assert!(line.contains(&format!("Z {client} \"GET /a ")), "{header:?}: {line}");
        assert_eq!(origin.requests()[before].fields.get("X-Forwarded-For"), Some(forwarded), "{header:?}");
    }
    assert_eq!(said_of_refusals(&proxy), Vec::<String>::new());
}

/// Health checks of the proxy in front, and clients that it cannot name.
#[test]
fn where_the_header_names_nobody_the_connection_speaks_for_itself() {
    let origin = Origin::hello();
    let proxy = expecting(&origin).start();
    for header in [
        b"PROXY UNKNOWN\r\n".to_vec(),
        b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        v2(0x20, 0x00, b""),
        v2(0x20, 0x11, V4),
        v2(0x21, 0x00, b""),
    ] {
        let mut client = proxy.client();
        client.send([&header, GET].concat());
        let answer = client.response().expect(200);
        assert!(proxy.log_of(answer.trace_id()).contains(&format!(" {} \"GET /a ", client.addr())), "{header:?}");
    }
    assert!(origin.requests().iter().all(|request| request.fields.get("X-Forwarded-For") == Some("127.0.0.1")));
}

#[test]
fn a_client_of_a_unix_socket_has_no_address() {
    let origin = Origin::hello();
    let proxy = expecting(&origin).start();
    let answer = ask(proxy.addr(), [&v2(0x21, 0x31, &[b'/'; 216]), GET].concat()).expect(200);
    assert!(proxy.log_of(answer.trace_id()).contains("Z unix \"GET /a "));
    assert_eq!(origin.request().fields.get("X-Forwarded-For"), None);
}

#[test]
fn it_may_come_in_pieces_and_through_a_unix_socket() {
    let origin = Origin::hello();
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.sock");
    let listen = json!(["127.0.0.1:0", {"address": format!("unix:{}", path.display()), "proxy_protocol": true},
        {"address": "127.0.0.1:0", "proxy_protocol": true}]);
    let proxy = expecting(&origin).set("listen", listen).start();
    let expected = proxy.listens()[1];
    for header in [V1.to_vec(), v2(0x21, 0x11, &[V4, b"\x04\0\x03abc"].concat())] {
        for mut client in [Client::connect(expected), Client::connect_unix(&path)] {
            client.wire.stream.set_nodelay(true).ok();
            for (n, byte) in header.iter().enumerate() {
                // The kernel would join what is sent at once.
                assert!(n % 8 > 0 || client.is_quiet_for(Duration::from_millis(2)));
                client.send([*byte]);
            }
            client.send(b"GET /one HTTP/1.1\r\nHost: a\r\n\r\n");
            client.response().expect(200);
            let answer = client.get("/two").expect(200);
            assert!(proxy.log_of(answer.trace_id()).contains("Z 192.0.2.7:56324 \"GET /two "));
        }
        let mut client = Client::connect_unix(&path);
        client.send([&header, GET].concat());
        let answer = client.response().expect(200);
        assert!(proxy.log_of(answer.trace_id()).contains("Z 192.0.2.7:56324 "));
    }
    get(proxy.addr(), "/the-other-address-expects-none").expect(200);
}

/// As HAProxy does: without an answer, since nobody knows what the other side would make of it.
#[test]
fn whoever_comes_without_a_header_is_shut_out() {
    let origin = Origin::hello();
    let proxy = expecting(&origin).start();
    let mut long = b"PROXY UNKNOWN ".to_vec();
    long.extend([b'x'; 100]);
    let strangers: &[(&[u8], &str)] = &[
        (GET, "no PROXY protocol header came first, but \"GET /a HTTP/1.1\\r\\nHost: p\""),
        (TLS, "no PROXY protocol header came first, but TLS, \"\\x16\\x03\\x01"),
        (b"PROXY / HTTP/1.1\r\nHost: a\r\n\r\n", "names none of TCP4, TCP6 and UNKNOWN"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.2 056324 443\r\n", "no port"),
        (b"PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\n", "CR LF"),
        (&long, "longer than 107 bytes"),
        (&v2(0x31, 0x11, V4), "version"),
        (&v2(0x22, 0x11, V4), "command"),
        (&v2(0x21, 0x11, &[V4, b"\x03\0\x04abcd"].concat()), "checksum"),
        (b"\r\n\r\n\0\r\nQUIT\n\x21\x11\xff\xff", "longer than 4096 bytes"),
    ];
    for (number, (bytes, why)) in strangers.iter().enumerate() {
        let mut client = proxy.client();
        client.send(bytes);
        client.expect_end();
        wait_until("the log says why", || said_of_refusals(&proxy).len() == number + 1);
        let said = said_of_refusals(&proxy).remove(number);
        assert!(said.contains(" DEBUG ") && said.contains(why) && said.contains(&client.addr().to_string()), "{said}");
    }
    let mut cut = proxy.client();
    cut.send(&V1[..20]);
    cut.half_close();
    cut.expect_end();
    wait_until("the log says why", || said_of_refusals(&proxy).iter().any(|line| line.contains("ended within")));
    assert_eq!(proxy.metric("proxy_errors_total", &["reason=\"http_request_error\""]), strangers.len() as f64 + 1.0);
    assert_eq!((proxy.metric("proxy_requests_total", &[]), proxy.log_lines().len(), origin.connections()), (0.0, 0, 0));
    wait_until("none is left open", || proxy.metric("proxy_client_connections", &[]) == 0.0);
    ask(proxy.addr(), [V1, GET].concat()).expect(200);
}

/// Load balancers connect from time to time, and say nothing, to see whether a port is open.
#[test]
fn who_connects_and_leaves_without_a_word_is_no_fault() {
    let origin = Origin::hello();
    let proxy = expecting(&origin).start();
    for _ in 0..5 {
        drop(proxy.client());
        proxy.client().reset();
        proxy.client().half_close();
    }
    wait_until("all are gone", || proxy.metric("proxy_client_connections", &[]) == 0.0);
    ask(proxy.addr(), [V1, GET].concat()).expect(200);
    assert_eq!((proxy.metric("proxy_errors_total", &[]), proxy.log_lines().len()), (0.0, 1));
    let worse = |line: &String| line.contains(" WARN ") || line.contains(" ERROR ") || line.contains("is closed");
    assert_eq!(proxy.diagnostics().into_iter().filter(worse).collect::<Vec<_>>(), Vec::<String>::new());
}

/// The time for the first head begins when the connection is accepted, and the header is a part of it.
#[test]
fn a_header_that_does_not_come_in_time_ends_the_connection() {
    let origin = Origin::hello();
    let proxy = expecting(&origin).set("timeouts.client_header_ms", 400).start();
    let [mut silent, mut slow, mut late] = [proxy.client(), proxy.client(), proxy.client()];
    slow.send(&V1[..20]);
    silent.expect_end();
    slow.expect_end();
    wait_until("the log says so", || proxy.said("no PROXY protocol header came in time").len() >= 2);
    late.expect_end();
    // Of this one's request something has come.
    let mut half = proxy.client();
    half.send([V1, b"GET / HTTP/1.1\r\nHost:"].concat());
    proxy.expect_refusal(half.response(), 408, "http_request_timeout");
    wait_until("all are gone", || proxy.metric("proxy_client_connections", &[]) == 0.0);
}

#[test]
fn limits_and_trust_go_by_the_address_that_was_told() {
    let origin = Origin::hello();
    let from = |ip: &str| format!("PROXY TCP4 {ip} 198.51.100.2 1000 443\r\n");
    let proxy = expecting(&origin)
        .set("limits.max_conns_per_client", 2)
        .set("headers.trusted_proxies", json!(["192.0.2.9/32"]))
        .set("rate_limit.per_client", json!({"requests_per_second": 1, "burst": 2}))
        .start();
    let open = |ip: &str| {
        let mut client = proxy.client();
        client.send(from(ip));
        client
    };
    let mut first: Vec<Client> = (0..2).map(|_| open("192.0.2.1")).collect();
    first.iter_mut().for_each(|client| drop(client.get("/").expect(200)));
    let mut over = open("192.0.2.1");
    proxy.expect_refusal(over.response(), 429, "client_connection_limit");
    over.expect_end();
    // Others are not concerned; and this one has spent what it may ask for.
    let mut other = open("192.0.2.2");
    other.get("/").expect(200);
    proxy.expect_refusal(first[0].get("/"), 429, "rate_limited");
    drop(first);
    let mut again = open("192.0.2.3");
    again.get("/").expect(200);

    let forwarded = "GET /trust HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.5\r\n\r\n";
    for (ip, seen) in [("192.0.2.9", "203.0.113.5, 192.0.2.9"), ("192.0.2.10", "192.0.2.10")] {
        let mut client = open(ip);
        client.send(forwarded);
        client.response().expect(200);
        let requests = origin.requests();
        assert_eq!(requests.last().unwrap().fields.get("X-Forwarded-For"), Some(seen));
    }
}

/// Connections that are open go on as they began.
#[test]
fn a_reload_changes_what_new_connections_begin_with() {
    let origin = Origin::hello();
    let port = free_port();
    let address = format!("127.0.0.1:{port}");
    let config = |expects: bool| Config::to(&origin).set("listen", json!([{"address": address, "proxy_protocol": expects}]));
    let proxy = config(false).start();
    let mut before = proxy.client();
    before.get("/").expect(200);
    let with = |header: &[u8]| {
        let mut client = proxy.client();
        client.send([header, GET].concat());
        client.try_response_to("GET").map(|answer| answer.status).ok()
    };
    proxy.reload(&config(true));
    wait_until("it is expected", || with(V1) == Some(200));
    assert_eq!(with(b""), None);
    before.get("/who-is-in-stays-in").expect(200);
    proxy.reload(&config(false));
    wait_until("it is not expected", || with(b"") == Some(200));
    assert_eq!(with(V1), Some(400));
}

#[test]
fn curl_can_speak_for_itself() {
    let origin = Origin::hello();
    let proxy = expecting(&origin).start();
    let url = format!("http://{}/curl", proxy.addr());
    let curl = |args: &[&str]| Command::new("curl").args(["--silent", "--max-time", "20"]).args(args).arg(&url).output().expect("curl");
    assert_eq!(String::from_utf8_lossy(&curl(&["--haproxy-protocol"]).stdout), "GET /curl");
    // The proxy that curl speaks for is curl.
    let line = proxy.log_with("GET /curl ");
    let client: SocketAddr = line.split(' ').nth(1).unwrap().parse().unwrap();
    assert!(client.ip().is_loopback() && client.port() > 0, "{line}");
    assert!(!curl(&[]).status.success());
    assert_eq!(origin.requests().len(), 1);
}

#[test]
fn a_drain_ends_connections_that_wait_for_a_header_and_serves_those_that_send_one() {
    let origin = Origin::hello();
    let mut proxy = expecting(&origin).start();
    let [mut silent, mut asking] = [proxy.client(), proxy.client()];
    wait_until("both are accepted", || proxy.metric("proxy_client_connections", &[]) == 2.0);
    proxy.signal("TERM");
    asking.send([V1, GET].concat());
    asking.response().expect(200);
    silent.expect_end();
    assert_eq!(proxy.wait_exit(), 0);
}

/// The header is for whoever has the connection, and TLS begins after it.
#[test]
fn it_comes_before_tls() {
    let origin = Origin::hello();
    let dir = tempfile::tempdir().unwrap();
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| dir.path().join(name));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let listen = json!([{"address": "127.0.0.1:0", "proxy_protocol": true, "tls": {"certificates": [{"cert": cert, "key": key}]}}]);
    let proxy = expecting(&origin).set("listen", listen).start();

    let mut roots = rustls::RootCertStore::empty();
    roots.add(made.cert.der().clone()).unwrap();
    let config = Arc::new(rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth());
    for header in [V1.to_vec(), v2(0x21, 0x11, V4)] {
        let mut tls = rustls::ClientConnection::new(config.clone(), "localhost".try_into().unwrap()).unwrap();
        let mut socket = TcpStream::connect(proxy.addr()).unwrap();
        socket.set_read_timeout(Some(PATIENCE)).unwrap();
        // The header and the beginning of the handshake come at once.
        let mut hello = header.clone();
        tls.write_tls(&mut hello).unwrap();
        socket.write_all(&hello).unwrap();
        let mut stream = rustls::Stream::new(&mut tls, &mut socket);
        stream.write_all(GET).unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).unwrap();
        assert!(answer.starts_with("HTTP/1.1 200 ") && answer.ends_with("GET /a"), "{answer}");
    }
    wait_until("both are logged", || proxy.log_lines().len() == 2);
    assert!(proxy.log_lines().iter().all(|line| line.contains("Z 192.0.2.7:56324 \"GET /a ")), "{:?}", proxy.log_lines());
    assert!(origin.requests().iter().all(|request| request.fields.get("X-Forwarded-Proto") == Some("https")));

    for stranger in [TLS, GET] {
        let mut client = proxy.client();
        client.send(stranger);
        client.expect_end();
    }
    wait_until("the log says why", || said_of_refusals(&proxy).len() == 2);
}
