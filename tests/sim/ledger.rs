//! What was planned and what happened, for every request. Each has a number (its nonce), which is in its target and
//! determines the bytes of both bodies, so that a byte of one exchange in another is found.

use super::net::Line;
use super::wire::Id;
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

/// How a request's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Framing {
    Bare,
    Known,
    Chunked,
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Route {
    Proxy,
    Echo,
    Respond,
    Nowhere,
    /// By its host: a fixed answer, or the second pool.
    Host,
    Other,
    /// By its method: a fixed answer, or none.
    Method,
}

/// What is wrong with a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flaw {
    /// In its head: these lines are in it.
    Head(&'static str),
    /// No head at all, but these bytes.
    Noise(&'static str),
    /// In its chunked body, after half of it.
    Chunk(&'static str),
    /// More content than allowed.
    Oversize,
}

/// One request, as the client means it.
#[derive(Clone)]
pub struct Spec {
    pub nonce: u64,
    pub method: &'static str,
    pub minor: u8,
    pub framing: Framing,
    pub content: Rc<[u8]>,
    pub expects: bool,
    pub closes: bool,
    pub route: Route,
    pub flaw: Option<Flaw>,
    /// It asks for a tunnel, to send this through it.
    pub tunnel: Option<Rc<[u8]>>,
    /// Last byte of the client's address.
    pub address: u8,
}

/// When the origin begins its answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum When {
    AtHead,
    AtEnd,
    /// After so many bytes of content.
    Within(usize),
}

/// How the answer's body is framed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Frame {
    Known,
    Chunked,
    UntilClose,
    /// 204 and 304.
    Bare,
    /// 101, and what comes through the tunnel.
    Tunnel,
}

/// What the origin does beyond answering.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    None,
    /// RST, or FIN, before that byte of the answer.
    ResetAt(usize),
    FinAt(usize),
    /// RST after so many bytes of content.
    ResetWithin(usize),
    /// FIN instead of an answer.
    Leave,
    /// It accepts, and says nothing.
    Silent,
    /// It reads no more of the content than so much, nor answers.
    Deaf(usize),
    /// Bytes after the answer.
    Extra,
    /// Another answer's head.
    Malformed(&'static str),
    /// 503 in place of its status.
    Busy,
}

/// How an origin gives up on a request whose content does not come. It reads nothing after that.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GiveUp {
    /// It closes.
    Close,
    /// It answers 408, and closes.
    Timeout,
    /// It answers as it would have done in the end, and closes.
    Answer,
}

/// One answer, as the origin means it.
#[derive(Clone)]
pub struct Plan {
    pub when: When,
    pub interims: Vec<u16>,
    pub status: u16,
    pub minor: u8,
    pub frame: Frame,
    pub content: Rc<[u8]>,
    pub closes: bool,
    pub fault: Fault,
    /// Attempts that the fault befalls; those after it are served.
    pub bad_times: u32,
    /// Before that byte of the answer the origin waits so many milliseconds.
    pub stall: Option<(usize, u64)>,
    /// After so many bytes of the request's content it reads nothing for so many milliseconds.
    pub pause: Option<(usize, u64)>,
    /// After so many milliseconds without content it gives up on the request.
    pub gives_up: Option<(u64, GiveUp)>,
}

/// All that is known of one request.
pub struct Entry {
    pub spec: Spec,
    pub plan: Plan,
    /// It comes after one that ends its connection: no origin may see it.
    pub is_forbidden: bool,
    /// Its exchange must succeed.
    pub is_sure: bool,
    /// Times that an origin saw its head, and whether its content came whole.
    pub seen: u32,
    pub was_whole: bool,
    /// Status of each answer that an origin began.
    pub said: Vec<u16>,
    /// Status and length of content of each that one finished.
    pub finished: Vec<(u16, usize)>,
    /// For each answer that an origin has finished: its connection, and how many bytes were sent on it by then. A FIN counts as one.
    pub whole: Vec<(Id, u64)>,
    pub interims_sent: u32,
    /// Bytes of the client's that came out of the tunnel before its end.
    pub tunnelled: Option<usize>,
    /// What the client got: status, whether the proxy made it, content length.
    pub answered: Option<(u16, bool, usize)>,
    pub interims_got: u32,
    /// Its first byte was sent, and its last.
    pub was_begun: bool,
    pub was_sent: bool,
}

