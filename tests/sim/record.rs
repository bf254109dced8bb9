//! A transport that carries records (`wire::records`), as TLS will: a short read says nothing, bytes of the stream are held back
//! here, a read may have to write first, nothing passes before both ends have greeted, and the end must be said.

use super::seen::{Seen, note};
use super::socket::{SimPipe, SimSocket};
use super::wire::records::{Kind, MOST, Records};
use std::io::{ErrorKind, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use tidegate::base::ring::Ring;
use tidegate::net::transport::plain::Socket;
use tidegate::net::transport::{Close, Edge, Introduction, Opening, Transfer, Transport};

/// How often it looks for something of the stream, before it calls a connection busy.
const LOOKS: usize = 64;
/// How many bytes it reads ahead.
const AHEAD: usize = 60_000;

/// The proxy's end of a connection that carries records. Its layer is in the wires, where the checks see it.
pub struct RecordTransport {
    socket: SimSocket,
    ready: Edge,
    /// Greets first.
    is_caller: bool,
    /// The other end's greeting will tell for whom it speaks.
    awaits_peer: bool,
    /// The most bytes that are read at once, and that one record takes.
    piece: usize,
    most: usize,
    /// It reads whatever there is before it looks at any of it: then an event announces nothing of what it holds back.
    reads_ahead: bool,
    /// Nothing more can be read.
    is_over: bool,
    /// A FIN follows what is to be written.
    ends: bool,
    has_ended: bool,
    /// The other end has closed, and this was told.
    has_told: bool,
    is_broken: bool,
    is_reset: bool,
    /// Whether it had to wait with its close.
    has_waited: bool,
}

impl RecordTransport {
    pub fn accepted(socket: SimSocket) -> Self {
        let awaits_peer = socket.wires.borrow().conns[socket.id].names_peer;
        Self { ready: Edge { writable: true, ..Edge::default() }, is_caller: false, awaits_peer, ..Self::dialled(socket) }
    }

    pub fn dialled(socket: SimSocket) -> Self {
        let (piece, most, reads_ahead) = {
            let lots = &mut socket.wires.borrow_mut().lots;
            ([100, 5000, 40_000][lots.usize(0..3)], [200, 3000, MOST][lots.usize(0..3)], lots.bool())
        };
        Self {
            socket,
            ready: Edge::default(),
            is_caller: true,
            awaits_peer: false,
            piece,
            most,
            reads_ahead,
            is_over: false,
            ends: false,
            has_ended: false,
            has_told: false,
            is_broken: false,
            is_reset: false,
            has_waited: false,
        }
    }

    pub fn socket(&self) -> &SimSocket {
        &self.socket
    }

    fn layer<R>(&self, ask: impl FnOnce(&Records) -> R) -> R {
        ask(self.socket.wires.borrow().conns[self.socket.id].ours.as_ref().unwrap())
    }

    fn change<R>(&mut self, change: impl FnOnce(&mut Records) -> R) -> R {
        change(self.socket.wires.borrow_mut().conns[self.socket.id].ours.as_mut().unwrap())
    }

    /// Writes what is to be written; then, if it has ended, a FIN. Returns whether nothing is left.
    fn flush(&mut self) -> bool {
        while !self.is_broken {
            let out = self.layer(|layer| layer.out().to_vec());
            if out.is_empty() {
                break;
            }
            match self.socket.write(&[IoSlice::new(&out)]) {
                Ok(n) => self.change(|layer| layer.wrote(n)),
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    self.ready.writable = false;
                    return false;
                }
                Err(_) => {
                    // Who waited for this to be written reads what came before, and then the end.
                    self.change(|layer| layer.wrote(out.len()));
                    (self.is_broken, self.ready.readable) = (true, true);
                }
            }
        }
        if self.ends && !self.is_broken && !std::mem::replace(&mut self.has_ended, true) {
            let _ = self.socket.shutdown_write();
        }
        true
    }

    /// Reads bytes of records.
    fn pull(&mut self) -> Result<usize, Transfer> {
        let mut pulled = 0;
        while !self.is_over && (pulled == 0 || (self.reads_ahead && pulled < AHEAD)) {
            let mut piece = vec![0; self.piece];
            let read = self.socket.read(&mut [IoSliceMut::new(&mut piece)]);
            // A short read says nothing: only a refusal does.
            self.ready.readable = matches!(read, Ok(1..));
            match read {
                Ok(n @ 1..) => {
                    self.change(|layer| layer.hear(piece[..n].iter().copied()));
                    pulled += n;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return if pulled > 0 { Ok(pulled) } else { Err(Transfer::Blocked) };
                }
                Ok(_) | Err(_) => self.is_over = true,
            }
        }
        if pulled > 0 { Ok(pulled) } else { Err(Transfer::Failed) }
    }

    /// An end that was not said is none.
    fn on_cut_off(&mut self) {
        if !self.is_broken {
            note(Seen::CutOff);
        }
        self.count_end();
    }

    /// The proxy knows of the other side's end.
    fn count_end(&mut self) {
        self.has_told = true;
        self.socket.wires.borrow_mut().conns[self.socket.id].has_read_fin = true;
    }

    /// Bytes of the stream, or what there is instead, after at most one read.
    fn take(&mut self, room: usize) -> Result<Vec<u8>, Transfer> {
        let mut beside = 0;
        loop {
            self.flush();
            let bytes: Vec<u8> = self.change(|layer| layer.take(room).collect());
            if !bytes.is_empty() {
                self.socket.wires.borrow_mut().count_read(self.socket.id, bytes.len(), room);
                if self.layer(Records::held) > 0 {
                    note(Seen::HeldBack);
                }
                return Ok(bytes);
            }
            if self.layer(Records::was_closed) {
                self.count_end();
                self.ready.readable = false;
                return Err(Transfer::Fin);
            }
            if self.layer(Records::waits_to_answer) {
                note(Seen::ReadWaitsForWrite);
                return Err(if beside > 0 { Transfer::Beside(beside) } else { Transfer::Blocked });
            }
            if self.change(Records::step) {
                continue;
            }
            if beside > 0 {
                return Err(Transfer::Beside(beside));
            }
            match self.pull() {
                Ok(n) => beside = n,
                Err(transfer) => {
                    if transfer == Transfer::Failed {
                        self.on_cut_off();
                    }
                    return Err(transfer);
                }
            }
        }
    }

    /// Goes on with the greeting.
    fn greet(&mut self) {
        if self.is_caller && self.ready.writable && !self.ready.gone && !self.layer(Records::has_greeted) && !self.ends {
            self.change(|layer| layer.say(Kind::Hello, b"hello"));
        }
        self.flush();
        while !self.layer(Records::is_open) && (self.change(Records::step) || (self.ready.readable && self.pull().is_ok())) {}
        self.flush();
    }
}

