//! SIGHUP and listening addresses: new ones are open before old ones close, and the others are not touched.

use crate::support::*;
use serde_json::json;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

fn local(port: u16) -> SocketAddr {
    SocketAddr::from(([127, 0, 0, 1], port))
}

/// Listening at these ports; what it answers is that text, so that it shows which configuration did.
fn at(ports: &[u16], text: &str) -> Config {
    let listen: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
    Config::new().set("listen", listen).set("routes", json!([{"respond": {"body": text}}]))
}

fn is_refused(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
}

#[test]
fn addresses_come_and_go_and_the_one_that_stays_notices_nothing() {
    for workers in [1, 3] {
        let [stays, goes, comes] = [(); 3].map(|_| free_port());
        let proxy = at(&[stays, goes], "one").set("workers", workers).start();
        let (mut kept, mut left) = (Client::connect(local(stays)), Client::connect(local(goes)));
        assert!(is_refused(local(comes)));
        for client in [&mut kept, &mut left] {
            assert!(!client.get("/").expect(200).fields.has("Connection"));
        }
        proxy.reload(&at(&[stays, comes], "two").set("workers", workers));
        assert_eq!(get(local(comes), "/").expect(200).text(), "two");
        wait_until("nobody listens at the old address", || is_refused(local(goes)));
        let answer = left.get("/").expect(200);
        assert!(answer.fields.lists("Connection", "close") && answer.text() == "two", "{answer:?}");
        left.expect_end();
        let answer = kept.get("/").expect(200);
        assert!(!answer.fields.has("Connection") && answer.text() == "two", "{answer:?}");
        proxy.reload(&at(&[goes, stays], "three").set("workers", workers));
        for port in [stays, goes] {
            assert_eq!(get(local(port), "/").expect(200).text(), "three");
        }
        wait_until("nobody listens at the other one", || is_refused(local(comes)));
    }
}

#[test]
fn what_is_in_flight_at_an_address_that_goes_is_answered_and_told() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let [stays, goes] = [(); 2].map(|_| free_port());
    let config = |ports: &[u16]| {
        let listen: Vec<_> = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        Config::to(&origin).set("listen", listen)
    };
    let proxy = config(&[stays, goes]).start();
    let (mut kept, mut left) = (Client::connect(local(stays)), Client::connect(local(goes)));
    kept.send_get("/kept");
    left.send_get("/left");
    wait_until("both are in flight", || origin.requests().len() == 2);
    proxy.reload(&config(&[stays]));
    wait_until("nobody listens there", || is_refused(local(goes)));
    gate.release(2);
    let answer = left.response().expect(200);
    assert!(answer.fields.lists("Connection", "close") && answer.text() == "GET /left", "{answer:?}");
    left.expect_end();
    let answer = kept.response().expect(200);
    assert!(!answer.fields.has("Connection") && answer.text() == "GET /kept", "{answer:?}");
}

#[test]
fn whoever_waits_in_the_queue_of_an_address_that_goes_is_served() {
    let [stays, goes] = [(); 2].map(|_| free_port());
    for workers in [1, 2] {
        let proxy = at(&[stays, goes], "one").set("workers", workers).start();
        // While it cannot run, the kernel takes the connections for it; it then finds the signal and the clients at once.
        proxy.signal("STOP");
        let mut clients: Vec<_> = (0..150).map(|_| Client::connect(local(goes))).collect();
        clients.iter_mut().for_each(|client| client.send_get("/"));
        proxy.write("config.yaml", &at(&[stays], "two").set("workers", workers).0.to_string());
        proxy.signal("HUP");
        proxy.signal("CONT");
        for client in &mut clients {
            let answer = client.response().expect(200);
            assert!(["one", "two"].contains(&answer.text()), "{answer:?}");
        }
        wait_until("nobody listens there", || is_refused(local(goes)));
    }
}

