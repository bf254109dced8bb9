//! TCP in memory: what a kernel does between two parties, and the same events that epoll would report to one of them.
//!
//! ```text
//!     peer                                                     proxy
//!      send --> air (its send buffer) --> rx (receive queue) --> read
//!      recv <-- inbox (receive queue) <-- tx (send buffer)  <-- write
//! ```
//!
//! Bytes move one segment at a time, when the world says so or in the middle of the proxy's own calls. A FIN travels behind
//! the bytes; a RST overtakes them, and may or may not destroy what the other side had not read yet.

mod kernel;
mod layers;
mod peer;
pub mod records;

use records::Records;
use std::collections::{BTreeSet, VecDeque};
use std::io::ErrorKind;
use tidegate::net::token::Source;

/// Index of a connection; never used again within a world.
pub type Id = usize;

/// What becomes of a connect.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    Accepted,
    Refused,
    /// SYNs go nowhere.
    Ignored,
}

/// One connection, both ends.
#[derive(Debug)]
pub struct Conn {
    /// Of the proxy's end: which worker has it, and under which token (none in the accept queue).
    pub worker: usize,
    pub source: Option<Source>,
    /// Index of the server, for connections that the proxy made.
    pub server: Option<usize>,
    /// Which of its addresses it goes to.
    pub host: u8,
    /// Its server has switched to a tunnel, which takes no place.
    pub is_tunnel: bool,
    /// Until the handshake is over.
    connecting: Option<Fate>,
    /// It never was a connection.
    is_refused: bool,

    air: VecDeque<u8>,
    air_capacity: usize,
    air_fin: bool,
    /// The peer sent a RST that is on its way.
    air_rst: bool,
    rx: VecDeque<u8>,
    rx_capacity: usize,
    rx_fin: bool,
    is_reset: bool,
    /// Of the socket, reported once.
    error: Option<ErrorKind>,

    tx: VecDeque<u8>,
    tx_capacity: usize,
    tx_fin: bool,
    /// A write was refused or short, or a poll found no room: space that comes free is an edge.
    is_nospace: bool,
    inbox: VecDeque<u8>,
    inbox_capacity: usize,
    inbox_fin: bool,
    inbox_rst: bool,

    /// Where the connection carries records, the layers of the proxy and of the peer.
    pub ours: Option<Records>,
    theirs: Option<Records>,
    /// The peer never greets.
    is_mute: bool,
    /// Its greeting tells for whom it speaks.
    pub names_peer: bool,
    /// How many bytes of a header before the stream the proxy has not read.
    header: usize,
    /// Its server expects a header before the stream, of which this has come; then `None`.
    expected: Option<Vec<u8>>,
    /// It has announced a client, or nobody.
    pub has_announced: bool,
    /// Bytes of the peer's records that were sent, and have arrived.
    sent_raw: u64,
    arrived_raw: u64,
    /// For each record that is on its way, both counts at its end: of its bytes, and of the stream's.
    marks: VecDeque<(u64, u64)>,
    /// Bytes of records that the proxy read and wrote, or of a header that it read.
    beside: u64,

    /// Something happened since the last poll.
    is_triggered: bool,
    /// The proxy closed its socket.
    pub is_dropped: bool,
    resets_on_close: bool,
    /// The peer closed its socket: what arrives there is answered with a RST.
    is_deaf: bool,
    /// It will be, once its layer has the answers that it waits for.
    goes_deaf: bool,
    /// So many bytes were sent to the proxy; so many have arrived, and so many had at the last poll.
    pub sent_up: u64,
    arrived: u64,
    polled: u64,
    /// The last of what its server sent unasked, while no request was written after that.
    stray: Option<usize>,
    /// Whether stray bytes may have been taken for an answer: each later answer may then be taken for that of the next request.
    is_out_of_step: bool,
    /// The kernel has no memory for what the proxy wants to write, for the moment.
    is_cramped: bool,
    /// The proxy could not begin to write its request for that reason.
    pub is_put_off: bool,
    /// How often that happened.
    pub refusals: u64,
    /// How many requests the proxy has begun to write, and the number of the last.
    begun: u32,
    last_begun: Option<u64>,
    /// Bytes that the proxy read and wrote.
    pub read: u64,
    pub written: u64,
    /// Whether the proxy has read the peer's FIN.
    pub has_read_fin: bool,
}

/// What a server sent unasked.
#[derive(Debug)]
pub struct Stray {
    /// From that byte of the connection on.
    at: u64,
    /// A request was written after it, and before a poll had found any of it: it may be taken for the answer to that.
    pub is_fair: bool,
}

/// What a peer finds in its receive queue.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    Bytes(Vec<u8>),
    Nothing,
    Fin,
    Rst,
}

