//! A client: it sends its requests, in pieces, perhaps without waiting for earlier answers; it reads answers, perhaps slowly or not
//! at all; and it leaves when it is done, or in the middle of something.

use super::ledger::{Books, Entry};
use super::parse::{Head, Length, Piece, Reader};
use super::seen::{Seen, note};
use super::wire::{Heard, Id, Wires};
use std::collections::BTreeSet;

/// How it ends its connection early.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Quit {
    Never,
    /// RST after so many bytes were sent, or read.
    ResetAfterSending(usize),
    ResetAfterReading(usize),
    /// Both directions closed after so many bytes sent.
    CloseAfterSending(usize),
    /// Sends no more after so many bytes, and waits.
    MuteAfter(usize),
    /// Announces content, may be told to continue, and sends none.
    MuteAtContent,
    /// Reads no more after so many bytes, and waits.
    DeafAfter(usize),
    /// FIN in the middle.
    FinAfter(usize),
}

/// A client of the proxy.
pub struct Client {
    pub id: Id,
    pub nonces: Vec<u64>,
    /// Last byte of its address.
    pub address: u8,
    pub quit: Quit,
    /// FIN right after the last request.
    pub half_closes: bool,
    /// Requests under way at once.
    pub depth: usize,
    /// Whatever it can send it sends at once.
    pub is_hasty: bool,
    /// The most bytes that are sent, or read, at once.
    pub grain: usize,
    pub sip: usize,
    /// The bytes at which it waits, and for how many milliseconds, in each direction.
    pub send_stalls: Vec<(usize, u64)>,
    pub read_stall: Option<(usize, u64)>,
    has_stalled_reading: bool,
    /// How long it waits between two requests (milliseconds).
    pub doze: u64,
    has_dozed: bool,
    /// Ends of those waits (microseconds).
    pub send_wake: u64,
    pub read_wake: u64,
    /// The request that is being sent.
    out: Vec<u8>,
    out_at: usize,
    head_len: usize,
    continues: bool,
    continue_due: u64,
    begun: usize,
    answered: usize,
    sent: usize,
    read: usize,
    reader: Reader,
    /// The status of the answer that is being read.
    status: u16,
    made_here: bool,
    is_noise: bool,
    /// The number of the unasked answer that is being read, if it is one.
    noise: Option<usize>,
    content: Vec<u8>,
    must_close: bool,
    is_tunnel: bool,
    heard_rst: bool,
    sent_fin: bool,
    heard_end: bool,
    pub is_gone: bool,
}

/// A client that has waited this long for 100 (Continue) sends its body without it.
const CONTINUE_MS: u64 = 300;

impl Client {
    pub fn new(id: Id, nonces: Vec<u64>) -> Self {
        Self {
            id,
            nonces,
            address: 7,
            quit: Quit::Never,
            half_closes: false,
            depth: 1,
            is_hasty: false,
            grain: usize::MAX,
            sip: usize::MAX,
            send_stalls: Vec::new(),
            read_stall: None,
            has_stalled_reading: false,
            doze: 0,
            has_dozed: false,
            send_wake: 0,
            read_wake: 0,
            out: Vec::new(),
            out_at: 0,
            head_len: 0,
            continues: true,
            continue_due: 0,
            begun: 0,
            answered: 0,
            sent: 0,
            read: 0,
            reader: Reader::new(),
            status: 0,
            made_here: false,
            is_noise: false,
            noise: None,
            content: Vec::new(),
            must_close: false,
            is_tunnel: false,
            heard_rst: false,
            sent_fin: false,
            heard_end: false,
            is_gone: false,
        }
    }

    /// Requests that were begun and have no complete answer.
    pub fn describe(&self) -> String {
        format!(
            "client {}: {}/{} begun, {} answered, sent {}, read {}, {:?}, gone {}",
            self.id,
            self.begun,
            self.nonces.len(),
            self.answered,
            self.sent,
            self.read,
            self.quit,
            self.is_gone
        )
    }

