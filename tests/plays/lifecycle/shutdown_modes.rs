//! The end under load, in both modes: `refuse` closes the listeners, `reject` answers new connections with 503. `shutdown.rs` has
//! single cases of the first.

use crate::support::*;
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

fn is_refused(addr: SocketAddr) -> bool {
    TcpStream::connect(addr).is_err_and(|e| e.kind() == std::io::ErrorKind::ConnectionRefused)
}

/// Answers at once, and `/held` when the gate is opened.
fn holding(gate: &Gate) -> Origin {
    let gate = gate.clone();
    Origin::each(move |conn, request| {
        if request.target == "/held" {
            gate.pass();
        }
        conn.answer(request.what());
    })
}

/// With a request at an origin that waits, so that the process stays until the gate is opened.
fn held(config: Config, origin: &Origin) -> (Proxy, Client) {
    let proxy = config.start();
    let mut client = proxy.client();
    client.send_get("/held");
    wait_until("it is in flight", || origin.requests().iter().any(|r| r.target == "/held"));
    (proxy, client)
}

#[test]
fn forty_in_flight_are_answered_under_refuse_too() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let mut proxy = Config::to(&origin).set("workers", 2).set("shutdown.new_requests", "refuse").start();
    let mut clients: Vec<_> = (0..40).map(|_| proxy.client()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send_get(&format!("/{i}"));
    }
    wait_until("all are in flight", || origin.requests().len() == 40);
    let begin = Instant::now();
    proxy.signal("TERM");
    proxy.wait_until_draining();
    wait_until("the doors are closed", || is_refused(proxy.addr()));
    wait_until("they have been in flight for a while", || begin.elapsed() > Duration::from_millis(1500));
    gate.release(40);
    for (i, mut client) in clients.into_iter().enumerate() {
        let answer = client.response().expect(200);
        assert!(answer.fields.lists("Connection", "close") && answer.text() == format!("GET /{i}"), "{answer:?}");
        client.expect_end();
    }
    let begin = Instant::now();
    assert_eq!(proxy.wait_exit(), 0);
    assert!(begin.elapsed() < Duration::from_secs(10), "the grace is 30 s: {:?}", begin.elapsed());
}

#[test]
fn under_refuse_what_has_connected_is_served() {
    let gate = Gate::default();
    let origin = holding(&gate);
    let (mut proxy, mut held) = held(Config::to(&origin).set("shutdown.new_requests", "refuse"), &origin);
    // Begun, and so not idle: one with its first request, one with its second.
    let mut begun = [proxy.client(), proxy.client()];
    begun[1].get("/first").expect(200);
    for client in &mut begun {
        client.send("GET /begun HTTP/1.1\r\nHo");
    }
    wait_until("all are accepted", || proxy.metric("proxy_client_connections", &[]) == 3.0);
    wait_until("what they sent has arrived", || proxy.metric("proxy_bytes_received_total", &[]) > 100.0);
    proxy.signal("TERM");
    proxy.wait_until_draining();
    wait_until("the doors are closed", || is_refused(proxy.addr()));
    for mut client in begun {
        client.send("st: play.test\r\n\r\n");
        let answer = client.response().expect(200);
        assert!(answer.fields.lists("Connection", "close") && answer.text() == "GET /begun", "{answer:?}");
        client.expect_end();
    }
    assert!(get(proxy.admin(), "/health").text().contains("\"status\":\"draining\""));
    gate.release(1);
    assert!(held.response().expect(200).fields.lists("Connection", "close"));
    drop(held);
    assert_eq!(proxy.wait_exit(), 0);
}

#[test]
fn under_refuse_the_queue_is_emptied_first() {
    for workers in [1, 2] {
        let origin = Origin::busy("a");
        let config = Config::to(&origin).set("shutdown.new_requests", "refuse").set("workers", workers);
        // All of them are forwarded at once, perhaps more than the origin's accept queue takes at the first try.
        let mut proxy = config.set("limits.max_conns_per_upstream", 1000).set("timeouts.connect_ms", 20_000).start();
        // While it is stopped, the kernel accepts the connections; it then finds the signal and the clients together.
        proxy.signal("STOP");
        let mut clients: Vec<_> = (0..150).map(|_| proxy.client()).collect();
        clients.iter_mut().for_each(|client| client.send_get("/x"));
        proxy.signal("TERM");
        proxy.signal("CONT");
        for mut client in clients {
            let answer = client.response().expect(200);
            // One worker gets the signal first: the other may have answered before, and closes its idle connections later.
            let is_told = answer.fields.lists("Connection", "close") || workers > 1;
            assert!(is_told && answer.text() == "a /x", "{answer:?}");
            client.expect_end();
        }
        assert_eq!(proxy.wait_exit(), 0);
    }
}

