//! `send_proxy`: an upstream is told for whom each connection is made, and no connection ever speaks for another client.

use crate::support::*;
use serde_json::{Value, json};
use std::net::{Ipv6Addr, SocketAddr, TcpListener};
use std::sync::{Arc, Mutex};

type Headers = Arc<Mutex<Vec<String>>>;

/// The header that a connection begins with, as `PROXY TCP4 …` in either version.
fn read_header(conn: &mut Conn) -> String {
    let mut begin = Vec::new();
    conn.wire().take(12, &mut begin).expect("a header");
    if begin != b"\r\n\r\n\0\r\nQUIT\n" {
        return String::from_utf8(begin).unwrap() + &conn.wire().line().unwrap();
    }
    conn.wire().take(4, &mut begin).expect("a header");
    let mut rest = Vec::new();
    conn.wire().take(u16::from_be_bytes([begin[14], begin[15]]).into(), &mut rest).expect("a header");
    let port = |at: usize| u16::from_be_bytes([rest[at], rest[at + 1]]);
    let v6 = |at: usize| Ipv6Addr::from(<[u8; 16]>::try_from(&rest[at..at + 16]).unwrap());
    match (begin[12], begin[13], rest.len()) {
        (0x20, 0, 0) => "LOCAL".into(),
        (0x21, 0x11, 12) => {
            let [source, destination] = [0, 4].map(|at| rest[at..at + 4].iter().map(u8::to_string).collect::<Vec<_>>().join("."));
            format!("PROXY TCP4 {source} {destination} {} {}", port(8), port(10))
        }
        (0x21, 0x21, 36) => format!("PROXY TCP6 {} {} {} {}", v6(0), v6(16), port(32), port(34)),
        other => panic!("{other:?}"),
    }
}

/// An origin that expects headers and keeps its connections, and the headers that it has got.
fn expecting() -> (Origin, Headers) {
    let headers = Headers::default();
    let origin = Origin::start({
        let headers = headers.clone();
        move |conn| {
            headers.lock().unwrap().push(read_header(conn));
            while let Some(request) = conn.read_request() {
                conn.answer(request.what());
            }
        }
    });
    (origin, headers)
}

fn to(addr: SocketAddr, version: &str) -> Value {
    json!([{"host": addr.ip().to_string(), "port": addr.port(), "send_proxy": version}])
}

#[test]
fn every_connection_begins_with_the_client_and_where_it_has_connected_to() {
    for version in ["v1", "v2"] {
        let (origin, headers) = expecting();
        let proxy = Config::new().set("listen", json!(["127.0.0.1:0", "[::1]:0"])).set("upstreams", to(origin.addr(), version)).start();
        for (listen, family) in proxy.listens().iter().zip(["TCP4", "TCP6"]) {
            let [mut first, mut second] = [(); 2].map(|()| Client::connect(*listen));
            for client in [&mut first, &mut second] {
                client.get("/one").expect(200);
                client.post("/two", "content").expect(200);
                let (client, listen) = (client.addr(), *listen);
                let expected = format!("PROXY {family} {} {} {} {}", client.ip(), listen.ip(), client.port(), listen.port());
                assert_eq!(std::mem::take(&mut *headers.lock().unwrap()), [expected.clone(), expected], "one for each request");
            }
        }
        assert_eq!(origin.connections(), 8);
        wait_until("none is kept", || proxy.metric("proxy_upstream_connections", &[]) == 0.0);
    }
}

#[test]
fn a_client_without_an_address_is_not_named() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.sock");
    for (version, expected) in [("v1", "PROXY UNKNOWN"), ("v2", "LOCAL")] {
        let (origin, headers) = expecting();
        let listen = json!(format!("unix:{}", path.display()));
        let _proxy = Config::new().set("listen", listen).set("upstreams", to(origin.addr(), version)).start();
        Client::connect_unix(&path).get("/").expect(200);
        assert_eq!(*headers.lock().unwrap(), [expected]);
    }
}

