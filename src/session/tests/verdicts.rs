//! What the end of an attempt says about its upstream: nothing bad, if a client can cause it alone.

use super::OK;
use super::scene::{GET, Scene, Session};
use crate::base::address::Peer;
use crate::guard::breaker::CircuitState;
use crate::observe::reason::Reason;
use crate::session::Event;

const POST: &str = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n";

/// A second for the whole exchange, and as long for each wait.
fn hurried(request: &str) -> Scene {
    let mut scene = Scene::with(|config| {
        let timeouts = &mut config.pools[0].timeouts;
        (timeouts.total_ms, timeouts.read_ms, timeouts.connect_ms) = (1000, 2000, 2000);
    });
    scene.client(request);
    scene
}

fn failures(scene: &Scene) -> u32 {
    scene.site.pools[0].servers[0].failures_in_a_row()
}

fn trials(scene: &Scene) -> u16 {
    scene.site.pools[0].servers[0].circuit.trials()
}

/// Sends its request on a new connection.
fn ask(scene: &mut Scene, request: &str) {
    scene.session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1000)), &scene.turn);
    scene.client(request).event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
}

/// Lets an upstream refuse a request.
fn refuse(scene: &mut Scene) {
    scene.session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1000)), &scene.turn);
    scene.client(GET).event(Event::ConnectFailed(Reason::ConnectionRefused));
}

/// One upstream with a half-open circuit.
fn half_open() -> Scene {
    half_open_with(5000)
}

fn half_open_with(queue_ms: u32) -> Scene {
    let mut scene = Scene::with(|config| (config.pools[0].timeouts.total_ms, config.pools[0].timeouts.queue_ms) = (0, queue_ms));
    (0..3).for_each(|_| refuse(&mut scene));
    assert_eq!(scene.site.pools[0].servers[0].circuit.state(), CircuitState::Open);
    scene.wait(20_000);
    scene
}

#[test]
fn the_time_that_a_client_took_is_not_the_upstreams() {
    let mut scene = hurried(POST);
    scene.event(Event::UpstreamConnected { reused: false }).wait(990);
    scene.client("ab").sent_to_upstream();
    scene.wait(10).sent_to_client();
    assert_eq!((scene.lines(), failures(&scene), trials(&scene)), (vec!["504 http_response_timeout".into()], 0, 0));
    let mut scene = hurried(POST);
    scene.event(Event::UpstreamConnected { reused: false }).client("ab").sent_to_upstream();
    scene.wait(1000);
    assert_eq!(failures(&scene), 1);
}

#[test]
fn nor_is_it_within_an_attempt() {
    let within_a_second = |request: &str| {
        let mut scene = Scene::with(|config| config.pools[0].timeouts.attempt_ms = 1000);
        scene.client(request).event(Event::UpstreamConnected { reused: false }).sent_to_upstream();
        scene
    };
    let mut scene = within_a_second(POST);
    scene.wait(990).client("ab").sent_to_upstream();
    scene.wait(10);
    assert!(scene.sent_to_client().contains("origin did not answer within 1 s (timeouts.attempt_ms)"));
    assert_eq!(failures(&scene), 0, "it had the whole request for a moment only");
    let mut scene = within_a_second(POST);
    scene.wait(1000);
    let answer = scene.sent_to_client();
    assert!(answer.contains("504 connection_read_timeout: the client was not done within 1 s (timeouts.attempt_ms)"), "{answer}");
    let errors = scene.site.pools[0].servers[0].cells[0].errors.each_ref().map(|kind| kind.value());
    assert_eq!((failures(&scene), errors), (0, [0; 3]));
    let mut scene = within_a_second(GET);
    scene.wait(1000);
    assert_eq!(failures(&scene), 1);
}

#[test]
fn who_cannot_be_connected_to_in_all_that_time_has_failed() {
    let mut scene = hurried(GET);
    scene.wait(1000);
    assert_eq!(failures(&scene), 1);
}

#[test]
fn who_answers_at_length_has_not_failed() {
    let mut scene = hurried(GET);
    scene.event(Event::UpstreamConnected { reused: false }).sent_to_upstream();
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun").sent_to_client();
    scene.wait(1000);
    assert_eq!((scene.lines(), failures(&scene)), (vec!["200 http_response_timeout".into()], 0));
}

#[test]
fn who_knows_no_expectation_has_not_failed() {
    for (expectation, expected) in [("Expect: 100-continue\r\n", 0), ("", 1)] {
        let mut scene = Scene::with(|config| config.pools[0].timeouts.read_ms = 100);
        let body = if expected == 0 { "" } else { "ab" };
        scene.client(&format!("PUT /a HTTP/1.1\r\nHost: h\r\n{expectation}Content-Length: 2\r\n\r\n{body}"));
        scene.event(Event::UpstreamConnected { reused: false }).sent_to_upstream();
        scene.wait(100);
        assert!(scene.sent_to_client().contains("error=connection_read_timeout"));
        assert_eq!(failures(&scene), expected, "{expectation}");
    }
}

