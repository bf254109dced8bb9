//! What remains after requests: one line for each, and nothing else.

use crate::support::*;
use std::time::Duration;

/// `time client "request" status bytes seconds …`: the parts before and after the request line, if it is such a line.
fn split_log(line: &str) -> Option<(Vec<&str>, &str, Vec<&str>)> {
    let (before, rest) = line.split_once(" \"")?;
    let (request, after) = rest.rsplit_once("\" ")?;
    let (before, after): (Vec<_>, Vec<_>) = (before.split(' ').collect(), after.split(' ').collect());
    let stamp = before[0].len() == 24 && before[0].ends_with('Z') && before[0].as_bytes()[10] == b'T';
    (before.len() == 2 && after.len() >= 5 && stamp).then_some((before, request, after))
}

#[test]
fn the_access_log_has_one_line_for_each_request() {
    let origin = Origin::each(|conn, request| match request.target.as_str() {
        "/missing" => conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 4\r\n\r\nnone"),
        _ => conn.answer(request.what()),
    });
    let proxy = Config::to(&origin).set("workers", 2).start();
    let mut ids = Vec::new();
    for i in 0..30 {
        let mut client = proxy.client();
        let addr = client.addr().to_string();
        for (path, status, bytes) in [(format!("/a?{i}"), "200", 4 + 3 + i.to_string().len()), ("/missing".into(), "404", 4)] {
            let answer = client.get(&path);
            let line = proxy.log_of(answer.trace_id());
            let (before, request, after) = split_log(&line).unwrap_or_else(|| panic!("{line:?}"));
            assert_eq!((before[1], request), (addr.as_str(), format!("GET {path} HTTP/1.1").as_str()));
            assert_eq!(after[..2], [status, bytes.to_string().as_str()], "{line:?}");
            assert!(after[2].parse::<f64>().is_ok_and(|s| s < 10.0), "{line:?}");
            let (upstream, trace_id) = (format!("upstream={}", origin.addr()), format!("trace_id={}", answer.trace_id()));
            assert_eq!(after[3..], [upstream.as_str(), "attempts=1", trace_id.as_str()]);
            ids.push(answer.trace_id().to_owned());
        }
    }
    assert_eq!(proxy.log_lines().len(), 60);
    ids.sort();
    ids.dedup();
    assert_eq!(ids.len(), 60);
}

#[test]
fn the_access_log_may_be_a_file() {
    let origin = Origin::hello();
    let file = tempfile::NamedTempFile::new().unwrap();
    let proxy = Config::to(&origin).set("logging.access_log", file.path().to_str().unwrap()).start();
    let answer = proxy.get("/filed").expect(200);
    let read = || std::fs::read_to_string(file.path()).unwrap();
    wait_until("its line is in the file", || read().contains(answer.trace_id()));
    assert!(read().lines().count() == 1 && read().contains("\"GET /filed HTTP/1.1\" 200 10 "), "{:?}", read());
    assert!(proxy.log_lines().is_empty());
}

#[test]
fn no_request_can_forge_a_line() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let forged = "2026-01-02T03:04:05.678Z 6.6.6.6:1 \"GET /forged HTTP/1.1\" 200 1 0.001 upstream=x attempts=1 trace_id=y";
    let requests = [
        "GET /a\" 200 1 0.001 upstream=x attempts=1 trace_id=y HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        format!("GET /a\n{forged}\n HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("GET /a\r{forged}\r HTTP/1.1\r\nHost: a\r\n\r\n"),
        format!("{forged}\r\n\r\n"),
        "GET /\x1b[2J\x1b[31m HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /a\"b\\c%0a HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "GET /\u{85}\u{2028}\u{9b} HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
        "\0\x01\x02\u{7f} / HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(),
    ];
    for request in &requests {
        let answer = ask(proxy.addr(), request);
        proxy.log_of(answer.trace_id());
    }
    let lines = proxy.log_lines();
    assert_eq!(lines.len(), requests.len(), "{lines:#?}");
    for line in &lines {
        assert!(line.bytes().all(|b| (b' '..=b'~').contains(&b)), "{line:?}");
        let (before, ..) = split_log(line).unwrap_or_else(|| panic!("{line:?}"));
        assert!(before[1].starts_with("127.0.0.1:"), "{line:?}");
    }
    assert!(lines[4].contains("\\x1b[2J"), "{:?}", lines[4]);
}

