//! The peers' record layers: they greet, answer and close by themselves, so that clients and origins see nothing but their stream.

use super::records::{Kind, MOST, Records};
use super::{Conn, Id, Wires};
use std::net::SocketAddr;
use tidegate::base::address::Peer;
use tidegate::base::proxy_header::{self, Announced, ProxyVersion};
use tidegate::net::token::Source;

impl Wires {
    /// The connection carries records from its beginning. A client greets first, and so does the proxy to an origin; some peers never
    /// greet, and some refuse the proxy's greeting. A client's may tell for whom it speaks.
    pub fn speak_records(&mut self, id: Id, greets: bool, peer: Option<Peer>) {
        let mut theirs = Records::default();
        if self.conns[id].server.is_none() && greets {
            let greeting = peer.map_or("hello".into(), |peer| peer.to_string());
            theirs.say(Kind::Hello, greeting.as_bytes());
        }
        (self.conns[id].is_mute, self.conns[id].names_peer) = (!greets, peer.is_some());
        (self.conns[id].ours, self.conns[id].theirs) = (Some(Records::default()), Some(theirs));
        self.send_records(id);
    }

    /// The client comes through a balancer, which names it in a header.
    pub fn announce(&mut self, id: Id, peer: SocketAddr) {
        let version = if self.lots.bool() { ProxyVersion::V1 } else { ProxyVersion::V2 };
        let header = proxy_header::write(version, Some((peer, ([10, 0, 0, 9], 443).into())));
        let conn = &mut self.conns[id];
        (conn.names_peer, conn.header) = (true, header.len());
        // A kernel has room for the longest of them.
        conn.rx_capacity = conn.rx_capacity.max(header.len());
        conn.air.extend(header);
    }

    /// Its server expects a header before the stream.
    pub fn expect_header(&mut self, id: Id) {
        self.conns[id].expected = Some(Vec::new());
    }

    pub fn speaks_records(&self, id: Id) -> bool {
        self.conns[id].theirs.is_some()
    }

    /// Sends what the peer's layer has to say.
    fn send_records(&mut self, id: Id) {
        let Conn { theirs, air, air_fin, sent_raw, sent_up, marks, .. } = &mut self.conns[id];
        let Some(theirs) = theirs else { return };
        let out = theirs.out().len();
        if out > 0 && !*air_fin {
            air.extend(theirs.out());
            *sent_raw += out as u64;
            marks.push_back((*sent_raw, *sent_up));
        }
        theirs.wrote(out);
    }

    /// The peer sends bytes of its stream, in records of any size, with others between them.
    pub(super) fn wrap(&mut self, id: Id, mut bytes: &[u8]) {
        let (theirs, lots) = (self.conns[id].theirs.as_mut().unwrap(), &mut self.lots);
        while !bytes.is_empty() {
            match lots.u8(0..20) {
                0 => theirs.say(Kind::Update, b""),
                1 => theirs.say(Kind::Ticket, b"a ticket"),
                _ => {}
            }
            let most = bytes.len().min(MOST);
            let n = if lots.u8(0..3) == 0 { lots.usize(1..=most) } else { most };
            theirs.say(Kind::Data, &bytes[..n]);
            bytes = &bytes[n..];
        }
        self.send_records(id);
    }

    /// Something arrives at the peer's layer.
    pub(super) fn unwrap(&mut self, id: Id, bytes: Vec<u8>) {
        if self.conns[id].is_mute {
            return if self.lots.bool() {
                self.peer_rst(id)
            };
        }
        self.conns[id].theirs.as_mut().unwrap().hear(bytes);
        loop {
            let Conn { theirs, inbox, .. } = &mut self.conns[id];
            let theirs = theirs.as_mut().unwrap();
            while theirs.step() {}
            inbox.extend(theirs.take(usize::MAX));
            let answers = theirs.waits_to_answer();
            self.send_records(id);
            if !answers {
                break;
            }
        }
        if self.conns[id].goes_deaf {
            self.peer_is_gone(id);
        }
    }

    /// An origin's layer says something that has nothing to do with the stream, perhaps while nothing else happens. A client that did
    /// so after its last request would be answered with a reset.
    pub fn peer_murmurs(&mut self, id: Id) {
        let (conn, kind) = (&mut self.conns[id], [Kind::Ticket, Kind::Update][self.lots.usize(0..2)]);
        let is_origin = conn.server.is_some();
        if let Some(theirs) = conn.theirs.as_mut().filter(|theirs| is_origin && theirs.may_say()) {
            theirs.say(kind, b"");
            self.send_records(id);
        }
    }

    /// The peer says that nothing follows.
    pub(super) fn say_close(&mut self, id: Id) {
        if let Some(theirs) = &mut self.conns[id].theirs {
            theirs.close();
            self.send_records(id);
        }
    }

    /// The peer closes both directions, once its layer has the answers that it waits for.
    pub(super) fn peer_is_gone(&mut self, id: Id) {
        let conn = &mut self.conns[id];
        conn.goes_deaf = true;
        conn.is_deaf = !conn.theirs.as_ref().is_some_and(Records::awaits_answer);
    }

    /// Closes like [`Wires::peer_close`], but in some cases without a word, which is no regular end. Returns whether it was regular.
    pub fn peer_leaves(&mut self, id: Id) -> bool {
        let is_rude = self.speaks_records(id) && self.lots.bool();
        if is_rude && self.conns[id].inbox.is_empty() {
            self.note(id, || "the peer sends FIN, and no close".into());
            self.conns[id].air_fin = true;
            self.peer_is_gone(id);
        } else {
            self.peer_close(id);
        }
        !is_rude
    }
}

impl Conn {
    /// What the proxy has moved besides the bytes of the stream.
    pub fn beside(&self) -> u64 {
        self.beside + self.ours.as_ref().map_or(0, Records::steps)
    }

    /// The server has got more of the header that it expects.
    pub(super) fn hear_header(&mut self) {
        let Some(header) = &mut self.expected else { return };
        let Some(found) = proxy_header::read(header).unwrap_or_else(|fault| panic!("{fault}: {}", header.escape_ascii())) else { return };
        let is_check = matches!(self.source, Some(Source::Check(_)));
        match found.announced {
            Announced::Itself => assert!(is_check, "a client is not announced"),
            Announced::Ip { source: SocketAddr::V4(source), .. } => assert!(!is_check && source.ip().octets()[..3] == [10, 9, 8]),
            other => panic!("{other:?} is announced"),
        }
        self.inbox.extend(header.drain(found.length..));
        (self.expected, self.has_announced) = (None, true);
    }

    /// Bytes have arrived at the proxy: of the stream, those whose records are whole.
    pub(super) fn arrive(&mut self, n: usize) {
        if self.theirs.is_none() {
            self.arrived += n as u64;
            return;
        }
        self.arrived_raw += n as u64;
        while let Some((_, sent)) = self.marks.pop_front_if(|(raw, _)| *raw <= self.arrived_raw) {
            self.arrived = sent;
        }
    }
}
