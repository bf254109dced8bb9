//! Unix sockets: clients come through them, upstreams are behind them, and their files come and go with who listens.

use crate::support::*;
use serde_json::json;
use std::io::{Read, Write};
use std::os::unix::fs::{FileTypeExt, PermissionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};

/// A directory, and the address of a socket in it.
struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    fn new() -> Place {
        Place { dir: tempfile::tempdir().unwrap() }
    }

    fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    fn unix(&self, name: &str) -> String {
        format!("unix:{}", self.path(name).display())
    }
}

/// A backend that answers with the head that it was sent.
fn echo(address: &str) -> Proxy {
    Launch::new(["echo", address]).start()
}

fn answering(listen: serde_json::Value, text: &str) -> Config {
    Config::new().set("listen", listen).set("routes", json!([{"respond": {"body": text}}]))
}

fn ask_unix(path: &Path, bytes: &str) -> Response {
    let mut client = Client::connect_unix(path);
    client.send(bytes);
    client.response()
}

const GET: &str =
    "GET /a HTTP/1.1\r\nHost: play.test\r\nX-Forwarded-For: 192.0.2.7\r\nForwarded: for=192.0.2.7\r\nConnection: close\r\n\r\n";

#[test]
fn requests_come_and_go_through_unix_sockets() {
    let place = Place::new();
    let _echo = echo(&place.unix("up"));
    let config = Config::new().set("upstreams", json!([{"url": place.unix("up")}])).set("listen", json!(["127.0.0.1:0", place.unix("in")]));
    let proxy = config.clone().start();
    assert!(proxy.ready.contains(&place.unix("in")), "{}", proxy.ready);

    let through_tcp = get(proxy.addr(), "/a").expect(200);
    assert!(through_tcp.text().contains("X-Forwarded-For: 127.0.0.1\n"), "{}", through_tcp.text());
    assert!(through_tcp.text().contains("Host: play.test\n"), "{}", through_tcp.text());

    let through_unix = ask_unix(&place.path("in"), GET).expect(200);
    assert!(!through_unix.text().contains("orwarded-For"), "who has no address adds none: {}", through_unix.text());
    assert!(!through_unix.text().contains("192.0.2.7"), "and is not trusted: {}", through_unix.text());
    let line = proxy.log_of(through_unix.trace_id());
    assert!(line.contains(" unix \"GET /a HTTP/1.1\" 200 ") && line.contains(&format!(" upstream={} ", place.unix("up"))), "{line}");

    let without_host = ask_unix(&place.path("in"), "GET / HTTP/1.0\r\n\r\n").expect(200);
    assert!(without_host.text().contains("Host: localhost\n"), "{}", without_host.text());

    proxy.reload(&config.set("headers.trusted_proxies", json!(["unix"])));
    let trusted = ask_unix(&place.path("in"), GET).expect(200);
    assert!(trusted.text().contains("X-Forwarded-For: 192.0.2.7\n"), "{}", trusted.text());
    assert!(trusted.text().contains("Forwarded: for=unix;proto=http\n"), "{}", trusted.text());
    let line = proxy.log_of(trusted.trace_id());
    assert!(line.contains(" 192.0.2.7 \"GET /a"), "{line}");
    // A trusted proxy that names nobody has nobody added either.
    let nobody = ask_unix(&place.path("in"), "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n").expect(200);
    assert!(!nobody.text().contains("X-Forwarded-For"), "{}", nobody.text());
}

/// Long enough to go past the ring in both directions, and more than a socket holds.
#[test]
fn long_contents_pass_whole() {
    let place = Place::new();
    let listener = UnixListener::bind(place.path("up")).unwrap();
    let content: Vec<u8> = (0..5_000_000u32).map(|n| (n % 251) as u8).collect();
    let wanted = content.clone();
    let origin = std::thread::spawn(move || {
        let mut stream = listener.accept().unwrap().0;
        let mut got = Vec::new();
        let mut piece = vec![0; 65_536];
        let start = loop {
            let n = stream.read(&mut piece).unwrap();
            got.extend_from_slice(&piece[..n]);
            if let Some(at) = got.windows(4).position(|four| four == b"\r\n\r\n") {
                break at + 4;
            }
        };
        while got.len() < start + wanted.len() {
            let n = stream.read(&mut piece).unwrap();
            assert!(n > 0, "cut");
            got.extend_from_slice(&piece[..n]);
        }
        assert!(got[start..] == wanted, "the content is another");
        write!(stream, "HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", wanted.len()).unwrap();
        stream.write_all(&wanted).unwrap();
    });
    let config = Config::new().set("upstreams", json!([{"url": place.unix("up")}])).set("listen", json!([place.unix("in")]));
    let _proxy = config.set("limits.max_body_size", 10_000_000).start();
    let mut client = Client::connect_unix(place.path("in"));
    client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\nConnection: close\r\n\r\n", content.len()));
    client.send(&content);
    let answer = client.response().expect(200);
    assert!(answer.body == content, "{} bytes", answer.body.len());
    origin.join().unwrap();
}