    /// Whether it reads whatever comes until the end, and as soon as it comes.
    pub fn reads_on(&self) -> bool {
        let stays = matches!(self.quit, Quit::Never | Quit::MuteAfter(_) | Quit::MuteAtContent | Quit::FinAfter(_));
        stays && !self.has_stalled_reading
    }

    /// How many of its requests must have an answer: those after one that ended the connection need none.
    pub fn due(&self) -> usize {
        if self.must_close { self.answered } else { self.nonces.len() }
    }

    pub fn can_act(&self, wires: &Wires, now: u64) -> bool {
        !self.is_gone && (self.can_send(wires, now) || self.can_read(wires, now) || self.is_done() || self.wants_fin())
    }

    /// When it continues by itself.
    pub fn wake(&self, now: u64) -> Option<u64> {
        let continue_due = if self.continues { 0 } else { self.continue_due };
        [self.send_wake, self.read_wake, continue_due].into_iter().filter(|&at| at > now && at < u64::MAX && !self.is_gone).min()
    }

    fn is_done(&self) -> bool {
        if self.is_tunnel && self.quit == Quit::Never {
            // Its own side may still be open when the other is closed.
            return self.heard_rst || (self.heard_end && self.sent_fin);
        }
        let all = self.answered == self.nonces.len() || (self.must_close && !self.reader.in_body());
        self.heard_end || (self.quit == Quit::Never && all)
    }

    fn wants_fin(&self) -> bool {
        let in_the_middle = matches!(self.quit, Quit::FinAfter(n) if self.sent >= n);
        let at_the_end = (self.half_closes || self.is_tunnel) && self.begun == self.nonces.len() && self.out_at == self.out.len();
        !self.sent_fin && (in_the_middle || at_the_end)
    }

    fn can_send(&self, wires: &Wires, now: u64) -> bool {
        let may_say_more = self.is_tunnel || (!self.must_close && !self.heard_end);
        if self.sent_fin || !may_say_more || self.heard_rst || now < self.send_wake || wires.peer_room(self.id) == 0 {
            return false;
        }
        let at_content = self.out_at == self.head_len && self.out_at < self.out.len();
        if at_content && self.quit == Quit::MuteAtContent {
            return false;
        }
        if matches!(self.quit, Quit::MuteAfter(n) | Quit::FinAfter(n) if self.sent >= n) {
            return false;
        }
        if self.out_at < self.out.len() && self.out_at > 0 && !self.is_tunnel && wires.is_held(self.nonces[self.begun - 1]) {
            return false;
        }
        if self.out_at == self.out.len() {
            return !self.is_tunnel && self.begun < self.nonces.len() && self.begun - self.answered < self.depth;
        }
        self.out_at < self.head_len || self.continues || now >= self.continue_due
    }

    fn can_read(&self, wires: &Wires, now: u64) -> bool {
        let is_deaf = matches!(self.quit, Quit::DeafAfter(n) if self.read >= n);
        !is_deaf && !self.heard_end && now >= self.read_wake && wires.peer_hears(self.id)
    }

    pub fn act(&mut self, wires: &mut Wires, books: &mut Books, now: u64) {
        if self.is_done() {
            self.is_gone = true;
            wires.peer_leaves(self.id);
            return;
        }
        if self.wants_fin() {
            self.sent_fin = true;
            return wires.peer_fin(self.id);
        }
        let (sends, reads) = (self.can_send(wires, now), self.can_read(wires, now));
        if sends && (!reads || wires.rng.bool()) {
            self.send(wires, books, now);
            while self.is_hasty && self.can_send(wires, now) {
                self.send(wires, books, now);
            }
        } else if reads {
            self.hear(wires, books, now);
        }
        let leaves = match self.quit {
            Quit::ResetAfterSending(n) | Quit::CloseAfterSending(n) => self.sent >= n,
            Quit::ResetAfterReading(n) => self.read >= n,
            _ => false,
        };
        if leaves && !self.is_gone {
            self.is_gone = true;
            if matches!(self.quit, Quit::CloseAfterSending(_)) {
                let _ = wires.peer_leaves(self.id);
            } else {
                wires.peer_rst(self.id)
            }
        }
    }