#[test]
fn under_refuse_and_load_nothing_fails_but_refused_connects() {
    for workers in [1, 2] {
        let origin = Origin::busy("a");
        let mut proxy = Config::to(&origin).set("shutdown.new_requests", "refuse").set("workers", workers).start();
        let load = Load::start(proxy.addr(), 3, 5, Duration::from_millis(20)); // some 200 new connections a second
        load.wait_for_more(200);
        proxy.signal("TERM");
        assert_eq!(proxy.wait_exit(), 0);
        wait_until("connects are refused", || load.so_far().refused >= 8);
        let tally = load.stop();
        tally.expect_no_faults();
        assert_eq!(tally.draining, 0, "{}", tally.summary());
        // Connections completed between the last accept and the close are reset: at most one for each listener.
        assert!(tally.unanswered <= workers, "{}", tally.summary());
        expect_logged(&proxy, &tally);
    }
}

#[test]
fn under_reject_and_load_everything_is_answered_until_the_end() {
    let origin = Origin::busy("a");
    let gate = Gate::default();
    let slow = Origin::gated(&gate);
    let config = Config::to(&origin).set("workers", 2).set("shutdown.new_requests", "reject");
    let config = config.set("pools.slow.upstreams", serde_json::json!([{"url": format!("http://{}", slow.addr())}]));
    let route = serde_json::json!([{"match": {"path": "/held"}, "proxy": "slow"}]);
    let (mut proxy, mut held) = held(config.set("routes", route), &slow);
    let load = Load::start(proxy.addr(), 3, 5, Duration::from_millis(20));
    load.wait_for_more(200);
    proxy.signal("TERM");
    wait_until("the news has spread", || load.so_far().draining > 100);
    assert!(load.so_far().refused == 0 && !proxy.has_exited());
    gate.release(1);
    let answer = held.response().expect(200);
    assert!(answer.fields.lists("Connection", "close") && answer.text() == "GET /held", "{answer:?}");
    drop(held);
    assert_eq!(proxy.wait_exit(), 0, "clients that come again and again do not hold it up");
    wait_until("connects are refused", || load.so_far().refused >= 8);
    let tally = load.stop();
    tally.expect_no_faults();
    assert!(tally.unanswered <= 2, "{}", tally.summary());
    expect_logged(&proxy, &tally);
}

/// Every answer has exactly one line.
#[track_caller]
fn expect_logged(proxy: &Proxy, tally: &Tally) {
    let lines = || proxy.log_lines().iter().map(|line| Line::text(line)).collect::<Vec<_>>();
    wait_until("each is logged", || lines().len() >= tally.targets.len());
    let mut logged: Vec<_> = lines().iter().map(|line| line.target().to_owned()).collect();
    logged.sort();
    let twice = logged.windows(2).find(|pair| pair[0] == pair[1]);
    assert_eq!(twice, None);
    let missing = tally.targets.iter().find(|target| logged.binary_search(target).is_err());
    assert_eq!(missing, None);
}

#[test]
fn idle_connections_are_half_closed_after_half_a_second() {
    for way in ["reject", "refuse"] {
        let gate = Gate::default();
        let origin = Origin::gated(&gate);
        let (mut proxy, mut held) = held(Config::to(&origin).set("shutdown.new_requests", way), &origin);
        let (mut silent, mut kept) = (proxy.client(), proxy.client());
        kept.send_get("/once");
        wait_until("it is in flight as well", || origin.requests().len() == 2);
        gate.release(1);
        wait_until("one of them is answered", || kept.has_news() || held.has_news());
        if held.has_news() {
            std::mem::swap(&mut held, &mut kept);
        }
        kept.response().expect(200);
        wait_until("all are accepted", || proxy.metric("proxy_client_connections", &[]) == 3.0);
        let begin = Instant::now();
        proxy.signal("TERM");
        for client in [&mut silent, &mut kept] {
            assert_eq!(client.expect_end(), End::Closed, "no reset");
            let took = begin.elapsed();
            assert!(took >= Duration::from_millis(480) && took < Duration::from_secs(10), "{took:?}");
        }
        assert!(!held.has_news() && !proxy.has_exited(), "the one in flight is not idle");
        gate.release(1);
        held.response().expect(200);
        drop((held, kept, silent));
        assert_eq!(proxy.wait_exit(), 0);
    }
}

