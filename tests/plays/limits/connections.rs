//! Limits hold for the process, and waiting requests are served as soon as there is room.

use crate::support::*;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

const MOMENT: Duration = Duration::from_millis(300);

fn queued(proxy: &Proxy) -> f64 {
    proxy.metric("proxy_queued_requests", &[])
}

#[test]
fn at_the_limit_clients_wait_and_the_admin_port_does_not() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let proxy = Config::to(&origin).set("limits.max_client_conns", 2).start();
    let (mut one, mut two) = (proxy.client(), proxy.client());
    one.send_get("/1");
    two.send_get("/2");
    wait_until("both are on their way", || origin.requests().len() == 2);
    let mut three = proxy.client();
    three.send_get("/3");
    assert!(three.is_quiet_for(MOMENT), "served over the limit");
    assert_eq!(proxy.metric("proxy_client_connections", &[]), 2.0);
    gate.release(3);
    assert_eq!(three.response().expect(200).text(), "GET /3");
    for client in [&mut one, &mut two] {
        assert!(client.response().expect(200).fields.lists("Connection", "close"), "others wait for the place");
    }
}

#[test]
fn whichever_worker_frees_a_place_the_next_client_gets_it() {
    let gate = Gate::default();
    let asking = Arc::new(AtomicUsize::new(0));
    let (opened, asked, most) = (gate.clone(), asking.clone(), Arc::new(AtomicUsize::new(0)));
    let most_asking = most.clone();
    let origin = Origin::each(move |conn, request| {
        most.fetch_max(asked.fetch_add(1, SeqCst) + 1, SeqCst);
        opened.pass();
        asked.fetch_sub(1, SeqCst);
        conn.answer(request.what());
    });
    let proxy = Config::to(&origin).set("limits.max_client_conns", 2).set("workers", 2).start();
    let mut clients: Vec<_> = (0..16).map(|_| proxy.client()).collect();
    for client in &mut clients {
        client.send_get("/");
    }
    for _ in 0..8 {
        wait_until("the free places are taken", || asking.load(SeqCst) == 2);
        gate.release(2);
    }
    for client in &mut clients {
        client.response().expect(200);
    }
    assert_eq!(most_asking.load(SeqCst), 2, "never more than there are places");
}

#[test]
fn requests_wait_for_an_upstream_in_the_order_they_came() {
    for workers in [1, 2] {
        let gate = Gate::default();
        let origin = Origin::gated(&gate).counting();
        let config = Config::to(&origin).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 20_000);
        let proxy = config.set("workers", workers).start();
        let mut clients: Vec<_> = (0..9).map(|_| proxy.client()).collect();
        for (i, client) in clients.iter_mut().enumerate() {
            client.send_get(&format!("/{i}"));
            wait_until("it is in flight, or in the queue", || match i {
                0 => origin.requests().len() == 1,
                _ => queued(&proxy) == i as f64,
            });
        }
        assert_eq!(origin.requests().len(), 1);
        gate.release(100);
        for (i, client) in clients.iter_mut().enumerate() {
            assert_eq!(client.response().expect(200).text(), format!("GET /{i}"));
        }
        let order: Vec<_> = origin.requests().into_iter().map(|r| r.target).collect();
        assert_eq!(order, (0..9).map(|i| format!("/{i}")).collect::<Vec<_>>(), "{workers} workers");
        assert_eq!(origin.most_open(), 1);
        assert_eq!(queued(&proxy), 0.0);
    }
}

#[test]
fn an_origin_never_sees_more_connections_than_it_may() {
    let origin = Origin::each(|conn, request| {
        take_time(Duration::from_millis(1));
        conn.answer(request.what());
    })
    .counting();
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 3).set("timeouts.queue_ms", 30_000);
    let proxy = config.set("workers", 2).start();
    std::thread::scope(|scope| {
        for i in 0..30 {
            let proxy = &proxy;
            scope.spawn(move || {
                for j in 0..5 {
                    assert_eq!(proxy.get(&format!("/{i}/{j}")).expect(200).text(), format!("GET /{i}/{j}"));
                }
            });
        }
    });
    assert_eq!(origin.requests().len(), 150);
    assert!(origin.most_open() <= 3, "{} at once", origin.most_open());
}

#[test]
fn a_place_that_is_idle_at_another_worker_is_free() {
    let origin = Origin::hello().counting();
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 20_000);
    let proxy = config.set("workers", 2).start();
    for i in 0..40 {
        // The kernel gives each connection to either worker; the only place is idle at the one that was last.
        let begin = Instant::now();
        proxy.get(&format!("/{i}")).expect(200);
        assert!(begin.elapsed() < Duration::from_secs(5), "request {i} waited {:?}", begin.elapsed());
    }
    assert_eq!(origin.most_open(), 1);
}

#[test]
fn a_full_upstream_is_passed_over_while_another_has_room() {
    let gate = Gate::default();
    let busy = Origin::gated(&gate);
    let free = Origin::named("free");
    let proxy = Config::to_all([busy.addr(), free.addr()]).set("limits.max_conns_per_upstream", 1).start();
    let mut clients = [proxy.client(), proxy.client()];
    for client in &mut clients {
        client.send_get("/"); // whichever goes to the busy one stays there
        wait_until("it is on its way", || !busy.requests().is_empty() || client.has_news());
    }
    wait_until("one is held", || busy.requests().len() == 1);
    for _ in 0..6 {
        assert_eq!(proxy.get("/").expect(200).text(), "free");
    }
    gate.release(1);
}

