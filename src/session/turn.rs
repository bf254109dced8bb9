//! What the shell lends to a session for an event: time, chance, configuration, counters, storage.

use super::event::Effect;
use super::exchange::Exchange;
use crate::base::clock::Now;
use crate::base::pool::BufferPool;
use crate::http::date::DateCache;
use crate::http::head::SmallTable;
use crate::observe::access::Record;
use crate::observe::quiet::Warnings;
use crate::observe::stats::WorkerStats;
use crate::site::Site;
use crate::upstream::circuits::OpenCircuit;
use std::rc::Rc;
use std::sync::Arc;

/// Takes the lines of the access log.
pub trait Journal {
    /// Whether anybody reads them.
    fn is_on(&self) -> bool;
    /// One line for one request.
    fn line(&mut self, record: &Record);
    /// The turn ends: lines that were kept go where they belong.
    fn hand_over(&mut self) {}
}

/// See the module. The worker keeps one, and sets what differs from client to client before each event.
pub struct Turn {
    /// Read once for all events of a batch.
    pub now: Now,
    /// For requests that begin now.
    pub site: Rc<Arc<Site>>,
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
    /// Until then nothing more is said of clients that speak another protocol (milliseconds).
    pub quiet_until: u64,
    /// What was told of requests that go to no upstream.
    pub warnings: Warnings,
    /// Chance.
    pub rng: fastrand::Rng,
    /// `Date`.
    pub date: DateCache,
    /// This worker's counters.
    pub stats: Arc<WorkerStats>,
    /// The access log.
    pub journal: Box<dyn Journal>,
    /// Exchanges to be used again.
    pub exchanges: Vec<Box<Exchange>>,
    /// Storage for rings.
    pub buffers: BufferPool,
    /// Storage for the lines of a head, while it is read.
    pub table: Option<Box<SmallTable>>,
    /// Circuits that have opened in this turn.
    pub open_circuits: Vec<OpenCircuit>,
    /// A circuit lets more through than before, or nothing any more: it concerns those who wait in line.
    pub circuits_moved: bool,
    /// Requests that have begun, in all.
    pub requests_begun: u64,
    /// Something was given back that somebody in line may wait for.
    pub line_may_move: bool,
    /// What is to be done next, in order.
    pub effects: Vec<Effect>,
}

impl Turn {
    /// Of a worker that begins.
    pub fn new(worker: usize, site: Rc<Arc<Site>>, stats: Arc<WorkerStats>, journal: Box<dyn Journal>, seed: u64) -> Self {
        Self {
            now: Now::default(),
            buffers: BufferPool::new(site.config.limits.buffer_size),
            site,
            worker,
            port: 0,
            is_admin: false,
            is_draining: false,
            is_leaving: false,
            quiet_until: 0,
            warnings: Warnings::default(),
            rng: fastrand::Rng::with_seed(seed),
            date: DateCache::default(),
            stats,
            journal,
            exchanges: Vec::new(),
            table: None,
            open_circuits: Vec::new(),
            circuits_moved: false,
            requests_begun: 0,
            line_may_move: false,
            effects: Vec::new(),
        }
    }
}
