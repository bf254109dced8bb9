//! Every wait: when it runs, when it does not, and what its end means.

use super::scene::{GET, Scene};
use super::{Effect, Ending, Event, OK, Phase};
use crate::config::model::Timeouts;
use crate::session::Direction::Up;

const POST: &str = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100\r\n\r\n";

/// One timeout of 1 s, and no other.
fn only(pick: fn(&mut Timeouts) -> &mut u32) -> Scene {
    let change = |timeouts: &mut Timeouts| {
        let Timeouts { attempt_ms, connect_ms, read_ms, write_ms, total_ms, client_body_ms, client_write_ms, .. } = timeouts;
        [attempt_ms, connect_ms, read_ms, write_ms, total_ms, client_body_ms, client_write_ms].into_iter().for_each(|limit| *limit = 0);
        *pick(timeouts) = 1000;
    };
    Scene::with(|config| {
        change(&mut config.timeouts);
        change(&mut config.pools[0].timeouts);
    })
}

fn connected(mut scene: Scene, request: &str) -> Scene {
    scene.client(request).event(Event::UpstreamConnected { reused: false });
    scene.effects();
    scene
}

#[test]
fn a_head_has_two_waits() {
    let mut scene = Scene::new();
    scene.wait(9000).client("GET / HTTP/1.1\r\n").wait(999);
    assert!(scene.lines().is_empty(), "the whole head's runs from the beginning");
    scene.wait(1);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 408 "));
    assert_eq!(scene.lines(), ["408 http_request_timeout"]);
    let mut scene = Scene::new();
    scene.wait(1000).client("G").wait(4999);
    assert!(scene.lines().is_empty());
    scene.wait(1);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 408 "), "the request line's runs from its first byte");
}

#[test]
fn who_sends_nothing_is_closed_without_a_word() {
    let mut scene = Scene::new();
    scene.wait(10_000);
    assert_eq!((scene.session.ending(), scene.lines(), scene.effects()), (None, vec![], vec![Effect::Part]));
    scene.event(Event::Delivered);
    assert_eq!(scene.session.ending(), Some(Ending::Plain));
}

#[test]
fn an_idle_connection_is_closed() {
    let mut scene = Scene::streaming(GET);
    scene.upstream(OK);
    scene.sent_to_client();
    scene.wait(74_999);
    assert_eq!(scene.session.ending(), None);
    scene.effects();
    scene.wait(1);
    assert_eq!((scene.session.ending(), scene.effects()), (None, vec![Effect::Part]), "it may not have read the answer yet");
    scene.wait(2000);
    assert_eq!(scene.session.ending(), Some(Ending::Plain));
}

#[test]
fn a_second_head_is_not_held_to_the_idle_wait() {
    let mut scene = Scene::streaming(GET);
    scene.upstream(OK);
    scene.sent_to_client();
    scene.wait(59_000).client("GET / HTTP/1.1\r\n").wait(9_999);
    assert_eq!(scene.session.phase(), Phase::ReadingHead);
    scene.wait(1);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 408 "));
}

#[test]
fn the_connect() {
    let mut scene = only(|timeouts| &mut timeouts.connect_ms);
    scene.client(GET);
    scene.effects();
    scene.wait(999);
    assert_eq!(scene.effects(), []);
    scene.wait(1);
    assert_eq!(scene.effects(), [Effect::Release { keep: false }]);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 504 "));
    assert_eq!(scene.lines(), ["504 connection_timeout"]);
}

#[test]
fn the_answer_s_wait_starts_anew_with_each_byte_sent_and_each_byte_that_comes() {
    let mut scene = connected(only(|timeouts| &mut timeouts.read_ms), GET);
    scene.wait(5000);
    assert!(scene.lines().is_empty(), "it does not run before the request is out");
    scene.sent_to_upstream();
    scene.wait(999).upstream("HTTP/1.1 200 OK\r\nContent-Le").wait(999).upstream("ngth: 9\r\n\r\n");
    scene.wait(5000);
    assert!(scene.lines().is_empty(), "it does not run while the client is slow to take");
    scene.sent_to_client();
    scene.wait(999);
    assert!(scene.lines().is_empty());
    scene.wait(1);
    assert_eq!(scene.lines(), ["200 connection_read_timeout"]);
}

#[test]
fn an_answer_that_does_not_begin_is_504() {
    let mut scene = connected(only(|timeouts| &mut timeouts.read_ms), GET);
    scene.sent_to_upstream();
    scene.wait(1000);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 504 "));
    assert_eq!((scene.lines(), scene.effects()), (vec!["504 connection_read_timeout".into()], vec![Effect::Release { keep: false }]));
}

#[test]
fn the_upstream_must_take_bytes() {
    let mut scene = connected(only(|timeouts| &mut timeouts.write_ms), GET);
    scene.wait(999).event(Event::UpstreamTook(5)).wait(999);
    assert!(scene.lines().is_empty());
    scene.wait(1);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 504 "));
    assert_eq!(scene.lines(), ["504 connection_write_timeout"]);
}

#[test]
fn the_client_must_send_its_content() {
    let mut scene = connected(only(|timeouts| &mut timeouts.client_body_ms), POST);
    scene.wait(5000);
    assert!(scene.lines().is_empty(), "not while the upstream is slow to take");
    scene.sent_to_upstream();
    scene.wait(999).client("some");
    scene.sent_to_upstream();
    scene.wait(999);
    assert!(scene.lines().is_empty());
    scene.wait(1);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 408 "));
    assert_eq!((scene.lines(), scene.stats.timeouts[4].value()), (vec!["408 http_request_timeout".into()], 1));
}