#[test]
fn health_turns_at_once_and_the_admin_port_stays_to_the_end() {
    for way in ["reject", "refuse"] {
        let gate = Gate::default();
        let origin = Origin::gated(&gate);
        let (mut proxy, mut held) = held(Config::to(&origin).set("shutdown.new_requests", way), &origin);
        let mut admin = Client::connect(proxy.admin());
        admin.get("/health").expect(200);
        proxy.signal("TERM");
        proxy.wait_until_draining();
        for client in [&mut admin, &mut Client::connect(proxy.admin())] {
            let answer = client.get("/health").expect(503);
            let page: serde_json::Value = serde_json::from_slice(&answer.body).unwrap();
            assert_eq!((&page["status"], &page["backends"]["healthy"]), (&"draining".into(), &1.into()));
        }
        get(proxy.admin(), "/metrics").expect(200);
        gate.release(1);
        held.response().expect(200);
        drop((held, admin));
        assert_eq!(proxy.wait_exit(), 0);
    }
}

#[test]
fn what_is_unfinished_at_the_end_of_the_grace_is_cut_and_told_so() {
    let origin = Origin::each(|conn, request| {
        if request.target == "/begun" {
            conn.send("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\npart");
        }
        conn.wait_for_end();
    });
    for (way, grace_ms) in [("reject", 0), ("reject", 300), ("refuse", 300)] {
        let shutdown = serde_json::json!({"new_requests": way, "grace_ms": grace_ms});
        let mut proxy = Config::to(&origin).set("workers", 2).set("shutdown", shutdown).start();
        let before = origin.heads().len();
        let mut clients = [proxy.client(), proxy.client()];
        clients[0].send_get("/begun");
        clients[1].send_get("/waiting");
        wait_until("both are in flight", || origin.heads().len() == before + 2);
        assert_eq!(clients[0].head().unwrap().status, 200);
        proxy.signal("TERM");
        let mut part = Vec::new();
        assert_ne!(clients[0].wire.rest(&mut part), End::Silent);
        assert!(part.len() < 100, "and the client can tell: {} of 100 bytes", part.len());
        match clients[1].try_response_to("GET") {
            Ok(answer) => assert_eq!((answer.status, answer.fields.get("Proxy-Status")), (503, Some("tidegate; error=draining"))),
            Err(end) => assert_ne!(end, End::Silent),
        }
        assert_eq!(proxy.wait_exit(), 0, "also after a cut");
        for path in ["/begun", "/waiting"] {
            let line = Line::text(&proxy.log_with(&format!("\"GET {path} HTTP/1.1\"")));
            assert_eq!(line.error.as_deref(), Some("draining"), "{line:?}");
        }
    }
}

#[test]
fn a_second_signal_ends_a_refusing_one_at_once() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let (mut proxy, mut held) = held(Config::to(&origin).set("shutdown.new_requests", "refuse"), &origin);
    proxy.signal_twice(["TERM", "INT"]);
    assert_eq!(proxy.wait_exit(), 0);
    assert_eq!(proxy.log_with(" error=draining ").matches("GET /held").count(), 1, "what was cut is in the log");
    held.wire.rest(&mut Vec::new());
    gate.release(1);
}

/// `timeout` sends one to its child and one to the group.
#[test]
fn two_signals_at_once_are_one() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let (mut proxy, mut held) = held(Config::to(&origin), &origin);
    let pid = rustix::process::Pid::from_raw(proxy.pid() as i32).unwrap();
    for signal in [rustix::process::Signal::TERM, rustix::process::Signal::TERM, rustix::process::Signal::INT] {
        rustix::process::kill_process(pid, signal).unwrap();
    }
    proxy.wait_until_draining();
    gate.release(1);
    held.response().expect(200);
    drop(held);
    assert_eq!(proxy.wait_exit(), 0);
}

#[test]
fn under_reject_connections_that_exist_are_served() {
    let gate = Gate::default();
    let origin = holding(&gate);
    let (mut proxy, mut held) = held(Config::to(&origin).set("shutdown.new_requests", "reject"), &origin);
    let before = proxy.metric("proxy_bytes_received_total", &[]);
    let mut begun = proxy.client();
    begun.send("GET /begun HTTP/1.1\r\nHo");
    wait_until("what it sent has arrived", || proxy.metric("proxy_bytes_received_total", &[]) > before);
    proxy.signal("TERM");
    proxy.wait_until_draining();
    let answer = proxy.get("/new").expect(503);
    assert_eq!(answer.fields.get("Proxy-Status"), Some("tidegate; error=draining"));
    begun.send("st: play.test\r\n\r\n");
    let answer = begun.response().expect(200);
    assert!(answer.fields.lists("Connection", "close") && answer.text() == "GET /begun", "{answer:?}");
    gate.release(1);
    held.response().expect(200);
    drop((held, begun));
    assert_eq!(proxy.wait_exit(), 0);
    wait_until("it says how it went", || proxy.diagnostics().iter().any(|line| line.contains(" stopped: ")));
    let last = proxy.diagnostics().pop().unwrap();
    assert!(last.ends_with("stopped: 2 exchanges finished, 0 cut"), "who was refused has not finished: {last:?}");
}