impl Entry {
    /// A plain request that no origin gets.
    pub fn made_here(nonce: u64, route: Route) -> Self {
        let spec = Spec {
            nonce,
            method: "GET",
            minor: 1,
            framing: Framing::Bare,
            content: pattern(0, 0),
            expects: false,
            closes: false,
            route,
            flaw: None,
            tunnel: None,
            address: 7,
        };
        let plan = Plan {
            when: When::AtEnd,
            interims: Vec::new(),
            status: 200,
            minor: 1,
            frame: Frame::Known,
            content: pattern(0, 0),
            closes: false,
            fault: Fault::None,
            bad_times: 0,
            stall: None,
            pause: None,
            gives_up: None,
        };
        Self::new(spec, plan, false, false)
    }

    pub fn new(spec: Spec, plan: Plan, is_forbidden: bool, is_sure: bool) -> Self {
        Self {
            spec,
            plan,
            is_forbidden,
            is_sure,
            seen: 0,
            was_whole: false,
            said: Vec::new(),
            finished: Vec::new(),
            whole: Vec::new(),
            interims_sent: 0,
            tunnelled: None,
            answered: None,
            interims_got: 0,
            was_begun: false,
            was_sent: false,
        }
    }
}

impl Entry {
    /// These bytes at this place of the answer's content are what an origin sent.
    pub fn check_content(&self, at: usize, bytes: &[u8]) {
        let expected = self.plan.content.get(at..at + bytes.len());
        assert!(expected == Some(bytes), "wrong content at {at}+{} of the answer to {}", bytes.len(), self.spec.nonce);
    }

    /// A complete answer has come.
    pub fn take_answer(&mut self, status: u16, made_here: bool, is_noise: bool, content: &[u8]) {
        let length = content.len();
        assert!(self.answered.is_none(), "answered twice");
        self.answered = Some((status, made_here, length));
        self.is_sure &= !is_noise;
        // A tunnel has an end, but nothing that shows whether it is the right one.
        if !made_here && status != 101 && !is_noise {
            let is_whole = self.finished.contains(&(status, length));
            assert!(is_whole, "whole at the client, not at the origin: {} {:?} {:?}", self.spec.nonce, self.finished, self.plan);
        } else if status == 200 && self.spec.method != "HEAD" && self.spec.route == Route::Echo {
            let end = format!("body: {} bytes\n", self.spec.content.len());
            let content = String::from_utf8_lossy(content);
            assert!(content.ends_with(&end) && content.contains(&format!("/n/{} ", self.spec.nonce)), "{content}");
        }
    }
}

/// The plans and results of all requests.
#[derive(Default)]
pub struct Books {
    pub entries: BTreeMap<u64, Entry>,
    pub lines: Vec<Line>,
    /// Connections that the proxy has begun and no origin has taken yet.
    pub dialled: Vec<Id>,
    /// As configured.
    pub max_retries: u32,
    /// Attempts that are planned to fail.
    pub planned_faults: u32,
    /// How many milliseconds all actors together have stalled.
    pub stalled: u64,
}

