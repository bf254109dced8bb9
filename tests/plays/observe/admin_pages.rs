//! The exact content of the admin port's pages, checked by independent readers; and neither pages nor those who ask for them delay
//! anything. `admin_port.rs` has the simple cases.

use crate::support::*;
use serde_json::{Value, json};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

fn keys(value: &Value) -> Vec<&str> {
    value.as_object().expect("an object").keys().map(String::as_str).collect()
}

fn metrics(proxy: &Proxy) -> Exposition {
    Exposition::parse(get(proxy.admin(), "/metrics").expect(200).text())
}

#[test]
fn health_has_its_documented_shape_in_every_state() {
    let origin = Origin::hello();
    let up = json!({"host": "127.0.0.1", "port": origin.port()});
    let down = json!({"host": "no-such-name.invalid", "port": 80});
    for (upstreams, status, word, healthy) in [
        (json!([]), 200, "healthy", 0),
        (json!([up]), 200, "healthy", 1),
        (json!([up, down]), 200, "degraded", 1),
        (json!([down]), 503, "unhealthy", 0),
    ] {
        let proxy = Config::new().set("upstreams", upstreams.clone()).start();
        let health = proxy.page("/health", status);
        assert_eq!(keys(&health), ["status", "uptime_seconds", "backends", "features"]);
        assert_eq!(keys(&health["features"]), ["circuit_breaker", "rate_limiting", "health_checks", "cache"]);
        assert!(health["features"].as_object().unwrap().values().all(Value::is_boolean), "{health}");
        assert!(health["uptime_seconds"].as_u64().is_some_and(|s| s < 60), "{health}");
        let total = upstreams.as_array().unwrap().len();
        assert_eq!(health["backends"].to_string(), json!({"healthy": healthy, "total": total}).to_string());
        assert_eq!(health["status"], word);
        let mut client = Client::connect(proxy.admin());
        client.send("HEAD /health HTTP/1.1\r\nHost: a\r\n\r\n");
        let head = client.response_to("HEAD").expect(status);
        let length = get(proxy.admin(), "/health").body.len().to_string();
        assert_eq!(head.fields.get("Content-Length"), Some(length.as_str()));
    }
}

#[test]
fn backends_have_their_documented_shape_and_their_numbers_are_true() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let pools = json!({
        "api": {"upstreams": [{"url": format!("http://{}", origin.addr()), "name": "blue"}]},
        "lost": {"upstreams": [{"host": "no-such-name.invalid", "port": 81}]},
    });
    let proxy = Config::new().set("pools", pools).set("routes", json!([{"proxy": "api"}])).set("workers", 2).start();
    let mut clients = [(); 5].map(|_| proxy.client());
    clients.iter_mut().for_each(|client| client.send_get("/"));
    wait_until("all are in flight", || origin.requests().len() == 5);
    gate.release(2);
    let backends = || proxy.page("/backends/health", 200)["backends"].as_array().unwrap().clone();
    let of = |pool: &str| backends().into_iter().find(|b| b["pool"] == pool).unwrap();
    wait_until("two are idle", || of("api")["idle_connections"] == 2);
    let names = "pool name address healthy health_check circuit weight draining resolved consecutive_failures active_connections idle_connections \
                 requests_total last_error";
    for backend in backends() {
        assert_eq!(keys(&backend), names.split_ascii_whitespace().collect::<Vec<_>>());
        assert!(["passing", "failing", "unchecked", "off"].iter().any(|word| backend["health_check"] == **word), "{backend}");
        assert!(["closed", "open", "half_open"].iter().any(|word| backend["circuit"] == **word), "{backend}");
    }
    let (blue, lost) = (of("api"), of("lost"));
    assert_eq!((&blue["name"], &blue["address"]), (&json!("blue"), &json!(origin.addr().to_string())));
    assert_eq!((&blue["active_connections"], &blue["requests_total"]), (&json!(3), &json!(5)));
    assert_eq!((&blue["healthy"], &blue["resolved"], &blue["last_error"]), (&json!(true), &json!(true), &Value::Null));
    assert_eq!((&lost["healthy"], &lost["resolved"], &lost["requests_total"]), (&json!(false), &json!(false), &json!(0)));
    assert_eq!((&lost["name"], backends().len()), (&json!("no-such-name.invalid:81"), 2));
    let shown = metrics(&proxy);
    let at = origin.addr().to_string();
    let blue = [("pool", "api"), ("upstream", "blue"), ("address", at.as_str())];
    assert_eq!(shown.value("proxy_upstream_requests_total", &blue), 5.0);
    assert_eq!(shown.value("backend_health", &blue), 1.0);
    assert_eq!(shown.value("backend_health", &[("pool", "lost"), ("upstream", "no-such-name.invalid:81"), ("address", "")]), 0.0);
    gate.release(3);
    clients.iter_mut().for_each(|client| drop(client.response().expect(200)));
}

