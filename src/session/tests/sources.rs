//! Answers whose content a producer gives, piece by piece, as a file does.

use super::scene::{Phase, Scene, field};
use crate::observe::reason::Reason;
use crate::session::{Direction, Ending, Event};
use crate::source::{Produced, Producer, Production};
use std::cell::Cell;
use std::rc::{Rc, Weak};

/// Gives letters in pieces.
#[derive(Debug)]
struct Letters {
    length: Option<u64>,
    /// How many it gives in all.
    left: u64,
    /// The largest piece.
    piece: usize,
    /// After how many pieces it has nothing until it is opened; 0 = never.
    pause: usize,
    pieces: usize,
    /// Whether it is open. Gone when the producer is dropped.
    is_open: Rc<Cell<bool>>,
}

impl Producer for Letters {
    fn length(&self) -> Option<u64> {
        self.length
    }

    fn read(&mut self, into: &mut [u8]) -> Produced {
        if self.pause > 0 && self.pieces >= self.pause && !self.is_open.get() {
            return Produced::NotNow;
        }
        let n = into.len().min(self.piece).min(usize::try_from(self.left).unwrap_or(usize::MAX));
        if n == 0 {
            return Produced::End;
        }
        into[..n].fill(b'x');
        (self.left, self.pieces) = (self.left - n as u64, self.pieces + 1);
        Produced::Bytes(n)
    }
}

/// A request with this version and method, to which `length` announced and `gives` given bytes are the answer.
fn served(request: &str, length: Option<u64>, gives: u64, pause: usize) -> (Scene, Weak<Cell<bool>>) {
    let (mut scene, held) = (Scene::with(|config| config.limits.buffer_size = 4096), Rc::new(Cell::new(false)));
    let gone = Rc::downgrade(&held);
    // It comes in two parts, so that its answer is not made before the producer is there.
    scene.client(&format!("{request}\r\nHost: h\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n"));
    let key = scene.session.front.exchange().unwrap();
    let producer = Box::new(Letters { length, left: gives, piece: 1000, pause, pieces: 0, is_open: held });
    scene.session.talks[key].exchange.serve(Production { status: 200, content_type: "text/x", producer });
    scene.client("x");
    (scene, gone)
}

const PUT: &str = "PUT /echo HTTP/1.1";

/// Lets the client take everything, with the producer opened in between; returns what the client got.
fn taken(scene: &mut Scene, producer: &Weak<Cell<bool>>) -> String {
    let first = scene.sent_to_client();
    assert_eq!(scene.session.phase(), Phase::Replying);
    producer.upgrade().unwrap().set(true);
    scene.event(Event::SourceReady);
    first + &scene.sent_to_client()
}

#[test]
fn a_gigabyte_needs_no_more_than_a_ring() {
    const LENGTH: u64 = 1 << 30;
    let (mut scene, gone) = served(PUT, Some(LENGTH), LENGTH, 0);
    let (mut sent, mut sends) = (0, 0);
    while let Some(output) = scene.session.output(Direction::Down) {
        let n: usize = output.iter().map(|slice| slice.len()).sum();
        assert!(n <= 4096 + 512, "{n} bytes are held");
        assert!(scene.session.down().len() <= 4096);
        assert_eq!(scene.stats.responses[1].value(), 0, "not counted before its last piece is there");
        // Once in a while the client takes only a part.
        let took = if sends % 7 == 0 { n / 3 + 1 } else { n };
        let is_last = sent + n as u64 > LENGTH && took == n;
        if is_last {
            break;
        }
        (sent, sends) = (sent + took as u64, sends + 1);
        scene.event(Event::ClientTook(took));
        if scene.stats.responses[1].value() == 1 {
            break;
        }
    }
    assert_eq!(scene.stats.responses[1].value(), 1);
    sent += scene.sent_to_client().len() as u64;
    assert!(sent > LENGTH && sent < LENGTH + 512, "{sent}");
    assert_eq!((scene.session.phase(), gone.strong_count()), (Phase::ReadingHead, 0));
    assert_eq!(scene.lines(), ["200 -"]);
}

#[test]
fn a_known_length_is_announced_and_small_content_goes_with_the_head() {
    let (mut scene, _) = served(PUT, Some(5), 5, 0);
    let first: usize = scene.session.output(Direction::Down).unwrap().iter().map(|slice| slice.len()).sum();
    let answer = scene.sent_to_client();
    assert_eq!((first, field(&answer, "Content-Length")), (answer.len(), Some("5")));
    assert!(answer.ends_with("\r\n\r\nxxxxx"));
    assert_eq!(scene.session.phase(), Phase::ReadingHead);
}

