//! Handshakes of clients: versions, names, sessions, and what is no handshake.

use crate::support::tls::{Authority, Issued, TlsClient, wait_for_handshakes};
use crate::support::*;
use rcgen::{KeyPair, PKCS_RSA_SHA256};
use rustls::version::{TLS12, TLS13};
use serde_json::{Value, json};

fn pair(name: &str) -> Value {
    json!({"cert": format!("{name}.pem"), "key": format!("{name}.key")})
}

/// A proxy with one TLS address, for which these certificates lie in its directory under these names.
pub fn config(issued: &[(&str, &Issued)], more: Value) -> (Config, Vec<(String, String)>) {
    let mut tls = json!({"certificates": issued.iter().map(|(name, _)| pair(name)).collect::<Vec<_>>()});
    tls.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
    let config = Config::new()
        .set("listen", json!([{"address": "127.0.0.1:0", "tls": tls}]))
        .set("routes", json!([{"match": {"path_prefix": "/echo"}, "echo": {}}, {"respond": {"body": "hello"}}]));
    let files =
        |(name, issued): &(&str, &Issued)| [(format!("{name}.pem"), issued.cert.clone()), (format!("{name}.key"), issued.key.clone())];
    (config, issued.iter().flat_map(files).collect())
}

pub fn start((config, files): (Config, Vec<(String, String)>)) -> Proxy {
    files.iter().fold(config.launch(), |launch, (name, text)| launch.file(name, text)).start()
}

fn proxy(issued: &[(&str, &Issued)], more: Value) -> Proxy {
    start(config(issued, more))
}

#[test]
fn two_versions_are_served_and_counted() {
    let authority = Authority::new("play");
    let proxy = proxy(&[("a", &authority.issue(&["a.test"]))], json!({}));
    for (version, name) in [(&TLS12, "1.2"), (&TLS13, "1.3")] {
        let mut client = authority.client_of(version).connect(proxy.addr(), "a.test");
        assert_eq!(client.get("/").expect(200).text(), "hello");
        assert_eq!(client.get("/").expect(200).text(), "hello", "the connection persists");
        let version = format!("version=\"{name}\"");
        wait_for_handshakes(&proxy, &["side=\"client\"", "result=\"ok\"", &version, "resumed=\"false\""], 1.0);
    }
    let until = proxy.metric("proxy_tls_certificate_not_after_timestamp_seconds", &["name=\"a.test\""]);
    assert!(until > 4e9, "{until}");
}

#[test]
fn an_old_version_is_refused() {
    let authority = Authority::new("play");
    let issued = authority.issue(&["a.test"]);
    let modern = proxy(&[("a", &issued)], json!({"min_version": "1.3"}));
    let why = authority.client_of(&TLS12).handshake(modern.addr(), "a.test").err().expect("no handshake");
    assert!(why.contains("ProtocolVersion"), "{why}");
    assert!(authority.client_of(&TLS13).handshake(modern.addr(), "a.test").unwrap().get("/").ends_with("hello"));
    wait_for_handshakes(&modern, &["side=\"client\"", "result=\"error\""], 1.0);
    wait_until("the request is logged", || !modern.log_lines().is_empty());
    assert_eq!(modern.log_lines().len(), 1, "no request, no line");

    // TLS 1.1, as an old client begins it: one suite, no extensions.
    let usual = proxy(&[("a", &issued)], json!({}));
    let mut client = Client::connect(usual.addr());
    let hello = [&[3, 2][..], &[7; 32], &[0, 0, 2, 0xc0, 0x09, 1, 0]].concat();
    let message = [&[1, 0, 0, hello.len() as u8][..], &hello].concat();
    client.send([&[22, 3, 1, 0, message.len() as u8][..], &message].concat());
    let mut alert = Vec::new();
    client.wire.rest(&mut alert);
    assert_eq!((alert.len(), alert[0], alert[5]), (7, 21, 2), "a fatal alert, and nothing else: {alert:?}");
}

#[test]
fn the_certificate_is_that_of_the_name() {
    let authority = Authority::new("play");
    let [first, exact, wide] = [&["a.test"][..], &["www.b.test", "b.test"], &["*.b.test"]].map(|names| authority.issue(names));
    let all = [("first", &first), ("wide", &wide), ("exact", &exact)];
    let usual = proxy(&all, json!({}));
    let mut client = authority.client();
    // Which certificate it is matters here, not whether it fits.
    client.0.dangerous().set_certificate_verifier(anything());
    let got = |proxy: &Proxy, name: &str| {
        let session = client.handshake(proxy.addr(), name)?;
        Ok::<_, String>(all.iter().find(|(_, issued)| session.has_certificate(issued)).expect("one of them").0)
    };
    for (name, certificate) in [
        ("a.test", "first"),
        ("A.TEST", "first"),
        ("b.test", "exact"),
        ("www.b.test", "exact"),
        ("x.b.test", "wide"),
        ("x.y.b.test", "first"),
        ("c.test", "first"),
        ("127.0.0.1", "first"),
    ] {
        assert_eq!(got(&usual, name), Ok(certificate), "{name}");
    }
    let strict = proxy(&all, json!({"strict_sni": true}));
    assert_eq!(got(&strict, "x.b.test"), Ok("wide"));
    for name in ["c.test", "x.y.b.test", "127.0.0.1"] {
        assert!(got(&strict, name).is_err_and(|why| why.contains("alert")), "{name}");
    }
}

