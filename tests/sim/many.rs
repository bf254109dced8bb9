//! A client whose requests share one connection, in the protocol of `frames`: it begins several at once, sends their content in pieces
//! that interleave as chance has it, gives some of them up, reads perhaps slowly, and leaves when it is done or before that.

use super::client::Quit;
use super::extras::Extras;
use super::frames::{HEADER, Header, Kind, MOST, push};
use super::ledger::{Books, Entry, Fault, Flaw};
use super::seen::{Seen, note};
use super::weather::{AMPLE_DOORS, Weather};
use super::wire::{Heard, Id, Wires};
use std::collections::{BTreeSet, VecDeque};

/// The longest head: a frame must fit the smallest ring.
const LONGEST_HEAD: usize = 3500;
/// So many at once are worth counting.
const SEVERAL: usize = 4;

/// One request of it.
struct Stream {
    nonce: u64,
    number: u16,
    /// What is left of its content, and how much of that may be sent.
    upload: VecDeque<u8>,
    window: usize,
    has_ended: bool,
    /// After how many bytes of the answer it is given up.
    gives_up_at: Option<usize>,
    /// It says that its content is complete when it is not.
    lies: bool,
    status: Option<u16>,
    made_here: bool,
    is_noise: bool,
    got: Vec<u8>,
}

/// What can be said next of a stream.
enum Saying {
    GiveUp,
    Data,
    End,
}

impl Stream {
    fn next(&self, wires: &Wires) -> Option<Saying> {
        match () {
            () if self.gives_up_at.is_some_and(|at| at <= self.got.len()) => Some(Saying::GiveUp),
            () if self.has_ended || wires.is_held(self.nonce) => None,
            () if self.upload.is_empty() || (self.lies && self.got.len() > 10) => Some(Saying::End),
            () => (self.window > 0).then_some(Saying::Data),
        }
    }
}

/// The client.
pub struct ManyClient {
    pub id: Id,
    pub nonces: Vec<u64>,
    /// Last byte of its address.
    pub address: u8,
    pub quit: Quit,
    half_closes: bool,
    at_once: usize,
    /// The most bytes that are sent, or read, at once.
    grain: usize,
    sip: usize,
    read_stall: Option<(usize, u64)>,
    has_stalled_reading: bool,
    read_wake: u64,
    rng: fastrand::Rng,
    streams: Vec<Stream>,
    begun: usize,
    /// Those that it has given up.
    pub given_up: BTreeSet<u64>,
    out: Vec<u8>,
    out_at: usize,
    heard: Vec<u8>,
    sent: usize,
    read: usize,
    /// It was answered in another protocol, because it has too many connections.
    is_refused: bool,
    sent_fin: bool,
    heard_end: bool,
    pub is_gone: bool,
}

/// In some worlds, one or two of them.
pub fn draw(weather: &Weather, extras: &Extras, seed: u64, books: &mut Books) -> Vec<ManyClient> {
    let mut rng = fastrand::Rng::with_seed(seed ^ 0x3_a4e1);
    let is_huge = weather.max_content > 1_000_000;
    let count = if is_huge || rng.u8(0..4) != 0 { 0 } else { rng.usize(1..=2) };
    (0..count).map(|_| ManyClient::draw(weather, extras, &mut rng, books)).collect()
}

impl ManyClient {
    fn draw(weather: &Weather, extras: &Extras, rng: &mut fastrand::Rng, books: &mut Books) -> Self {
        let is_kind = weather.is_calm || weather.is_mild;
        let is_polite = is_kind || rng.u8(0..3) != 0;
        let address = if extras.per_client > 0 { rng.u8(7..9) } else { 7 };
        let longest = if weather.are_clients_slow { 1600 } else { 900 };
        let read_stall = weather.stall(weather.max_content, longest, rng);
        // A stall may be longer than a timeout; near the limit of connections, one without a request may be closed.
        let may_be_sure = is_polite && (weather.is_calm || read_stall.is_none()) && weather.doors == AMPLE_DOORS;
        let first = books.entries.keys().last().map_or(1, |last| last + 1);
        let nonces: Vec<u64> = (first..first + rng.u64(3..15)).collect();
        let mut total = 0;
        for &nonce in &nonces {
            total += enter(weather, extras, nonce, (address, may_be_sure), rng, books);
        }
        let quit = if is_polite { Quit::Never } else { quit(total, weather.max_content, rng) };
        Self {
            id: 0,
            nonces,
            address,
            quit,
            half_closes: rng.u8(0..5) == 0,
            at_once: rng.usize(2..13),
            grain: [1, 50, 2000, usize::MAX][rng.usize(0..4)].max(total / 300),
            sip: [1, 50, 2000, usize::MAX][rng.usize(0..4)].max(weather.max_content / 300),
            read_stall,
            has_stalled_reading: false,
            read_wake: 0,
            rng: rng.fork(),
            streams: Vec::new(),
            begun: 0,
            given_up: BTreeSet::new(),
            out: Vec::new(),
            out_at: 0,
            heard: Vec::new(),
            sent: 0,
            read: 0,
            is_refused: false,
            sent_fin: false,
            heard_end: false,
            is_gone: false,
        }
    }

