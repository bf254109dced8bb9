//! The other end of a connection, client or upstream: sends what it is told to, and keeps what it receives.

use super::script::Act;
use crate::sim::wire::{Heard, Id, Wires};

/// A client or an upstream.
pub struct Peer {
    pub id: Id,
    /// What it has to send, and how much of it may be sent now.
    outbox: Vec<u8>,
    due: usize,
    /// How many bytes it may still read.
    appetite: usize,
    /// What the network took from it, and gave to it.
    pub sent: Vec<u8>,
    pub heard: Vec<u8>,
    fin_is_due: bool,
    pub sent_fin: bool,
    /// Whether it closed or reset the connection itself.
    pub has_left: bool,
    /// Whether it was ever slow to read.
    pub was_slow: bool,
    pub heard_fin: bool,
    pub heard_rst: bool,
}

impl Peer {
    pub fn new(id: Id) -> Self {
        Self {
            id,
            outbox: Vec::new(),
            due: 0,
            appetite: usize::MAX,
            sent: Vec::new(),
            heard: Vec::new(),
            fin_is_due: false,
            sent_fin: false,
            has_left: false,
            was_slow: false,
            heard_fin: false,
            heard_rst: false,
        }
    }

    pub fn say(&mut self, bytes: &[u8]) {
        self.outbox.extend_from_slice(bytes);
        self.due = self.outbox.len();
    }

    pub fn perform(&mut self, act: &Act, wires: &mut Wires) {
        match act {
            _ if self.has_left => {}
            Act::Say(bytes, n) => {
                self.outbox.extend_from_slice(bytes);
                self.due = self.due.saturating_add(*n).min(self.outbox.len());
            }
            Act::Send(n) => self.due = self.due.saturating_add(*n).min(self.outbox.len()),
            Act::Forget => self.outbox.truncate(self.due),
            Act::Fin => self.fin_is_due = true,
            Act::Reset => {
                self.has_left = true;
                wires.peer_rst(self.id);
            }
            Act::Close => {
                self.has_left = true;
                self.sent_fin = true;
                wires.peer_close(self.id);
            }
            Act::Read(n) => {
                self.appetite = *n;
                self.was_slow |= *n != usize::MAX;
            }
        }
    }

    /// From now on it reads everything.
    pub fn read_on(&mut self) {
        self.appetite = usize::MAX;
    }

    /// Sends and reads what it may. Returns whether anything moved.
    pub fn act(&mut self, wires: &mut Wires) -> bool {
        if self.has_left {
            return false;
        }
        let n = if self.due > 0 && !self.sent_fin { wires.peer_send(self.id, &self.outbox[..self.due]) } else { 0 };
        if n > 0 {
            self.sent.extend(self.outbox.drain(..n));
            self.due -= n;
        }
        let ends = self.fin_is_due && self.due == 0 && !self.sent_fin;
        if ends {
            self.sent_fin = true;
            wires.peer_fin(self.id);
        }
        let mut moved = n > 0 || ends;
        while self.appetite > 0 && !self.heard_fin && !self.heard_rst {
            match wires.peer_recv(self.id, self.appetite) {
                Heard::Bytes(bytes) => {
                    if self.appetite != usize::MAX {
                        self.appetite -= bytes.len();
                    }
                    self.heard.extend_from_slice(&bytes);
                }
                Heard::Fin => self.heard_fin = true,
                Heard::Rst => self.heard_rst = true,
                Heard::Nothing => break,
            }
            moved = true;
        }
        moved
    }
}
