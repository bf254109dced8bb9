//! Routes: the first that matches decides, by port and by path, and some answers are made here.

use crate::support::*;
use serde_json::json;

#[test]
fn a_prefix_ends_at_a_slash_or_a_query() {
    let origin = Origin::hello();
    let routes = json!([{"name": "api", "match": {"path_prefix": "/api"}, "respond": {"status": 200, "body": "the api"}}]);
    let proxy = Config::to(&origin).set("routes", routes).start();
    let mut client = proxy.client();
    for path in ["/api", "/api/", "/api/x/y", "/api?x"] {
        assert_eq!(client.get(path).expect(200).text().trim_end(), "the api", "{path}");
    }
    for path in ["/apix", "/apix/api", "/ap", "/", "/x/api", "/API"] {
        assert_eq!(client.get(path).expect(200).text(), format!("GET {path}"), "no route, so the default pool");
    }
}

#[test]
fn the_first_match_wins() {
    let origin = Origin::hello();
    let routes = json!([
        {"match": {"path_prefix": "/a/b"}, "respond": {"status": 201, "body": "narrow"}},
        {"match": {"path_prefix": "/a"}, "proxy": "default"},
        {"match": {"path_prefix": "/a/c"}, "respond": {"status": 500, "body": "never"}},
        {"respond": {"status": 202, "body": "the rest"}},
    ]);
    let proxy = Config::to(&origin).set("routes", routes).start();
    let mut client = proxy.client();
    assert_eq!(client.get("/a/b/c").expect(201).text().trim_end(), "narrow");
    assert_eq!(client.get("/a/c").expect(200).text(), "GET /a/c");
    assert_eq!(client.get("/z").expect(202).text().trim_end(), "the rest");
}

#[test]
fn without_route_and_pool_there_is_no_destination() {
    let routes = json!([{"match": {"path_prefix": "/here"}, "respond": {"status": 200, "body": "here"}}]);
    let proxy = Config::new().set("routes", routes).start();
    let mut client = proxy.client();
    for _ in 0..2 {
        let answer = client.get("/elsewhere");
        proxy.expect_refusal(answer, 404, "destination_not_found");
    }
    let answer = proxy.client().post("/elsewhere", "and its body is dropped");
    proxy.expect_refusal(answer, 404, "destination_not_found");
    assert_eq!(client.get("/here").expect(200).text().trim_end(), "here");
}

#[test]
fn nothing_configured_is_a_warning_and_404() {
    let proxy = Config::new().start();
    let answer = proxy.client().get("/");
    proxy.expect_refusal(answer, 404, "destination_not_found");
    assert!(proxy.diagnostics().iter().any(|l| l.contains("WARN")), "{:?}", proxy.diagnostics());
}

#[test]
fn a_route_may_ask_for_a_port() {
    let port = free_port();
    let origin = Origin::hello();
    let routes = json!([{"match": {"port": port}, "respond": {"status": 200, "body": "the other door"}}]);
    let config = Config::to(&origin).set("listen", json!(["127.0.0.1:0", format!("127.0.0.1:{port}")])).set("routes", routes);
    let proxy = config.set("workers", 2).start();
    assert_eq!(proxy.listens().len(), 2);
    assert_eq!(proxy.listens()[1].port(), port);
    for _ in 0..4 {
        assert_eq!(get(proxy.listens()[0], "/x").expect(200).text(), "GET /x");
        assert_eq!(get(proxy.listens()[1], "/x").expect(200).text().trim_end(), "the other door");
    }
}

#[test]
fn echo_says_its_name_and_what_it_received() {
    let proxy = Config::new().set("routes", json!([{"echo": {"name": "mirror-1"}}])).start();
    let mut client = proxy.client();
    client.send("POST /x?y HTTP/1.1\r\nHost: play.test\r\nX-Some: thing\r\nTransfer-Encoding: chunked\r\n\r\n");
    client.send("5\r\nhello\r\n6\r\n world\r\n0\r\n\r\n");
    let answer = client.response().expect(200);
    assert!(answer.fields.get("Content-Type").unwrap().starts_with("text/plain"));
    let lines: Vec<_> = answer.text().lines().collect();
    assert_eq!(lines[..3], ["mirror-1", "POST /x?y HTTP/1.1", "Host: play.test"]);
    assert!(lines.contains(&"X-Some: thing"), "{lines:?}");
    assert_eq!(lines[lines.len() - 2..], ["", "body: 11 bytes"]);
    let answer = client.get("/next").expect(200);
    assert!(answer.text().starts_with("mirror-1\nGET /next HTTP/1.1\n") && answer.text().trim_end().ends_with("body: 0 bytes"));
}

#[test]
fn answers_made_here_keep_the_connection_in_step() {
    let routes = json!([
        {"match": {"path_prefix": "/echo"}, "echo": {"name": "e"}},
        {"match": {"path_prefix": "/no-content"}, "respond": {"status": 204}},
        {"respond": {"status": 418, "body": "short and stout"}},
    ]);
    let proxy = Config::new().set("routes", routes).start();
    let mut client = proxy.client();
    let evil = "GET /evil HTTP/1.1\r\nHost: evil.test\r\n\r\n";
    for path in ["/echo", "/tea"] {
        client.send(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        let head = client.response_to("HEAD");
        assert_ne!(head.fields.get("Content-Length"), Some("0"));
        let answer = client.post(path, evil);
        assert!(!answer.text().contains("/evil"), "{answer:?}");
        client.send(format!("POST {path} HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"));
        client.send(format!("{:x}\r\n{evil}\r\n0\r\n\r\n", evil.len()));
        assert_eq!(client.response().status, head.status);
    }
    client.get("/no-content").expect(204);
    let lines = || proxy.log_lines();
    wait_until("all are logged", || lines().len() == 7);
    assert!(lines().iter().all(|l| !l.contains("evil") && !l.contains("error=")), "{:?}", lines());
}
