//! The proxy's end of the wires: its sockets, its network, and a journal that keeps nothing.

use super::script::Road;
use crate::sim::pipe::SimPipe;
use crate::sim::wire::{Fate, Id, Wires};
use std::cell::{Cell, RefCell};
use std::io::{self, IoSlice, IoSliceMut};
use std::net::SocketAddr;
use std::rc::Rc;
use tidegate::net::link;
use tidegate::net::token::Source;
use tidegate::observe::access::Record;
use tidegate::session;
use tidegate::worker::core;

/// A socket that the proxy holds.
pub struct Socket {
    pub wires: Rc<RefCell<Wires>>,
    pub id: Id,
    pub taken: Option<Taken>,
}

/// What the network took of the proxy, whether it ever came to the other end or not.
pub type Taken = Rc<RefCell<Vec<u8>>>;

impl link::Socket for Socket {
    type Pipe = SimPipe;

    fn pour_in(&mut self, pipe: &mut SimPipe, most: usize) -> io::Result<usize> {
        pipe.fill(most, |into| self.read(into))
    }

    fn pour_out(&mut self, pipe: &mut SimPipe, most: usize) -> io::Result<usize> {
        pipe.empty(most, |from| self.write(from))
    }

    fn read(&mut self, into: &mut [IoSliceMut]) -> io::Result<usize> {
        self.wires.borrow_mut().read(self.id, into)
    }

    fn write(&mut self, from: &[IoSlice]) -> io::Result<usize> {
        let n = self.wires.borrow_mut().write(self.id, from)?;
        if let Some(taken) = &self.taken {
            let taken = &mut taken.borrow_mut();
            let end = taken.len() + n;
            from.iter().for_each(|slice| taken.extend_from_slice(slice));
            taken.truncate(end);
        }
        Ok(n)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        self.wires.borrow_mut().shutdown_write(self.id)
    }

    fn reset_on_close(&mut self) {
        self.wires.borrow_mut().reset_on_close(self.id);
    }

    fn take_error(&mut self) -> Option<io::Error> {
        self.wires.borrow_mut().take_error(self.id)
    }
}

impl Drop for Socket {
    fn drop(&mut self) {
        // Unless something panics in there right now.
        if let Ok(mut wires) = self.wires.try_borrow_mut() {
            wires.close(self.id);
        }
    }
}

/// The network.
pub struct Net {
    pub wires: Rc<RefCell<Wires>>,
    pub road: Rc<Cell<Road>>,
    /// Connections that nobody sits at the other end of yet.
    pub dialled: Rc<RefCell<Vec<(Id, Taken)>>>,
}

impl core::Net for Net {
    type Socket = Socket;

    fn pipe(&mut self) -> io::Result<SimPipe> {
        Ok(SimPipe::default())
    }

    fn dial(&mut self, address: SocketAddr, source: Source) -> io::Result<Socket> {
        let SocketAddr::V4(v4) = address else { panic!("an address that nobody has: {address}") };
        let fate = match self.road.get() {
            Road::Open => Fate::Accepted,
            Road::Refused => Fate::Refused,
            Road::Ignored => Fate::Ignored,
        };
        let mut wires = self.wires.borrow_mut();
        let id = wires.open(0, Some(usize::from(v4.ip().octets()[2])), Some(fate));
        wires.register(id, source);
        let taken = Taken::default();
        self.dialled.borrow_mut().push((id, taken.clone()));
        Ok(Socket { wires: self.wires.clone(), id, taken: Some(taken) })
    }
}

/// Nobody reads the lines, but they are made.
pub struct Journal;

impl session::Journal for Journal {
    fn is_on(&self) -> bool {
        true
    }

    fn line(&mut self, record: &Record) {
        assert!(record.status >= 101, "logged without an answer");
    }
}
