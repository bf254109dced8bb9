//! The admin port: what it shows is true, and showing it changes nothing.

use crate::support::exposition::sum;
use crate::support::*;
use serde_json::json;

#[test]
fn health_tells_the_state_of_the_upstreams() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let answer = get(proxy.admin(), "/health").expect(200);
    assert!(answer.fields.get("Content-Type").unwrap().starts_with("application/json"));
    let health: serde_json::Value = serde_json::from_slice(&answer.body).expect("JSON");
    assert_eq!(health["status"], "healthy");
    assert!(health["uptime_seconds"].is_number(), "{health}");
    assert_eq!(health["backends"], json!({"healthy": 1, "total": 1}));
    for feature in ["circuit_breaker", "rate_limiting", "health_checks", "cache"] {
        assert!(health["features"][feature].is_boolean(), "{feature} in {health}");
    }
}

#[test]
fn health_without_upstreams_is_well_and_without_usable_ones_is_not() {
    let proxy = Config::new().start();
    assert!(get(proxy.admin(), "/health").expect(200).text().contains("\"status\":\"healthy\""));
    let proxy = Config::new().set("upstreams", json!([{"host": "no-such-name.invalid", "port": 80}])).start();
    assert!(get(proxy.admin(), "/health").expect(503).text().contains("\"status\":\"unhealthy\""));
}

#[test]
fn other_paths_and_methods_are_told_so() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    let mut client = Client::connect(proxy.admin());
    client.get("/nothing-here").expect(404);
    let answer = Client::connect(proxy.admin()).post("/metrics", "body").expect(405);
    assert!(answer.fields.lists("Allow", "GET") && answer.fields.lists("Allow", "HEAD"), "{:?}", answer.fields);
    client.send("HEAD /health HTTP/1.1\r\nHost: admin\r\n\r\n");
    let length = client.response_to("HEAD").expect(200).fields.get("Content-Length").unwrap().to_owned();
    assert_ne!(length, "0");
    client.get("/health").expect(200); // all that was read whole, on one connection
    get(proxy.admin(), "/health?verbose").expect(200);
}

#[test]
fn the_admin_port_is_as_strict_as_any() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("timeouts.client_header_ms", 300).start();
    assert_eq!(ask(proxy.admin(), "GET /health HTTP/1.1\r\nHost : a\r\n\r\n").status, 400);
    assert_eq!(ask(proxy.admin(), "GET /health HTTP/1.1\r\nX: y").status, 408);
    Client::connect(proxy.admin()).expect_end();
}

#[test]
fn looking_changes_nothing() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    for path in ["/metrics", "/health", "/nothing-here", "/metrics"] {
        get(proxy.admin(), path);
    }
    ask(proxy.admin(), "nonsense\r\n\r\n");
    proxy.expect_nothing_counted();
    proxy.get("/one").expect(200);
    proxy.log_with("GET /one"); // and by now anything else would have been logged as well
    assert_eq!(proxy.log_lines().len(), 1);
}

#[test]
fn there_may_be_no_admin_port() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("metrics_listen", serde_json::Value::Null).start();
    assert!(proxy.ready.contains(" metrics=off "), "{:?}", proxy.ready);
    proxy.get("/").expect(200);
}

/// Idle connections must not keep those after the 64th from getting an answer.
#[test]
fn idle_connections_to_the_admin_port_give_way() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("timeouts.client_header_ms", 3_600_000).start();
    let idle: Vec<Client> = (0..100).map(|_| Client::connect(proxy.admin())).collect();
    for _ in 0..3 {
        get(proxy.admin(), "/health").expect(200);
    }
    drop(idle);
    let scrape = proxy.scrape();
    assert_eq!(sum(&scrape, "proxy_connections_evicted_total", &[]), 0.0, "the admin port's connections count nowhere");
}