#[test]
fn what_is_not_there_now_comes_later() {
    let (mut scene, gone) = served(PUT, Some(20_000), 20_000, 3);
    let first = scene.sent_to_client();
    assert!(first.ends_with("\r\n\r\n") || first.ends_with("xxx"));
    assert_eq!((scene.session.phase(), gone.strong_count()), (Phase::Replying, 1));
    let due = scene.session.next_deadline();
    assert!(due.is_none_or(|at| at > 1_000 + u64::from(scene.site.config.timeouts.client_write_ms)), "the client owes nothing: {due:?}");
    scene.event(Event::ClientTook(0)).event(Event::SourceReady);
    assert!(scene.sent_to_client().is_empty(), "it still has nothing");
    let rest = taken(&mut scene, &gone);
    assert_eq!(first.split_once("\r\n\r\n").unwrap().1.len() + rest.len(), 20_000);
    assert_eq!((scene.session.phase(), scene.lines(), gone.strong_count()), (Phase::ReadingHead, vec!["200 -".into()], 0));
}

#[test]
fn an_unknown_length_is_framed_or_ended_by_the_close() {
    let (mut scene, producer) = served(PUT, None, 10_000, 4);
    let answer = taken(&mut scene, &producer);
    assert_eq!((field(&answer, "Transfer-Encoding"), field(&answer, "Content-Length")), (Some("chunked"), None));
    assert!(answer.ends_with("\r\n0\r\n\r\n"));
    let content = answer.split_once("\r\n\r\n").unwrap().1;
    assert_eq!(content.split("\r\n").skip(1).step_by(2).map(str::len).sum::<usize>(), 10_000);
    assert_eq!(scene.session.phase(), Phase::ReadingHead);

    let (mut scene, producer) = served("PUT /echo HTTP/1.0", None, 10_000, 4);
    let answer = taken(&mut scene, &producer);
    assert_eq!((field(&answer, "Transfer-Encoding"), field(&answer, "Connection")), (None, None));
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 10_000);
    assert_eq!(scene.session.phase(), Phase::Draining);
}

#[test]
fn a_head_request_gets_no_content() {
    let (mut scene, gone) = served("HEAD /echo HTTP/1.1", Some(1 << 40), 1 << 40, 0);
    let answer = scene.sent_to_client();
    assert_eq!(field(&answer, "Content-Length"), Some("1099511627776"));
    assert!(answer.ends_with("\r\n\r\n"));
    assert_eq!((scene.session.phase(), gone.strong_count()), (Phase::ReadingHead, 0));
}

#[test]
fn content_that_ends_early_cuts_the_answer_so_that_the_client_sees_it() {
    let (mut scene, gone) = served(PUT, Some(20_000), 9000, 0);
    let answer = scene.sent_to_client();
    assert_eq!(field(&answer, "Content-Length"), Some("20000"));
    assert_eq!(answer.split_once("\r\n\r\n").unwrap().1.len(), 9000, "it gets what there is");
    assert_eq!((scene.session.phase(), gone.strong_count()), (Phase::Draining, 0));
    assert_eq!((scene.lines(), scene.stats.errors[Reason::InternalError].value()), (vec!["200 proxy_internal_error".into()], 1));

    // Before a byte was sent there is a better answer.
    let (mut scene, _) = served(PUT, Some(20_000), 100, 0);
    assert!(scene.sent_to_client().starts_with("HTTP/1.1 500 "));
}

#[test]
fn a_client_that_leaves_or_takes_nothing_ends_it() {
    let (mut scene, gone) = served(PUT, Some(1 << 30), 1 << 30, 0);
    scene.event(Event::ClientGone);
    assert_eq!((scene.session.ending(), gone.strong_count()), (Some(Ending::Plain), 0));

    let (mut scene, gone) = served(PUT, Some(1 << 30), 1 << 30, 0);
    scene.event(Event::ClientTook(600));
    let ms = scene.site.config.timeouts.client_write_ms;
    scene.wait(ms.into());
    assert_eq!(gone.strong_count(), 0);
    assert_eq!(scene.stats.errors[Reason::ClientWriteTimeout].value(), 1);
}
