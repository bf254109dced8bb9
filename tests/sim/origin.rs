//! One connection at an origin: it reads requests strictly, and answers as was planned for each.

use super::ledger::{Books, Entry, Fault, Flaw, Frame, Framing, GiveUp, Route, When};
use super::parse::{Head, Length, Piece, Reader};
use super::seen::{Seen, note};
use super::wire::{Heard, Id, Wires};

/// How it ends an idle connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Leave {
    Fin,
    Rst,
    /// Unasked bytes, then FIN.
    Noise,
}

/// One connection at an origin.
pub struct Origin {
    pub id: Id,
    pub server: usize,
    /// Most bytes sent, and read, at once.
    pub grain: usize,
    pub sip: usize,
    /// After how long it closes an idle connection (microseconds), and how.
    pub patience: Option<(u64, Leave)>,
    /// On a reused connection it closes after this many bytes of the next request, because it had decided so before.
    pub crosses: Option<usize>,
    /// It does this to every request.
    pub habit: Option<Fault>,
    /// It closes, not without a word, just when the next request cannot be written yet.
    pub interrupts: bool,
    is_tunnel: bool,
    served: u32,
    heard: usize,
    reader: Reader,
    /// The request being read or answered, and what this origin does to it.
    nonce: Option<u64>,
    fault: Fault,
    request_ended: bool,
    content_at: usize,
    out: Vec<u8>,
    out_at: usize,
    is_answering: bool,
    stalled: bool,
    /// It is still in the stall of the last request, and gets none of its own.
    is_late: bool,
    wake: u64,
    idle_due: u64,
    /// When it gives up on a request whose content does not come, and whether it has.
    slow_due: u64,
    has_given_up: bool,
    sent_fin: bool,
    pub is_gone: bool,
}

impl Origin {
    pub fn new(id: Id, server: usize) -> Self {
        Self {
            id,
            server,
            grain: usize::MAX,
            sip: usize::MAX,
            patience: None,
            crosses: None,
            habit: None,
            interrupts: false,
            is_tunnel: false,
            served: 0,
            heard: 0,
            reader: Reader::new(),
            nonce: None,
            fault: Fault::None,
            request_ended: false,
            content_at: 0,
            out: Vec::new(),
            out_at: 0,
            is_answering: false,
            stalled: false,
            is_late: false,
            wake: 0,
            idle_due: 0,
            slow_due: 0,
            has_given_up: false,
            sent_fin: false,
            is_gone: false,
        }
    }

    pub fn describe(&self) -> String {
        let Self { id, server, nonce, request_ended, content_at, is_answering, out_at, is_gone, .. } = self;
        format!(
            "origin {id} of server {server}: {nonce:?}, content {content_at}, ended {request_ended}, answering {is_answering} \
             {out_at}/{}, gone {is_gone}",
            self.out.len()
        )
    }

    pub fn can_act(&self, wires: &Wires, now: u64) -> bool {
        if self.is_gone {
            return false;
        }
        let is_slow = self.slow_due > 0 && now >= self.slow_due;
        self.can_hear(wires, now) || self.can_answer(wires, now) || is_slow || self.leaves(wires, now)
    }

    pub fn wake(&self, now: u64) -> Option<u64> {
        [self.wake, self.idle_due, self.slow_due].into_iter().filter(|&at| at > now && !self.is_gone).min()
    }

    fn can_hear(&self, wires: &Wires, now: u64) -> bool {
        let is_deaf = self.nonce.is_some() && matches!(self.fault, Fault::Deaf(n) if self.content_at >= n);
        // One request at a time: the next is read after this one.
        let has_heard_all = (self.is_tunnel && self.request_ended) || self.has_given_up;
        now >= self.wake && !has_heard_all && wires.peer_hears(self.id) && (!is_deaf || wires.peer_waiting(self.id) == 0)
    }

    fn can_answer(&self, wires: &Wires, now: u64) -> bool {
        self.is_answering && now >= self.wake && !self.sent_fin && self.out_at < self.out.len() && wires.peer_room(self.id) > 0
    }

    pub fn act(&mut self, wires: &mut Wires, books: &mut Books, now: u64) {
        let (hears, answers) = (self.can_hear(wires, now), self.can_answer(wires, now));
        if answers && (!hears || wires.rng.bool()) {
            self.answer(wires, books, now);
        } else if hears {
            self.hear(wires, books, now);
        } else if self.slow_due > 0 && now >= self.slow_due {
            self.give_up(wires, books, now);
        } else if self.leaves(wires, now) {
            self.leave_idle(wires);
        }
    }

