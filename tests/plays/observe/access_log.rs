//! The access log in its three formats, read back by a reader of its own, and the files it may go to: directory, rotation,
//! names that lead elsewhere. `failing_log_targets.rs` has those that fail.

use crate::support::*;
use serde_json::json;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

type Reader = fn(&str) -> Line;

const FORMATS: [(&str, Reader); 3] = [("text", Line::text), ("combined", Line::combined), ("json", Line::json)];

/// One of everything that can become of a request: path, status, and the reason if there is one.
const CASES: [(&str, u16, Option<&str>); 9] = [
    ("/plain", 200, None),
    ("/missing", 404, None),
    ("/head", 200, None),
    ("/upload", 200, None),
    ("/dead", 502, Some("connection_refused")),
    ("/nowhere", 404, Some("destination_not_found")),
    ("/bad", 400, Some("http_request_error")),
    ("/slow", 408, Some("http_request_timeout")),
    ("/gone", 499, Some("client_aborted")),
];

/// Has every case happen once.
fn perform(proxy: &Proxy, reached: &Gate) {
    let ask = |request: &str, method: &str| {
        let mut client = proxy.client();
        client.send(request);
        client.response_to(method)
    };
    for path in ["/plain", "/missing", "/dead", "/nowhere"] {
        ask(&format!("GET {path} HTTP/1.1\r\nHost: h.test\r\nUser-Agent: play/1 \"q\"\r\nReferer: http://r/\r\n\r\n"), "GET");
    }
    ask("HEAD /head HTTP/1.1\r\nHost: h.test\r\n\r\n", "HEAD");
    ask("POST /upload HTTP/1.1\r\nHost: h.test\r\nContent-Length: 5\r\n\r\nhello", "POST");
    ask("GET /bad HTTP/1.1\r\nHost : h.test\r\n\r\n", "GET");
    ask("GET /slow HTTP/1.1\r\nHost: h.test\r\nX: ", "GET");
    let mut client = proxy.client();
    client.send_get("/gone");
    reached.pass();
    client.reset();
}

#[test]
fn every_request_has_one_line_in_every_format() {
    let reached = Gate::default();
    let opened = reached.clone();
    let origin = Origin::each(move |conn, request| match request.target.as_str() {
        "/missing" => conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"),
        "/head" => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 999\r\n\r\n"),
        "/gone" => {
            opened.release(1);
            conn.wait_for_end();
        }
        _ => conn.answer(request.what()),
    });
    let pools = json!({
        "live": {"upstreams": [{"url": format!("http://{}", origin.addr()), "name": "live-1"}]},
        "dead": {"upstreams": [{"url": format!("http://{}", nobody())}]},
    });
    let to = |path: &str, pool: &str| json!({"match": {"path": path}, "proxy": pool});
    let mut routes: Vec<_> = ["/plain", "/missing", "/head", "/upload", "/gone"].iter().map(|path| to(path, "live")).collect();
    routes.push(to("/dead", "dead"));
    for (format, read) in FORMATS {
        let config = Config::new().set("pools", pools.clone()).set("routes", routes.clone());
        let proxy = config.set("logging.access_format", format).set("timeouts.client_header_ms", 300).start();
        perform(&proxy, &reached);
        wait_until("all are logged", || proxy.log_lines().len() >= CASES.len());
        let lines: Vec<_> = proxy.log_lines().iter().map(|line| read(line)).collect();
        for (path, status, error) in CASES {
            let of_path: Vec<_> = lines.iter().filter(|line| line.target() == path).collect();
            let [line] = of_path[..] else { panic!("{format}, {path}: {of_path:?} of {:#?}", proxy.log_lines()) };
            assert_eq!((line.status, line.client.as_str()), (status, "127.0.0.1"), "{format}: {line:?}");
            assert!(format == "combined" || line.error.as_deref() == error, "{format}: {line:?}");
            let bytes = match path {
                "/plain" => Some(10),
                "/missing" => Some(4),
                "/upload" => Some(12),
                "/head" | "/gone" => Some(0),
                _ => None,
            };
            assert!(bytes.is_none_or(|bytes| bytes == line.bytes), "{format}: {line:?}");
        }
        assert_eq!(lines.len(), CASES.len(), "{:#?}", proxy.log_lines());
        let of = |path: &str| lines.iter().find(|line| line.target() == path).unwrap();
        let more = |path: &str, name: &str| of(path).more.get(name).map(String::as_str);
        match format {
            "combined" => {
                assert_eq!((more("/plain", "user_agent"), more("/plain", "referer")), (Some("play/1 \"q\""), Some("http://r/")));
                assert_eq!((more("/bad", "user_agent"), more("/head", "referer")), (Some("-"), Some("-")));
            }
            _ => {
                assert_eq!((more("/plain", "upstream"), more("/plain", "attempts")), (Some("live-1"), Some("1")));
                assert_eq!((more("/bad", "upstream"), more("/bad", "attempts")), (Some("-"), Some("0")));
            }
        }
        if format == "json" {
            let wanted = [("method", "POST"), ("version", "HTTP/1.1"), ("host", "h.test"), ("cache", "-"), ("user_agent", "-")];
            wanted.iter().for_each(|(name, value)| assert_eq!(more("/upload", name), Some(*value), "{name}"));
            let bytes_in = more("/upload", "bytes_in").unwrap().parse::<usize>().unwrap();
            assert_eq!(bytes_in, "hello".len());
        }
    }
}

