//! One client, and an upstream that answers every complete request: the same bytes have the same result, however they are cut.

use super::cost;
use super::http::{Field, Style, body};
use super::scene::Scene;
use super::script::{Act, Op, Script, Setting, Who};
use super::streams::{self, Request, Response, Tail, requests, responses};
use tidegate::base::steps;

/// Longer inputs are cut into this many pieces.
const MAX_PIECES: usize = 400;

/// The result of the client's bytes.
struct Outcome {
    asked: Vec<Request>,
    got: Vec<Response>,
}

pub fn check(script: &Script) {
    let said = script.ops.iter().filter_map(|(op, _)| match op {
        Op::Act(Who::Client(0), Act::Say(bytes, _)) => Some(bytes.as_slice()),
        _ => None,
    });
    let mut bytes = said.collect::<Vec<_>>().concat();
    let last = requests(&bytes, Style::Any).0.into_iter().find(|request| request.head.closes(request.minor));
    // A client that sends more after a request that ends the connection may lose its answer to a reset.
    last.into_iter().for_each(|last| bytes.truncate(last.end));
    if bytes.is_empty() {
        return;
    }
    // One connection after the other, so that their order is that of the requests.
    let setting = Setting { servers: 1, places: 100, total_ms: 0, mtu: usize::MAX, max_buffer: 60_000, ..script.setting };
    let whole = play(setting, &bytes, bytes.len());
    let pieces = play(setting, &bytes, bytes.len().div_ceil(MAX_PIECES));
    let got = |outcome: &Outcome| outcome.got.iter().map(response_of).collect::<Vec<_>>();
    let (one, other) = (got(&whole), got(&pieces));
    for (one, other) in one.iter().zip(&other) {
        // Where a limit is exceeded, either that or another fault may be reported first.
        let is_limit = |status: u16| matches!(status, 413 | 414 | 431);
        let is_refusal = (400..500).contains(&one.status) && (400..500).contains(&other.status);
        assert!(one == other || (is_refusal && (is_limit(one.status) || is_limit(other.status))), "whole {one:#?}, in pieces {other:#?}");
    }
    let ends = |outcome: &Outcome| outcome.got.iter().position(|got| got.head.has("Proxy-Status") && got.head.closes(1));
    let asked = |outcome: &Outcome| outcome.asked.iter().map(request_of).collect::<Vec<_>>();
    let (mut asked_whole, mut asked_pieces) = (asked(&whole), asked(&pieces));
    if ends(&whole) == ends(&pieces) {
        assert_eq!(one.len(), other.len(), "whole {one:#?}, in pieces {other:#?}");
    } else {
        // A request that is refused before its body has come ends the connection; one that came whole does not.
        let count = asked_whole.len().min(asked_pieces.len());
        asked_whole.truncate(count);
        asked_pieces.truncate(count);
    }
    assert_eq!(asked_whole, asked_pieces, "the upstream was asked otherwise");
}

type Asked = (String, String, Vec<Field>, Vec<u8>, Vec<Field>);

fn request_of(request: &Request) -> Asked {
    let fields = request.head.fields.iter().filter(|field| !field.is("X-Trace-ID")).cloned().collect();
    (request.method.clone(), request.target.clone(), fields, request.body.data.clone(), request.body.trailers.clone())
}

#[derive(Debug, PartialEq, Eq)]
struct Got {
    status: u16,
    is_whole: bool,
    fields: Vec<Field>,
    data: Vec<u8>,
}

fn response_of(response: &Response) -> Got {
    // The form of an error page depends on how much of the head had come when it was refused; in JSON it has its trace id. It ends the
    // connection if the rest of the request had not come.
    let is_page = response.head.has("Proxy-Status");
    let differs = |name: &str| name == "X-Trace-ID" || (is_page && matches!(name, "Content-Type" | "Content-Length" | "Connection"));
    let fields = response.head.fields.iter().filter(|field| !differs(&field.name)).cloned().collect();
    let data = if is_page { Vec::new() } else { response.body.data.clone() };
    Got { status: response.status, is_whole: response.body.is_whole, fields, data }
}