    /// Whether it ends an idle connection.
    fn leaves(&self, wires: &Wires, now: u64) -> bool {
        (self.idle_due > 0 && now >= self.idle_due) || self.interrupts(wires)
    }

    fn interrupts(&self, wires: &Wires) -> bool {
        let is_idle = self.served > 0 && self.nonce.is_none() && !self.sent_fin;
        self.interrupts && is_idle && wires.conns[self.id].is_put_off
    }

    /// It waits for content, from now on.
    fn wait_for_content(&mut self, books: &Books, now: u64) {
        let waits = !self.request_ended && !self.is_answering && !self.is_tunnel && !self.is_gone;
        let gives_up = self.nonce.filter(|_| waits).and_then(|nonce| books.entries[&nonce].plan.gives_up);
        self.slow_due = gives_up.map_or(0, |(ms, _)| now + ms * 1000);
    }

    /// The client is slow. It sends no more of the content until the proxy has heard of this: otherwise nobody could tell whether the
    /// origin was given all of it.
    fn give_up(&mut self, wires: &mut Wires, books: &mut Books, now: u64) {
        self.slow_due = 0;
        let nonce = self.nonce.unwrap();
        let entry = books.entries.get_mut(&nonce).unwrap();
        let Some((_, how)) = entry.plan.gives_up.filter(|_| !entry.was_sent) else { return };
        note(Seen::OriginGaveUp);
        self.has_given_up = true;
        wires.held.push((nonce, self.id));
        if how == GiveUp::Close {
            self.is_gone = true;
            return wires.peer_close(self.id);
        }
        if how == GiveUp::Timeout {
            let plan = &mut entry.plan;
            (plan.status, plan.frame, plan.content, plan.closes) = (408, Frame::Known, super::ledger::pattern(0, 0), true);
            entry.said.push(408);
            self.out = plan.render(self.fault, nonce, entry.spec.method, &mut wires.rng);
        }
        self.is_answering = true;
        self.finish(wires, books, now);
    }

    fn leave_idle(&mut self, wires: &mut Wires) {
        self.is_gone = true;
        let how = if self.interrupts(wires) { Some((0, Leave::Noise)) } else { self.patience };
        match how {
            // A RST may destroy what the proxy has not read, so a polite origin waits for that.
            Some((_, Leave::Rst)) if wires.is_read(self.id) => wires.peer_rst(self.id),
            Some((_, Leave::Noise)) => {
                wires.peer_stray(self.id, self.served, "408 Too Slow", "Content-Length: 0\r\nConnection: close\r\n\r\n");
                wires.peer_close(self.id);
            }
            _ => _ = wires.peer_leaves(self.id),
        }
    }

    fn hear(&mut self, wires: &mut Wires, books: &mut Books, now: u64) {
        match wires.peer_recv(self.id, self.sip) {
            Heard::Nothing => {}
            Heard::Bytes(bytes) => {
                self.heard += bytes.len();
                if self.served > 0 && self.crosses.is_some_and(|n| self.heard > n) && !self.is_answering && self.out_at == 0 {
                    self.is_gone = true;
                    return wires.peer_close(self.id);
                }
                self.reader.push(&bytes);
                self.take_pieces(wires, books, now);
                self.wait_for_content(books, now);
            }
            Heard::Fin if self.is_tunnel && !self.request_ended => {
                self.request_ended = true;
                books.entries.get_mut(&self.nonce.unwrap()).unwrap().tunnelled = Some(self.content_at);
                self.end_tunnel(wires);
            }
            // The proxy abandoned the connection, or closes an idle one.
            Heard::Fin | Heard::Rst => {
                self.is_gone = true;
                wires.peer_close(self.id);
            }
        }
    }

    fn take_pieces(&mut self, wires: &mut Wires, books: &mut Books, now: u64) {
        while !self.is_gone
            && let Some(piece) = self.reader.next()
        {
            match piece {
                Piece::Head(head) => self.on_head(&head, wires, books),
                Piece::Content(bytes) => self.on_content(&bytes, books),
                Piece::End => self.on_end(books),
            }
            self.consider(wires, books, now);
        }
    }