#[test]
fn no_request_forges_a_line_in_any_format() {
    let origin = Origin::hello();
    let evil = "x\\\" 200 \"\t{\"a\":1},\u{e9}\u{2028}\u{85}\u{9b}2J";
    let requests = [
        format!("GET /0 HTTP/1.1\r\nHost: h\r\nUser-Agent: {evil}\r\nReferer: {evil}\r\n\r\n").into_bytes(),
        b"GET /1 HTTP/1.1\r\nHost: h\r\nUser-Agent: \xff\xfe\x80\xc3\r\n\r\n".to_vec(),
        b"GET /2\"b\\c%0a%00 HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"GET /3\n{\"time\":\"forged\"}\n HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"GET /4 HTTP/1.1\r\nHost: h\r\nUser-Agent: a\r\n forged\r\n\r\n".to_vec(),
        b"GET /5\x1b[2J HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
        b"GET /6 HTTP/1.1\r\nHost: \"}\\ forged\r\n\r\n".to_vec(),
        b"\x00\xff{} / HTTP/1.1\r\nHost: h\r\n\r\n".to_vec(),
    ];
    for (format, read) in FORMATS {
        let proxy = Config::to(&origin).set("logging.access_format", format).start();
        requests.iter().for_each(|request| drop(ask(proxy.addr(), request)));
        wait_until("all are logged", || proxy.log_lines().len() >= requests.len());
        for line in proxy.log_lines() {
            assert!(!line.chars().any(char::is_control), "{line:?}");
            let line = read(&line);
            assert!(line.client == "127.0.0.1" && (line.status == 200 || line.status == 400), "{line:?}");
        }
        assert_eq!(proxy.log_lines().len(), requests.len(), "{:#?}", proxy.log_lines());
    }
}

#[test]
fn a_directory_is_made_and_holds_both_logs() {
    let origin = Origin::hello();
    for (by_variable, error_log) in [(false, None), (true, None), (false, Some("sub/errors.log"))] {
        let mut config = Config::to(&origin);
        if !by_variable {
            config = config.set("logging.dir", "made/of/three");
        }
        if let Some(path) = error_log {
            config = config.set("logging.error_log", path).set("logging.access_log", "sub/requests.log");
        }
        let launch = config.launch();
        let launch = if by_variable { launch.env("LOG_DIR", "made/of/three") } else { launch };
        let proxy = launch.start();
        let answer = proxy.get("/one").expect(200);
        let dir = proxy.dir().join("made/of/three");
        let read = |name: &str| lines::of_file(&dir.join(name)).join("\n");
        let (access, errors) = if error_log.is_some() { ("sub/requests.log", "sub/errors.log") } else { ("access.log", "error.log") };
        wait_until("its line is there", || read(access).contains(answer.trace_id()));
        assert_eq!(read(access).lines().map(Line::text).count(), 1);
        wait_until("diagnostics go to the other file", || read(errors).contains("ready listen="));
        assert_eq!(proxy.diagnostics().len(), 1, "and only the ready line to standard error: {:?}", proxy.diagnostics());
        assert!(proxy.log_lines().is_empty());
    }
}

/// `access.log`, `access.log.1`, … that exist, the newest first.
fn generations(path: &Path) -> Vec<PathBuf> {
    let old = (1..100).map(|n| PathBuf::from(format!("{}.{n}", path.display())));
    std::iter::once(path.to_owned()).chain(old).filter(|path| path.exists()).collect()
}

fn targets(path: &Path) -> Vec<String> {
    lines::of_file(path).iter().map(|line| Line::text(line).target().to_owned()).collect()
}

#[test]
fn a_file_is_rotated_and_so_many_old_ones_are_kept() {
    let origin = Origin::hello();
    for (keep, requests) in [(3, 200), (1, 60)] {
        let logging = json!({"access_log": "access.log", "rotate": {"max_bytes": 4096, "keep": keep}});
        let proxy = Config::to(&origin).set("logging", logging).start();
        let path = proxy.dir().join("access.log");
        let mut client = proxy.client();
        (0..requests).for_each(|i| drop(client.get(&format!("/{i}")).expect(200)));
        let last = format!("/{}", requests - 1);
        wait_until("the last one is written", || targets(&path).last() == Some(&last));
        let files = generations(&path);
        assert_eq!(files.len(), 1 + keep, "{files:?}");
        for (i, file) in files.iter().enumerate() {
            let size = std::fs::metadata(file).unwrap().len();
            assert!(size <= 4096 && (i == 0 || size > 3500), "{} has {size} bytes", file.display());
        }
        let kept: Vec<_> = files.iter().rev().flat_map(|file| targets(file)).collect();
        let wanted: Vec<_> = (requests - kept.len()..requests).map(|i| format!("/{i}")).collect();
        assert_eq!(kept, wanted, "the newest, in order, without a gap");
        assert_eq!(proxy.metric("proxy_access_log_dropped_total", &[]), 0.0);
    }
}

#[test]
fn the_error_log_is_rotated_too() {
    let logging = json!({"error_log": "error.log", "rotate": {"max_bytes": 1500, "keep": 2}});
    let config = |n: usize| Config::new().set("logging", logging.clone()).set("routes", json!([{"respond": {"body": format!("{n}")}}]));
    let proxy = config(0).start();
    let path = proxy.dir().join("error.log");
    let text = || generations(&path).iter().rev().flat_map(|path| lines::of_file(path)).collect::<Vec<_>>().join("\n");
    for n in 1..=40 {
        proxy.reload(&config(n));
    }
    wait_until("the last reload is told", || text().contains("\"39\" -> \"40\"") || text().contains("40"));
    assert_eq!(generations(&path).len(), 3);
    assert!(text().lines().all(|line| line.as_bytes().get(10) == Some(&b'T')), "whole lines: {}", text());
}

#[test]
fn after_a_rename_and_sigusr1_the_lines_go_on_in_a_new_file() {
    let origin = Origin::busy("a");
    let logging = json!({"access_log": "access.log", "error_log": "error.log"});
    let proxy = Config::to(&origin).set("workers", 2).set("logging", logging).start();
    let path = |name: &str| proxy.dir().join(name);
    let load = Load::start(proxy.addr(), 3, 2, Duration::from_millis(2));
    for n in 0..10 {
        load.wait_for_more(20);
        for name in ["access.log", "error.log"] {
            std::fs::rename(path(name), path(&format!("{name}-{n}"))).unwrap();
        }
        load.wait_for_more(5); // they still go to the file that has another name now
        proxy.signal("USR1");
        wait_until("both are there again", || path("access.log").exists() && path("error.log").exists());
    }
    load.wait_for_more(20);
    let tally = load.stop();
    tally.expect_flawless();
    let names = || (0..10).map(|n| format!("access.log-{n}")).chain(["access.log".to_owned()]);
    let counts = || {
        let mut counts = BTreeMap::new();
        names().flat_map(|name| targets(&path(&name))).for_each(|target| *counts.entry(target).or_insert(0) += 1);
        counts
    };
    wait_until("all are written", || counts().len() >= tally.targets.len());
    assert!(counts().values().all(|n| *n == 1) && counts().len() == tally.targets.len());
    assert!(names().all(|name| targets(&path(&name)).len() >= 5), "each file has its time");
    assert_eq!(proxy.metric("proxy_access_log_dropped_total", &[]), 0.0);
}

/// Every user of the machine used to be able to read the log.
#[test]
fn a_log_file_is_for_its_owner_and_group() {
    use std::os::unix::fs::PermissionsExt;
    let origin = Origin::hello();
    let logging = json!({"access_log": "access.log", "error_log": "error.log"});
    let proxy = Config::to(&origin).set("logging", logging).start();
    proxy.get("/").expect(200);
    for name in ["access.log", "error.log"] {
        let path = proxy.dir().join(name);
        wait_until("it is there", || path.exists());
        let mode = std::fs::metadata(path).unwrap().permissions().mode() & 0o777;
        // The umask of this process may remove more permissions.
        assert!(mode & 0o600 == 0o600 && mode & !0o640 == 0, "{name}: {mode:o}");
    }
}
