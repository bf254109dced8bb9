//! What an operator sees while something is wrong: warnings that do not hide each other, numbers with the same meaning whatever the
//! framing, pages for probes.

use crate::support::proxy::sum;
use crate::support::*;
use serde_json::{Value, json};

fn admin_json(proxy: &Proxy, path: &str, status: u16) -> Value {
    serde_json::from_slice(&get(proxy.admin(), path).expect(status).body).expect("JSON")
}

fn said(proxy: &Proxy, part: &str) -> Vec<String> {
    proxy.diagnostics().into_iter().filter(|line| line.contains(part)).collect()
}

#[test]
fn a_dead_upstream_is_a_warning_once_and_not_for_every_request() {
    for (threshold, reason) in [(0, "connection_refused"), (3, "destination_unavailable")] {
        let pools = json!({"api": {"upstreams": [{"url": format!("http://{}", nobody()), "name": "one"}]}});
        let breaker = json!({"failure_threshold": threshold, "timeout_ms": 600_000, "last_resort_ms": 0});
        let config = Config::new().set("pools", pools).set("routes", json!([{"proxy": "api"}])).set("circuit_breaker", breaker);
        let proxy = config.set("logging.access_log", Value::Null).start();
        let begin = std::time::Instant::now();
        let mut client = proxy.client();
        (0..300).for_each(|i| drop(client.get(&format!("/{i}"))));
        let seconds = begin.elapsed().as_secs() as usize;
        let warnings = said(&proxy, &format!("WARN upstream: {reason}: pool api: "));
        assert!((1..=seconds + 2).contains(&warnings.len()), "{seconds} s: {:#?}", proxy.diagnostics());
        assert!(warnings[0].contains(" trace_id="), "{warnings:?}");
        let cause = if threshold == 0 { "one refused the connection" } else { "no upstream takes requests: 1 circuit open" };
        assert!(warnings[0].contains(cause), "{warnings:?}");
        let changes = said(&proxy, "circuit closed -> open").len();
        assert_eq!(changes, if threshold == 0 { 0 } else { 1 }, "changes are always told: {:#?}", proxy.diagnostics());
        if threshold > 0 {
            continue;
        }
        take_time(std::time::Duration::from_millis(1100)); // after which the next may be told
        let last = client.get("/last").trace_id().to_owned();
        wait_until("the next is told", || said(&proxy, &last).len() == 1);
        let told: usize = said(&proxy, " more since the last such line)").iter().map(|line| held(line)).sum();
        assert_eq!(told + said(&proxy, "refused the connection").len(), 301, "all are accounted for: {:#?}", proxy.diagnostics());
    }
}

/// The number of requests that warnings with that part tell of, one by one or together.
fn accounted(proxy: &Proxy, part: &str) -> usize {
    said(proxy, part).iter().map(|line| 1 + if line.contains("(and ") { held(line) } else { 0 }).sum()
}

/// The last of them were told with the next warning, which may be hours later, or never.
#[test]
fn the_end_of_a_burst_is_told_although_nothing_follows() {
    let breaker = json!({"failure_threshold": 0});
    let config = Config::new().set("upstreams", json!([{"url": format!("http://{}", nobody())}])).set("circuit_breaker", breaker);
    let mut proxy = config.set("workers", 2).start();
    let burst = |requests: usize| {
        let mut clients = [proxy.client(), proxy.client(), proxy.client()];
        (0..requests).for_each(|i| drop(clients[i % 3].get("/").expect(502)));
    };
    let refused = " WARN upstream: connection_refused: ";
    burst(60);
    wait_until("all are accounted for", || accounted(&proxy, refused) == 60);
    burst(2);
    wait_until("a single one too", || accounted(&proxy, refused) == 62);
    assert!(said(&proxy, refused).iter().all(|line| line.contains(" trace_id=")), "{:?}", proxy.diagnostics());

    // The end does not wait for it, and its last line stays the last.
    burst(10);
    proxy.signal("TERM");
    assert_eq!(proxy.wait_exit(), 0);
    let stopped = |line: &String| line.contains(" stopped: ");
    wait_until("the last line is read", || proxy.diagnostics().last().is_some_and(stopped));
    assert_eq!(accounted(&proxy, refused), 72, "{:#?}", proxy.diagnostics());
}

