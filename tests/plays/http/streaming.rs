//! Nothing is held back: what one side has sent can be read by the other while the rest is still to come.

use crate::support::*;
use std::time::Duration;

#[test]
fn the_first_bytes_of_an_answer_pass_before_the_last() {
    for head in ["Content-Length: 10", "Transfer-Encoding: chunked", "X-Until: closed"] {
        let gate = Gate::default();
        let opened = gate.clone();
        let origin = Origin::start(move |conn| {
            conn.read_request();
            let (first, rest) = match head.contains("chunked") {
                true => ("5\r\nfirst\r\n", "5\r\n-rest\r\n0\r\n\r\n"),
                false => ("first", "-rest"),
            };
            conn.send(format!("HTTP/1.1 200 OK\r\n{head}\r\n\r\n{first}"));
            opened.pass();
            conn.send(rest);
        });
        let proxy = Config::to(&origin).start();
        let mut client = proxy.client();
        client.send_get("/");
        let begun = client.head().unwrap();
        let chunked = begun.fields.has("Transfer-Encoding");
        let mut body = Vec::new();
        if chunked {
            assert_eq!(client.wire.line().unwrap(), "5");
        }
        client.wire.take(5, &mut body).unwrap();
        assert_eq!(body, b"first");
        gate.release(1);
        if chunked {
            client.wire.line().unwrap();
            client.wire.chunked(&mut body, &mut Vec::new()).unwrap();
        } else {
            client.wire.take(5, &mut body).unwrap();
        }
        assert_eq!(body, b"first-rest", "{head}");
    }
}

#[test]
fn a_head_alone_passes_before_its_body() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |conn| {
        conn.read_request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\n");
        opened.pass();
        conn.send("body");
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send_get("/");
    assert_eq!(client.head().unwrap().status, 200);
    gate.release(1);
    let mut body = Vec::new();
    client.wire.take(4, &mut body).unwrap();
    assert_eq!(body, b"body");
}

#[test]
fn each_event_of_a_stream_arrives_while_the_stream_stays_open() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |conn| {
        conn.read_request();
        conn.send("HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n");
        for i in 0..10 {
            opened.pass();
            conn.send(format!("9\r\ndata: {i}\n\n\r\n"));
        }
        conn.send("0\r\n\r\n");
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send_get("/events");
    assert_eq!(client.head().unwrap().fields.get("Content-Type"), Some("text/event-stream"));
    for i in 0..10 {
        gate.release(1); // the origin speaks only after the event before has been read
        assert_eq!(client.wire.line().unwrap(), "9");
        let mut event = Vec::new();
        client.wire.take(11, &mut event).unwrap();
        assert_eq!(event, format!("data: {i}\n\n\r\n").as_bytes());
    }
    client.wire.chunked(&mut Vec::new(), &mut Vec::new()).unwrap();
}

#[test]
fn the_first_bytes_of_a_request_pass_before_the_last() {
    let (arrived, gate) = (Gate::default(), Gate::default());
    let (first, opened) = (arrived.clone(), gate.clone());
    let origin = Origin::start(move |conn| {
        let request = conn.read_head().unwrap();
        let mut body = Vec::new();
        match request.fields.has("Content-Length") {
            true => conn.wire().take(5, &mut body).unwrap(),
            false => {
                assert_eq!(conn.wire().line().unwrap(), "5");
                conn.wire().take(5, &mut body).unwrap();
            }
        }
        assert_eq!(body, b"first");
        first.release(1);
        opened.pass();
        conn.answer("early");
        conn.wait_for_end();
    });
    let proxy = Config::to(&origin).start();
    for (head, part) in [("Content-Length: 10", "first"), ("Transfer-Encoding: chunked", "5\r\nfirst\r\n")] {
        let mut client = proxy.client();
        client.send(format!("POST / HTTP/1.1\r\nHost: play.test\r\n{head}\r\n\r\n{part}"));
        arrived.pass();
        gate.release(1);
        assert_eq!(client.response().expect(200).text(), "early");
    }
}

