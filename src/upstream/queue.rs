//! The queue of a pool: which waiting request is served next, and whether a place would help any of them.

use super::pick::SessionPick;
use super::pool::{ConnectionKind, Grant, PickRequest, Pool, Requirements, RetryChoice};
use super::server::Server;
use crate::guard::breaker::CircuitState;
use crate::guard::places::Needs;
use crate::guard::wait_queue::{Aim, Candidate, Ticket};
use std::ops::ControlFlow;
use std::sync::Arc;

impl Pool {
    /// Whether a server that takes requests has room for a tunnel.
    pub fn has_tunnel(&self) -> bool {
        let tunnel = Needs { tunnel: true, ..Needs::default() };
        let last = self.last_rank();
        self.servers.iter().enumerate().any(|(index, server)| self.takes_requests(index, last) && server.has_room(tunnel))
    }

    /// Takes a place for the first in the queue, if there is one. Called by whoever freed a place or has just joined.
    pub fn admit_first(&self, rng: &mut fastrand::Rng, worker: usize, now: u64) -> Option<(Ticket, Grant)> {
        self.queue.call(|Candidate { needs, aim, key, .. }| {
            let (tried, again) = match aim {
                Aim::Others(tried) if self.has_other(tried) => (&tried[..], RetryChoice::Elsewhere),
                _ => (&[][..], RetryChoice::Anywhere),
            };
            let want = Requirements { worker, needs, now, tried, again };
            let granted = match *aim {
                Aim::Only(server) => self.enter(server, ConnectionKind::New, want),
                _ => self.grant(PickRequest { rng, key, want }, false),
            };
            granted.map_or(ControlFlow::Continue(()), |grant| ControlFlow::Break(Some(grant)))
        })
    }

    /// Whether a server that takes requests is none of these.
    fn has_other(&self, tried: &[usize]) -> bool {
        let last = self.last_rank();
        (0..self.servers.len()).any(|index| !tried.contains(&index) && self.takes_requests(index, last))
    }

    /// Whether a place at that server helps a ticket with this aim.
    pub fn helps(&self, index: usize, aim: &Aim) -> bool {
        match aim {
            Aim::Any => true,
            Aim::Others(tried) => !tried.contains(&index) || !self.has_other(tried),
            Aim::Only(server) => *server == index,
        }
    }

    /// Picks the server to which the client's session belongs.
    #[cold]
    pub fn pick_for_session(&self, server: usize, want: Requirements) -> SessionPick {
        if want.tried.contains(&server) || !self.keeps_session(server, want.needs, want.now) {
            return SessionPick::Over;
        }
        let goes_before = |other: Needs| other.goes_before(want.needs);
        let must_wait = self.queue.has_any(goes_before) || self.queue.is_awaited(server, goes_before);
        let granted = if must_wait { None } else { self.enter(server, self.kind_for(server, want.worker), want) };
        granted.map_or(SessionPick::Full, SessionPick::Granted)
    }

    /// Whether the server may keep its sessions.
    fn keeps_session(&self, index: usize, needs: Needs, now: u64) -> bool {
        let server = &self.servers[index];
        let tunnel = Needs { tunnel: needs.tunnel, ..Needs::default() };
        // Only a complete request may be a trial, and this one might wait for that in vain.
        let is_on_trial = server.circuit.state() == CircuitState::HalfOpen;
        self.takes_requests_from(index, u32::MAX, now)
            && self.lets_through(index)
            && server.has_room(tunnel)
            && !(needs.is_partial && is_on_trial)
    }

    /// Removes the first request that cannot be served: any, if every server is down; one that needs a tunnel, if there is no room
    /// for one; one that waits for its session's server, if that is not usable.
    pub fn dismiss_first(&self, now: u64) -> Option<Ticket> {
        let is_vain = |needs: Needs| !self.is_up(now) || (needs.tunnel && !self.has_tunnel());
        let dismiss = |Candidate { needs, aim, .. }: Candidate| match *aim {
            Aim::Only(server) if !self.keeps_session(server, needs, now) => ControlFlow::Break(Some(())),
            _ if is_vain(needs) => ControlFlow::Break(Some(())),
            _ => ControlFlow::Continue(()),
        };
        self.queue.call(dismiss).map(|(ticket, ())| ticket)
    }

    /// Whether a place at that server would help a waiting request.
    pub fn is_wanted(&self, index: usize) -> bool {
        let has_room = |needs| self.servers[index].has_room(needs);
        let helps = |aim: &Aim| self.helps(index, aim);
        self.lets_through(index)
            && (self.queue.has_any(has_room) || self.queue.count(|needs, aim| *aim != Aim::Any && has_room(needs) && helps(aim)) > 0)
    }

    /// Another worker with an idle connection to a server that `is_wanted`: closing that connection makes a place.
    pub fn idle_elsewhere(&self, worker: usize, is_wanted: impl Fn(usize) -> bool) -> Option<(usize, &Arc<Server>)> {
        let last = self.last_rank();
        (0..self.servers.len()).filter(|&index| self.takes_requests(index, last) && is_wanted(index)).find_map(|index| {
            let server = &self.servers[index];
            let other = (0..server.cells.len()).find(|&other| other != worker && server.cells[other].idle.value() > 0)?;
            Some((other, server))
        })
    }
}
