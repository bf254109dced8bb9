//! The worker without its poll: clients, exchanges, upstream connections, timers and storage, generic over the network, so that the
//! simulation drives exactly what runs in production.

use super::admission::Admission;
use super::client::Client;
use super::entrance::Entrance;
use super::pipes::{LONG_RUN, Laid, SCRATCH_BYTES};
use super::shared::Shared;
use super::side::Side;
use super::timers::{OwnTimer, TimerKey, Timers};
use super::upstream::{Parting, Upstream};
use crate::base::address::Address;
use crate::base::clock::Now;
use crate::base::ranks::Ranks;
use crate::base::slots::Slots;
use crate::base::wheel::{Wheel, earlier};
use crate::guard::wait_queue::Ticket;
use crate::net::token::Source;
use crate::net::transport::{Edge, Transport};
use crate::observe::stats::WorkerStats;
use crate::session::talks::Stand;
use crate::session::{Effect, Event, Journal, Session, SessionView, Talks, Turn};
use crate::site::Site;
use crate::tls::client::Departure;
use crate::upstream::circuits::OpenCircuits;
use crate::upstream::idle::IdleConnections;
use crate::upstream::pool::Pool;
use slab::Slab;
use std::collections::VecDeque;
use std::io;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;

/// The source of connections.
pub trait Net {
    /// What carries the bytes of one.
    type Transport: Transport;
    /// A pipe for long parts of a body.
    fn pipe(&mut self) -> io::Result<<Self::Transport as Transport>::Pipe>;
    /// Begins to connect, and to speak TLS if there is something to begin that with; the outcome comes as an event for `source`.
    fn dial(&mut self, address: &Address, tls: Option<Departure>, source: Source) -> io::Result<Self::Transport>;
    /// Where an accepted connection has connected to; a Unix socket has no such address.
    fn local_address(&self, _: &Self::Transport) -> Option<SocketAddr> {
        None
    }
    /// From now on events of an accepted connection come for `source`.
    fn register(&mut self, transport: &Self::Transport, source: Source) -> io::Result<()>;
}

/// The state of a worker, without its poll.
pub struct Core<N: Net> {
    /// The network.
    pub net: N,
    /// What all workers share.
    pub shared: Arc<Shared>,
    /// What is lent to the machines.
    pub turn: Turn,
    /// The worker's own counters.
    pub stats: Arc<WorkerStats>,
    /// Open client connections.
    pub clients: Slots<Client<N::Transport>>,
    /// The exchanges in progress.
    pub talks: Talks,
    /// Open upstream connections.
    pub upstreams: Slots<Upstream<N::Transport>>,
    pub(super) idle: IdleConnections,
    /// Idle connections whose rest begins at the end of this turn.
    pub(super) resting: Vec<usize>,
    /// The number of this turn.
    pub(super) turn_number: u64,
    /// The listening addresses of its clients.
    pub(super) sides: Slab<Side>,
    /// The lists of resting clients, by key.
    pub(super) ranks: Ranks,
    /// The timers of clients, and the worker's own.
    pub(super) timers: Timers,
    /// The timers of upstream connections, by key.
    pub(super) upstream_wheel: Wheel,
    pub(super) scratch: Box<[u8]>,
    pub(super) pipes: Vec<Laid<N::Transport>>,
    /// From this length on parts of a body go through a pipe (bytes).
    pub long_run: u64,
    /// A stack: the next effect is the last.
    effects: Vec<Effect>,
    /// Until when a drain waits for requests on existing connections (milliseconds).
    pub(super) asks_until: u64,
    /// Pools of earlier sites whose queue may not be empty yet.
    pub(super) former: Vec<Arc<Pool>>,
    /// Clients to be pumped in this round, and in the next.
    pub(super) ready: VecDeque<usize>,
    /// Clients in their handshake, to be pumped when there is time.
    pub(super) opening: VecDeque<usize>,
    pub(super) closing_clients: Vec<usize>,
    pub(super) closing_upstreams: Vec<usize>,
    /// Exchanges of this worker whose turn in the queue has come.
    pub(super) admitted: VecDeque<Admission>,
    /// Circuits that opened here; this worker makes them half-open.
    pub(super) open_circuits: OpenCircuits,
}

impl<N: Net> Core<N> {
    /// A worker without connections.
    pub fn new(worker: usize, net: N, journal: Box<dyn Journal>, shared: Arc<Shared>, site: Rc<Arc<Site>>, seed: u64) -> Self {
        let stats = shared.admin.stats[worker].clone();
        Self {
            turn: Turn::new(worker, site, stats.clone(), journal, seed),
            stats,
            net,
            shared,
            clients: Slots::default(),
            talks: Talks::default(),
            upstreams: Slots::default(),
            idle: IdleConnections::default(),
            resting: Vec::new(),
            turn_number: 0,
            sides: Slab::new(),
            ranks: Ranks::default(),
            timers: Timers::default(),
            upstream_wheel: Wheel::default(),
            scratch: vec![0; SCRATCH_BYTES].into_boxed_slice(),
            pipes: Vec::new(),
            long_run: LONG_RUN,
            effects: Vec::new(),
            asks_until: 0,
            former: Vec::new(),
            ready: VecDeque::new(),
            opening: VecDeque::new(),
            closing_clients: Vec::new(),
            closing_upstreams: Vec::new(),
            admitted: VecDeque::new(),
            open_circuits: OpenCircuits::default(),
        }
    }

