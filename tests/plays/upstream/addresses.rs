//! The addresses of a name: each is a server of its own.

use crate::support::*;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const NAME: &str = "many.test";

/// Listeners on one port, at 127.0.0.2 and the addresses after it.
fn neighbours(n: u8) -> Vec<TcpListener> {
    let at = |last: u8, port: u16| TcpListener::bind((Ipv4Addr::new(127, 0, 0, last), port));
    loop {
        let first = at(2, 0).unwrap();
        let port = first.local_addr().unwrap().port();
        if let Ok(others) = (3..n + 2).map(|last| at(last, port)).collect::<Result<Vec<_>, _>>() {
            return [first].into_iter().chain(others).collect();
        }
    }
}

/// Origins that answer with their address, and their port.
fn origins(n: u8) -> (Vec<Origin>, u16) {
    let listeners = neighbours(n);
    let port = listeners[0].local_addr().unwrap().port();
    let origin = |listener: TcpListener| {
        let address = listener.local_addr().unwrap().ip().to_string();
        Origin::over(listener, move |conn| {
            while conn.read_request().is_some() {
                conn.answer(&address);
            }
        })
    };
    (listeners.into_iter().map(origin).collect(), port)
}

fn to_name(port: u16) -> Config {
    Config::new().set("upstreams", json!([{"host": NAME, "port": port}])).set("resolve_ms", 50)
}

fn hosts(addresses: impl IntoIterator<Item = impl ToString>) -> String {
    let addresses: Vec<String> = addresses.into_iter().map(|address| address.to_string()).collect();
    format!("{NAME} {}\n", addresses.join(" "))
}

fn near(last: impl IntoIterator<Item = u8>) -> String {
    hosts(last.into_iter().map(|last| format!("127.0.0.{last}")))
}

fn counts(origins: &[Origin]) -> Vec<usize> {
    origins.iter().map(|origin| origin.requests().len()).collect()
}

fn rows(proxy: &Proxy) -> Vec<Value> {
    proxy.page("/backends/health", 200)["backends"].as_array().unwrap().clone()
}

/// What the admin port says of that address.
#[track_caller]
fn row(proxy: &Proxy, address: &str) -> Value {
    rows(proxy).into_iter().find(|row| row["address"] == address).unwrap_or_else(|| panic!("no {address} in {:?}", rows(proxy)))
}

#[test]
fn requests_of_one_connection_go_to_all_addresses_in_turn() {
    for balance in ["round_robin", "weighted", "random", "least_connections", "adaptive"] {
        let (origins, port) = origins(3);
        let proxy = to_name(port).set("balance", balance).launch().names(&near([2, 3, 4])).start();
        let mut client = proxy.client();
        (0..300).for_each(|_| drop(client.get("/").expect(200)));
        let counts = counts(&origins);
        match balance {
            "round_robin" | "weighted" => assert_eq!(counts, [100; 3], "{balance}"),
            // One whose first answer took long may get few.
            "adaptive" => assert!(counts.iter().all(|&n| n >= 1), "{balance}: {counts:?}"),
            _ => assert!(counts.iter().all(|&n| n >= 50), "{balance}: {counts:?}"),
        }
        let address = format!("127.0.0.3:{port}");
        assert_eq!(row(&proxy, &address)["requests_total"], json!(counts[1]));
        let labels = [format!("upstream=\"{NAME}:{port}\""), format!("address=\"{address}\"")];
        assert_eq!(proxy.metric("proxy_upstream_requests_total", &labels.each_ref().map(String::as_str)), counts[1] as f64);
    }
}

