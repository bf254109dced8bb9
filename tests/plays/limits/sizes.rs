//! Each part of a request has its limit, which holds also for parts that do not end.

use crate::support::*;

#[test]
fn no_part_of_a_chunked_body_goes_on_for_ever() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let head = "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n";
    let extension = format!("{head}5;x={}", "y".repeat(200_000));
    let trailers = format!("{head}0\r\n{}", format!("X: {}\r\n", "y".repeat(1000)).repeat(200));
    let digits = format!("{head}{}", "0".repeat(200_000));
    for endless in [extension, trailers, digits] {
        let mut client = proxy.client();
        let _ = client.try_send(endless);
        let answer = client.response();
        assert!([400, 413, 431].contains(&answer.status), "{answer:?}");
        client.expect_end();
    }
    assert_eq!(origin.requests().len(), 0);
}

#[test]
fn each_part_of_a_head_has_its_limit() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let line = |n: usize| format!("GET /{} HTTP/1.1\r\nHost: a\r\n\r\n", "x".repeat(n - 14));
    let field = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\nX: {}\r\n\r\n", "y".repeat(n - 3));
    let many = |n: usize| format!("GET / HTTP/1.1\r\nHost: a\r\n{}\r\n", "X: y\r\n".repeat(n - 1));
    let long = |n: usize| {
        let fields = format!("X: {}\r\n", "y".repeat(995)).repeat(n / 1000);
        format!("GET / HTTP/1.1\r\nHost: a\r\n{fields}\r\n")
    };
    for fits in [line(8185), field(16_380), many(100), long(64_000)] {
        ask(proxy.addr(), fits).expect(200);
    }
    let served = origin.requests().len();
    let answer = refused(&proxy, line(8200), &[414]);
    proxy.expect_refusal(answer, 414, "http_request_target_size");
    for too_much in [field(16_400), many(101), long(70_000)] {
        let answer = refused(&proxy, too_much, &[431]);
        proxy.expect_refusal(answer, 431, "http_request_header_size");
    }
    // Without an end in sight the limit must hold as well.
    for endless in ["GET /".to_owned() + &"x".repeat(9000), "GET / HTTP/1.1\r\nX: ".to_owned() + &"y".repeat(17_000)] {
        let mut client = proxy.client();
        client.send(endless);
        assert!([414, 431].contains(&client.response().status));
        client.expect_end();
    }
    assert_eq!((origin.requests().len(), origin.heads().len()), (served, served));
}

#[test]
fn a_body_has_its_limit_however_it_is_framed() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).set("limits.max_body_size", 1000).start();
    let mut client = proxy.client();
    assert_eq!(client.post("/", &"x".repeat(1000)).expect(200).body.len(), 1000);
    let length = |n: usize| format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{}", "x".repeat(n));
    let chunks = |n: usize| {
        let chunk = format!("64\r\n{}\r\n", "x".repeat(100));
        format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(n / 100))
    };
    assert_eq!(ask(proxy.addr(), chunks(1000)).expect(200).body.len(), 1000);
    for too_much in [length(1001), chunks(1100), length(3_000_000), chunks(300_000)] {
        let mut client = proxy.client();
        let _ = client.try_send(&too_much);
        let answer = client.response();
        proxy.expect_refusal(answer, 413, "http_request_body_size");
    }
    assert_eq!(origin.requests().len(), 2, "nothing too large reached the origin whole");
    wait_until("what was begun at the origin is closed", || origin.open() <= 1);
}

/// A message whose last byte is the last that a buffer holds, with the next request right behind it.
#[test]
fn a_message_may_end_exactly_where_a_buffer_does() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).set("limits.buffer_size", 4096).start();
    let mut client = proxy.client();
    let next = "GET /next HTTP/1.1\r\nHost: a\r\n\r\n";
    for n in (3900..4200).step_by(3).chain((8100..8200).step_by(7)) {
        let body = "x".repeat(n);
        client.send(format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {n}\r\n\r\n{body}{next}"));
        client
            .send(format!("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n{n:x};a\r\n{body}\r\n0\r\nX: y\r\n\r\n{next}"));
        for expected in [n, 0, n, 0] {
            assert_eq!(client.response().expect(200).body.len(), expected, "{n}");
        }
    }
    let whats = origin.requests().iter().map(|request| request.what()).collect::<Vec<_>>();
    assert!(whats.chunks(2).all(|pair| pair == ["POST /", "GET /next"]), "{whats:?}");
}

/// An urgent byte is none of the body; what lies behind it is.
#[test]
fn a_long_body_goes_on_past_an_urgent_byte() {
    const HALF: usize = 2 << 20;
    let origin = Origin::each(|conn, _| {
        conn.send(format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", 2 * HALF));
        let half = vec![b'x'; HALF];
        conn.wire().write(&half).unwrap();
        socket2::SockRef::from(&conn.wire().stream).send_out_of_band(b"!").unwrap();
        conn.wire().write(&half).unwrap();
    });
    let proxy = Config::to(&origin).start();
    for _ in 0..5 {
        let answer = proxy.get("/").expect(200);
        assert!(answer.body.len() == 2 * HALF && answer.body.iter().all(|&b| b == b'x'), "{} bytes", answer.body.len());
    }
}
