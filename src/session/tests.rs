//! The session without sockets: events in, effects and bytes out. The helpers are in `tests/scene.rs`.

mod another_back;
mod blame;
mod details;
mod ends;
mod retries;
mod scene;
mod sources;
mod strays;
mod streams;
mod tunnels;
mod verdicts;
mod waits;

use super::{Direction, Effect, Ending, Event};
use crate::observe::reason::Reason;
use scene::{GET, Phase, Scene, field};

const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok";

#[test]
fn a_request_goes_up_and_its_answer_comes_down() {
    let mut scene = Scene::new();
    scene.client(GET);
    assert_eq!(scene.effects(), [Effect::Connect { server: 0, reuse: false }]);
    scene.event(Event::UpstreamConnected { reused: false });
    assert!(scene.sent_to_upstream().starts_with("GET /a HTTP/1.1\r\nHost: h\r\n"));
    scene.upstream(OK);
    assert!(scene.sent_to_client().ends_with("\r\n\r\nok"));
    assert_eq!(scene.effects(), [Effect::Release { keep: true }]);
    assert_eq!(scene.session.phase(), Phase::ReadingHead);
    assert_eq!(scene.lines(), ["200 -"]);
}

#[test]
fn what_is_settled_is_settled_before_the_last_byte_can_be_read() {
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\no");
    scene.sent_to_client();
    assert_eq!((scene.stats.responses[1].value(), scene.effects()), (0, vec![]));
    scene.upstream("k");
    assert_eq!((scene.stats.responses[1].value(), scene.effects()), (1, vec![Effect::Release { keep: true }]));
    assert_eq!((scene.sent_to_client().as_str(), scene.stats.responses[1].value()), ("k", 1));
}

#[test]
fn a_head_that_drips_in_is_read_once_it_is_whole() {
    let mut scene = Scene::new();
    for at in 0..GET.len() - 1 {
        scene.client(&GET[at..at + 1]);
        assert_eq!((scene.effects(), scene.stats.requests.value()), (vec![], 0));
    }
    scene.client(&GET[GET.len() - 1..]);
    assert_eq!((scene.effects().len(), scene.stats.requests.value()), (1, 1));
}

#[test]
fn empty_lines_before_a_request_are_skipped() {
    let mut scene = Scene::new();
    scene.client("\r\n\r\n").client(GET);
    assert_eq!(scene.effects().len(), 1);
    let mut scene = Scene::new();
    scene.client("\r\n\r\n\r\n");
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 400 "));
}

#[test]
fn a_head_larger_than_a_ring_moves_to_a_larger_one() {
    let mut scene = Scene::with(|config| config.limits.buffer_size = 4096);
    let long = format!("GET /a HTTP/1.1\r\nHost: h\r\nX: {}\r\n\r\n", "x".repeat(8000));
    scene.client(&long);
    assert_eq!(scene.effects().len(), 1);
    assert_eq!(scene.session.up().capacity(), 0, "it went back with the head");
}

#[test]
fn pipelined_requests_are_answered_in_their_order() {
    let mut scene = Scene::new();
    scene.client("GET /1 HTTP/1.1\r\nHost: h\r\n\r\nGET /2 HTTP/1.1\r\nHost: h\r\n\r\n");
    scene.event(Event::UpstreamConnected { reused: false });
    assert!(scene.sent_to_upstream().starts_with("GET /1 "));
    scene.upstream(OK);
    assert!(scene.session.output(Direction::Down).is_some() && !scene.session.is_behind(), "the first answer is not out yet");
    scene.sent_to_client();
    assert!(scene.session.is_behind());
    scene.event(Event::ClientBytes).event(Event::UpstreamConnected { reused: true });
    assert!(scene.sent_to_upstream().starts_with("GET /2 "));
}