#[test]
fn a_client_that_leaves_is_the_one_to_blame() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |conn| {
        let Some(request) = conn.read_request() else { return };
        if request.target == "/begun" {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\npart");
        }
        opened.release(1);
        conn.wait_for_end();
    });
    let proxy = Config::to(&origin).start();
    for path in ["/waiting", "/begun"] {
        let mut client = proxy.client();
        client.send_get(path);
        gate.pass();
        if path == "/begun" {
            assert_eq!(client.head().unwrap().status, 200);
        }
        client.reset();
        let line = proxy.log_with(&format!("\"GET {path} HTTP/1.1\""));
        assert!(line.contains("\" 499 ") && line.contains(" error=client_aborted "), "{line:?}");
        wait_until("the origin is let go", || origin.open() == 0);
    }
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0, "no fault of the upstream");
    assert_eq!(proxy.metric("proxy_client_connections", &[]), 0.0);
}

/// Everything is back where it was: gauges, descriptors.
#[track_caller]
fn expect_calm(proxy: &Proxy, fds: usize) {
    wait_until("no client is counted", || proxy.metric("proxy_client_connections", &[]) == 0.0);
    wait_until("no exchange is counted", || proxy.metric("proxy_upstream_connections", &["state=\"active\""]) == 0.0);
    assert_eq!(proxy.metric("proxy_queued_requests", &[]), 0.0);
    wait_until("no descriptor is left over", || {
        let idle = proxy.metric("proxy_upstream_connections", &["state=\"idle\""]) as usize;
        proxy.fds() <= fds + idle + 1 // the scrape's own connection may still be closing
    });
}

#[test]
fn clients_that_reset_at_any_point_leave_nothing_behind() {
    let origin = Origin::each(|conn, request| {
        let n = 1000 * request.body.len().min(200);
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {n}\r\n\r\n"));
        conn.send(vec![b'x'; n]);
    });
    let proxy = Config::to(&origin).set("workers", 2).start();
    let body = "b".repeat(300);
    let request = format!("POST /r HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    let (mut dice, fds) = (Dice(42), proxy.fds());
    let round = |dice: &mut Dice| {
        for _ in 0..400 {
            let mut client = proxy.client();
            let sent = dice.below(request.len() + 200).min(request.len()); // often all of it
            client.send(&request[..sent]);
            if sent == request.len() {
                let taken = client.wire.take(dice.below(200_000), &mut Vec::new());
                assert_eq!(taken, Ok(()), "the answer is whole");
            }
            match dice.below(4) {
                0 => drop(client),
                _ => client.reset(),
            }
        }
    };
    round(&mut dice);
    expect_calm(&proxy, fds);
    let rss = proxy.rss_bytes();
    round(&mut dice);
    round(&mut dice);
    expect_calm(&proxy, fds);
    let growth = proxy.rss_bytes().saturating_sub(rss);
    assert!(growth < 4 << 20, "grew by {growth} bytes");
    proxy.client().post("/after", "x").expect(200);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &[]), 0.0);
}

#[test]
fn origins_that_reset_at_any_point_leave_nothing_behind() {
    let dice = std::sync::Mutex::new(Dice(43));
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", "5\r\nhello\r\n".repeat(100));
    let origin = Origin::each(move |conn, _| {
        let (cut, how) = {
            let mut dice = dice.lock().unwrap();
            (dice.below(answer.len() + 300).min(answer.len()), dice.below(3))
        };
        conn.send(&answer[..cut]);
        match how {
            0 => conn.reset(),
            1 => conn.close(),
            _ if cut < answer.len() => conn.close(),
            _ => {}
        }
    });
    let proxy = Config::to(&origin).set("workers", 2).start();
    let fds = proxy.fds();
    let mut whole = 0;
    for _ in 0..500 {
        let answer = proxy.get("/");
        match (answer.status, answer.cut) {
            (200, None) => {
                assert_eq!(answer.body.len(), 500);
                whole += 1;
            }
            (200, Some(_)) | (502, None) => {}
            _ => panic!("{answer:?}"),
        }
    }
    assert!(whole > 20, "{whole}");
    expect_calm(&proxy, fds);
    assert_eq!(proxy.metric("proxy_request_duration_seconds_count", &[]), 500.0);
    wait_until("each is logged", || proxy.log_lines().len() == 500);
}

#[test]
fn idle_connections_let_the_workers_sleep() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("workers", 2).start();
    let mut clients: Vec<_> = (0..200).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.get("/").expect(200);
    }
    wait_until("each is logged", || proxy.log_lines().len() == 200);
    let before = proxy.sleeps();
    take_time(Duration::from_secs(3)); // over which it is counted
    let after = proxy.sleeps();
    let woken: Vec<_> = before.iter().zip(&after).map(|(b, a)| a - b).collect();
    assert!(before.len() == after.len() && woken.iter().all(|n| *n <= 1), "threads woke {woken:?} times in 3 s");
    for client in &mut clients {
        client.get("/again").expect(200);
    }
}

#[test]
fn threads_are_few_and_known() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("workers", 2).start();
    let mut clients: Vec<_> = (0..50).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.get("/").expect(200);
    }
    assert!(proxy.threads() <= 2 + 4, "{} threads for two workers", proxy.threads());
}
