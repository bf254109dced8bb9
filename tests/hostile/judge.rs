//! What must hold at the end of a scene, judged by what the independent reader finds in everything that was sent and received.

use super::canon;
use super::http::{Framing, Style};
use super::peer::Peer;
use super::scene::Scene;
use super::streams::{Asked, Request, Response, Tail, requests, responses};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// Errors that are answered before anything of a request is forwarded.
const AT_HEAD: &[&str] = &[
    "destination_not_found",
    "expectation_failed",
    "http_request_method",
    "http_version",
    "http_request_transfer_coding",
    "http_request_target_size",
    "proxy_loop_detected",
];

/// How many answers were taken whole, and have arrived, in all scenes together.
pub static DELIVERED: AtomicU64 = AtomicU64::new(0);

/// Errors for which an answer is not passed on.
const AT_ANSWER: &[&str] = &["http_protocol_error", "http_response_header_size"];

/// What was sent and received on a client's connection.
struct Client<'a> {
    peer: &'a Peer,
    wanted: Vec<Request>,
    wanted_tail: Tail,
    got: Vec<Response>,
}

/// What was sent and received on an upstream's connection.
struct Upstream<'a> {
    peer: &'a Peer,
    /// Everything that the proxy wrote to it.
    taken: Vec<u8>,
    authority: String,
    asked: Vec<Request>,
    told: Vec<Response>,
    /// What it sends to a request whose head never came whole, read for either kind of method.
    early: Vec<Response>,
}

pub fn judge(scene: &Scene) {
    let clients: Vec<Client> = scene.clients.iter().map(read_client).collect();
    let upstreams: Vec<Upstream> = scene.upstreams.iter().enumerate().map(|(index, peer)| read_upstream(scene, index, peer)).collect();
    for upstream in &upstreams {
        upstream.asked.iter().for_each(canon::check);
        let last = upstream.told.iter().position(|told| told.framing == Framing::UntilClose || told.head.closes(told.minor));
        assert!(last.is_none_or(|last| upstream.asked.len() <= last + 1), "asked again after an answer that ends the connection");
        for went in &upstream.asked {
            let came = clients.iter().any(|client| client.wanted.iter().any(|came| canon::is_same(went, came, &upstream.authority)));
            assert!(came, "no client sent this: {went:#?}");
        }
    }
    for client in &clients {
        check_refused(client, &clients, &upstreams);
        for (index, got) in client.got.iter().enumerate() {
            check_answer(client, index, got, &upstreams);
        }
        check_once(client, &clients, &upstreams);
    }
    upstreams.iter().for_each(|upstream| check_delivered(scene, upstream, &clients));
}

fn read_client(peer: &Peer) -> Client<'_> {
    let (wanted, wanted_tail) = requests(&peer.sent, Style::Any);
    let mut asked: Vec<Asked> = wanted.iter().map(Request::asked).collect();
    // A request that cannot be parsed is answered too.
    asked.extend((wanted_tail != Tail::Clean).then(Asked::default));
    let (mut got, tail) = responses(&peer.heard, &asked, Style::Canonical);
    assert!(!matches!(tail, Tail::Bad(..)), "the client hears {tail:?}: {}", peer.heard.escape_ascii());
    let ends = peer.heard_fin && !peer.heard_rst;
    got.iter_mut().filter(|got| got.framing == Framing::UntilClose).for_each(|got| got.body.is_whole = ends);
    Client { peer, wanted, wanted_tail, got }
}

fn read_upstream<'a>(scene: &Scene, index: usize, peer: &'a Peer) -> Upstream<'a> {
    let server = scene.wires.borrow().conns[peer.id].server.unwrap_or_default();
    let taken = scene.taken[index].borrow().clone();
    assert!(taken.starts_with(&peer.heard));
    let (mut asked, tail) = requests(&taken, Style::Canonical);
    let told = |more: Option<bool>| {
        let known = asked.iter().map(Request::asked).chain(more.map(|is_head| Asked { is_head, upgrades: true }));
        let (mut told, _) = responses(&peer.sent, &known.collect::<Vec<_>>(), Style::Any);
        told.iter_mut().filter(|told| told.framing == Framing::UntilClose).for_each(|told| told.body.is_whole = peer.sent_fin);
        told
    };
    let mut early = Vec::new();
    if asked.is_empty() || tail != Tail::Clean {
        early.extend([true, false].into_iter().flat_map(|is_head| told(Some(is_head)).into_iter().nth(asked.len())));
    }
    let told = told(None);
    match told.iter().position(|told| told.status == 101) {
        // Whatever came after that was no request.
        Some(last) => asked.truncate(last + 1),
        None => assert!(!matches!(tail, Tail::Bad(..)), "the upstream hears {tail:?}: {}", taken.escape_ascii()),
    }
    Upstream { peer, taken, authority: format!("origin-{server}.test:80"), asked, told, early }
}

