//! A limit of connections must not lock others out: idle connections make room, refused and finished ones hold nothing, and one in
//! the middle of a request stays.

use crate::support::*;
use serde_json::json;
use socket2::{Domain, Socket, Type};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Much less than the time for which idle clients could hold their places.
const SOON: Duration = Duration::from_secs(12);

/// Answers without an origin, and without a time limit for idle clients.
fn config(limit: usize) -> Config {
    let routes = json!([{"match": {"path_prefix": "/"}, "respond": {"status": 200, "body": "here"}}]);
    Config::new().set("routes", routes).set("limits.max_client_conns", limit).set("timeouts.client_keepalive_ms", 3_600_000)
}

/// A client with another address.
fn neighbour(proxy: &Proxy) -> Client {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
    socket.bind(&SocketAddr::from(([127, 0, 0, 2], 0)).into()).unwrap();
    socket.connect(&proxy.addr().into()).expect("to connect");
    Client::over(socket.into())
}

fn evicted(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_connections_evicted_total", &[&format!("listen=\"{}\"", proxy.addr())])
}

fn full(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_listener_full_total", &[&format!("listen=\"{}\"", proxy.addr())])
}

fn warnings(proxy: &Proxy) -> usize {
    proxy.diagnostics().iter().filter(|line| line.contains(" WARN ") && line.contains("limits.max_client_conns")).count()
}

fn open(proxy: &Proxy) -> usize {
    proxy.metric("proxy_client_connections", &[]) as usize
}

/// Connections with one request or none held their places for as long as they liked.
#[test]
fn whoever_idles_longest_gives_way_to_a_newcomer() {
    for workers in [1, 2] {
        let proxy = config(6).set("workers", workers).set("timeouts.client_header_ms", 3_600_000).start();
        let mut idle: Vec<Client> = Vec::new();
        for n in 0..6 {
            idle.push(proxy.client());
            if n < 5 && n % 2 == 0 {
                idle[n].get("/").expect(200);
            }
            // Of two in the same millisecond either may be first.
            let begin = Instant::now();
            wait_until("it is in", || open(&proxy) == n + 1 && begin.elapsed() > Duration::from_millis(20));
        }
        assert_eq!(full(&proxy), 0.0, "full, and nobody was kept waiting");
        for come in 1..=4 {
            let begin = Instant::now();
            let mut newcomer = proxy.client();
            newcomer.get("/").expect(200);
            assert!(begin.elapsed() < SOON, "it waited {:?}", begin.elapsed());
            assert_eq!(evicted(&proxy), come as f64);
            drop(newcomer);
            idle.push(proxy.client());
            wait_until("the place is taken again", || open(&proxy) == 6);
        }
        // In the order in which they became idle: those with a request sent it when they connected.
        for (n, client) in idle.iter_mut().enumerate() {
            assert_eq!(client.has_news(), n < 4, "number {n}");
        }
        assert!(full(&proxy) >= 1.0);
        assert_eq!(warnings(&proxy), 1, "{:?}", proxy.diagnostics());
    }
}

