//! Upstream connections between two exchanges: which are kept, which may serve again, and which are closed.

use super::core::{Core, Net};
use super::dial::DialOrder;
use super::shared::Shared;
use super::upstream::{Parting, Stage, Upstream};
use crate::back::connection::{BackConnection, BackDeadline, Trust, UsersLeft};
use crate::base::clock::Now;
use crate::guard::places::Needs;
use crate::net::transport::{Close, Edge, Transport};
use crate::observe::reason::Reason;
use crate::session::Event;
use crate::upstream::lease::Lease;
use crate::upstream::pool::Pool;
use crate::upstream::reservation::Reservation;
use crate::upstream::server::Server;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering::SeqCst, fence};

/// What the idle connections to a server offer a request.
enum IdleOffer {
    /// It was not asked for one: it has a place for a new one.
    Fresh,
    /// This connection.
    Ready(usize),
    /// The place of one that turned out to be unusable.
    Place(Lease),
    /// None that may serve yet.
    Resting,
    Nothing,
}

/// What is left of a connection in whose place another is made.
struct Discarded {
    pool: Arc<Pool>,
    lease: Lease,
    keepalive_ms: u32,
}

impl<N: Net> Core<N> {
    /// Connects an exchange to that server, by an idle connection or a new one. Returns what has happened at once.
    pub(super) fn connect(&mut self, key: usize, server: usize, reuse: bool) -> Option<Event> {
        match if reuse { self.reuse(key, server) } else { IdleOffer::Fresh } {
            IdleOffer::Ready(upstream) => {
                self.talks[key].upstream = Some(upstream);
                Some(Event::UpstreamConnected { reused: true })
            }
            found => self.connect_anew(key, server, found),
        }
    }

    #[inline(never)]
    fn connect_anew(&mut self, key: usize, server: usize, found: IdleOffer) -> Option<Event> {
        let place = self.talks[key].exchange.take_place();
        let exchange = &self.talks[key].exchange;
        let server = exchange.pool().servers[server].clone();
        // One that has announced a client must not carry the requests of another.
        let keepalive_ms = if server.config.send_proxy.is_some() { 0 } else { exchange.timeouts.upstream_keepalive_ms };
        let pool = if Rc::ptr_eq(&exchange.site, &self.turn.site) { None } else { self.pool_of(&server) };
        let pool = pool.unwrap_or(exchange.pool()).clone();
        let worker = self.turn.worker;
        let lease = |place| Lease::new(server.clone(), place, worker);
        let take = || Reservation::with_place(&server, Needs::default()).map(lease);
        let lease = match found {
            // The pick has taken it.
            IdleOffer::Fresh => Some(lease(place)),
            IdleOffer::Place(lease) => Some(lease),
            IdleOffer::Resting => take().or_else(|| self.discard_coldest(&server)),
            // An idle connection that was closed since the pick: it counts like any other full upstream.
            IdleOffer::Nothing => take(),
            IdleOffer::Ready(_) => None,
        };
        match lease {
            Some(lease) => self.dial(key, DialOrder { lease, pool, keepalive_ms }),
            None => Some(self.without_place()),
        }
    }

    /// Replaces a stale connection: its place is kept, and its socket is closed first.
    pub(super) fn reconnect(&mut self, key: usize) -> Option<Event> {
        let old = self.talks[key].upstream.take()?;
        let Discarded { pool, lease, keepalive_ms } = self.discard(old);
        self.dial(key, DialOrder { lease, pool, keepalive_ms })
    }

