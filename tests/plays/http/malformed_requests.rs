//! What two parsers could read differently is refused, and a refusal says the same in the answer, the log and the metrics.

use crate::support::*;

/// Heads that must not pass, and what may be answered.
fn malformed_heads() -> Vec<(&'static str, &'static [u16])> {
    const BAD: &[u16] = &[400];
    const CODING: &[u16] = &[400, 501];
    const VERSION: &[u16] = &[400, 505];
    let mut cases = Vec::new();
    cases.extend(
        [
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\nContent-Length: 4\r\n\r\nabcd",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3, 4\r\n\r\nabcd",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3,\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: +3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0x3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3a\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 3 3\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: \"3\"\r\n\r\nabc",
            "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 18446744073709551619\r\n\r\nabc",
            "POST / HTTP/1.0\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\nHost: a\n\n",
            "GET / HTTP/1.1\r\nHost: a\nX: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n z\r\n\r\n",
            "GET / HTTP/1.1\r\n Host: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding : chunked\r\n\r\n0\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX(: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\0z\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX\0: y\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\x01z\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\x7fz\r\n\r\n",
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\nhost: b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a/b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a?b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: http://a\r\n\r\n",
            "GE(T / HTTP/1.1\r\nHost: a\r\n\r\n",
            " GET / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\x01 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\0 HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET\t/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "HTTP/1.1 200 OK\r\nHost: a\r\n\r\n",
            "\0\r\n\r\n",
        ]
        .map(|case| (case, BAD)),
    );
    cases.extend(
        [
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, identity\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: gzip\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked;q=1\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \"chunked\"\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: \x0bchunked\r\n\r\n0\r\n\r\n",
            "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\r\n\r\n0\r\n\r\n",
        ]
        .map(|case| (case, CODING)),
    );
    cases.extend(
        [
            "GET /\r\nHost: a\r\n\r\n",
            "GET / b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / http/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1x\r\nHost: a\r\n\r\n",
        ]
        .map(|case| (case, VERSION)),
    );
    cases
}

#[test]
fn a_malformed_head_is_refused_and_nothing_reaches_the_origin() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let cases = malformed_heads();
    for (head, statuses) in &cases {
        let answer = refused(&proxy, head, statuses);
        let reason = match answer.status {
            501 => "http_request_transfer_coding",
            505 => "http_version",
            _ => "http_request_error",
        };
        let status = answer.status;
        proxy.expect_refusal(answer, status, reason);
    }
    assert_eq!(origin.connections(), 0);
    let certain = cases.iter().filter(|(_, statuses)| *statuses == [400]).count();
    assert!(proxy.metric("proxy_requests_parse_errors_total", &[]) >= certain as f64);
    assert_eq!(proxy.metric("proxy_requests_total", &[]), cases.len() as f64);
    assert_eq!(proxy.metric("proxy_responses_total", &["status_class=\"2xx\""]), 0.0);
    proxy.get("/still-there").expect(200);
}

#[test]
fn a_malformed_head_is_refused_even_in_small_pieces_and_behind_a_good_one() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    for head in ["GET / HTTP/1.1\r\nHost: a\r\nX : y\r\n\r\n", "GET / HTTP/1.1\r\nHost: a\r\nX: y\rz\r\n\r\n"] {
        let mut client = proxy.client();
        assert_eq!(client.get("/good").expect(200).text(), "GET /good");
        for byte in head.as_bytes().chunks(1) {
            if client.try_send(byte).is_err() {
                break;
            }
        }
        assert_eq!(client.response().expect(400).status, 400);
        client.expect_end();
        let mut client = proxy.client();
        client.send(format!("GET /first HTTP/1.1\r\nHost: a\r\n\r\n{head}"));
        assert_eq!(client.response().expect(200).text(), "GET /first");
        assert_eq!(client.response().expect(400).status, 400);
        client.expect_end();
    }
    assert_eq!(origin.requests().len(), 4);
}

