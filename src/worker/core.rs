//! The worker without its poll: sessions, upstream connections, timers and storage, generic over the network, so that the
//! simulation drives exactly what runs in production.

use super::bulk::{LONG_RUN, Laid, SCRATCH_BYTES};
use super::shared::{Mail, Shared};
use crate::base::clock::Now;
use crate::base::pool::BufferPool;
use crate::base::wheel::Wheel;
use crate::guard::door::Door;
use crate::guard::gate::Ticket;
use crate::http::date::DateCache;
use crate::net::link::{Edge, Link, Socket};
use crate::net::token::Source;
use crate::observe::stats::WorkerStats;
use crate::session::{DRAIN_IDLE_MS, Effect, Event, Exchange, Journal, Session, Turn};
use crate::site::Site;
use crate::upstream::idle::Idle;
use crate::upstream::pool::{OpenCircuit, Pool};
use crate::upstream::server::Server;
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;

/// Timer keys below this are the worker's own.
const OWN_TIMERS: u32 = 5;
/// Fires when accepting is to be tried again although nobody woke us.
pub const ACCEPT_TIMER: u32 = 0;
/// Fires when a drain waits no longer for requests on idle connections: only to wake the loop, which then sees that it may end.
const IDLE_TIMER: u32 = 2;
/// Fires when those who wait for a descriptor try again, although none was seen to get free.
pub(super) const DIAL_TIMER: u32 = 3;
/// Fires when an open circuit becomes half-open.
pub(super) const CIRCUIT_TIMER: u32 = 4;
/// Fires at the end of `shutdown.grace_ms`.
pub const GRACE_TIMER: u32 = 1;

/// Where connections come from.
pub trait Net {
    /// A connected, or connecting, socket.
    type Socket: Socket;
    /// What long runs of bytes go through.
    fn pipe(&mut self) -> io::Result<<Self::Socket as Socket>::Pipe>;
    /// Begins to connect; the outcome comes as an edge for `source`.
    fn dial(&mut self, address: SocketAddr, source: Source) -> io::Result<Self::Socket>;
}

/// Through which door a client came.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Its door.
    pub door: Arc<Door>,
    /// The port that it connected to.
    pub port: u16,
    /// The admin port's: neither counted nor logged, and outside the budget of descriptors.
    pub is_admin: bool,
}

/// A client's slot.
pub struct Client<S> {
    pub(super) link: Link<S>,
    /// What it is doing.
    pub session: Session,
    /// The connection that its exchange has, or is making.
    pub(super) upstream: Option<usize>,
    /// The line that it stands in, and its serial number there.
    pub(super) waits: Option<(Arc<Pool>, u64)>,
    pub(super) entrance: Entrance,
    pub(super) is_queued: bool,
    pub(super) is_closing: bool,
    /// As it was counted last.
    pub(super) is_resting: bool,
}

/// An upstream connection's slot.
pub struct Upstream<S> {
    /// `None` between two addresses.
    pub(super) link: Option<Link<S>>,
    pub(super) pool: Arc<Pool>,
    pub(super) server: Arc<Server>,
    /// The client whose exchange has it; none while it idles.
    pub(super) owner: Option<usize>,
    /// Addresses that are still to be tried, while it is being made.
    pub(super) dialing: Option<super::dial::Dialing>,
    /// Where it leads.
    pub(super) address: Option<std::net::SocketAddr>,
    /// 0: the exchange that has it is its last.
    pub(super) keepalive_ms: u32,
    /// Until then it may idle (milliseconds). The timer may be set for earlier: it is left alone while the connection is busy.
    pub(super) idle_until: u64,
    pub(super) is_closing: bool,
}

/// See the module.
pub struct Core<N: Net, J: Journal> {
    /// Index of this worker.
    pub worker: usize,
    /// The network.
    pub net: N,
    /// The access log.
    pub journal: J,
    /// What it shares with the others.
    pub shared: Arc<Shared>,
    /// For requests that begin now.
    pub site: Rc<Arc<Site>>,
    /// This worker's counters.
    pub stats: Arc<WorkerStats>,
    /// The process ends soon.
    pub is_draining: bool,
    pub(super) now: Now,
    /// Open client connections.
    pub clients: Slab<Client<N::Socket>>,
    /// Open upstream connections.
    pub upstreams: Slab<Upstream<N::Socket>>,
    pub(super) idle: Idle,
    /// Timers of clients, by their keys, and the worker's own.
    pub(super) wheel: Wheel,
    /// Timers of upstream connections, by their keys.
    pub(super) upstream_wheel: Wheel,
    pub(super) buffers: BufferPool,
    pub(super) scratch: Box<[u8]>,
    pub(super) pipes: Vec<Laid<N::Socket>>,
    /// Runs of a body from this length on go through a pipe (bytes).
    pub long_run: u64,
    exchanges: Vec<Box<Exchange>>,
    /// The next one last.
    effects: Vec<Effect>,
    new_effects: Vec<Effect>,
    pub(super) rng: fastrand::Rng,
    date: DateCache,
    serial: u64,
    /// Until then a drain waits for requests on connections that exist (milliseconds).
    asks_until: u64,
    /// Pools of earlier sites whose line may not be empty yet.
    pub(super) former: Vec<Arc<Pool>>,
    /// Clients to be pumped, and those to be pumped after them.
    pub(super) ready: VecDeque<usize>,
    pub(super) closing_clients: Vec<usize>,
    pub(super) closing_upstreams: Vec<usize>,
    /// Sessions of this worker whose turn has come.
    pub(super) admitted: VecDeque<super::line::Admission>,
    /// Circuits that have just opened here.
    opened: Vec<OpenCircuit>,
    /// Circuits that opened here, and are woken here.
    pub(super) open_circuits: Vec<OpenCircuit>,
}