    fn on_head(&mut self, head: &Head, wires: &mut Wires, books: &mut Books) {
        assert!(self.nonce.is_none(), "a request before the answer to the one before it: {}", self.describe());
        let mut words = head.first.split(' ');
        let (method, target, version) = (words.next().unwrap(), words.next().unwrap(), words.next().unwrap());
        assert!(version == "HTTP/1.1" && words.next().is_none(), "{:?}", head.first);
        let nonce = super::ledger::nonce_of(target).unwrap_or_else(|| panic!("{:?}", head.first));
        assert_eq!(target, format!("/n/{nonce}"), "origin-form");
        let is_other = self.server >= super::extras::OTHER_SERVERS;
        let entry = books.entries.get_mut(&nonce).unwrap();
        assert!(!entry.is_forbidden, "a request that was never to come here: {nonce}");
        assert!(!matches!(entry.spec.flaw, Some(Flaw::Head(_) | Flaw::Noise(_))), "a refused request came through: {head:?}");
        assert_eq!(entry.spec.route, if is_other { Route::Other } else { Route::Proxy }, "the wrong pool: {nonce}");
        assert_eq!(head.field("Upgrade"), entry.spec.tunnel.as_ref().map(|_| "sim"), "{head:?}");
        assert_eq!(method, entry.spec.method);
        entry.seen += 1;
        assert!(entry.seen == 1 || entry.spec.is_idempotent(), "{nonce} came twice");
        // Each attempt may replace one stale connection, which is not counted.
        let most = 2 * (1 + books.max_retries);
        assert!(entry.seen <= most, "{nonce} came {} times", entry.seen);
        if entry.seen > entry.plan.bad_times {
            entry.plan.fault = Fault::None;
        }
        // A 503 has content, whose framing must be planned.
        let is_framed = !matches!(entry.plan.frame, Frame::Bare | Frame::Tunnel);
        let habit = self.habit.map(|habit| if is_framed { habit } else { Fault::Silent });
        self.fault = habit.unwrap_or(entry.plan.fault);
        match habit {
            Some(Fault::Silent) => note(Seen::SilentAddress),
            Some(Fault::Busy) => note(Seen::BusyAddress),
            Some(_) => note(Seen::CuttingAddress),
            None => {}
        }
        let host = head.field("Host").unwrap_or_else(|| panic!("no Host: {head:?}"));
        assert!(host == entry.spec.host() || (entry.spec.minor == 0 && host.starts_with("origin-")), "{host}");
        assert_eq!(head.field("X-Forwarded-For"), Some(&*format!("10.9.8.{}", entry.spec.address)), "{head:?}");
        for name in ["X-Gone", "Keep-Alive"] {
            assert!(head.field(name).is_none(), "{head:?}");
        }
        assert!(head.field("X-Trace-ID").is_some() && head.field("Via").is_some());
        assert_eq!(head.field("Expect").is_some(), entry.spec.expects);
        let length = match (entry.spec.framing, head.framing()) {
            (Framing::Bare, None) => Length::Known(0),
            (Framing::Bare, Some(Length::Known(0))) => Length::Known(0),
            (Framing::Known, Some(Length::Known(n))) if n == entry.spec.content.len() as u64 => Length::Known(n),
            (Framing::Known, None) if entry.spec.content.is_empty() => Length::Known(0),
            (Framing::Chunked, Some(Length::Chunked)) => Length::Chunked,
            (framing, length) => panic!("framed as {length:?}, sent as {framing:?}"),
        };
        self.is_tunnel = entry.plan.frame == Frame::Tunnel;
        wires.conns[self.id].is_tunnel = self.is_tunnel;
        let length = if self.is_tunnel { Length::UntilClose } else { length };
        self.reader.begin_body(length);
        (self.nonce, self.request_ended, self.content_at) = (Some(nonce), false, 0);
        (self.is_answering, self.stalled, self.idle_due) = (false, std::mem::take(&mut self.is_late), 0);
        entry.said.push(entry.plan.status(self.fault));
        self.out = entry.plan.render(self.fault, nonce, method, &mut wires.rng);
        self.out_at = 0;
    }

    fn on_content(&mut self, bytes: &[u8], books: &mut Books) {
        let entry = &books.entries[&self.nonce.unwrap()];
        let (at, end) = (self.content_at, self.content_at + bytes.len());
        let content = entry.spec.tunnel.as_ref().filter(|_| self.is_tunnel).unwrap_or(&entry.spec.content);
        assert!(content.get(at..end) == Some(bytes), "wrong content at {at}..{end} of {}", entry.spec.nonce);
        self.content_at = end;
    }

    fn on_end(&mut self, books: &mut Books) {
        let entry = books.entries.get_mut(&self.nonce.unwrap()).unwrap();
        assert_eq!(self.content_at, entry.spec.content.len(), "the content of {} is cut, and looks whole", entry.spec.nonce);
        assert!(entry.spec.flaw.is_none(), "a request with a flaw came whole");
        entry.was_whole = true;
        self.request_ended = true;
    }

