//! A record layer, as one end of a connection has it. It does to a stream what TLS does, and encrypts nothing worth the name.
//!
//! ```text
//!     length (2 bytes) | kind (1 byte) | body, each byte with a mask
//!
//!     Hello           the first of each end: nothing else is said before both are heard
//!     Data            bytes of the stream
//!     Update          the other end answers Updated before it reads anything else
//!     Ticket          says nothing
//!     Close           nothing follows: an end without it is no regular end
//! ```

use std::collections::VecDeque;

/// The longest body.
pub const MOST: usize = 16_384;
/// What comes before a body.
pub const HEAD: usize = 3;

const MASK: u8 = 0x5a;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Hello,
    Data,
    Update,
    Updated,
    Ticket,
    Close,
}

const KINDS: [Kind; 6] = [Kind::Hello, Kind::Data, Kind::Update, Kind::Updated, Kind::Ticket, Kind::Close];

/// One end.
#[derive(Debug, Default)]
pub struct Records {
    /// Bytes that have come, and were not looked at yet.
    raw: VecDeque<u8>,
    /// Bytes of the stream that nobody has taken yet.
    held: VecDeque<u8>,
    /// Records that are not written yet.
    out: Vec<u8>,
    has_greeted: bool,
    was_greeted: bool,
    /// What the other end's greeting says.
    pub greeting: Vec<u8>,
    owes_answer: bool,
    /// How many updates the other end has not answered yet.
    unanswered: u32,
    has_closed: bool,
    was_closed: bool,
    /// How many records it has looked at.
    steps: u64,
}

impl Records {
    /// Appends a record to what is to be written.
    pub fn say(&mut self, kind: Kind, body: &[u8]) {
        assert!(body.len() <= MOST && !self.has_closed, "{kind:?} after the close");
        assert!(self.is_open() || kind == Kind::Hello, "{kind:?} before both ends have greeted");
        (self.has_greeted, self.has_closed) = (true, kind == Kind::Close);
        self.unanswered += u32::from(kind == Kind::Update);
        self.out.extend_from_slice(&(body.len() as u16).to_be_bytes());
        self.out.push(kind as u8);
        self.out.extend(body.iter().map(|byte| byte ^ MASK));
    }

    /// Says that nothing follows, as far as it can: before both have greeted, it only says nothing more.
    pub fn close(&mut self) {
        if self.may_say() {
            self.say(Kind::Close, b"");
        }
        self.has_closed = true;
    }

    /// Takes bytes that have come.
    pub fn hear(&mut self, bytes: impl IntoIterator<Item = u8>) {
        self.raw.extend(bytes);
    }

    /// Looks at the next record; false if there is no whole one, or none may be looked at now.
    pub fn step(&mut self) -> bool {
        if !self.may_step() {
            return false;
        }
        self.steps += 1;
        let length = self.length();
        let kind = KINDS[usize::from(self.raw[2])];
        self.raw.drain(..HEAD);
        let body = self.raw.drain(..length).map(|byte| byte ^ MASK);
        assert!(!self.was_closed, "{kind:?} after the close");
        assert!(self.was_greeted || kind == Kind::Hello, "{kind:?} before a greeting");
        match kind {
            Kind::Data => self.held.extend(body),
            Kind::Hello => self.greeting = body.collect(),
            _ => drop(body),
        }
        match kind {
            Kind::Hello => {
                assert!(!std::mem::replace(&mut self.was_greeted, true), "greeted twice");
                if !self.has_greeted && !self.has_closed {
                    self.say(Kind::Hello, b"hello");
                }
            }
            Kind::Update if !self.has_closed => {
                self.say(Kind::Updated, b"");
                self.owes_answer = true;
            }
            Kind::Updated => self.unanswered -= 1,
            Kind::Close => self.was_closed = true,
            _ => {}
        }
        true
    }

    fn length(&self) -> usize {
        usize::from(u16::from_be_bytes([self.raw[0], self.raw[1]]))
    }

    /// Whether a whole record is there that may be looked at.
    pub fn may_step(&self) -> bool {
        !self.waits_to_answer() && self.raw.len() >= HEAD && self.raw.len() >= HEAD + self.length()
    }

    /// How many records it has looked at.
    pub fn steps(&self) -> u64 {
        self.steps
    }

    /// Whether nothing more may be read before what is to be written is written.
    pub fn waits_to_answer(&self) -> bool {
        self.owes_answer
    }

    /// Takes up to that many bytes of the stream.
    pub fn take(&mut self, most: usize) -> impl Iterator<Item = u8> {
        self.held.drain(..most.min(self.held.len()))
    }

    /// How many bytes of the stream are held back.
    pub fn held(&self) -> usize {
        self.held.len()
    }

    /// What is to be written.
    pub fn out(&self) -> &[u8] {
        &self.out
    }

    /// So many bytes of that were written.
    pub fn wrote(&mut self, n: usize) {
        self.out.drain(..n);
        self.owes_answer &= !self.out.is_empty();
    }

    /// Both ends have greeted.
    pub fn is_open(&self) -> bool {
        self.has_greeted && self.was_greeted
    }

    /// Whether the other end has greeted.
    pub fn was_greeted(&self) -> bool {
        self.was_greeted
    }

    /// Whether it has begun.
    pub fn has_greeted(&self) -> bool {
        self.has_greeted
    }

    /// Whether the other end still has to answer, and may: what arrives after a close of both directions would reset the connection.
    pub fn awaits_answer(&self) -> bool {
        self.unanswered > 0 && !self.was_closed
    }

    /// Whether it may say something of the stream, or about it.
    pub fn may_say(&self) -> bool {
        self.is_open() && !self.has_closed
    }

    /// Whether the other end has said that nothing follows.
    pub fn was_closed(&self) -> bool {
        self.was_closed
    }

    /// Whether everything that has come was taken.
    pub fn is_read(&self) -> bool {
        self.raw.is_empty() && self.held.is_empty()
    }
}
