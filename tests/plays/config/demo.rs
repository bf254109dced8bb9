//! What a new user does first: the configuration at the root, and `curl`.

use crate::support::*;
use std::process::Command;

/// The demo as it is in the repository, moved to ports that are free.
fn demo() -> (Proxy, [u16; 4]) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/config.yaml");
    let mut text = std::fs::read_to_string(path).expect("the demo's configuration");
    let ports = ["8080", "8081", "9001", "9002"].map(|usual| {
        let port = free_port();
        assert!(text.contains(usual), "no {usual} in {path}");
        text = text.replace(usual, &port.to_string());
        port
    });
    (Proxy::start(&text), ports)
}

#[track_caller]
fn curl(args: &[&str]) -> String {
    let output = Command::new("curl").args(["--silent", "--show-error", "--max-time", "20"]).args(args).output().expect("curl");
    assert!(output.status.success(), "curl {args:?}: {}", String::from_utf8_lossy(&output.stderr));
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn the_demo_shows_balancing_at_once() {
    let (proxy, [port, admin, one, two]) = demo();
    let listens: Vec<_> = proxy.listens().iter().map(|a| a.port()).collect();
    assert!([port, one, two].iter().all(|p| listens.contains(p)), "{listens:?}");
    assert_eq!(proxy.admin().port(), admin);
    let front = format!("http://127.0.0.1:{port}/hello?you");
    let answers = [(); 4].map(|_| curl(&[&front]));
    let names = answers.each_ref().map(|a| a.lines().next().unwrap().to_owned());
    assert!(names[0] != names[1] && names[0] == names[2] && names[1] == names[3], "{names:?}");
    for answer in answers {
        assert!(answer.contains("\nGET /hello?you HTTP/1.1\n") && answer.contains("body: 0 bytes"), "{answer:?}");
    }
    assert!(curl(&[&format!("http://127.0.0.1:{admin}/health")]).contains("\"status\":\"healthy\""));
    assert!(curl(&[&format!("http://127.0.0.1:{admin}/metrics")]).contains("proxy_requests_total"));
}

#[test]
fn the_proxys_own_connections_count_where_they_arrive() {
    let inner = free_port();
    let config = Config::new()
        .set("listen", serde_json::json!(["127.0.0.1:0", format!("127.0.0.1:{inner}")]))
        .set("upstreams", serde_json::json!([{"host": "127.0.0.1", "port": inner}]))
        .set("routes", serde_json::json!([{"match": {"port": inner}, "echo": {"name": "inner"}}]))
        .set("limits.max_client_conns", 1);
    let proxy = config.start();
    for _ in 0..3 {
        assert!(proxy.get("/").expect(200).text().starts_with("inner\n"));
    }
}

#[test]
fn curl_is_content() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let url = format!("http://{}/upload", proxy.addr());
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), "0123456789".repeat(200_000)).unwrap();
    let path = file.path().to_str().unwrap();
    // `curl` asks with `Expect: 100-continue` here, and once more with chunks.
    assert_eq!(curl(&["--upload-file", path, &url]).len(), 2_000_000);
    assert_eq!(curl(&["--upload-file", path, "--header", "Transfer-Encoding: chunked", &url]).len(), 2_000_000);
    assert!(curl(&["--head", &url]).starts_with("HTTP/1.1 200 OK\r\n"));
    assert_eq!(curl(&["--http1.0", "--data", "old", &url]), "old");
}
