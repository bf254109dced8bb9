//! Exchanges whose clients take nothing of their answers, or send nothing of their content, hold places at upstreams. While other
//! requests wait for these places, they may hold half of them; beyond that, the ones that have been stalled longest are cut off.
//!
//! Each worker knows only its own. While requests wait, all workers repeatedly count their stalled exchanges and publish the count.
//! Each then cuts its share of the excess, and the worker with the longest stalled one cuts at least that.

use super::core::{Core, Net};
use super::shared::Mail;
use super::timers::OwnTimer;
use super::upstream::Upstream;
use crate::observe::stats::StallStats;
use crate::session::Event;
use crate::upstream::server::Server;
use std::rc::Rc;

/// A client that has taken or sent nothing for this long is stalled.
const STALLED_MS: u64 = 2000;
/// How often workers look while requests wait. What another worker published counts for twice this time.
const LOOK_MS: u64 = 200;

/// A stalled exchange of this worker.
#[derive(Clone, Copy)]
struct Stall {
    /// The slot of its server.
    slot: usize,
    since: u64,
    exchange: usize,
}

impl<N: Net> Core<N> {
    /// A request has joined a queue.
    pub(super) fn watch_stalls(&mut self) {
        if self.timers.deadline(OwnTimer::Stall).is_none() {
            self.timers.set(OwnTimer::Stall, self.turn.now.millis() + LOOK_MS);
        }
    }

    pub(super) fn on_stall_timer(&mut self) {
        if self.stats.queued_requests.value() > 0 {
            self.other_mailboxes().for_each(|mailbox| mailbox.post(Mail::Stalls));
            self.relieve_lines();
            self.watch_stalls();
        }
    }

    /// Cuts stalled exchanges for all queues in which requests wait for a place.
    pub(super) fn relieve_lines(&mut self) {
        let (site, former) = (Rc::clone(&self.turn.site), self.former.clone());
        let stalls = self.stalls();
        for pool in site.pools.iter().chain(&former).filter(|pool| !pool.queue.is_empty()) {
            for (index, server) in pool.servers.iter().enumerate() {
                let waiting = pool.queue.count(|needs, aim| server.has_room(needs) && pool.helps(index, aim));
                let from = stalls.partition_point(|stall| stall.slot < server.slot);
                let here = stalls[from..].iter().take_while(|stall| stall.slot == server.slot);
                self.relieve(server, &here.copied().collect::<Vec<_>>(), waiting);
            }
        }
    }

    /// Publishes the stalled exchanges at a server, and cuts this worker's share.
    fn relieve(&mut self, server: &Server, stalls: &[Stall], waiting: usize) {
        self.publish(server, stalls);
        let (cut, left) = stalls.split_at(self.share(server, stalls, waiting));
        for Stall { exchange, .. } in cut {
            // Of a client with several exchanges, only this one is cut.
            self.deliver_to(*exchange, Event::MakeRoom);
        }
        self.publish(server, left);
    }

    /// The stalled exchanges of this worker, by server, and for each the longest first.
    fn stalls(&self) -> Vec<Stall> {
        let latest = self.turn.now.millis().saturating_sub(STALLED_MS);
        let of = |exchange: usize, upstream: &Upstream<N::Transport>| {
            let since = self.talks.get(exchange)?.exchange.stalled_since().filter(|&since| since <= latest)?;
            Some(Stall { slot: upstream.server().slot, since, exchange })
        };
        let all = self.upstreams.iter().flat_map(|(_, upstream)| upstream.exchanges().map(move |exchange| (exchange, upstream)));
        let mut stalls: Vec<Stall> = all.filter_map(|(exchange, upstream)| of(exchange, upstream)).collect();
        stalls.sort_unstable_by_key(|stall| (stall.slot, stall.since));
        stalls
    }

    fn publish(&self, server: &Server, stalls: &[Stall]) {
        let StallStats { counted_at, count, since } = &server.cells[self.turn.worker].stalls;
        count.set(stalls.len() as u64);
        since.set(stalls.first().map_or(u64::MAX, |stall| stall.since));
        counted_at.set(self.turn.now.millis());
    }

    /// How many of its stalled exchanges this worker cuts: no more than requests wait, nor than exceed the half, over all workers.
    fn share(&self, server: &Server, stalls: &[Stall], waiting: usize) -> usize {
        let Some(longest) = stalls.first() else { return 0 };
        let now = self.turn.now.millis();
        let others = server.cells.iter().enumerate().filter(|(worker, cell)| {
            *worker != self.turn.worker && cell.stalls.counted_at.value() + 2 * LOOK_MS > now && cell.stalls.count.value() > 0
        });
        let (mut total, mut is_longest) = (stalls.len(), true);
        for (worker, cell) in others {
            total += cell.stalls.count.value() as usize;
            is_longest &= (longest.since, self.turn.worker) < (cell.stalls.since.value(), worker);
        }
        let too_many = total.saturating_sub(server.most().half()).min(waiting);
        if too_many == 0 {
            return 0;
        }
        (too_many * stalls.len() / total).max(is_longest.into())
    }
}