    /// Takes the connection that is reserved for the exchange, or an idle one. Touches no shared count, because every request comes
    /// through here.
    fn reuse(&mut self, exchange: usize, server: usize) -> IdleOffer {
        let talk = &self.talks[exchange];
        let reserved = talk.upstream;
        let (slot, now) = (talk.exchange.pool().servers[server].slot, self.turn.now.micros);
        let Self { idle, upstreams, .. } = self;
        let is_ripe = |key: usize| upstreams[key].back().is_some_and(|back| back.is_ripe(now));
        let Some(key) = reserved.or_else(|| idle.take(slot, is_ripe)) else {
            return if idle.count(slot) > 0 { IdleOffer::Resting } else { IdleOffer::Nothing };
        };
        let Upstream { stage: Stage::Open { link, back, .. }, lease, .. } = &mut upstreams[key] else { return IdleOffer::Nothing };
        if back.is_idle() {
            lease.serve();
        }
        if back.serve(exchange, self.turn_number) == Trust::Unsure && !link.check_quiet_now() {
            return IdleOffer::Place(self.discard(key).lease);
        }
        IdleOffer::Ready(key)
    }

    /// Closes the idle connection that has rested longest, in favour of one that may serve now.
    fn discard_coldest(&mut self, server: &Server) -> Option<Lease> {
        let coldest = self.idle.coldest(server.slot)?;
        Some(self.discard(coldest).lease)
    }

    /// Resets a connection, and keeps its place for another.
    fn discard(&mut self, key: usize) -> Discarded {
        self.upstream_wheel.cancel(key as u32);
        let Upstream { stage, pool, mut lease, keepalive_ms } = self.upstreams.remove(key);
        self.idle.remove(lease.server().slot, key);
        lease.serve();
        if let Some(mut link) = stage.into_link() {
            link.close(Close::Reset);
        }
        Discarded { pool, lease, keepalive_ms }
    }

    /// An event for an upstream connection.
    pub fn on_upstream_edge(&mut self, key: usize, edge: Edge) {
        let Some(upstream) = self.upstreams.get_mut(key) else { return };
        match &mut upstream.stage {
            Stage::Open { link, back, .. } => {
                link.on_edge(edge);
                match back {
                    BackConnection::Serving { exchanges, .. } => {
                        for exchange in exchanges.iter() {
                            self.enqueue(self.talks[exchange].client);
                        }
                    }
                    // Nothing is expected on an idle connection: if anything has come, it is not used again.
                    BackConnection::Idle(_) if !link.check_quiet() => self.close_upstream(key),
                    // Whoever gets it looks at it.
                    BackConnection::Idle(_) | BackConnection::Promised => {}
                }
            }
            Stage::Connecting { link, .. } => {
                link.on_edge(edge);
                self.on_connecting_edge(key);
            }
            Stage::Leaving(link) => {
                link.on_edge(edge);
                self.go_on_leaving(key);
            }
            Stage::Waiting(_) | Stage::Left(_) => {}
        }
    }

    pub(super) fn on_upstream_deadline(&mut self, key: usize) {
        let Some(upstream) = self.upstreams.get(key) else { return };
        match &upstream.stage {
            Stage::Waiting(_) => self.go_on_dialing(key),
            Stage::Connecting { .. } => {
                self.note_silence(key);
                self.on_connect_failed(key, Reason::ConnectionTimeout);
            }
            Stage::Open { back, .. } => match back.on_deadline(self.turn.now.millis()) {
                BackDeadline::Moot => {}
                BackDeadline::Later(until) => self.upstream_wheel.set(key as u32, until),
                BackDeadline::Over => self.close_upstream(key),
            },
            Stage::Leaving(_) => self.go_on_leaving(key),
            Stage::Left(_) => {}
        }
    }

    /// An exchange no longer needs its connection.
    pub(super) fn release(&mut self, exchange: usize, how: Parting) {
        let Some(key) = self.talks[exchange].upstream.take() else { return };
        let (now, upstream) = (self.turn.now.millis(), &mut self.upstreams[key]);
        let must_rest = match &mut upstream.stage {
            Stage::Waiting(dial) | Stage::Connecting { dial, .. } => {
                if dial.go_without(exchange) {
                    return;
                }
                if dial.is_over(now) {
                    self.shared.look_up(upstream.server(), now);
                    self.note_silence(key);
                }
                false
            }
            Stage::Open { back, .. } => match back.finish(exchange) {
                UsersLeft::Some => return,
                UsersLeft::None { must_rest } => must_rest,
            },
            Stage::Leaving(_) | Stage::Left(_) => false,
        };
        match how {
            Parting::Keep => self.keep(key, must_rest),
            Parting::Close => self.close_upstream(key),
            Parting::Reset => self.reset_upstream(key),
        }
    }

