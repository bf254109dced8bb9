//! Rate limits: of a client, of a route, of the whole process.

use crate::support::*;
use serde_json::{Value, json};
use std::time::{Duration, Instant};

const SCOPES: [&str; 2] = ["client", "global"];

fn limited(rate_limit: Value) -> Config {
    Config::new().set("routes", json!([{"respond": {"body": "ok"}}])).set("rate_limit", rate_limit)
}

fn rejected(proxy: &Proxy, scope: &str) -> f64 {
    proxy.metric("rate_limit_rejected_total", &[&format!("scope=\"{scope}\"")])
}

/// As a trusted proxy passes it on.
fn get_for(client: &mut Client, list: &str) -> Response {
    client.send(format!("GET / HTTP/1.1\r\nHost: play.test\r\nX-Forwarded-For: {list}\r\n\r\n"));
    client.response()
}

fn statuses(client: &mut Client, requests: usize) -> Vec<u16> {
    (0..requests).map(|_| client.get("/").status).collect()
}

/// Asks until it is refused.
#[track_caller]
fn refusal(client: &mut Client) -> Response {
    let begin = Instant::now();
    loop {
        let answer = client.get("/");
        if answer.status != 200 {
            return answer;
        }
        assert!(begin.elapsed() < PATIENCE, "never refused");
    }
}

/// How long the answer says to wait.
#[track_caller]
fn retry_after(answer: &Response) -> Duration {
    let seconds: u64 = answer.fields.get("Retry-After").expect("Retry-After").parse().expect("whole seconds");
    assert!(seconds >= 1);
    Duration::from_secs(seconds)
}

#[test]
fn after_a_burst_it_says_when_to_come_back_and_that_is_true() {
    for algorithm in ["token_bucket", "sliding_window"] {
        let proxy = limited(json!({"algorithm": algorithm, "requests_per_second": 1, "burst": 1})).start();
        for scope in SCOPES {
            assert_eq!(rejected(&proxy, scope), 0.0, "there from the start");
        }
        let mut client = proxy.client();
        client.get("/").expect(200);
        let answer = refusal(&mut client);
        let wait = retry_after(&answer);
        assert_eq!(wait, Duration::from_secs(1), "at one a second the next has its time within one");
        proxy.expect_refusal(answer, 429, "rate_limited");
        take_time(wait + Duration::from_millis(50));
        client.get("/on-the-same-connection").expect(200);
        assert_eq!((rejected(&proxy, "client"), rejected(&proxy, "global")), (0.0, 1.0));
        assert!(get(proxy.admin(), "/health").text().contains("\"rate_limiting\":true"));
    }
}

#[test]
fn the_limit_is_that_of_the_process() {
    for algorithm in ["token_bucket", "sliding_window"] {
        let config = limited(json!({"algorithm": algorithm, "requests_per_second": 20, "burst": 20})).set("workers", 2);
        let proxy = config.start();
        let begin = Instant::now();
        let mut clients: Vec<_> = (0..16).map(|_| proxy.client()).collect();
        let taken: usize = clients.iter_mut().map(|client| statuses(client, 10).iter().filter(|s| **s == 200).count()).sum();
        let most = 20 + (begin.elapsed().as_secs_f64() * 20.0) as usize;
        assert!((20..=most).contains(&taken), "{taken} of {most}");
        assert_eq!(rejected(&proxy, "global"), (160 - taken) as f64);
    }
}

#[test]
fn a_window_allows_so_many_in_any_second() {
    let proxy = limited(json!({"algorithm": "sliding_window", "requests_per_second": 5, "burst": 1000})).start();
    let mut client = proxy.client();
    let mut taken = Vec::new();
    let begin = Instant::now();
    while begin.elapsed() < Duration::from_millis(2500) {
        let asked = Instant::now();
        if client.get("/").status == 200 {
            taken.push((asked, Instant::now()));
        }
    }
    assert!(taken.len() >= 10, "{} in two seconds and a half", taken.len());
    // Six requests cannot be allowed within one second: there is at least that time between the first and the last.
    for six in taken.windows(6) {
        let apart = six[5].1 - six[0].0;
        assert!(apart >= Duration::from_millis(900), "six within {apart:?}");
    }
}

