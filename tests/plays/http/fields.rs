//! Targets and fields: what is added on the way, what is taken away, and what must not change.

use crate::support::*;

#[test]
fn an_absolute_target_goes_on_as_a_path_and_its_authority_as_host() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    let cases = [
        ("http://other.test:81/x?y", "GET /x?y", "other.test:81"),
        ("http://other.test", "GET /", "other.test"),
        ("HTTP://other.test?q", "GET /?q", "other.test"),
    ];
    for (target, what, host) in cases {
        client.send(format!("GET {target} HTTP/1.1\r\nHost: ignored.test\r\n\r\n"));
        assert_eq!(client.response().expect(200).text(), what);
        assert_eq!(origin.requests().last().unwrap().fields.get("Host"), Some(host));
    }
}

#[test]
fn options_may_ask_about_the_server_itself() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let answer = ask(proxy.addr(), "OPTIONS * HTTP/1.1\r\nHost: play.test\r\n\r\n").expect(200);
    assert_eq!(answer.text(), "OPTIONS *");
}

#[test]
fn the_origin_learns_who_asks_and_by_which_way() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let answer = ask(
        proxy.addr(),
        "GET / HTTP/1.1\r\nHost: play.test:99\r\nX-Forwarded-For: 6.6.6.6\r\nX-Forwarded-For: 7.7.7.7\r\n\
         x-forwarded-proto: https\r\nX-FORWARDED-HOST: evil.test\r\nVia: 1.0 before\r\n\r\n",
    )
    .expect(200);
    let seen = origin.request().fields;
    // A client that is not trusted is not believed.
    assert_eq!(seen.get("X-Forwarded-For"), Some("127.0.0.1"));
    assert_eq!(seen.get("X-Forwarded-Proto"), Some("http"));
    assert_eq!(seen.get("X-Forwarded-Host"), Some("play.test:99"));
    assert_eq!(seen.all("Via").join(", "), "1.0 before, 1.1 tidegate");
    assert_eq!(answer.fields.get("Via"), Some("1.1 tidegate"));
}

