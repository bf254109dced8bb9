//! Drives one session until it is blocked: reads into its rings, lets it process the bytes, and sends.

use super::bulk::is_long;
use super::core::{Client, Core, Net};
use crate::net::transport::{Transfer, Transport};
use crate::session::{Direction, Event};

/// How many bytes one session may move before others get their turn.
const BUDGET_BYTES: usize = 256 * 1024;
/// A request counts as this many bytes, so that many small ones in a row do not keep others waiting.
const REQUEST_BYTES: usize = 16 * 1024;
/// Shorter opaque parts go through the ring.
const MIN_OPAQUE: u64 = 16 * 1024;

impl<N: Net> Core<N> {
    /// Pumps the sessions that are ready now, each once. Those that become ready meanwhile wait for the next turn.
    pub fn pump_ready(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(client) = self.clients.get_mut(key) {
                client.is_queued = false;
                self.pump(key);
            }
        }
        self.admit_waiting();
    }

    /// Moves what can be moved, within the budget.
    pub(super) fn pump(&mut self, key: usize) {
        let mut budget = BUDGET_BYTES;
        while self.is_open(key) {
            let begun = self.turn.requests_begun;
            let mut moved = self.read_client(key) + self.read_upstream(key);
            moved += self.write_upstream(key) + self.write_client(key);
            if moved == 0 || self.is_blocked(key) {
                break;
            }
            let requests = (self.turn.requests_begun - begun) as usize;
            budget = budget.saturating_sub(moved + requests * REQUEST_BYTES);
            if budget == 0 && self.is_open(key) {
                self.enqueue(key);
                break;
            }
        }
        self.settle(key);
    }

    /// Whether another round would certainly move nothing: no side has sent anything, and there is nothing to send.
    fn is_blocked(&self, key: usize) -> bool {
        let Some(Client { link, session, upstream, .. }) = self.clients.get(key) else { return true };
        let upstream = upstream.and_then(|key| self.upstreams[key].link.as_ref());
        let is_silent = !link.may_read() && !link.is_gone() && upstream.is_none_or(|upstream| !upstream.may_read());
        is_silent && !session.is_behind() && !session.has_output()
    }

    fn is_open(&self, key: usize) -> bool {
        self.clients.get(key).is_some_and(|client| client.session.ending().is_none())
    }

    /// After a pump: empty rings go back, the timer is set, a finished connection is closed.
    fn settle(&mut self, key: usize) {
        let Some(client) = self.clients.get_mut(key) else { return };
        for ring in [&mut client.session.up, &mut client.session.down] {
            if ring.is_attached() && ring.is_empty() {
                self.turn.buffers.give_back(ring.detach());
            }
        }
        let rests = client.session.is_resting() || client.session.has_had_its_last();
        if rests != std::mem::replace(&mut client.is_resting, rests) {
            if rests { self.turn.stats.resting_clients.add(1) } else { self.turn.stats.resting_clients.sub(1) }
        }
        if client.session.ending().is_some() {
            self.close_client(key);
        } else {
            self.note_rest(key);
            self.arm(key);
        }
        if !self.pipes.is_empty() {
            let long = self.long_run;
            self.take_up_pipes(key, |session, direction| session.past(direction) == 0 && !is_long(session.opaque(direction), long));
        }
    }

    fn read_client(&mut self, key: usize) -> usize {
        let Client { link, session, .. } = &mut self.clients[key];
        // A poll also calls it gone once both sides are closed: what was sent before is still read and dropped.
        if link.is_gone() && !session.is_lingering() {
            self.deliver(key, Event::ClientGone);
            return 0;
        }
        if session.is_behind() {
            self.deliver(key, Event::ClientBytes);
            return 1;
        }
        if !link.may_read() || !session.wants_client() {
            return 0;
        }
        if session.opaque(Direction::Up) >= MIN_OPAQUE && self.is_writable(key, Direction::Up) {
            return self.move_opaque(key, Direction::Up);
        }
        let Client { link, session, entrance, .. } = &mut self.clients[key];
        if !session.up.is_attached() {
            session.up.attach(self.turn.buffers.lend());
        }
        let (transfer, is_public) = (link.fill(&mut session.up), !entrance.is_admin);
        let (event, n) = match transfer {
            Transfer::Bytes(n) => (Event::ClientBytes, n),
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
            Transfer::Fin => (Event::ClientFin, 1),
            Transfer::Failed => (Event::ClientGone, 1),
        };
        if let (Transfer::Bytes(n), true) = (transfer, is_public) {
            self.turn.stats.bytes_received.add(n as u64);
        }
        self.deliver(key, event);
        n
    }

    fn write_upstream(&mut self, key: usize) -> usize {
        let Some(client) = self.clients.get(key) else { return 0 };
        if client.session.past(Direction::Up) > 0 {
            return self.pour_out(key, Direction::Up);
        }
        let (Some(upstream), Some(output)) = (client.upstream, client.session.upstream_output()) else { return 0 };
        let Some(link) = self.upstreams[upstream].link.as_mut().filter(|link| link.may_write()) else { return 0 };
        let (event, n) = match link.send(&output) {
            Transfer::Bytes(n) => (Event::UpstreamTook(n), n),
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
            // What the upstream still sends, or its end, decides.
            Transfer::Fin | Transfer::Failed => (Event::UpstreamBroken, 1),
        };
        self.deliver(key, event);
        n
    }

    fn read_upstream(&mut self, key: usize) -> usize {
        let Some(Client { session, upstream: Some(upstream), .. }) = self.clients.get_mut(key) else { return 0 };
        let Some(link) = self.upstreams[*upstream].link.as_mut() else { return 0 };
        if !link.may_read() || !session.wants_upstream() {
            return 0;
        }
        // While the client takes nothing, the ring is filled all the same: that shows which side is slow.
        if session.opaque(Direction::Down) >= MIN_OPAQUE && self.is_writable(key, Direction::Down) {
            return self.move_opaque(key, Direction::Down);
        }
        let Some(Client { session, upstream: Some(upstream), .. }) = self.clients.get_mut(key) else { return 0 };
        let Some(link) = self.upstreams[*upstream].link.as_mut() else { return 0 };
        if !session.down.is_attached() {
            session.down.attach(self.turn.buffers.lend());
        }
        let (event, n) = match link.fill(&mut session.down) {
            Transfer::Bytes(n) => (Event::UpstreamBytes, n),
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
            Transfer::Fin => (Event::UpstreamFin, 1),
            Transfer::Failed => (Event::UpstreamGone, 1),
        };
        self.deliver(key, event);
        n
    }

    fn write_client(&mut self, key: usize) -> usize {
        let Some(Client { link, session, entrance, .. }) = self.clients.get_mut(key) else { return 0 };
        if session.past(Direction::Down) > 0 {
            return self.pour_out(key, Direction::Down);
        }
        let Some(output) = session.client_output().filter(|_| link.may_write()) else { return 0 };
        let (transfer, is_public) = (link.send(&output), !entrance.is_admin);
        let (event, n) = match transfer {
            Transfer::Bytes(n) => (Event::ClientTook(n), n),
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
            Transfer::Fin | Transfer::Failed => (Event::ClientGone, 1),
        };
        if let (Transfer::Bytes(n), true) = (transfer, is_public) {
            self.turn.stats.bytes_sent.add(n as u64);
        }
        self.deliver(key, event);
        n
    }
}