/// The content of a body: no two keys share as much as eight bytes.
pub fn pattern(key: u64, len: usize) -> Rc<[u8]> {
    let mut bytes = Vec::with_capacity(len + 8);
    let mut block = (key + 1).wrapping_mul(0xd6e8_feb8_6659_fd93).rotate_left(29).wrapping_mul(0xa076_1d64_78bd_642f);
    while bytes.len() < len {
        block = block.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (block ^ (block >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        bytes.extend_from_slice(&(mixed ^ (mixed >> 29)).to_ne_bytes());
    }
    bytes.truncate(len);
    bytes.into()
}

/// `/…/n/<nonce>`
pub fn nonce_of(target: &str) -> Option<u64> {
    target.rsplit_once("/n/")?.1.parse().ok()
}

impl fmt::Debug for Spec {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { nonce, method, minor, framing, content, expects, closes, route, flaw, tunnel, address } = self;
        let (length, tunnel) = (content.len(), tunnel.as_ref().map(|content| content.len()));
        write!(
            f,
            "{method} {nonce} 1.{minor} {framing:?} {length} expects {expects} closes {closes} {route:?} {flaw:?} {tunnel:?} {address}"
        )
    }
}

impl fmt::Debug for Plan {
    fn fmt(&self, f: &mut fmt::Formatter) -> fmt::Result {
        let Self { when, interims, status, minor, frame, content, closes, fault, bad_times, stall, pause, gives_up } = self;
        let length = content.len();
        write!(
            f,
            "{when:?} {interims:?} {status} 1.{minor} {frame:?} {length} closes {closes} {fault:?} x{bad_times} {stall:?} {pause:?}"
        )?;
        write!(f, " {gives_up:?}")
    }
}

impl Spec {
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "PUT" | "DELETE" | "OPTIONS")
    }

    /// Whether it is sent again on another connection, where the one it was sent on is being closed.
    pub fn is_repeatable(&self) -> bool {
        self.is_idempotent() && self.framing == Framing::Bare
    }

    /// Whether the connection can serve another request after it.
    pub fn keeps(&self) -> bool {
        !self.closes && self.tunnel.is_none() && !matches!(self.flaw, Some(Flaw::Head(_) | Flaw::Noise(_) | Flaw::Chunk(_)))
    }

    pub fn host(&self) -> &'static str {
        match self.route {
            Route::Host => "pages.test",
            Route::Other => "a.other.test",
            _ => "sim.test",
        }
    }

    /// The bytes of the request, and how many of them are its head.
    pub fn render(&self, rng: &mut fastrand::Rng) -> (Vec<u8>, usize) {
        if let Some(Flaw::Noise(bytes)) = self.flaw {
            return (bytes.as_bytes().to_vec(), bytes.len());
        }
        let prefix = match self.route {
            Route::Proxy => ["", "http://sim.test"][usize::from(rng.u8(0..8) == 0)],
            Route::Host | Route::Other => "",
            Route::Method => "/method",
            Route::Echo => "/echo",
            Route::Respond => "/respond",
            Route::Nowhere => "/nowhere",
        };
        let mut head = format!("{} {prefix}/n/{} HTTP/1.{}\r\n", self.method, self.nonce, self.minor);
        if self.minor == 1 || rng.bool() {
            head += &format!("Host: {}\r\n", self.host());
        }
        let mut options = Vec::new();
        if rng.u8(0..4) == 0 {
            options.push("X-Gone");
            head += "X-Gone: 1\r\nX-Forwarded-For: 6.6.6.6\r\nTE: trailers\r\nKeep-Alive: 5\r\n";
        }
        match (self.closes, self.minor) {
            (true, 1) => options.push("close"),
            (false, 0) => options.push("keep-alive"),
            _ => {}
        }
        if self.tunnel.is_some() {
            options.push("Upgrade");
            head += "Upgrade: sim\r\n";
        }
        if !options.is_empty() {
            head += &format!("Connection: {}\r\n", options.join(", "));
        }
        if rng.u8(0..8) == 0 {
            head += &format!("X-Long: {}\r\n", "y".repeat(rng.usize(0..6000)));
        }
        match self.framing {
            Framing::Bare => {}
            Framing::Known => head += &format!("Content-Length: {}\r\n", self.content.len()),
            Framing::Chunked => head += "Transfer-Encoding: chunked\r\n",
        }
        if self.expects {
            head += "Expect: 100-continue\r\n";
        }
        if let Some(Flaw::Head(lines)) = self.flaw {
            head += lines;
        }
        head += "\r\n";
        let mut bytes = head.into_bytes();
        let length = bytes.len();
        match self.framing {
            Framing::Chunked => self.render_chunks(&mut bytes, rng),
            _ => bytes.extend_from_slice(&self.content),
        }
        (bytes, length)
    }

    fn render_chunks(&self, out: &mut Vec<u8>, rng: &mut fastrand::Rng) {
        let mut rest = &self.content[..];
        let largest = [3, 100, 5000, 100_000][rng.usize(0..4)].max(self.content.len() / 200);
        while !rest.is_empty() {
            if let Some(Flaw::Chunk(flaw)) = self.flaw.filter(|_| rest.len() <= self.content.len() / 2) {
                return out.extend_from_slice(flaw.as_bytes());
            }
            let (now, later) = rest.split_at(rng.usize(1..=largest.min(rest.len())));
            let extension = ["", "", "", ";a", ";name=\"q\\\"uoted\"", " ; b=c"][rng.usize(0..6)];
            let zeros = ["", "", "000"][rng.usize(0..3)];
            out.extend_from_slice(format!("{zeros}{:x}{extension}\r\n", now.len()).as_bytes());
            out.extend_from_slice(now);
            out.extend_from_slice(b"\r\n");
            rest = later;
        }
        if let Some(Flaw::Chunk(flaw)) = self.flaw {
            return out.extend_from_slice(flaw.as_bytes());
        }
        let end = ["0\r\n\r\n", "0\r\n\r\n", "000;x=y\r\n\r\n", "0\r\nX-Sum: 1\r\nContent-Length: 7\r\n\r\n"][rng.usize(0..4)];
        out.extend_from_slice(end.as_bytes());
    }
}