impl Transport for RecordTransport {
    type Pipe = SimPipe;

    fn on_edge(&mut self, edge: Edge) {
        self.ready.readable |= edge.readable;
        self.ready.writable |= edge.writable;
        self.ready.read_closed |= edge.read_closed;
        self.ready.gone |= edge.gone;
        if !self.layer(Records::is_open) {
            self.greet();
        } else if self.ready.writable {
            self.flush();
        }
    }

    fn awaits_peer(&self) -> bool {
        self.awaits_peer
    }

    fn take_peer(&mut self) -> Option<Result<Introduction, String>> {
        if !self.awaits_peer || !self.layer(Records::was_greeted) {
            return None;
        }
        self.awaits_peer = false;
        note(Seen::PeerKnownLate);
        let greeting = self.layer(|layer| String::from_utf8_lossy(&layer.greeting).into_owned());
        let client = greeting.parse::<SocketAddr>().expect("an address").into();
        Some(Ok(Introduction { client, destination: None }))
    }

    fn say_first(&mut self, _: Vec<u8>) {
        panic!("records have no first words")
    }

    fn open(&mut self) -> Opening {
        let failed = self.ready.gone || self.ready.read_closed;
        match failed.then(|| self.socket.take_error()).flatten() {
            Some(error) => Opening::Failed(error),
            None if self.layer(Records::is_open) => Opening::Open,
            None if failed || self.is_broken || self.is_over => Opening::Failed(ErrorKind::UnexpectedEof.into()),
            None => Opening::Pending,
        }
    }

    fn may_read(&self) -> bool {
        let (is_open, holds, waits) = self.layer(|layer| {
            let ends = (layer.was_closed() || self.is_over) && !self.has_told;
            (layer.is_open(), layer.held() > 0 || layer.may_step() || ends, layer.waits_to_answer())
        });
        // In the middle of the greeting an end can be read.
        holds || (self.ready.readable && !waits && (is_open || self.ready.read_closed || self.ready.gone))
    }