#[test]
fn a_malformed_chunk_ends_the_exchange_on_both_sides() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let bodies = [
        "0x5\r\nhello\r\n0\r\n\r\n",
        "+5\r\nhello\r\n0\r\n\r\n",
        "-5\r\nhello\r\n0\r\n\r\n",
        "5g\r\nhello\r\n0\r\n\r\n",
        " 5\r\nhello\r\n0\r\n\r\n",
        "\r\nhello\r\n0\r\n\r\n",
        ";x\r\nhello\r\n0\r\n\r\n",
        "10000000000000005\r\nhello\r\n0\r\n\r\n",
        "fffffffffffffffff\r\nhello\r\n0\r\n\r\n",
        "5\nhello\r\n0\r\n\r\n",
        "5\r\nhello\n0\r\n\r\n",
        "5\r\nhelloXX0\r\n\r\n",
        "5\r\nhello!\r\n0\r\n\r\n",
        "5;x=\ny\r\nhello\r\n0\r\n\r\n",
        "5;x=\ry\r\nhello\r\n0\r\n\r\n",
        "0\r\nX-T : 1\r\n\r\n",
        "0\r\nX-T: 1\r\n folded\r\n\r\n",
        "0\n\r\n",
    ];
    for body in bodies {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
        let answer = refused(&proxy, format!("{head}{body}"), &[400]);
        proxy.expect_refusal(answer, 400, "http_request_error");
    }
    assert_eq!(origin.requests().len(), 0, "no request reached the origin whole");
    wait_until("what was begun at the origin is closed", || origin.open() == 0);
    proxy.client().post("/still-there", "x").expect(200);
}

#[test]
fn chunk_sizes_may_have_either_case_and_leading_zeros() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    let ten = "0123456789";
    client.send("POST / HTTP/1.1\r\nHost: a\r\ntransfer-encoding: CHUNKED\r\n\r\n");
    client.send(format!("a\r\n{ten}\r\nA\r\n{ten}\r\n0000a\r\n{ten}\r\n000\r\n\r\n"));
    assert_eq!(client.response().expect(200).text(), ten.repeat(3));
}

#[test]
fn other_versions_and_methods_are_refused_for_what_they_are() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    for head in ["GET / HTTP/2.0\r\nHost: a\r\n\r\n", "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", "GET / HTTP/3.1\r\nHost: a\r\n\r\n"] {
        let answer = refused(&proxy, head, &[505]);
        proxy.expect_refusal(answer, 505, "http_version");
    }
    let heads =
        ["CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n", "TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", "CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n"];
    for head in heads {
        let answer = ask(proxy.addr(), head);
        proxy.expect_refusal(answer, 501, "http_request_method");
    }
    assert_eq!(origin.connections(), 0);
}

#[test]
fn a_refusal_speaks_the_clients_language() {
    let proxy = Config::to_all([nobody()]).start();
    for method in ["GET", "TRACE"] {
        let answer = ask(proxy.addr(), format!("{method} / HTTP/1.1\r\nHost: a\r\nAccept: application/json\r\n\r\n"));
        let reason = answer.fields.get("Proxy-Status").unwrap().strip_prefix("tidegate; error=").unwrap();
        let body: serde_json::Value = serde_json::from_slice(&answer.body).unwrap_or_else(|_| panic!("{answer:?}"));
        assert!(body.to_string().contains(reason), "{body}");
        assert!(answer.fields.get("Content-Type").unwrap().starts_with("application/json"));
    }
    for accept in ["*/*", "text/html, application/json", "text/plain"] {
        let answer = ask(proxy.addr(), format!("TRACE / HTTP/1.1\r\nHost: a\r\nAccept: {accept}\r\n\r\n"));
        assert!(answer.text().starts_with("501 http_request_method: "), "{answer:?}");
    }
}

#[test]
fn a_refusal_after_a_whole_request_keeps_the_connection() {
    let proxy = Config::to_all([nobody()]).start();
    let mut client = proxy.client();
    for _ in 0..3 {
        assert_eq!(client.post("/", "body").expect(502).status, 502);
        client.send("HEAD / HTTP/1.1\r\nHost: a\r\n\r\n");
        let answer = client.response_to("HEAD").expect(502);
        assert_eq!(answer.fields.get("Proxy-Status"), Some("tidegate; error=connection_refused"));
    }
}
