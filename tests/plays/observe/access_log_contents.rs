//! What a line of the access log says: sizes that do not depend on the framing, the client behind a proxy, the upstream, the times.

use crate::support::*;
use serde_json::{Value, json};

#[test]
fn a_body_is_as_long_in_the_log_however_it_was_framed() {
    let origin = Origin::each(|conn, request| match request.target.as_str() {
        "/length" => conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\n{}", "x".repeat(1000))),
        "/chunk" => conn.send(format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n{}\r\n0\r\n\r\n", "x".repeat(1000))),
        "/chunks" => {
            conn.send("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
            conn.send("1\r\nx\r\n".repeat(1000));
            conn.send("0\r\nExpires: 0\r\nX-Sum: 1\r\n\r\n");
        }
        _ => {
            conn.send(format!("HTTP/1.1 200 OK\r\n\r\n{}", "x".repeat(1000)));
            conn.close();
        }
    });
    let proxy = Config::to(&origin).set("logging.access_format", "json").start();
    for path in ["/length", "/chunk", "/chunks", "/close"] {
        for version in ["1.1", "1.0"] {
            let answer = ask(proxy.addr(), format!("GET {path} HTTP/{version}\r\nHost: h\r\nConnection: close\r\n\r\n")).expect(200);
            assert_eq!(answer.body.len(), 1000);
            assert_eq!(Line::json(&proxy.log_with(answer.trace_id())).bytes, 1000, "{path}, HTTP/{version}");
        }
    }
    let requests =
        ["Content-Length: 6\r\n\r\nabcdef".to_owned(), format!("Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", "1\r\na\r\n".repeat(6))];
    for request in requests {
        let answer = ask(proxy.addr(), format!("PUT /length HTTP/1.1\r\nHost: h\r\n{request}")).expect(200);
        assert_eq!(Line::json(&proxy.log_with(answer.trace_id())).more["bytes_in"], "6", "{request:?}");
    }
}

/// The two seconds for which the rest of a request is read used to be included.
#[test]
fn an_early_answer_is_logged_when_it_is_out() {
    let origin = Origin::start(|conn| {
        conn.read_head();
        conn.answer("early");
        conn.wait_for_end();
    });
    let proxy = Config::to(&origin).start();
    let mut client = proxy.client();
    client.send("POST /early HTTP/1.1\r\nHost: h\r\nContent-Length: 1000000\r\n\r\nsome");
    client.response().expect(200);
    let line = Line::text(&proxy.log_with("POST /early"));
    assert!(line.more["seconds"].parse::<f64>().unwrap() < 1.9, "{line:?}");
    client.send("more");
    client.expect_end();
    proxy.get("/after").expect(200);
    proxy.log_with("GET /after");
    assert_eq!(proxy.log_lines().iter().filter(|line| line.contains("POST /early")).count(), 1, "{:#?}", proxy.log_lines());
}

#[test]
fn behind_a_trusted_proxy_the_client_is_the_one_that_it_names() {
    let origin = Origin::hello();
    let config = |trusted: Value| Config::to(&origin).set("headers.trusted_proxies", trusted);
    let ask = |proxy: &Proxy, forwarded: &str| {
        let request = format!("GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: {forwarded}\r\nConnection: close\r\n\r\n");
        proxy.log_with(ask(proxy.addr(), request).expect(200).trace_id())
    };
    for (format, read) in [("text", Line::text as fn(&str) -> Line), ("combined", Line::combined), ("json", Line::json)] {
        let proxy = config(json!(["127.0.0.1"])).set("logging.access_format", format).start();
        if format == "combined" {
            // It has no trace id.
            let request = "GET / HTTP/1.1\r\nHost: h\r\nX-Forwarded-For: 203.0.113.7\r\nConnection: close\r\n\r\n";
            crate::support::ask(proxy.addr(), request).expect(200);
            assert_eq!(read(&proxy.log_with("GET / ")).client, "203.0.113.7");
            continue;
        }
        let line = read(&ask(&proxy, "198.51.100.1, 203.0.113.7"));
        assert_eq!(line.client, "203.0.113.7", "{format}");
        if format == "json" {
            assert!(line.more["peer"].starts_with("127.0.0.1:"), "{line:?}");
            assert_eq!(line.more["client"], "203.0.113.7");
            assert_eq!(read(&ask(&proxy, "[2001:db8::1]:99")).more["client"], "[2001:db8::1]:99");
        }
    }
    let proxy = config(json!([])).set("logging.access_format", "json").start();
    let line = Line::json(&ask(&proxy, "203.0.113.7"));
    assert_eq!((line.client.as_str(), line.more["peer"].as_str()), ("127.0.0.1", "-"), "others' word is not taken");
}

#[test]
fn a_route_may_have_no_lines() {
    let origin = Origin::hello();
    let routes = json!([
        {"match": {"path": "/probe"}, "proxy": "default", "access_log": false},
        {"match": {"path": "/fixed"}, "respond": {"body": "x"}, "access_log": false},
    ]);
    let proxy = Config::to(&origin).set("routes", routes).start();
    let mut client = proxy.client();
    for path in ["/probe", "/fixed", "/logged", "/probe", "/last"] {
        client.get(path).expect(200);
    }
    proxy.log_with("GET /last");
    let targets: Vec<_> = proxy.log_lines().iter().map(|line| Line::text(line).target().to_owned()).collect();
    assert_eq!(targets, ["/logged", "/last"]);
    assert_eq!(proxy.metric("proxy_requests_total", &[]), 5.0, "they are counted");
}

/// Where the time went: in the queue, in the connect, or at the upstream.
#[test]
fn json_says_how_long_it_waited_and_connected() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let config = Config::to(&origin).set("logging.access_format", "json").set("limits.max_conns_per_upstream", 1).set("workers", 1);
    let proxy = config.start();
    let mut clients = [proxy.client(), proxy.client()];
    clients[0].send_get("/first");
    wait_until("it is in flight", || origin.requests().len() == 1);
    clients[1].send_get("/second");
    wait_until("it waits", || proxy.metric("proxy_queued_requests", &[]) == 1.0);
    let begin = std::time::Instant::now();
    take_time(std::time::Duration::from_millis(50));
    gate.release(2);
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
    let line = |path: &str| serde_json::from_str::<Value>(&proxy.log_with(&format!("\"uri\":\"{path}\""))).unwrap();
    let (first, second) = (line("/first"), line("/second"));
    assert!(first["queue_ms"].is_null() && first["connect_ms"].as_f64().is_some_and(|ms| ms >= 0.0), "{first}");
    assert!(second["connect_ms"].is_null(), "it took the connection of the first: {second}");
    let queued = second["queue_ms"].as_f64().unwrap_or_else(|| panic!("{second}"));
    let total = second["duration_ms"].as_f64().unwrap();
    assert!((50.0..=total).contains(&queued) && queued <= begin.elapsed().as_secs_f64() * 1000.0 + 1000.0, "{second}");
    let refused = ask(proxy.addr(), "GET /early HTTP/1.1\r\n\r\n").status;
    let early = line("/early");
    assert!(refused == 400 && early["queue_ms"].is_null() && early["connect_ms"].is_null(), "{early}");
}

#[test]
fn an_upstream_may_have_a_name_of_its_own() {
    let origin = Origin::hello();
    let upstream = json!({"host": "127.0.0.1", "port": origin.port(), "name": "blue"});
    let proxy = Config::new().set("upstreams", json!([upstream])).start();
    let answer = proxy.get("/").expect(200);
    assert!(proxy.log_of(answer.trace_id()).contains(" upstream=blue "));
    assert_eq!(proxy.metric("proxy_upstream_requests_total", &["upstream=\"blue\""]), 1.0);
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