#[test]
fn the_file_has_its_mode_and_goes_with_the_process() {
    let place = Place::new();
    for (given, mode) in [(json!([place.unix("in")]), 0o660), (json!([{"address": place.unix("in"), "mode": "0600"}]), 0o600)] {
        let mut proxy = answering(given, "hello").set("workers", 2).start();
        assert_eq!(std::fs::metadata(place.path("in")).unwrap().permissions().mode() & 0o777, mode);
        for _ in 0..20 {
            assert_eq!(ask_unix(&place.path("in"), GET).expect(200).text(), "hello");
        }
        proxy.signal("TERM");
        assert_eq!(proxy.wait_exit(), 0);
        assert!(!place.path("in").exists());
    }
}

#[test]
fn what_a_killed_process_left_is_replaced_and_what_is_in_use_is_not() {
    let place = Place::new();
    drop(answering(json!([place.unix("in")]), "first").start());
    assert!(std::fs::symlink_metadata(place.path("in")).unwrap().file_type().is_socket(), "a killed process leaves its file");
    let second = answering(json!([place.unix("in")]), "second").start();
    let (status, _, said) = answering(json!([place.unix("in")]), "third").launch().run();
    assert_eq!(status, 1, "{said}");
    assert!(said.contains(&format!("listen {}: ", place.unix("in"))) && said.contains("another program listens there"), "{said}");
    assert_eq!(ask_unix(&place.path("in"), GET).expect(200).text(), "second");
    drop(second);

    std::fs::write(place.path("file"), "precious").unwrap();
    let (status, _, said) = answering(json!([place.unix("file")]), "fourth").launch().run();
    assert!(status == 1 && said.contains("it is no socket"), "{said}");
    assert_eq!(std::fs::read_to_string(place.path("file")).unwrap(), "precious");

    let (status, _, said) = answering(json!([place.unix("none/in")]), "fifth").launch().run();
    assert!(status == 1 && said.contains("the directory does not exist"), "{said}");
}

#[test]
fn a_reload_adds_and_removes_sockets() {
    let place = Place::new();
    let proxy = answering(json!(["127.0.0.1:0", place.unix("a")]), "one").start();
    let mut kept = Client::connect_unix(place.path("a"));
    kept.get("/").expect(200);
    let stays = json!({"address": place.unix("a"), "mode": "0666"});
    proxy.reload(&answering(json!(["127.0.0.1:0", stays, place.unix("b")]), "two"));
    assert_eq!(std::fs::metadata(place.path("a")).unwrap().permissions().mode() & 0o777, 0o666);
    assert_eq!(ask_unix(&place.path("b"), GET).expect(200).text(), "two");
    assert_eq!(kept.get("/").expect(200).text(), "two");
    proxy.reload(&answering(json!(["127.0.0.1:0", place.unix("b")]), "three"));
    assert!(!place.path("a").exists(), "nobody listens there any more");
    assert_eq!(ask_unix(&place.path("b"), GET).expect(200).text(), "three");
    // One that cannot be bound takes no other with it.
    std::fs::write(place.path("file"), "").unwrap();
    let refused = answering(json!(["127.0.0.1:0", place.unix("c"), place.unix("file")]), "four").0.to_string();
    proxy.reload_in_vain(&refused);
    assert!(!place.path("c").exists());
    assert_eq!(ask_unix(&place.path("b"), GET).expect(200).text(), "three");
}

#[test]
fn where_nobody_listens_the_next_upstream_is_asked() {
    let place = Place::new();
    let _echo = echo(&place.unix("there"));
    drop(UnixListener::bind(place.path("stale")).unwrap());
    for gone in ["stale", "missing"] {
        let alone = Config::new().set("upstreams", json!([{"url": place.unix(gone)}])).start();
        let answer = alone.get("/").expect(502);
        assert!(answer.text().contains("connection_refused"), "{}", answer.text());
        let upstreams = json!([{"url": place.unix(gone)}, {"url": place.unix("there")}]);
        let both = Config::new().set("upstreams", upstreams).set("retry.max_retries", 1).start();
        for _ in 0..4 {
            both.get("/").expect(200);
        }
    }
}

