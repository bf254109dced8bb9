//! What the shell lends to a session for one event: time, chance, configuration, counters. Nothing here outlives the call.

use super::event::Effect;
use super::exchange::Exchange;
use crate::base::clock::Now;
use crate::base::pool::BufferPool;
use crate::http::date::DateCache;
use crate::http::head::SmallTable;
use crate::observe::access::Record;
use crate::observe::stats::WorkerStats;
use crate::site::Site;
use crate::upstream::pool::OpenCircuit;
use std::rc::Rc;
use std::sync::Arc;

/// Takes the lines of the access log.
pub trait Journal {
    /// Whether anybody reads them.
    fn is_on(&self) -> bool;
    /// One line for one request.
    fn line(&mut self, record: &Record);
}

/// See the module.
pub struct Turn<'a> {
    /// Read once for all events of a batch.
    pub now: Now,
    /// For requests that begin now.
    pub site: &'a Rc<Arc<Site>>,
    /// Index of the worker.
    pub worker: usize,
    /// The port that the client connected to.
    pub port: u16,
    /// The session came through the admin port.
    pub is_admin: bool,
    /// The process ends soon: new requests are refused if so configured.
    pub is_draining: bool,
    /// Connections are not kept: the process ends, or the address is listened on no more.
    pub is_leaving: bool,
    /// Chance.
    pub rng: &'a mut fastrand::Rng,
    /// `Date`.
    pub date: &'a mut DateCache,
    /// This worker's counters.
    pub stats: &'a WorkerStats,
    /// The access log.
    pub journal: &'a mut dyn Journal,
    /// Exchanges to be used again.
    pub exchanges: &'a mut Vec<Box<Exchange>>,
    /// Storage for rings.
    pub buffers: &'a mut BufferPool,
    /// Circuits that have opened, and become half-open in time.
    pub open_circuits: &'a mut Vec<OpenCircuit>,
    /// Storage for the lines of a head, while it is read.
    pub table: &'a mut Option<Box<SmallTable>>,
    /// What is to be done next, in order.
    pub effects: &'a mut Vec<Effect>,
}
