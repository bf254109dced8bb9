//! Upstream connections between two exchanges: which are kept, which may serve again, and which are closed.

use super::core::{Core, Net, Owner, Upstream};
use crate::base::clock::Now;
use crate::net::transport::{Close, Transport};
use crate::upstream::lease::{ConnectionUse, Lease};
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use std::sync::Arc;
use std::sync::atomic::{Ordering::SeqCst, fence};

/// How long a connection rests after an answer without content (microseconds). An upstream that wrongly sends content all the
/// same does so in this time; later, it would be taken for the answer to the next request.
const REST_MICROS: u64 = 5000;

/// What the idle connections to a server offer a request.
pub(super) enum Idled {
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
pub(super) struct Discarded {
    pub(super) pool: Arc<Pool>,
    pub(super) lease: Lease,
    pub(super) keepalive_ms: u32,
}

impl<N: Net> Core<N> {
    /// Takes the connection that is reserved for the exchange, or an idle one. Touches no shared count, because every request comes
    /// through here.
    pub(super) fn reuse(&mut self, key: usize, server: usize) -> Idled {
        let talk = &self.talks[key];
        if let Some(reserved) = talk.upstream {
            return Idled::Ready(reserved);
        }
        let (slot, now) = (talk.exchange.pool().servers[server].slot, self.turn.now.micros);
        let Self { idle, upstreams, .. } = self;
        let Some(key) = idle.take(slot, |key| upstreams[key].ripe_at <= now) else {
            return if idle.count(slot) > 0 { Idled::Resting } else { Idled::Nothing };
        };
        let upstream = &mut upstreams[key];
        upstream.lease.pass_to(ConnectionUse::Exchange);
        // Bytes may have come since the poll.
        let is_unsure = std::mem::take(&mut upstream.ripe_at) > 0 || upstream.parked_in == self.turn_number;
        if is_unsure && !upstream.link.as_mut().is_some_and(|link| link.check_quiet_now()) {
            return Idled::Place(self.discard(key).lease);
        }
        Idled::Ready(key)
    }

    /// Closes the idle connection that has rested longest, in favour of one that may serve now.
    pub(super) fn discard_coldest(&mut self, server: &Server) -> Option<Lease> {
        let coldest = self.idle.coldest(server.slot)?;
        Some(self.discard(coldest).lease)
    }

    /// Resets a connection, and keeps its place for another.
    pub(super) fn discard(&mut self, key: usize) -> Discarded {
        self.upstream_wheel.cancel(key as u32);
        let Upstream { link, pool, mut lease, keepalive_ms, .. } = self.upstreams.remove(key);
        self.idle.remove(lease.server().slot, key);
        lease.pass_to(ConnectionUse::Exchange);
        if let Some(mut link) = link {
            link.close(Close::Reset);
        }
        Discarded { pool, lease, keepalive_ms }
    }

    /// The exchange no longer needs its connection.
    pub(super) fn release(&mut self, key: usize, keep: bool) {
        let now = self.turn.now.millis();
        let upstream = &mut self.upstreams[key];
        upstream.owner = Owner::Idle;
        if upstream.dialing.as_ref().is_some_and(|dialing| dialing.is_over(now)) {
            self.shared.look_up(upstream.server(), now);
        }
        if !keep {
            return self.reset_upstream(key);
        }
        if !self.may_idle(key) {
            return self.close_upstream(key);
        }
        if self.is_wanted(key) {
            // A queued request must not wait for the rest: it gets the place without the connection.
            return if self.is_reliable(key) { self.offer(key) } else { self.reset_upstream(key) };
        }
        let upstream = &mut self.upstreams[key];
        let slot = upstream.server().slot;
        if self.idle.count(slot) >= self.turn.site.config.limits.upstream_idle_conns {
            return self.close_upstream(key);
        }
        upstream.lease.pass_to(ConnectionUse::Idle);
        self.idle.park(slot, key);
        // A request that joined a queue meanwhile may have seen no idle connection.
        fence(SeqCst);
        if self.is_wanted(key) || self.is_wanted_elsewhere() {
            return self.close_upstream(key);
        }
        let upstream = &mut self.upstreams[key];
        upstream.parked_in = self.turn_number;
        if upstream.ripe_at > 0 {
            self.resting.push(key);
        }
        upstream.idle_until = self.turn.now.millis() + u64::from(upstream.keepalive_ms);
        let until = upstream.idle_until;
        if self.upstream_wheel.deadline(key as u32).is_none_or(|armed| armed > until) {
            self.upstream_wheel.set(key as u32, until);
        }
    }

    /// Whether its place would help a queued request.
    fn is_wanted(&self, key: usize) -> bool {
        let Upstream { pool, lease, .. } = &self.upstreams[key];
        !pool.queue.is_empty() && pool.is_wanted(lease.server(), self.turn.site.most())
    }

    /// Whether a connection may become idle after its exchange.
    fn may_idle(&mut self, key: usize) -> bool {
        let upstream = &self.upstreams[key];
        let may_stay = upstream.keepalive_ms > 0 && !self.turn.is_draining && !upstream.server().is_retired();
        may_stay && !self.is_wanted_elsewhere() && self.check_quiet(key)
    }

    /// Whether a request that this connection does not help needs its place or its descriptor: in the queue of an earlier pool, where
    /// the server has another index; or in any queue.
    fn is_wanted_elsewhere(&self) -> bool {
        let starves = || self.shared.starving.load(SeqCst) > 0 && !self.shared.descriptors.has_free();
        self.former.iter().any(|pool| !pool.queue.is_empty()) || starves()
    }

    /// Checks whether nothing came on a connection on which nothing is expected.
    fn check_quiet(&mut self, key: usize) -> bool {
        self.upstreams[key].link.as_mut().is_some_and(|link| link.check_quiet())
    }

    /// Whether a connection may serve its next exchange at once.
    fn is_reliable(&mut self, key: usize) -> bool {
        let upstream = &mut self.upstreams[key];
        upstream.ripe_at == 0 && upstream.link.as_mut().is_some_and(|link| link.check_quiet_now())
    }

    /// At the end of the turn, connections that became idle after an answer without content begin to rest.
    pub fn begin_rests(&mut self, clock: impl FnOnce() -> Now) {
        if self.resting.is_empty() {
            return;
        }
        let ripe_at = clock().micros + REST_MICROS;
        for key in self.resting.drain(..) {
            // It may have been closed meanwhile, and its slot reused.
            let upstream = self.upstreams.get_mut(key).filter(|upstream| upstream.ripe_at == u64::MAX);
            upstream.into_iter().for_each(|upstream| upstream.ripe_at = ripe_at);
        }
    }

    /// Resets a connection in the middle of an exchange: its end must not look regular, and a reset leaves no port in TIME_WAIT.
    fn reset_upstream(&mut self, key: usize) {
        self.upstreams[key].link.iter_mut().for_each(|link| link.close(Close::Reset));
        self.close_upstream(key);
    }

    /// Closes the connection to a server that has been idle longest, if there is one.
    pub(super) fn close_coldest(&mut self, server: &Server) {
        if let Some(key) = self.idle.coldest(server.slot) {
            self.close_upstream(key);
        }
    }
}