/// The kernel refuses to wait in the queue of a Unix socket where that is full: requests do.
#[test]
fn an_upstream_that_is_slow_to_accept_loses_nothing() {
    let place = Place::new();
    let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
    socket.bind(&socket2::SockAddr::unix(place.path("up")).unwrap()).unwrap();
    socket.listen(0).unwrap();
    let proxy = Config::new().set("upstreams", json!([{"url": place.unix("up")}])).start();
    let mut clients: Vec<Client> = (0..5).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/"));
    let listener = UnixListener::from(std::os::fd::OwnedFd::from(socket));
    let is_full = || {
        let probe = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        probe.set_nonblocking(true).unwrap();
        let connect = probe.connect(&socket2::SockAddr::unix(place.path("up")).unwrap());
        connect.is_err_and(|error| error.kind() == std::io::ErrorKind::WouldBlock)
    };
    wait_until("there is no room for one more", is_full);
    std::thread::spawn(move || {
        for stream in listener.incoming().map_while(Result::ok) {
            std::thread::spawn(move || answer(stream));
        }
    });
    for client in &mut clients {
        client.response().expect(200);
    }
}

/// As of any upstream; and what keeps it out is said in words.
#[test]
fn health_checks_go_through_unix_sockets() {
    let place = Place::new();
    let check = json!({"path": "/up", "interval_ms": 50, "timeout_ms": 2000, "failure_threshold": 1, "success_threshold": 1});
    let config = Config::new().set("upstreams", json!([{"url": place.unix("up")}])).set("health_check", check);
    let proxy = config.start();
    let backend = || proxy.backend(0);
    wait_until("it fails", || backend()["health_check"] == "failing");
    assert!(backend()["last_error"].as_str().unwrap().contains("No such file or directory"), "{}", backend());
    let _echo = echo(&place.unix("up"));
    wait_until("it passes", || backend()["health_check"] == "passing");
    let answer = proxy.get("/").expect(200);
    assert!(answer.text().contains("GET / HTTP/1.1"), "{}", answer.text());
}

fn answer(mut stream: UnixStream) {
    let mut head = [0; 4096];
    while stream.read(&mut head).is_ok_and(|n| n > 0) {
        if stream.write_all(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok").is_err() {
            return;
        }
    }
}

#[test]
fn on_the_command_line() {
    let place = Place::new();
    let _echo = echo(&place.unix("up"));
    let proxy = Launch::new(["--to", &place.unix("up"), "--listen", "127.0.0.1:0"]).env("METRICS_LISTEN_PORT", 0).start();
    proxy.get("/").expect(200);
    let backends = get(proxy.admin(), "/backends/health").expect(200);
    assert!(backends.text().contains(&format!("\"address\":\"{}\"", place.unix("up"))), "{}", backends.text());
    let config = |path: &str| Config::new().set("upstreams", json!([{"url": path}])).0.to_string();
    for (path, wanted) in [("unix:a.sock", "the whole path of its file"), (&format!("unix:/{}", "x".repeat(107)), "at most 107 bytes")] {
        let (status, _, said) = Launch::new(["check", "c.yaml"]).file("c.yaml", &config(path)).run();
        assert!(status == 2 && said.contains(wanted), "{status} {said}");
    }
}

/// How many descriptors each poller of a process watches.
fn watched(proxy: &Proxy) -> Vec<usize> {
    let process = PathBuf::from(format!("/proc/{}", proxy.pid()));
    let count = |fd: std::fs::DirEntry| {
        let is_poller = std::fs::read_link(fd.path()).is_ok_and(|what| what.ends_with("anon_inode:[eventpoll]"));
        let info = std::fs::read_to_string(process.join("fdinfo").join(fd.file_name())).ok().filter(|_| is_poller)?;
        Some(info.lines().filter(|line| line.starts_with("tfd:")).count())
    };
    std::fs::read_dir(process.join("fd")).unwrap().filter_map(|fd| count(fd.unwrap())).collect()
}

#[test]
fn workers_share_the_connections_that_come_one_by_one() {
    let place = Place::new();
    let proxy = answering(json!([place.unix("in")]), "hi").set("workers", 2).start();
    let clients: Vec<Client> = (0..60)
        .map(|_| {
            let mut client = Client::connect_unix(place.path("in"));
            client.send_get("/");
            client.response().expect(200);
            client
        })
        .collect();
    let watched = watched(&proxy);
    assert!(watched.iter().all(|&count| count >= 20), "{watched:?}");
    drop(clients);
}
