//! The meaning of an input: settings, and operations of clients, upstreams, the network and time, in order.

use super::dice::Dice;
use super::{answers, requests};
use std::fmt;

/// Clients that an input may have.
pub const CLIENTS: usize = 3;
const MAX_OPS: usize = 40;

/// The side that an operation moves.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    Client(usize),
    /// Counted from the newest connection; if there is none, the next one that is made.
    Upstream(usize),
}

#[derive(Clone, Debug)]
pub enum Act {
    /// Adds to what it has to send, and sends that many bytes of all it has.
    Say(Vec<u8>, usize),
    /// Sends that many bytes more.
    Send(usize),
    /// Drops what it has not sent.
    Forget,
    /// FIN, RST, or both directions closed.
    Fin,
    Reset,
    Close,
    /// Reads that many bytes: none, some or all.
    Read(usize),
}

/// The outcome of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Road {
    Open,
    Refused,
    Ignored,
}

#[derive(Clone, Debug)]
pub enum Op {
    Act(Who, Act),
    /// Milliseconds.
    Wait(u64),
    /// The outcome of connects from now on.
    Road(Road),
}

/// The general settings.
#[derive(Clone, Copy, Debug)]
pub struct Setting {
    pub servers: usize,
    pub places: usize,
    pub idle: usize,
    pub has_narrow_limits: bool,
    pub max_body_size: u64,
    pub total_ms: u32,
    pub mtu: usize,
    pub max_buffer: usize,
    pub seed: u64,
}

/// The meaning of an input.
pub struct Script {
    pub setting: Setting,
    /// The operations, each with whether everything settles after it.
    pub ops: Vec<(Op, bool)>,
    /// Whether the first client's bytes are also played whole and byte by byte.
    pub is_compared: bool,
}

impl Script {
    pub fn read(input: &[u8]) -> Self {
        let mut dice = Dice::new(input);
        let traits = dice.byte();
        let setting = Setting {
            servers: 1 + usize::from(traits & 1),
            places: if traits & 2 == 0 { 100 } else { 1 },
            idle: if traits & 4 == 0 { 64 } else { 1 },
            has_narrow_limits: traits & 8 != 0,
            max_body_size: if traits & 16 == 0 { 100_000 } else { 600 },
            total_ms: if traits & 32 == 0 { 0 } else { 3000 },
            mtu: if traits & 64 == 0 { usize::MAX } else { 100 },
            max_buffer: if traits & 128 == 0 { 60_000 } else { 2000 },
            seed: u64::from(dice.byte()),
        };
        let is_compared = dice.below(4) == 1;
        let mut ops = Vec::new();
        let mut nonce = 0;
        while !dice.is_over() && ops.len() < MAX_OPS {
            nonce += 1;
            let code = dice.byte();
            ops.push((read_op(code & 0x7f, nonce, &mut dice), code < 0x80));
        }
        Self { setting, ops, is_compared }
    }
}

fn read_op(code: u8, nonce: u32, dice: &mut Dice) -> Op {
    let say = |bytes: Vec<u8>, dice: &mut Dice| {
        let n = match dice.lean(&[0, 1, 2, 3]) {
            0 => usize::MAX,
            1 => usize::from(dice.byte()) * 3,
            2 => bytes.len().saturating_sub(1 + dice.below(30)),
            _ => 0,
        };
        Act::Say(bytes, n)
    };
    match code % 8 {
        0..=2 => {
            let who = Who::Client(dice.lean(&[0, 1, 2]));
            let request = requests::compose(dice, nonce);
            Op::Act(who, say(request, dice))
        }
        3..=5 => {
            let who = Who::Upstream(dice.lean(&[0, 1, 2]));
            let answer = answers::compose(dice, nonce);
            Op::Act(who, say(answer, dice))
        }
        6 if code > 100 => Op::Road(dice.pick(&[Road::Open, Road::Refused, Road::Ignored])),
        6 => Op::Wait(dice.pick(&[1, 20, 300, 501, 701, 1001, 1501, 2001, 3001, 6000])),
        _ => {
            let index = dice.lean(&[0, 1, 2]);
            let who = if code < 64 { Who::Client(index) } else { Who::Upstream(index) };
            Op::Act(who, act(dice))
        }
    }
}

fn act(dice: &mut Dice) -> Act {
    match dice.below(12) {
        0 => Act::Send(usize::MAX),
        1 | 2 => Act::Send(dice.below(100)),
        3 => Act::Forget,
        4 => Act::Fin,
        5 => Act::Reset,
        6 => Act::Close,
        7 => Act::Read(0),
        8 => Act::Read(dice.below(100)),
        9 => Act::Read(usize::MAX),
        _ => {
            let n = dice.below(60);
            Act::Say(dice.bytes(n), usize::MAX)
        }
    }
}

impl fmt::Display for Script {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{:?}", self.setting)?;
        for (number, (op, rests)) in self.ops.iter().enumerate() {
            writeln!(f, "{number:>3} {op}{}", if *rests { "" } else { "    (and at once)" })?;
        }
        if self.is_compared { writeln!(f, "and the first client's bytes whole and in pieces") } else { Ok(()) }
    }
}

impl fmt::Display for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (who, act) = match self {
            Self::Act(who, act) => (who, act),
            Self::Wait(ms) => return write!(f, "{ms} ms pass"),
            Self::Road(road) => return write!(f, "connects are {road:?} from now on"),
        };
        match who {
            Who::Client(index) => write!(f, "client {index} ")?,
            Who::Upstream(back) => write!(f, "upstream -{back} ")?,
        }
        match act {
            Act::Say(bytes, n) => {
                let shown = bytes.escape_ascii().to_string();
                let count = if *n == usize::MAX { "all".to_owned() } else { n.to_string() };
                write!(f, "sends {count} of \"{}\" ({} bytes)", shown.chars().take(1500).collect::<String>(), bytes.len())
            }
            Act::Send(usize::MAX) => write!(f, "sends the rest"),
            Act::Send(n) => write!(f, "sends {n} more"),
            Act::Forget => write!(f, "forgets the rest"),
            Act::Fin => write!(f, "sends FIN"),
            Act::Reset => write!(f, "sends RST"),
            Act::Close => write!(f, "closes"),
            Act::Read(0) => write!(f, "reads no more"),
            Act::Read(usize::MAX) => write!(f, "reads what comes"),
            Act::Read(n) => write!(f, "reads {n} bytes and no more"),
        }
    }
}
