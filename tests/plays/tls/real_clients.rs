//! Clients that others have written.

use super::handshakes::{config, start};
use crate::support::tls::Authority;
use crate::support::*;
use rustls::pki_types::ServerName;
use serde_json::json;
use std::io::Write;
use std::net::TcpStream;
use std::process::{Command, Output, Stdio};
use std::sync::Arc;

fn run(program: &str, args: &[&str], input: &str) -> Output {
    let mut command = Command::new(program);
    command.args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap_or_else(|error| panic!("{program}: {error}"));
    child.stdin.take().unwrap().write_all(input.as_bytes()).unwrap();
    child.wait_with_output().unwrap()
}

fn scene() -> (Proxy, Authority) {
    let authority = Authority::new("play");
    let (config, mut files) = config(&[("a", &authority.issue(&["a.test"]))], json!({"client_ca": "ca.pem", "client_auth": "request"}));
    let me = authority.issue(&["me"]);
    files.extend([("ca.pem".into(), authority.pem()), ("me.pem".into(), me.cert), ("me.key".into(), me.key)]);
    (start((config, files)), authority)
}

#[test]
fn curl_gets_what_it_asks_for() {
    let (proxy, _) = scene();
    let path = |name: &str| proxy.dir().join(name).display().to_string();
    let (ca, cert, key) = (path("ca.pem"), path("me.pem"), path("me.key"));
    let url = format!("https://a.test:{}/", proxy.addr().port());
    let to = format!("a.test:{}:127.0.0.1", proxy.addr().port());
    let content = vec![b'x'; 3_000_000];
    std::fs::write(proxy.dir().join("content"), &content).unwrap();
    let curl = |args: &[&str]| {
        let usual = ["--silent", "--show-error", "--max-time", "20", "--cacert", &ca, "--resolve", &to];
        let output = run("curl", &[&usual, args].concat(), "");
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(curl(&["--tlsv1.2", "--tls-max", "1.2", &url]), "hello");
    assert_eq!(curl(&["--tlsv1.3", &url, &url]), "hellohello");
    assert_eq!(curl(&["--cert", &cert, "--key", &key, &url]), "hello");
    let echoed = curl(&["--data-binary", &format!("@{}", path("content")), &format!("{url}echo")]);
    assert!(echoed.contains("POST"), "{echoed:.200}");
}

#[test]
fn openssl_resumes_and_checks_the_name() {
    let authority = Authority::new("play");
    let (config, mut files) = config(&[("a", &authority.issue(&["a.test"]))], json!({}));
    files.push(("ca.pem".into(), authority.pem()));
    let proxy = start((config, files));
    let path = |name: &str| proxy.dir().join(name).display().to_string();
    let (ca, session, at) = (path("ca.pem"), path("session"), proxy.addr().to_string());
    let request = "GET / HTTP/1.1\r\nHost: a.test\r\nConnection: close\r\n\r\n";
    for version in ["-tls1_2", "-tls1_3"] {
        let openssl = |more: &[&str]| {
            let usual =
                ["s_client", "-connect", &at, "-servername", "a.test", "-verify_hostname", "a.test", "-CAfile", &ca, "-ign_eof", version];
            let output = run("openssl", &[&usual, more].concat(), request);
            String::from_utf8_lossy(&output.stdout).into_owned()
        };
        let first = openssl(&["-sess_out", &session]);
        assert!(first.contains("Verify return code: 0 (ok)") && first.contains("hello"), "{first}");
        assert!(first.contains("New, TLSv1."), "{first}");
        let second = openssl(&["-sess_in", &session]);
        assert!(second.contains("Reused, TLSv1.") && second.contains("hello"), "{second}");
    }
}

/// Messages both ways in a tunnel.
#[test]
fn a_websocket_passes() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        let mut socket = tungstenite::accept(listener.accept().unwrap().0).unwrap();
        while let Ok(message) = socket.read() {
            if message.is_binary() && socket.send(message).is_err() {
                break;
            }
        }
    });
    let authority = Authority::new("play");
    let (config, files) = config(&[("a", &authority.issue(&["a.test"]))], json!({}));
    let config = config.set("routes", json!([])).set("upstreams", json!([{"host": "127.0.0.1", "port": port}]));
    let proxy = start((config, files));
    let tls = rustls::ClientConnection::new(Arc::new(authority.client().0), ServerName::try_from("a.test").unwrap()).unwrap();
    let stream = TcpStream::connect(proxy.addr()).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let (mut socket, answer) = tungstenite::client("wss://a.test/ws", rustls::StreamOwned::new(tls, stream)).unwrap();
    assert_eq!(answer.status(), 101);
    for n in [0, 1, 125, 126, 70_000, 1 << 20] {
        let content: Vec<u8> = (0..n).map(|i| i as u8).collect();
        socket.send(tungstenite::Message::binary(content.clone())).unwrap();
        assert!(socket.read().unwrap().into_data() == content, "{n}");
    }
    socket.close(None).unwrap();
    assert!(matches!(socket.read(), Ok(tungstenite::Message::Close(_)) | Err(_)));
}
