//! How things end: truncated answers, clients that leave, half-closes, drains.

use super::scene::{GET, Scene, field};
use super::{Direction, Effect, Ending, Event, OK, Phase};
use crate::config::model::{NewRequests, Rate, RateAlgorithm, RateLimit};
use crate::observe::reason::Reason;

#[test]
fn a_failed_request_that_was_read_whole_keeps_its_connection() {
    let mut scene = Scene::new();
    scene.client(GET);
    scene.effects();
    scene.event(Event::ConnectFailed(Reason::ConnectionRefused));
    let answer = scene.sent_to_client();
    assert!(answer.starts_with("HTTP/1.1 502 ") && field(&answer, "Connection").is_none());
    assert_eq!(field(&answer, "Proxy-Status"), Some("tidegate; error=connection_refused"));
    assert_eq!(scene.session.phase(), Phase::ReadingHead);
    assert_eq!((scene.effects(), scene.lines()), (vec![Effect::Release { keep: false }], vec!["502 connection_refused".into()]));
}

#[test]
fn a_connection_too_many_is_told_so_before_it_says_anything() {
    let mut scene = Scene::new();
    scene.event(Event::OverLimit);
    let answer = scene.sent_to_client();
    assert!(answer.starts_with("HTTP/1.1 429 ") && field(&answer, "Connection") == Some("close"));
    assert_eq!((scene.effects(), scene.lines()), (vec![Effect::HalfClose], vec!["429 client_connection_limit".into()]));
    scene.client(GET).wait(1900);
    assert_eq!((scene.session.ending(), scene.effects()), (None, vec![]));
    scene.wait(100);
    assert_eq!(scene.session.ending(), Some(Ending::Plain));
    assert_eq!((scene.stats.errors[Reason::ClientConnectionLimit].value(), scene.stats.requests.value()), (1, 0));
}

#[test]
fn a_request_over_the_rate_reaches_nobody_and_keeps_its_connection() {
    let rate = Some(Rate { requests_per_second: 2, burst: 2 });
    let limit = |dry_run| RateLimit {
        algorithm: RateAlgorithm::TokenBucket,
        global: rate,
        per_client: rate,
        dry_run,
        owns_global: true,
        owns_per_client: true,
    };
    for request in [GET, "GET /respond HTTP/1.1\r\nHost: h\r\n\r\n", "GET /nowhere HTTP/1.1\r\nHost: h\r\n\r\n"] {
        let mut scene = Scene::with(|config| {
            config.rate_limit = Some(limit(false));
            config.routes.iter_mut().for_each(|route| route.rate_limit = Some(limit(false)));
        });
        for _ in 0..2 {
            scene.client(request);
            if scene.session.phase() == Phase::ConnectingUpstream {
                scene.event(Event::ConnectFailed(Reason::ConnectionRefused));
            }
            assert!(!scene.sent_to_client().starts_with("HTTP/1.1 429 "));
        }
        scene.effects();
        let answer = scene.client(request).sent_to_client();
        assert!(answer.starts_with("HTTP/1.1 429 ") && field(&answer, "Retry-After") == Some("1"), "{answer}");
        assert!((scene.session.phase() == Phase::ReadingHead) && scene.effects().is_empty());
        assert_eq!(scene.stats.rate_limited.each_ref().map(|counter| counter.value()), [1, 0], "the client's comes first");
        scene.wait(500).client(request);
        assert!(!scene.sent_to_client().starts_with("HTTP/1.1 429 "), "after half a second there is one more");
    }
    let mut scene = Scene::with(|config| config.rate_limit = Some(limit(true)));
    for _ in 0..5 {
        scene.client(GET).event(Event::ConnectFailed(Reason::ConnectionRefused));
        assert!(!scene.sent_to_client().starts_with("HTTP/1.1 429 "));
    }
    assert_eq!(scene.stats.rate_limited.each_ref().map(|counter| counter.value()), [3, 0]);
}

#[test]
fn one_that_was_not_is_followed_by_a_lingering_close() {
    let mut scene = Scene::new();
    scene.client("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\n").event(Event::ConnectFailed(Reason::ConnectionRefused));
    scene.effects();
    assert_eq!(field(&scene.sent_to_client(), "Connection"), Some("close"));
    assert_eq!(scene.session.phase(), Phase::Draining);
    assert_eq!(scene.effects(), [Effect::HalfClose]);
    scene.event(Event::ClientFin);
    assert_eq!(scene.session.ending(), Some(Ending::Plain));
}

