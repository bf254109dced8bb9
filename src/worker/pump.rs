//! Drives one client's connection until it is blocked: reads into its rings, lets the machines process the bytes, and sends.

use super::bulk::is_long;
use super::client::Client;
use super::core::{Core, Net, enter};
use crate::base::ring::Ring;
use crate::exchange::Exchange;
use crate::net::transport::{Transfer, Transport};
use crate::session::{Direction, Event, SessionView, Turn};

/// How many bytes one connection may move before others get their turn.
const BUDGET_BYTES: usize = 256 * 1024;
/// A request counts as this many bytes, so that many small ones in a row do not keep others waiting.
const REQUEST_BYTES: usize = 16 * 1024;
/// Shorter opaque parts go through the ring.
const MIN_OPAQUE: u64 = 16 * 1024;

impl<N: Net> Core<N> {
    /// Pumps the connections that are ready now, each once. Those that become ready meanwhile wait for the next turn.
    pub fn pump_ready(&mut self) {
        for _ in 0..self.ready.len() {
            let Some(key) = self.ready.pop_front() else { break };
            if let Some(client) = self.clients.get_mut(key) {
                client.is_queued = false;
                self.pump(key);
            }
        }
        if !self.opening.is_empty() {
            self.shake_hands();
        }
        self.admit_waiting();
    }