/// Pages were rendered for every client that had asked and left, one after the other, before any other client got an answer; and the
/// memory for them stayed in use.
#[test]
fn pages_are_made_once_for_all_and_for_nobody_who_has_left() {
    let upstreams: Vec<_> = (0..3000).map(|n| json!({"host": "127.0.0.1", "port": 10_000 + n})).collect();
    let proxy = Config::new().set("upstreams", upstreams).start();
    let length = get(proxy.admin(), "/metrics").expect(200).body.len();
    assert!(length > 1_000_000, "{length} is no large page");
    let before = proxy.rss_bytes();
    for n in 0..1500 {
        let mut client = Client::connect(proxy.admin());
        client.send_get("/metrics");
        if n % 2 == 0 {
            client.reset();
        }
    }
    let begin = std::time::Instant::now();
    get(proxy.admin(), "/health").expect(200);
    assert!(begin.elapsed() < std::time::Duration::from_secs(10), "/health came after {:?}", begin.elapsed());
    // A client may well have closed its sending side and read on.
    let mut half_closed = Client::connect(proxy.admin());
    half_closed.send_get("/metrics");
    half_closed.half_close();
    assert!(half_closed.response().expect(200).body.len() > 1_000_000);
    let mut clients: Vec<_> = (0..60).map(|_| Client::connect(proxy.admin())).collect();
    clients.iter_mut().for_each(|client| client.send_get("/metrics"));
    clients.iter_mut().for_each(|client| assert!(client.response().expect(200).body.len() > 1_000_000));
    drop(clients);
    wait_until("it has let go of the pages", || proxy.rss_bytes() < before + 40 * 1024 * 1024);
}

#[test]
fn probes_have_pages_of_their_own() {
    let proxy = Config::new().set("upstreams", json!([{"host": "no-such-name.invalid", "port": 80}])).start();
    assert_eq!(proxy.page("/live", 200), json!({"status": "live"}));
    assert_eq!(proxy.page("/ready", 200), json!({"status": "ready"}), "upstreams that are down get no trial otherwise");
    get(proxy.admin(), "/health").expect(503);
    let origin = Origin::start(|conn| {
        conn.read_head();
        conn.wait_for_end();
    });
    let proxy = Config::to(&origin).start();
    let mut kept = Client::connect(proxy.admin());
    kept.get("/ready").expect(200);
    let mut busy = proxy.client();
    busy.send_get("/");
    wait_until("it is in flight", || origin.connections() == 1);
    proxy.signal("TERM");
    wait_until("it is not ready any more", || get(proxy.admin(), "/ready").status == 503);
    assert_eq!(proxy.page("/ready", 503), json!({"status": "draining"}));
    get(proxy.admin(), "/live").expect(200);
}

#[test]
fn the_first_page_is_for_browsers_and_otherwise_the_metrics() {
    let proxy = Config::new().start();
    let ask = |accept: &str| ask(proxy.admin(), format!("GET / HTTP/1.1\r\nHost: a\r\n{accept}Connection: close\r\n\r\n")).expect(200);
    for accept in ["", "Accept: */*\r\n", "Accept: text/plain;q=0.9, */*;q=0.1\r\n"] {
        let answer = ask(accept);
        assert!(answer.fields.get("Content-Type").unwrap().starts_with("text/plain; version=0.0.4"), "{accept:?}");
        Exposition::parse(answer.text());
    }
    let answer = ask("Accept: text/html,application/xhtml+xml,application/xml;q=0.9,*/*;q=0.8\r\n");
    assert!(answer.fields.get("Content-Type").unwrap().starts_with("text/html"));
    assert!(answer.text().contains("href=\"/backends/health\""));
}

#[test]
fn an_upstream_of_weight_0_is_not_counted_as_usable() {
    let origin = Origin::hello();
    let upstreams =
        [3, 0].map(|weight| json!({"url": format!("http://{}", origin.addr()), "name": format!("w{weight}"), "weight": weight}));
    let proxy = Config::new().set("upstreams", json!(upstreams)).start();
    let page = proxy.page("/backends/health", 200);
    let of = |index: usize, key: &str| page["backends"][index][key].clone();
    assert_eq!((of(0, "draining"), of(1, "draining")), (json!(false), json!(false)));
    assert_eq!((of(0, "weight"), of(0, "healthy")), (json!(3), json!(true)));
    assert_eq!((of(1, "weight"), of(1, "healthy")), (json!(0), json!(false)));
    let health = proxy.page("/health", 200);
    assert_eq!((&health["status"], &health["backends"]), (&json!("degraded"), &json!({"healthy": 1, "total": 2})));
    assert_eq!(proxy.metric("backend_health", &["upstream=\"w0\""]), 0.0);
}