impl<N: Net, J: Journal> Core<N, J> {
    /// A worker without connections.
    pub fn new(worker: usize, net: N, journal: J, shared: Arc<Shared>, site: Rc<Arc<Site>>, seed: u64) -> Self {
        Self {
            stats: shared.panel.stats[worker].clone(),
            buffers: BufferPool::new(site.config.limits.buffer_size),
            worker,
            net,
            journal,
            shared,
            site,
            is_draining: false,
            now: Now::default(),
            clients: Slab::new(),
            upstreams: Slab::new(),
            idle: Idle::default(),
            wheel: Wheel::default(),
            upstream_wheel: Wheel::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            pipes: Vec::new(),
            long_run: LONG_RUN,
            exchanges: Vec::new(),
            effects: Vec::new(),
            new_effects: Vec::new(),
            rng: fastrand::Rng::with_seed(seed),
            date: DateCache::default(),
            serial: 0,
            asks_until: 0,
            former: Vec::new(),
            ready: VecDeque::new(),
            closing_clients: Vec::new(),
            closing_upstreams: Vec::new(),
            admitted: VecDeque::new(),
            opened: Vec::new(),
            open_circuits: Vec::new(),
        }
    }

    /// A turn begins: everything in it happens at this time.
    pub fn begin_turn(&mut self, now: Now) {
        self.now = now;
    }

    /// Gives an accepted connection a slot, whose token `register` ties to the socket. Its place at the door and its
    /// descriptor are taken already.
    pub fn admit(
        &mut self,
        mut socket: N::Socket,
        peer: SocketAddr,
        entrance: Entrance,
        register: impl FnOnce(&mut N, &mut N::Socket, Source) -> io::Result<()>,
    ) {
        self.serial += 1;
        let serial = self.serial;
        let key = self.clients.vacant_key();
        if let Err(error) = register(&mut self.net, &mut socket, Source::Client(key)) {
            log::error!("a connection from {peer} cannot be polled: {error}");
            drop(socket);
            self.leave(&entrance);
            return;
        }
        let is_admin = entrance.is_admin;
        let session = self.with_turn(&entrance, |turn| Session::new(peer, serial, turn));
        let link = Link::new(socket, true);
        self.clients.insert(Client {
            link,
            session,
            upstream: None,
            waits: None,
            entrance,
            is_queued: false,
            is_closing: false,
            is_resting: false,
        });
        if !is_admin {
            self.stats.client_connections.add(1);
        }
        self.arm(key);
    }

    /// An edge for a client.
    pub fn on_client_edge(&mut self, key: usize, edge: Edge) {
        if let Some(client) = self.clients.get_mut(key) {
            client.link.on_edge(edge);
            self.enqueue(key);
        }
    }

    /// Whether something is to be done before the next sleep.
    pub fn is_behind(&self) -> bool {
        !self.ready.is_empty() || !self.admitted.is_empty()
    }

    /// Pumps connections that were just accepted, whose first bytes may lie there before the poll has said so.
    pub fn pump_new(&mut self) {
        let keys: Vec<usize> = self.clients.iter().filter(|(_, client)| client.session.is_asking()).map(|(key, _)| key).collect();
        for key in keys {
            self.on_client_edge(key, Edge { readable: true, ..Edge::default() });
        }
    }

    /// Deadlines that have come. Returns the worker's own timers among them.
    pub fn expire(&mut self, mut on_own: impl FnMut(&mut Self, u32)) {
        let now = self.now.millis();
        self.upstream_wheel.advance(now);
        while let Some(key) = self.upstream_wheel.pop_due() {
            self.on_upstream_deadline(key as usize);
        }
        self.wheel.advance(now);
        while let Some(timer) = self.wheel.pop_due() {
            let key = timer.saturating_sub(OWN_TIMERS) as usize;
            if timer == DIAL_TIMER {
                self.on_descriptor_freed();
            } else if timer == CIRCUIT_TIMER {
                self.wake_circuits();
            } else if timer < OWN_TIMERS {
                on_own(self, timer);
            } else if self.clients.contains(key) {
                self.deliver(key, Event::Deadline);
                self.pump(key);
            }
        }
    }