fn play(setting: Setting, bytes: &[u8], step: usize) -> Outcome {
    let before = steps::taken();
    let mut scene = Scene::new(setting);
    let client = scene.client(0);
    let mut answered = Vec::new();
    for piece in bytes.chunks(step) {
        scene.clients[client].say(piece);
        serve(&mut scene, &mut answered);
    }
    scene.clients[client].perform(&Act::Fin, &mut scene.wires.borrow_mut());
    serve(&mut scene, &mut answered);
    let asked =
        scene.upstreams.iter().flat_map(|upstream| requests(&upstream.heard, Style::Canonical).0).filter(|asked| asked.body.is_whole);
    let asked: Vec<Request> = asked.collect();
    let (wanted, tail) = requests(&scene.clients[client].sent, Style::Any);
    let mut expected: Vec<_> = wanted.iter().map(Request::asked).collect();
    expected.extend((tail != Tail::Clean).then(streams::Asked::default));
    let (got, _) = responses(&scene.clients[client].heard, &expected, Style::Canonical);
    for (wanted, got) in wanted.iter().zip(&got).filter(|(wanted, _)| is_plain(wanted, bytes)) {
        assert_ne!(got.status, 400, "refused, though nothing is wrong with it: {wanted:#?}");
    }
    let minor = got.len().checked_sub(1).and_then(|last| wanted.get(last)).map_or(1, |wanted| wanted.minor);
    let closes = got.last().is_some_and(|got| got.head.closes(minor));
    assert!(closes || got.len() >= wanted.len(), "{} of {} requests were answered", got.len(), wanted.len());
    scene.end();
    cost::check(&scene, steps::taken() - before);
    Outcome { asked, got }
}

/// Whether the request is acceptable to any server, apart from its size and target.
fn is_plain(request: &Request, bytes: &[u8]) -> bool {
    let is_simple = |text: &[u8]| text.iter().all(|b| b.is_ascii_alphanumeric() || b"/.:?=".contains(b));
    let target = request.target.as_bytes();
    let host = request.head.values("Host").next().unwrap_or(b"none");
    let is_host =
        host.first().is_some_and(u8::is_ascii_alphabetic) && !host.contains(&b'/') && host.iter().filter(|&&b| b == b':').count() == 0;
    let (body, _) = body(&bytes[request.body_at..], request.framing, Style::Canonical);
    // `..` may climb above the root, and does not occur in a name.
    let climbs = |text: &[u8]| text.windows(2).any(|two| two == b"..");
    target.starts_with(b"/") && is_simple(target) && !climbs(target) && !climbs(host) && is_host && is_simple(host) && body.is_whole
}

/// Lets everything settle and upstreams answer complete requests, until nothing is left to be answered.
fn serve(scene: &mut Scene, answered: &mut Vec<(usize, usize)>) {
    loop {
        scene.rest();
        answered.resize(scene.upstreams.len(), (0, 0));
        let mut is_done = true;
        for (upstream, (heard, count)) in scene.upstreams.iter_mut().zip(answered.iter_mut()) {
            if *heard == upstream.heard.len() {
                continue;
            }
            *heard = upstream.heard.len();
            let (asked, tail) = requests(&upstream.heard, Style::Canonical);
            assert!(!matches!(tail, Tail::Bad(..)), "the upstream hears {tail:?}: {}", upstream.heard.escape_ascii());
            for asked in asked.iter().skip(*count).filter(|asked| asked.body.is_whole) {
                *count += 1;
                is_done = false;
                let content = format!("{} {} {}", asked.method, asked.target, asked.body.data.len());
                let head = format!("HTTP/1.1 200 OK\r\nX-Answer: {}\r\nContent-Length: {}\r\n\r\n", asked.target, content.len());
                upstream.say(head.as_bytes());
                if asked.method != "HEAD" {
                    upstream.say(content.as_bytes());
                }
            }
        }
        if is_done {
            return;
        }
    }
}
