//! The queue of a pool: which waiting request is served next, and whether a place would help any of them.

use super::pool::{Grant, PickRequest, Pool, Requirements};
use super::server::Server;
use crate::guard::gate::Ticket;
use crate::guard::places::{Needs, UpstreamLimits};
use std::ops::ControlFlow;
use std::sync::Arc;

impl Pool {
    /// Whether a server that takes requests has room for a tunnel.
    pub fn has_tunnel(&self, most: UpstreamLimits) -> bool {
        let tunnel = Needs { tunnel: true, ..Needs::default() };
        self.servers.iter().any(|server| self.takes_requests(server) && server.places.has_room(tunnel, most))
    }

    /// Takes a place for the first in the queue, if there is one. Called by whoever freed a place or has just joined.
    pub fn admit_first(&self, seeker: PickRequest) -> Option<(Ticket, Grant)> {
        let PickRequest { rng, key, want } = seeker;
        self.queue.call(|_, needs| {
            let seeker = PickRequest { rng, key, want: Requirements { needs, ..want } };
            self.grant(seeker, false).map_or(ControlFlow::Continue(()), |grant| ControlFlow::Break(Some(grant)))
        })
    }

    /// Removes the first request that cannot be served: any, if every server is down; one that needs a tunnel, if there is no room
    /// for one.
    pub fn dismiss_first(&self, most: UpstreamLimits, now: u64) -> Option<Ticket> {
        let is_vain = |needs: Needs| !self.is_up(now) || (needs.tunnel && !self.has_tunnel(most));
        let dismiss = |_: &Ticket, needs| if is_vain(needs) { ControlFlow::Break(Some(())) } else { ControlFlow::Continue(()) };
        self.queue.call(dismiss).map(|(ticket, ())| ticket)
    }

    /// Whether a place at that server would help a waiting request.
    pub fn is_wanted(&self, server: &Server, most: UpstreamLimits) -> bool {
        self.lets_through(server) && self.queue.has_any(|needs| server.places.has_room(needs, most))
    }

    /// Another worker with an idle connection to a server that `is_wanted`: closing that connection makes a place.
    pub fn idle_elsewhere(&self, worker: usize, is_wanted: impl Fn(&Server) -> bool) -> Option<(usize, &Arc<Server>)> {
        self.servers.iter().filter(|server| self.takes_requests(server) && is_wanted(server)).find_map(|server| {
            let other = (0..server.cells.len()).find(|&other| other != worker && server.cells[other].idle.value() > 0)?;
            Some((other, server))
        })
    }
}