/// An old client knows only one kind of signature.
#[test]
fn rsa_and_ecdsa_stand_beside_each_other() {
    let authority = Authority::new("play");
    let ecdsa = authority.issue(&["a.test"]);
    let rsa = authority.issue_for(KeyPair::generate_for(&PKCS_RSA_SHA256).unwrap(), &["a.test"], |_| {});
    let proxy = proxy(&[("ecdsa", &ecdsa), ("rsa", &rsa)], json!({}));
    let mut client = authority.client();
    assert!(client.handshake(proxy.addr(), "a.test").unwrap().has_certificate(&ecdsa));
    client.0.dangerous().set_certificate_verifier(std::sync::Arc::new(Anything { only_rsa: true }));
    assert!(client.handshake(proxy.addr(), "a.test").unwrap().has_certificate(&rsa));
    assert!(client.handshake(proxy.addr(), "other.test").unwrap().has_certificate(&rsa), "the default has both kinds as well");
}

#[test]
fn http_1_1_is_agreed_on() {
    let authority = Authority::new("play");
    let proxy = proxy(&[("a", &authority.issue(&["a.test"]))], json!({}));
    let agreed = |protocols: &[&str]| {
        let session = authority.client().offering(protocols).handshake(proxy.addr(), "a.test")?;
        Ok::<_, String>(session.tls.alpn_protocol().map(|name| String::from_utf8(name.to_vec()).unwrap()))
    };
    assert_eq!(agreed(&["h2", "http/1.1"]), Ok(Some("http/1.1".into())));
    assert_eq!(agreed(&[]), Ok(None));
    assert!(agreed(&["h2"]).is_err_and(|why| why.contains("NoApplicationProtocol")));
}

/// Each new connection may come to another worker. TLS 1.2 has tickets of another kind.
#[test]
fn who_comes_back_goes_on_with_its_session_whatever_worker_it_meets_and_after_a_reload() {
    let authority = Authority::new("play");
    let (config, files) = config(&[("a", &authority.issue(&["a.test"]))], json!({}));
    let proxy = start((config.clone().set("workers", 4), files));
    for version in [&TLS12, &TLS13] {
        let client = authority.client_of(version);
        let come = || {
            let mut session = client.handshake(proxy.addr(), "a.test").unwrap();
            assert!(session.get("/").ends_with("hello"));
            session.is_resumed()
        };
        assert!(!come());
        assert_eq!([(); 12].map(|()| come()), [true; 12]);
        proxy.reload(&config.clone().set("workers", 4).set("timeouts.total_ms", 77_000));
        assert!(come(), "after a reload");
        proxy.reload(&config.clone().set("workers", 4));
    }
    wait_for_handshakes(&proxy, &["result=\"ok\"", "resumed=\"true\""], 26.0);
}

#[test]
fn plain_http_is_told_what_it_met() {
    let authority = Authority::new("play");
    let proxy = proxy(&[("a", &authority.issue(&["a.test"]))], json!({}));
    let mut client = proxy.client();
    client.send("GET / HTTP/1.1\r\nHost: play.test\r\n\r\n");
    let answer = proxy.expect_refusal(client.response(), 400, "http_request_error");
    assert!(answer.text().contains("TLS") && answer.text().contains("https://"), "{}", answer.text());
    client.expect_end();
    let mut nonsense = proxy.client();
    nonsense.send(b"\x80\x80\x80\x80\x80\x80");
    let mut alert = Vec::new();
    nonsense.wire.rest(&mut alert);
    assert!(!alert.starts_with(b"HTTP"), "{alert:?}");
    assert_eq!(proxy.log_lines().len(), 1);
}

/// The time for a head includes the handshake.
#[test]
fn a_handshake_that_stops_is_ended_in_silence() {
    let authority = Authority::new("play");
    let (config, files) = config(&[("a", &authority.issue(&["a.test"]))], json!({}));
    let proxy = start((config.set("timeouts.client_header_ms", 300), files));
    let mut silent = proxy.client();
    let mut halfway = proxy.client();
    halfway.send(b"\x16\x03\x01\x02\x00\x01\x00");
    silent.expect_end();
    let mut said = Vec::new();
    halfway.wire.rest(&mut said);
    assert!(!said.starts_with(b"HTTP"), "{said:?}");
    // Who has said nothing at all has only looked whether the port is open.
    wait_for_handshakes(&proxy, &["result=\"error\""], 1.0);
    assert_eq!(proxy.log_lines(), Vec::<String>::new());
    wait_until("they are gone", || proxy.metric("proxy_client_connections", &[]) == 0.0);
}

#[derive(Debug)]
struct Anything {
    only_rsa: bool,
}