#[test]
fn each_client_has_its_own_by_the_word_of_a_trusted_proxy() {
    let rate = json!({"per_client": {"requests_per_second": 1, "burst": 2}});
    let proxy = limited(rate.clone()).set("headers.trusted_proxies", json!(["127.0.0.0/8", "10.0.0.0/8"])).start();
    let mut client = proxy.client();
    for list in ["192.0.2.1", "192.0.2.2", "192.0.2.1, 192.0.2.3", "2001:db8::1", "[2001:db8:0:1::1]:7, 10.1.2.3"] {
        let begin = Instant::now();
        let answers = [(); 4].map(|()| get_for(&mut client, list).status);
        assert_eq!(answers[..2], [200, 200], "{list}");
        assert!(answers[3] == 429 || begin.elapsed() > Duration::from_secs(1), "{list}");
    }
    // A client in the same /64 as an earlier one.
    let begin = Instant::now();
    while get_for(&mut client, "2001:db8::ffff").status == 200 {
        assert!(begin.elapsed() < PATIENCE, "another client");
    }
    assert!(rejected(&proxy, "client") >= 5.0 && rejected(&proxy, "global") == 0.0);
    // Fields from an untrusted client do not count.
    let proxy = limited(rate).start();
    let mut client = proxy.client();
    let is_limited = (0..250).any(|i| get_for(&mut client, &format!("192.0.2.{i}")).status == 429);
    assert!(is_limited, "whoever it says it is");
}

#[test]
fn a_dry_run_counts_and_refuses_nothing() {
    let proxy = limited(json!({"requests_per_second": 1, "burst": 1, "dry_run": true})).start();
    assert_eq!(statuses(&mut proxy.client(), 30), [200; 30]);
    assert!(rejected(&proxy, "global") >= 20.0);
    assert_eq!(proxy.metric("proxy_errors_total", &["reason=\"rate_limited\""]), 0.0);
}

#[test]
fn a_route_has_its_own_or_shares_the_common_one() {
    let once = json!({"requests_per_second": 1, "burst": 1});
    let routes = json!([
        {"match": {"path": "/own"}, "respond": {}, "rate_limit": {"requests_per_second": 1, "burst": 3}},
        {"match": {"path": "/free"}, "respond": {}, "rate_limit": null},
        {"match": {"path": "/echo"}, "echo": {}},
    ]);
    let origin = Origin::hello();
    let proxy = Config::to(&origin).set("rate_limit", once).set("routes", routes).start();
    let mut client = proxy.client();
    let mut takes = |path: &str, least: usize| {
        let begin = Instant::now();
        let taken = (0..6).filter(|_| client.get(path).status == 200).count();
        assert!((least..=least + begin.elapsed().as_secs() as usize).contains(&taken), "{taken} of {path}");
    };
    takes("/free", 6);
    takes("/own", 3);
    // The others have not used up any of it.
    takes("/echo", 1);
    let before = origin.requests().len();
    wait_until("the pool gets its share", || client.get("/proxied").status == 200);
    assert!(origin.requests().len() > before);
    assert!((0..20).any(|_| client.get("/echo").status == 429), "which is that of the echo");
}

#[test]
fn the_connection_is_kept_where_the_request_was_read_whole() {
    let proxy = limited(json!({"requests_per_second": 1, "burst": 1})).start();
    let mut client = proxy.client();
    wait_until("a request with a body is refused", || {
        let answer = client.post("/", "whole");
        assert!(!answer.fields.has("Connection"), "{answer:?}");
        answer.status == 429
    });
    assert!([200, 429].contains(&client.get("/").status));
    wait_until("one whose body is still to come is refused", || {
        refusal(&mut client);
        let mut slow = proxy.client();
        slow.send("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n");
        // If it was not refused, the proxy waits for its body.
        if slow.is_quiet_for(Duration::from_millis(300)) {
            return false;
        }
        let answer = slow.response().expect(429);
        assert!(answer.fields.lists("Connection", "close"), "{answer:?}");
        slow.expect_end();
        true
    });
}

#[test]
fn a_reload_keeps_what_was_counted_of_limits_that_stay() {
    let ample = json!({"requests_per_second": 1, "burst": 1000});
    let config = |burst: u32, body: &str| {
        let route = json!({"name": "own", "match": {"path": "/own"}, "respond": {"body": body},
            "rate_limit": {"requests_per_second": 1, "burst": burst}});
        limited(ample.clone()).set("routes", json!([route, {"respond": {"body": body}}]))
    };
    let proxy = config(50, "old").start();
    let mut client = proxy.client();
    let taken = |client: &mut Client| (0..60).filter(|_| client.get("/own").status == 200).count();
    assert!(taken(&mut client) >= 50);
    proxy.reload(&config(50, "new"));
    wait_until("the new one answers", || client.get("/").text() == "new");
    let after = taken(&mut client);
    assert!(after < 40, "{after} more after a reload");
    proxy.reload(&config(51, "changed"));
    wait_until("the new one answers", || client.get("/").text() == "changed");
    assert!(taken(&mut client) >= 51, "a limit that is new begins anew");
}