/// Nothing of a request that could not be parsed, or was refused at once, reached an upstream.
fn check_refused(client: &Client, clients: &[Client], upstreams: &[Upstream]) {
    if let Tail::Bad(at, _) | Tail::Cut(at) = client.wanted_tail {
        let sent = &client.peer.sent;
        let is_elsewhere = |nonce: &[u8]| {
            let before = contains(&sent[..at], nonce);
            before || clients.iter().any(|other| !std::ptr::eq(other, client) && contains(&other.peer.sent, nonce))
        };
        // A tunnel takes everything after the head.
        let is_tunnel =
            client.got.last().is_some_and(|got| got.status == 101) || client.wanted.iter().any(|wanted| wanted.asked().upgrades);
        for nonce in nonces(&sent[at..]).filter(|nonce| !is_tunnel && !is_elsewhere(nonce)) {
            let leak = upstreams.iter().find(|upstream| has_heard(&upstream.taken, nonce));
            assert!(leak.is_none(), "{:?} was refused, and went on all the same", nonce.escape_ascii().to_string());
        }
    }
    for (wanted, got) in client.wanted.iter().zip(&client.got) {
        let is_refused = error_of(got).is_some_and(|error| AT_HEAD.contains(&error.as_str()));
        let is_ours = got.is_made_here() && (got.status < 400 || is_refused);
        if is_ours && is_unique(wanted, clients) {
            let leak =
                upstreams.iter().find(|upstream| upstream.asked.iter().any(|went| canon::is_same(went, wanted, &upstream.authority)));
            assert!(leak.is_none(), "answered here, and forwarded all the same: {wanted:?}");
        }
    }
}

/// The `index`-th answer belongs to the `index`-th request: it was made here, or is what the upstream sent for that request.
fn check_answer(client: &Client, index: usize, got: &Response, upstreams: &[Upstream]) {
    check_form(client, index, got);
    if got.is_made_here() {
        let shown = format!("{:?}", got.head);
        assert_eq!(error_of(got).is_some(), got.status >= 400, "{shown}");
        assert!(index < client.wanted.len() || got.status >= 400, "an answer to what is no request: {shown}");
        return;
    }
    let Some(wanted) = client.wanted.get(index) else { panic!("an upstream's answer to what is no request: {:?}", got.head) };
    let mut heard_of = 0;
    for upstream in upstreams {
        let pairs = upstream.asked.iter().zip(&upstream.told);
        for (_, told) in pairs.filter(|(went, _)| canon::is_same(went, wanted, &upstream.authority)) {
            heard_of += 1;
            if is_told(got, told) && (got.status != 101 || is_tunnelled(client, index, upstream)) {
                return;
            }
        }
    }
    if upstreams.iter().any(|upstream| upstream.early.iter().any(|told| is_told(got, told))) {
        return;
    }
    panic!("answer {index} is what no upstream said to this request ({heard_of} did answer it): {got:#?}\nto {wanted:#?}");
}

/// The form of an answer: its own framing, no field for a single connection, and no answer after one that closes.
fn check_form(client: &Client, index: usize, got: &Response) {
    let head = &got.head;
    let minor = client.wanted.get(index).map_or(1, |wanted| wanted.minor);
    assert_eq!((got.minor, head.values("X-Trace-ID").count()), (1, 1), "{head:?}");
    assert!(head.first.starts_with(b"HTTP/1.1 "), "{head:?}");
    assert!(!head.has("Keep-Alive") && !head.has("Proxy-Connection") && !head.has("TE"), "{head:?}");
    let options = head.list("Connection");
    assert!(
        options.len() <= 1 + usize::from(got.status == 426)
            && options.iter().all(|option| ["close", "keep-alive", "upgrade"].contains(&option.as_str())),
        "{head:?}"
    );
    assert!(got.status == 426 || head.has("Upgrade") == (got.status == 101), "{head:?}");
    if let (101, Some(wanted)) = (got.status, client.wanted.get(index)) {
        assert_eq!(head.list("Upgrade"), wanted.head.list("Upgrade"), "switched to something else");
    }
    if minor == 0 {
        assert!(!head.has("Transfer-Encoding") && got.interims.is_empty(), "to HTTP/1.0: {head:?}");
    }
    if head.closes(minor) || !got.body.is_whole {
        assert_eq!(client.got.len(), index + 1, "an answer after one that ends the connection");
    }
    let last_asked = client.wanted.get(index).is_some_and(|wanted| wanted.head.closes(wanted.minor));
    assert!(!last_asked || head.closes(minor) || got.status == 101, "a client that closes is told otherwise: {head:?}");
}

/// Whether it is that answer, and looks complete only if it is.
fn is_told(got: &Response, told: &Response) -> bool {
    let data = match got.body.is_whole {
        true => told.body.is_whole && got.body.data == told.body.data,
        false => told.body.data.starts_with(&got.body.data),
    };
    let named = told.head.list("Connection");
    let is_clean = got.head.fields.iter().all(|field| !(field.name.starts_with("X-A") && named.contains(&field.name.to_ascii_lowercase())));
    let said = |response: &Response| {
        response
            .interims
            .iter()
            .map(|(status, head)| (*status, head.values("X-Answer").map(<[u8]>::to_vec).collect()))
            .collect::<Vec<(u16, Vec<_>)>>()
    };
    got.status == told.status && data && is_clean && got.nonces() == told.nonces() && said(told).starts_with(&said(got))
}

