//! What a health check asks, and what its answer must contain.

use crate::support::patient::{Patient, checked, checks, wait_for};
use crate::support::*;
use serde_json::{Value, json};

/// Answers checks with those bytes and nothing more, and everything else with `here`.
fn answering(bytes: impl Into<Vec<u8>>) -> Origin {
    let bytes = bytes.into();
    Origin::each(move |conn, request| match request.target.as_str() {
        "/health" => conn.send(&bytes),
        _ => conn.answer("here"),
    })
}

fn known(body: &str) -> String {
    format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

fn chunked(pieces: &[&str]) -> String {
    let chunks: String = pieces.iter().chain(&[""]).map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect();
    format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}")
}

fn last_error(proxy: &Proxy, index: usize) -> Value {
    proxy.backend(index)["last_error"].clone()
}

#[test]
fn a_check_is_sent_as_configured() {
    let origin = Origin::hello();
    let check = json!({
        "path": "/up", "interval_ms": 60_000, "method": "POST", "host": "shop.test",
        "headers": {"Authorization": "Bearer abc", "user-agent": "probe/1"},
    });
    let proxy = Config::to(&origin).set("health_check", check).start();
    wait_for(&proxy, 0, "passing");
    let request = origin.request();
    assert_eq!(request.what(), "POST /up");
    for (name, value) in [
        ("Host", "shop.test"),
        ("Authorization", "Bearer abc"),
        ("User-Agent", "probe/1"),
        ("Content-Length", "0"),
        ("Connection", "close"),
    ] {
        assert_eq!(request.fields.all(name), [value], "{name}");
    }
}

#[test]
fn another_port_may_be_checked() {
    let (service, sidecar) = (Patient::named("service"), Patient::named("sidecar"));
    let proxy = checked(&[&service.origin]).set("health_check.port", sidecar.origin.port()).start();
    wait_for(&proxy, 0, "passing");
    assert_eq!(proxy.get("/").expect(200).text(), "service");
    sidecar.says(500);
    wait_for(&proxy, 0, "failing");
    assert_eq!(service.checks(), 0);
    let host = sidecar.origin.requests()[0].fields.get("Host").map(str::to_owned);
    assert_eq!(host, Some(service.origin.addr().to_string()), "the upstream is asked for by its own name");
}

#[test]
fn head_is_enough_where_the_status_is() {
    let origin = answering("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n");
    let proxy = checked(&[&origin]).set("health_check.method", "HEAD").start();
    wait_for(&proxy, 0, "passing");
    wait_until("each check ends without the content", || checks(&origin) >= 3);
    assert!(origin.requests().iter().all(|request| request.method == "HEAD"));
}

#[test]
fn a_text_is_found_in_every_framing() {
    let filled = |before: usize| format!("{}ready", "x".repeat(before));
    let origins = [
        answering(known("{\"state\": \"ready\"}")),
        answering(chunked(&["re", "a", "dy"])),
        answering(known(&filled(16_384 - 5))),
        answering(chunked(&[&filled(16_384 - 5), &"y".repeat(100_000)])),
        // Its body never ends, and need not: the text is there.
        answering("HTTP/1.1 200 OK\r\n\r\nready, and"),
        answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nready\r\n"),
    ];
    let proxy = checked(&origins.each_ref()).set("health_check.expected_body", "ready").start();
    for index in 0..origins.len() {
        wait_for(&proxy, index, "passing");
        assert_eq!(last_error(&proxy, index), Value::Null);
    }
}

#[test]
fn without_the_text_it_fails() {
    let beyond = format!("{}ready", "x".repeat(16_384 - 4));
    let in_body = "answered 200, but \"ready\" is not in its body";
    let in_part = "answered 200, but \"ready\" is not in the first 16 KiB of its body";
    let closing = Origin::each(|conn, _| {
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nrea");
        conn.close();
    });
    let cases = [
        (answering(known("starting")), in_body),
        (answering(chunked(&["rea", "-", "dy"])), in_body),
        (answering("HTTP/1.1 204 No Content\r\n\r\n"), "answered 204, but \"ready\" is not in its body"),
        (answering(known(&beyond)), in_part),
        (answering(chunked(&[&beyond])), in_part),
        (closing, "closed the connection within the body of its answer"),
        (answering(known("ready").replace("200", "503")), "answered 503, expected 200 to 399"),
        (
            answering("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nready"),
            "its answer is malformed: a chunk size is not plain hexadecimal digits",
        ),
    ];
    let proxy = checked(&cases.each_ref().map(|(origin, _)| origin)).set("health_check.expected_body", "ready").start();
    for (index, (_, error)) in cases.iter().enumerate() {
        wait_for(&proxy, index, "failing");
        assert_eq!(last_error(&proxy, index), *error);
    }
}

#[test]
fn a_body_without_end_and_without_the_text_fails_in_time() {
    let silent = answering("HTTP/1.1 200 OK\r\n\r\nstarting");
    let endless = Origin::each(|conn, _| {
        let _ = conn.wire().write(b"HTTP/1.1 200 OK\r\n\r\n");
        while conn.wire().write(&[b'x'; 4096]).is_ok() {}
    });
    let check = |config: Config| config.set("health_check.expected_body", "ready").set("health_check.timeout_ms", 1000);
    let proxy = check(checked(&[&silent, &endless])).start();
    wait_for(&proxy, 0, "failing");
    assert_eq!(last_error(&proxy, 0), "answered 200, but \"ready\" is not in what it sent within 1000 ms");
    wait_for(&proxy, 1, "failing");
    let said = last_error(&proxy, 1).as_str().unwrap_or_default().to_owned();
    assert!(said.starts_with("answered 200, but \"ready\" is not in "), "{said}");
}