#[test]
fn a_truncated_answer_is_cut_where_the_client_sees_it() {
    for (request, answer, effect, ending) in [
        (GET, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc", Effect::HalfClose, Ending::Plain),
        (GET, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", Effect::HalfClose, Ending::Plain),
        ("GET /a HTTP/1.0\r\n\r\n", "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc", Effect::AskDelivered, Ending::Reset),
    ] {
        let mut scene = Scene::streaming(request);
        scene.upstream(answer);
        assert!(scene.sent_to_client().ends_with("abc"));
        scene.event(Event::UpstreamFin);
        assert_eq!(scene.effects(), [Effect::Release { keep: false }, effect], "{answer}");
        scene.event(Event::Delivered);
        assert_eq!((scene.session.ending(), scene.lines()), (Some(ending), vec!["200 http_response_incomplete".into()]), "{answer}");
    }
}

#[test]
fn a_reset_waits_until_what_came_before_has_arrived() {
    let mut scene = Scene::streaming("GET /a HTTP/1.0\r\n\r\n");
    scene.upstream("HTTP/1.1 200 OK\r\n\r\nabc");
    scene.sent_to_client();
    scene.event(Event::UpstreamGone).effects();
    scene.event(Event::ClientFin).wait(10);
    assert_eq!((scene.session.ending(), scene.effects()), (None, vec![Effect::AskDelivered]), "a FIN is no farewell");
    let asks = (0..1989).filter(|_| scene.wait(1).effects() == [Effect::AskDelivered]).count();
    assert_eq!((scene.session.ending(), asks), (None, 7));
    scene.wait(1);
    assert_eq!(scene.session.ending(), Some(Ending::Reset), "nor is it waited for without end");
}

#[test]
fn a_reset_never_ends_a_body_until_close() {
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/1.1 200 OK\r\n\r\nabc");
    scene.sent_to_client();
    scene.event(Event::UpstreamGone);
    let effects = vec![Effect::Release { keep: false }, Effect::HalfClose];
    assert_eq!((scene.sent_to_client().as_str(), scene.effects()), ("", effects), "without a last chunk");
}

#[test]
fn a_failure_before_the_first_byte_takes_the_answer_back() {
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc").event(Event::UpstreamFin);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 502 "));
    assert_eq!(scene.lines(), ["502 http_response_incomplete"]);
}

