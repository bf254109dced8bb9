//! Upgrade: a tunnel begins with a 101, carries bytes both ways without looking at them, and ends when either side ends it.

use crate::support::*;

const ASK: &str = "GET /chat HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n";
const YES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n";

/// Switches, greets, and sends back what comes until the other side closes; then says goodbye.
fn parrot() -> Origin {
    Origin::start(|conn| {
        let Some(request) = conn.read_head() else { return };
        assert_eq!(request.fields.get("Upgrade"), Some("websocket"));
        assert!(request.fields.lists("Connection", "upgrade"));
        conn.send(format!("{YES}hello"));
        let mut piece = [0; 4096];
        while let Ok(n @ 1..) = conn.wire().some(&mut piece) {
            conn.send(&piece[..n]);
        }
        conn.send("bye");
        conn.close();
    })
}

#[test]
fn bytes_pass_both_ways_and_a_half_close_passes_too() {
    let origin = parrot();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    // What comes with the head is kept for the tunnel.
    client.send(format!("{ASK}early"));
    let answer = client.head().unwrap();
    assert_eq!((answer.status, answer.fields.get("Upgrade")), (101, Some("websocket")));
    assert!(answer.fields.lists("Connection", "upgrade"));
    let mut got = Vec::new();
    client.wire.take("helloearly".len(), &mut got).unwrap();
    assert_eq!(got, b"helloearly");
    client.send("GET /smuggled HTTP/1.1\r\n\r\n\0\r");
    client.half_close();
    let mut rest = Vec::new();
    assert_eq!(client.wire.rest(&mut rest), End::Closed);
    assert_eq!(rest, b"GET /smuggled HTTP/1.1\r\n\r\n\0\rbye");
    let line = proxy.log_with("/chat");
    assert!(line.contains("\" 101 "), "{line}");
}

#[test]
fn who_sends_nothing_in_the_tunnel_may_have_closed_before_it_began() {
    let origin = parrot();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send(ASK);
    client.half_close();
    assert_eq!(client.head().unwrap().status, 101);
    let mut rest = Vec::new();
    assert_eq!(client.wire.rest(&mut rest), End::Closed);
    assert_eq!(rest, b"hellobye");
}

#[test]
fn megabytes_pass_through_a_tunnel_unharmed() {
    let origin = parrot();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 101);
    let mut hello = Vec::new();
    client.wire.take(5, &mut hello).unwrap();
    let sent: Vec<u8> = (0..16 << 20).map(|i: u32| (i.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let (mut writer, bytes) = (client.writer(), sent.clone());
    let writing = std::thread::spawn(move || {
        writer.write(&bytes).unwrap();
        writer.half_close();
    });
    let mut got = Vec::new();
    assert_eq!(client.wire.rest(&mut got), End::Closed);
    writing.join().unwrap();
    assert!(got.len() == sent.len() + 3 && got.starts_with(&sent) && got.ends_with(b"bye"), "{} bytes", got.len());
}

#[test]
fn an_answer_that_does_not_switch_is_an_ordinary_one() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    // The bytes behind the head are the next request, not a tunnel's.
    client.send(format!("{ASK}GET /next HTTP/1.1\r\nHost: a\r\n\r\n"));
    client.response().expect(200);
    client.response().expect(200);
    assert_eq!(origin.requests().len(), 2);
}

#[test]
fn what_may_not_be_upgraded_goes_on_without_the_field() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    for head in [
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: h2c\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: a, b\r\n\r\n",
        "GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n",
        "GET / HTTP/1.0\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n",
    ] {
        let mut client = proxy.client();
        client.send(head);
        client.response().expect(200);
    }
    assert!(origin.requests().iter().all(|request| !request.fields.has("Upgrade")));
}

#[test]
fn another_protocol_than_was_asked_for_is_refused() {
    for answer in [YES.replace("websocket", "other"), YES.replace("Upgrade: websocket\r\n", "")] {
        let origin = Origin::saying(answer);
        let proxy = Config::to(&origin).start();
        let mut client = proxy.client();
        client.send(ASK);
        let refusal = client.response();
        proxy.expect_refusal(refusal, 502, "http_upgrade_failed");
    }
}