#[test]
fn a_refused_head_is_answered_and_followed_by_a_lingering_close() {
    let mut scene = Scene::new();
    scene.client("GET / HTTP/1.1\r\nHost : h\r\n\r\nmore");
    let answer = scene.sent_to_client();
    assert!(answer.starts_with("HTTP/1.1 400 ") && answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert_eq!(scene.effects(), [Effect::HalfClose]);
    assert_eq!((scene.stats.requests.value(), scene.stats.parse_errors.value()), (1, 1));
    scene.client("still more");
    assert!((scene.session.phase() == Phase::Draining) && scene.session.up().is_empty());
    scene.wait(2000);
    assert_eq!(scene.session.ending(), Some(Ending::Plain));
}

#[test]
fn the_line_of_requests() {
    let mut scene = Scene::with(|config| config.pools[0].limits.max_conns_per_upstream = 0);
    scene.client(GET);
    assert_eq!((scene.effects(), scene.stats.queued_requests.value()), (vec![Effect::Queue { starved: false }], 1));
    scene.admit();
    assert_eq!((scene.effects(), scene.stats.queued_requests.value()), (vec![Effect::Connect { server: 0, reuse: true }], 0));
    assert_eq!(scene.exchange().attempts, 1);
}

#[test]
fn who_waits_too_long_in_the_queue_leaves_it() {
    let mut scene = Scene::with(|config| config.pools[0].limits.max_conns_per_upstream = 0);
    scene.client(GET);
    scene.effects();
    scene.wait(4999);
    assert!(scene.exchange().is_queued());
    scene.wait(1);
    assert_eq!((scene.effects(), scene.stats.queued_requests.value()), (vec![Effect::LeaveQueue], 0));
    let answer = scene.sent_to_client();
    assert!(answer.starts_with("HTTP/1.1 503 ") && field(&answer, "Retry-After").is_some());
    assert_eq!(scene.lines(), ["503 connection_limit_reached"]);
}

#[test]
fn who_may_not_wait_is_refused_at_once() {
    let mut scene = Scene::with(|config| {
        config.pools[0].limits.max_conns_per_upstream = 0;
        config.pools[0].timeouts.queue_ms = 0;
    });
    scene.client(GET);
    assert_eq!((scene.effects(), scene.stats.queued_requests.value()), (vec![], 0));
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 503 "));
}

#[test]
fn without_a_descriptor_it_waits_like_at_a_full_upstream() {
    let mut scene = Scene::new();
    scene.client(GET);
    scene.effects();
    scene.event(Event::NoDescriptor);
    assert_eq!(scene.effects(), [Effect::Queue { starved: true }]);
    assert_eq!((scene.exchange().attempts, scene.site.pools[0].servers[0].cells[0].requests.value()), (0, 0));
}

#[test]
fn a_stale_connection_is_replaced_once() {
    let mut scene = Scene::new();
    scene.client(GET).event(Event::UpstreamConnected { reused: true });
    let first = scene.sent_to_upstream();
    scene.effects();
    scene.event(Event::UpstreamFin);
    assert_eq!(scene.effects(), [Effect::Reconnect]);
    scene.event(Event::UpstreamConnected { reused: false });
    assert_eq!(scene.sent_to_upstream(), first, "the same again");
    scene.event(Event::UpstreamFin);
    assert_eq!(scene.effects(), [Effect::Release { keep: false }]);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 502 "));
    assert_eq!((scene.lines(), scene.stats.errors[Reason::ConnectionTerminated].value()), (vec!["502 connection_terminated".into()], 1));
}

#[test]
fn what_may_not_be_sent_twice_is_not_replaced() {
    let mut scene = Scene::new();
    scene.client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab").event(Event::UpstreamConnected { reused: true });
    scene.sent_to_upstream();
    scene.effects();
    scene.event(Event::UpstreamGone);
    assert_eq!(scene.effects(), [Effect::Release { keep: false }]);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 502 "));
}

#[test]
fn of_which_nothing_was_taken_may_be_sent_again_whatever_it_is() {
    let mut scene = Scene::new();
    scene.client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab").event(Event::UpstreamConnected { reused: true });
    scene.effects();
    scene.event(Event::UpstreamBroken).event(Event::UpstreamFin);
    assert_eq!(scene.effects(), [Effect::Reconnect]);
    scene.event(Event::UpstreamConnected { reused: false });
    assert!(scene.sent_to_upstream().ends_with("\r\n\r\nab"));
}

#[test]
fn the_body_is_sent_again_with_the_head() {
    let mut scene = Scene::new();
    scene.client("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 6\r\n\r\nabc").event(Event::UpstreamConnected { reused: true });
    scene.sent_to_upstream();
    scene.effects();
    scene.client("d").event(Event::UpstreamFin);
    assert_eq!(scene.effects(), [Effect::Reconnect]);
    scene.client("e").event(Event::UpstreamConnected { reused: false });
    assert!(scene.sent_to_upstream().ends_with("\r\n\r\nabcde"));
    scene.client("f");
    assert_eq!(scene.sent_to_upstream(), "f");
}

#[test]
fn what_went_past_the_ring_cannot_be_sent_again() {
    use super::Direction::Up;
    let mut scene = Scene::new();
    scene.client("PUT /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n").event(Event::UpstreamConnected { reused: true });
    scene.sent_to_upstream();
    scene.effects();
    scene.event(Event::Moved(Up, 50_000)).event(Event::Passed(Up, 50_000)).event(Event::UpstreamFin);
    assert_eq!(scene.effects(), [Effect::Release { keep: false }]);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 502 "));
}

/// Bytes that are kept for a repetition must not prevent the rest of a chunk-size line from being read.
#[test]
fn a_replay_is_given_up_where_it_blocks_the_body() {
    let mut scene = Scene::with(|config| config.limits.buffer_size = 4096);
    scene.client("PUT /a HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n").event(Event::UpstreamConnected { reused: true });
    let chunk = format!("{:x}\r\n{}\r\n", 4080, "x".repeat(4080));
    scene.client(&chunk[..4080]);
    scene.sent_to_upstream();
    scene.client(&chunk[4080..]);
    scene.sent_to_upstream();
    let room = scene.session.up().room();
    scene.client(&"0".repeat(room)).client("5\r\n");
    assert_eq!(scene.session.phase(), Phase::StreamingBody, "{}", scene.sent_to_client());
}