    pub fn describe(&self) -> String {
        let Self { id, begun, sent, read, quit, is_gone, .. } = self;
        let open: Vec<_> = self.streams.iter().map(|stream| (stream.nonce, stream.upload.len(), stream.window, stream.got.len())).collect();
        format!(
            "client {id} of many: {begun}/{} begun, open {open:?}, sent {sent}, read {read}, {quit:?}, gone {is_gone}",
            self.nonces.len()
        )
    }

    /// Whether it reads whatever comes until the end, and as soon as it comes.
    pub fn reads_on(&self) -> bool {
        matches!(self.quit, Quit::Never | Quit::MuteAfter(_) | Quit::FinAfter(_)) && !self.has_stalled_reading && !self.is_refused
    }

    pub fn can_act(&self, wires: &Wires, now: u64) -> bool {
        !self.is_gone && (self.can_send(wires) || self.can_read(wires, now) || self.is_done() || self.wants_fin())
    }

    pub fn wake(&self, now: u64) -> Option<u64> {
        Some(self.read_wake).filter(|&at| at > now && !self.is_gone)
    }

    fn is_done(&self) -> bool {
        let all = self.begun == self.nonces.len() && self.streams.is_empty() && self.out_at == self.out.len();
        self.heard_end || (self.quit == Quit::Never && all)
    }

    fn wants_fin(&self) -> bool {
        let in_the_middle = matches!(self.quit, Quit::FinAfter(n) if self.sent >= n);
        let is_said = self.out_at == self.out.len() && self.streams.iter().all(|stream| stream.has_ended);
        !self.sent_fin && (in_the_middle || (self.half_closes && self.begun == self.nonces.len() && is_said))
    }

    fn can_send(&self, wires: &Wires) -> bool {
        let is_mute = matches!(self.quit, Quit::MuteAfter(n) | Quit::FinAfter(n) if self.sent >= n);
        if self.sent_fin || self.heard_end || is_mute || wires.peer_room(self.id) == 0 {
            return false;
        }
        let may_begin = self.begun < self.nonces.len() && self.streams.len() < self.at_once;
        self.out_at < self.out.len() || may_begin || self.streams.iter().any(|stream| stream.next(wires).is_some())
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
        let (sends, reads) = (self.can_send(wires), self.can_read(wires, now));
        if sends && (!reads || wires.rng.bool()) {
            self.send(wires, books);
        } else if reads {
            self.hear(wires, books, now);
        }
        self.leave_early(wires);
    }

    fn leave_early(&mut self, wires: &mut Wires) {
        self.is_gone = match self.quit {
            Quit::ResetAfterSending(n) | Quit::CloseAfterSending(n) => self.sent >= n,
            Quit::ResetAfterReading(n) => self.read >= n,
            _ => false,
        };
        match self.quit {
            Quit::CloseAfterSending(_) if self.is_gone => _ = wires.peer_leaves(self.id),
            _ if self.is_gone => wires.peer_rst(self.id),
            _ => {}
        }
    }

