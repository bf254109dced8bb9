//! Which clients are told the details of an error, and which only the reason; and how connections end that are of no use any more.

use super::scene::{GET, Scene, Session};
use crate::base::address::Peer;
use crate::config::model::ErrorDetail;
use crate::observe::reason::Reason;
use crate::session::{self, Ending, Event};

/// The content of a 502 for this client and request.
fn refused(setting: ErrorDetail, client: &str, request: &str) -> String {
    let mut scene = Scene::with(|config| config.error_detail = setting);
    scene.session = Session::new(client.parse::<std::net::SocketAddr>().unwrap().into(), &scene.turn);
    scene.client(request).event(Event::ConnectFailed(Reason::ConnectionRefused));
    let answer = scene.sent_to_client();
    assert!(answer.contains("\r\nProxy-Status: tidegate; error=connection_refused\r\n"), "{answer}");
    let trace_id = super::field(&answer, "X-Trace-ID").unwrap().to_owned();
    answer.split("\r\n\r\n").nth(1).unwrap().replace(&trace_id, "ID")
}

const ALL: &str = "502 connection_refused: origin refused the connection\n";
const REASON: &str = "502 connection_refused: trace_id=ID\n";

#[test]
fn where_it_happened_is_told_only_on_this_machine() {
    for (client, told) in
        [("127.0.0.1:5", ALL), ("127.9.9.9:5", ALL), ("[::1]:5", ALL), ("[::ffff:127.0.0.1]:5", ALL), ("10.0.0.1:5", REASON)]
    {
        assert_eq!(refused(ErrorDetail::Auto, client, GET), told, "{client}");
        assert_eq!(refused(ErrorDetail::Always, client, GET), ALL, "{client}");
        assert_eq!(refused(ErrorDetail::Never, client, GET), REASON, "{client}");
    }
}

#[test]
fn who_came_through_a_proxy_is_not_on_this_machine() {
    for field in ["X-Forwarded-For: 10.0.0.1", "x-forwarded-FOR:", "Forwarded: for=10.0.0.1", "Via: 1.1 front"] {
        let request = format!("GET /a HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
        assert_eq!(refused(ErrorDetail::Auto, "127.0.0.1:5", &request), REASON, "{field}");
        assert_eq!(refused(ErrorDetail::Always, "127.0.0.1:5", &request), ALL, "{field}");
    }
    for field in ["X-Forwarded-Proto: https", "X-Via: a", "Forwarded-For: b"] {
        let request = format!("GET /a HTTP/1.1\r\nHost: h\r\n{field}\r\n\r\n");
        assert_eq!(refused(ErrorDetail::Auto, "127.0.0.1:5", &request), ALL, "{field}");
    }
}

#[test]
fn json_has_no_detail_then() {
    let request = "GET /a HTTP/1.1\r\nHost: h\r\nAccept: application/json\r\n\r\n";
    let short = "{\"status\":502,\"error\":\"connection_refused\",\"trace_id\":\"ID\"}\n";
    assert_eq!(refused(ErrorDetail::Never, "127.0.0.1:5", request), short);
    assert!(refused(ErrorDetail::Auto, "127.0.0.1:5", request).contains("\"detail\":\"origin refused the connection\""));
}

/// What is wrong with a request is told to its sender, even if the head could not be parsed.
#[test]
fn what_is_wrong_with_a_request_is_told_to_everybody() {
    for (request, told) in [
        ("GET /a HTTP/1.1\r\nHost : h\r\n\r\n", true),
        ("GET /a HTTP/2.1\r\nHost: h\r\n\r\n", false),
        ("GET /a HTTP/2.1\r\nHost: h\r\nVia: 1.1 a\r\n\r\n", false),
    ] {
        let mut scene = Scene::with(|config| config.error_detail = ErrorDetail::Never);
        let answer = scene.client(request).sent_to_client();
        assert_eq!(!answer.contains(": trace_id="), told, "{answer}");
    }
    for (request, told) in [("GET /a HTTP/2.1\r\nHost: h\r\n\r\n", true), ("GET /a HTTP/2.1\r\nHost: h\r\nvia: 1.1 a\r\n\r\n", false)] {
        let mut scene = Scene::with(|config| config.error_detail = ErrorDetail::Auto);
        scene.session = Session::new(Peer::of([127, 0, 0, 1].into(), Some(5)), &scene.turn);
        let answer = scene.client(request).sent_to_client();
        assert!(answer.starts_with("HTTP/1.1 505 ") && answer.contains(": trace_id=") != told, "{answer}");
    }
}

#[test]
fn one_that_is_over_as_soon_as_it_begins_is_told_to_its_owner() {
    let mut scene = Scene::new();
    scene.client("GET /a HT");
    let Scene { session: Session { front, talks }, turn, .. } = &mut scene;
    let key = session::Session { client: 0, about: None, front, talks }.handle(Event::ClientGone, turn).expect("it began");
    assert!(talks[key].exchange.end().is_some());
    talks.end(key, &mut turn.buffers);
    assert_eq!((scene.session.ending(), scene.lines()), (Some(Ending::Plain), vec!["499 client_aborted".into()]));
}

#[test]
fn who_lingers_can_be_sent_away_and_is_not_idle() {
    let mut scene = Scene::new();
    scene.event(Event::OverLimit).event(Event::Evicted);
    assert!(scene.session.is_busy(), "it has not been told yet");
    scene.event(Event::SentAway);
    assert_eq!(scene.session.ending(), Some(Ending::Plain));
    let mut scene = Scene::new();
    scene.client("nonsense\r\n\r\n").sent_to_client();
    scene.event(Event::Evicted);
    assert_eq!(scene.session.ending(), None, "it lingers");
    scene.event(Event::SentAway);
    assert_eq!(scene.session.ending(), Some(Ending::Plain));
    let mut scene = Scene::new();
    scene.event(Event::Evicted);
    assert_eq!(scene.session.ending(), Some(Ending::Plain), "it is idle");
}
