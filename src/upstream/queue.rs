//! The queue of a pool: which waiting request is served next, and whether a place would help any of them.

use super::pool::{Grant, PickRequest, Pool, Requirements, RetryChoice};
use super::server::Server;
use crate::guard::places::{Needs, UpstreamLimits};
use crate::guard::wait_queue::{Aim, Candidate, Ticket};
use std::ops::ControlFlow;
use std::sync::Arc;

impl Pool {
    /// Whether a server that takes requests has room for a tunnel.
    pub fn has_tunnel(&self, most: UpstreamLimits) -> bool {
        let tunnel = Needs { tunnel: true, ..Needs::default() };
        self.servers.iter().any(|server| self.takes_requests(server) && server.places.has_room(tunnel, most))
    }

    /// Takes a place for the first in the queue, if there is one. Called by whoever freed a place or has just joined.
    pub fn admit_first(&self, rng: &mut fastrand::Rng, worker: usize, most: UpstreamLimits, now: u64) -> Option<(Ticket, Grant)> {
        self.queue.call(|Candidate { needs, aim, key, .. }| {
            let (tried, again) = match aim {
                Aim::Others(tried) if self.has_other(tried) => (&tried[..], RetryChoice::Elsewhere),
                _ => (&[][..], RetryChoice::Anywhere),
            };
            let want = Requirements { worker, most, needs, now, tried, again };
            self.grant(PickRequest { rng, key, want }, false).map_or(ControlFlow::Continue(()), |grant| ControlFlow::Break(Some(grant)))
        })
    }

    /// Whether a server that takes requests is none of these.
    fn has_other(&self, tried: &[usize]) -> bool {
        self.servers.iter().enumerate().any(|(index, server)| !tried.contains(&index) && self.takes_requests(server))
    }

    /// Whether a place at that server helps a ticket with this aim.
    pub fn helps(&self, index: usize, aim: &Aim) -> bool {
        match aim {
            Aim::Any => true,
            Aim::Others(tried) => !tried.contains(&index) || !self.has_other(tried),
        }
    }

    /// Removes the first request that cannot be served: any, if every server is down; one that needs a tunnel, if there is no room
    /// for one.
    pub fn dismiss_first(&self, most: UpstreamLimits, now: u64) -> Option<Ticket> {
        let is_vain = |needs: Needs| !self.is_up(now) || (needs.tunnel && !self.has_tunnel(most));
        let dismiss = |asks: Candidate| if is_vain(asks.needs) { ControlFlow::Break(Some(())) } else { ControlFlow::Continue(()) };
        self.queue.call(dismiss).map(|(ticket, ())| ticket)
    }

    /// Whether a place at that server would help a waiting request.
    pub fn is_wanted(&self, server: &Arc<Server>, most: UpstreamLimits) -> bool {
        let has_room = |needs| server.places.has_room(needs, most);
        let helps = |aim: &Aim| self.index_of(server).is_some_and(|index| self.helps(index, aim));
        self.lets_through(server)
            && (self.queue.has_any(has_room) || self.queue.count(|needs, aim| *aim != Aim::Any && has_room(needs) && helps(aim)) > 0)
    }

    /// Another worker with an idle connection to a server that `is_wanted`: closing that connection makes a place.
    pub fn idle_elsewhere(&self, worker: usize, is_wanted: impl Fn(&Arc<Server>) -> bool) -> Option<(usize, &Arc<Server>)> {
        self.servers.iter().filter(|server| self.takes_requests(server) && is_wanted(server)).find_map(|server| {
            let other = (0..server.cells.len()).find(|&other| other != worker && server.cells[other].idle.value() > 0)?;
            Some((other, server))
        })
    }
}
