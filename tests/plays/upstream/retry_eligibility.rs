//! A request is tried again where it cannot take effect twice: which are repeated, and which are not. Turns are by round robin, and
//! the first request goes to the first origin. `retry_limits.rs` is about how often, how long, and where it is configured.

use crate::support::exposition::sum;
use crate::support::*;
use serde_json::json;
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Two more attempts, none of which waits, and a budget that allows one for each request.
fn retrying(addrs: impl IntoIterator<Item = SocketAddr>) -> Config {
    Config::to_first_of(addrs).set("retry", json!({"max_retries": 2, "backoff_ms": 0, "budget_percent": 100}))
}

/// Reads each request whole and then ends the connection.
fn ending(end: fn(&mut Conn)) -> Origin {
    Origin::each(move |conn, _| end(conn))
}

/// The access log names the upstream that was asked last, and how many attempts there were.
#[track_caller]
fn expect_logged(proxy: &Proxy, answer: &Response, upstream: SocketAddr, attempts: usize) {
    let line = proxy.log_of(answer.trace_id());
    assert!(line.contains(&format!(" upstream={upstream} attempts={attempts} ")), "{line:?}");
}

#[test]
fn who_refuses_is_passed_over_whatever_the_method_and_each_attempt_is_counted() {
    let (refusing, origin) = (nobody(), Origin::hello());
    let proxy = retrying([refusing, origin.addr()]).start();
    let mut client = proxy.client();
    let methods = ["GET", "POST", "PUT", "PATCH", "DELETE", "M-SEARCH"];
    for method in methods {
        client.send(format!("{method} /x HTTP/1.1\r\nHost: play.test\r\nContent-Length: 5\r\n\r\nhello"));
        let answer = client.response().expect(200);
        assert_eq!(answer.text(), format!("{method} /x"));
        expect_logged(&proxy, &answer, origin.addr(), 2);
    }
    assert!(origin.requests().len() == methods.len() && origin.requests().iter().all(|r| r.body == b"hello"));
    // Answers count once, attempts each.
    let (n, scrape) = (methods.len() as f64, proxy.scrape());
    let [at_refusing, at_origin] = [refusing, origin.addr()].map(|addr| format!("upstream=\"{addr}\""));
    for (name, labels, wanted) in [
        ("proxy_requests_total", vec![], n),
        ("proxy_responses_total", vec!["status_class=\"2xx\""], n),
        ("proxy_responses_total", vec![], n),
        ("proxy_errors_total", vec![], 0.0),
        ("proxy_upstream_requests_total", vec![&at_refusing], n),
        ("proxy_upstream_requests_total", vec![&at_origin], n),
        ("proxy_retries_total", vec![&at_refusing], 0.0),
        ("proxy_retries_total", vec![&at_origin], n),
        ("proxy_upstream_errors_total", vec![&at_refusing, "type=\"connection_refused\""], n),
        ("proxy_upstream_errors_total", vec![], n),
    ] {
        assert_eq!(sum(&scrape, name, &labels), wanted, "{name} {labels:?}");
    }
}

#[test]
fn who_does_not_take_the_connection_in_time_is_passed_over_with_a_post_too() {
    // A listener that accepts nothing and whose queue is full: the kernel drops what more comes.
    let full = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
    full.bind(&SocketAddr::from(([127, 0, 0, 1], 0)).into()).unwrap();
    full.listen(1).unwrap();
    let addr = full.local_addr().unwrap().as_socket().unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
        queue.push(stream);
    }
    let origin = Origin::hello();
    let proxy = retrying([addr, origin.addr()]).set("timeouts.connect_ms", 500).start();
    let answer = proxy.client().post("/x", "once").expect(200);
    expect_logged(&proxy, &answer, origin.addr(), 2);
    assert_eq!(origin.request().body, b"once");
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"connect\""]), 1.0);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &["type=\"timeout\""]), 1.0);
}

#[test]
fn an_end_before_the_first_byte_sends_what_is_idempotent_elsewhere() {
    for end in [Conn::close, Conn::reset] {
        let origin = Origin::each(|conn, request| match request.method.as_str() {
            "HEAD" => conn.send("HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n"),
            _ => conn.answer(request.what()),
        });
        let ends = ending(end);
        let proxy = retrying([ends.addr(), origin.addr()]).start();
        let mut client = proxy.client();
        let methods = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"];
        for method in methods {
            client.send(format!("{method} /x HTTP/1.1\r\nHost: play.test\r\nContent-Length: 5\r\n\r\nhello"));
            let answer = client.response_to(method).expect(200);
            assert!(answer.text() == format!("{method} /x") || method == "HEAD", "{answer:?}");
            expect_logged(&proxy, &answer, origin.addr(), 2);
        }
        for origin in [&ends, &origin] {
            let seen = origin.requests();
            assert_eq!(seen.iter().map(|r| r.method.as_str()).collect::<Vec<_>>(), methods);
            assert!(seen.iter().all(|r| r.body == b"hello"), "{seen:?}");
        }
    }
}

