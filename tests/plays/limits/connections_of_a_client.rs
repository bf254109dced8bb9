//! How many connections one client may have.

use crate::support::*;
use serde_json::json;

#[test]
fn a_client_has_so_many_connections_and_no_more() {
    for workers in [1, 2] {
        let origin = Origin::hello();
        let proxy = Config::to(&origin).set("limits.max_conns_per_client", 3).set("workers", workers).start();
        let mut clients: Vec<_> = (0..3).map(|_| proxy.client()).collect();
        clients.iter_mut().for_each(|client| drop(client.get("/").expect(200)));
        // At once, before the client has sent anything.
        let mut over = proxy.client();
        let answer = over.response();
        assert!(answer.fields.lists("Connection", "close"), "{answer:?}");
        let answer = proxy.expect_refusal(answer, 429, "client_connection_limit");
        over.expect_end();
        drop(over);
        assert!(proxy.log_of(answer.trace_id()).contains("\"-\""));
        assert_eq!(proxy.metric("proxy_errors_total", &["reason=\"client_connection_limit\""]), 1.0);
        get(proxy.admin(), "/health").expect(200);
        clients.iter_mut().for_each(|client| drop(client.get("/who-is-in-stays-in").expect(200)));
        drop(clients.pop());
        wait_until("its place is free", || proxy.get("/").status == 200);
        wait_until("only those are open", || proxy.metric("proxy_client_connections", &[]) == 2.0);
    }
}

#[test]
fn one_that_has_asked_already_gets_the_same_answer() {
    let proxy = Config::new().set("limits.max_conns_per_client", 1).set("routes", json!([{"respond": {}}])).start();
    let mut first = proxy.client();
    first.get("/").expect(200);
    for _ in 0..20 {
        let mut over = proxy.client();
        over.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
        let _ = over.try_send(vec![b'x'; 100_000]);
        assert_eq!(over.response().expect(429).fields.get("Connection"), Some("close"), "no reset overtakes it");
        over.expect_end();
    }
}

#[test]
fn a_reload_changes_how_many_connections_a_client_has() {
    let config = |most: u32| Config::new().set("routes", json!([{"respond": {}}])).set("limits.max_conns_per_client", most);
    let proxy = config(1).start();
    let mut first = proxy.client();
    first.get("/").expect(200);
    assert_eq!(proxy.get("/").status, 429);
    for (most, status) in [(0, 200), (1, 429), (5, 200)] {
        proxy.reload(&config(most));
        wait_until("it applies", || proxy.get("/").status == status);
        first.get("/").expect(200);
    }
}