    /// Begins a turn, in which everything happens at the same time.
    pub fn begin_turn(&mut self, now: Now) {
        self.turn.now = now;
        self.turn_number += 1;
    }

    /// An event for a client.
    pub fn on_client_edge(&mut self, key: usize, edge: Edge) {
        if let Some(client) = self.clients.get_mut(key) {
            client.link.on_edge(edge);
            let is_ending = client.link.is_ending();
            if let Some(peer) = client.link.take_peer() {
                self.on_preface(key, peer);
            }
            if is_ending {
                self.deliver(key, Event::ClientHalfClosed);
            }
            self.enqueue(key);
        }
    }

    /// Whether there is something to do before the next sleep.
    pub fn is_behind(&self) -> bool {
        !self.ready.is_empty() || !self.opening.is_empty() || !self.admitted.is_empty()
    }

    /// Pumps connections that were just accepted: their first bytes may be there before the poll reports them.
    pub fn pump_new(&mut self) {
        let keys: Vec<usize> = self.clients.iter().filter(|(_, client)| client.front.awaits_request()).map(|(key, _)| key).collect();
        for key in keys {
            self.on_client_edge(key, Edge { readable: true, ..Edge::default() });
        }
    }

    /// Handles deadlines that have passed. Those of the worker's own timers that concern its loop are given to `on_own`.
    pub fn expire(&mut self, mut on_own: impl FnMut(&mut Self, OwnTimer)) {
        let now = self.turn.now.millis();
        self.upstream_wheel.advance(now);
        while let Some(key) = self.upstream_wheel.pop_due() {
            self.on_upstream_deadline(key as usize);
        }
        self.timers.advance(now);
        while let Some(timer) = self.timers.pop_due() {
            match timer {
                TimerKey::Own(OwnTimer::Dial) => self.on_descriptor_freed(),
                TimerKey::Own(OwnTimer::Circuit) => self.wake_circuits(),
                TimerKey::Own(OwnTimer::Stall) => self.on_stall_timer(),
                TimerKey::Own(timer) => on_own(self, timer),
                TimerKey::Client(key) if self.clients.contains(key) => {
                    self.deliver(key, Event::Deadline);
                    self.pump(key);
                }
                TimerKey::Client(_) => {}
            }
        }
    }

    /// Ends a turn: closes connections, and gives free places to queued requests. All events of the last poll are handled by
    /// then, so that slots may be reused.
    pub fn end_turn(&mut self) {
        while self.has_loose_ends() {
            self.free_closing();
            while let Some(key) = self.closing_upstreams.pop() {
                self.free_upstream(key);
            }
            while let Some(circuit) = self.turn.open_circuits.pop() {
                self.on_circuit_opened(circuit);
            }
            self.admit_waiting();
            let circuits_moved = std::mem::take(&mut self.turn.circuits_moved);
            if std::mem::take(&mut self.turn.queue_may_move) || circuits_moved {
                self.serve_queues();
            }
        }
        self.clients.reuse();
        self.talks.reuse();
        self.upstreams.reuse();
    }

    /// Frees the slots and places of connections that are to be closed.
    pub(super) fn free_closing(&mut self) {
        while let Some(key) = self.closing_clients.pop() {
            self.free_client(key);
        }
    }

    fn has_loose_ends(&self) -> bool {
        let Self { closing_clients, closing_upstreams, admitted, turn, .. } = self;
        let is_settled = closing_clients.is_empty() && closing_upstreams.is_empty() && admitted.is_empty();
        !is_settled || turn.circuits_moved || turn.queue_may_move || !turn.open_circuits.is_empty()
    }

    /// When the next deadline is due (milliseconds).
    pub fn next_wake(&self) -> Option<u64> {
        earlier(self.timers.next_wake(), self.upstream_wheel.next_wake())
    }

    /// Sets one of the worker's own timers.
    pub fn set_own_timer(&mut self, timer: OwnTimer, deadline: u64) {
        self.timers.set(timer, deadline);
    }

    /// Whether every client has what it is due: its answer, and for a moment after the drain began, time to send a request.
    pub fn is_finished(&self) -> bool {
        let is_owed = |client: &Client<N::Transport>| {
            let front = &client.front;
            client.takes_leave
                || client.link.is_shaking()
                || front.is_busy()
                || front.has_had_its_last()
                || front.is_within_head()
                || (self.turn.now.millis() < self.asks_until && front.awaits_request())
        };
        !self.clients.iter().any(|(_, client)| is_owed(client))
    }

    /// The earliest deadline of a client's machines (milliseconds).
    pub fn next_deadline(&self, key: usize) -> Option<u64> {
        let front = &self.clients[key].front;
        let Some(protocol) = front.many() else { return SessionView::new(front, &self.talks).next_deadline() };
        let own = Some(front.deadline()).filter(|&at| at != 0);
        let of_exchanges = protocol.exchanges().iter().filter_map(|&exchange| self.talks[exchange].exchange.next_deadline());
        of_exchanges.chain(own).min()
    }