#[test]
fn what_the_client_expects_is_asked_of_the_origin() {
    let origin = Origin::start(|conn| {
        let head = conn.read_head().unwrap();
        assert_eq!(head.fields.get("Expect"), Some("100-continue"));
        assert!(conn.wire().is_quiet_for(Duration::from_millis(100)), "the body must wait for the 100");
        conn.send("HTTP/1.1 100 Continue\r\nX-Interim: 1\r\n\r\n");
        let request = conn.read_body(head).unwrap();
        conn.answer(&request.body);
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: play.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let interim = client.head().unwrap();
    assert_eq!(interim.status, 100);
    client.send("hello");
    assert_eq!(client.response().expect(200).text(), "hello");
    assert_eq!(proxy.metric("proxy_responses_total", &["status_class=\"1xx\""]), 1.0);
    assert_eq!(proxy.metric("proxy_responses_total", &["status_class=\"2xx\""]), 1.0);
}

#[test]
fn an_expectation_may_be_refused_by_the_origin() {
    let origin = Origin::start(|conn| {
        conn.read_head().unwrap();
        conn.send("HTTP/1.1 417 No\r\nContent-Length: 2\r\n\r\nno");
        conn.wait_for_end();
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: play.test\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
    let answer = client.response().expect(417);
    assert_eq!((answer.text(), answer.interim.len()), ("no", 0));
}

#[test]
fn early_hints_pass_to_those_who_know_them() {
    let origin = Origin::saying(
        "HTTP/1.1 103 Early Hints\r\nLink: </a.css>\r\n\r\nHTTP/1.1 103 Early Hints\r\nLink: </b.css>\r\n\r\n\
         HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok",
    );
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send_get("/");
    assert_eq!(client.head().unwrap().fields.get("Link"), Some("</a.css>"));
    let answer = client.response().expect(200);
    assert_eq!((answer.interim, answer.body), (vec![103], b"ok".to_vec()));
    let old = ask(proxy.addr(), "GET / HTTP/1.0\r\nHost: play.test\r\n\r\n").expect(200);
    assert_eq!((old.interim, old.body), (vec![], b"ok".to_vec()));
}

#[test]
fn while_an_early_answer_streams_the_upload_goes_on() {
    let gate = Gate::default();
    let opened = gate.clone();
    let origin = Origin::start(move |conn| {
        let head = conn.read_head().unwrap();
        conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nearly\r\n");
        opened.pass();
        let request = conn.read_body(head).unwrap();
        conn.send(format!("{:x}\r\n{}\r\n0\r\n\r\n", request.body.len(), request.text()));
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send("POST / HTTP/1.1\r\nHost: play.test\r\nContent-Length: 10\r\n\r\nsome ");
    assert_eq!(client.head().unwrap().status, 200);
    assert_eq!(client.wire.line().unwrap(), "5");
    gate.release(1);
    client.send("more.");
    let mut body = Vec::new();
    client.wire.take(7, &mut body).unwrap();
    client.wire.chunked(&mut body, &mut Vec::new()).unwrap();
    assert_eq!(body, b"early\r\nsome more.");
}

#[test]
fn both_directions_flow_at_once() {
    // The origin answers each block before it takes the next one, so neither direction can wait for the other to end.
    const TOTAL: usize = 24 << 20;
    let origin = Origin::start(|conn| {
        conn.read_head().unwrap();
        conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: {TOTAL}\r\n\r\n"));
        let mut block = [0; 65_536];
        let mut left = TOTAL;
        while left > 0 {
            let n = conn.wire().some(&mut block).expect("the upload goes on");
            conn.send(&block[..n]);
            left -= n;
        }
    });
    let proxy = Config::to(&origin).set("limits.max_body_size", 0).start();
    let mut client = proxy.client();
    let mut writer = client.writer();
    let upload = std::thread::spawn(move || {
        let pattern = Pattern::new();
        let head = format!("POST / HTTP/1.1\r\nHost: play.test\r\nContent-Length: {TOTAL}\r\n\r\n");
        writer.write(head.as_bytes()).unwrap();
        for at in (0..TOTAL).step_by(65_536) {
            writer.write(pattern.at(at, 65_536)).unwrap();
        }
    });
    assert_eq!(client.head().unwrap().status, 200);
    let pattern = Pattern::new();
    let mut block = [0; 65_536];
    let mut at = 0;
    while at < TOTAL {
        let n = client.wire.some(&mut block).expect("the answer goes on");
        assert!(block[..n] == *pattern.at(at, n), "wrong bytes near {at}");
        at += n;
    }
    upload.join().unwrap();
}
