//! Messages from other threads: a new configuration, the end, a place from the queue, a rendered page.

use super::admission::Admission;
use super::core::{Core, Net};
use super::shared::Mail;
use super::timers::OwnTimer;
use crate::net::transport::Transport;
use crate::session::{DRAIN_IDLE_MS, Event};
use crate::site::Site;
use crate::upstream::circuits::OpenCircuits;
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use std::collections::HashMap;
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
                self.serve_queue(&pool, false, pool.queue.count(|_, _| true));
            }
            Mail::Stalls => self.relieve_lines(),
            Mail::Evict { door, since, starved } => self.on_evict(&door, since, starved),
            Mail::Dismiss { door, starved } => self.on_dismiss(&door, starved),
            Mail::Reclaim(server) => self.close_coldest(&server),
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
        let is_renewed = old.is_of(&self.turn.site);
        self.former.extend(old.pools.iter().filter(|pool| !self.turn.site.pools.iter().any(|other| Arc::ptr_eq(pool, other))).cloned());
        let pools: HashMap<*const Server, &Arc<Pool>> =
            self.turn.site.servers().map(|(pool, server)| (Arc::as_ptr(server), pool)).collect();
        for (_, upstream) in self.upstreams.iter_mut() {
            if let Some(&pool) = pools.get(&Arc::as_ptr(upstream.server())) {
                if upstream.server().config.origin.is_tls() && upstream.pool.tls != pool.tls {
                    // It may have shown another certificate, or verified by other roots: it serves nobody after those it serves now.
                    upstream.keepalive_ms = 0;
                }
                upstream.pool = pool.clone();
            }
        }
        self.talks.forget_stored();
        self.turn.buffers.resize(self.turn.site.config.limits.buffer_size);
        self.close_idle(|upstream| upstream.server().is_retired() || upstream.keepalive_ms == 0);
        // A limit may be higher, or a server new. Requests that joined the queue of a pool which has just become an earlier one were
        // not announced; and other workers with idle connections did not know of a queue that is new here.
        self.former.iter().filter(|pool| !pool.queue.is_empty()).for_each(|pool| self.announce_former(pool));
        // Those that are gone are forgotten; one that comes back may still have an open circuit.
        self.open_circuits = OpenCircuits::of(&self.turn.site.pools);
        self.wake_circuits();
        self.on_descriptor_freed();
        self.serve_queues();
        if is_renewed {
            self.call_back_queued();
        }
    }

    /// Queued requests go on with the servers that there are now.
    fn call_back_queued(&mut self) {
        let mut queued: Vec<(u64, usize)> = Vec::new();
        for (key, talk) in self.talks.iter() {
            queued.extend(talk.stand.as_ref().filter(|stand| self.is_former(&stand.pool)).map(|stand| (stand.serial, key)));
        }
        queued.sort_unstable();
        for (serial, key) in queued {
            if self.talks.get(key).is_some_and(|talk| talk.exchange.is_serial(serial)) {
                self.deliver_to(key, Event::ServersChanged);
            }
        }
    }

    fn tell_all(&mut self, event: impl Fn() -> Event) {
        let keys: Vec<usize> = self.clients.iter().map(|(key, _)| key).collect();
        for key in keys {
            let Some(client) = self.clients.get(key) else { continue };
            let (is_opening, is_shaking) = (client.link.is_opening(), client.link.is_shaking());
            // Who has begun a handshake has until its deadline for it, like one whose head has begun.
            if !is_shaking || event() != Event::Drain {
                self.deliver(key, event());
            }
            match is_opening {
                true => self.enqueue(key),
                false => self.pump(key),
            }
        }
    }
}
