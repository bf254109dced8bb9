//! Clients that speak another protocol to a port that speaks plain HTTP are told so by their first bytes.

use crate::support::*;
use std::time::{Duration, Instant};

const TLS: &[u8] = b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\x0a\x0a";
const PROXY_1: &[u8] = b"PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n";
const PROXY_2: &[u8] = b"\r\n\r\n\0\r\nQUIT\n\x21\x11\x00\x0c";

/// A ClientHello used to get no answer until the time for the request line was over, and then a 408.
#[test]
fn whoever_speaks_tls_or_the_proxy_protocol_is_told_at_once() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("timeouts.client_request_line_ms", 60_000).set("timeouts.client_header_ms", 60_000).start();
    for (hello, protocol) in [(TLS, "TLS"), (PROXY_1, "PROXY protocol"), (PROXY_2, "PROXY protocol"), (&TLS[..2], "TLS")] {
        let begin = Instant::now();
        let answer = proxy.expect_refusal(ask(proxy.addr(), hello), 400, "http_request_error");
        assert!(answer.text().contains("this port speaks plain HTTP") && answer.text().contains(protocol), "{answer:?}");
        assert!(answer.fields.lists("Connection", "close"));
        assert!(begin.elapsed() < Duration::from_secs(15), "{:?}", begin.elapsed());
    }
    let mut dripping = proxy.client();
    for byte in PROXY_2 {
        if dripping.has_news() || dripping.try_send([*byte]).is_err() {
            break;
        }
    }
    assert!(dripping.response().expect(400).text().contains("plain HTTP"));
    assert_eq!(ask(proxy.addr(), [TLS, b"\r\n\r\n"].concat()).status, 400);
    assert!(ask(proxy.admin(), TLS).expect(400).text().contains("this port speaks plain HTTP"));
    assert_eq!(origin.requests().len(), 0);
}

/// Logged from time to time, because the operator can mend it; a flood of such clients does not flood the log.
#[test]
fn the_log_says_so_in_words() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    for _ in 0..20 {
        ask(proxy.addr(), TLS).expect(400);
    }
    let said = || proxy.diagnostics().into_iter().filter(|line| line.contains("speaks TLS to port")).collect::<Vec<_>>();
    wait_until("the log says it", || !said().is_empty());
    let said = said();
    assert!(said.len() == 1 && said[0].contains(" WARN ") && said[0].contains("plain HTTP"), "{said:?}");
}

/// Other first bytes of no method used to wait for the end of the line; a method that begins alike is one.
#[test]
fn what_cannot_begin_a_request_is_told_at_once_and_what_can_is_served() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("timeouts.client_request_line_ms", 60_000).set("timeouts.client_header_ms", 60_000).start();
    for bytes in [&b"\x80\x2e\x01"[..], b"\0\0\0\x08", b"\x16\xff", b"(", b" GET"] {
        assert_eq!(ask(proxy.addr(), bytes).status, 400, "{bytes:?}");
    }
    for method in ["PROXY", "PROX", "!"] {
        let answer = ask(proxy.addr(), format!("{method} /x HTTP/1.1\r\nHost: a\r\n\r\n")).expect(200);
        assert_eq!(answer.text(), format!("{method} /x"));
    }
}