/// All connections of a world.
pub struct Wires {
    pub conns: Vec<Conn>,
    pub strays: Vec<Stray>,
    /// Requests that were sent on a connection whose answers may be shifted, which HTTP/1.1 cannot detect.
    pub unsure: BTreeSet<u64>,
    /// Requests of which no more is sent until the proxy has heard of the end of that connection.
    pub held: Vec<(u64, Id)>,
    /// How often the proxy has read, before it could begin to write a request, what was sent unasked.
    pub early_strays: u64,
    pub rng: fastrand::Rng,
    /// Another one, for what was added later: seeds without it keep their meaning.
    whims: fastrand::Rng,
    /// And one for records.
    pub lots: fastrand::Rng,
    /// Percent of further requests on a connection that the kernel does not take at once.
    pub cramps: u8,
    /// Longest segment.
    pub mtu: usize,
    /// Percent of the proxy's reads and writes during which the network goes on.
    pub bustle: u8,
    /// Largest send or receive buffer.
    pub max_buffer: usize,
    /// The smallest: what is large does not go through a few bytes at a time in any number of steps that is worth waiting for.
    pub min_buffer: usize,
    /// Calls of the proxy that moved something, and all of them in this turn.
    pub transfers: u64,
    pub calls: u64,
    pub trace: bool,
}

impl Wires {
    pub fn new(seed: u64, mtu: usize, max_buffer: usize, trace: bool) -> Self {
        let rng = fastrand::Rng::with_seed(seed);
        Self {
            conns: Vec::new(),
            strays: Vec::new(),
            unsure: BTreeSet::new(),
            held: Vec::new(),
            early_strays: 0,
            rng,
            whims: fastrand::Rng::with_seed(!seed),
            lots: fastrand::Rng::with_seed(seed ^ 0x7ec0_07d5),
            cramps: 0,
            mtu,
            bustle: 20,
            max_buffer,
            min_buffer: 1,
            transfers: 0,
            calls: 0,
            trace,
        }
    }

    fn buffer_size(&mut self) -> usize {
        let max = self.max_buffer;
        if self.rng.u8(0..4) == 0 { self.rng.usize(1..=max.min(600)).max(self.min_buffer) } else { self.rng.usize(max / 4..=max) }
    }

    /// A connection; `connecting` if the proxy makes it, and done already if a client does.
    pub fn open(&mut self, worker: usize, server: Option<usize>, connecting: Option<Fate>) -> Id {
        let [air_capacity, rx_capacity, tx_capacity, inbox_capacity] = std::array::from_fn(|_| self.buffer_size());
        self.conns.push(Conn {
            worker,
            source: None,
            server,
            host: 0,
            is_tunnel: false,
            connecting,
            is_refused: false,
            air: VecDeque::new(),
            air_capacity,
            air_fin: false,
            air_rst: false,
            rx: VecDeque::new(),
            rx_capacity,
            rx_fin: false,
            is_reset: false,
            error: None,
            tx: VecDeque::new(),
            tx_capacity,
            tx_fin: false,
            is_nospace: false,
            inbox: VecDeque::new(),
            inbox_capacity,
            inbox_fin: false,
            inbox_rst: false,
            ours: None,
            theirs: None,
            is_mute: false,
            names_peer: false,
            header: 0,
            expected: None,
            has_announced: false,
            sent_raw: 0,
            arrived_raw: 0,
            marks: VecDeque::new(),
            beside: 0,
            is_triggered: false,
            is_dropped: false,
            resets_on_close: false,
            is_deaf: false,
            goes_deaf: false,
            sent_up: 0,
            arrived: 0,
            polled: 0,
            stray: None,
            is_out_of_step: false,
            is_cramped: false,
            is_put_off: false,
            refusals: 0,
            begun: 0,
            last_begun: None,
            read: 0,
            written: 0,
            has_read_fin: false,
        });
        self.conns.len() - 1
    }

    fn note(&self, id: Id, what: impl FnOnce() -> String) {
        if self.trace {
            println!("    wire {id} {:?}: {}", self.conns[id].source, what());
        }
    }

    /// Whether something is on its way.
    pub fn moves(&self, id: Id) -> bool {
        let conn = &self.conns[id];
        conn.moves_up() || conn.moves_down() || conn.is_cramped
    }

    /// Moves one segment of one connection.
    pub fn step(&mut self, id: Id) {
        if self.conns[id].is_cramped && self.whims.u8(0..8) == 0 {
            self.note(id, || "the kernel has memory again".into());
            let conn = &mut self.conns[id];
            (conn.is_cramped, conn.is_nospace, conn.is_triggered) = (false, false, true);
            return;
        }
        let (up, down) = (self.conns[id].moves_up(), self.conns[id].moves_down());
        if up && (!down || self.rng.bool()) {
            self.move_up(id);
        } else if down {
            self.move_down(id);
        }
    }

    fn segment(&mut self, available: usize) -> usize {
        let n = available.min(self.mtu);
        if self.rng.u8(0..3) == 0 { self.rng.usize(1..=n) } else { n }
    }