#[test]
fn whoever_is_in_the_middle_of_something_stays() {
    let gate = Gate::default();
    let origin = Origin::start({
        let gate = gate.clone();
        move |conn| {
            let Some(request) = conn.read_request() else { return };
            if request.fields.has("Upgrade") {
                conn.send("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
            }
            gate.pass();
            conn.answer("late");
        }
    });
    let proxy = Config::to(&origin).set("limits.max_client_conns", 3).set("timeouts.client_header_ms", 3_600_000).start();
    let mut within_a_head = proxy.client();
    within_a_head.send("GET / HTTP/1.1\r\nHost:");
    let mut within_an_exchange = proxy.client();
    within_an_exchange.send_get("/");
    let mut tunnel = proxy.client();
    tunnel.send("GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
    assert_eq!(tunnel.head().unwrap().status, 101);
    wait_until("the other is on its way", || origin.requests().len() == 2);
    let mut newcomer = proxy.client();
    newcomer.send_get("/");
    assert!(newcomer.is_quiet_for(Duration::from_millis(2500)), "served over the limit");
    assert_eq!((evicted(&proxy), full(&proxy), warnings(&proxy)), (0.0, 1.0, 1));
    assert!([&within_a_head, &within_an_exchange, &tunnel].iter().all(|client| !client.has_news()));
    gate.release(10);
    within_an_exchange.response().expect(200);
    newcomer.response().expect(200);
    within_a_head.send(" a\r\n\r\n");
    within_a_head.response().expect(200);
}

/// Bytes that have come and were not read count: the process is stopped while a request and a new connection come.
#[test]
fn whoever_has_asked_already_is_served_and_not_closed() {
    let proxy = config(4).start();
    for _ in 0..3 {
        let mut clients: Vec<Client> = (0..3).map(|_| proxy.client()).collect();
        clients.iter_mut().for_each(|client| drop(client.get("/").expect(200)));
        clients.push(proxy.client());
        wait_until("all are in", || open(&proxy) == 4);
        let begin = Instant::now();
        wait_until("all have idled for long enough", || begin.elapsed() > Duration::from_millis(1200));
        proxy.signal("STOP");
        clients[..3].iter_mut().for_each(|client| client.send_get("/"));
        let mut newcomer = proxy.client();
        newcomer.send_get("/");
        proxy.signal("CONT");
        newcomer.response().expect(200);
        for client in &mut clients[..3] {
            client.response().expect(200);
        }
        drop((clients, newcomer));
        wait_until("all are gone", || open(&proxy) == 0);
    }
}

#[test]
fn near_the_limit_connections_are_not_kept() {
    let proxy = config(32).start();
    let mut clients: Vec<Client> = (0..29).map(|_| proxy.client()).collect();
    wait_until("all are in", || open(&proxy) == 29);
    assert!(!clients[0].get("/").expect(200).fields.lists("Connection", "close"));
    clients.push(proxy.client());
    wait_until("it is in", || open(&proxy) == 30);
    assert!(clients[0].get("/").expect(200).fields.lists("Connection", "close"));
    clients[0].expect_end();
    // It is still open on this side, but no longer counted.
    assert!(!clients[1].get("/").expect(200).fields.lists("Connection", "close"));
}

/// A refused connection held a place for two seconds after its 429, and counted for its client too.
#[test]
fn whoever_is_refused_holds_nothing() {
    for workers in [1, 2] {
        let proxy = config(40).set("limits.max_conns_per_client", 2).set("workers", workers).start();
        let mut served = [proxy.client(), proxy.client()];
        served.iter_mut().for_each(|client| drop(client.get("/").expect(200)));
        let begin = Instant::now();
        let mut refused: Vec<Client> = Vec::new();
        for n in 0..200 {
            let mut client = proxy.client();
            if n % 2 == 0 {
                client.try_send("GET / HTTP/1.1\r\nHost: a\r\n\r\n").ok();
            }
            let answer = client.response().expect(429);
            assert!(answer.fields.lists("Connection", "close"));
            refused.push(client);
            if n % 20 == 0 {
                let mut neighbour = neighbour(&proxy);
                assert!(!neighbour.get("/").expect(200).fields.lists("Connection", "close"));
            }
        }
        assert!(begin.elapsed() < SOON, "they waited: {:?}", begin.elapsed());
        assert_eq!((evicted(&proxy), full(&proxy)), (0.0, 0.0));
        wait_until("few of them linger", || open(&proxy) <= 2 + 2 + 1);
        // They were never closed, but do not count for their client.
        let [one, mut other] = served;
        drop(one);
        wait_until("there is room for another", || proxy.client().get("/").status == 200);
        other.get("/").expect(200);
    }
}

/// The same at the limit: a flood of refused connections closes no idle one.
#[test]
fn at_the_limit_a_refused_client_takes_nobodys_place() {
    let proxy = config(4).set("limits.max_conns_per_client", 2).start();
    let (mut greedy, mut others) = (vec![proxy.client()], vec![neighbour(&proxy)]);
    greedy[0].get("/").expect(200);
    others[0].get("/").expect(200);
    greedy.push(proxy.client());
    others.push(neighbour(&proxy));
    wait_until("all are in", || open(&proxy) == 4);
    let begin = Instant::now();
    wait_until("all have idled for long enough", || begin.elapsed() > Duration::from_millis(1200));
    for _ in 0..50 {
        proxy.client().response().expect(429);
    }
    assert_eq!(evicted(&proxy), 0.0);
    assert!(greedy.iter().chain(&others).all(|client| !client.has_news()));
    others[0].get("/").expect(200);
}

/// The same for heads refused with 400, where the client does not close.
#[test]
fn whoever_has_had_its_last_answer_holds_nothing() {
    for workers in [1, 2] {
        let proxy = config(40).set("workers", workers).start();
        let begin = Instant::now();
        let mut held = Vec::new();
        for n in 0..200 {
            let mut client = proxy.client();
            client.send("GET / HTTP/1.1\r\nHost : a\r\n\r\n");
            client.response().expect(400);
            held.push(client);
            if n % 20 == 0 {
                assert!(!proxy.client().get("/").expect(200).fields.lists("Connection", "close"));
            }
        }
        assert!(begin.elapsed() < SOON, "they waited: {:?}", begin.elapsed());
        assert_eq!((evicted(&proxy), full(&proxy)), (0.0, 0.0));
        wait_until("few of them linger", || open(&proxy) <= 2 + 1);
    }
}

/// Descriptors are a limit as well.
#[test]
fn without_descriptors_idle_clients_give_way_too() {
    let routes = json!([{"match": {"path_prefix": "/"}, "respond": {"status": 200, "body": "here"}}]);
    let config = Config::new().set("routes", routes).set("timeouts.client_keepalive_ms", 3_600_000);
    let proxy = config.set("timeouts.client_header_ms", 3_600_000).start_with_descriptors(70);
    let mut idle: Vec<Client> = (0..60).map(|_| proxy.client()).collect();
    for client in &mut idle[..4] {
        client.get("/").expect(200);
    }
    for _ in 0..5 {
        let begin = Instant::now();
        proxy.get("/").expect(200);
        assert!(begin.elapsed() < SOON, "it waited {:?}", begin.elapsed());
    }
    assert!(evicted(&proxy) >= 1.0);
    assert!(proxy.fds() <= 70);
    let said = proxy.diagnostics().iter().filter(|line| line.contains("file descriptors are used up")).count();
    assert_eq!(said, 1);
}
