//! Bytes on a reused connection that are an answer, or none.

use super::scene::{GET, Scene};
use super::{Direction, Effect, Event, OK};

const POST: &str = "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nab";
const FAREWELL: &str = "HTTP/1.1 408 Request Timeout\r\nConnection: close\r\nContent-Length: 0\r\n\r\n";

/// A request on a reused connection, of which nothing was sent yet.
fn reused(request: &str) -> Scene {
    let mut scene = Scene::new();
    scene.client(request).event(Event::UpstreamConnected { reused: true }).effects();
    scene
}

#[test]
fn what_comes_before_the_request_was_sent_is_no_answer_to_it() {
    for request in [GET, POST] {
        let mut scene = reused(request);
        scene.upstream(OK);
        assert_eq!((scene.effects(), scene.sent_to_client().as_str()), (vec![Effect::Reconnect], ""));
        scene.event(Event::UpstreamConnected { reused: false });
        assert!(scene.sent_to_upstream().starts_with(&request[..8]));
        scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nmine");
        assert!(scene.sent_to_client().ends_with("\r\n\r\nmine"));
        assert_eq!(scene.lines(), ["200 -"]);
    }
}

#[test]
fn what_begins_no_answer_is_the_end_of_another() {
    for stray in ["\r\n", "<html>", "HTTP/1.1 2OO", "5\r\nhello\r\n0\r\n\r\n"] {
        let mut scene = reused(GET);
        scene.sent_to_upstream();
        scene.upstream(stray);
        assert_eq!((scene.effects(), scene.sent_to_client().as_str()), (vec![Effect::Reconnect], ""), "{stray:?}");
        scene.event(Event::UpstreamConnected { reused: false });
        assert!(scene.sent_to_upstream().starts_with("GET /a "));
        scene.upstream(OK);
        assert!(scene.sent_to_client().ends_with("\r\n\r\nok"));
    }
    let mut scene = reused(POST);
    scene.sent_to_upstream();
    scene.upstream("\r\n");
    assert_eq!(scene.lines(), [] as [&str; 0]);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 502 "), "it must not be sent twice");
}

#[test]
fn a_used_connection_that_answers_before_it_has_the_request_is_not_used_again() {
    for (reused, kept) in [(true, Effect::CloseUpstream), (false, Effect::Release { keep: true })] {
        let mut scene = Scene::new();
        scene.client(&POST.replace("ab", "a")).event(Event::UpstreamConnected { reused }).effects();
        scene.sent_to_upstream();
        scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n").client("b").sent_to_upstream();
        scene.upstream("ok");
        assert_eq!(scene.effects(), [kept], "the answer to what was asked may be still to come: {reused}");
        assert!(scene.sent_to_client().ends_with("\r\n\r\nok"));
    }
}

#[test]
fn a_farewell_that_crossed_the_request_is_no_answer_to_it() {
    let mut scene = reused(GET);
    scene.sent_to_upstream();
    scene.upstream(&FAREWELL[..20]).upstream(&FAREWELL[20..]);
    assert_eq!((scene.effects(), scene.sent_to_client().as_str()), (vec![Effect::Reconnect], ""));
    scene.event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    scene.upstream(FAREWELL);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 408 "), "on a fresh connection it is the answer");
    let with_content = POST.replace("POST", "PUT");
    for request in [POST, &with_content] {
        let mut scene = reused(request);
        scene.sent_to_upstream();
        scene.upstream(FAREWELL);
        assert!(scene.sent_to_client().starts_with("HTTP/1.1 408 "), "its content may have been too slow");
    }
    let mut scene = reused(GET);
    scene.sent_to_upstream();
    scene.upstream("HTTP/1.1 408 Request Timeout\r\nContent-Length: 0\r\n\r\n");
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 408 "), "nobody leaves");
}

#[test]
fn what_speaks_another_protocol_is_told_at_its_first_wrong_byte() {
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/").upstream("2");
    assert!(scene.sent_to_client().ends_with("502 http_protocol_error: origin sent what begins no HTTP/1 answer: \"HTTP/2\"\n"));
    let mut scene = Scene::streaming(GET);
    scene.upstream(&format!("SSH-2.0-\x1b\"{}", "x".repeat(100)));
    let shown = format!("\"SSH-2.0-\\x1b\\\"{}\"\n", "x".repeat(54));
    let answer = scene.sent_to_client();
    assert!(answer.ends_with(&shown), "{answer}");
}

#[test]
fn a_connection_rests_after_an_answer_without_content() {
    let head = GET.replace("GET", "HEAD");
    for (request, answer) in [
        (&*head, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"),
        (GET, "HTTP/1.1 204 None\r\n\r\n"),
        (GET, "HTTP/1.1 304 Same\r\nContent-Length: 5\r\n\r\n"),
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"),
    ] {
        let mut scene = Scene::streaming(request);
        scene.upstream(answer);
        assert_eq!(scene.effects(), [Effect::LetRest, Effect::Release { keep: true }], "{answer}");
    }
    for (request, answer) in [
        (&*head, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (GET, "HTTP/1.1 204 None\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (GET, "HTTP/1.1 204 None\r\nContent-Length: 5\r\n\r\n"),
        (GET, "HTTP/1.1 304 Same\r\nTransfer-Encoding: chunked\r\n\r\n"),
        (GET, "HTTP/1.1 103 Hints\r\nContent-Length: 5\r\n\r\nHTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok"),
    ] {
        let mut scene = Scene::streaming(request);
        scene.upstream(answer);
        assert_eq!(scene.effects(), [Effect::CloseUpstream], "{answer}");
    }
}

#[test]
fn interim_responses_are_bounded_by_what_the_client_takes() {
    let interim = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(900));
    let mut scene = Scene::streaming(GET);
    let mut sent = 0;
    while scene.session.wants_upstream() {
        let room = if scene.session.down().is_attached() { scene.session.down().room() } else { usize::MAX };
        scene.upstream(&interim[..interim.len().min(room)]);
        sent += 1;
        assert!(sent < 100, "nobody reads, and it takes ever more");
    }
    assert!(sent > 16, "nor does it stop at once: {sent}");
    let pending: usize = scene.session.output(Direction::Down).map_or(0, |output| output.iter().map(|slice| slice.len()).sum());
    assert!(pending < 20_000, "{pending}");
    // A client that reads gets them all, and the answer.
    let mut got = scene.sent_to_client();
    assert!(scene.session.wants_upstream());
    scene.session.view().check();
    for _ in 0..100 {
        let begun = if scene.session.down().raw() > 0 { scene.session.down().raw() } else { 0 };
        scene.upstream(&interim[begun..]);
        got += &scene.sent_to_client();
    }
    scene.upstream(OK);
    got += &scene.sent_to_client();
    assert!(got.matches("HTTP/1.1 103 ").count() >= 100 + sent - 1 && got.ends_with("\r\n\r\nok"));
    assert_eq!(scene.lines(), ["200 -"]);
}

#[test]
fn heads_that_wait_for_the_client_outlive_the_upstreams_fin() {
    let interim = format!("HTTP/1.1 103 Early Hints\r\nLink: <{}>\r\n\r\n", "x".repeat(4000));
    let mut scene = Scene::streaming(GET);
    for _ in 0..5 {
        scene.upstream(&interim);
    }
    scene.upstream("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nok").event(Event::UpstreamFin);
    let got = scene.sent_to_client();
    assert_eq!((got.matches("HTTP/1.1 103 ").count(), got.ends_with("\r\n\r\nok")), (5, true));
}