#[test]
fn an_address_that_joins_gets_its_share_and_one_that_goes_is_let_go() {
    let (origins, port) = origins(4);
    let proxy = to_name(port).set("workers", 2).launch().names(&near([2])).start();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    let mut ask = |n: usize| (0..n).for_each(|i| drop(clients[i % 4].get("/").expect(200)));
    ask(20);
    assert_eq!(counts(&origins), [20, 0, 0, 0]);
    proxy.set_names(&near([5, 3, 4, 2]));
    wait_until("all are known", || rows(&proxy).len() == 4);
    // A worker may not have heard of it yet.
    wait_until("all are used", || {
        ask(4);
        counts(&origins).iter().all(|&n| n > 0)
    });
    let before = counts(&origins);
    ask(80);
    let more: Vec<usize> = counts(&origins).iter().zip(&before).map(|(now, before)| now - before).collect();
    assert!(more.iter().all(|n| (18..=22).contains(n)), "{more:?}");
    proxy.set_names(&near([3]));
    wait_until("the others' connections are closed", || (0..4).all(|i| i == 1 || established_at(&origins[i]) == 0));
    ask(4);
    let scrape = proxy.scrape();
    let gone = |last: u8| !scrape.contains(&format!("address=\"127.0.0.{last}:{port}\""));
    assert_eq!([2, 3, 4, 5].map(gone), [true, false, true, true], "series of addresses that are gone go: {scrape}");
    assert_eq!(rows(&proxy).len(), 1);
}

/// Connections to that address alone; other origins have the same port.
fn established_at(origin: &Origin) -> usize {
    let IpAddr::V4(ip) = origin.addr().ip() else { unreachable!("origins of this file have addresses of IPv4") };
    let local = format!("{:08X}:{:04X}", u32::from_le_bytes(ip.octets()), origin.port());
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let is_open = |line: &&str| line.split_ascii_whitespace().nth(1) == Some(&local) && line.split_ascii_whitespace().nth(3) == Some("01");
    table.lines().filter(is_open).count()
}

#[test]
fn the_circuit_of_one_bad_address_is_its_own() {
    let mut listeners = neighbours(3);
    let port = listeners[0].local_addr().unwrap().port();
    let bad = Origin::over(listeners.remove(1), |conn| {
        while conn.read_request().is_some() {
            conn.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n");
        }
    });
    let good: Vec<Origin> = listeners.into_iter().map(|listener| Origin::over(listener, answer_all)).collect();
    let breaker = json!({"failure_threshold": 3, "failure_statuses": [503], "timeout_ms": 86_400_000});
    let config = to_name(port).set("circuit_breaker", breaker);
    let proxy = config.launch().names(&near([2, 3, 4])).start();
    let mut client = proxy.client();
    let failed = (0..300).filter(|_| client.get("/").status == 503).count();
    assert_eq!((failed, bad.requests().len()), (3, 3), "then its circuit is open");
    assert!(good.iter().all(|origin| origin.requests().len() >= 148));
    let circuits = [2, 3, 4].map(|last| row(&proxy, &format!("127.0.0.{last}:{port}"))["circuit"].clone());
    assert_eq!(circuits, ["closed", "open", "closed"]);
    assert_eq!(proxy.page("/health", 200)["status"], "healthy", "an upstream is usable if one of its addresses is");
    let told = proxy.said("circuit");
    assert!(told.iter().any(|line| line.contains(&format!("{NAME}:{port}[127.0.0.3:{port}]"))), "{told:?}");
}

fn answer_all(conn: &mut Conn) {
    while let Some(request) = conn.read_request() {
        conn.answer(request.what());
    }
}

