//! Sticky sessions: a cookie leads a client back to the upstream that answered it.

use crate::support::*;
use serde_json::{Value, json};

/// Origins that answer with their names.
fn named() -> [Origin; 3] {
    ["a", "b", "c"].map(Origin::named)
}

fn config(origins: &[Origin], sticky: Value) -> Config {
    Config::to_all(origins.iter().map(Origin::addr)).set("sticky", sticky)
}

/// Asks with these cookies; the answer's text, and the cookie that it sets, without and with its attributes.
fn ask_with(client: &mut Client, cookie: &str) -> (String, Option<(String, String)>) {
    let field = if cookie.is_empty() { String::new() } else { format!("Cookie: {cookie}\r\n") };
    client.send(format!("GET / HTTP/1.1\r\nHost: play.test\r\n{field}\r\n"));
    let answer = client.response().expect(200);
    let set = answer.fields.get("Set-Cookie").map(|set| {
        let (pair, attributes) = set.split_once("; ").unwrap_or((set, ""));
        (pair.to_owned(), attributes.to_owned())
    });
    (answer.text().to_owned(), set)
}

/// Begins a session.
#[track_caller]
fn begin(proxy: &Proxy) -> (String, String) {
    let (name, set) = ask_with(&mut proxy.client(), "");
    (name, set.expect("a cookie").0)
}

#[test]
fn a_client_with_its_cookie_comes_back_to_its_upstream_whatever_the_balance() {
    for balance in ["round_robin", "random", "weighted", "least_connections", "consistent_hash", "adaptive"] {
        let origins = named();
        let proxy = config(&origins, json!({})).set("balance", balance).set("workers", 2).start();
        for _ in 0..4 {
            let (name, cookie) = begin(&proxy);
            assert!(cookie.starts_with("tidegate=") && !cookie.contains("127."), "{cookie}");
            for _ in 0..5 {
                let again = ask_with(&mut proxy.client(), &format!("x=1; {cookie}; y=2"));
                assert_eq!(again, (name.clone(), None), "{balance}");
            }
        }
        let cookies = origins.iter().flat_map(Origin::requests).filter_map(|request| request.fields.get("Cookie").map(str::to_owned));
        assert!(cookies.into_iter().all(|cookie| cookie == "x=1; y=2"), "{balance}: the cookie is between the client and the proxy");
    }
}

#[test]
fn its_attributes_are_those_that_are_configured_and_a_pool_may_have_its_own() {
    let origins = named();
    let set = |sticky: Value| {
        let proxy = config(&origins, sticky).start();
        ask_with(&mut proxy.client(), "").1.expect("a cookie").1
    };
    assert_eq!(set(json!({})), "Path=/; HttpOnly; SameSite=Lax");
    let all = json!({"cookie": "route", "max_age_ms": "1h", "secure": true, "same_site": "none"});
    assert_eq!(set(all), "Path=/; HttpOnly; SameSite=None; Max-Age=3600; Secure");
    let upstream = json!([{"url": format!("http://{}", origins[0].addr())}]);
    let config = Config::new()
        .set("sticky", json!({"cookie": "all"}))
        .set("pools", json!({"own": {"upstreams": upstream, "sticky": {"cookie": "own"}}, "none": {"upstreams": upstream, "sticky": null}}))
        .set("routes", json!([{"match": {"host": "own.test"}, "proxy": "own"}, {"match": {"host": "none.test"}, "proxy": "none"}]));
    let proxy = config.start();
    let of = |host: &str| {
        let answer = ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: {host}\r\n\r\n")).expect(200);
        answer.fields.get("Set-Cookie").map(|set| set.split('=').next().unwrap().to_owned())
    };
    assert_eq!((of("own.test").as_deref(), of("none.test")), (Some("own"), None));
}

#[test]
fn a_forged_cookie_is_no_cookie() {
    let origins = named();
    let proxy = config(&origins, json!({})).start();
    let (_, cookie) = begin(&proxy);
    let flipped = format!("{}{}", &cookie[..cookie.len() - 1], if cookie.ends_with('0') { '1' } else { '0' });
    for forged in ["tidegate=", "tidegate=0", "tidegate=127.0.0.1:80", &flipped, "tidegate", &cookie.to_uppercase()] {
        let (_, set) = ask_with(&mut proxy.client(), forged);
        assert!(set.is_some(), "{forged}");
    }
}