    fn send(&mut self, wires: &mut Wires, books: &mut Books, now: u64) {
        if self.out_at == self.out.len() {
            if self.doze > 0 && self.begun > 0 && !std::mem::replace(&mut self.has_dozed, true) {
                self.send_wake = now + self.doze * 1000;
                books.stalled += self.doze;
                return;
            }
            self.has_dozed = false;
            let entry = books.entries.get_mut(&self.nonces[self.begun]).unwrap();
            (self.out, self.head_len) = entry.spec.render(&mut wires.rng);
            (self.out_at, self.continues, self.continue_due) = (0, !entry.spec.expects, u64::MAX);
            entry.was_begun = true;
            self.begun += 1;
        }
        let mut end = self.out.len().min(self.out_at.saturating_add(self.grain));
        if self.out_at < self.head_len && (!self.continues || self.quit == Quit::MuteAtContent) {
            end = end.min(self.head_len);
        }
        if let Some(&(at, wait)) = self.send_stalls.first() {
            // The whole head has one deadline, so there is only one stall in it.
            let may_stall = self.send_stalls.len() > 1 || self.out_at >= self.head_len;
            if self.sent >= at {
                self.send_stalls.remove(0);
                if !may_stall {
                    return;
                }
                self.send_wake = now + wait * 1000;
                books.stalled += wait;
                return;
            }
            end = end.min(self.out_at + (at - self.sent));
        }
        if let Quit::ResetAfterSending(n) | Quit::CloseAfterSending(n) | Quit::MuteAfter(n) | Quit::FinAfter(n) = self.quit {
            end = end.min(self.out_at + n.saturating_sub(self.sent).max(1));
        }
        let n = wires.peer_send(self.id, &self.out[self.out_at..end]);
        self.out_at += n;
        self.sent += n;
        if self.out_at == self.head_len && !self.continues {
            self.continue_due = now + CONTINUE_MS * 1000;
            books.stalled += CONTINUE_MS;
        }
        if self.out_at == self.out.len() {
            books.entries.get_mut(&self.nonces[self.begun - 1]).unwrap().was_sent = true;
        }
    }

    fn hear(&mut self, wires: &mut Wires, books: &mut Books, now: u64) {
        let mut most = self.sip;
        if let Some((at, wait)) = self.read_stall {
            if self.read >= at {
                (self.read_stall, self.has_stalled_reading) = (None, true);
                self.read_wake = now + wait * 1000;
                books.stalled += wait;
                return;
            }
            most = most.min(at - self.read);
        }
        match wires.peer_recv(self.id, most) {
            Heard::Nothing => {}
            Heard::Bytes(bytes) => {
                self.read += bytes.len();
                self.reader.push(&bytes);
                self.take_pieces(books, &wires.unsure);
                let noise = self.noise.take();
                assert!(
                    noise.is_none_or(|number| wires.strays[number].is_fair),
                    "what was there before a request was written is its answer"
                );
            }
            Heard::Fin => {
                if self.reader.ends_with_close() {
                    self.on_answer(books);
                }
                self.heard_end = true;
            }
            Heard::Rst => (self.heard_end, self.heard_rst) = (true, true),
        }
    }