    /// A client's connection with its exchange.
    pub fn view(&self, client: usize) -> SessionView<'_> {
        SessionView::new(&self.clients[client].front, &self.talks)
    }

    /// Gives an event to a client's machines, and carries out what they ask for.
    pub(super) fn deliver(&mut self, client: usize, event: Event) {
        let Some(Client { front, .. }) = self.clients.get(client) else { return };
        if let Some(protocol) = front.many().filter(|_| event.is_for_all()) {
            for exchange in protocol.exchanges().to_vec() {
                // Of those whose content is complete, the end of the client's side concerns none.
                if event != Event::ClientFin || !self.talks[exchange].exchange.up.is_ended {
                    self.deliver_about(client, Some(exchange), event);
                }
            }
        }
        self.deliver_about(client, None, event);
    }

    /// The same, for one exchange of the client.
    pub(super) fn deliver_about(&mut self, client: usize, exchange: Option<usize>, event: Event) {
        if let Some(Client { entrance, .. }) = self.clients.get(client) {
            enter(&mut self.turn, entrance);
            self.deliver_here(client, exchange, event);
        }
    }

    /// The same for the client whose entrance the turn knows. Effects are carried out at once and in order; that may lead to further
    /// events. An exchange that is over is removed.
    pub(super) fn deliver_here(&mut self, client: usize, mut about: Option<usize>, event: Event) {
        let (mut next, mut exchange) = (Some(event), None);
        loop {
            if let Some(event) = next.take() {
                let Self { clients, talks, turn, effects, .. } = self;
                let Some(Client { front, .. }) = clients.get_mut(client) else { return };
                exchange = Session { client, about, front, talks }.handle(event, turn).or(exchange);
                // Effects of a later event come before the rest of an earlier one, so that each is carried out in order.
                while let Some(effect) = turn.effects.pop() {
                    effects.push(effect);
                }
            }
            let Some(effect) = self.effects.pop() else { break };
            // What follows from an effect concerns who asked for it.
            about = exchange.filter(|_| !effect.is_for_front());
            next = match about {
                Some(exchange) => self.perform(client, exchange, effect),
                None => self.perform_for_front(client, effect),
            };
        }
        if let Some(exchange) = exchange.filter(|&exchange| self.talks[exchange].exchange.end().is_some()) {
            self.end_exchange(exchange);
        }
    }

    /// Gives an event to an exchange, and has its client pumped.
    pub(super) fn deliver_to(&mut self, exchange: usize, event: Event) {
        let client = self.talks[exchange].client;
        self.deliver_about(client, Some(exchange), event);
        self.enqueue(client);
    }

    /// An exchange is over, or its client is gone.
    pub(super) fn end_exchange(&mut self, key: usize) {
        if self.talks[key].stand.is_some() {
            self.leave_queue(key);
        }
        if !self.pipes.is_empty() {
            self.take_up_pipes(key, |_, _| true);
        }
        self.release(key, Parting::Reset);
        self.talks.end(key, &mut self.turn.buffers);
    }

    pub(super) fn enqueue(&mut self, key: usize) {
        let client = &mut self.clients[key];
        if !client.is_queued && !client.is_closing {
            client.is_queued = true;
            let queue = if client.link.is_opening() { &mut self.opening } else { &mut self.ready };
            queue.push_back(key);
        }
    }

    /// Sets the client's timer to its earliest deadline. A timer that is early stays, unless it would fire almost at once, and is set again
    /// when it fires: the waits for an answer and for the next request alternate.
    pub(super) fn arm(&mut self, key: usize) {
        let timer = TimerKey::Client(key);
        let Some(due) = self.next_deadline(key) else { return self.timers.cancel(timer) };
        let left = due.saturating_sub(self.turn.now.millis());
        let slack = left - left / 16;
        let is_near = self.timers.deadline(timer).is_some_and(|armed| armed <= due && armed + slack >= due);
        if !is_near {
            self.timers.set(timer, due);
        }
    }

    /// Leaves the queue. If its turn has come meanwhile, the message finds no exchange, and the place is passed on.
    pub(super) fn leave_queue(&mut self, key: usize) {
        if let Some(Stand { pool, serial, needs, starves }) = self.talks[key].stand.take() {
            self.shared.starving.fetch_sub(starves.into(), SeqCst);
            pool.queue.leave(Ticket { worker: self.turn.worker, key, serial }, needs);
        }
    }

    pub(super) fn ticket(&self, key: usize) -> Ticket {
        self.talks[key].exchange.ticket(self.turn.worker, key)
    }
}

/// Sets what differs between clients.
pub(super) fn enter(turn: &mut Turn, entrance: &Entrance) {
    turn.enter(&entrance.service);
    turn.port = entrance.port;
    turn.scheme = entrance.arrival.scheme;
    turn.is_leaving = turn.is_draining || entrance.door.keeps_nobody();
}
