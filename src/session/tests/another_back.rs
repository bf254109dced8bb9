//! A back with a protocol of its own, beside that for HTTP/1: the exchange tells it of a request, and no byte of HTTP/1 is written.

use super::scene::Scene;
use crate::base::address::Peer;
use crate::exchange::Exchange;
use crate::front::NewExchange;
use crate::front::h1::{FoundRequest, FrontH1};
use crate::http::forwarded::RequestAdditions;
use crate::http::framing::Recode;
use crate::http::request::Request;
use crate::machine::flow::Flow;
use crate::machine::next_hop::NextHop;
use crate::machine::recipient::ClientSide;

/// It writes a head as `[method path host trace-id]`, and frames content by itself.
#[derive(Default)]
struct Frames {
    heads: usize,
}

impl NextHop for Frames {
    fn request(&mut self, up: &mut Flow, request: &Request, additions: &RequestAdditions) {
        self.heads += 1;
        up.open_head();
        let words = [request.method.as_bytes(), request.path, request.authority, additions.trace_id];
        up.block.extend([&b"["[..], &words.join(&b' '), b"]"].concat());
        up.close_head();
    }
}

fn written(flow: &Flow) -> String {
    String::from_utf8(flow.output().iter().flat_map(|slice| slice.to_vec()).collect()).unwrap()
}

/// Has a request read and opened. Returns the front and its exchange.
fn opened(scene: &mut Scene, bytes: &str, hop: &mut Frames) -> (FrontH1, Exchange) {
    let peer = Peer::of([10, 0, 0, 1].into(), Some(1000));
    let (mut front, mut exchange) = (FrontH1::new(peer, &scene.turn), Exchange::new(scene.site.clone()));
    front.ring.attach(scene.turn.buffers.lend());
    front.ring.push(bytes.as_bytes());
    let found = front.read_head(&mut scene.turn, |request, turn| {
        exchange.begin(peer, false, turn);
        exchange.open(request, false, hop, turn).unwrap();
        NewExchange { key: 0, content: Recode::Dechunk }
    });
    assert!(matches!(found, FoundRequest::Request(0)));
    exchange.up.ring = std::mem::take(&mut front.ring);
    (front, exchange)
}

#[test]
fn it_gets_the_request_and_content_without_the_framing_of_the_client() {
    let (mut scene, mut hop) = (Scene::new(), Frames::default());
    let head = "POST http://h/a?b HTTP/1.1\r\nHost: h\r\nX-Trace-ID: t\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (mut front, mut exchange) = opened(&mut scene, &format!("{head}3;x=y\r\nabc\r\n4\r\ndefg\r\n0\r\nA: b\r\n\r\n"), &mut hop);
    let head = format!("[POST /a?b h {}]", exchange.trace_id());
    assert_eq!((written(&exchange.up), hop.heads), (head.clone(), 1));
    let serving = front.serving_mut().expect("an exchange");
    let limits = crate::front::h1::request_limits(&scene.site.config.limits);
    serving.read_content(&mut exchange.up, &limits).unwrap();
    assert_eq!((written(&exchange.up), exchange.up.is_ended), (head + "abcdefg", true));
    assert_eq!((serving.received(), exchange.up.overhead), (7, exchange.up.block.len() as u64));
}

#[test]
fn what_is_answered_here_is_told_to_none() {
    let (mut scene, mut hop) = (Scene::new(), Frames::default());
    let (_, exchange) = opened(&mut scene, "GET /respond HTTP/1.1\r\nHost: h\r\n\r\n", &mut hop);
    assert_eq!((written(&exchange.up).as_str(), hop.heads), ("", 0));
}