    fn send(&mut self, wires: &mut Wires, books: &mut Books) {
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
            self.compose(wires, books);
        }
        let mut end = self.out.len().min(self.out_at.saturating_add(self.grain));
        if let Quit::ResetAfterSending(n) | Quit::CloseAfterSending(n) | Quit::MuteAfter(n) | Quit::FinAfter(n) = self.quit {
            end = end.min(self.out_at + n.saturating_sub(self.sent).max(1));
        }
        let n = wires.peer_send(self.id, &self.out[self.out_at..end]);
        self.out_at += n;
        self.sent += n;
    }

    /// Puts the next frame into words: of a new request, or of one of those that have begun.
    fn compose(&mut self, wires: &mut Wires, books: &mut Books) {
        let ready: Vec<usize> = (0..self.streams.len()).filter(|&at| self.streams[at].next(wires).is_some()).collect();
        let may_begin = self.begun < self.nonces.len() && self.streams.len() < self.at_once;
        if may_begin && (ready.is_empty() || self.rng.bool()) {
            return self.begin(wires, books);
        }
        let Some(&at) = ready.get(self.rng.usize(0..ready.len().max(1))) else { return };
        let most = self.rng.usize(1..=MOST);
        let stream = &mut self.streams[at];
        let (number, nonce) = (stream.number, stream.nonce);
        match stream.next(wires) {
            Some(Saying::GiveUp) => {
                note(Seen::StreamGivenUp);
                self.streams.remove(at);
                self.given_up.insert(nonce);
                push(&mut self.out, Kind::Reset, number, b"");
            }
            Some(Saying::Data) => {
                let n = most.min(stream.window).min(stream.upload.len());
                stream.window -= n;
                let piece: Vec<u8> = stream.upload.drain(..n).collect();
                push(&mut self.out, Kind::Data, number, &piece);
            }
            Some(Saying::End) => {
                stream.has_ended = true;
                if stream.upload.is_empty() {
                    books.entries.get_mut(&nonce).unwrap().was_sent = true;
                } else {
                    self.given_up.insert(nonce);
                }
                push(&mut self.out, Kind::End, number, b"");
            }
            None => {}
        }
    }

    fn begin(&mut self, wires: &mut Wires, books: &mut Books) {
        let nonce = self.nonces[self.begun];
        let entry = books.entries.get_mut(&nonce).unwrap();
        let (bytes, head) = loop {
            let (bytes, head) = entry.spec.render(&mut wires.rng);
            if head <= LONGEST_HEAD {
                break (bytes, head);
            }
        };
        entry.was_begun = true;
        self.begun += 1;
        let is_rude = !entry.is_sure && self.rng.u8(0..8) == 0;
        let (gives_up, content) = (is_rude && self.rng.bool(), entry.plan.content.len());
        let upload: VecDeque<u8> = bytes[head..].to_vec().into();
        push(&mut self.out, Kind::Head, self.begun as u16, &bytes[..head]);
        self.streams.push(Stream {
            nonce,
            number: self.begun as u16,
            window: 0,
            has_ended: upload.is_empty(),
            gives_up_at: gives_up.then(|| self.rng.usize(0..=content)),
            lies: is_rude && !gives_up && !upload.is_empty(),
            upload,
            status: None,
            made_here: false,
            is_noise: false,
            got: Vec::new(),
        });
        entry.was_sent = bytes.len() == head;
        if self.streams.len() >= SEVERAL {
            note(Seen::SeveralAtOnce);
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
                self.heard.extend(bytes);
                self.take_frames(wires, books);
            }
            Heard::Fin | Heard::Rst => self.heard_end = true,
        }
    }

    fn take_frames(&mut self, wires: &Wires, books: &mut Books) {
        let mut at = 0;
        while let Some(bytes) = self.heard[at..].first_chunk::<HEADER>().filter(|_| !self.is_refused) {
            let Some(header) = Header::read(*bytes) else {
                assert!(self.read < 1000 && self.heard.starts_with(b"HTTP/"), "no frame: {bytes:?}");
                note(Seen::ClientOverItsLimit);
                self.is_refused = true;
                break;
            };
            let end = at + HEADER + header.length;
            let Some(content) = self.heard.get(at + HEADER..end).map(<[u8]>::to_vec) else { break };
            self.take(header, &content, wires, books);
            at = end;
        }
        self.heard.drain(..at);
    }

    fn take(&mut self, header: Header, content: &[u8], wires: &Wires, books: &mut Books) {
        let Some(at) = self.streams.iter().position(|stream| stream.number == header.stream) else {
            let nonce = self.nonces[usize::from(header.stream) - 1];
            let is_late = self.given_up.contains(&nonce) || matches!(header.kind, Kind::Window | Kind::Reset);
            return assert!(is_late, "{header:?} for a stream that is over: {}", self.describe());
        };
        let stream = &mut self.streams[at];
        let entry = books.entries.get_mut(&stream.nonce).unwrap();
        match header.kind {
            Kind::Head => stream.take_head(&String::from_utf8_lossy(content), entry, wires),
            Kind::Data => {
                stream.got.extend_from_slice(content);
                if !stream.made_here && !stream.is_noise {
                    entry.check_content(stream.got.len() - content.len(), content);
                }
            }
            Kind::End => {
                let stream = self.streams.remove(at);
                let status = stream.status.expect("an end without a head");
                entry.take_answer(status, stream.made_here, stream.is_noise, &stream.got);
                note(Seen::StreamWhole);
            }
            Kind::Window => stream.window += u32::from_be_bytes(content.try_into().unwrap()) as usize,
            Kind::Reset => {
                note(Seen::StreamCut);
                self.streams.remove(at);
            }
        }
    }
}