/// Two proxies in a row, one of which speaks what the other expects.
#[test]
fn chains_keep_the_client() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("in.sock");
    for version in ["v1", "v2"] {
        let origin = Origin::hello();
        let back = Config::to(&origin).set("listen", json!([{"address": "127.0.0.1:0", "proxy_protocol": true}])).start();
        let listen = json!(["127.0.0.1:0", "[::1]:0", {"address": "127.0.0.1:0", "proxy_protocol": true},
            {"address": format!("unix:{}", path.display()), "proxy_protocol": true}]);
        let front = Config::new().set("listen", listen).set("upstreams", to(back.addr(), version)).start();
        let expect = |mut client: Client, header: &str, target: &str, seen: &str| {
            client.send(header);
            for number in 0..2 {
                client.get(&format!("{target}-{number}")).expect(200);
                let line = back.log_with(&format!("\"GET {target}-{number} "));
                assert!(line.contains(&format!("Z {seen} ")), "{line}");
            }
        };
        for (listen, target) in front.listens().iter().zip(["/direct-v4", "/direct-v6"]) {
            let client = Client::connect(*listen);
            let seen = client.addr().to_string();
            expect(client, "", target, &seen);
        }
        let v4 = "PROXY TCP4 192.0.2.7 198.51.100.2 56324 443\r\n";
        let v6 = "PROXY TCP6 2001:db8::7 2001:db8::1 56324 443\r\n";
        for (header, family, seen) in [(v4, "v4", "192.0.2.7:56324"), (v6, "v6", "[2001:db8::7]:56324")] {
            expect(Client::connect(front.listens()[2]), header, &format!("/told-{family}"), seen);
            expect(Client::connect_unix(&path), header, &format!("/told-unix-{family}"), seen);
        }
        let mut nobody = Client::connect_unix(&path);
        nobody.send("PROXY UNKNOWN\r\n");
        nobody.get("/nobody").expect(200);
        assert!(back.log_with("GET /nobody ").contains("Z 127.0.0.1:"), "the back knows of no other than the front");
        let forwarded = |request: &Request| request.fields.get("X-Forwarded-For").unwrap_or_default().to_owned();
        let seen: Vec<String> = origin.requests().iter().map(forwarded).collect();
        let last = ["127.0.0.1", "127.0.0.1", "::1", "::1", "192.0.2.7", "192.0.2.7"];
        assert_eq!(seen[..6], last, "the back trusts nobody's fields, and needs none");
    }
}

#[test]
fn of_many_clients_at_once_each_is_told_from_all_others() {
    let origin = Origin::hello();
    let listen = json!([{"address": "127.0.0.1:0", "proxy_protocol": true}]);
    let back = Config::to(&origin).set("listen", listen).set("workers", 2).start();
    let front = Config::new().set("workers", 2).set("upstreams", to(back.addr(), "v2")).start();
    std::thread::scope(|scope| {
        for thread in 0..8 {
            let (front, back) = (&front, &back);
            scope.spawn(move || {
                for number in 0..10 {
                    let mut client = front.client();
                    for letter in ["a", "b", "c"] {
                        let target = format!("/{thread}-{number}-{letter}");
                        client.get(&target).expect(200);
                        let line = back.log_with(&format!("\"GET {target} "));
                        assert!(line.contains(&format!("Z {} ", client.addr())), "{line}");
                    }
                }
            });
        }
    });
}

/// Large content both ways, and a connection that is no longer one of HTTP.
#[test]
fn what_follows_the_header_is_untouched() {
    let origin = Origin::each(|conn, request| {
        if request.fields.has("Upgrade") {
            conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\nhello");
            let mut heard = Vec::new();
            conn.wire().take(4, &mut heard).unwrap();
            conn.send(heard);
            conn.close();
        } else {
            conn.answer(&request.body);
        }
    });
    let back = Config::to(&origin).set("listen", json!([{"address": "127.0.0.1:0", "proxy_protocol": true}])).start();
    let front = Config::new().set("upstreams", to(back.addr(), "v1")).start();
    let content = Pattern::new().at(0, 1_500_000).to_vec();
    let mut client = front.client();
    let mut writer = client.writer();
    let head = format!("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: {}\r\n\r\n", content.len());
    let answer = std::thread::scope(|scope| {
        scope.spawn(|| writer.write(&[head.as_bytes(), &content].concat()).unwrap());
        client.response()
    });
    assert!(answer.expect(200).body == content);
    client.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: raw\r\n\r\n");
    assert_eq!(client.head().unwrap().status, 101);
    client.send("ping");
    let mut heard = Vec::new();
    assert_eq!((client.wire.rest(&mut heard), &heard[..]), (End::Closed, &b"helloping"[..]));
}