#[test]
fn each_address_is_checked_for_itself() {
    let mut listeners = neighbours(2);
    let port = listeners[0].local_addr().unwrap().port();
    let sick = Origin::over(listeners.remove(0), |conn| {
        while let Some(request) = conn.read_request() {
            let status = if request.target == "/check" { "500 Oh" } else { "200 OK" };
            conn.send(format!("HTTP/1.1 {status}\r\nContent-Length: 0\r\n\r\n"));
        }
    });
    let _well = Origin::over(listeners.remove(0), answer_all);
    let check = json!({"path": "/check", "interval_ms": 50, "failure_threshold": 1});
    let proxy = to_name(port).set("health_check", check).launch().names(&near([2, 3])).start();
    let verdict = |last: u8| row(&proxy, &format!("127.0.0.{last}:{port}"))["health_check"].clone();
    wait_until("both are checked", || verdict(2) == "failing" && verdict(3) == "passing");
    let asked = |origin: &Origin| origin.requests().iter().filter(|request| request.target == "/").count();
    let before = asked(&sick);
    (0..20).for_each(|_| drop(proxy.get("/").expect(200)));
    assert_eq!(asked(&sick), before);
    let health = |last: u8| proxy.metric("backend_health", &[&format!("address=\"127.0.0.{last}:{port}\"")]);
    assert_eq!((health(2), health(3)), (0.0, 1.0));
}

#[test]
fn any_number_of_addresses_that_change_at_each_look_up_cost_no_request() {
    // Every address of the loopback network is this one.
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let _origin = Origin::over(listener, |conn| {
        while let Ok(head) = conn.wire().head() {
            conn.answer(head.start.split(' ').nth(1).expect("a target"));
        }
    });
    let mut next = 0u32;
    let mut some = |n: u32| {
        next += n;
        hosts((next - n..next).map(|i| Ipv4Addr::from(0x7F01_0000 + i)))
    };
    let config = to_name(port).set("workers", 2).set("limits.upstream_idle_conns", 4);
    let proxy = config.launch().names(&some(1)).start();
    let load = Load::start(proxy.addr(), 4, 2, Duration::from_millis(2));
    let mut change = |n: u32| {
        proxy.set_names(&some(n));
        wait_until("they are known", || rows(&proxy).len() == n as usize);
        load.wait_for_more(20);
    };
    [5, 50, 500].into_iter().for_each(&mut change);
    let (fds, rss) = (proxy.fds(), proxy.rss_bytes());
    (0..8).for_each(|_| change(500));
    change(1);
    let growth = proxy.rss_bytes().saturating_sub(rss);
    assert!(growth < 16 << 20, "{growth} bytes more");
    wait_until("connections to those that are gone are closed", || proxy.fds() <= fds.max(40));
    let tally = load.stop();
    tally.expect_flawless();
    let scrape = proxy.scrape();
    let addresses: BTreeSet<&str> = scrape.lines().filter_map(|line| line.split("address=\"").nth(1)?.split('"').next()).collect();
    assert_eq!(addresses.len(), 1, "series of addresses that are gone: {addresses:?}");
}

#[test]
fn an_address_that_swallows_connections_is_tried_last() {
    let mut listeners = neighbours(2);
    // It accepts nothing, and its queue is full: the kernel drops what more comes.
    let full = listeners.remove(0);
    let addr: SocketAddr = full.local_addr().unwrap();
    socket2::SockRef::from(&full).listen(1).unwrap();
    let mut queue = Vec::new();
    while let Ok(stream) = TcpStream::connect_timeout(&addr, Duration::from_millis(300)) {
        queue.push(stream);
    }
    let origin = Origin::over(listeners.remove(0), answer_all);
    let config = to_name(addr.port()).set("timeouts", json!({"connect_ms": 2000, "upstream_keepalive_ms": 0}));
    let config = config.set("circuit_breaker", json!({"failure_threshold": 1000, "timeout_ms": 86_400_000}));
    let proxy = config.launch().names(&near([2, 3])).start();
    for _ in 0..20 {
        let answer = proxy.get("/").expect(200);
        assert!(proxy.log_of(answer.trace_id()).contains(" attempts=1 "));
    }
    assert_eq!(origin.requests().len(), 20);
    let timeouts = proxy.metric("proxy_upstream_errors_total", &["type=\"timeout\""]);
    assert_eq!(timeouts, 1.0, "one request has waited for it, and no other");
}