#[test]
fn sessions_outlast_reloads_and_move_on_from_an_upstream_that_gets_no_new_requests() {
    let origins = named();
    let settings = config(&origins[..2], json!({}));
    let proxy = settings.clone().start();
    let (name, cookie) = begin(&proxy);
    let mut more = settings.clone();
    let third = json!({"host": "127.0.0.1", "port": origins[2].port()});
    more.0["upstreams"].as_array_mut().unwrap().insert(0, third);
    proxy.reload(&more);
    wait_until("the new upstream is used", || begin(&proxy).0 == "c");
    assert_eq!(ask_with(&mut proxy.client(), &cookie), (name.clone(), None), "another upstream has come");
    let index = if name == "a" { 1 } else { 2 };
    more.0["upstreams"][index]["weight"] = 0.into();
    proxy.reload(&more);
    let mut moved = (String::new(), None);
    wait_until("its upstream gets no new requests", || {
        moved = ask_with(&mut proxy.client(), &cookie);
        moved.0 != name
    });
    let (other, set) = moved;
    let fresh = set.expect("a new cookie").0;
    assert_eq!(ask_with(&mut proxy.client(), &fresh), (other, None));
}

#[test]
fn a_session_moves_on_where_the_circuit_of_its_upstream_is_open() {
    let failing = Origin::saying("HTTP/1.1 503 No\r\nContent-Length: 0\r\n\r\n");
    let well = Origin::named("well");
    let breaker = json!({"failure_threshold": 2, "failure_statuses": [503], "timeout_ms": 86_400_000});
    let config = Config::to_all([failing.addr(), well.addr()]).set("sticky", json!({})).set("circuit_breaker", breaker);
    let proxy = config.start();
    let mut cookie = None;
    wait_until("one belongs to the failing upstream", || {
        let answer = proxy.get("/");
        cookie = answer.fields.get("Set-Cookie").map(|set| set.split(';').next().unwrap().to_owned());
        answer.status == 503
    });
    let cookie = cookie.expect("a cookie");
    let ask = || ask(proxy.addr(), format!("GET / HTTP/1.1\r\nHost: play.test\r\nCookie: {cookie}\r\n\r\n"));
    assert_eq!(ask().status, 503);
    let answer = ask().expect(200);
    assert!(answer.fields.get("Set-Cookie").is_some_and(|set| !set.starts_with(&cookie)), "it belongs to the other now");
}

#[test]
fn a_full_upstream_is_waited_for() {
    let gate = Gate::default();
    let origin = |name: &'static str| {
        let gate = gate.clone();
        Origin::each(move |conn, request| {
            if request.target == "/wait" {
                gate.pass();
            }
            conn.answer(name);
        })
    };
    let origins = [origin("a"), origin("b")];
    let config = config(&origins, json!({})).set("limits.max_conns_per_upstream", 1);
    let config = config.set("timeouts.queue_ms", 60_000).set("timeouts.read_ms", 60_000).set("workers", 2);
    let proxy = config.start();
    let (name, cookie) = begin(&proxy);
    let send = |path: &str| {
        let mut client = proxy.client();
        client.send(format!("GET {path} HTTP/1.1\r\nHost: play.test\r\nCookie: {cookie}\r\n\r\n"));
        client
    };
    let mut waiting = vec![send("/wait")];
    let of = |name: &str| &origins[usize::from(name == "b")];
    wait_until("it is there", || of(&name).requests().iter().any(|request| request.target == "/wait"));
    waiting.extend((0..3).map(|_| send("/")));
    wait_until("the others wait", || proxy.metric("proxy_queued_requests", &[]) == 3.0);
    // Who has no session does not wait, and goes where there is room.
    for _ in 0..4 {
        assert_ne!(proxy.get("/").expect(200).text(), name);
    }
    gate.release(1);
    for client in &mut waiting {
        let answer = client.response().expect(200);
        assert_eq!((answer.text(), answer.fields.get("Set-Cookie")), (name.as_str(), None));
    }
}