#[test]
fn nobody_waits_for_content_before_100_continue() {
    let expecting = POST.replace("\r\n\r\n", "\r\nExpect: 100-continue\r\n\r\n");
    let mut scene = connected(only(|timeouts| &mut timeouts.client_body_ms), &expecting);
    scene.sent_to_upstream();
    scene.wait(5000).upstream("HTTP/1.1 100 Continue\r\n\r\n");
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 100 "));
    scene.wait(999);
    assert!(scene.lines().is_empty());
    scene.wait(1);
    assert_eq!(scene.lines(), [] as [&str; 0], "the answer is under way");
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 408 "));
}

#[test]
fn a_client_that_takes_nothing_is_cut() {
    let mut scene = connected(only(|timeouts| &mut timeouts.client_write_ms), GET);
    scene.sent_to_upstream();
    scene.wait(5000).upstream(OK).wait(999).event(Event::ClientTook(5)).wait(999);
    assert!(scene.lines().is_empty());
    scene.wait(1);
    assert_eq!((scene.session.ending(), scene.lines()), (None, vec!["200 client_write_timeout".into()]));
    scene.wait(1999);
    assert_eq!(scene.session.ending(), None, "it may still read what came before");
    scene.wait(1);
    assert_eq!(scene.session.ending(), Some(Ending::Reset));
}

#[test]
fn one_that_does_not_take_its_error_page_gets_no_second() {
    let mut scene = only(|timeouts| &mut timeouts.client_write_ms);
    scene.client("GET / HTTP/9\r\n\r\n").wait(1000);
    assert_eq!((scene.session.ending(), scene.lines()), (None, vec!["400 client_write_timeout".into()]));
    scene.wait(2000);
    assert_eq!(scene.session.ending(), Some(Ending::Reset));
}

#[test]
fn the_whole_exchange() {
    let mut scene = connected(only(|timeouts| &mut timeouts.total_ms), GET);
    scene.sent_to_upstream();
    scene.wait(1000);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 504 "));
    assert_eq!(scene.lines(), ["504 http_response_timeout"]);
    let mut scene = connected(only(|timeouts| &mut timeouts.total_ms), GET);
    scene.sent_to_upstream();
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    scene.sent_to_client();
    scene.effects();
    scene.wait(1000);
    let effects = vec![Effect::Release { keep: false }, Effect::HalfClose];
    assert_eq!((scene.effects(), scene.lines()), (effects, vec!["200 http_response_timeout".into()]));
}

#[test]
fn an_answer_that_was_counted_is_not_turned_into_another() {
    let mut scene = connected(only(|timeouts| &mut timeouts.total_ms), GET);
    scene.sent_to_upstream();
    scene.upstream(OK).effects();
    scene.wait(1000);
    assert_eq!((scene.effects(), scene.lines()), (vec![Effect::HalfClose], vec!["200 http_response_timeout".into()]));
    assert_eq!((scene.stats.responses[1].value(), scene.stats.responses[4].value()), (1, 0));
}

#[test]
fn content_that_goes_past_the_ring_counts_like_any_other() {
    let upload = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\nExpect: 100-continue\r\n\r\n";
    let mut scene = connected(only(|timeouts| &mut timeouts.client_body_ms), upload);
    scene.sent_to_upstream();
    // The missing 100 was not waited for.
    let bytes_pass = |scene: &mut Scene| {
        scene.event(Event::Moved(Up, 30_000)).event(Event::Passed(Up, 30_000));
    };
    bytes_pass(&mut scene);
    scene.wait(999);
    bytes_pass(&mut scene);
    scene.wait(999);
    assert!(scene.lines().is_empty());
    scene.wait(1);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 408 "));
}

#[test]
fn an_attempt_is_held_to_one_wall_from_the_pick_to_the_head_of_the_answer() {
    let mut scene = only(|timeouts| &mut timeouts.attempt_ms);
    scene.client(GET).wait(600).event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    scene.wait(200).upstream("HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n").sent_to_client();
    scene.wait(199);
    assert!(scene.lines().is_empty());
    scene.wait(1);
    let answer = scene.sent_to_client();
    assert!(answer.contains("504 connection_read_timeout: origin did not answer within 1 s (timeouts.attempt_ms)"), "{answer}");
    assert_eq!((scene.lines(), scene.stats.timeouts[1].value()), (vec!["504 connection_read_timeout".into()], 1));
    let mut scene = connected(only(|timeouts| &mut timeouts.attempt_ms), GET);
    scene.sent_to_upstream();
    scene.wait(999).upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\na").sent_to_client();
    scene.wait(60_000).upstream("b").sent_to_client();
    assert_eq!(scene.lines(), ["200 -"], "content takes as long as it takes");
}

#[test]
fn a_connect_too_is_part_of_an_attempt_and_a_place_in_the_queue_is_not() {
    let mut scene = only(|timeouts| &mut timeouts.attempt_ms);
    scene.client(GET).effects();
    scene.wait(1000);
    assert_eq!((scene.effects(), scene.lines()), (vec![Effect::Release { keep: false }], vec![]));
    assert!(scene.sent_to_client().contains("504 connection_read_timeout: origin did not answer within 1 s (timeouts.attempt_ms)"));
    let mut scene = only(|timeouts| &mut timeouts.attempt_ms);
    scene.client(GET).event(Event::NoDescriptor).wait(4999);
    assert_eq!(scene.lines(), [] as [&str; 0], "it is queued");
}

#[test]
fn a_tunnel_has_outlived_its_attempt() {
    let request = "GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
    let mut scene = connected(only(|timeouts| &mut timeouts.attempt_ms), request);
    scene.sent_to_upstream();
    scene.wait(999).upstream("HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n").sent_to_client();
    scene.wait(60_000);
    assert_eq!(scene.session.phase(), Phase::Tunnelling);
}