impl Stream {
    fn take_head(&mut self, text: &str, entry: &Entry, wires: &Wires) {
        let mut lines = text.lines();
        let status: u16 = lines.next().unwrap().parse().unwrap();
        assert_eq!(self.status.replace(status), None, "two heads for {}", self.nonce);
        let field =
            |name: &str| text.lines().find_map(|line| line.split_once(": ").filter(|(key, _)| *key == name)).map(|(_, value)| value);
        let noise = field("X-Noise").map(|number| number.parse::<usize>().unwrap());
        assert!(noise.is_none_or(|number| wires.strays[number].is_fair), "what was there before a request was written is its answer");
        (self.is_noise, self.made_here) = (noise.is_some(), noise.is_none() && field("X-Nonce").is_none());
        if let Some(nonce) = field("X-Nonce") {
            let is_its = nonce == self.nonce.to_string();
            self.is_noise |= !is_its;
            assert!(is_its || wires.unsure.contains(&self.nonce), "another request's answer: {nonce}, not {}", self.nonce);
            assert!(!is_its || entry.said.contains(&status), "answered {status}, the origins said {:?}: {}", entry.said, self.nonce);
        }
    }
}

/// Enters one request into the books; returns how long it is.
fn enter(
    weather: &Weather,
    extras: &Extras,
    nonce: u64,
    (address, may_be_sure): (u8, bool),
    rng: &mut fastrand::Rng,
    books: &mut Books,
) -> usize {
    let mut spec = weather.spec(nonce, rng);
    Extras { has_tunnels: false, ..extras.clone() }.alter(&mut spec, rng);
    (spec.address, spec.minor, spec.closes, spec.expects) = (address, 1, false, false);
    spec.flaw = spec.flaw.filter(|flaw| !matches!(flaw, Flaw::Head(_) | Flaw::Noise(_)));
    let plan = weather.plan(&spec, rng);
    // As for a client with one request at a time, but that none of its requests depends on those before it.
    let is_safe = !weather.leaves_idle || (weather.is_calm && spec.is_repeatable());
    let is_served = plan.fault == Fault::None || weather.is_cured(&spec, &plan, books);
    let is_let_through = weather.is_calm || weather.failure_threshold == 0;
    let is_prompt = weather.is_calm || (weather.is_fair() && plan.stall.is_none() && plan.pause.is_none());
    let is_sure = may_be_sure && is_safe && is_served && is_let_through && is_prompt && spec.flaw.is_none() && !extras.spoils(weather);
    let length = spec.content.len() + 200;
    books.entries.insert(nonce, Entry::new(spec, plan, false, is_sure));
    extras.switch(nonce, books, rng);
    length
}

fn quit(total: usize, max_content: usize, rng: &mut fastrand::Rng) -> Quit {
    let (sending, reading) = (rng.usize(0..=total), rng.usize(0..=max_content));
    match rng.u8(0..8) {
        0 => Quit::Never,
        1 => Quit::ResetAfterSending(sending),
        2 => Quit::ResetAfterReading(reading),
        3 => Quit::CloseAfterSending(sending),
        4 => Quit::MuteAfter(sending),
        5 => Quit::DeafAfter(reading),
        6 => Quit::FinAfter(sending),
        _ => Quit::ResetAfterReading(1),
    }
}