#[test]
fn an_address_in_use_refuses_the_whole() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let [stays, comes] = [(); 2].map(|_| free_port());
    let proxy = at(&[stays], "one").set("workers", 2).start();
    let mut kept = proxy.client();
    kept.get("/").expect(200);
    let fds = proxy.fds();
    let port = taken.local_addr().unwrap().port();
    let said = proxy.reload_in_vain(&at(&[comes, port], "two").set("workers", 2).0.to_string());
    assert!(said.iter().any(|line| line.contains(" ERROR ") && line.contains(&format!("127.0.0.1:{port}"))), "{said:?}");
    assert_eq!(proxy.reloads(), (0, 1));
    assert!(is_refused(local(comes)), "what could have been opened was not");
    for answer in [kept.get("/"), get(local(stays), "/")] {
        assert_eq!(answer.expect(200).text(), "one");
    }
    wait_until("no descriptor is left over", || proxy.fds() <= fds + 1);
    drop(taken);
    proxy.reload(&at(&[comes, port], "two").set("workers", 2));
    assert_eq!(get(local(port), "/").expect(200).text(), "two");
    wait_until("nobody listens at the old address", || is_refused(local(stays)));
    assert!(kept.get("/").expect(200).fields.lists("Connection", "close"));
}

#[test]
fn port_0_is_unchanged_by_a_reload() {
    let proxy = at(&[0, 0], "one").start();
    let [a, b] = proxy.listens() else { panic!("{:?}", proxy.ready) };
    assert_ne!(a, b);
    let mut kept = [Client::connect(*a), Client::connect(*b)];
    kept.iter_mut().for_each(|client| drop(client.get("/").expect(200)));
    proxy.reload(&at(&[0, 0], "two"));
    for (client, addr) in kept.iter_mut().zip([*a, *b]) {
        let answer = client.get("/").expect(200);
        assert!(answer.text() == "two" && !answer.fields.has("Connection"), "at {addr}: {answer:?}");
        assert_eq!(get(addr, "/").expect(200).text(), "two");
    }
}

#[test]
fn the_place_of_an_address_in_the_list_means_nothing() {
    let ports = [(); 3].map(|_| free_port());
    let named = |order: [usize; 3]| {
        let route = |i: usize| json!({"match": {"port": ports[i]}, "respond": {"body": format!("{i}")}});
        at(&order.map(|i| ports[i]), "none").set("routes", json!([route(0), route(1), route(2)]))
    };
    let proxy = named([0, 1, 2]).set("workers", 2).start();
    let mut clients = ports.map(|port| Client::connect(local(port)));
    for order in [[2, 0, 1], [1, 2, 0], [0, 1, 2]] {
        proxy.reload(&named(order).set("workers", 2));
        for (i, client) in clients.iter_mut().enumerate() {
            let answer = client.get("/").expect(200);
            assert!(answer.text() == format!("{i}") && !answer.fields.has("Connection"), "{answer:?}");
        }
    }
}

#[test]
fn addresses_change_under_load() {
    let origin = Origin::busy("a");
    let [stays, one, two] = [(); 3].map(|_| free_port());
    let config = |port: u16| {
        let listen = [stays, port].map(|port| format!("127.0.0.1:{port}"));
        Config::to(&origin).set("listen", listen.to_vec()).set("workers", 2)
    };
    let proxy = config(one).start();
    let loads = [stays, one].map(|port| Load::start(local(port), 2, 2, Duration::from_millis(3)));
    loads.iter().for_each(|load| load.wait_for_more(50));
    for i in 0..10 {
        proxy.reload(&config([two, one][i % 2]));
        loads[0].wait_for_more(10);
    }
    let [stayed, left] = loads.map(Load::stop);
    stayed.expect_flawless();
    // Accepted clients are served. A connection completed between the last accept and the close is reset, which cannot be avoided.
    left.expect_no_faults();
    assert!(left.refused > 0 && left.unanswered <= 10, "{}", left.summary());
}

#[test]
fn the_limit_of_clients_is_taken_over() {
    let config = |most: usize| at(&[0], "hello").set("limits.max_client_conns", most);
    let proxy = config(2).start();
    // A connection in the middle of a head is not closed for others.
    let mut clients = [(); 2].map(|_| proxy.client());
    clients.iter_mut().for_each(|client| client.send("GET / HTTP/1.1\r\n"));
    wait_until("both are within", || proxy.metric("proxy_client_connections", &[]) == 2.0);
    let mut waiting = proxy.client();
    waiting.send_get("/");
    proxy.reload(&config(2));
    assert!(!waiting.has_news(), "there is no place");
    proxy.reload(&config(3));
    waiting.response().expect(200);
    // Fewer again: nobody is thrown out, and a place is free when there are fewer.
    proxy.reload(&config(1));
    let mut last = proxy.client();
    last.send_get("/");
    let [a, b] = &mut clients;
    for client in [a, b] {
        assert!(!last.has_news(), "there is no place");
        client.send("Host: a\r\n\r\n");
        client.response().expect(200);
        client.expect_end();
    }
    last.response().expect(200);
}
