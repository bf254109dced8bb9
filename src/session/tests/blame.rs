//! Which side is to blame for a failure, once the end of the request is known.

use super::OK;
use super::scene::{GET, Scene, Session};
use crate::base::address::Peer;
use crate::config::model::{Config, Retry, UpstreamConfig};
use crate::guard::breaker::CircuitState;
use crate::observe::reason::Reason;
use crate::session::{Effect, Event};

const POST: &str = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n";
const BUSY: &str = "HTTP/1.1 503 Busy\r\nContent-Length: 4\r\n\r\nbusy";

/// Several upstreams that take turns, as many tries, and no waits between them.
fn several(upstreams: u16, change: impl FnOnce(&mut Config)) -> Scene {
    Scene::with(|config| {
        let pool = &mut config.pools[0];
        let first = pool.upstreams[0].clone();
        pool.upstreams = (0..upstreams)
            .map(|number| UpstreamConfig {
                name: format!("u{number}"),
                origin: crate::config::model::Origin::tcp("127.0.0.1", 1 + number),
                ..first.clone()
            })
            .collect();
        pool.retry = Retry { max_retries: u32::from(upstreams) - 1, max_backoff_ms: 1000, ..Retry::default() };
        change(config);
    })
}

fn failures(scene: &Scene) -> Vec<u32> {
    scene.site.pools[0].servers.iter().map(|server| server.failures_in_a_row()).collect()
}

fn dialled(scene: &mut Scene) -> Option<usize> {
    let dial = |effect: &Effect| if let Effect::Connect { server, .. } = effect { Some(*server) } else { None };
    scene.effects().iter().rev().find_map(dial)
}

/// Sends the request to the next upstream.
fn sent(scene: &mut Scene) -> &mut Scene {
    scene.event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    scene
}

#[test]
fn what_all_of_them_fail_alike_is_the_requests_doing() {
    let mut scene = several(3, |_| {});
    scene.client(GET);
    for _ in 0..3 {
        sent(&mut scene).event(Event::UpstreamGone);
    }
    assert!(scene.sent_to_client().contains("error=connection_terminated"));
    assert_eq!(failures(&scene), [0, 0, 0]);
}

#[test]
fn who_fails_what_another_answers_is_blamed() {
    let mut scene = several(3, |_| {});
    scene.client(GET);
    for _ in 0..2 {
        sent(&mut scene).event(Event::UpstreamGone);
    }
    assert_eq!(failures(&scene), [0, 0, 0], "it is not known yet");
    // The head alone counts, however long the rest takes.
    sent(&mut scene).upstream("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nha");
    assert_eq!(failures(&scene), [1, 1, 0]);
}

#[test]
fn who_fails_alone_is_blamed() {
    for end in ["", "HTTP/1.1 2OO\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nhalf", BUSY] {
        let mut scene = several(2, |_| {});
        sent(scene.client(&format!("{POST}0123456789"))).upstream(end).event(Event::UpstreamGone);
        assert_eq!(failures(&scene), [1, 0], "{end}");
    }
}

#[test]
fn who_fail_differently_are_blamed_each() {
    let mut scene = several(2, |_| {});
    sent(scene.client(GET)).event(Event::UpstreamGone);
    sent(&mut scene).upstream(BUSY);
    assert_eq!(failures(&scene), [1, 1]);
}

#[test]
fn one_that_serves_it_in_the_end_did_not_fail_it() {
    let mut scene = several(1, |config| config.pools[0].retry.max_retries = 2);
    scene.client(GET);
    for _ in 0..2 {
        sent(&mut scene).event(Event::UpstreamGone);
    }
    sent(&mut scene).upstream(OK);
    assert_eq!(failures(&scene), [0]);
    // An answer that is never complete counts once.
    scene.sent_to_client();
    scene.client(GET);
    for _ in 0..3 {
        sent(&mut scene).event(Event::UpstreamGone);
    }
    assert_eq!(failures(&scene), [1]);
}

#[test]
fn nobody_is_blamed_while_the_client_owes_content() {
    for end in ["", "HTTP/1.1 2OO\r\n\r\n", BUSY] {
        let mut scene = several(2, |_| {});
        sent(scene.client(&format!("{POST}0"))).upstream(end).event(Event::UpstreamGone);
        assert_eq!(failures(&scene), [0, 0], "{end}");
    }
    // No client can cause a missing connection.
    let mut scene = several(2, |_| {});
    scene.client(&format!("{POST}0")).event(Event::ConnectFailed(Reason::ConnectionRefused));
    assert_eq!(failures(&scene), [1, 0]);
}

#[test]
fn an_upgrade_that_is_answered_differently_is_nobodys_fault() {
    let mut scene = several(2, |_| {});
    scene.client("GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: websocket/13\r\n\r\n");
    sent(&mut scene).upstream("HTTP/1.1 101 Switching\r\nConnection: upgrade\r\nUpgrade: other\r\n\r\n");
    assert!(scene.sent_to_client().contains("error=http_upgrade_failed"));
    assert_eq!(failures(&scene), [0, 0]);
}

