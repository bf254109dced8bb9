//! `tidegate check`: reads a configuration, says what is wrong with it or what it comes to, and starts nothing.

use crate::support::launch::binary;
use crate::support::*;

/// A configuration with many keys, and with names and texts that YAML could read as something else.
const RICH: &str = r##"
listen: ["127.0.0.1:0", {address: "127.0.0.1:0", proxy_protocol: false}]
metrics_listen: null
upstreams:
  - {host: "127.0.0.1", port: 9001, weight: 3, name: "a: #b"}
  - {url: "http://localhost:9002", health_check_enabled: false}
balance: least_connections
timeouts: {read_ms: 0}
logging: {dir: logs, access_format: json, rotate: {keep: 1}}
pools:
  "yes": {upstreams: [{host: "::1", port: 1, name: "1e3"}], balance: {consistent_hash: {header: X-Key}}, timeouts: {read_ms: 5}}
  "null": {upstreams: []}
  "0x10": {backends: [{host: h, port: 2, id: "~"}]}
health_check: {path: "/a%20b", headers: {X-A: "yes: 'no' \"maybe\"", X-B: " # "}}
routes:
  - {name: "- 1", match: {host: "*.example.com", path_prefix: /api, methods: [GET]}, proxy: "yes", limits: {max_body_size: 0}}
  - {match: {path: "/n"}, proxy: "null"}
  - {respond: {status: 404, body: "a\n  b: 'c' \"d\"\n\n\te\r\n"}}
"##;

fn print(launch: Launch) -> String {
    let (status, out, err) = launch.run();
    assert_eq!(status, 0, "{err}");
    out + "\n"
}

#[test]
fn what_print_shows_reads_back_to_itself() {
    let args = ["check", "--print", "config.yaml"];
    for text in [RICH, "upstreams: []\n", "workers: 3\nlimits: {buffer_size: 4096}\nshutdown: {grace_ms: 0, new_requests: refuse}\n"] {
        let first = print(Launch::new(args).file("config.yaml", text));
        let second = print(Launch::new(args).file("config.yaml", &first));
        assert_eq!(first, second);
        let auto = first.lines().any(|line| line == "workers: auto");
        assert_eq!(auto, !text.contains("workers:"), "{first}");
        assert!(!first.contains("{a"), "a block, not a line: {first}");
    }
    let shown = print(Launch::new(args).file("config.yaml", RICH));
    let (before, after) = [RICH, &shown].map(|text| serde_yaml::from_str::<serde_json::Value>(text).unwrap()).into();
    for at in [
        "/routes/2/respond/body",
        "/health_check/headers/X-A",
        "/health_check/headers/X-B",
        "/pools/yes/upstreams/0/name",
        "/routes/0/name",
    ] {
        assert!(before.pointer(at).is_some_and(|value| value.is_string()), "{at}");
        assert_eq!(before.pointer(at), after.pointer(at), "{at} in {shown}");
    }
}

#[test]
fn print_shows_what_counts_in_the_end() {
    let launch = Launch::new(["check", "--print", "--to", "127.0.0.1:9", "-c", "config.yaml", "--workers", "7"]);
    let launch = launch.file("config.yaml", "timeouts: {read_ms: 1}\nlimits: {max_headers: 50}\n").file(".env", "LOG_LEVEL=debug\n");
    let shown = print(launch.env("TIDEGATE_TIMEOUTS__READ_MS", 2));
    for line in ["workers: 7", "  read_ms: 2", "  max_headers: 50", "  level: debug", "  total_ms: 0"] {
        assert!(shown.lines().any(|l| l == line), "{line:?} is not in {shown}");
    }
    assert!(shown.contains("127.0.0.1:9") || shown.contains("port: 9"), "{shown}");
}

#[test]
fn check_starts_nothing_and_says_whether_it_would() {
    let taken = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let listen = format!("listen: \"{}\"\nmetrics_listen: null\npid_file: pid\nlogging: {{dir: logs}}\n", taken.local_addr().unwrap());
    for args in [vec!["check", "config.yaml"], vec!["-t", "-c", "config.yaml"], vec!["-t"], vec!["check"]] {
        let launch = Launch::new(args.iter().copied()).file("config.yaml", &listen);
        let (status, out, err) = launch.run();
        assert_eq!(status, 0, "{args:?}: {out} {err}");
        let launch = Launch::new(args.iter().copied()).file("config.yaml", &(listen.clone() + "colour: red\nlimits: {max_headers: 0}\n"));
        let (status, _, err) = launch.run();
        assert_eq!(status, 2, "{args:?}: {err}");
        let said: Vec<_> = err.lines().filter(|line| line.starts_with("config.yaml:")).collect();
        assert!(said.len() == 2 && said[0].starts_with("config.yaml:5:1: colour: ") && said[1].starts_with("config.yaml:6:"), "{err}");
    }
    let (launch, dir) = (Launch::new(["-t"]).file("config.yaml", &listen), tempfile::tempdir().unwrap());
    let (status, ..) = launch.env("LOG_DIR", dir.path().join("logs").display()).run();
    assert_eq!((status, std::fs::read_dir(dir.path()).unwrap().count()), (0, 0), "no directory was made");
}

/// They are log lines like those of a start, so that the same filters find them.
#[test]
fn warnings_are_log_lines_on_standard_error() {
    let text = "listen: \"127.0.0.1:1\"\nmetrics_listen: \"0.0.0.0:2\"\nupstreams: [{host: h, port: 1, weight: 0, name: a}]\n";
    for args in [vec!["check", "config.yaml"], vec!["check", "--print", "config.yaml"]] {
        let (status, out, err) = Launch::new(args).file("config.yaml", text).env("LOG_LEVEL", "error").run();
        assert_eq!(status, 0, "{err}");
        assert!(!out.contains("WARN"), "{out}");
        assert!(err.lines().count() >= 2, "{err}");
        for line in err.lines() {
            let (time, rest) = line.split_once(' ').unwrap();
            assert!(time.len() == 24 && time.ends_with('Z') && rest.starts_with("WARN  [config] config.yaml:"), "{line:?}");
        }
        assert!(err.contains("[config] config.yaml:2:17: metrics_listen: "), "{err}");
    }
    // Errors are the command's own answer: they stay as they are, at their place.
    let (status, _, err) = Launch::new(["check", "config.yaml"]).file("config.yaml", &format!("{text}colour: red\n")).run();
    assert!(status == 2 && err.lines().any(|line| line.starts_with("config.yaml:4:1: colour: ")), "{err}");
}

#[test]
fn a_reader_that_leaves_changes_nothing() {
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut command = std::process::Command::new(binary());
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("config.yaml"), "metrics_listen: \"0.0.0.0:2\"\nroutes: [{echo: {}}]\n").unwrap();
    let out = command.arg("check").current_dir(dir.path()).env_clear().stderr(writer).output().unwrap();
    let said = String::from_utf8_lossy(&out.stdout);
    assert_eq!((out.status.code(), said.trim_end()), (Some(0), "config.yaml: the configuration is good"));
}