    fn may_write(&self) -> bool {
        self.is_broken || (self.ready.writable && self.layer(|layer| layer.is_open() && layer.out().is_empty()))
    }

    fn is_gone(&self) -> bool {
        self.ready.gone
    }

    fn is_ending(&self) -> bool {
        self.ready.read_closed || self.layer(Records::was_closed)
    }

    fn look_again(&mut self) {
        self.ready.readable = true;
    }

    fn fill(&mut self, ring: &mut Ring) -> Transfer {
        match self.take(ring.room()) {
            Ok(bytes) => {
                let (first, second) = ring.room_mut();
                let at = bytes.len().min(first.len());
                first[..at].copy_from_slice(&bytes[..at]);
                second[..bytes.len() - at].copy_from_slice(&bytes[at..]);
                ring.fill(bytes.len());
                Transfer::Bytes(bytes.len())
            }
            Err(transfer) => transfer,
        }
    }

    fn read(&mut self, buffer: &mut [u8]) -> Transfer {
        match self.take(buffer.len()) {
            Ok(bytes) => {
                buffer[..bytes.len()].copy_from_slice(&bytes);
                Transfer::Bytes(bytes.len())
            }
            Err(transfer) => transfer,
        }
    }

    /// What is taken is in a record, which may be written later: until then it takes no more.
    fn send(&mut self, slices: &[IoSlice]) -> Transfer {
        if self.is_broken {
            return Transfer::Failed;
        }
        if !self.layer(Records::is_open) || !self.flush() {
            return Transfer::Blocked;
        }
        let bytes: Vec<u8> = slices.iter().flat_map(|slice| slice.iter().copied()).take(self.most).collect();
        let begun = slices.iter().find(|slice| !slice.is_empty()).expect("something is sent");
        let updates = self.socket.wires.borrow_mut().lots.u8(0..20) == 0;
        self.change(|layer| {
            if updates {
                layer.say(Kind::Update, b"");
            }
            layer.say(Kind::Data, &bytes);
        });
        self.flush();
        if self.is_broken {
            return Transfer::Failed;
        }
        self.socket.wires.borrow_mut().count_written(self.socket.id, begun, bytes.len());
        Transfer::Bytes(bytes.len())
    }

    fn may_pour(&self) -> bool {
        false
    }

    fn pour_in(&mut self, _: &mut SimPipe, _: usize) -> Transfer {
        panic!("bytes go past the records")
    }

    fn pour_out(&mut self, _: &mut SimPipe, _: usize) -> Transfer {
        panic!("bytes go past the records")
    }

    fn check_quiet(&mut self) -> bool {
        for _ in 0..LOOKS {
            if self.ready.gone || self.ready.read_closed {
                return false;
            }
            // Half a record may be the beginning of anything.
            if !self.may_read() {
                return self.layer(Records::is_read);
            }
            match self.read(&mut [0]) {
                Transfer::Blocked => return self.layer(Records::is_read),
                Transfer::Beside(_) => note(Seen::MurmurOnIdle),
                _ => return false,
            }
        }
        false
    }

    fn check_quiet_now(&mut self) -> bool {
        self.look_again();
        self.check_quiet()
    }

    fn is_delivered(&self) -> bool {
        (self.is_broken || self.layer(|layer| layer.out().is_empty() && !layer.awaits_answer())) && self.socket.is_delivered()
    }

    /// The other end's close is still to come.
    fn may_part(&self) -> bool {
        self.is_broken
    }

    fn close(&mut self, how: Close) {
        match how {
            Close::Sending => {
                self.change(Records::close);
                self.ends = true;
                self.flush();
            }
            Close::Reset => {
                self.is_reset = true;
                self.socket.reset_on_close();
            }
        }
    }

    fn take_leave(&mut self) -> bool {
        if self.is_reset || self.is_broken || !self.layer(Records::is_open) {
            return true;
        }
        self.change(Records::close);
        let is_over = self.flush();
        if !is_over {
            self.has_waited = true;
        } else if self.has_waited {
            note(Seen::LeaveTakenLate);
        }
        is_over
    }
}