#[test]
fn a_post_that_may_have_been_acted_on_is_sent_once() {
    for end in [Conn::close, Conn::reset] {
        let (ends, origin) = (ending(end), Origin::hello());
        let proxy = retrying([ends.addr(), origin.addr()]).start();
        let answer = proxy.client().post("/pay", "one");
        let answer = proxy.expect_refusal(answer, 502, "connection_terminated");
        expect_logged(&proxy, &answer, ends.addr(), 1);
        assert_eq!((ends.request().body.as_slice(), origin.heads().len()), (&b"one"[..], 0));
        assert_eq!(proxy.metric("proxy_retries_total", &[]), 0.0);
        assert_eq!(proxy.metric("proxy_errors_total", &[]), 1.0);
    }
}

/// The first origin takes so many bytes of each content, of which there are 10 KiB, and ends.
fn cut_puts(end: fn(&mut Conn), head: &str, frame: impl Fn(&[u8]) -> Vec<u8>) {
    let (pattern, length) = (Pattern::new(), 10_240);
    let borders = [1, length - 1, length];
    let cuts: Vec<usize> = (0..length).step_by(97).chain(borders).collect();
    let ends = Origin::start(move |conn| {
        if let Some(request) = conn.read_head() {
            let cut = request.target[1..].parse().expect("a number");
            // As it comes, whatever it is framed in.
            let _ = conn.wire().take(cut, &mut Vec::new());
            end(conn);
        }
    });
    let origin = Origin::each(|conn, request| conn.answer(request.what()));
    // Few for each proxy: none comes near its budget.
    for cuts in cuts.chunks(28) {
        let proxy = retrying([ends.addr(), origin.addr()]).start();
        let mut client = proxy.client();
        for &cut in cuts {
            let before = (ends.heads().len(), origin.requests().len());
            client.send(format!("PUT /{cut} HTTP/1.1\r\nHost: play.test\r\n{head}\r\n\r\n"));
            client.send(frame(pattern.at(cut, length)));
            assert_eq!(client.response().expect(200).text(), format!("PUT /{cut}"));
            assert_eq!((ends.heads().len(), origin.requests().len()), (before.0 + 1, before.1 + 1), "cut at {cut}");
            let seen = origin.requests().pop().unwrap();
            assert!(seen.body == pattern.at(cut, length), "cut at {cut}: {} other bytes came", seen.body.len());
        }
    }
}

#[test]
fn a_put_cut_anywhere_arrives_whole_and_once_elsewhere() {
    cut_puts(Conn::close, "Content-Length: 10240", |content| content.to_vec());
    cut_puts(Conn::reset, "Content-Length: 10240", |content| content.to_vec());
}

#[test]
fn so_does_a_chunked_one() {
    cut_puts(Conn::reset, "Transfer-Encoding: chunked", |content| {
        let chunks = content.chunks(1000).map(|chunk| [format!("{:x}\r\n", chunk.len()).as_bytes(), chunk, b"\r\n"].concat());
        [chunks.collect::<Vec<_>>().concat(), b"0\r\n\r\n".to_vec()].concat()
    });
}

#[test]
fn who_says_nothing_in_time_is_passed_over_unless_it_may_have_acted() {
    let silent = Origin::start(|conn| {
        conn.read_request();
        conn.wait_for_end();
    });
    let origin = Origin::hello();
    let proxy = retrying([silent.addr(), origin.addr()]).set("timeouts.read_ms", 300).start();
    let mut client = proxy.client();
    let answer = client.get("/x").expect(200);
    expect_logged(&proxy, &answer, origin.addr(), 2);
    let answer = client.post("/pay", "one");
    let answer = proxy.expect_refusal(answer, 504, "connection_read_timeout");
    expect_logged(&proxy, &answer, silent.addr(), 1);
    assert_eq!(origin.requests().len(), 1);
    wait_until("the proxy has closed those connections", || silent.open() == 0);
    assert_eq!(proxy.metric("proxy_timeout_errors_total", &["type=\"read\""]), 2.0);
    assert_eq!(proxy.metric("proxy_upstream_errors_total", &["type=\"timeout\""]), 2.0);
}