    /// A connection that nobody uses becomes idle, unless something speaks against it.
    #[inline]
    fn keep(&mut self, key: usize, must_rest: bool) {
        let may_stay = self.may_stay(key);
        let Stage::Open { link, .. } = &mut self.upstreams[key].stage else { return self.close_upstream(key) };
        if !may_stay || !link.check_quiet() {
            return self.close_upstream(key);
        }
        if self.is_wanted(key) {
            return self.keep_for_queue(key, must_rest);
        }
        let server = self.upstreams[key].server();
        let slot = server.slot;
        if self.idle.count(slot) >= server.most_idle() {
            return self.close_upstream(key);
        }
        self.upstreams[key].lease.rest();
        self.idle.park(slot, key);
        // A request that joined a queue meanwhile may have seen no idle connection.
        fence(SeqCst);
        if self.is_wanted(key) || self.is_wanted_elsewhere() {
            return self.close_upstream(key);
        }
        let Upstream { stage: Stage::Open { back, .. }, keepalive_ms, .. } = &mut self.upstreams[key] else { return };
        let until = self.turn.now.millis() + u64::from(*keepalive_ms);
        back.park(until, must_rest, self.turn_number);
        if must_rest {
            self.resting.push(key);
        }
        // Its timer may be set for earlier, since it is not moved while the connection is busy.
        if self.upstream_wheel.deadline(key as u32).is_none_or(|armed| armed > until) {
            self.upstream_wheel.set(key as u32, until);
        }
    }

    /// A queued request must not wait for the rest of a connection: it gets the place without the connection.
    #[cold]
    fn keep_for_queue(&mut self, key: usize, must_rest: bool) {
        let is_ready = !must_rest && self.upstreams[key].link_mut().is_some_and(|link| link.check_quiet_now());
        if is_ready { self.offer(key) } else { self.reset_upstream(key) }
    }

    /// Whether its place would help a queued request.
    fn is_wanted(&self, key: usize) -> bool {
        let Upstream { pool, lease, .. } = &self.upstreams[key];
        !pool.queue.is_empty() && pool.index_of(lease.server()).is_some_and(|index| pool.is_wanted(index))
    }

    /// Whether a connection may become idle after its exchange, as far as the worker is concerned.
    fn may_stay(&self, key: usize) -> bool {
        let upstream = &self.upstreams[key];
        upstream.keepalive_ms > 0 && !self.turn.is_draining && !upstream.server().is_retired() && !self.is_wanted_elsewhere()
    }

    /// Whether a request that this connection does not help needs its place or its descriptor: in the queue of an earlier pool, where
    /// the server has another index; or in any queue.
    #[inline]
    fn is_wanted_elsewhere(&self) -> bool {
        let Shared { starving, is_held_up, descriptors, .. } = &*self.shared;
        let starves = || (starving.load(SeqCst) > 0 || is_held_up.load(SeqCst)) && !descriptors.has_free();
        self.former.iter().any(|pool| !pool.queue.is_empty()) || starves()
    }

    /// At the end of the turn, connections that became idle after an answer without content begin to rest.
    pub fn begin_rests(&mut self, clock: impl FnOnce() -> Now) {
        if self.resting.is_empty() {
            return;
        }
        let now = clock().micros;
        for key in self.resting.drain(..) {
            // It may have been closed meanwhile.
            let back = self.upstreams.get_mut(key).and_then(Upstream::back_mut);
            back.into_iter().for_each(|back| back.begin_rest(now));
        }
    }
}