#[test]
fn the_exposition_is_sound_and_its_sums_are_those_of_what_happened() {
    let origin = Origin::each(|conn, request| match request.target.as_str() {
        "/missing" => conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        "/broken" => conn.send("HTTP/1.1 500 Oh\r\nContent-Length: 0\r\n\r\n"),
        _ => conn.answer(request.what()),
    });
    let evil = "a\"b\\c é";
    let config = Config::new().set("upstreams", json!([{"url": format!("http://{}", origin.addr()), "name": evil}])).set("workers", 2);
    let config = match config.clone().launch().arg("-t").run().0 {
        0 => config,
        _ => config.set("upstreams", json!([{"url": format!("http://{}", origin.addr()), "name": "plain"}])),
    };
    let name = config.0["upstreams"][0]["name"].as_str().unwrap().to_owned();
    let proxy = config.start();
    metrics(&proxy); // before anything has happened
    for (path, n) in [("/fine", 5), ("/missing", 3), ("/broken", 2)] {
        (0..n).for_each(|_| drop(proxy.get(path)));
    }
    (0..4).for_each(|_| drop(ask(proxy.addr(), "GET / HTTP/1.1\r\nbroken\r\n\r\n")));
    let shown = metrics(&proxy);
    let classes = ["2xx", "4xx", "5xx"].map(|class| shown.value("proxy_responses_total", &[("status_class", class)]));
    assert_eq!(classes, [5.0, 7.0, 2.0]);
    assert_eq!(shown.value("proxy_requests_total", &[]), 14.0);
    assert_eq!(shown.value("proxy_requests_parse_errors_total", &[]), 4.0);
    assert_eq!(shown.value("proxy_errors_total", &[("reason", "http_request_error")]), 4.0);
    assert_eq!(shown.sum("proxy_errors_total"), 4.0);
    let at = origin.addr().to_string();
    let upstream = [("pool", "default"), ("upstream", name.as_str()), ("address", at.as_str())];
    assert_eq!(shown.value("proxy_upstream_requests_total", &upstream), 10.0);
    assert_eq!(shown.value("proxy_upstream_duration_seconds_count", &upstream), 10.0);
    assert_eq!(shown.labels("proxy_responses_total", "status_class").len(), 5, "1xx to 5xx, whether or not there were any");
    assert_eq!(shown.labels("proxy_config_reloads_total", "result").len(), 2);
    assert_eq!(shown.labels("proxy_upstream_errors_total", "type").len(), 3);
    let age = shown.value("process_start_time_seconds", &[]) - std::time::UNIX_EPOCH.elapsed().unwrap().as_secs_f64();
    assert!((-120.0..1.0).contains(&age) && shown.value("process_open_fds", &[]) > 5.0, "{age}");
    assert_eq!(shown.sum("proxy_build_info"), 1.0);
}

/// Asks for that page again and again, as fast as it comes, until it is dropped.
struct Scraper(Arc<(AtomicBool, AtomicUsize)>, Option<JoinHandle<()>>);

impl Scraper {
    fn start(proxy: &Proxy, path: &'static str) -> Scraper {
        let (admin, state) = (proxy.admin(), Arc::new((AtomicBool::new(false), AtomicUsize::new(0))));
        let shared = state.clone();
        let thread = std::thread::spawn(move || {
            let mut client = Client::connect(admin);
            while !shared.0.load(SeqCst) {
                // Near the port's limit connections are not kept.
                if client.get(path).expect(200).fields.lists("Connection", "close") {
                    client = Client::connect(admin);
                }
                shared.1.fetch_add(1, SeqCst);
            }
        });
        Scraper(state, Some(thread))
    }

    fn pages(&self) -> usize {
        self.0.1.load(SeqCst)
    }
}

impl Drop for Scraper {
    fn drop(&mut self) {
        self.0.0.store(true, SeqCst);
        let ended = self.1.take().unwrap().join();
        assert!(ended.is_ok() || std::thread::panicking(), "a scrape failed");
    }
}

/// A thousand upstreams, of which four are used.
fn a_thousand(origin: &Origin) -> Config {
    let upstream =
        |i: usize| json!({"host": "127.0.0.1", "port": origin.port(), "name": format!("upstream-{i}"), "weight": usize::from(i < 4)});
    Config::new().set("upstreams", (0..1000).map(upstream).collect::<Vec<_>>())
}

