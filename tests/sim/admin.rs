//! A client of the admin port: asks for pages one after the other, reads them, or leaves before they come.

use super::parse::{Length, Piece, Reader};
use super::wire::{Heard, Id, Wires};

const PAGES: &[&str] = &["/metrics", "/health", "/backends/health", "/nothing"];

/// A client of the admin port.
pub struct AdminClient {
    pub id: Id,
    left: u32,
    /// After how many bytes of answers it leaves.
    leaves_after: Option<usize>,
    read: usize,
    asked: Option<&'static str>,
    status: u16,
    reader: Reader,
    /// How many complete answers it has got.
    pub answered: u32,
    pub is_gone: bool,
}

impl AdminClient {
    pub fn new(id: Id, dice: &mut fastrand::Rng) -> Self {
        Self {
            id,
            left: dice.u32(1..4),
            leaves_after: (dice.u8(0..3) == 0).then(|| [0, 1, 200][dice.usize(0..3)]),
            read: 0,
            asked: None,
            status: 0,
            reader: Reader::new(),
            answered: 0,
            is_gone: false,
        }
    }

    pub fn can_act(&self, wires: &Wires) -> bool {
        let leaves = self.leaves_after.is_some_and(|n| self.asked.is_some() && self.read >= n);
        !self.is_gone
            && (leaves || wires.peer_hears(self.id) || (self.asked.is_none() && (self.left == 0 || wires.peer_room(self.id) > 100)))
    }

    pub fn act(&mut self, wires: &mut Wires) {
        let leaves = self.leaves_after.is_some_and(|n| self.asked.is_some() && self.read >= n);
        if leaves || (self.asked.is_none() && self.left == 0) {
            self.is_gone = true;
            return wires.peer_close(self.id);
        }
        if wires.peer_hears(self.id) {
            return self.hear(wires);
        }
        let page = PAGES[wires.rng.usize(0..PAGES.len())];
        let request = format!("GET {page} HTTP/1.1\r\nHost: admin\r\n\r\n");
        assert_eq!(wires.peer_send(self.id, request.as_bytes()), request.len());
        (self.asked, self.left) = (Some(page), self.left - 1);
    }

    fn hear(&mut self, wires: &mut Wires) {
        match wires.peer_recv(self.id, usize::MAX) {
            Heard::Nothing => {}
            Heard::Bytes(bytes) => {
                self.read += bytes.len();
                self.reader.push(&bytes);
                while let Some(piece) = self.reader.next() {
                    self.take(piece);
                }
            }
            // The process ends, or the client was slow.
            Heard::Fin | Heard::Rst => {
                self.is_gone = true;
                wires.peer_close(self.id);
            }
        }
    }

    fn take(&mut self, piece: Piece) {
        match piece {
            Piece::Head(head) => {
                self.status = head.status();
                self.reader.begin_body(head.framing().unwrap_or(Length::Known(0)));
            }
            Piece::Content(_) => {}
            Piece::End => {
                // Slow clients get 408, and a page that took longer than `timeouts.total_ms` becomes 504.
                let page = self.asked.take();
                let expected: &[u16] = match page {
                    Some("/metrics" | "/backends/health") => &[200, 408, 503, 504],
                    Some("/health") => &[200, 408, 503, 504],
                    _ => &[404, 408, 503, 504],
                };
                assert!(expected.contains(&self.status), "{page:?} is answered {}", self.status);
                self.answered += 1;
            }
        }
    }
}