#[test]
fn a_client_that_leaves_tells_nothing() {
    let mut scene = several(2, |_| {});
    sent(scene.client(GET)).event(Event::UpstreamGone).event(Event::ClientGone);
    assert_eq!(failures(&scene), [0, 0]);
}

#[test]
fn a_refusal_counts_at_once_and_once() {
    let mut scene = several(1, |config| config.pools[0].retry.max_retries = 3);
    scene.client(GET);
    sent(&mut scene).event(Event::UpstreamGone);
    assert_eq!(failures(&scene), [0]);
    for _ in 0..2 {
        scene.event(Event::ConnectFailed(Reason::ConnectionRefused));
    }
    assert_eq!(failures(&scene), [1]);
    sent(&mut scene).event(Event::UpstreamGone);
    assert!(scene.sent_to_client().contains("error=connection_terminated"));
    assert_eq!(failures(&scene), [1]);
}

#[test]
fn a_request_that_goes_on_elsewhere_keeps_no_trial() {
    let mut scene = several(2, |config| config.pools[0].breaker.failure_threshold = 1);
    scene.client(GET).event(Event::ConnectFailed(Reason::ConnectionRefused));
    sent(&mut scene).upstream(OK);
    scene.sent_to_client();
    let site = scene.site.clone();
    let circuit = &site.pools[0].servers[0].circuit;
    assert_eq!(circuit.state(), CircuitState::Open);
    scene.wait(20_000);
    while circuit.trials() == 0 {
        scene.session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1000)), &scene.turn);
        sent(scene.client(GET));
    }
    scene.event(Event::UpstreamGone);
    assert_eq!((circuit.trials(), circuit.state()), (0, CircuitState::HalfOpen));
    sent(&mut scene).upstream(OK);
    assert_eq!(circuit.state(), CircuitState::Open);
}

#[test]
fn one_circuit_stays_closed_whatever_clients_ask_for() {
    let mut scene = several(3, |config| config.pools[0].retry.max_retries = 0);
    for _ in 0..40 {
        sent(scene.client(GET)).event(Event::UpstreamGone);
        scene.session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1000)), &scene.turn);
    }
    let open = scene.site.pools[0].servers.iter().filter(|server| server.circuit.state() == CircuitState::Open).count();
    assert_eq!(open, 2);
}

#[test]
fn silence_is_another_try_only_elsewhere() {
    let mut scene = several(1, |config| {
        config.pools[0].retry.max_retries = 2;
        config.pools[0].timeouts.read_ms = 15_000;
    });
    sent(scene.client(GET)).wait(15_000);
    assert!(scene.sent_to_client().contains("504 connection_read_timeout: u0 sent nothing for 15 s (timeouts.read_ms)"));
    assert_eq!(scene.stats.errors[Reason::ReadTimeout].value(), 1);
}

#[test]
fn the_first_silence_is_what_the_answer_names() {
    // Another one is silent too, or the time is up, or there is none, or no descriptor for it; the first is not asked
    // again.
    let ends: [fn(&mut Scene); 4] = [
        |scene| _ = sent(scene).wait(200),
        |scene| _ = sent(scene).wait(150),
        |scene| _ = scene.event(Event::ConnectFailed(Reason::ConnectionTimeout)),
        |scene| _ = scene.event(Event::NoDescriptor),
    ];
    for (end, total_ms) in ends.into_iter().zip([0, 350, 0, 0]) {
        let mut scene = several(2, |config| {
            config.pools[0].retry.max_retries = 5;
            (config.pools[0].timeouts.read_ms, config.pools[0].timeouts.total_ms) = (200, total_ms);
        });
        sent(scene.client(GET)).wait(200);
        assert_eq!(dialled(&mut scene), Some(1));
        end(&mut scene);
        let answer = scene.sent_to_client();
        assert!(answer.contains("504 connection_read_timeout: u0 sent nothing for 200 ms (timeouts.read_ms)"), "{answer}");
        assert_eq!(dialled(&mut scene), None);
    }
}

#[test]
fn who_was_refused_tries_again_although_that_has_opened_the_circuit() {
    let mut scene = several(1, |config| {
        config.pools[0].breaker.failure_threshold = 1;
        config.pools[0].retry.max_retries = 2;
    });
    let circuit = |scene: &Scene| scene.site.pools[0].servers[0].circuit.state();
    scene.client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n").effects();
    scene.event(Event::ConnectFailed(Reason::ConnectionRefused));
    assert_eq!((dialled(&mut scene), circuit(&scene)), (Some(0), CircuitState::Open));
    scene.event(Event::ConnectFailed(Reason::ConnectionRefused));
    assert_eq!((dialled(&mut scene), circuit(&scene)), (Some(0), CircuitState::Open));
    sent(&mut scene).upstream(OK);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 200 "));
    assert_eq!(circuit(&scene), CircuitState::HalfOpen, "it has served: as good as a trial");
    // Queued requests are told at once while it is open.
    let mut scene = several(1, |config| config.pools[0].breaker.failure_threshold = 1);
    scene.client(GET).event(Event::ConnectFailed(Reason::ConnectionRefused)).sent_to_client();
    scene.effects();
    scene.client(GET);
    assert!(scene.sent_to_client().contains("error=destination_unavailable") && dialled(&mut scene).is_none());
}
