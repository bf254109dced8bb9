//! The network, and a log that is discarded.

use super::script::Road;
use crate::sim::socket::{SimPipe, SimSocket, Taken};
use crate::sim::wire::{Fate, Id, Wires};
use std::cell::{Cell, RefCell};
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tidegate::base::address::Address;
use tidegate::net::token::Source;
use tidegate::net::transport::plain::PlainTransport;
use tidegate::observe::access::Record;
use tidegate::session;
use tidegate::tls::client::Departure;
use tidegate::worker::core;

/// The network.
pub struct Net {
    pub wires: Rc<RefCell<Wires>>,
    pub road: Rc<Cell<Road>>,
    /// Connections that no upstream has taken yet.
    pub dialled: Rc<RefCell<Vec<(Id, Taken)>>>,
}

impl core::Net for Net {
    type Transport = PlainTransport<SimSocket>;

    fn pipe(&mut self) -> io::Result<SimPipe> {
        Ok(SimPipe::default())
    }

    fn dial(&mut self, address: &Address, _: Option<Departure>, source: Source) -> io::Result<PlainTransport<SimSocket>> {
        let Address::Ip(SocketAddr::V4(v4)) = address else { panic!("an address that nobody has: {address}") };
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
        Ok(PlainTransport::dialled(SimSocket { wires: self.wires.clone(), id, taken: Some(taken) }))
    }

    fn register(&mut self, transport: &PlainTransport<SimSocket>, source: Source) -> io::Result<()> {
        self.wires.borrow_mut().register(transport.socket().id, source);
        Ok(())
    }
}

/// Formats the lines of the log, and discards them.
pub struct Journal;

impl session::Journal for Journal {
    fn is_on(&self) -> bool {
        true
    }

    fn line(&mut self, record: &Record) {
        assert!(record.status >= 101, "logged without an answer");
    }
}
