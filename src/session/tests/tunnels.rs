//! How tunnels begin and end.

use super::scene::Scene;
use super::{Effect, Event, Phase};

const ASK: &str = "GET /a HTTP/1.1\r\nHost: h\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";
const YES: &str = "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n";

#[test]
fn an_end_right_behind_a_switch_that_had_to_wait_for_the_client_is_passed_on() {
    let mut scene = Scene::with(|config| config.limits.buffer_size = 4096);
    scene.client(ASK).event(Event::UpstreamConnected { reused: false });
    scene.sent_to_upstream();
    let hint = format!("HTTP/1.1 103 Early Hints\r\nLink: {}\r\n\r\n", "x".repeat(2100));
    scene.upstream(&hint).upstream(&hint).upstream(&format!("{YES}bye")).event(Event::UpstreamFin);
    assert_eq!(scene.session.phase(), Phase::StreamingBody, "the client has not taken the heads before it");
    scene.effects();
    assert!(scene.sent_to_client().ends_with("\r\n\r\nbye"));
    assert_eq!((scene.session.phase(), scene.effects()), (Phase::Tunnelling, vec![Effect::Tunnel, Effect::HalfClose]));
    scene.client("bye").sent_to_upstream();
    scene.event(Event::ClientFin);
    assert_eq!((scene.effects(), scene.lines()), (vec![Effect::CloseUpstream], vec!["101 -".into()]));
}

#[test]
fn a_client_that_had_closed_its_side_before_has_that_passed_on() {
    let mut scene = Scene::streaming(ASK);
    scene.event(Event::ClientHalfClosed).upstream(YES).sent_to_client();
    assert!(scene.session.wants_client(), "its end is read now");
    scene.effects();
    scene.event(Event::ClientFin);
    assert_eq!((scene.session.phase(), scene.effects()), (Phase::Tunnelling, vec![Effect::HalfCloseUpstream]));
    scene.event(Event::UpstreamFin);
    assert_eq!(scene.lines(), ["101 -"]);
}