#[test]
fn a_name_of_which_one_address_refuses_is_perfect_and_healthy() {
    let origin = Origin::hello();
    let hosts = format!("{NAME} ::1 127.0.0.1\n");
    let config = to_name(origin.port()).set("circuit_breaker", json!({"failure_threshold": 5, "timeout_ms": 100}));
    let proxy = config.set("timeouts.upstream_keepalive_ms", 0).launch().names(&hosts).start();
    for i in 0..100 {
        let answer = proxy.client().post(&format!("/{i}"), "content").expect(200);
        assert!(proxy.log_of(answer.trace_id()).contains(" attempts=1 "), "the next address follows as the same attempt");
    }
    assert_eq!(proxy.page("/health", 200)["status"], "healthy");
    assert_eq!(proxy.metric("proxy_retries_total", &[]), 0.0);
}

#[test]
fn a_request_that_is_repeated_goes_to_another_address_first() {
    let mut listeners = neighbours(2);
    let port = listeners[0].local_addr().unwrap().port();
    let _rude = Origin::over(listeners.remove(0), |conn| {
        conn.read_request();
        conn.close();
    });
    let _kind = Origin::over(listeners.remove(0), answer_all);
    let proxy = to_name(port).set("retry.max_retries", 1).set("retry.budget_percent", 100).launch().names(&near([2, 3])).start();
    for _ in 0..10 {
        let line = proxy.log_of(proxy.get("/").expect(200).trace_id());
        assert!(line.contains(&format!(" upstream={NAME}:{port}[127.0.0.3:{port}] ")), "{line}");
    }
}

#[test]
fn where_one_address_refuses_and_the_other_is_full_the_request_waits() {
    let mut listeners = neighbours(2);
    let port = listeners[0].local_addr().unwrap().port();
    let gate = Gate::default();
    let busy = Origin::over(listeners.remove(1), {
        let gate = gate.clone();
        move |conn| {
            while conn.read_request().is_some() {
                gate.pass();
                conn.answer("in time");
            }
        }
    });
    drop(listeners);
    let config = to_name(port).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 60_000).set("timeouts.read_ms", 60_000);
    let proxy = config.launch().names(&near([2, 3])).start();
    let mut clients: Vec<_> = (0..4).map(|_| proxy.client()).collect();
    clients[0].send_get("/");
    wait_until("the one place is taken", || busy.requests().len() == 1);
    clients[1..].iter_mut().for_each(|client| client.send_get("/"));
    wait_until("the others wait", || proxy.metric("proxy_queued_requests", &[]) == 3.0);
    gate.release(4);
    for client in &mut clients {
        let answer = client.response().expect(200);
        assert!(proxy.log_of(answer.trace_id()).contains(" attempts=1 "));
    }
}

#[test]
fn an_address_that_comes_back_goes_on_with_what_it_still_holds() {
    let gate = Gate::default();
    let listener = neighbours(1).remove(0);
    let port = listener.local_addr().unwrap().port();
    let busy = Origin::over(listener, {
        let gate = gate.clone();
        move |conn| {
            while conn.read_request().is_some() {
                gate.pass();
                conn.answer("in time");
            }
        }
    });
    let config = to_name(port).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 60_000).set("timeouts.read_ms", 60_000);
    let proxy = config.launch().names(&near([2])).start();
    let (mut first, mut second) = (proxy.client(), proxy.client());
    first.send_get("/");
    wait_until("the one place is taken", || busy.requests().len() == 1);
    for last in [3, 2] {
        proxy.set_names(&near([last]));
        wait_until("the name leads there", || rows(&proxy)[0]["address"] == json!(format!("127.0.0.{last}:{port}")));
    }
    assert_eq!(rows(&proxy)[0]["active_connections"], 1);
    second.send_get("/");
    wait_until("the second waits", || proxy.metric("proxy_queued_requests", &[]) == 1.0);
    gate.release(2);
    assert_eq!([first.response().expect(200).text(), second.response().expect(200).text()], ["in time"; 2]);
}
