//! What carries a connection of the simulation: plain bytes, perhaps after a header of the PROXY protocol, or records.

use super::record::RecordTransport;
use super::seen::{Seen, note};
use super::socket::{SimPipe, SimSocket};
use std::io::IoSlice;
use tidegate::base::address::Peer;
use tidegate::base::ring::Ring;
use tidegate::net::transport::plain::PlainTransport;
use tidegate::net::transport::preface::PrefaceTransport;
use tidegate::net::transport::{Close, Edge, Introduction, Opening, Transfer, Transport};

/// What carries a connection of the simulation.
pub enum SimTransport {
    Plain(PlainTransport<SimSocket>),
    Record(Box<RecordTransport>),
    /// It becomes a plain one.
    Preface(Box<PrefaceTransport<SimSocket>>),
}

macro_rules! each {
    ($self:ident, $transport:ident => $do:expr) => {
        match $self {
            SimTransport::Plain($transport) => $do,
            SimTransport::Record($transport) => $do,
            SimTransport::Preface($transport) => $do,
        }
    };
}

impl SimTransport {
    pub fn accepted(socket: SimSocket, peer: Peer) -> Self {
        let is_record = socket.wires.borrow().speaks_records(socket.id);
        let has_preface = !is_record && socket.wires.borrow().conns[socket.id].names_peer;
        if is_record {
            return Self::Record(Box::new(RecordTransport::accepted(socket)));
        }
        let plain = PlainTransport::accepted(socket);
        if has_preface { Self::Preface(Box::new(PrefaceTransport::new(plain, peer))) } else { Self::Plain(plain) }
    }

    pub fn dialled(socket: SimSocket) -> Self {
        let is_record = socket.wires.borrow().speaks_records(socket.id);
        if is_record { Self::Record(Box::new(RecordTransport::dialled(socket))) } else { Self::Plain(PlainTransport::dialled(socket)) }
    }

    pub fn id(&self) -> usize {
        each!(self, transport => transport.socket().id)
    }
}

impl Transport for SimTransport {
    type Pipe = SimPipe;

    fn on_edge(&mut self, edge: Edge) {
        each!(self, transport => transport.on_edge(edge))
    }

    fn awaits_peer(&self) -> bool {
        each!(self, transport => transport.awaits_peer())
    }

    fn take_peer(&mut self) -> Option<Result<Introduction, String>> {
        let Self::Preface(preface) = self else { return each!(self, transport => transport.take_peer()) };
        let verdict = preface.take_peer()?;
        if verdict.is_ok() {
            note(Seen::HeaderTaken);
            *self = Self::Plain(preface.take_plain().expect("the socket"));
        }
        Some(verdict)
    }

    fn say_first(&mut self, bytes: Vec<u8>) {
        each!(self, transport => transport.say_first(bytes))
    }

    fn open(&mut self) -> Opening {
        each!(self, transport => transport.open())
    }

    fn may_read(&self) -> bool {
        each!(self, transport => transport.may_read())
    }

    fn may_write(&self) -> bool {
        each!(self, transport => transport.may_write())
    }

    fn is_gone(&self) -> bool {
        each!(self, transport => transport.is_gone())
    }

    fn is_ending(&self) -> bool {
        each!(self, transport => transport.is_ending())
    }

    fn look_again(&mut self) {
        each!(self, transport => transport.look_again())
    }

    fn fill(&mut self, ring: &mut Ring) -> Transfer {
        each!(self, transport => transport.fill(ring))
    }

    fn read(&mut self, buffer: &mut [u8]) -> Transfer {
        each!(self, transport => transport.read(buffer))
    }

    fn send(&mut self, slices: &[IoSlice]) -> Transfer {
        each!(self, transport => transport.send(slices))
    }

    fn may_pour(&self) -> bool {
        each!(self, transport => transport.may_pour())
    }

    fn pour_in(&mut self, pipe: &mut SimPipe, most: usize) -> Transfer {
        each!(self, transport => transport.pour_in(pipe, most))
    }

    fn pour_out(&mut self, pipe: &mut SimPipe, most: usize) -> Transfer {
        each!(self, transport => transport.pour_out(pipe, most))
    }

    fn check_quiet(&mut self) -> bool {
        each!(self, transport => transport.check_quiet())
    }

    fn check_quiet_now(&mut self) -> bool {
        each!(self, transport => transport.check_quiet_now())
    }

    fn is_delivered(&self) -> bool {
        each!(self, transport => transport.is_delivered())
    }

    fn may_part(&self) -> bool {
        each!(self, transport => transport.may_part())
    }

    fn close(&mut self, how: Close) {
        each!(self, transport => transport.close(how))
    }

    fn take_leave(&mut self) -> bool {
        each!(self, transport => transport.take_leave())
    }
}