#[test]
fn a_scrape_of_a_thousand_upstreams_makes_no_request_wait() {
    let origin = Origin::busy("a");
    let proxy = a_thousand(&origin).start();
    let mut client = proxy.client();
    let mut ask = |i: usize| {
        let begin = Instant::now();
        client.get(&format!("/{i}")).expect(200);
        begin.elapsed()
    };
    let warm: Duration = (0..200).map(&mut ask).sum();
    let scraper = Scraper::start(&proxy, "/metrics");
    wait_until("it has begun", || scraper.pages() > 0);
    let (begin, mut times) = (Instant::now(), Vec::new());
    while scraper.pages() < 12 && begin.elapsed() < PATIENCE {
        times.push(ask(times.len()));
    }
    let a_page = begin.elapsed() / (scraper.pages() as u32 - 1);
    drop(scraper);
    times.sort();
    // Were a page made on the loop, one request in each would wait for all of it, and there would hardly be another one.
    let typical = times[times.len() / 2];
    assert!(typical < a_page / 2, "{typical:?} a request while a page takes {a_page:?} (and {:?} before)", warm / 200);
    let late = times.iter().filter(|time| **time > a_page.max(Duration::from_millis(20))).count();
    assert!(late <= times.len() / 20, "{late} of {} took longer than a page, {a_page:?}", times.len());
    let shown = metrics(&proxy);
    assert_eq!(shown.labels("backend_health", "upstream").len(), 1000);
    assert_eq!(shown.sum("proxy_upstream_requests_total"), 200.0 + times.len() as f64);
    assert_eq!(proxy.page("/backends/health", 200)["backends"].as_array().unwrap().len(), 1000);
}

#[test]
fn clients_of_the_admin_port_that_never_read_hurt_nobody() {
    let origin = Origin::busy("a");
    let proxy = a_thousand(&origin).set("timeouts.client_write_ms", 1500).start();
    let (fds, length) = (proxy.fds(), get(proxy.admin(), "/metrics").expect(200).body.len());
    let load = Load::start(proxy.addr(), 2, 2, Duration::from_millis(3));
    load.wait_for_more(100);
    let rss = proxy.rss_bytes();
    // More than the admin port has places for; each asks for many pages and takes none.
    let readers: Vec<_> = (0..100)
        .map(|_| {
            let mut reader = Client::with_small_buffer(proxy.admin(), 4096);
            reader.send("GET /metrics HTTP/1.1\r\nHost: a\r\n\r\n".repeat(20));
            reader
        })
        .collect();
    wait_until("answers have come for some", || readers.iter().filter(|reader| reader.has_news()).count() > 20);
    load.wait_for_more(300);
    let growth = proxy.rss_bytes().saturating_sub(rss);
    assert!(growth < 64 * (length + 65_536) + (16 << 20), "grew by {growth} bytes, a page has {length}");
    wait_until("those who take nothing are cut", || proxy.fds() < fds + 50);
    drop(readers);
    wait_until("the next one is served", || Client::connect(proxy.admin()).get("/health").status == 200);
    load.stop().expect_flawless();
    assert_eq!(proxy.metric("proxy_errors_total", &[]), 0.0, "none of this is traffic");
}

#[test]
fn floods_and_rubbish_at_the_admin_port_hurt_nobody() {
    let origin = Origin::busy("a");
    let proxy = Config::to(&origin).set("workers", 2).set("timeouts.client_header_ms", 1000).start();
    let load = Load::start(proxy.addr(), 3, 3, Duration::from_millis(3));
    load.wait_for_more(50);
    let fds = proxy.fds();
    let scrapers = ["/metrics", "/health", "/backends/health"].map(|path| Scraper::start(&proxy, path));
    let mut dice = Dice(7);
    let rubbish: [&[u8]; 6] = [
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"GET /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: 999\r\n\r\n",
        b"GET /metrics",
        b"\0\0\0\0\r\n\r\n",
        b"POST /health HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n",
        b"",
    ];
    for _ in 0..400 {
        let mut client = Client::connect(proxy.admin());
        let _ = client.try_send(rubbish[dice.below(rubbish.len())]);
        match dice.below(3) {
            0 => client.reset(),
            1 => drop(client),
            _ => drop(client.try_send([b'x'; 20_000])),
        }
    }
    load.wait_for_more(200);
    wait_until("who asks properly is answered", || scrapers.iter().all(|scraper| scraper.pages() > 5));
    drop(scrapers);
    load.stop().expect_flawless();
    assert_eq!(proxy.metric("proxy_requests_parse_errors_total", &[]), 0.0, "none of this is traffic");
    wait_until("no descriptor is left over", || proxy.fds() <= fds + 2);
    assert!(proxy.log_lines().iter().all(|line| Line::text(line).status == 200), "nor in the log");
}

#[test]
fn it_answers_under_a_flood_of_the_main_port() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let proxy = Config::to(&origin).set("limits.max_client_conns", 20).start();
    let mut clients: Vec<_> = (0..300).map(|_| proxy.client()).collect();
    clients.iter_mut().for_each(|client| client.send_get("/"));
    wait_until("it is full", || origin.requests().len() == 20);
    for path in ["/health", "/metrics", "/backends/health"] {
        get(proxy.admin(), path).expect(200);
    }
    assert_eq!(metrics(&proxy).value("proxy_client_connections", &[]), 20.0);
    gate.release(300);
    for mut client in clients {
        client.response().expect(200);
    }
}
