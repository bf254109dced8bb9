//! Another attempt while the client is still sending: what has come is sent again from its beginning, and the rest follows.

use crate::support::*;
use serde_json::json;
use std::net::SocketAddr;

fn retrying(addrs: impl IntoIterator<Item = SocketAddr>) -> Config {
    Config::to_first_of(addrs).set("retry", json!({"max_retries": 2, "backoff_ms": 100}))
}

fn head(method: &str, length: usize) -> String {
    format!("{method} /x HTTP/1.1\r\nHost: play.test\r\nContent-Length: {length}\r\n\r\n")
}

/// Reads a head and so many bytes after it, and then ends by `end`.
fn ending_after(bytes: usize, end: fn(&mut Conn)) -> Origin {
    Origin::start(move |conn| {
        if conn.read_head().is_some() {
            let _ = conn.wire().take(bytes, &mut Vec::new());
            end(conn);
        }
    })
}

/// The client sends `sent` bytes of its content, which the first upstream has when it ends, and the others `when` it is time.
#[track_caller]
fn expect_whole(proxy: &Proxy, origin: &Origin, method: &str, (sent, length): (usize, usize), when: impl FnOnce()) {
    let pattern = Pattern::new();
    let content = pattern.at(7, length);
    let mut client = proxy.client();
    client.send([head(method, length).as_bytes(), &content[..sent]].concat());
    when();
    client.send(&content[sent..]);
    let answer = client.response().expect(200);
    assert!(origin.request().body == content, "other bytes came");
    assert!(proxy.log_of(answer.trace_id()).contains(&format!(" upstream={} attempts=2 ", origin.addr())));
    wait_until("no connection is left in use", || proxy.metric("proxy_upstream_connections", &["state=\"active\""]) == 0.0);
}

#[test]
fn what_has_come_is_sent_again_and_the_rest_goes_on() {
    // The second sizes do not fit into a ring; what had come did.
    for (sent, length) in [(1, 2), (4000, 8000), (10_000, 900_000)] {
        for end in [Conn::close, Conn::reset] {
            let (ends, origin) = (ending_after(sent, end), Origin::hello());
            let proxy = retrying([ends.addr(), origin.addr()]).start();
            // The other has begun to read it.
            expect_whole(&proxy, &origin, "PUT", (sent, length), || wait_until("it is there", || origin.heads().len() == 1));
        }
    }
}

#[test]
fn what_comes_between_two_attempts_is_kept() {
    for length in [8000, 900_000] {
        let (ends, origin) = (ending_after(4000, Conn::reset), Origin::hello());
        let proxy = retrying([ends.addr(), origin.addr()]).set("retry.backoff_ms", 1000).start();
        expect_whole(&proxy, &origin, "PUT", (4000, length), || {
            wait_until("an attempt has failed", || proxy.diagnostics().iter().any(|line| line.contains("trying again")));
        });
    }
}

#[test]
fn a_post_of_which_nothing_was_sent_goes_whole_however_large() {
    let origin = Origin::hello();
    let proxy = retrying([nobody(), origin.addr()]).start();
    expect_whole(&proxy, &origin, "POST", (5000, 900_000), || {});
}

#[test]
fn an_early_status_that_is_listed_is_dropped_while_the_request_still_comes() {
    let busy = Origin::start(|conn| {
        if conn.read_head().is_some() {
            conn.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
            conn.wait_for_end();
        }
    });
    let origin = Origin::hello();
    let proxy = retrying([busy.addr(), origin.addr()]).set("retry.statuses", json!([503])).start();
    expect_whole(&proxy, &origin, "PUT", (100, 8000), || wait_until("it is there", || origin.heads().len() == 1));
    wait_until("the first connection is closed", || busy.open() == 0);
}

