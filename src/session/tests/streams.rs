//! Bodies both ways, and answers that do not wait for the request's end.

use super::scene::{GET, Scene, field};
use super::{Effect, Ending, Event, OK, Phase};
use crate::session::Direction::{Down, Up};

const POST: &str = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\n";

#[test]
fn an_upload_goes_on_while_its_early_answer_streams() {
    let mut scene = Scene::streaming(POST);
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nab");
    assert!(scene.sent_to_client().ends_with("ab"));
    scene.client("1234");
    assert_eq!(scene.sent_to_upstream(), "1234");
    scene.upstream("cd");
    assert_eq!((scene.sent_to_client().as_str(), scene.effects()), ("cd", vec![Effect::Release { keep: true }]));
}

#[test]
fn after_the_whole_answer_the_rest_of_the_request_is_dropped() {
    let mut scene = Scene::streaming(POST);
    scene.client("12").upstream(OK);
    assert_eq!(scene.effects(), [Effect::Release { keep: false }], "a request that was cut poisons the upstream's connection");
    scene.sent_to_client();
    assert_eq!(scene.session.phase(), Phase::Discarding);
    scene.wait(1999).client("34");
    assert_eq!(scene.session.phase(), Phase::ReadingHead, "the client's is kept");
    assert_eq!(scene.lines(), ["200 -"]);
}

#[test]
fn the_rest_of_a_request_is_waited_for_two_seconds() {
    let mut scene = Scene::streaming(POST);
    scene.upstream(OK);
    scene.sent_to_client();
    scene.wait(1999);
    assert_eq!(scene.session.ending(), None);
    scene.wait(1);
    assert_eq!((scene.session.ending(), scene.lines()), (Some(Ending::Plain), vec!["200 -".into()]));
}

#[test]
fn who_leaves_with_the_whole_answer_was_served() {
    let mut scene = Scene::streaming(POST);
    scene.upstream(OK);
    scene.sent_to_client();
    scene.event(Event::ClientGone);
    assert_eq!(scene.lines(), ["200 -"]);
}

#[test]
fn a_body_until_close_becomes_chunks() {
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/1.1 200 OK\r\n\r\nabc");
    let answer = scene.sent_to_client();
    assert!(answer.contains("\r\nTransfer-Encoding: chunked\r\n") && answer.ends_with("\r\n\r\n3\r\nabc\r\n"), "{answer}");
    scene.event(Event::UpstreamFin);
    assert_eq!((scene.sent_to_client().as_str(), scene.effects()), ("0\r\n\r\n", vec![Effect::CloseUpstream]));
    assert_eq!(scene.session.phase(), Phase::ReadingHead);
}

#[test]
fn chunks_to_http_1_0_are_unwrapped_and_end_with_the_connection() {
    let mut scene = Scene::streaming("GET /a HTTP/1.0\r\nHost: h\r\nConnection: keep-alive\r\n\r\n");
    scene.upstream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
    let answer = scene.sent_to_client();
    assert!(answer.ends_with("\r\n\r\nabc") && field(&answer, "Transfer-Encoding").is_none() && field(&answer, "Connection").is_none());
    assert_eq!(scene.effects(), [Effect::Release { keep: true }, Effect::HalfClose], "it may have sent the next request already");
}

#[test]
fn interim_responses_go_on_but_not_to_http_1_0() {
    let interim = "HTTP/1.1 103 Early Hints\r\n\r\n";
    let mut scene = Scene::streaming(GET);
    scene.upstream(interim);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 103 "));
    scene.upstream(OK);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 200 "));
    assert_eq!((scene.stats.responses[0].value(), scene.stats.responses[1].value()), (1, 1));
    let mut scene = Scene::streaming("GET /a HTTP/1.0\r\n\r\n");
    scene.upstream(interim);
    assert_eq!(scene.sent_to_client(), "");
}

#[test]
fn opaque_bytes_pass_by_and_what_is_left_over_goes_first() {
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 100010\r\n\r\n");
    scene.sent_to_client();
    assert_eq!(scene.session.opaque(Down), 100_010);
    scene.event(Event::Moved(Down, 100_000));
    scene.session.spill(Down, b"left over");
    scene.event(Event::Passed(Down, 100_000 - 9));
    assert_eq!(scene.session.opaque(Down), 0, "not past what lies before them");
    scene.upstream("0123456789");
    assert_eq!(scene.sent_to_client(), "left over0123456789");
    assert_eq!(scene.lines(), ["200 -"]);
}

#[test]
fn nothing_is_opaque_upwards_for_a_connection_that_is_broken() {
    let mut scene = Scene::streaming("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n");
    assert_eq!(scene.session.opaque(Up), 100_000);
    scene.event(Event::UpstreamBroken);
    assert_eq!(scene.session.opaque(Up), 0);
    scene.client("dropped").upstream(OK);
    assert!(scene.sent_to_client().ends_with("ok"), "what it still says counts");
}

#[test]
fn a_full_ring_stops_the_reading_of_the_other_side() {
    let mut scene = Scene::with(|config| config.limits.buffer_size = 4096);
    scene.client(GET).event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 9999\r\n\r\n").upstream(&"x".repeat(4096));
    assert!(!scene.session.wants_upstream());
    scene.sent_to_client();
    assert!(scene.session.wants_upstream());
}

#[test]
fn extra_bytes_spoil_the_connection_not_the_answer() {
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nokHTTP/1.1 200 OK\r\n");
    assert!(scene.sent_to_client().ends_with("\r\n\r\nok"));
    assert_eq!(scene.effects(), [Effect::CloseUpstream]);
}

#[test]
fn answers_made_here_wait_for_the_request() {
    let mut scene = Scene::new();
    scene.client("PUT /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    assert_eq!(scene.sent_to_client(), "HTTP/1.1 100 Continue\r\n\r\n");
    scene.client("abc");
    assert!(scene.sent_to_client().ends_with("\n\nbody: 3 bytes\n"));
    assert_eq!(scene.session.phase(), Phase::ReadingHead);
    let mut scene = Scene::new();
    scene.client("HEAD /respond HTTP/1.1\r\nHost: h\r\n\r\n");
    let answer = scene.sent_to_client();
    assert!(field(&answer, "Content-Length") == Some("5") && answer.ends_with("\r\n\r\n"));
}
