//! TLS to upstreams that fails: the answer says why, and what can be done about it; another upstream takes the request.

use super::tls::{handshakes, to};
use crate::support::*;
use rcgen::{BasicConstraints, IsCa, date_time_ymd};
use serde_json::json;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

/// Does that with each connection.
fn listener(act: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let addr = listener.local_addr().unwrap();
    std::thread::spawn(move || listener.incoming().flatten().for_each(&act));
    addr
}

/// The refusal that a request gets, with all these words in its sentence.
#[track_caller]
fn refused_with(proxy: &Proxy, status: u16, reason: &str, words: &[&str]) {
    let answer = proxy.expect_refusal(proxy.get("/"), status, reason);
    for word in words {
        assert!(answer.text().contains(word), "{word:?} is not in {:?}", answer.text());
    }
}

#[test]
fn a_certificate_that_is_not_accepted_is_told_with_its_reason() {
    let origin = Origin::hello();
    let (issuer, stranger) = (Issuer::new("plays"), Issuer::new("stranger"));
    let file = issuer.file();
    let by = format!("verified by {file} (upstream_tls.ca_file)");
    let old = |params: &mut rcgen::CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2001, 1, 1), date_time_ymd(2002, 1, 1));
    };
    let new = |params: &mut rcgen::CertificateParams| {
        (params.not_before, params.not_after) = (date_time_ymd(2901, 1, 1), date_time_ymd(2902, 1, 1));
    };
    let of_a_ca = |params: &mut rcgen::CertificateParams| params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    let cases = [
        (issuer.issue_with(&["127.0.0.1"], old), vec!["has a certificate that expired", "days ago"]),
        (issuer.issue_with(&["127.0.0.1"], new), vec!["has a certificate that will be valid only in", "days"]),
        (stranger.issue(&["127.0.0.1"]), vec!["has a certificate from an unknown issuer"]),
        (stranger.self_signed(&["127.0.0.1"], |_| {}), vec!["has a certificate from an unknown issuer"]),
        (stranger.self_signed(&["127.0.0.1"], of_a_ca), vec!["has the certificate of a CA for its own", "ca_file may name"]),
        (issuer.issue(&["a.test", "127.0.0.2"]), vec!["has a certificate for a.test, 127.0.0.2, not for 127.0.0.1", "server_name"]),
        (issuer.issue(&[]), vec!["has a certificate without names", "not for 127.0.0.1"]),
    ];
    for (papers, mut words) in cases {
        words.push(&by);
        let relay = TlsRelay::new(&papers, origin.addr());
        let proxy = to(&relay.url("127.0.0.1"), &issuer).set("retry.max_retries", 0).start();
        refused_with(&proxy, 502, "tls_certificate_error", &words);
        assert_eq!((origin.connections(), relay.seen()), (0, vec![]));
        assert_eq!(handshakes(&proxy, &["result=\"error\""]), 1.0);
        assert_eq!(proxy.metric("proxy_upstream_errors_total", &["type=\"other\""]), 1.0);
    }
}

#[test]
fn who_has_failed_by_its_certificate_counts_as_failed_and_others_are_asked() {
    let origin = Origin::hello();
    let (issuer, stranger) = (Issuer::new("plays"), Issuer::new("stranger"));
    let good = TlsRelay::new(&issuer.issue(&["127.0.0.1"]), origin.addr());
    let bad = TlsRelay::new(&stranger.issue(&["127.0.0.1"]), origin.addr());
    let proxy = to("http://replaced", &issuer)
        .set("upstreams", json!([{"url": bad.url("127.0.0.1"), "name": "bad"}, {"url": good.url("127.0.0.1"), "name": "good"}]))
        .set("retry", json!({"budget_percent": 100, "backoff_ms": 0}))
        .set("circuit_breaker", json!({"failure_threshold": 3, "timeout_ms": 60_000}))
        .set("workers", 1)
        .start();
    for i in 0..12 {
        let text = if i % 2 == 0 { proxy.get("/x").expect(200) } else { proxy.client().post("/x", "content").expect(200) };
        assert!(text.text().ends_with("/x"));
    }
    assert_eq!(handshakes(&proxy, &["result=\"error\""]), 3.0, "then the circuit is open");
    assert_eq!(proxy.backend(0)["state"].as_str().or(proxy.backend(0)["circuit"].as_str()), Some("open"));
}

#[test]
fn an_issuer_need_not_be_known_where_nobody_asks() {
    let origin = Origin::hello();
    let stranger = Issuer::new("stranger");
    let relay = TlsRelay::new(&stranger.self_signed(&["elsewhere.test"], |_| {}), origin.addr());
    let config = Config::new().set("upstreams", json!([{"url": relay.url("127.0.0.1")}]));
    let proxy = config.set("upstream_tls", json!({"insecure_skip_verify": true})).start();
    assert_eq!(proxy.get("/").expect(200).text(), "GET /");
    let warned = proxy.said("upstream_tls.insecure_skip_verify: ");
    assert!(warned.len() == 1 && warned[0].contains(" WARN "), "{warned:?}");
}

#[test]
fn a_certificate_that_has_signed_itself_is_accepted_where_it_is_named() {
    let origin = Origin::hello();
    let issuer = Issuer::new("plays");
    for is_ca in [false, true] {
        // As `openssl req -x509` makes them.
        let change = |params: &mut rcgen::CertificateParams| {
            if is_ca {
                params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            }
        };
        let papers = issuer.self_signed(&["127.0.0.1"], change);
        let relay = TlsRelay::new(&papers, origin.addr());
        let config = to(&relay.url("127.0.0.1"), &issuer).set("upstream_tls.ca_file", papers.cert_file());
        config.start().get("/").expect(200);
        let elsewhere = to(&relay.url("localhost"), &issuer).set("upstream_tls.ca_file", papers.cert_file()).start();
        refused_with(&elsewhere, 502, "tls_certificate_error", &["has a certificate for 127.0.0.1, not for localhost"]);
    }
}