    /// The turn ends: closes what is to be closed, hands places on.
    pub fn end_turn(&mut self) {
        while self.is_to_tidy() {
            while let Some(key) = self.closing_clients.pop() {
                self.free_client(key);
            }
            while let Some(key) = self.closing_upstreams.pop() {
                self.free_upstream(key);
            }
            while let Some(circuit) = self.opened.pop() {
                self.on_circuit_opened(circuit);
            }
            self.admit_waiting();
        }
    }

    fn is_to_tidy(&self) -> bool {
        !(self.closing_clients.is_empty() && self.closing_upstreams.is_empty() && self.admitted.is_empty() && self.opened.is_empty())
    }

    /// When the next deadline may come (milliseconds).
    pub fn next_wake(&self) -> Option<u64> {
        [self.wheel.next_wake(), self.upstream_wheel.next_wake()].into_iter().flatten().min()
    }

    /// Sets one of the worker's own timers.
    pub fn set_own_timer(&mut self, timer: u32, deadline: u64) {
        self.wheel.set(timer, deadline);
    }

    /// Letters from other threads; those that concern listeners are the caller's.
    pub fn on_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Admitted { pool, ticket, grant } => {
                self.admitted.push_back(super::line::Admission { pool, ticket, grant, reuse: None });
            }
            Mail::Reclaim(server) => self.close_coldest(&server),
            Mail::Addresses(server) => self.on_addresses(&server),
            Mail::Rendered { ticket, page } => {
                if self.clients.get(ticket.key).is_some_and(|client| client.session.is_serial(ticket.serial)) {
                    self.deliver(ticket.key, Event::Rendered(page));
                    self.pump(ticket.key);
                }
            }
            Mail::Drain => {
                self.is_draining = true;
                self.asks_until = self.now.millis() + DRAIN_IDLE_MS;
                self.wheel.set(IDLE_TIMER, self.asks_until);
                // Their places are worth more to those who still have requests.
                self.close_idle(|_| true);
                self.tell_all(|| Event::Drain);
            }
            Mail::Cut => {
                self.is_draining = true;
                // The first makes answers of those that have none yet, the second gives up what is not taken even then.
                self.tell_all(|| Event::Cut);
                self.tell_all(|| Event::Cut);
            }
            Mail::Site(new) => self.take_site(new.site),
            Mail::Resume => {}
        }
    }

    /// Goes over to a new configuration. Exchanges in flight end on the one they began with.
    pub(super) fn take_site(&mut self, site: Arc<Site>) {
        let old = std::mem::replace(&mut self.site, Rc::new(site));
        self.former.extend(old.pools.iter().filter(|pool| !self.site.pools.iter().any(|other| Arc::ptr_eq(pool, other))).cloned());
        for (_, upstream) in &mut self.upstreams {
            let has_it = |pool: &&Arc<Pool>| pool.servers.iter().any(|server| Arc::ptr_eq(server, &upstream.server));
            if let Some(pool) = self.site.pools.iter().find(has_it) {
                upstream.pool = pool.clone();
            }
        }
        self.exchanges.clear();
        self.buffers.resize(self.site.config.limits.buffer_size);
        self.close_idle(|upstream| upstream.server.is_retired());
        // A limit may have been raised, a server may have come.
        self.on_descriptor_freed();
    }

    /// Closes the idle connections that `goes` names.
    pub(super) fn close_idle(&mut self, goes: impl Fn(&Upstream<N::Socket>) -> bool) {
        let is_idle = |upstream: &Upstream<N::Socket>| upstream.owner.is_none() && !upstream.is_closing && goes(upstream);
        let keys: Vec<usize> = self.upstreams.iter().filter(|(_, upstream)| is_idle(upstream)).map(|(key, _)| key).collect();
        keys.into_iter().for_each(|key| self.close_upstream(key));
    }

    /// Whether every client has what it was promised: answers, and, for a moment after the news, a connection to ask on.
    pub fn is_finished(&self) -> bool {
        let is_owed = |client: &Client<N::Socket>| {
            client.session.is_finishing()
                || client.session.is_within_head()
                || (self.now.millis() < self.asks_until && client.session.is_asking())
        };
        !self.clients.iter().any(|(_, client)| is_owed(client))
    }

    fn tell_all(&mut self, event: impl Fn() -> Event) {
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        for key in keys {
            if self.clients.contains(key) {
                self.deliver(key, event());
                self.pump(key);
            }
        }
    }

    /// Gives the session an event and performs what it asks for, at once and in order; what comes of that is an event again.
    pub(super) fn deliver(&mut self, key: usize, event: Event) {
        let mut next = Some(event);
        loop {
            if let Some(event) = next.take() {
                self.handle(key, event);
            }
            let Some(effect) = self.effects.pop() else { break };
            next = self.perform(key, effect);
        }
    }

    fn handle(&mut self, key: usize, event: Event) {
        // A slot's session lends itself out for the call, so that the turn can borrow the rest of the worker.
        let Self { clients, now, site, worker, is_draining, rng, date, stats, journal, exchanges, buffers, .. } = self;
        let Some(client) = clients.get_mut(key) else { return };
        let mut turn = Turn {
            now: *now,
            site,
            worker: *worker,
            port: client.entrance.port,
            is_admin: client.entrance.is_admin,
            is_draining: *is_draining,
            is_leaving: *is_draining || client.entrance.door.is_closed(),
            rng,
            date,
            stats,
            journal,
            exchanges,
            buffers,
            open_circuits: &mut self.opened,
            effects: &mut self.new_effects,
        };
        client.session.handle(event, &mut turn);
        // What an event asks for comes before what was asked for earlier and is not done yet: effects stay in order.
        while let Some(effect) = self.new_effects.pop() {
            self.effects.push(effect);
        }
    }

    fn with_turn<T>(&mut self, entrance: &Entrance, make: impl FnOnce(&Turn) -> T) -> T {
        make(&Turn {
            now: self.now,
            site: &self.site,
            worker: self.worker,
            port: entrance.port,
            is_admin: entrance.is_admin,
            is_draining: self.is_draining,
            is_leaving: self.is_draining || entrance.door.is_closed(),
            rng: &mut self.rng,
            date: &mut self.date,
            stats: &self.stats,
            journal: &mut self.journal,
            exchanges: &mut self.exchanges,
            buffers: &mut self.buffers,
            open_circuits: &mut self.opened,
            effects: &mut self.new_effects,
        })
    }

    pub(super) fn enqueue(&mut self, key: usize) {
        let client = &mut self.clients[key];
        if !client.is_queued && !client.is_closing {
            client.is_queued = true;
            self.ready.push_back(key);
        }
    }

    /// Sets the client's timer to its earliest deadline. A timer that is a little early is left: it re-arms itself.
    pub(super) fn arm(&mut self, key: usize) {
        let timer = client_timer(key);
        let Some(due) = self.clients[key].session.next_deadline() else { return self.wheel.cancel(timer) };
        let slack = due.saturating_sub(self.now.millis()) / 4;
        let is_near = self.wheel.deadline(timer).is_some_and(|armed| armed <= due && armed + slack >= due);
        if !is_near {
            self.wheel.set(timer, due);
        }
    }

    pub(super) fn close_client(&mut self, key: usize) {
        let client = &mut self.clients[key];
        if !client.is_closing {
            client.is_closing = true;
            self.closing_clients.push(key);
        }
    }

    fn free_client(&mut self, key: usize) {
        self.wheel.cancel(client_timer(key));
        self.leave_line(key);
        if let Some(upstream) = self.clients[key].upstream.take() {
            self.release(upstream, false);
        }
        self.take_up_pipes(key, |_, _| true);
        let mut client = self.clients.remove(key);
        if client.is_resting {
            self.stats.resting_clients.sub(1);
        }
        for ring in [&mut client.session.up, &mut client.session.down] {
            ring.clear();
            self.buffers.give_back(ring.detach());
        }
        if client.session.ending() == Some(crate::session::Ending::Reset) {
            client.link.socket.reset_on_close();
        }
        let Client { entrance, link, .. } = client;
        drop(link);
        if !entrance.is_admin {
            self.stats.client_connections.sub(1);
        }
        self.leave(&entrance);
    }

    /// A client's socket is closed: its place and its descriptor are free.
    pub(super) fn leave(&mut self, entrance: &Entrance) {
        entrance.door.leave();
        self.shared.resume(&entrance.door.paused);
        self.shared.descriptors.client_left();
        self.on_descriptor_freed();
    }

    /// Stops waiting for a place. If its turn has come meanwhile, the letter finds nobody and the place is handed on.
    pub(super) fn leave_line(&mut self, key: usize) {
        if let Some((pool, serial)) = self.clients[key].waits.take() {
            pool.line.leave(Ticket { worker: self.worker, key, serial });
        }
    }

    pub(super) fn ticket(&self, key: usize) -> Ticket {
        self.clients[key].session.ticket(self.worker, key)
    }
}

/// The wheel's key of a client's timer.
pub(super) fn client_timer(key: usize) -> u32 {
    OWN_TIMERS + key as u32
}