/// After a 101, each side got only what the other sent after it.
fn is_tunnelled(client: &Client, index: usize, upstream: &Upstream) -> bool {
    let (Some(asked), Some(told)) = (upstream.asked.last(), upstream.told.last()) else { return false };
    let (wanted, got) = (&client.wanted[index], &client.got[index]);
    let down = upstream.peer.sent[told.end..].starts_with(&client.peer.heard[got.end..]);
    down && client.peer.sent[wanted.end..].starts_with(&upstream.taken[asked.end..])
}

/// A request is repeated only where that does no harm. Each of three attempts may begin with a stale connection.
fn check_once(client: &Client, clients: &[Client], upstreams: &[Upstream]) {
    for wanted in client.wanted.iter().filter(|wanted| is_unique(wanted, clients)) {
        let went = |upstream: &Upstream| upstream.asked.iter().filter(|went| canon::is_same(went, wanted, &upstream.authority)).count();
        let times: usize = upstreams.iter().map(went).sum();
        let is_idempotent = ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"].contains(&wanted.method.as_str());
        assert!(times <= if is_idempotent { 6 } else { 1 }, "{times} times: {wanted:?}");
    }
}

/// An answer that was taken to its last byte reaches a client that reads, whatever that client still sends.
fn check_delivered(scene: &Scene, upstream: &Upstream, clients: &[Client]) {
    // On a connection that has served before, nobody can tell an answer from what was sent unasked.
    let (Some(went), Some(told)) = (upstream.asked.first(), upstream.told.first()) else { return };
    let wires = scene.wires.borrow();
    let conn = &wires.conns[upstream.peer.id];
    let is_taken = conn.read >= told.end as u64 && (told.framing != Framing::UntilClose || conn.has_read_fin);
    // The client may be too late, another answer may be wanted, or a trailer section too large.
    let is_excused =
        told.status == 503 || !told.body.trailers.is_empty() || went.asked().upgrades || scene.site.config.timeouts.total_ms > 0;
    if !told.body.is_whole || !is_taken || is_excused {
        return;
    }
    for client in clients.iter().filter(|client| !client.peer.was_slow && !client.peer.has_left) {
        let is_it = |wanted: &&Request| canon::is_same(went, wanted, &upstream.authority) && is_unique(wanted, clients);
        let Some((index, wanted)) = client.wanted.iter().enumerate().find(|(_, wanted)| is_it(wanted)) else { continue };
        let got = client.got.get(index);
        let is_there = got.is_some_and(|got| got.body.is_whole && !got.is_made_here());
        DELIVERED.fetch_add(is_there.into(), Relaxed);
        let error = got.and_then(error_of);
        // What the second reader accepts may be wrong all the same.
        let is_refused = error.as_deref().is_some_and(|error| AT_ANSWER.contains(&error));
        assert!(
            is_there || is_refused || !wanted.body.is_whole,
            "the answer was taken, and did not arrive: {told:#?}\n{got:#?}\n{wanted:#?}"
        );
    }
}

/// Whether no other request looks like it.
fn is_unique(wanted: &Request, clients: &[Client]) -> bool {
    let alike = |other: &&Request| other.method == wanted.method && other.target == wanted.target;
    nonces(wanted.target.as_bytes()).next().is_some() && clients.iter().flat_map(|client| &client.wanted).filter(alike).count() == 1
}

fn error_of(got: &Response) -> Option<String> {
    let status = got.head.values("Proxy-Status").next()?;
    String::from_utf8_lossy(status).strip_prefix("tidegate; error=").map(str::to_owned)
}

/// The numbers that mark all generated messages: a letter and four digits.
fn nonces(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    bytes.windows(5).filter(|five| b"qsfct".contains(&five[0]) && five[1..].iter().all(u8::is_ascii_digit))
}

/// Five digits may also stand in a trace id by chance: it comes from the proxy.
fn has_heard(taken: &[u8], nonce: &[u8]) -> bool {
    const LENGTH: usize = 36;
    let named = taken.windows(NAME.len()).enumerate().filter(|(_, window)| *window == NAME);
    let ids: Vec<usize> = named.map(|(at, _)| at + NAME.len()).collect();
    let is_in_an_id = |at: usize| ids.iter().any(|&id| (id..id + LENGTH).contains(&at));
    taken.windows(nonce.len()).enumerate().any(|(at, window)| window == nonce && !is_in_an_id(at))
}

/// Of the field that the proxy adds.
const NAME: &[u8] = b"X-Trace-ID: ";

fn contains(bytes: &[u8], piece: &[u8]) -> bool {
    bytes.windows(piece.len()).any(|window| window == piece)
}