#[test]
fn an_upstream_that_breaks_framing() {
    for answer in
        ["nonsense\r\n\r\n", "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "HTTP/1.1 101 Up\r\n\r\n"]
    {
        let mut scene = Scene::streaming(GET);
        scene.upstream(answer);
        assert!(scene.sent_to_client().starts_with("HTTP/1.1 502 "), "{answer}");
        assert_eq!((scene.effects(), scene.lines()), (vec![Effect::Release { keep: false }], vec!["502 http_protocol_error".into()]));
    }
}

#[test]
fn a_client_that_leaves_ends_the_exchange_and_is_logged() {
    let mut scene = Scene::streaming(GET);
    scene.event(Event::ClientGone);
    assert_eq!((scene.session.ending(), scene.effects()), (Some(Ending::Plain), vec![Effect::Release { keep: false }]));
    assert_eq!((scene.lines(), scene.stats.errors[Reason::ClientAborted].value()), (vec!["499 client_aborted".into()], 1));
    assert_eq!(scene.stats.responses.iter().map(|class| class.value()).sum::<u64>(), 0);
    let mut scene = Scene::new();
    scene.client("GET /").event(Event::ClientGone);
    assert_eq!(scene.lines(), ["499 client_aborted"]);
    let mut scene = Scene::new();
    scene.event(Event::ClientGone);
    assert!(scene.lines().is_empty());
}

#[test]
fn a_half_close_after_the_request_is_no_farewell() {
    let mut scene = Scene::streaming(GET);
    assert!(!scene.session.wants_client(), "so the FIN waits until the answer is out");
    scene.upstream(OK);
    scene.sent_to_client();
    scene.event(Event::ClientFin);
    assert_eq!((scene.session.ending(), scene.lines()), (Some(Ending::Plain), vec!["200 -".into()]));
}

#[test]
fn a_half_close_within_the_request_is_an_error() {
    for request in ["GET / HT", "POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc"] {
        let mut scene = Scene::new();
        scene.client(request).event(Event::ClientFin);
        assert!(scene.sent_to_client().starts_with("HTTP/1.1 400 "));
        assert_eq!(scene.lines(), ["400 http_request_error"]);
    }
}

#[test]
fn no_half_close_costs_an_answer_that_was_read_to_its_end() {
    let mut scene = Scene::streaming("POST /a HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nabc");
    // The second part is framed once the first has been sent.
    scene.upstream("HTTP/1.1 200 OK\r\n\r\n").sent_to_client();
    scene.upstream("one").upstream("two").event(Event::UpstreamFin).event(Event::ClientFin);
    assert_eq!(scene.sent_to_client(), "3\r\none\r\n3\r\ntwo\r\n0\r\n\r\n");
    assert_eq!(scene.lines(), ["200 -"]);
}

#[test]
fn an_answer_that_was_read_to_its_end_holds_no_upstream() {
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/1.1 200 OK\r\n\r\none").upstream("two").upstream("three").event(Event::UpstreamFin);
    assert_eq!(scene.effects(), [Effect::CloseUpstream]);
    // The first piece goes with the head, and what came after it is framed once that was sent.
    assert!(scene.sent_to_client().ends_with("\r\n\r\n3\r\none\r\n8\r\ntwothree\r\n0\r\n\r\n"));
    assert_eq!(scene.session.phase(), Phase::ReadingHead);
    assert_eq!(scene.lines(), ["200 -"]);
}

#[test]
fn framing_that_was_not_sent_is_not_taken_from_the_content_in_the_log() {
    for taken in 0..=3 {
        let mut scene = Scene::streaming(GET);
        scene.upstream("HTTP/1.1 200 OK\r\n\r\n");
        scene.sent_to_client();
        scene.upstream("abc");
        assert_eq!(
            scene.session.output(Direction::Down).map(|output| output.iter().map(|part| part.len()).sum()),
            Some("3\r\nabc\r\n".len())
        );
        scene.event(Event::ClientTook("3\r\n".len() + taken));
        assert_eq!(scene.exchange().record(scene.turn.now).bytes_out, taken as u64);
    }
    // The same with the first piece behind its head.
    for taken in 0..=3 {
        let mut scene = Scene::streaming(GET);
        scene.upstream("HTTP/1.1 200 OK\r\n\r\nabc");
        let all: usize = scene.session.output(Direction::Down).map_or(0, |output| output.iter().map(|part| part.len()).sum());
        scene.event(Event::ClientTook(all - "abc\r\n".len() + taken));
        assert_eq!(scene.exchange().record(scene.turn.now).bytes_out, taken as u64);
    }
}

#[test]
fn a_drain_refuses_what_is_new_and_finishes_what_is_not() {
    let mut scene = Scene::streaming(GET);
    scene.drain();
    scene.event(Event::Drain).upstream(OK);
    let answer = scene.sent_to_client();
    assert!(answer.starts_with("HTTP/1.1 200 ") && field(&answer, "Connection") == Some("close"));
    assert_eq!(scene.effects(), [Effect::Release { keep: true }, Effect::HalfClose]);
    for way in [NewRequests::Reject, NewRequests::Refuse] {
        let mut scene = Scene::with(|config| config.shutdown.new_requests = way);
        scene.drain().event(Event::Drain).client("GET /respond HTTP/1.1\r\nHost: h\r\n\r\n");
        let answer = scene.sent_to_client();
        assert!(answer.starts_with("HTTP/1.1 200 ") && field(&answer, "Connection") == Some("close"), "it was there before: {answer}");
    }
    for (way, status) in [(NewRequests::Reject, "503 draining"), (NewRequests::Refuse, "200 -")] {
        let mut scene = Scene::with(|config| config.shutdown.new_requests = way);
        scene.drain().accept().client("GET /respond HTTP/1.1\r\nHost: h\r\n\r\n");
        scene.sent_to_client();
        assert_eq!(scene.lines(), [status], "{way:?}");
    }
}

#[test]
fn a_drain_half_closes_who_is_idle() {
    let mut scene = Scene::new();
    scene.drain();
    scene.event(Event::Drain).wait(499);
    assert_eq!(scene.effects(), []);
    scene.wait(1);
    assert_eq!(scene.effects(), [Effect::HalfClose]);
    scene.event(Event::ClientFin);
    assert!(scene.session.ending().is_some() && scene.lines().is_empty());
}

#[test]
fn the_end_of_grace_cuts() {
    let mut scene = Scene::streaming(GET);
    scene.drain();
    scene.event(Event::Cut);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 503 "));
    assert_eq!(scene.lines(), ["503 draining"]);
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
    scene.sent_to_client();
    scene.event(Event::Cut);
    assert_eq!((scene.session.ending(), scene.lines()), (Some(Ending::Plain), vec!["200 draining".into()]), "its length shows the cut");
    let mut scene = Scene::new();
    scene.event(Event::Cut);
    assert_eq!((scene.session.ending(), scene.lines()), (Some(Ending::Plain), vec![]));
    let mut scene = Scene::new();
    scene.client("GET /half").event(Event::Cut);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 503 "));
    assert_eq!(scene.lines(), ["503 draining"]);
    assert_eq!((scene.stats.exchanges_cut.value(), scene.stats.exchanges_finished.value()), (1, 0));
}

#[test]
fn a_blank_line_in_two_pieces_hides_nothing() {
    let mut scene = Scene::new();
    scene.client("\r").client("\n\nGET /a HTTP/1.1\r\nHost: h\r\n\r\n");
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 400 "));
}

#[test]
fn an_answer_that_is_taken_back_counts_for_nothing_in_the_log() {
    let mut scene = Scene::streaming(GET);
    scene.upstream("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n1\r\nd\r\n").event(Event::UpstreamGone);
    let output = scene.session.output(Direction::Down).unwrap_or_else(|| panic!("no answer"));
    let answer: Vec<u8> = output.iter().flat_map(|slice| slice.to_vec()).collect();
    let answer = String::from_utf8_lossy(&answer).into_owned();
    let content = answer.split_once("\r\n\r\n").map_or("", |(_, content)| content);
    assert!(content.starts_with("502 http_response_incomplete"), "{answer}");
    scene.event(Event::ClientTook(answer.len() - 1));
    let down = &scene.exchange().down;
    assert_eq!(down.sent + 1 - down.overhead, content.len() as u64);
}