/// Those with a session wait for its upstream alone, and those without pass them: at several workers, and with turns that are locked.
#[test]
fn sessions_and_newcomers_of_several_workers_are_all_served() {
    let origins = ["a", "b"].map(Origin::busy);
    let mut config = config(&origins, json!({})).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 60_000);
    config.0["upstreams"][0]["weight"] = 2.into();
    let proxy = config.set("workers", 2).start();
    let (_, cookie) = begin(&proxy);
    let client = |has_session: bool| {
        let (mut client, cookie) = (proxy.client(), if has_session { format!("Cookie: {cookie}\r\n") } else { String::new() });
        std::thread::spawn(move || {
            for i in 0..300 {
                client.send(format!("GET /{i} HTTP/1.1\r\nHost: play.test\r\n{cookie}\r\n"));
                client.response().expect(200);
            }
        })
    };
    let clients: Vec<_> = (0..12).map(|i| client(i % 2 == 0)).collect();
    clients.into_iter().for_each(|client| client.join().expect("every request is answered"));
}

#[test]
fn a_key_that_is_changed_is_not_shown() {
    let origins = named();
    let secrets = ["0123456789abcdef0123456789abcdef", "fedcba9876543210fedcba9876543210"];
    let [old, new] = secrets.map(|key| config(&origins, json!({"key": key})));
    let proxy = old.start();
    proxy.reload(&new);
    let told = proxy.diagnostics().join("\n");
    assert!(told.contains("sticky.key: ") && !secrets.iter().any(|secret| told.contains(secret)), "{told}");
}

#[test]
fn pools_with_one_cookie_do_not_end_each_others_sessions() {
    let (origins, others) = (named(), ["x", "y", "z"].map(Origin::named));
    let upstreams: Vec<Value> = others.iter().map(|origin| json!({"url": format!("http://{}", origin.addr())})).collect();
    let routes = json!([{"match": {"methods": ["PUT"]}, "proxy": "other"}]);
    let proxy = config(&origins, json!({})).set("pools", json!({"other": {"upstreams": upstreams}})).set("routes", routes).start();
    let ask = |method: &str, cookie: &str| {
        let mut client = proxy.client();
        client.send(format!("{method} / HTTP/1.1\r\nHost: play.test\r\nCookie: {cookie}\r\nContent-Length: 0\r\n\r\n"));
        let answer = client.response().expect(200);
        (answer.text().to_owned(), answer.fields.get("Set-Cookie").map(|set| set.split(';').next().unwrap().to_owned()))
    };
    let (first, cookie) = begin(&proxy);
    let (second, both) = ask("PUT", &cookie);
    let both = both.expect("a cookie of the other pool");
    for _ in 0..5 {
        assert_eq!([ask("GET", &both), ask("PUT", &both)], [(first.clone(), None), (second.clone(), None)]);
    }
    let seen = origins.iter().chain(&others).flat_map(Origin::requests);
    assert!(seen.into_iter().all(|request| request.fields.get("Cookie").is_none()), "no upstream sees it");
}

#[test]
fn processes_with_one_key_agree_and_others_do_not() {
    let origins = named();
    let shared = json!({"key": "0123456789abcdef0123456789abcdef"});
    let [one, other] = [(); 2].map(|()| config(&origins, shared.clone()).start());
    let alone = config(&origins, json!({})).start();
    let (name, cookie) = begin(&one);
    for _ in 0..3 {
        assert_eq!(ask_with(&mut other.client(), &cookie), (name.clone(), None));
        assert!(ask_with(&mut alone.client(), &cookie).1.is_some());
    }
}

#[test]
fn mistakes_are_named_with_their_remedy() {
    let origins = named();
    let problems = |sticky: Value| config(&origins, sticky).launch().arg("-t").run();
    for (sticky, message) in [
        (json!({"key": "short"}), "sticky.key: is too short for a secret, which has 32 characters or more"),
        (json!({"cookie": "a b"}), "sticky.cookie: \"a b\" is no name for a cookie"),
        (json!({"same_site": "some"}), "sticky.same_site: "),
        (json!({"name": "x"}), "sticky.name: "),
    ] {
        let (code, _, err) = problems(sticky);
        assert!(code == 2 && err.contains(message), "{err}");
    }
    let (code, out, err) = problems(json!({"same_site": "none"}));
    assert!(code == 0 && format!("{out}{err}").contains("only with secure: true"), "{out}{err}");
    let secret = "s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t-s3cr3t";
    let proxy = config(&origins, json!({"key": secret})).start();
    proxy.get("/").expect(200);
    assert!(!proxy.diagnostics().join("\n").contains(secret));
}