    fn move_up(&mut self, id: Id) {
        if let Some(fate) = self.conns[id].connecting {
            self.note(id, || format!("the handshake ends: {fate:?}"));
            let conn = &mut self.conns[id];
            (conn.connecting, conn.is_triggered) = (None, true);
            if fate == Fate::Refused {
                (conn.is_refused, conn.is_reset, conn.error) = (true, true, Some(ErrorKind::ConnectionRefused));
            }
            return;
        }
        let conn = &self.conns[id];
        if conn.air_rst && (conn.air.is_empty() || conn.rx.len() >= conn.rx_capacity || self.rng.bool()) {
            return self.reset_proxy(id);
        }
        let conn = &self.conns[id];
        if conn.air.is_empty() {
            self.note(id, || "a FIN arrives".into());
            let conn = &mut self.conns[id];
            (conn.rx_fin, conn.is_triggered) = (true, true);
            return;
        }
        if conn.is_dropped {
            // Bytes for a socket that is closed.
            self.note(id, || "bytes for a closed socket: RST to the peer".into());
            return self.reset_peer(id);
        }
        let room = conn.rx_capacity - conn.rx.len();
        let n = self.segment(self.conns[id].air.len().min(room));
        self.note(id, || format!("{n} bytes arrive"));
        let conn = &mut self.conns[id];
        let Conn { air, rx, .. } = conn;
        rx.extend(air.drain(..n));
        conn.arrive(n);
        conn.is_triggered = true;
    }

    fn move_down(&mut self, id: Id) {
        let conn = &self.conns[id];
        if conn.tx.is_empty() {
            self.note(id, || "the peer gets FIN".into());
            let trigger = self.rng.bool();
            let conn = &mut self.conns[id];
            conn.inbox_fin = true;
            // The FIN's acknowledgement wakes the poll, whatever its mask is.
            conn.is_triggered |= trigger;
            return;
        }
        if conn.is_deaf {
            self.note(id, || "bytes for a peer that closed".into());
            return self.reset_proxy(id);
        }
        let room = conn.inbox_capacity - conn.inbox.len();
        let n = self.segment(self.conns[id].tx.len().min(room));
        let conn = &mut self.conns[id];
        let Conn { tx, inbox, expected, .. } = conn;
        let bytes = tx.drain(..n);
        let wrapped: Option<Vec<u8>> = if conn.theirs.is_some() {
            Some(bytes.collect())
        } else if let Some(header) = expected {
            header.extend(bytes);
            conn.hear_header();
            None
        } else {
            inbox.extend(bytes);
            None
        };
        if conn.is_nospace && conn.has_space() {
            conn.is_nospace = false;
            conn.is_triggered = true;
        }
        wrapped.into_iter().for_each(|bytes| self.unwrap(id, bytes));
    }

    /// A RST arrives at the proxy's end.
    fn reset_proxy(&mut self, id: Id) {
        let purge = self.rng.bool();
        self.note(id, || format!("a RST arrives{}", if purge { " and destroys what was not read" } else { "" }));
        let conn = &mut self.conns[id];
        conn.air.clear();
        conn.tx.clear();
        (conn.air_rst, conn.is_reset, conn.is_triggered) = (false, true, true);
        conn.error = Some(if conn.rx_fin { ErrorKind::BrokenPipe } else { ErrorKind::ConnectionReset });
        if purge {
            conn.rx.clear();
        }
    }

    /// A RST arrives at the peer.
    fn reset_peer(&mut self, id: Id) {
        let purge = self.rng.bool();
        let conn = &mut self.conns[id];
        conn.air.clear();
        conn.tx.clear();
        (conn.inbox_rst, conn.is_reset) = (true, true);
        if purge {
            conn.inbox.clear();
        }
    }

    /// The network goes on while the proxy is in a call.
    fn bustle(&mut self, id: Id) {
        while self.rng.u8(0..100) < self.bustle && self.moves(id) {
            self.step(id);
        }
    }
}

impl Conn {
    /// Whether the proxy's regular end has come to the peer.
    fn is_closed_to_peer(&self) -> bool {
        self.theirs.as_ref().map_or(self.inbox_fin, Records::was_closed)
    }

    /// Whether it ended for the peer.
    fn is_over(&self) -> bool {
        self.inbox_rst || self.is_reset || self.is_refused
    }

    fn moves_up(&self) -> bool {
        match self.connecting {
            Some(fate) => fate != Fate::Ignored,
            None if self.is_reset => false,
            None => {
                let bytes = !self.air.is_empty() && (self.rx.len() < self.rx_capacity || self.is_dropped);
                bytes || self.air_rst || (self.air.is_empty() && self.air_fin && !self.rx_fin)
            }
        }
    }

    fn moves_down(&self) -> bool {
        if self.is_reset || self.connecting.is_some() {
            return false;
        }
        let bytes = !self.tx.is_empty() && (self.inbox.len() < self.inbox_capacity || self.is_deaf);
        bytes || (self.tx.is_empty() && self.tx_fin && !self.inbox_fin)
    }
}