#[test]
fn a_limit_of_ours_is_no_failure_of_an_upstream() {
    let mut scene = Scene::streaming(GET);
    scene.upstream(&format!("HTTP/1.1 302 Found\r\nLocation: /{}\r\n\r\n", "%20".repeat(6000)));
    assert!(scene.sent_to_client().contains("error=http_response_header_size"));
    assert_eq!(failures(&scene), 0);
}

#[test]
fn answers_that_clients_leave_close_a_circuit() {
    let mut scene = half_open();
    for _ in 0..2 {
        ask(&mut scene, GET);
        scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 1000\r\n\r\nbegun").event(Event::ClientGone);
    }
    let server = &scene.site.pools[0].servers[0];
    assert_eq!((server.circuit.state(), server.failures_in_a_row()), (CircuitState::Closed, 0));
}

/// An incomplete request waits, and becomes a trial once it is complete.
#[test]
fn a_slow_client_holds_no_trial() {
    let mut scene = half_open();
    scene.session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1000)), &scene.turn);
    scene.client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 10\r\n\r\n");
    for _ in 0..9 {
        scene.wait(1000).client("a");
        assert_eq!(trials(&scene), 0);
    }
    scene.client("0").event(Event::UpstreamConnected { reused: false });
    assert_eq!(trials(&scene), 1);
    assert!(scene.sent_to_upstream().ends_with("aaaaaaaaa0"));
}

/// Otherwise such a client would wait forever: if all requests were uploads, no trial would ever begin.
#[test]
fn who_waits_to_be_told_to_go_on_is_told_so_where_a_trial_needs_its_content() {
    for queue_ms in [0, 5000] {
        let mut scene = half_open_with(queue_ms);
        scene.session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1000)), &scene.turn);
        scene.client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
        assert_eq!((trials(&scene), scene.sent_to_client().as_str()), (0, "HTTP/1.1 100 Continue\r\n\r\n"));
        scene.client("ab").event(Event::UpstreamConnected { reused: false });
        assert_eq!(trials(&scene), 1);
        assert!(scene.sent_to_upstream().ends_with("\r\n\r\nab"));
        scene.upstream(OK);
        assert!(scene.sent_to_client().starts_with("HTTP/1.1 200 "));
    }
}

/// Of content larger than is read ahead, that much is here; the rest is waited for a moment.
#[test]
fn content_that_is_large_holds_a_trial_for_a_moment() {
    let mut scene = half_open();
    scene.session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1000)), &scene.turn);
    let part = "x".repeat(16_384);
    scene.client("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 40000\r\n\r\n").client(&part);
    assert_eq!(trials(&scene), 1);
    scene.event(Event::UpstreamConnected { reused: false }).sent_to_upstream();
    scene.wait(999);
    assert_eq!(trials(&scene), 1);
    scene.wait(1);
    assert_eq!(trials(&scene), 0, "another may try");
    // It continues like any other.
    scene.client(&part).sent_to_upstream();
    scene.client(&part[..40_000 - 2 * 16_384]).sent_to_upstream();
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").sent_to_client();
    assert!(scene.session.is_resting());
}

/// Beside another usable upstream the trial goes on alone; at the last one, a slow answer must not block others.
#[test]
fn a_slow_answer_holds_its_trial_unless_it_is_the_last() {
    for others in [0, 1] {
        let mut scene = Scene::with(|config| {
            let first = config.pools[0].upstreams[0].clone();
            config.pools[0]
                .upstreams
                .extend((0..others).map(|_| crate::config::model::UpstreamConfig { name: "other".into(), ..first.clone() }));
        });
        let mut opened = None;
        while opened.is_none() {
            refuse(&mut scene);
            opened = scene.site.pools[0].servers.iter().position(|server| server.circuit.state() == CircuitState::Open);
        }
        scene.wait(20_000);
        let trials = |scene: &Scene| scene.site.pools[0].servers[opened.unwrap()].circuit.trials();
        while trials(&scene) == 0 {
            ask(&mut scene, GET);
        }
        scene.wait(999);
        assert_eq!(trials(&scene), 1);
        scene.wait(1);
        assert_eq!(usize::from(trials(&scene)), others);
        scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").sent_to_client();
        assert_eq!((trials(&scene), scene.session.is_resting()), (0, true));
    }
}

/// The next request has its full time to linger.
#[test]
fn a_trial_leaves_no_wait_behind() {
    let mut scene = half_open();
    ask(&mut scene, GET);
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").sent_to_client();
    ask(&mut scene, GET);
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").sent_to_client();
    ask(&mut scene, "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\n");
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n").sent_to_client();
    scene.wait(1999);
    assert!(scene.session.is_busy(), "what is left of the content is read for 2 s");
    scene.wait(1);
    assert!(!scene.session.is_busy());
}

#[test]
fn what_this_machine_is_short_of_is_nobodys_fault() {
    let mut scene = Scene::new();
    for _ in 0..5 {
        scene.client(GET).event(Event::ConnectFailed(Reason::InternalError));
        assert!(scene.sent_to_client().starts_with("HTTP/1.1 500 "));
    }
    let server = &scene.site.pools[0].servers[0];
    assert_eq!((server.circuit.state(), server.cells[0].errors.each_ref().map(|kind| kind.value())), (CircuitState::Closed, [0; 3]));
}