#[test]
fn a_listed_status_is_passed_on_where_the_request_cannot_be_sent_again() {
    let origins = [(); 2].map(|()| Origin::each(|conn, _| conn.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy")));
    let proxy = retrying(origins.each_ref().map(Origin::addr)).set("retry.statuses", json!([503])).start();
    let content = vec![b'x'; 200_000];
    let answer = ask(proxy.addr(), [head("PUT", content.len()).as_bytes(), &content].concat()).expect(503);
    assert_eq!((answer.text(), origins[1].heads().len()), ("busy", 0));
    assert_eq!(proxy.metric("proxy_retries_total", &[]), 0.0);
}

#[test]
fn chunks_and_trailers_are_sent_again_as_they_came() {
    let ends = Origin::each(|conn, _| conn.reset());
    let origin = Origin::hello();
    let proxy = retrying([ends.addr(), origin.addr()]).start();
    let chunks = "5;x=y\r\nhello\r\n6\r\n world\r\n0\r\nX-Sum: 11\r\n\r\n";
    let mut client = proxy.client();
    client.send(format!("PUT /x HTTP/1.1\r\nHost: play.test\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n{chunks}"));
    client.response().expect(200);
    for origin in [&ends, &origin] {
        let seen = origin.request();
        assert_eq!((seen.text(), seen.trailers.get("X-Sum")), ("hello world", Some("11")));
    }
}

#[test]
fn content_that_turns_out_malformed_between_two_attempts_is_refused() {
    let ends = ending_after(3, Conn::close);
    let origin = Origin::hello();
    let proxy =
        retrying([ends.addr(), origin.addr()]).set("retry", json!({"backoff_ms": 86_400_000, "max_backoff_ms": 86_400_000})).start();
    let mut client = proxy.client();
    client.send("PUT /x HTTP/1.1\r\nHost: play.test\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n");
    client.send("hel");
    wait_until("an attempt has failed", || proxy.diagnostics().iter().any(|line| line.contains("trying again")));
    client.send("lo\r\nnot a size\r\n");
    let answer = client.response();
    let answer = proxy.expect_refusal(answer, 400, "http_request_error");
    assert!(answer.fields.lists("Connection", "close"));
    client.expect_end();
    assert_eq!(origin.heads().len(), 0);
}

#[test]
fn an_upgrade_is_tried_elsewhere_and_becomes_a_tunnel() {
    let ends = Origin::each(|conn, _| conn.close());
    for first in [nobody(), ends.addr()] {
        let origin = Origin::start(|conn| {
            if conn.read_head().is_some() {
                conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
                let mut said = Vec::new();
                while conn.wire().take(1, &mut said).is_ok() {
                    conn.send(&said[said.len() - 1..]);
                }
            }
        });
        let proxy = retrying([first, origin.addr()]).start();
        let mut client = proxy.client();
        client.send("GET /x HTTP/1.1\r\nHost: play.test\r\nConnection: upgrade\r\nUpgrade: echo\r\n\r\n");
        assert_eq!(client.head().expect("an answer").status, 101);
        client.send("ping");
        let mut said = Vec::new();
        client.wire.take(4, &mut said).expect("an echo");
        assert_eq!(said, b"ping");
    }
}

/// Tells the client to go on, and answers with its content.
fn going_on() -> Origin {
    Origin::start(|conn| {
        if let Some(head) = conn.read_head() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            let request = conn.read_body(head).expect("the content");
            conn.answer(request.body);
        }
    })
}

const EXPECTS: &str = "PUT /x HTTP/1.1\r\nHost: play.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n";

#[test]
fn who_waits_for_100_never_hears_of_a_status_that_is_dropped() {
    let busy = Origin::start(|conn| {
        if conn.read_head().is_some() {
            conn.send("HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy");
            conn.wait_for_end();
        }
    });
    let origin = going_on();
    let proxy = retrying([busy.addr(), origin.addr()]).set("retry.statuses", json!([503])).start();
    let mut client = proxy.client();
    client.send(EXPECTS);
    assert_eq!(client.head().expect("an interim answer").status, 100);
    client.send("hello");
    assert_eq!(client.response().expect(200).text(), "hello");
}

#[test]
fn who_was_told_to_go_on_gets_no_other_attempt() {
    let ends = Origin::start(|conn| {
        if let Some(head) = conn.read_head() {
            conn.send("HTTP/1.1 100 Continue\r\n\r\n");
            conn.read_body(head);
            conn.reset();
        }
    });
    let origin = going_on();
    let proxy = retrying([ends.addr(), origin.addr()]).start();
    let mut client = proxy.client();
    client.send(EXPECTS);
    assert_eq!(client.head().expect("an interim answer").status, 100);
    client.send("hello");
    let answer = client.response();
    proxy.expect_refusal(answer, 502, "connection_terminated");
    assert_eq!((ends.requests().len(), origin.heads().len()), (1, 0));
}