#[test]
fn the_queue_has_its_time() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    for (queue_ms, least) in [(400, Duration::from_millis(390)), (0, Duration::ZERO)] {
        let config = Config::to(&origin).set("limits.max_conns_per_upstream", 1);
        let proxy = config.set("timeouts.queue_ms", queue_ms).start();
        let seen = origin.requests().len();
        let mut first = proxy.client();
        first.send_get("/held");
        wait_until("it is in flight", || origin.requests().len() == seen + 1);
        let mut second = proxy.client();
        let begin = Instant::now();
        let answer = second.get("/queued");
        assert!(begin.elapsed() >= least, "too soon: {:?}", begin.elapsed());
        let answer = proxy.expect_refusal(answer, 503, "connection_limit_reached");
        assert!(answer.fields.get("Retry-After").is_some_and(|s| s.parse::<u32>().is_ok()), "{answer:?}");
        gate.release(2);
        first.response().expect(200);
        second.get("/served-now").expect(200);
        assert_eq!(queued(&proxy), 0.0);
    }
}

#[test]
fn a_waiter_that_leaves_takes_nobodys_place() {
    let gate = Gate::default();
    let origin = Origin::gated(&gate);
    let config = Config::to(&origin).set("limits.max_conns_per_upstream", 1).set("timeouts.queue_ms", 20_000);
    let proxy = config.start();
    let mut clients = [proxy.client(), proxy.client(), proxy.client()];
    for (i, client) in clients.iter_mut().enumerate() {
        client.send_get(&format!("/{i}"));
        wait_until("it is in flight, or in the queue", || match i {
            0 => origin.requests().len() == 1,
            _ => queued(&proxy) == i as f64,
        });
    }
    let [mut first, leaver, mut last] = clients;
    leaver.reset();
    wait_until("it has left the queue", || queued(&proxy) == 1.0);
    gate.release(2);
    first.response().expect(200);
    assert_eq!(last.response().expect(200).text(), "GET /2");
    let targets: Vec<_> = origin.requests().into_iter().map(|r| r.target).collect();
    assert_eq!(targets, ["/0", "/2"]);
}

#[test]
fn without_descriptors_nothing_spins_and_nobody_is_lost() {
    let origin = Origin::hello();
    let proxy = Config::to(&origin).start_with_descriptors(80);
    let mut clients: Vec<_> = (0..400).map(|_| proxy.client()).collect();
    for (i, client) in clients.iter_mut().enumerate() {
        client.send_get(&format!("/{i}"));
    }
    wait_until("as many as can be are served", || clients.iter().any(Client::has_news));
    let begun = (proxy.cpu_seconds(), Instant::now());
    take_time(Duration::from_millis(1500)); // over which it is measured
    let busy = (proxy.cpu_seconds() - begun.0) / begun.1.elapsed().as_secs_f64();
    assert!(busy < 0.25, "it burns {:.0} % of a CPU", busy * 100.0);
    assert!(proxy.fds() <= 80);
    // As clients go, others come.
    let mut waiting: Vec<_> = clients.into_iter().enumerate().collect();
    wait_until("all are served", || {
        let (served, others): (Vec<_>, Vec<_>) = std::mem::take(&mut waiting).into_iter().partition(|(_, c)| c.has_news());
        for (i, mut client) in served {
            assert_eq!(client.response().expect(200).text(), format!("GET /{i}"));
        }
        waiting = others;
        waiting.is_empty()
    });
    proxy.get("/back-to-normal").expect(200);
}

/// A request that gave up in one pool's line, with the next one of its connection waiting in another's: a call that comes
/// too late for the first is not taken for the second's.
#[test]
fn a_call_that_comes_too_late_is_nobody_elses() {
    let origins = [(); 4].map(|()| {
        Origin::each(|conn, _| {
            std::thread::yield_now();
            conn.answer("x");
        })
        .counting()
    });
    let upstreams =
        |of: &[usize]| of.iter().map(|&i| serde_json::json!({"host": "127.0.0.1", "port": origins[i].port()})).collect::<Vec<_>>();
    let proxy = Config::new()
        .set("workers", 2)
        .set("pools.a.upstreams", upstreams(&[0, 1, 2]))
        .set("pools.b.upstreams", upstreams(&[3]))
        .set("routes", serde_json::json!([{"match": {"path": "/a"}, "proxy": "a"}, {"match": {"path": "/b"}, "proxy": "b"}]))
        .set("limits.max_conns_per_upstream", 1)
        .set("timeouts.queue_ms", 20)
        .start();
    let rounds = || {
        for _ in 0..20 {
            let mut clients: Vec<_> = (0..60).map(|_| proxy.client()).collect();
            for client in &mut clients {
                client.send("GET /a HTTP/1.1\r\nHost: a\r\n\r\nGET /b HTTP/1.1\r\nHost: a\r\n\r\n");
            }
            for client in &mut clients {
                assert!([client.response(), client.response()].iter().all(|answer| matches!(answer.status, 200 | 503)));
            }
        }
    };
    std::thread::scope(|scope| (0..3).for_each(|_| drop(scope.spawn(rounds))));
    for path in ["/a", "/b"] {
        wait_until("there is a place again", || proxy.get(path).status == 200);
    }
    assert!(origins.iter().all(|origin| origin.most_open() <= 1));
}
