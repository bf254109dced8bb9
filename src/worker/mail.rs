//! Messages from other threads: a new configuration, new addresses, the end, a place from the queue, a rendered page.

use super::admission::Admission;
use super::core::{Core, Net};
use super::shared::Mail;
use super::timers::OwnTimer;
use super::upstream::Stage;
use crate::session::{DRAIN_IDLE_MS, Event};
use crate::site::Site;
use crate::upstream::server::Server;
use std::rc::Rc;
use std::sync::Arc;

impl<N: Net> Core<N> {
    /// Handles a message from another thread; those about listeners are handled by the caller.
    pub fn on_mail(&mut self, mail: Mail) {
        match mail {
            Mail::Admitted { pool, ticket, grant } => {
                self.admitted.push_back(Admission { pool, ticket, grant, reuse: None });
            }
            Mail::Former(pool) => {
                self.keep_former(&pool);
                self.serve_queue(&pool, false, pool.queue.count(|_| true));
            }
            Mail::Stalls => self.relieve_lines(),
            Mail::Evict { door, since, starved } => self.on_evict(&door, since, starved),
            Mail::Dismiss { door, starved } => self.on_dismiss(&door, starved),
            Mail::Reclaim(server) => self.close_coldest(&server),
            Mail::Addresses(server) => self.on_addresses(&server),
            Mail::Rendered { ticket, page } => {
                let talk = self.talks.get_mut(ticket.key).filter(|talk| talk.exchange.is_serial(ticket.serial));
                if let Some(talk) = talk {
                    talk.page = Some(page);
                    self.deliver_to(ticket.key, Event::Rendered);
                }
            }
            Mail::Drain => {
                self.turn.is_draining = true;
                self.asks_until = self.turn.now.millis() + DRAIN_IDLE_MS;
                self.timers.set(OwnTimer::Idle, self.asks_until);
                // Their places are of more use to other workers, which still have requests.
                self.close_idle(|_| true);
                self.tell_all(|| Event::Drain);
            }
            Mail::Cut => {
                self.turn.is_draining = true;
                // The first cut answers what has no answer yet; the second gives up what is not taken even then.
                self.tell_all(|| Event::Cut);
                self.tell_all(|| Event::Cut);
            }
            Mail::Site(new) => self.take_site(new.site),
            Mail::Resume => {}
        }
    }

    /// Changes to a new configuration. Exchanges in progress end with the one they began with.
    pub(super) fn take_site(&mut self, site: Arc<Site>) {
        let old = std::mem::replace(&mut self.turn.site, Rc::new(site));
        self.former.extend(old.pools.iter().filter(|pool| !self.turn.site.pools.iter().any(|other| Arc::ptr_eq(pool, other))).cloned());
        let mut upstreams = std::mem::take(&mut self.upstreams);
        for (_, upstream) in upstreams.iter_mut() {
            if let Some(pool) = self.pool_of(upstream.server()) {
                upstream.pool = pool.clone();
            }
        }
        self.upstreams = upstreams;
        self.talks.forget_stored();
        self.turn.buffers.resize(self.turn.site.config.limits.buffer_size);
        self.close_idle(|upstream| upstream.server().is_retired());
        // A limit may be higher, or a server new. Requests that joined the queue of a pool which has just become an earlier one were
        // not announced; and other workers with idle connections did not know of a queue that is new here.
        self.former.iter().filter(|pool| !pool.queue.is_empty()).for_each(|pool| self.announce_former(pool));
        self.on_descriptor_freed();
        self.serve_queues();
    }

    /// A connection to an address that is gone is closed if it is idle; otherwise its present exchange is its last.
    pub(super) fn on_addresses(&mut self, server: &Arc<Server>) {
        let addresses = server.addresses();
        for (_, upstream) in self.upstreams.iter_mut() {
            let is_its = Arc::ptr_eq(upstream.server(), server);
            let is_there = match &upstream.stage {
                // One that is being made may still go on to an address that is gone.
                Stage::Waiting(dial) | Stage::Connecting { dial, .. } => dial.is_to(&addresses),
                Stage::Open { address, .. } => addresses.contains(address),
                Stage::Leaving(_) | Stage::Left(_) => continue,
            };
            if is_its && !is_there {
                upstream.keepalive_ms = 0;
            }
        }
        self.close_idle(|upstream| upstream.keepalive_ms == 0);
        // Queued requests may go there, if this is the first time that it has an address.
        self.hand_on_all();
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
}