#[test]
fn a_silent_tunnel_is_closed() {
    let origin = parrot();
    let proxy = Config::to(&origin).set("timeouts.tunnel_idle_ms", 200).set("timeouts.total_ms", 100).start();
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 101);
    let mut got = Vec::new();
    assert_eq!(client.wire.rest(&mut got), End::Closed);
    assert_eq!(got, b"hello");
    wait_until("the connection is gone", || proxy.metric("proxy_client_connections", &[]) == 0.0);
}

#[test]
fn a_side_that_is_lost_takes_the_other_along() {
    let origin = parrot();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send(ASK);
    assert_eq!(client.head().unwrap().status, 101);
    client.reset();
    wait_until("both connections are gone", || origin.open() == 0 && proxy.metric("proxy_client_connections", &[]) == 0.0);
}

#[test]
fn what_a_closing_upstream_said_last_is_delivered() {
    const BYTES: usize = 40_000;
    let origin = Origin::start(|conn| {
        let Some(_) = conn.read_head() else { return };
        conn.send(YES);
        conn.wire().take(4, &mut Vec::new()).unwrap();
        conn.send(vec![b'x'; BYTES]);
        conn.close();
    });
    let proxy = Config::to(&origin).start();
    let mut client = Client::with_small_buffer(proxy.addr(), 4096);
    client.send(format!("{ASK}ping"));
    assert_eq!(client.head().unwrap().status, 101);
    wait_until("the upstream has closed", || origin.open() == 0);
    // What is sent now meets a reset.
    for _ in 0..3 {
        let _ = client.try_send("ping");
    }
    let mut rest = Vec::new();
    assert_eq!(client.wire.rest(&mut rest), End::Closed);
    assert_eq!(rest.len(), BYTES);
}

/// `docker exec` and `docker attach` do that.
#[test]
fn a_request_with_content_is_sent_whole_before_the_tunnel_begins() {
    const EARLY: &str = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    for framing in ["Content-Length: 12", "Transfer-Encoding: chunked"] {
        let content = |n: usize, text: &str| if framing.starts_with('C') { text.to_owned() } else { format!("{n:x}\r\n{text}\r\n") };
        let end = if framing.starts_with('C') { "" } else { "0\r\n\r\n" };
        // It says yes before it has read the content: the tunnel begins behind it all the same.
        let origin = Origin::start(|conn| {
            let Some(head) = conn.read_head() else { return };
            conn.send(EARLY);
            let Some(request) = conn.read_body(head) else { return };
            assert_eq!(request.text(), "{\"tty\":true}");
            let mut piece = [0; 100];
            while let Ok(n @ 1..) = conn.wire().some(&mut piece) {
                conn.send(&piece[..n]);
            }
            conn.close();
        });
        let proxy = Config::to(&origin).start();
        let mut client = proxy.client();
        client.send(format!("POST /exec HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n{framing}\r\n\r\n"));
        client.send(content(5, "{\"tty"));
        wait_until("the upstream has the head", || origin.heads().len() == 1);
        assert!(!client.has_news(), "told to switch in the middle of its content");
        client.send(content(7, "\":true}") + end + "ping");
        let answer = client.head().unwrap();
        assert_eq!((answer.status, answer.fields.get("Upgrade")), (101, Some("tcp")));
        let mut got = Vec::new();
        client.wire.take(4, &mut got).unwrap();
        client.send("pong");
        client.half_close();
        assert_eq!(client.wire.rest(&mut got), End::Closed);
        assert_eq!(got, b"pingpong");
    }
}

#[test]
fn a_connection_that_was_asked_to_switch_with_content_is_not_kept() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    for turn in 1..=2 {
        let mut client = proxy.client();
        client.send("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: tcp\r\nContent-Length: 2\r\n\r\nok");
        let answer = client.response().expect(200);
        assert!(answer.fields.lists("Connection", "close") && answer.text() == "ok");
        assert_eq!(client.expect_end(), End::Closed);
        assert_eq!(origin.connections(), turn, "the upstream's connection was kept");
    }
    assert!(origin.requests().iter().all(|request| request.fields.get("Upgrade") == Some("tcp")));
}
