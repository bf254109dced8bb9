//! The queues of requests that wait for a place: whoever frees a place gives it to the first, in whatever worker that is.

use super::admission::Admission;
use super::core::{Core, Net};
use super::shared::Mail;
use super::timers::OwnTimer;
use super::upstream::Upstream;
use crate::back::connection::BackConnection;
use crate::base::mailbox::Mailbox;
use crate::guard::wait_queue::{Candidate, Ticket};
use crate::session::Event;
use crate::session::talks::Stand;
use crate::upstream::circuits::OpenCircuit;
use crate::upstream::pool::{ConnectionKind, Grant, Pool, Requirements, RetryChoice};
use crate::upstream::server::Server;
use std::ops::ControlFlow;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{Ordering::SeqCst, fence};

/// How often open circuits are looked at again, because one may have become that of the last usable upstream.
const LOOK_MS: u64 = 1000;

impl<N: Net> Core<N> {
    /// A request has joined the queue, or waits there: gives it a free place, or one that an idle connection holds.
    pub(super) fn serve_queue(&mut self, pool: &Arc<Pool>, starved: bool, most: usize) {
        if !starved {
            self.hand_on(pool);
        }
        for _ in 0..most {
            if pool.queue.is_empty() || !self.reclaim(pool, starved) {
                break;
            }
        }
    }

    /// The same for all queues.
    pub fn serve_queues(&mut self) {
        let site = Rc::clone(&self.turn.site);
        let pools = site.pools.iter().chain(&self.former).filter(|pool| !pool.queue.is_empty());
        let pools: Vec<Arc<Pool>> = pools.cloned().collect();
        pools.iter().for_each(|pool| self.serve_queue(pool, false, pool.queue.count(|_, _| true)));
    }

    /// Remembers a pool of an earlier site, because nothing else would lead to its queue. Returns whether it is one.
    pub(super) fn keep_former(&mut self, pool: &Arc<Pool>) -> bool {
        let is_former = self.is_former(pool);
        if is_former && !self.former.iter().any(|other| Arc::ptr_eq(other, pool)) {
            self.former.push(pool.clone());
        }
        is_former
    }

    /// Whether a pool is not one of this site.
    pub(super) fn is_former(&self, pool: &Arc<Pool>) -> bool {
        !self.turn.site.pools.iter().any(|other| Arc::ptr_eq(other, pool))
    }

    /// The pool of this site to which a server belongs; earlier pools may share the server.
    pub(super) fn pool_of(&self, server: &Arc<Server>) -> Option<&Arc<Pool>> {
        self.turn.site.pools.iter().find(|pool| pool.servers.iter().any(|other| Arc::ptr_eq(other, server)))
    }

    /// Tells the other workers that a request waits in the queue of an earlier pool.
    pub(super) fn announce_former(&self, pool: &Arc<Pool>) {
        self.other_mailboxes().for_each(|mailbox| mailbox.post(Mail::Former(pool.clone())));
    }

    pub(super) fn other_mailboxes(&self) -> impl Iterator<Item = &Mailbox<Mail>> {
        let own = self.turn.worker;
        self.shared.mailboxes.iter().enumerate().filter(move |(worker, _)| *worker != own).map(|(_, mailbox)| mailbox)
    }

    /// A request waits for a place, or a descriptor, that an idle connection holds: closes one, here or in another worker. False if
    /// there is none.
    fn reclaim(&mut self, pool: &Arc<Pool>, starved: bool) -> bool {
        // Whoever parks a connection looks at the queue afterwards; we are in the queue, and look at idle connections now.
        fence(SeqCst);
        let worker = self.turn.worker;
        let helps = |&(index, server): &(usize, &Arc<Server>)| server.cells[worker].idle.value() > 0 && (starved || pool.is_wanted(index));
        if let Some((_, server)) = pool.servers.iter().enumerate().find(helps) {
            self.close_coldest(server);
            return true;
        }
        let site = Rc::clone(&self.turn.site);
        let others = site.pools.iter().filter(|_| starved);
        let elsewhere = |pool| Pool::idle_elsewhere(pool, worker, |index| starved || pool.is_wanted(index));
        let found = [pool].into_iter().chain(others).find_map(|pool| elsewhere(pool));
        found.into_iter().for_each(|(worker, server)| self.shared.mailboxes[worker].post(Mail::Reclaim(server.clone())));
        found.is_some()
    }

    /// Gives a connection to the first queued request that it helps. One of another worker gets the place without the connection.
    pub(super) fn offer(&mut self, key: usize) {
        let (worker, now) = (self.turn.worker, self.turn.now.millis());
        let Upstream { pool, lease, .. } = &self.upstreams[key];
        let server = lease.server();
        let index = pool.index_of(server);
        let called = pool.queue.call(|Candidate { ticket, needs, aim, .. }| {
            if !server.has_room(needs) || index.is_some_and(|index| !pool.helps(index, aim)) {
                return ControlFlow::Continue(());
            }
            let want = Requirements { worker, needs, now, tried: &[], again: RetryChoice::Anywhere };
            let index = index.filter(|_| ticket.worker == worker);
            ControlFlow::Break(index.and_then(|index| pool.enter(index, ConnectionKind::Kept, want)))
        });
        match called {
            Some((ticket, grant)) => {
                self.admitted.push_back(Admission { pool: pool.clone(), ticket, grant: Some(grant), reuse: Some(key) });
                self.upstreams[key].back_mut().into_iter().for_each(BackConnection::promise);
            }
            None => self.close_upstream(key),
        }
    }

