//! What the worker lends to the machines for an event: time, chance, configuration, counters, storage.

use super::effect::Effect;
use super::service::Service;
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

/// The access log.
pub trait Journal {
    /// Whether lines are wanted.
    fn is_on(&self) -> bool;
    /// Adds the line of one request.
    fn line(&mut self, record: &Record);
    /// The turn ends: buffered lines are handed to the writer.
    fn hand_over(&mut self) {}
}

/// What machines need to handle events. A worker has one, and sets what differs between clients before each event.
pub struct Turn {
    /// Both clocks, read once for a batch of events.
    pub now: Now,
    /// The configuration for requests that begin now.
    pub site: Rc<Arc<Site>>,
    /// The index of the worker.
    pub worker: usize,
    /// The port that the client connected to.
    pub port: Option<u16>,
    /// How the client connected: `http` or `https`.
    pub scheme: &'static str,
    /// What the client's entrance leads to.
    pub service: Arc<Service>,
    /// Whether the process drains: new requests are refused if so configured.
    pub is_draining: bool,
    /// Whether connections are not kept, because the process ends or the address is no longer listened on.
    pub is_leaving: bool,
    /// Until then (milliseconds) no warning about clients with another protocol is logged.
    pub quiet_until: u64,
    /// Which warnings about requests without an upstream were logged, to limit their number.
    pub warnings: Warnings,
    /// The source of chance.
    pub rng: fastrand::Rng,
    /// The value of `Date`.
    pub date: DateCache,
    /// The service's counters.
    pub stats: Arc<WorkerStats>,
    /// The access log.
    pub journal: Box<dyn Journal>,
    /// Storage for rings.
    pub buffers: BufferPool,
    /// Storage for the field lines of a head while it is read.
    pub table: Option<Box<SmallTable>>,
    /// Circuits that opened in this turn.
    pub open_circuits: Vec<OpenCircuit>,
    /// Whether a circuit lets more or fewer requests through than before, which concerns queued requests.
    pub circuits_moved: bool,
    /// How many requests have begun in total.
    pub requests_begun: u64,
    /// Whether something was given back that a queued request may wait for.
    pub queue_may_move: bool,
    /// The number of the latest wait for something that a message will bring.
    waits: u64,
    /// What to do next, in order.
    pub effects: Vec<Effect>,
}

impl Turn {
    /// The state of a worker that starts.
    pub fn new(worker: usize, site: Rc<Arc<Site>>, stats: Arc<WorkerStats>, journal: Box<dyn Journal>, seed: u64) -> Self {
        Self {
            now: Now::default(),
            buffers: BufferPool::new(site.config.limits.buffer_size),
            site,
            worker,
            port: None,
            scheme: "http",
            service: Service::of_site(stats.clone()),
            is_draining: false,
            is_leaving: false,
            quiet_until: 0,
            warnings: Warnings::default(),
            rng: fastrand::Rng::with_seed(seed),
            date: DateCache::default(),
            stats,
            journal,
            table: None,
            open_circuits: Vec::new(),
            circuits_moved: false,
            requests_begun: 0,
            queue_may_move: false,
            waits: 0,
            effects: Vec::new(),
        }
    }

    /// What follows is about a client of this service.
    pub fn enter(&mut self, service: &Arc<Service>) {
        if !Arc::ptr_eq(&self.service, service) {
            self.change_service(service);
        }
    }

    #[cold]
    fn change_service(&mut self, service: &Arc<Service>) {
        (self.service, self.stats) = (service.clone(), service.stats.clone());
    }

    /// Whether requests get lines in the access log.
    pub fn is_logged(&self) -> bool {
        self.service.is_logged && self.journal.is_on()
    }

    /// A number for a wait: a message for an earlier one is recognised as late.
    pub fn number_wait(&mut self) -> u64 {
        self.waits += 1;
        self.waits
    }
}