fn anything() -> std::sync::Arc<Anything> {
    std::sync::Arc::new(Anything { only_rsa: false })
}

impl rustls::client::danger::ServerCertVerifier for Anything {
    fn verify_server_cert(
        &self,
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &[rustls::pki_types::CertificateDer<'_>],
        _: &rustls::pki_types::ServerName<'_>,
        _: &[u8],
        _: rustls::pki_types::UnixTime,
    ) -> Result<rustls::client::danger::ServerCertVerified, rustls::Error> {
        Ok(rustls::client::danger::ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        _: &[u8],
        _: &rustls::pki_types::CertificateDer<'_>,
        _: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        Ok(rustls::client::danger::HandshakeSignatureValid::assertion())
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        cert: &rustls::pki_types::CertificateDer<'_>,
        signature: &rustls::DigitallySignedStruct,
    ) -> Result<rustls::client::danger::HandshakeSignatureValid, rustls::Error> {
        self.verify_tls12_signature(message, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<rustls::SignatureScheme> {
        use rustls::SignatureScheme::*;
        if self.only_rsa { vec![RSA_PSS_SHA256, RSA_PKCS1_SHA256] } else { vec![ECDSA_NISTP256_SHA256, RSA_PSS_SHA256] }
    }
}

/// What a client with that certificate, or without one, meets: an answer, or none.
fn serves(client: &TlsClient, proxy: &Proxy) -> bool {
    // With TLS 1.3 the refusal of a client's certificate comes after its handshake.
    let Ok(session) = client.handshake(proxy.addr(), "a.test") else { return false };
    let mut client = session.into_client();
    client.send_get("/");
    client.try_response_to("GET").is_ok_and(|answer| answer.status == 200)
}

#[test]
fn clients_may_have_to_show_certificates() {
    let [authority, others] = ["play", "others"].map(Authority::new);
    let own = authority.issue(&["a.test"]);
    let of_clients = |auth: &str| {
        let (config, mut files) = config(&[("a", &own)], json!({"client_ca": "ca.pem", "client_auth": auth}));
        files.push(("ca.pem".into(), authority.pem()));
        start((config, files))
    };
    let (known, strange) = (authority.client_with(&authority.issue(&["me"])), authority.client_with(&others.issue(&["me"])));
    let required = of_clients("require");
    assert_eq!([&known, &strange, &authority.client()].map(|client| serves(client, &required)), [true, false, false]);
    let requested = of_clients("request");
    assert_eq!([&known, &strange, &authority.client()].map(|client| serves(client, &requested)), [true, false, true]);
}

/// Whoever forgets the roots must not let everybody in.
#[test]
fn certificates_of_clients_need_roots() {
    let issued = Authority::new("play").issue(&["a.test"]);
    let (config, files) = config(&[("a", &issued)], json!({"client_auth": "require"}));
    let launch = files.iter().fold(config.launch(), |launch, (name, text)| launch.file(name, text));
    let (status, _, said) = launch.run();
    assert!(status != 0 && said.contains("listen[0].tls.client_auth: needs client_ca"), "{said}");
}

/// A session would outlive the certificate.
#[test]
fn where_clients_have_certificates_each_handshake_is_a_whole_one() {
    let authority = Authority::new("play");
    let (config, mut files) = config(&[("a", &authority.issue(&["a.test"]))], json!({"client_ca": "ca.pem"}));
    files.push(("ca.pem".into(), authority.pem()));
    let proxy = start((config, files));
    let client = authority.client_with(&authority.issue(&["me"]));
    for _ in 0..3 {
        let mut session = client.handshake(proxy.addr(), "a.test").unwrap();
        assert!(session.get("/").ends_with("hello") && !session.is_resumed());
    }
}

/// A ticket must not lead past a certificate that is required elsewhere.
#[test]
fn a_session_without_a_certificate_is_no_way_in_where_one_is_required() {
    let authority = Authority::new("play");
    let issued = authority.issue(&["a.test"]);
    for version in [&TLS12, &TLS13] {
        let tls = |more: Value| {
            let mut tls = json!({"certificates": [pair("a")]});
            tls.as_object_mut().unwrap().extend(more.as_object().unwrap().clone());
            json!({"address": "127.0.0.1:0", "tls": tls})
        };
        let config = Config::new()
            .set("listen", json!([tls(json!({})), tls(json!({"client_ca": "ca.pem"}))]))
            .set("routes", json!([{"respond": {"body": "hello"}}]));
        let launch = config.launch().file("a.pem", &issued.cert).file("a.key", &issued.key);
        let proxy = launch.file("ca.pem", &authority.pem()).start();
        let client = authority.client_of(version);
        assert!(client.handshake(proxy.listens()[0], "a.test").unwrap().get("/").ends_with("hello"));
        let met = client.handshake(proxy.listens()[1], "a.test");
        let is_in = met.is_ok_and(|session| {
            let mut client = session.into_client();
            client.send_get("/");
            client.try_response_to("GET").is_ok()
        });
        assert!(!is_in);
        assert!(client.handshake(proxy.listens()[0], "a.test").unwrap().is_resumed());
    }
}