    /// After each piece: decides whether to answer or to leave.
    fn consider(&mut self, wires: &mut Wires, books: &mut Books, now: u64) {
        let Some(nonce) = self.nonce else { return };
        if let (Some((at, wait)), false) = (books.entries[&nonce].plan.pause, self.stalled)
            && self.content_at >= at
        {
            self.stalled = true;
            self.wake = now + wait * 1000;
            books.stalled += wait;
        }
        let plan = &books.entries[&nonce].plan;
        match self.fault {
            Fault::ResetWithin(n) if self.content_at >= n || self.request_ended => {
                self.is_gone = true;
                return wires.peer_forsakes(self.id, self.served + 1);
            }
            Fault::Leave if self.request_ended => {
                self.is_gone = true;
                return wires.peer_close(self.id);
            }
            Fault::Silent | Fault::Deaf(_) => return,
            _ => {}
        }
        let is_time = match plan.when {
            When::AtHead => true,
            When::AtEnd => self.request_ended || self.is_tunnel,
            When::Within(n) => self.content_at >= n || self.request_ended,
        };
        self.is_answering |= is_time && !self.sent_fin;
        self.finish(wires, books, now);
    }

    fn answer(&mut self, wires: &mut Wires, books: &mut Books, now: u64) {
        let nonce = self.nonce.unwrap();
        let entry = books.entries.get_mut(&nonce).unwrap();
        let (plan, method) = (&entry.plan, entry.spec.method);
        let mut end = self.out.len().min(self.out_at.saturating_add(self.grain));
        if let (Some((at, wait)), false) = (plan.stall, self.stalled) {
            if self.out_at >= at.min(self.out.len()) {
                self.stalled = true;
                self.wake = now + wait * 1000;
                books.stalled += wait;
                return;
            }
            end = end.min(at);
        }
        if let Fault::ResetAt(at) | Fault::FinAt(at) = self.fault {
            if self.out_at >= at {
                self.is_gone = true;
                if matches!(self.fault, Fault::ResetAt(_)) {
                    return wires.peer_rst(self.id);
                }
                // A body until close that ends early looks complete, unless the end is not said.
                if !wires.peer_leaves(self.id) {
                    note(Seen::CutAnswer);
                    return;
                }
                let head = self.out.windows(4).rposition(|w| w == b"\r\n\r\n").map_or(usize::MAX, |end| end + 4);
                if plan.frame == Frame::UntilClose && at >= self.out.len() - plan.length(method).min(self.out.len()) && head != usize::MAX {
                    entry.finished.push((plan.status(self.fault), at - (self.out.len() - plan.length(method))));
                }
                return;
            }
            end = end.min(at);
        }
        self.out_at += wires.peer_send(self.id, &self.out[self.out_at..end]);
        if self.out_at == self.out.len() {
            if !matches!(self.fault, Fault::Malformed(_)) {
                entry.finished.push((plan.status(self.fault), plan.length(method)));
                entry.interims_sent += plan.interims.len() as u32;
                let ends = plan.frame == Frame::UntilClose && method != "HEAD";
                entry.whole.push((self.id, wires.conns[self.id].sent_up + u64::from(ends)));
            }
            if self.fault == Fault::Extra {
                wires.peer_stray(self.id, self.served + 1, "200 Unasked", "Content-Length: 5\r\n\r\nextra");
            }
        }
        self.finish(wires, books, now);
    }

    /// Both directions are over.
    fn end_tunnel(&mut self, wires: &mut Wires) {
        if self.request_ended && self.sent_fin {
            self.is_gone = true;
            wires.peer_close(self.id);
        }
    }

    /// The answer was sent: closes, or waits for the next request.
    fn finish(&mut self, wires: &mut Wires, books: &Books, now: u64) {
        let Some(nonce) = self.nonce.filter(|_| self.is_answering && self.out_at == self.out.len()) else { return };
        let Entry { plan, spec, .. } = &books.entries[&nonce];
        let ends = plan.closes
            || self.is_tunnel
            || (plan.frame == Frame::UntilClose && spec.method != "HEAD")
            || matches!(self.fault, Fault::Malformed(_));
        if ends && !self.sent_fin {
            self.sent_fin = true;
            wires.peer_fin(self.id);
        }
        if self.is_tunnel {
            return self.end_tunnel(wires);
        }
        if self.has_given_up {
            self.is_gone = true;
            return wires.peer_close(self.id);
        }
        if !self.request_ended {
            return;
        }
        (self.is_answering, self.nonce, self.out_at) = (false, None, 0);
        (self.served, self.heard) = (self.served + 1, 0);
        self.is_late = self.wake > now;
        self.out.clear();
        if !ends && let Some((patience, _)) = self.patience {
            self.idle_due = (now + patience).max(1);
        }
    }
}