/// `(and 299 more since the last such line)`
fn held(line: &str) -> usize {
    line.split("(and ").nth(1).unwrap().split(' ').next().unwrap().parse().unwrap()
}

#[test]
fn at_level_debug_every_request_is_told_of() {
    let config = Config::new().set("upstreams", json!([{"url": format!("http://{}", nobody())}]));
    let proxy = config.set("logging.level", "debug").start();
    let mut client = proxy.client();
    for i in 0..20 {
        let answer = client.get(&format!("/{i}")).expect(502);
        wait_until("it is told", || !said(&proxy, answer.trace_id()).is_empty());
    }
}

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

/// logrotate's `copytruncate`.
#[test]
fn a_file_that_others_empty_loses_no_line() {
    let origin = Origin::hello();
    let logging = json!({"access_log": "access.log", "rotate": {"max_bytes": 4096, "keep": 1}});
    let proxy = Config::to(&origin).set("logging", logging).start();
    let path = proxy.dir().join("access.log");
    let mut client = proxy.client();
    let mut copied = 0;
    for round in 0..8 {
        for i in 0..12 {
            client.get(&format!("/{round}-{i}")).expect(200);
        }
        let last = format!("/{round}-11 ");
        wait_until("all are written", || lines::of_file(&path).iter().any(|line| line.contains(&last)));
        copied += lines::of_file(&path).len();
        std::fs::File::options().write(true).open(&path).unwrap().set_len(0).unwrap();
    }
    assert_eq!(copied, 8 * 12);
    assert!(!proxy.dir().join("access.log.1").exists(), "there was never that much in it");
}

#[test]
fn standard_output_and_error_may_be_named_by_their_paths() {
    let origin = Origin::hello();
    let logging = json!({"access_log": "/dev/stdout", "error_log": "/dev/stderr"});
    let proxy = Config::to(&origin).set("logging", logging).start();
    let answer = proxy.get("/").expect(200);
    proxy.log_with(answer.trace_id());
    let proxy = Config::to(&origin).set("logging.access_log", "/dev/stderr").start();
    let answer = proxy.get("/").expect(200);
    wait_until("its line is there", || !said(&proxy, answer.trace_id()).is_empty());
    assert!(proxy.log_lines().is_empty());
}

#[test]
fn probes_have_pages_of_their_own() {
    let proxy = Config::new().set("upstreams", json!([{"host": "no-such-name.invalid", "port": 80}])).start();
    assert_eq!(admin_json(&proxy, "/live", 200), json!({"status": "live"}));
    assert_eq!(admin_json(&proxy, "/ready", 200), json!({"status": "ready"}), "upstreams that are down get no trial otherwise");
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
    assert_eq!(admin_json(&proxy, "/ready", 503), json!({"status": "draining"}));
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
    let page = admin_json(&proxy, "/backends/health", 200);
    let of = |index: usize, key: &str| page["backends"][index][key].clone();
    assert_eq!((of(0, "draining"), of(1, "draining")), (json!(false), json!(false)));
    assert_eq!((of(0, "weight"), of(0, "healthy")), (json!(3), json!(true)));
    assert_eq!((of(1, "weight"), of(1, "healthy")), (json!(0), json!(false)));
    let health = admin_json(&proxy, "/health", 200);
    assert_eq!((&health["status"], &health["backends"]), (&json!("degraded"), &json!({"healthy": 1, "total": 2})));
    assert_eq!(proxy.metric("backend_health", &["upstream=\"w0\""]), 0.0);
}