#[test]
fn for_a_while_everything_is_as_before() {
    let origin = Origin::hello();
    for way in ["refuse", "reject"] {
        let shutdown = serde_json::json!({"delay_ms": 3000, "new_requests": way});
        let mut proxy = Config::to(&origin).set("workers", 2).set("shutdown", shutdown).start();
        let mut kept = proxy.client();
        let begin = Instant::now();
        proxy.signal("TERM");
        proxy.wait_until_draining();
        while begin.elapsed() < Duration::from_millis(1000) {
            for answer in [kept.get("/"), proxy.client().get("/")] {
                let answer = answer.expect(200);
                assert!(!answer.fields.lists("Connection", "close"), "{answer:?}");
            }
        }
        assert_eq!(kept.expect_end(), End::Closed);
        assert_eq!(proxy.wait_exit(), 0);
        assert!(begin.elapsed() > Duration::from_millis(2900), "{:?}", begin.elapsed());
    }
}

#[test]
fn a_second_signal_cuts_the_delay_short() {
    let mut proxy = Config::new().set("shutdown.delay_ms", 60_000).start();
    proxy.signal_twice(["TERM", "TERM"]);
    assert_eq!(proxy.wait_exit(), 0);
}

#[test]
fn the_last_words_say_how_it_went() {
    let origin = Origin::each(|conn, request| {
        if request.target == "/never" {
            conn.wait_for_end();
        }
        conn.answer("x");
    });
    let mut proxy = Config::to(&origin).set("workers", 2).set("shutdown.grace_ms", 1500).start();
    (0..5).for_each(|_| drop(proxy.get("/before").expect(200)));
    let [mut never, mut late, mut half] = [proxy.client(), proxy.client(), proxy.client()];
    let before = proxy.metric("proxy_bytes_received_total", &[]);
    half.send("GET /half HTTP");
    late.send("GET /late HT");
    wait_until("both have begun", || proxy.metric("proxy_bytes_received_total", &[]) == before + 26.0);
    never.send_get("/never");
    wait_until("it is in flight", || origin.heads().iter().any(|head| head.target == "/never"));
    proxy.signal("TERM");
    proxy.wait_until_draining();
    late.send("TP/1.1\r\nHost: a\r\n\r\n");
    late.response().expect(200);
    assert_eq!(proxy.wait_exit(), 0);
    wait_until("it says how it went", || proxy.diagnostics().iter().any(|line| line.contains(" stopped: ")));
    let last = proxy.diagnostics().pop().unwrap();
    assert!(last.ends_with("stopped: 1 exchanges finished, 2 cut"), "{last:?}");
    for part in ["GET /never HTTP/1.1", "GET /half HTTP"] {
        let line = proxy.log_with(&format!("\"{part}\" 503 "));
        assert!(line.contains(" error=draining "), "{line}");
    }
}

#[test]
fn a_reload_does_not_call_it_back() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let config = Config::to(&origin).set("shutdown.new_requests", "refuse");
    let (mut proxy, mut held) = held(config.clone(), &origin);
    proxy.signal("TERM");
    proxy.wait_until_draining();
    wait_until("the doors are closed", || is_refused(proxy.addr()));
    let port = free_port();
    proxy.write("config.yaml", &config.set("listen", format!("127.0.0.1:{port}")).0.to_string());
    proxy.signal("HUP");
    proxy.wait_until_draining();
    gate.release(1);
    held.response().expect(200);
    drop(held);
    assert_eq!(proxy.wait_exit(), 0);
    assert!(is_refused(SocketAddr::from(([127, 0, 0, 1], port))));
}

/// It used to end the process.
#[test]
fn a_signal_that_means_nothing_yet_is_ignored_aloud() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start();
    proxy.signal("USR2");
    wait_until("the log says it", || proxy.diagnostics().iter().any(|line| line.contains("SIGUSR2 is ignored")));
    proxy.get("/").expect(200);
}
