//! The proxy's side of the wires: its calls to the kernel, and what a poll tells it.

use super::{Conn, Id, Wires};
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use tidegate::net::token::Source;
use tidegate::net::transport::Edge;

impl Wires {
    pub fn read(&mut self, id: Id, into: &mut [IoSliceMut]) -> io::Result<usize> {
        self.calls += 1;
        let conn = &mut self.conns[id];
        let room: usize = into.iter().map(|slice| slice.len()).sum();
        assert!(room > 0, "the proxy reads into nothing: 0 would mean FIN");
        if conn.rx.is_empty() {
            let error = conn.error.take();
            let ended = conn.rx_fin || conn.is_reset;
            conn.has_read_fin |= error.is_none() && conn.rx_fin && conn.ours.is_none();
            self.note(id, || format!("read: {error:?}, ended {ended}"));
            return match error {
                Some(error) => Err(error.into()),
                None if ended => Ok(0),
                None => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let mut n = 0;
        for slice in into {
            let part = slice.len().min(conn.rx.len());
            let (first, second) = conn.rx.as_slices();
            let from_first = part.min(first.len());
            slice[..from_first].copy_from_slice(&first[..from_first]);
            slice[from_first..part].copy_from_slice(&second[..part - from_first]);
            conn.rx.drain(..part);
            n += part;
        }
        if conn.ours.is_some() {
            conn.beside += n as u64;
        } else {
            let of_header = n.min(conn.header);
            assert!(of_header == 0 || of_header == n, "the header's bytes and those of the stream in one read");
            conn.header -= of_header;
            conn.beside += of_header as u64;
            self.count_read(id, n - of_header, room);
        }
        self.transfers += 1;
        self.note(id, || format!("read {n} of {room}"));
        self.bustle(id);
        Ok(n)
    }

    /// Shows what could be read.
    pub fn peek(&mut self, id: Id, into: &mut [u8]) -> io::Result<usize> {
        self.calls += 1;
        let conn = &mut self.conns[id];
        if conn.rx.is_empty() {
            return match conn.error.take() {
                Some(error) => Err(error.into()),
                None if conn.rx_fin || conn.is_reset => Ok(0),
                None => Err(ErrorKind::WouldBlock.into()),
            };
        }
        let n = into.len().min(conn.rx.len());
        into.iter_mut().zip(&conn.rx).for_each(|(place, byte)| *place = *byte);
        Ok(n)
    }

    /// The proxy has got bytes of the stream.
    pub fn count_read(&mut self, id: Id, n: usize, room: usize) {
        let conn = &mut self.conns[id];
        conn.read += n as u64;
        let is_stray = conn.stray.is_some_and(|number| conn.read > self.strays[number].at);
        // A look at one byte only finds out that there is something.
        self.early_strays += u64::from(conn.is_put_off && is_stray && room > 1);
    }

    pub fn write(&mut self, id: Id, from: &[IoSlice]) -> io::Result<usize> {
        self.calls += 1;
        let conn = &mut self.conns[id];
        let wanted: usize = from.iter().map(|slice| slice.len()).sum();
        assert!(wanted > 0, "the proxy writes nothing");
        assert!(!conn.tx_fin, "the proxy writes after its FIN");
        if conn.is_reset {
            return Err(conn.error.take().unwrap_or(ErrorKind::BrokenPipe).into());
        }
        let is_wrapped = conn.ours.is_some();
        let nonce = from.first().filter(|_| !is_wrapped).and_then(|slice| request_begun(slice));
        if nonce.is_some() && conn.begun > 0 && self.cramps > 0 && !conn.is_cramped {
            conn.is_cramped = self.whims.u8(0..100) < self.cramps;
        }
        conn.is_put_off = nonce.is_some() && conn.is_cramped;
        conn.refusals += u64::from(conn.is_put_off);
        let room = if conn.connecting.is_some() || conn.is_cramped { 0 } else { conn.tx_capacity - conn.tx.len() };
        conn.is_nospace |= wanted > room;
        if room == 0 {
            self.note(id, || format!("write of {wanted}: no room"));
            self.bustle(id);
            return Err(ErrorKind::WouldBlock.into());
        }
        self.count_request(id, nonce);
        let conn = &mut self.conns[id];
        let mut n = 0;
        for slice in from {
            let part = slice.len().min(room - n);
            conn.tx.extend(&slice[..part]);
            n += part;
        }
        if is_wrapped {
            conn.beside += n as u64;
        } else {
            conn.written += n as u64;
        }
        self.transfers += 1;
        self.note(id, || format!("wrote {n} of {wanted}"));
        self.bustle(id);
        Ok(n)
    }

    /// The proxy's record layer has taken bytes of the stream.
    pub fn count_written(&mut self, id: Id, begun: &[u8], n: usize) {
        self.count_request(id, request_begun(begun));
        self.conns[id].written += n as u64;
    }

    /// The proxy begins to write a request.
    fn count_request(&mut self, id: Id, nonce: Option<u64>) {
        let Some(nonce) = nonce else { return };
        let conn = &mut self.conns[id];
        // A request is written once more where only a part of its method was taken.
        let is_announced = conn.has_announced || conn.expected.is_some();
        assert!(!is_announced || [None, Some(nonce)].contains(&conn.last_begun), "a connection for one client carries another request");
        (conn.begun, conn.last_begun) = (conn.begun + 1, Some(nonce));
        if let Some(number) = conn.stray.take() {
            let stray = &mut self.strays[number];
            stray.is_fair = conn.polled <= stray.at;
            conn.is_out_of_step |= stray.is_fair;
        }
        if conn.is_out_of_step {
            self.unsure.insert(nonce);
        }
    }

    pub fn shutdown_write(&mut self, id: Id) -> io::Result<()> {
        self.note(id, || "half-closed by the proxy".into());
        let conn = &mut self.conns[id];
        if conn.is_reset || conn.connecting.is_some() {
            return Err(ErrorKind::NotConnected.into());
        }
        conn.tx_fin = true;
        Ok(())
    }

    pub fn reset_on_close(&mut self, id: Id) {
        self.conns[id].resets_on_close = true;
    }

    pub fn take_error(&mut self, id: Id) -> Option<io::Error> {
        self.conns[id].error.take().map(Into::into)
    }

    /// Whether all that the proxy wrote, a FIN included, is in the peer's receive queue.
    pub fn is_delivered(&self, id: Id) -> bool {
        let conn = &self.conns[id];
        conn.is_reset || (conn.tx.is_empty() && conn.tx_fin == conn.inbox_fin)
    }

    /// The proxy's socket is closed.
    pub fn close(&mut self, id: Id) {
        let conn = &mut self.conns[id];
        assert!(!conn.is_dropped);
        conn.is_dropped = true;
        if conn.is_reset {
            return;
        }
        if conn.connecting.is_some() {
            (conn.connecting, conn.is_refused, conn.is_reset) = (None, true, true);
        } else if conn.resets_on_close || !conn.rx.is_empty() {
            self.note(id, || "closed by the proxy with a RST".into());
            // What was already on its way may have come before it.
            while self.conns[id].moves_down() && !self.conns[id].is_deaf && self.rng.bool() {
                self.move_down(id);
            }
            self.reset_peer(id);
        } else {
            self.note(id, || "closed by the proxy".into());
            self.conns[id].tx_fin = true;
        }
    }

    /// The token was given to the poll: what is there already is an edge.
    pub fn register(&mut self, id: Id, source: Source) {
        let conn = &mut self.conns[id];
        conn.source = Some(source);
        conn.is_triggered = conn.connecting.is_none();
    }

    /// Makes the next poll report the connection without a reason.
    pub fn disturb(&mut self, id: Id) {
        self.conns[id].is_triggered = true;
    }

    /// Whether a poll of that worker would return something.
    pub fn has_edge(&self, worker: usize) -> bool {
        self.conns.iter().any(|conn| conn.worker == worker && conn.is_polled() && conn.edge() != Edge::default())
    }

    /// What epoll_wait returns, in any order: of each connection on which something happened, all that is true of it now. On some
    /// it happens just afterwards: the next poll tells, and a send may be the first to learn of it.
    pub fn poll(&mut self, worker: usize, edges: &mut Vec<(Source, Edge)>) {
        let Self { conns, rng, .. } = self;
        for conn in conns.iter_mut().filter(|conn| conn.worker == worker && conn.is_polled()) {
            if rng.u8(0..8) == 0 {
                continue;
            }
            (conn.is_triggered, conn.polled) = (false, conn.arrived);
            let edge = conn.edge();
            conn.is_nospace |= !edge.writable;
            if let Some(source) = conn.source.filter(|_| edge != Edge::default()) {
                edges.push((source, edge));
            }
        }
        self.rng.shuffle(edges);
    }
}

impl Conn {
    /// Whether something can be read, and a poll has said so.
    pub fn is_waiting(&self) -> bool {
        let is_there = match &self.ours {
            // A header is taken when all of it is there.
            None => !self.rx.is_empty() && self.rx.len() >= self.header,
            Some(ours) if ours.waits_to_answer() => ours.held() > 0,
            Some(ours) => ours.held() > 0 || ours.may_step() || !self.rx.is_empty(),
        };
        !self.is_triggered && self.connecting.is_none() && is_there
    }

    /// Whether something can be written, and a poll has said so, or nothing ever said otherwise.
    pub fn is_open(&self) -> bool {
        let has_room = self.connecting.is_none() && self.tx.len() < self.tx_capacity && !self.tx_fin && !self.is_cramped;
        let is_free = self.ours.as_ref().is_none_or(|ours| ours.may_say() && ours.out().is_empty());
        !self.is_triggered && has_room && !self.is_nospace && !self.is_reset && is_free
    }

    fn is_polled(&self) -> bool {
        self.is_triggered && !self.is_dropped && self.source.is_some()
    }

    /// Linux calls a socket writable again once a third of its send buffer is free.
    pub(super) fn has_space(&self) -> bool {
        !self.is_cramped && (self.tx_capacity - self.tx.len()) * 3 >= self.tx_capacity
    }

    /// The mask of `tcp_poll`, through the eyes of mio.
    fn edge(&self) -> Edge {
        if self.connecting.is_some() {
            return Edge::default();
        }
        let gone = self.is_reset || (self.rx_fin && self.tx_fin);
        let read_closed = self.rx_fin || self.is_reset;
        let readable = !self.rx.is_empty() || read_closed || gone;
        let writable = self.is_reset || self.tx_fin || self.has_space();
        Edge { readable, writable, read_closed, urgent: false, gone }
    }
}

/// The number in the target of a request, if these are the first bytes of one that the proxy writes.
fn request_begun(bytes: &[u8]) -> Option<u64> {
    let line = std::str::from_utf8(bytes.split(|&byte| byte == b'\r').next()?).ok()?;
    line.strip_suffix(" HTTP/1.1")?.split_once(" /n/")?.1.parse().ok()
}
