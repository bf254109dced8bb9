//! `upstream_tls`: where its roots come from, what `check` says of it, and what a reload does with files that were renewed.

use super::tls::{handshakes, to};
use crate::support::*;
use serde_json::json;

fn upstream(relay: &TlsRelay) -> Config {
    Config::new().set("upstreams", json!([{"url": relay.url("127.0.0.1")}]))
}

/// What `check` prints about a configuration, and how it ends.
fn check(config: &Config, roots: Option<&str>) -> (i32, String, String) {
    let launch = Launch::new(["check", "--print", "config.yaml"]).file("config.yaml", &config.0.to_string());
    let launch = if let Some(roots) = roots { launch.env("SSL_CERT_FILE", roots) } else { launch };
    launch.run()
}

#[test]
fn the_systems_roots_verify_where_no_file_is_given() {
    let origin = Origin::hello();
    let issuer = Issuer::new("plays");
    let relay = TlsRelay::new(&issuer.issue(&["127.0.0.1"]), origin.addr());
    let proxy = upstream(&relay).launch().env("SSL_CERT_FILE", issuer.file()).start();
    assert_eq!(proxy.get("/").expect(200).text(), "GET /");
    let stranger = Issuer::new("stranger");
    let proxy = upstream(&relay).set("retry.max_retries", 0).launch().env("SSL_CERT_FILE", stranger.file()).start();
    let answer = proxy.expect_refusal(proxy.get("/"), 502, "tls_certificate_error");
    assert!(answer.text().contains("verified by the system's roots (upstream_tls.ca_file is not set)"), "{answer:?}");
    // A machine without roots has to be given some.
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().to_str().unwrap();
    let (code, _, said) = check(&upstream(&relay), Some(empty));
    assert_eq!(code, 2, "{said}");
    assert!(said.contains("upstreams[0].url: this system has no root certificates to verify it by"), "{said}");
    assert!(said.contains("upstream_tls.ca_file"), "{said}");
    // Who needs none is not asked for any.
    let plain = Config::new().set("upstreams", json!([{"url": "http://127.0.0.1:1"}]));
    let (code, _, said) = check(&plain, Some(empty));
    assert_eq!(code, 0, "{said}");
}

#[test]
fn files_that_do_not_fit_are_refused_and_keys_are_never_shown() {
    let issuer = Issuer::new("plays");
    let (one, other) = (issuer.issue(&["a.test"]), issuer.issue(&["b.test"]));
    let config = Config::new().set("upstreams", json!([{"url": "https://127.0.0.1:1"}])).set("upstream_tls.ca_file", issuer.file());
    let with = |cert: String, key: String| config.clone().set("upstream_tls.client_cert", cert).set("upstream_tls.client_key", key);
    let cases = [
        (with(one.cert_file(), other.key_file()), format!("upstream_tls.client_key: {} is not the key of", other.key_file())),
        (with(one.key_file(), one.key_file()), format!("upstream_tls.client_cert: {} has no certificate", one.key_file())),
        (with(one.cert_file(), one.cert_file()), format!("upstream_tls.client_key: {} has no private key", one.cert_file())),
        (
            config.clone().set("upstream_tls.ca_file", one.key_file()),
            format!("upstream_tls.ca_file: {} has no certificate", one.key_file()),
        ),
    ];
    let secrets: Vec<&str> = [&one, &other].iter().flat_map(|papers| papers.key.lines().filter(|line| !line.starts_with('-'))).collect();
    let keeps_quiet = |text: &str| secrets.iter().all(|secret| !text.contains(secret));
    for (config, words) in cases {
        let (code, out, said) = check(&config, None);
        assert_eq!((code, said.contains(&words)), (2, true), "{words} is not in {said}");
        assert!(keeps_quiet(&out) && keeps_quiet(&said), "{out}{said}");
    }
    let (code, out, said) = check(&with(one.cert_file(), one.key_file()), None);
    assert_eq!(code, 0, "{said}");
    assert!(keeps_quiet(&out) && keeps_quiet(&said), "{out}{said}");
}