/// An answer of one upstream, told from others by its content.
fn status(status: u16, content: &'static str) -> Origin {
    let length = content.len();
    Origin::saying(format!("HTTP/1.1 {status} Said\r\nContent-Length: {length}\r\nX-Of: {content}\r\n\r\n{content}"))
}

#[test]
fn a_listed_status_is_dropped_and_asked_for_elsewhere_if_idempotent() {
    let (busy, origin) = (status(503, "busy"), Origin::hello());
    let proxy = retrying([busy.addr(), origin.addr()]).set("retry.statuses", json!([503])).start();
    let mut client = proxy.client();
    let answer = client.get("/x").expect(200);
    assert!(answer.text() == "GET /x" && !answer.fields.has("X-Of"), "{answer:?}");
    expect_logged(&proxy, &answer, origin.addr(), 2);
    let answer = client.post("/pay", "one").expect(503);
    assert_eq!(answer.text(), "busy");
    expect_logged(&proxy, &answer, busy.addr(), 1);
    // A dropped answer is no error, neither here nor at the upstream.
    assert_eq!(["proxy_errors_total", "proxy_upstream_errors_total"].map(|name| proxy.metric(name, &[])), [0.0; 2]);
    assert_eq!(proxy.metric("proxy_responses_total", &[]), 2.0);
    assert_eq!(proxy.metric("proxy_retries_total", &[]), 1.0);
}

#[test]
fn the_last_answer_is_passed_on_where_all_are_listed() {
    let names = ["a", "b", "c", "d"];
    let origins = names.map(|name| status(503, name));
    let proxy = retrying(origins.each_ref().map(Origin::addr)).set("retry.statuses", json!([502, 503])).start();
    let answer = proxy.get("/x").expect(503);
    // Which of the others are asked after the first is by chance.
    let last = names.iter().position(|name| answer.fields.get("X-Of") == Some(name)).unwrap();
    assert_eq!((answer.text(), last > 0, answer.fields.has("Proxy-Status")), (names[last], true, false));
    expect_logged(&proxy, &answer, origins[last].addr(), 3);
    assert_eq!(proxy.metric("proxy_errors_total", &[]), 0.0);
}

#[test]
fn a_status_that_is_not_listed_is_passed_on_as_it_is() {
    for code in [500, 502, 503, 504] {
        let (bad, origin) = (status(code, "bad"), Origin::hello());
        let proxy = retrying([bad.addr(), origin.addr()]).start();
        let answer = proxy.get("/x").expect(code);
        assert_eq!((answer.text(), origin.heads().len()), ("bad", 0));
        expect_logged(&proxy, &answer, bad.addr(), 1);
    }
}

#[test]
fn after_a_byte_of_an_answer_there_is_no_other_attempt() {
    let interim = "HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n";
    for (bytes, reason) in
        [("HTTP/1.1 2", "http_response_incomplete"), ("H", "http_response_incomplete"), (interim, "connection_terminated")]
    {
        let begins = Origin::each(move |conn, _| {
            conn.send(bytes);
            conn.close();
        });
        let origin = Origin::hello();
        let proxy = retrying([begins.addr(), origin.addr()]).start();
        let answer = proxy.client().get("/x");
        let answer = proxy.expect_refusal(answer, 502, reason);
        expect_logged(&proxy, &answer, begins.addr(), 1);
        assert_eq!(origin.heads().len(), 0);
    }
}

#[test]
fn what_fills_the_ring_is_sent_once_unless_nothing_of_it_was() {
    let (pattern, length) = (Pattern::new(), 100_000);
    let put =
        [format!("PUT /x HTTP/1.1\r\nHost: play.test\r\nContent-Length: {length}\r\n\r\n").as_bytes(), pattern.at(0, length)].concat();
    let (ends, origin) = (ending(Conn::reset), Origin::hello());
    let proxy = retrying([ends.addr(), origin.addr()]).start();
    let answer = ask(proxy.addr(), &put);
    proxy.expect_refusal(answer, 502, "connection_terminated");
    assert_eq!((ends.requests().len(), origin.heads().len()), (1, 0));
    let proxy = retrying([nobody(), origin.addr()]).start();
    expect_logged(&proxy, &ask(proxy.addr(), &put).expect(200), origin.addr(), 2);
    assert!(origin.request().body == pattern.at(0, length));
}
