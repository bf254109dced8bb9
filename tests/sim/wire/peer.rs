//! The peers' side of the wires: what a client, or an origin, calls.

use super::records::Records;
use super::{Conn, Heard, Id, Stray, Wires};

impl Wires {
    /// Room in the peer's send buffer.
    pub fn peer_room(&self, id: Id) -> usize {
        let conn = &self.conns[id];
        let may_say = conn.theirs.as_ref().is_none_or(Records::may_say);
        if conn.air_fin || conn.is_over() || !may_say { 0 } else { conn.air_capacity - conn.air.len().min(conn.air_capacity) }
    }

    pub fn peer_send(&mut self, id: Id, bytes: &[u8]) -> usize {
        let n = bytes.len().min(self.peer_room(id));
        self.conns[id].sent_up += n as u64;
        if self.speaks_records(id) {
            self.wrap(id, &bytes[..n]);
        } else {
            self.conns[id].air.extend(&bytes[..n]);
        }
        n
    }

    /// Sends an answer that nobody has asked for, marked with its number.
    /// It has answered so many requests: one more may be on its way.
    pub fn peer_stray(&mut self, id: Id, answered: u32, status: &str, end: &str) {
        let number = self.strays.len();
        let conn = &mut self.conns[id];
        let crosses = conn.begun > answered;
        self.strays.push(Stray { at: conn.sent_up, is_fair: crosses });
        if crosses {
            conn.is_out_of_step = true;
            self.unsure.extend(conn.last_begun);
        } else {
            conn.stray = Some(number);
        }
        self.peer_send(id, format!("HTTP/1.1 {status}\r\nX-Noise: {number}\r\n{end}").as_bytes());
    }

    /// The peer ends the connection in the middle of a request that is not the last which may be on its way.
    pub fn peer_forsakes(&mut self, id: Id, answered: u32) {
        let conn = &mut self.conns[id];
        conn.is_out_of_step = true;
        if conn.begun > answered {
            self.unsure.extend(conn.last_begun);
        }
        self.peer_rst(id);
    }

    /// Whether [`Wires::peer_recv`] has anything but nothing.
    pub fn peer_hears(&self, id: Id) -> bool {
        let conn = &self.conns[id];
        !conn.inbox.is_empty() || conn.inbox_fin || conn.inbox_rst || conn.is_closed_to_peer()
    }

    /// Bytes in the peer's receive queue.
    pub fn peer_waiting(&self, id: Id) -> usize {
        self.conns[id].inbox.len()
    }

    pub fn peer_recv(&mut self, id: Id, max: usize) -> Heard {
        let n = max.min(self.conns[id].inbox.len());
        self.note(id, || {
            let heard: Vec<u8> = self.conns[id].inbox.iter().take(n).copied().collect();
            format!("the peer hears {n} bytes: {}", heard.escape_ascii().to_string().chars().take(300).collect::<String>())
        });
        let conn = &mut self.conns[id];
        // Without a close, a FIN is no regular end.
        let (is_over, is_closed) = (conn.inbox_rst || (conn.inbox_fin && !conn.is_closed_to_peer()), conn.is_closed_to_peer());
        match (n, is_over, is_closed) {
            (1.., ..) => Heard::Bytes(conn.inbox.drain(..n).collect()),
            (_, true, _) => Heard::Rst,
            (_, _, true) => Heard::Fin,
            _ => Heard::Nothing,
        }
    }

    /// Whether the proxy has read all that the peer sent.
    pub fn is_read(&self, id: Id) -> bool {
        let conn = &self.conns[id];
        conn.air.is_empty() && conn.rx.is_empty() && conn.ours.as_ref().is_none_or(Records::is_read)
    }

    pub fn peer_fin(&mut self, id: Id) {
        self.note(id, || "the peer sends FIN".into());
        self.say_close(id);
        self.conns[id].air_fin = true;
    }

    pub fn peer_rst(&mut self, id: Id) {
        self.note(id, || "the peer sends RST".into());
        let conn = &mut self.conns[id];
        (conn.air_rst, conn.is_deaf) = (true, true);
        conn.inbox.clear();
    }

    /// Closes both directions: a RST if something was not read, else a FIN, and a RST for what comes later.
    pub fn peer_close(&mut self, id: Id) {
        if !self.conns[id].inbox.is_empty() {
            return self.peer_rst(id);
        }
        self.peer_fin(id);
        self.peer_is_gone(id);
    }

    /// Whether no more of that request may be sent.
    pub fn is_held(&self, nonce: u64) -> bool {
        let is_unheard = |conn: &Conn| !conn.has_read_fin && !conn.is_reset && !conn.is_dropped;
        self.held.iter().any(|&(held, id)| held == nonce && is_unheard(&self.conns[id]))
    }
}
