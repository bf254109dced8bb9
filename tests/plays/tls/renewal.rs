//! Certificates as files: what is said of bad ones, and how they are renewed.

use super::handshakes::{config, start};
use crate::support::tls::Authority;
use crate::support::*;
use serde_json::json;

#[test]
fn a_renewed_certificate_is_for_new_connections_and_disturbs_no_open_one() {
    let authority = Authority::new("play");
    let [old, new, newest] = [(); 3].map(|()| authority.issue(&["a.test"]));
    let (config, files) = config(&[("a", &old)], json!({}));
    let proxy = start((config.clone(), files));
    let presents = |issued| authority.client().handshake(proxy.addr(), "a.test").unwrap().has_certificate(issued);
    let mut client = authority.client().connect(proxy.addr(), "a.test");
    client.get("/").expect(200);
    assert!(presents(&old));

    // Half of a renewal is no pair: it is refused, and the old one stays.
    proxy.write("a.pem", &new.cert);
    assert!(!proxy.hang_up());
    assert!(presents(&old));
    let why = "listen[0].tls.certificates[0].key: a.key is not the key of the certificate in a.pem";
    wait_until("it says why", || !proxy.said(why).is_empty());
    proxy.write("a.key", &new.key);
    assert!(proxy.hang_up());
    assert!(presents(&new));
    wait_until("it says what is new", || proxy.said("reloaded: the certificates of 127.0.0.1:0").len() == 1);

    proxy.reload(&config.set("watch", true));
    // Without a signal, because files that the configuration names are watched as well.
    proxy.write("a.key", &newest.key);
    proxy.write("a.pem", &newest.cert);
    wait_until("the newest is presented", || presents(&newest));
    client.get("/").expect(200);
    for text in proxy.diagnostics() {
        assert!(!text.contains(&old.key[100..130]), "{text}");
    }
}

/// What `check` says of a configuration with these files.
fn checked(files: &[(&str, &str)], cert: &str, key: &str) -> (bool, String) {
    let config = json!({
        "listen": [{"address": "127.0.0.1:0", "tls": {"certificates": [{"cert": cert, "key": key}]}}],
        "routes": [{"respond": {}}],
    });
    let launch = Launch::new(["check", "config.yaml"]).file("config.yaml", &config.to_string());
    let launch = files.iter().fold(launch, |launch, (name, text)| launch.file(name, text));
    for (name, _) in files {
        let mode = std::os::unix::fs::PermissionsExt::from_mode(if *name == "open.key" { 0o644 } else { 0o600 });
        std::fs::set_permissions(launch.dir().join(name), mode).unwrap();
    }
    let (status, out, err) = launch.run();
    (status == 0, out + &err)
}

#[test]
fn what_is_wrong_with_a_file_is_said_with_its_place() {
    let authority = Authority::new("play");
    let [own, other] = [(); 2].map(|()| authority.issue(&["a.test"]));
    let day = |days: i64| {
        std::time::SystemTime::now() + std::time::Duration::from_secs(400 * 86_400)
            - std::time::Duration::from_secs(((400 - days) * 86_400) as u64)
    };
    let dated = |from, until| {
        authority.issue_with(&["a.test"], |params| {
            (params.not_before, params.not_after) = (day(from).into(), day(until).into());
        })
    };
    let (expired, early) = (dated(-20, -10), dated(10, 20));
    let nameless = authority.issue(&[]);
    let chain = [own.cert.as_str(), &authority.pem()].concat();
    let [wrong_order, strange] = [[authority.pem().as_str(), &own.cert].concat(), [own.cert.as_str(), &other.cert].concat()];
    let files = [
        ("a.pem", own.cert.as_str()),
        ("a.key", &own.key),
        ("open.key", &own.key),
        ("other.key", &other.key),
        ("chain.pem", &chain),
        ("wrong-order.pem", &wrong_order),
        ("strange.pem", &strange),
        ("expired.pem", &expired.cert),
        ("expired.key", &expired.key),
        ("early.pem", &early.cert),
        ("early.key", &early.key),
        ("nameless.pem", &nameless.cert),
        ("nameless.key", &nameless.key),
        ("text.pem", "hello"),
        ("damaged.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n"),
        ("empty.pem", "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"),
        ("locked.key", "-----BEGIN ENCRYPTED PRIVATE KEY-----\nAAAA\n-----END ENCRYPTED PRIVATE KEY-----\n"),
    ];
    let at = |part: &str| format!("listen[0].tls.certificates[0].{part}: ");
    for (cert, key, is_good, part, says) in [
        ("a.pem", "a.key", true, "", ""),
        ("chain.pem", "a.key", true, "", ""),
        ("none.pem", "a.key", false, "cert", "none.pem cannot be read: No such file"),
        ("a.pem", "none.key", false, "key", "none.key cannot be read: No such file"),
        ("text.pem", "a.key", false, "cert", "no certificate in PEM"),
        ("a.key", "a.key", false, "cert", "it has a private key, is it the file for key?"),
        ("damaged.pem", "a.key", false, "cert", "a section has no end"),
        ("empty.pem", "a.key", false, "cert", "cannot be understood"),
        ("a.pem", "a.pem", false, "key", "no private key in PEM"),
        ("a.pem", "locked.key", false, "key", "is encrypted; openssl pkey"),
        ("a.pem", "other.key", false, "key", "other.key is not the key of the certificate in a.pem"),
        ("wrong-order.pem", "a.key", false, "key", "but of certificate 2 in that file"),
        ("strange.pem", "a.key", true, "cert", "certificate 2 of the file did not issue the one before it"),
        ("expired.pem", "expired.key", true, "cert", "has expired 10 days ago"),
        ("early.pem", "early.key", true, "cert", "is not valid yet"),
        ("nameless.pem", "nameless.key", true, "cert", "names no host"),
        ("a.pem", "open.key", true, "key", "open.key can be read by everybody on this machine: chmod o-r open.key"),
    ] {
        let (is_taken, text) = checked(&files, cert, key);
        assert_eq!(is_taken, is_good, "{cert} {key}: {text}");
        assert!(part.is_empty() || (text.contains(&at(part)) && text.contains(says)), "{cert} {key}: {text}");
        assert!(!part.is_empty() || !text.contains("warning"), "{cert} {key}: {text}");
        assert!(!text.contains(&own.key[100..130]), "{text}");
    }
}