#[test]
fn one_trace_id_runs_through_request_answer_and_log() {
    let origin = Origin::each(|conn, _| {
        conn.send("HTTP/1.1 200 OK\r\nX-Trace-ID: the-origins-own\r\nContent-Length: 2\r\n\r\nok");
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    let mut ids = Vec::new();
    for i in 0..3 {
        client.send(format!("GET /{i} HTTP/1.1\r\nHost: play.test\r\nX-Trace-ID: forged\r\n\r\n"));
        let answer = client.response().expect(200);
        let id = answer.trace_id();
        assert!(is_uuid(id), "{id:?}");
        assert_eq!(origin.requests()[i].fields.get("X-Trace-ID"), Some(id));
        assert!(proxy.log_of(id).contains(&format!("\"GET /{i} HTTP/1.1\" 200 2 ")), "{}", proxy.log_of(id));
        ids.push(id.to_owned());
    }
    ids.dedup();
    assert_eq!(ids.len(), 3, "each request has its own");
}

#[test]
fn fields_of_one_hop_stay_on_it() {
    let origin = Origin::each(|conn, _| {
        conn.send(
            "HTTP/1.1 200 OK\r\nConnection: keep-alive, X-Private\r\nX-Private: 1\r\nKeep-Alive: timeout=5\r\n\
             Proxy-Connection: keep-alive\r\nX-Public: 2\r\nContent-Length: 2\r\n\r\nok",
        );
    });
    let proxy = Config::to(&origin).start();
    let answer = ask(
        proxy.addr(),
        "GET / HTTP/1.1\r\nHost: play.test\r\nConnection: keep-alive, x-secret\r\nX-Secret: 1\r\nKeep-Alive: 5\r\n\
         Proxy-Connection: keep-alive\r\nUpgrade: h2c\r\nX-Kept: 2\r\n\r\n",
    )
    .expect(200);
    let seen = origin.request().fields;
    for gone in ["X-Secret", "Keep-Alive", "Proxy-Connection", "Upgrade"] {
        assert!(!seen.has(gone), "{gone} reached the origin: {seen:?}");
    }
    for gone in ["X-Private", "Keep-Alive", "Proxy-Connection"] {
        assert!(!answer.fields.has(gone), "{gone} reached the client: {:?}", answer.fields);
    }
    assert_eq!((seen.get("X-Kept"), answer.fields.get("X-Public")), (Some("2"), Some("2")));
}

#[test]
fn connection_cannot_name_away_what_others_rely_on() {
    let origin = Origin::echoing();
    let proxy = Config::to(&origin).start();
    let answer = ask(
        proxy.addr(),
        "POST / HTTP/1.1\r\nHost: play.test\r\nContent-Length: 5\r\nAuthorization: Basic eDp5\r\nCookie: a=b\r\n\
         Connection: Host, Content-Length, Authorization, Cookie, X-Forwarded-For, X-Trace-ID, Via\r\n\r\nhello",
    )
    .expect(200);
    assert_eq!(answer.text(), "hello");
    let seen = origin.request().fields;
    for kept in ["Host", "Content-Length", "Authorization", "Cookie", "X-Forwarded-For", "X-Trace-ID", "Via"] {
        assert!(seen.has(kept), "{kept} is gone: {seen:?}");
    }
}

#[test]
fn other_fields_pass_untouched_and_in_order() {
    let origin = Origin::saying(
        "HTTP/1.1 299 Very Fine Indeed\r\nSet-Cookie: a=1\r\nX-Empty:\r\nSet-Cookie: b=2\r\nX-High: caf\u{e9}\r\n\
         Server: toy/1\r\nContent-Length: 0\r\n\r\n",
    );
    let proxy = Config::to(&origin).start();
    let answer =
        ask(proxy.addr(), "GET / HTTP/1.1\r\nhOST: play.test\r\nAccept: a\r\nX-Empty:\r\nAccept:  b \r\nX-High: \u{e9}\u{4e00}\r\n\r\n")
            .expect(299);
    assert_eq!(answer.reason, "Very Fine Indeed");
    assert_eq!(answer.fields.all("Set-Cookie"), ["a=1", "b=2"]);
    assert_eq!((answer.fields.get("X-Empty"), answer.fields.get("Server")), (Some(""), Some("toy/1")));
    assert!(answer.fields.has("X-High"));
    let seen = origin.request();
    assert_eq!(seen.fields.all("Accept"), ["a", "b"]);
    assert_eq!(seen.fields.get("X-Empty"), Some(""));
    let high = "X-High: \u{e9}\u{4e00}\r\n".as_bytes();
    assert!(seen.raw_head.windows(high.len()).any(|w| w == high), "bytes above 127 pass as they are");
}

#[test]
fn large_heads_pass_both_ways() {
    let big = |n: usize| (0..n).map(|i| format!("X-Large-{i}: {}\r\n", "v".repeat(1000))).collect::<String>();
    let origin = Origin::saying(format!("HTTP/1.1 200 OK\r\n{}Content-Length: 2\r\n\r\nok", big(50)));
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        client.send(format!("GET / HTTP/1.1\r\nHost: play.test\r\n{}\r\n", big(50)));
        let answer = client.response().expect(200);
        assert_eq!(answer.fields.get("X-Large-49").map(str::len), Some(1000));
        assert_eq!(origin.requests().last().unwrap().fields.get("X-Large-49").map(str::len), Some(1000));
    }
}

#[test]
fn a_trusted_proxys_word_is_kept_and_a_strangers_is_not() {
    let origin = Origin::hello();
    let request = "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 203.0.113.9\r\nX-Forwarded-Proto: https\r\nX-Trace-ID: given.id\r\n\r\n";
    for (trusted, expected) in [("127.0.0.0/8", ["203.0.113.9, 127.0.0.1", "https"]), ("10.0.0.0/8", ["127.0.0.1", "http"])] {
        let proxy = Config::to(&origin).set("headers.trusted_proxies", vec![trusted]).start();
        let answer = ask(proxy.addr(), request).expect(200);
        let seen = origin.requests().pop().unwrap();
        assert_eq!(["X-Forwarded-For", "X-Forwarded-Proto"].map(|name| seen.fields.get(name).unwrap()), expected);
        assert_eq!(seen.fields.get("X-Trace-ID") == Some("given.id"), trusted == "127.0.0.0/8");
        assert_eq!(Some(answer.trace_id()), seen.fields.get("X-Trace-ID"));
    }
}