#[test]
fn an_upstream_that_speaks_plain_http_is_told_of_as_one() {
    let issuer = Issuer::new("plays");
    // It may answer before it has read all, which makes its close a reset.
    for read in [32, 8192] {
        let addr = listener(move |mut stream| {
            let _ = stream.read(&mut vec![0; read]);
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n");
        });
        let proxy = to(&format!("https://{addr}"), &issuer).set("retry.max_retries", 0).start();
        refused_with(&proxy, 502, "tls_protocol_error", &["speaks plain HTTP, not TLS", "http://"]);
        assert_eq!(handshakes(&proxy, &["result=\"error\""]), 1.0);
    }
    let addr = listener(|mut stream| {
        let _ = stream.write_all(b"SSH-2.0-OpenSSH_9.6\r\n");
        let _ = stream.read(&mut [0; 1024]);
    });
    let proxy = to(&format!("https://{addr}"), &issuer).set("retry.max_retries", 0).start();
    refused_with(&proxy, 502, "tls_protocol_error", &["does not speak TLS as it should"]);
}

#[test]
fn an_upstream_that_is_silent_in_the_handshake_is_like_one_that_swallows_connections() {
    let held = std::sync::Arc::new(std::sync::Mutex::new(Vec::new()));
    let keep = held.clone();
    let mute = listener(move |stream| keep.lock().unwrap().push(stream));
    let issuer = Issuer::new("plays");
    let proxy = to(&format!("https://{mute}"), &issuer).set("timeouts.connect_ms", 400).set("retry.max_retries", 0).start();
    let begin = std::time::Instant::now();
    refused_with(&proxy, 504, "connection_timeout", &["did not finish the TLS handshake within 400 ms (timeouts.connect_ms)"]);
    assert!(begin.elapsed() >= Duration::from_millis(390));
    assert_eq!(handshakes(&proxy, &["result=\"error\""]), 1.0);
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"connect\""]), 1.0);
    // Where there is another, it takes the request, and the silent one is asked no more than it has to be.
    let origin = Origin::hello();
    let relay = TlsRelay::new(&issuer.issue(&["127.0.0.1"]), origin.addr());
    let proxy = to("http://replaced", &issuer)
        .set("upstreams", json!([{"url": format!("https://{mute}")}, {"url": relay.url("127.0.0.1")}]))
        .set("timeouts.connect_ms", 1500)
        .set("retry", json!({"budget_percent": 100}))
        .start();
    for _ in 0..8 {
        assert_eq!(proxy.get("/").expect(200).text(), "GET /");
    }
    drop(held);
}

#[test]
fn an_upstream_that_ends_in_the_handshake_is_named_for_it() {
    let issuer = Issuer::new("plays");
    for is_reset in [false, true] {
        let addr = listener(move |mut stream| {
            let _ = stream.read(&mut [0; 4096]);
            if is_reset {
                socket2::SockRef::from(&stream).set_linger(Some(Duration::ZERO)).unwrap();
            }
        });
        let proxy = to(&format!("https://{addr}"), &issuer).set("retry.max_retries", 0).start();
        refused_with(&proxy, 502, "connection_terminated", &["closed the connection in the TLS handshake"]);
        assert_eq!(handshakes(&proxy, &["result=\"error\""]), 1.0);
        // It may happen to anybody who is restarted.
        let origin = Origin::hello();
        let relay = TlsRelay::new(&issuer.issue(&["127.0.0.1"]), origin.addr());
        let both = json!([{"url": format!("https://{addr}")}, {"url": relay.url("127.0.0.1")}]);
        let proxy = to("http://replaced", &issuer).set("upstreams", both).set("retry", json!({"budget_percent": 100})).start();
        for _ in 0..4 {
            proxy.client().post("/", "content").expect(200);
        }
    }
}

#[test]
fn who_demands_a_certificate_says_so() {
    let origin = Origin::hello();
    let (issuer, stranger) = (Issuer::new("plays"), Issuer::new("stranger"));
    for version in [&rustls::version::TLS13, &rustls::version::TLS12] {
        let settings = ServerSettings::new(&issuer.issue(&["127.0.0.1"])).only(version).asking_for(&issuer);
        let relay = TlsRelay::with(settings, origin.addr());
        let config = || to(&relay.url("127.0.0.1"), &issuer);
        let shown = issuer.issue(&["proxy.test"]);
        let with = |papers: &Papers| {
            config().set("upstream_tls.client_cert", papers.cert_file()).set("upstream_tls.client_key", papers.key_file())
        };
        let proxy = with(&shown).start();
        assert_eq!(proxy.get("/").expect(200).text(), "GET /");
        assert!(relay.seen()[0].has_certificate);

        let proxy = config().start();
        refused_with(
            &proxy,
            502,
            "tls_protocol_error",
            &["demands a client certificate", "upstream_tls.client_cert", "CertificateRequired"],
        );
        refused_with(&proxy, 502, "tls_protocol_error", &["demands a client certificate"]);

        let strange = stranger.issue(&["proxy.test"]);
        let proxy = with(&strange).start();
        refused_with(&proxy, 502, "tls_protocol_error", &["does not accept", &strange.cert_file(), "upstream_tls.client_cert"]);
        assert_eq!(relay.seen().len(), 1, "nobody else came in: {:?}", relay.seen());
    }
}