    /// Moves what can be moved, within the budget.
    pub(super) fn pump(&mut self, key: usize) {
        let Some(Client { entrance, front, .. }) = self.clients.get(key) else { return };
        enter(&mut self.turn, entrance);
        let (mut budget, is_many) = (BUDGET_BYTES, front.many().is_some());
        while self.is_open(key) {
            let begun = self.turn.requests_begun;
            let moved = if is_many { self.move_many(key) } else { self.move_one(key) };
            if moved == 0 || (!is_many && self.is_blocked(key)) {
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

    /// One round for a client with one exchange at a time.
    fn move_one(&mut self, key: usize) -> usize {
        let mut moved = self.read_client(key);
        if let Some(exchange) = self.clients.get(key).and_then(|client| client.front.exchange()) {
            moved += self.read_upstream(key, exchange) + self.write_upstream(key, exchange);
        }
        moved + self.write_client(key)
    }

    /// Whether another round would certainly move nothing: no side has sent anything, and there is nothing to send.
    fn is_blocked(&self, key: usize) -> bool {
        let Some(Client { link, front, .. }) = self.clients.get(key) else { return true };
        let view = SessionView::new(front, &self.talks);
        let upstream = view.talk.and_then(|talk| self.upstreams[talk.upstream?].link());
        let is_silent = !link.may_read() && !link.is_gone() && upstream.is_none_or(|upstream| !upstream.may_read());
        is_silent && !front.is_behind() && !view.has_output()
    }

    fn is_open(&self, key: usize) -> bool {
        self.clients.get(key).is_some_and(|client| client.front.ending().is_none())
    }

    /// After a pump: empty rings go back, the timer is set, a finished connection is closed.
    fn settle(&mut self, key: usize) {
        let Self { clients, talks, turn, stats, .. } = self;
        let Some(client) = clients.get_mut(key) else { return };
        give_back_if_empty(&mut client.front.ring, turn);
        let exchange = client.front.exchange();
        let mut give_back = |exchange: usize| {
            let Exchange { up, down, .. } = &mut talks[exchange].exchange;
            give_back_if_empty(&mut up.ring, turn);
            give_back_if_empty(&mut down.ring, turn);
        };
        exchange.into_iter().for_each(&mut give_back);
        if let Some(protocol) = client.front.many() {
            protocol.exchanges().iter().copied().for_each(give_back);
        }
        let rests = client.front.is_resting() || client.front.has_had_its_last();
        if rests != std::mem::replace(&mut client.is_resting, rests) {
            if rests { stats.resting_clients.add(1) } else { stats.resting_clients.sub(1) }
        }
        if client.front.ending().is_some() {
            self.close_client(key);
        } else {
            self.note_rest(key);
            self.arm(key);
        }
        if !self.pipes.is_empty() {
            let long = self.long_run;
            let is_done = |view: SessionView, direction| view.past(direction) == 0 && !is_long(view.opaque(direction), long);
            let at = |core: &Self, number| core.clients.get(key).and_then(|client| client.front.exchange_at(number));
            let mut number = 0;
            while let Some(exchange) = at(self, number) {
                self.take_up_pipes(exchange, is_done);
                number += 1;
            }
        }
    }

    #[inline(always)]
    pub(super) fn read_client(&mut self, key: usize) -> usize {
        let Client { link, front, .. } = &mut self.clients[key];
        // A poll also calls it gone once both sides are closed: what was sent before is still read and dropped.
        if link.is_gone() && !SessionView::new(front, &self.talks).is_lingering() {
            self.deliver(key, Event::ClientGone);
            return 0;
        }
        if front.is_behind() {
            self.deliver_here(key, None, Event::ClientBytes);
            return 1;
        }
        if !link.may_read() {
            return 0;
        }
        let view = SessionView::new(front, &self.talks);
        if !view.wants_client() {
            return self.look_for_end(key);
        }
        if view.opaque(Direction::Up) >= MIN_OPAQUE
            && let Some(exchange) = front.exchange().filter(|&exchange| self.is_writable(key, exchange, Direction::Up))
        {
            return self.move_opaque(key, exchange, Direction::Up);
        }
        let Self { clients, talks, turn, .. } = self;
        let Client { link, front, .. } = &mut clients[key];
        let ring = match front.exchange() {
            Some(exchange) => &mut talks[exchange].exchange.up.ring,
            None => &mut front.ring,
        };
        if !ring.is_attached() {
            ring.attach(turn.buffers.lend());
        }
        let transfer = link.fill(ring);
        if let Some(outcome) = link.take_handshake() {
            self.on_handshake(key, outcome);
        }
        let (event, n) = match transfer {
            Transfer::Bytes(n) => (Event::ClientBytes, n),
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
            Transfer::Fin => (Event::ClientFin, 1),
            Transfer::Failed => (Event::ClientGone, 1),
        };
        if matches!(event, Event::ClientBytes) {
            self.turn.stats.bytes_received.add(n as u64);
        }
        if event.is_for_all() {
            self.deliver(key, event);
        } else {
            self.deliver_here(key, None, event);
        }
        n
    }

    /// Nobody wants what the client sends. That it sends no more may matter all the same.
    #[inline(never)]
    fn look_for_end(&mut self, key: usize) -> usize {
        let link = &mut self.clients[key].link;
        let was_ending = link.is_ending();
        link.look_for_end();
        if link.is_ending() && !was_ending {
            self.deliver(key, Event::ClientHalfClosed);
        }
        0
    }

    #[inline(always)]
    pub(super) fn write_upstream(&mut self, key: usize, exchange: usize) -> usize {
        let Some(talk) = self.talks.get(exchange) else { return 0 };
        let (Some(upstream), Some(flow)) = (talk.upstream, talk.exchange.to_upstream()) else { return 0 };
        if flow.past() > 0 {
            return self.pour_out(key, exchange, Direction::Up);
        }
        if flow.pending() == 0 {
            return 0;
        }
        let Some(link) = self.upstreams[upstream].link_mut().filter(|link| link.may_write()) else { return 0 };
        let (event, n) = match link.send(&flow.output()) {
            Transfer::Bytes(n) => (Event::UpstreamTook(n), n),
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
            // What the upstream still sends, or its end, decides.
            Transfer::Fin | Transfer::Failed => (Event::UpstreamBroken, 1),
        };
        self.deliver_here(key, Some(exchange), event);
        n
    }

    #[inline(always)]
    pub(super) fn read_upstream(&mut self, key: usize, exchange: usize) -> usize {
        let Self { clients, talks, upstreams, turn, .. } = self;
        let Some(talk) = talks.get_mut(exchange) else { return 0 };
        let Some(link) = talk.upstream.and_then(|upstream| upstreams[upstream].link_mut()) else { return 0 };
        if !link.may_read() || !talk.exchange.wants_upstream() {
            return 0;
        }
        // While the client takes nothing, the ring is filled all the same: that shows which side is slow.
        let opaque = SessionView::of(&clients[key].front, talk).opaque(Direction::Down);
        if opaque >= MIN_OPAQUE && clients[key].link.may_write() {
            return self.move_opaque(key, exchange, Direction::Down);
        }
        let ring = &mut talk.exchange.down.ring;
        if !ring.is_attached() {
            ring.attach(turn.buffers.lend());
        }
        let (event, n) = match link.fill(ring) {
            Transfer::Bytes(n) => (Event::UpstreamBytes, n),
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
            Transfer::Fin => (Event::UpstreamFin, 1),
            Transfer::Failed => {
                self.note_fault(exchange);
                (Event::UpstreamGone, 1)
            }
        };
        self.deliver_here(key, Some(exchange), event);
        n
    }

    fn write_client(&mut self, key: usize) -> usize {
        let Self { clients, talks, turn, .. } = self;
        let Some(Client { link, front, .. }) = clients.get_mut(key) else { return 0 };
        let Some(exchange) = front.exchange() else { return 0 };
        let flow = &talks[exchange].exchange.down;
        if flow.past() > 0 {
            return self.pour_out(key, exchange, Direction::Down);
        }
        if flow.pending() == 0 || !link.may_write() {
            return 0;
        }
        let (event, n) = match link.send(&flow.output()) {
            Transfer::Bytes(n) => (Event::ClientTook(n), n),
            Transfer::Blocked => return 0,
            Transfer::Beside(n) => return n,
            Transfer::Fin | Transfer::Failed => (Event::ClientGone, 1),
        };
        if matches!(event, Event::ClientTook(_)) {
            turn.stats.bytes_sent.add(n as u64);
        }
        self.deliver_here(key, None, event);
        n
    }
}

fn give_back_if_empty(ring: &mut Ring, turn: &mut Turn) {
    if ring.is_empty() {
        turn.buffers.take_back(ring);
    }
}
