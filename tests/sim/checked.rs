//! The upstream's end of a health check's connection: reads the request, and answers or not.

use super::wire::{Heard, Id, Wires};

/// An upstream that is checked.
pub struct Checked {
    pub id: Id,
    /// The status of its answer; `None`: it does not answer.
    status: Option<u16>,
    heard: Vec<u8>,
    has_answered: bool,
    /// What it still has to send.
    out: Vec<u8>,
    pub is_gone: bool,
}

impl Checked {
    pub fn new(id: Id, status: Option<u16>) -> Self {
        Self { id, status, heard: Vec::new(), has_answered: false, out: Vec::new(), is_gone: false }
    }

    pub fn can_act(&self, wires: &Wires) -> bool {
        !self.is_gone && (wires.peer_hears(self.id) || (!self.out.is_empty() && wires.peer_room(self.id) > 0))
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
            let request = String::from_utf8_lossy(&self.heard);
            let (method, rest) = request.split_once(' ').expect("a method");
            assert!(rest.starts_with("/check HTTP/1.1\r\nHost: "), "{request}");
            self.has_answered = true;
            if let Some(status) = self.status {
                let body = if method == "HEAD" { "" } else { "6\r\nall is\r\n5\r\n well\r\n0\r\n\r\n" };
                self.out = format!("HTTP/1.1 {status} Well\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n{body}").into();
            }
        }
        let n = wires.peer_send(self.id, &self.out);
        self.out.drain(..n);
    }
}