    fn current<'a>(&self, books: &'a mut Books) -> &'a mut Entry {
        assert!(self.answered < self.begun, "an answer without a request: {}", self.describe());
        books.entries.get_mut(&self.nonces[self.answered]).unwrap()
    }

    fn take_pieces(&mut self, books: &mut Books, unsure: &BTreeSet<u64>) {
        while let Some(piece) = self.reader.next() {
            assert!(!self.must_close || self.status != 0, "bytes after an answer that ends the connection: {piece:?}");
            match piece {
                Piece::Head(head) => self.on_head(&head, books, unsure),
                Piece::Content(bytes) => self.on_content(&bytes, books),
                Piece::End => self.on_answer(books),
            }
        }
    }

    fn on_head(&mut self, head: &Head, books: &mut Books, unsure: &BTreeSet<u64>) {
        let status = head.status();
        if status == 429 && head.field("Proxy-Status") == Some("tidegate; error=client_connection_limit") {
            note(Seen::ClientOverItsLimit);
            // It was refused when it connected, perhaps before it had sent anything.
            self.begun = self.begun.max(self.answered + 1);
        }
        if status >= 200 {
            // What an origin sends unasked may cross the next request, and then cannot be told from an answer.
            self.noise = head.field("X-Noise").map(|number| number.parse().unwrap());
            self.is_noise = self.noise.is_some();
        }
        let entry = self.current(books);
        assert!(status == 100 || head.field("X-Trace-ID").is_some(), "{head:?}");
        if status < 200 && status != 101 {
            assert!(entry.spec.minor == 1, "an interim response to HTTP/1.0");
            entry.interims_got += 1;
            if status == 100 {
                self.continues = true;
            }
            return self.reader.skip_body();
        }
        self.continues = true;
        self.status = status;
        self.made_here = head.field("X-Nonce").is_none() && !self.is_noise;
        if let Some(nonce) = head.field("X-Nonce") {
            // If another answer was taken for its own, its own goes to the next request: nothing in HTTP/1.1 prevents that.
            let is_its = nonce == entry.spec.nonce.to_string();
            self.is_noise |= !is_its;
            let is_unsure = unsure.contains(&entry.spec.nonce);
            assert!(is_its || is_unsure, "another request's answer: {nonce}, not {}: {}", entry.spec.nonce, self.describe());
            // Compared with what was said, not with the present plan: an abandoned attempt may reach its origin after a later one.
            assert!(!is_its || entry.said.contains(&status), "answered {status}, the origins said {:?}: {}", entry.said, entry.spec.nonce);
        }
        assert!(status == 101 || head.field("Date").is_some());
        let is_bodiless = entry.spec.method == "HEAD" || matches!(status, 204 | 304);
        let length = match head.framing() {
            _ if status == 101 => {
                assert!(entry.spec.tunnel.is_some() && head.field("Upgrade") == Some("sim"), "{head:?}");
                let up = entry.spec.tunnel.clone().unwrap();
                (self.out, self.out_at, self.head_len, self.is_tunnel) = (up.to_vec(), 0, 0, true);
                Length::UntilClose
            }
            _ if is_bodiless => Length::Known(0),
            Some(length) => length,
            None => {
                assert!(entry.spec.minor == 0, "an answer to HTTP/1.1 without framing: {head:?}");
                Length::UntilClose
            }
        };
        assert!(length != Length::Chunked || entry.spec.minor == 1, "chunks to HTTP/1.0");
        let keeps = head.field("Connection").is_some_and(|value| value.eq_ignore_ascii_case("keep-alive"));
        self.must_close = self.is_tunnel || head.closes() || (entry.spec.minor == 0 && !keeps);
        assert!(!keeps || !head.closes());
        self.reader.begin_body(length);
        self.content.clear();
    }

    fn on_content(&mut self, bytes: &[u8], books: &mut Books) {
        let entry = self.current(books);
        if !self.made_here && !self.is_noise {
            entry.check_content(self.content.len(), bytes);
        }
        self.content.extend_from_slice(bytes);
    }

    /// A complete answer has come.
    fn on_answer(&mut self, books: &mut Books) {
        self.current(books).take_answer(self.status, self.made_here, self.is_noise, &self.content);
        self.status = 0;
        self.answered += 1;
    }
}