    /// A descriptor is free: those who stopped for lack of one may go on.
    pub(super) fn on_descriptor_freed(&mut self) {
        self.shared.resume(&self.shared.starved);
        if self.shared.is_held_up.load(SeqCst) {
            self.shared.is_held_up.store(false, SeqCst);
        }
        self.hand_on_all();
    }

    /// Gives free places to queued requests of all pools, and dismisses them where every server is down.
    fn hand_on_all(&mut self) {
        self.hand_on_former();
        let site = Rc::clone(&self.turn.site);
        for pool in site.pools.iter().filter(|pool| !pool.queue.is_empty()) {
            self.hand_on(pool);
        }
    }

    /// A place of that pool's server is free. Requests in the queues of earlier pools came first, and may need the same place.
    pub(super) fn hand_on_place(&mut self, pool: &Arc<Pool>) {
        self.hand_on_former();
        self.hand_on(pool);
    }

    fn hand_on_former(&mut self) {
        let former = std::mem::take(&mut self.former);
        for pool in former.into_iter().filter(|pool| !pool.queue.is_empty()) {
            self.hand_on(&pool);
            self.former.push(pool);
        }
    }

    /// Gives free places to queued requests in their order, and dismisses them where every server is down.
    pub(super) fn hand_on(&mut self, pool: &Arc<Pool>) {
        let (worker, now) = (self.turn.worker, self.turn.now.millis());
        while self.may_dial() {
            let Some((ticket, grant)) = pool.admit_first(&mut self.turn.rng, worker, now) else { break };
            self.call(pool, ticket, Some(grant));
        }
        if !self.may_dial() && (0..pool.servers.len()).any(|index| pool.is_wanted(index)) {
            // Whoever parks a connection looks here afterwards.
            self.shared.is_held_up.store(true, SeqCst);
            self.reclaim(pool, true);
        }
        while let Some(ticket) = pool.dismiss_first(now) {
            self.call(pool, ticket, None);
        }
    }

    /// Whether a connection could be made: there is a descriptor, or one here would be closed for it.
    fn may_dial(&self) -> bool {
        self.shared.descriptors.has_free() || self.idle.any().is_some()
    }

    fn call(&mut self, pool: &Arc<Pool>, ticket: Ticket, grant: Option<Grant>) {
        let pool = pool.clone();
        if ticket.worker == self.turn.worker {
            self.admitted.push_back(Admission { pool, ticket, grant, reuse: None });
        } else {
            self.shared.mailboxes[ticket.worker].post(Mail::Admitted { pool, ticket, grant });
        }
    }

    /// Dismisses queued requests at once where no server is left: the answer that opened the circuit may still take long.
    pub(super) fn on_circuit_opened(&mut self, circuit: OpenCircuit) {
        // Requests that waited for this server alone, or for any but those that had failed them, may go to others now.
        self.serve_queue(&circuit.pool, false, circuit.pool.queue.count(|_, _| true));
        self.open_circuits.add(circuit);
        self.wake_circuits();
    }

    /// Makes circuits half-open whose time is over, and lets queued requests through.
    pub(super) fn wake_circuits(&mut self) {
        let now = self.turn.now.millis();
        if self.open_circuits.wake(now) {
            self.serve_queues();
        }
        // Whether an upstream is the last usable one also depends on the others.
        match self.open_circuits.soonest() {
            Some(at) => self.timers.set(OwnTimer::Circuit, at.clamp(now + 1, now + LOOK_MS)),
            None => self.timers.cancel(OwnTimer::Circuit),
        }
    }

    /// Tells exchanges whose turn has come. If one has stopped waiting, its place is passed on.
    pub(super) fn admit_waiting(&mut self) {
        for _ in 0..self.admitted.len() {
            let Some(Admission { pool, ticket, grant, reuse }) = self.admitted.pop_front() else { break };
            let talk = self.talks.get_mut(ticket.key);
            let is_it = |stand: &mut Stand| Arc::ptr_eq(&stand.pool, &pool) && stand.serial == ticket.serial;
            if let Some((client, stand)) = talk.and_then(|talk| Some((talk.client, talk.stand.take_if(is_it)?))) {
                self.shared.starving.fetch_sub(stand.starves.into(), SeqCst);
                let talk = &mut self.talks[ticket.key];
                let event = if grant.is_some() { Event::Admitted } else { Event::Dismissed };
                (talk.upstream, talk.grant) = (reuse, grant);
                self.deliver_about(client, Some(ticket.key), event);
                self.pump(client);
                continue;
            }
            match (reuse, grant) {
                (Some(upstream), _) => self.close_upstream(upstream),
                (None, Some(grant)) => {
                    let server = &pool.servers[grant.server];
                    drop(grant);
                    let pool = self.pool_of(server).unwrap_or(&pool).clone();
                    self.hand_on_place(&pool);
                }
                (None, None) => {}
            }
        }
    }
}