impl Plan {
    /// The status that an origin with this fault would answer with now.
    pub fn status(&self, fault: Fault) -> u16 {
        if fault == Fault::Busy { 503 } else { self.status }
    }

    /// Length of the answer's content as the client is to see it.
    pub fn length(&self, method: &str) -> usize {
        if method == "HEAD" || self.frame == Frame::Bare { 0 } else { self.content.len() }
    }

    /// The bytes of the answer.
    pub fn render(&self, fault: Fault, nonce: u64, method: &str, rng: &mut fastrand::Rng) -> Vec<u8> {
        let mut out = Vec::new();
        for status in &self.interims {
            out.extend_from_slice(format!("HTTP/1.1 {status} Wait\r\nLink: </x>\r\n\r\n").as_bytes());
        }
        if let Fault::Malformed(head) = fault {
            out.extend_from_slice(head.as_bytes());
            return out;
        }
        let mut head = format!("HTTP/1.{} {} Fine\r\nX-Nonce: {nonce}\r\nServer: sim\r\n", self.minor, self.status(fault));
        match self.frame {
            Frame::Known => head += &format!("Content-Length: {}\r\n", self.content.len()),
            Frame::Chunked => head += "Transfer-Encoding: chunked\r\n",
            Frame::UntilClose | Frame::Bare => {}
            Frame::Tunnel => head += "Connection: Upgrade\r\nUpgrade: sim\r\n",
        }
        if self.closes {
            head += "Connection: close\r\n";
        } else if self.minor == 0 {
            head += "Connection: keep-alive\r\n";
        }
        if rng.u8(0..6) == 0 {
            head += &format!("X-Long: {}\r\n", "z".repeat(rng.usize(0..6000)));
        }
        head += "\r\n";
        out.extend_from_slice(head.as_bytes());
        if self.length(method) == 0 && (self.frame != Frame::Chunked || method == "HEAD") {
            return out;
        }
        if self.frame == Frame::Chunked {
            let mut rest = &self.content[..];
            let largest = [3, 100, 5000, 100_000][rng.usize(0..4)].max(self.content.len() / 200);
            while !rest.is_empty() {
                let (now, later) = rest.split_at(rng.usize(1..=largest.min(rest.len())));
                let extension = ["", "", "", ";a=b"][rng.usize(0..4)];
                out.extend_from_slice(format!("{:X}{extension}\r\n", now.len()).as_bytes());
                out.extend_from_slice(now);
                out.extend_from_slice(b"\r\n");
                rest = later;
            }
            out.extend_from_slice(if rng.bool() { b"0\r\n\r\n" } else { b"0\r\nX-Sum: 2\r\n\r\n" });
        } else {
            out.extend_from_slice(&self.content);
        }
        out
    }
}
