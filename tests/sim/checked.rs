//! The other end of a health check's connection: it reads the request, and is well or not.

use super::wire::{Heard, Id, Wires};

/// See the module.
pub struct Checked {
    pub id: Id,
    /// `None`: it says nothing.
    status: Option<u16>,
    heard: Vec<u8>,
    has_answered: bool,
    pub is_gone: bool,
}

impl Checked {
    pub fn new(id: Id, status: Option<u16>) -> Self {
        Self { id, status, heard: Vec::new(), has_answered: false, is_gone: false }
    }

    pub fn can_act(&self, wires: &Wires) -> bool {
        !self.is_gone && wires.peer_hears(self.id)
    }

    pub fn act(&mut self, wires: &mut Wires) {
        match wires.peer_recv(self.id, usize::MAX) {
            Heard::Nothing => {}
            Heard::Bytes(bytes) => self.heard.extend_from_slice(&bytes),
            Heard::Fin | Heard::Rst => {
                self.is_gone = true;
                return wires.peer_close(self.id);
            }
        }
        if self.heard.ends_with(b"\r\n\r\n") && !self.has_answered {
            assert!(self.heard.starts_with(b"GET /check HTTP/1.1\r\n"), "{}", self.heard.escape_ascii());
            self.has_answered = true;
            if let Some(status) = self.status {
                wires.peer_send(self.id, format!("HTTP/1.1 {status} Well\r\nContent-Length: 0\r\nConnection: close\r\n\r\n").as_bytes());
            }
        }
    }
}