#[test]
fn renewed_files_count_from_the_next_connection_on() {
    let origin = Origin::hello();
    let (old, new) = (Issuer::new("old"), Issuer::new("new"));
    let first = TlsRelay::new(&old.issue(&["127.0.0.1"]), origin.addr());
    let second = TlsRelay::new(&new.issue(&["127.0.0.1"]), origin.addr());
    let roots = tempfile::tempdir().unwrap();
    let roots = roots.path().join("roots.pem");
    std::fs::write(&roots, old.pem()).unwrap();
    let config = Config::new()
        .set("upstream_tls.ca_file", roots.to_str().unwrap())
        .set("retry.max_retries", 0)
        .set("circuit_breaker.failure_threshold", 0)
        .set(
            "pools",
            json!({"a": {"upstreams": [{"url": first.url("127.0.0.1")}]}, "b": {"upstreams": [{"url": second.url("127.0.0.1")}]}}),
        )
        .set("routes", json!([{"match": {"path_prefix": "/a"}, "proxy": "a"}, {"proxy": "b"}]));
    let proxy = config.start();
    let mut client = proxy.client();
    client.get("/a").expect(200);
    client.get("/b").expect(502);
    assert_eq!((first.seen().len(), origin.open()), (1, 1));
    // Nothing has changed: the connection stays.
    assert!(proxy.hang_up());
    client.get("/a").expect(200);
    assert_eq!(first.seen().len(), 1);
    // The same file, with another root in it.
    std::fs::write(&roots, new.pem()).unwrap();
    assert!(proxy.hang_up());
    wait_until("the connection that was verified by the old root is closed", || origin.open() == 0);
    let answer = client.get("/a");
    assert!(answer.status == 502 && answer.text().contains("unknown issuer"), "{answer:?}");
    client.get("/b").expect(200);
    wait_until("it says what is new", || !proxy.said("the certificates of pool a (upstream_tls)").is_empty());
    assert_eq!((first.seen().len(), second.seen().len()), (1, 1));
    assert!(handshakes(&proxy, &["result=\"ok\""]) == 2.0);
    // One that is damaged is refused, and everything goes on.
    std::fs::write(&roots, "").unwrap();
    assert!(!proxy.hang_up());
    client.get("/b").expect(200);
}

#[test]
fn a_renewed_client_certificate_is_the_one_that_is_shown() {
    let issuer = Issuer::new("plays");
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let settings = ServerSettings::new(&issuer.issue(&["127.0.0.1"])).asking_for(&issuer);
    let relay = TlsRelay::with(settings, origin.addr());
    let folder = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert.pem", "key.pem"].map(|name| folder.path().join(name).to_str().unwrap().to_owned());
    // The key first: a certificate without its key is refused, and looked at again when the other file changes.
    let put = |papers: &Papers| {
        std::fs::write(&key, &papers.key).unwrap();
        std::fs::write(&cert, &papers.cert).unwrap();
    };
    put(&issuer.issue(&["first.test"]));
    let proxy = to(&relay.url("127.0.0.1"), &issuer)
        .set("upstream_tls.client_cert", cert.as_str())
        .set("upstream_tls.client_key", key.as_str())
        .set("watch", true)
        .start();
    let mut client = proxy.client();
    client.send_get("/");
    wait_until("it is under way", || !origin.heads().is_empty());
    put(&issuer.issue(&["second.test"]));
    // Without a signal, because files that the configuration names are watched as well.
    wait_until("it is read", || proxy.metric("proxy_tls_certificate_not_after_timestamp_seconds", &["name=\"second.test\""]) > 0.0);
    // The request that is under way is answered, and its connection serves no other.
    gate.release(2);
    client.response().expect(200);
    wait_until("its connection is closed", || origin.open() == 0);
    client.get("/").expect(200);
    let seen = relay.seen();
    assert_eq!(seen.len(), 2);
    assert!(seen.iter().all(|seen| seen.has_certificate && !seen.is_resumed), "a session would go on as who it was: {seen:?}");
}