#[test]
fn what_each_upstream_answered_is_counted_by_class() {
    let origin = Origin::each(|conn, request| match request.target.as_str() {
        "/early" => conn.send("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
        "/missing" => conn.send("HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n"),
        "/broken" => conn.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
        _ => conn.answer("fine"),
    });
    let retry = json!({"max_retries": 1, "statuses": [503], "backoff_ms": 1});
    let proxy = Config::to(&origin).set("retry", retry).start();
    for (path, status) in [("/", 200), ("/early", 200), ("/missing", 404), ("/broken", 503)] {
        proxy.get(path).expect(status);
    }
    let scrape = proxy.scrape();
    let of = |class: &str| sum(&scrape, "proxy_upstream_responses_total", &["pool=\"default\"", &format!("status_class=\"{class}\"")]);
    assert_eq!(["1xx", "2xx", "3xx", "4xx", "5xx"].map(of), [1.0, 2.0, 0.0, 1.0, 2.0], "those that were dropped too");
    assert_eq!(sum(&scrape, "proxy_responses_total", &["status_class=\"5xx\""]), 1.0);
}

/// Started again and again, none of several is always the first.
#[test]
fn round_robin_begins_anywhere() {
    let origins = ["a", "b"].map(Origin::named);
    let config = || Config::to_all(origins.iter().map(Origin::addr));
    for balance in ["round_robin", "weighted"] {
        let proxy = config().set("balance", balance).start();
        let mut firsts = Vec::new();
        for i in 0..64 {
            let third = nobody();
            let upstreams = origins.iter().map(Origin::addr).chain((i % 2 == 0).then_some(third));
            let upstreams =
                upstreams.map(|a| json!({"host": a.ip().to_string(), "port": a.port(), "weight": if a == third { 0 } else { 1 }}));
            proxy.reload(&config().set("balance", balance).set("upstreams", upstreams.collect::<Vec<_>>()));
            firsts.push(proxy.get("/").expect(200).text().to_owned());
            if firsts.iter().any(|first| *first != firsts[0]) {
                break;
            }
        }
        assert!(firsts.iter().any(|first| *first != firsts[0]), "{balance}: always {}", firsts[0]);
    }
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

#[test]
fn where_an_upstream_failed_is_told_by_error_detail() {
    let upstreams = json!([{"url": format!("http://{}", nobody()), "name": "hidden-name"}]);
    let ask_as = |proxy: &Proxy, field: &str| {
        let answer = ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: h\r\n{field}Connection: close\r\n\r\n")).expect(502);
        let long = "502 connection_refused: hidden-name refused the connection\n";
        let short = format!("502 connection_refused: trace_id={}\n", answer.trace_id());
        assert!([long, &short].contains(&answer.text()), "{:?}", answer.text());
        assert_eq!(answer.fields.get("Proxy-Status"), Some("tidegate; error=connection_refused"));
        answer.text() == long
    };
    let forwarded = "X-Forwarded-For: 127.0.0.1\r\n";
    for (setting, plain, through) in
        [(None, true, false), (Some("auto"), true, false), (Some("always"), true, true), (Some("never"), false, false)]
    {
        let config = Config::new().set("upstreams", upstreams.clone());
        let config = setting.into_iter().fold(config, |config, setting| config.set("error_detail", setting));
        let proxy = config.start();
        assert_eq!((ask_as(&proxy, ""), ask_as(&proxy, forwarded)), (plain, through), "{setting:?}");
        wait_until("the log has everything", || !said(&proxy, "hidden-name refused the connection").is_empty());
    }
}

#[test]
fn rotation_may_be_left_to_others() {
    let origin = Origin::hello();
    let small = json!({"access_log": "access.log", "rotate": {"max_bytes": 1000, "keep": 2}});
    let proxy = Config::to(&origin).set("logging", small).start();
    proxy.reload(&Config::to(&origin).set("logging", json!({"access_log": "access.log", "rotate": null})));
    let mut client = proxy.client();
    (0..30).for_each(|i| drop(client.get(&format!("/{i}")).expect(200)));
    let path = proxy.dir().join("access.log");
    wait_until("all are written", || lines::of_file(&path).len() == 30);
    assert!(!proxy.dir().join("access.log.1").exists());
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
