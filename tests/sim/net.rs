//! The network of the simulation, and the access log.

use super::ledger::Books;
use super::seen::{Seen, note};
use super::socket::{SimPipe, SimSocket};
use super::transport::SimTransport;
use super::wire::{Conn, Fate, Wires};
use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use tidegate::base::address::{Address, Peer};
use tidegate::base::proxy_header::ProxyVersion;
use tidegate::net::token::Source;
use tidegate::observe::access::{Record, RequestLine};
use tidegate::session::Journal;
use tidegate::tls::client::Departure;
use tidegate::worker::core::Net;

/// The last byte of an address that is of no use.
pub const DECOY: u8 = 2;

/// How connects go, in percent; the rest is accepted.
#[derive(Clone, Copy, Debug, Default)]
pub struct Roads {
    pub refused: u8,
    pub ignored: u8,
    /// `connect` fails at once.
    pub unreachable: u8,
    /// No descriptor, whatever the budget says.
    pub starved: u8,
}

/// Which version of the PROXY protocol a server expects, in a world where some do.
pub fn announces(server: usize) -> Option<ProxyVersion> {
    [None, Some(ProxyVersion::V1), Some(ProxyVersion::V2)][server % 3]
}

/// The network of one worker.
pub struct SimNet {
    pub wires: Rc<RefCell<Wires>>,
    pub books: Rc<RefCell<Books>>,
    pub worker: usize,
    pub roads: Roads,
    pub limit: usize,
    /// Addresses that are of no use take connections.
    pub has_open_decoys: bool,
    /// Origins speak records.
    pub has_records: bool,
    /// Some origins expect headers of the PROXY protocol.
    pub has_headers: bool,
}

impl Net for SimNet {
    type Transport = SimTransport;

    fn pipe(&mut self) -> io::Result<SimPipe> {
        Ok(SimPipe::default())
    }

    fn dial(&mut self, address: &Address, _: Option<Departure>, source: Source) -> io::Result<SimTransport> {
        let mut wires = self.wires.borrow_mut();
        // Servers are told apart by the third byte of their addresses.
        let Address::Ip(SocketAddr::V4(v4)) = address else { panic!("an address that nobody has: {address}") };
        let server = usize::from(v4.ip().octets()[2]);
        let is_decoy = v4.ip().octets()[3] == DECOY && !self.has_open_decoys;
        let roll = wires.rng.u8(0..100);
        let Roads { refused, ignored, unreachable, starved } = self.roads;
        let fate = match roll {
            r if is_decoy => [Fate::Refused, Fate::Ignored][usize::from(r % 2)],
            r if r < refused => Fate::Refused,
            r if r < refused + ignored => Fate::Ignored,
            r if r < refused + ignored + unreachable => return Err(io::Error::from_raw_os_error(libc::ENETUNREACH)),
            r if r < refused + ignored + unreachable + starved => return Err(io::Error::from_raw_os_error(libc::EMFILE)),
            _ => Fate::Accepted,
        };
        // The outcome of checks is decided at their other end.
        let is_check = matches!(source, Source::Check(_));
        let fate = if is_check && !is_decoy { Fate::Accepted } else { fate };
        let id = wires.open(self.worker, Some(server), Some(fate));
        wires.register(id, source);
        let host = v4.ip().octets()[3];
        wires.conns[id].host = host;
        let is_counted =
            |conn: &Conn| conn.host == host && !conn.is_dropped && !conn.is_tunnel && !matches!(conn.source, Some(Source::Check(_)));
        let open = wires.conns.iter().filter(|conn| conn.server == Some(server) && is_counted(conn)).count();
        assert!(is_check || open <= self.limit, "{open} connections to {address}, the limit is {}", self.limit);
        if wires.trace {
            println!("    wire {id} {source:?}: dialled {address}, will be {fate:?}");
        }
        self.books.borrow_mut().dialled.push(id);
        if self.has_headers && announces(server).is_some() {
            wires.expect_header(id);
        }
        if self.has_records {
            let greets = is_check || wires.lots.u8(0..100) >= (refused + ignored) / 2;
            wires.speak_records(id, greets, None);
            (0..u8::from(!greets && fate == Fate::Accepted)).for_each(|_| note(Seen::NeverGreeted));
        }
        drop(wires);
        Ok(SimTransport::dialled(SimSocket { wires: self.wires.clone(), id, taken: None }))
    }

    fn register(&mut self, transport: &SimTransport, source: Source) -> io::Result<()> {
        self.wires.borrow_mut().register(transport.id(), source);
        Ok(())
    }
}

/// A line of the access log.
#[derive(Clone, Debug)]
pub struct Line {
    /// Of a request that was parsed, the number in its target.
    pub nonce: Option<u64>,
    pub is_parsed: bool,
    pub status: u16,
    pub error: Option<String>,
    pub bytes_out: u64,
    pub attempts: u32,
    pub peer: Peer,
}

/// Keeps every line.
pub struct SimJournal(pub Rc<RefCell<Books>>);

impl Journal for SimJournal {
    fn is_on(&self) -> bool {
        true
    }

    fn line(&mut self, record: &Record) {
        let (is_parsed, nonce) = match record.request {
            RequestLine::Parsed { target, .. } => (true, super::ledger::nonce_of(&String::from_utf8_lossy(target))),
            RequestLine::Raw(_) => (false, None),
        };
        let (status, error) = (record.status, record.error.map(str::to_owned));
        self.0.borrow_mut().lines.push(Line {
            nonce,
            is_parsed,
            status,
            error,
            bytes_out: record.bytes_out,
            attempts: record.attempts,
            peer: record.peer,
        });
    }
}