#[test]
fn another_attempt_tells_it_as_well() {
    let (origin, headers) = expecting();
    let closing = Origin::start(|conn| {
        read_header(conn);
        conn.read_head();
        conn.reset();
    });
    let upstreams: Vec<Value> = [nobody(), closing.addr(), origin.addr()].iter().map(|addr| to(*addr, "v2")[0].clone()).collect();
    let proxy = Config::new().set("upstreams", upstreams).set("retry", json!({"max_retries": 2, "backoff_ms": 0})).start();
    let mut client = proxy.client();
    for _ in 0..6 {
        client.get("/").expect(200);
    }
    let headers = headers.lock().unwrap();
    let is_of_client = |header: &String| header.contains(&format!(" {} ", client.addr().port()));
    assert!(headers.len() == 6 && headers.iter().all(is_of_client), "{headers:?}");
}

#[test]
fn health_checks_speak_for_the_proxy_itself() {
    for (version, expected) in [("v1", "PROXY UNKNOWN"), ("v2", "LOCAL")] {
        let (origin, headers) = expecting();
        let check = json!({"path": "/health", "interval_ms": 50, "timeout_ms": 5000, "success_threshold": 1});
        let proxy = Config::new().set("upstreams", to(origin.addr(), version)).set("health_check", check).start();
        wait_until("it passes", || proxy.backend(0)["health_check"] == "passing");
        wait_until("it is asked again", || headers.lock().unwrap().len() > 2);
        assert!(headers.lock().unwrap().iter().all(|header| header == expected), "{headers:?}");
    }
    // At a port of its own there is somebody else, who is not told.
    let (origin, _) = expecting();
    let checked = Origin::hello();
    let check = json!({"path": "/health", "interval_ms": 50, "timeout_ms": 5000, "success_threshold": 1, "port": checked.port()});
    let proxy = Config::new().set("upstreams", to(origin.addr(), "v2")).set("health_check", check).start();
    wait_until("it passes", || proxy.backend(0)["health_check"] == "passing");
}

/// An upstream with other words is another one: its connections and its state are its own.
#[test]
fn a_reload_changes_what_is_sent() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let headers = Headers::default();
    let origin = Origin::over(listener, {
        let headers = headers.clone();
        move |conn| {
            let mut first = [0];
            if conn.wire().stream.peek(&mut first).is_ok() && first != *b"G" {
                headers.lock().unwrap().push(read_header(conn));
            }
            while let Some(request) = conn.read_request() {
                conn.answer(request.what());
            }
        }
    });
    let config = |version: Value| {
        let mut upstreams = to(origin.addr(), "");
        upstreams[0]["send_proxy"] = version;
        Config::new().set("upstreams", upstreams)
    };
    let proxy = config(Value::Null).start();
    let mut client = proxy.client();
    (0..2).for_each(|_| drop(client.get("/").expect(200)));
    assert_eq!((headers.lock().unwrap().len(), origin.connections()), (0, 1));
    proxy.reload(&config("v1".into()));
    (0..2).for_each(|_| drop(client.get("/").expect(200)));
    assert_eq!((headers.lock().unwrap().len(), origin.connections()), (2, 3));
    proxy.reload(&config(Value::Null));
    (0..2).for_each(|_| drop(client.get("/").expect(200)));
    assert_eq!((headers.lock().unwrap().len(), origin.connections()), (2, 4));
}
