//! Opening and closing a client's connection: its slot, and the places that it holds meanwhile.

use super::client::{Client, Standing};
use super::core::{Core, Net, enter};
use super::entrance::Entrance;
use super::handshakes;
use super::timers::TimerKey;
use crate::base::address::Peer;
use crate::front::h1::FrontH1;
use crate::guard::client::ClientId;
use crate::guard::door::{Rest, Stay};
use crate::net::token::Source;
use crate::net::transport::{Close, Introduction, Link, Transfer, Transport};
use crate::observe::reason::Reason;
use crate::session::{Ending, Event};
use std::rc::Rc;

/// How long a connection is kept for what its transport has left to say.
pub(super) const LEAVE_MS: u64 = 2000;
/// For a client that may take as long as it likes.
const DAY_MS: u64 = 86_400_000;

impl<N: Net> Core<N> {
    /// Gives an accepted connection a slot, whose token the poll will report.
    pub fn admit(&mut self, link: Link<N::Transport>, peer: Peer, entrance: Rc<Entrance>, stay: Stay) {
        let counted = match self.most_of_a_client(&entrance).filter(|_| !link.awaits_peer()) {
            None => None,
            Some(most) => match self.shared.connections.try_enter(ClientId::of(peer), most) {
                None => {
                    drop(stay);
                    self.shared.resume(&entrance.door.paused);
                    return self.refuse(link, peer, entrance);
                }
                Some(counted) => Some(Box::new(counted)),
            },
        };
        self.seat(link, peer, entrance, Standing { stay, counted, destination: None });
    }

    /// The preface of a connection has come, or something else in its place.
    #[cold]
    pub(super) fn on_preface(&mut self, key: usize, preface: Result<Introduction, String>) {
        match preface {
            Ok(Introduction { client, destination }) => {
                self.clients[key].standing.destination = destination.map(Box::new);
                self.on_peer_known(key, client);
            }
            Err(why) => {
                let Client { front, entrance, .. } = &self.clients[key];
                log::debug!(target: "listener", "{}: a connection from {} is closed: {why}", entrance.door.name(), front.client());
                entrance.service.stats.errors[Reason::RequestError].add(1);
            }
        }
    }

    /// The preface of a connection has told whose it is. Nothing was read before, so that from here on everything that asks for its peer
    /// gets this one; and it counts as a connection of this client.
    fn on_peer_known(&mut self, key: usize, peer: Peer) {
        let most = self.most_of_a_client(&self.clients[key].entrance);
        let Client { front, standing, .. } = &mut self.clients[key];
        front.set_client(peer);
        let Some(most) = most.filter(|_| standing.stay.has_place()) else { return };
        standing.counted = self.shared.connections.try_enter(ClientId::of(peer), most).map(Box::new);
        if standing.counted.is_none() {
            self.deliver(key, Event::OverLimit);
        }
    }

    /// Whether the client has as many connections as it may. Of one that is not known yet nobody can tell.
    pub fn is_over_limit(&self, link: &N::Transport, peer: Peer, entrance: &Entrance) -> bool {
        !link.awaits_peer() && self.most_of_a_client(entrance).is_some_and(|most| self.shared.connections.has(ClientId::of(peer), most))
    }

    /// Tells a client that it has too many connections. It gets no place, and lingers from the beginning.
    pub fn refuse(&mut self, link: Link<N::Transport>, peer: Peer, entrance: Rc<Entrance>) {
        let standing = Standing { stay: entrance.door.linger(), counted: None, destination: None };
        if let Some(key) = self.seat(link, peer, entrance, standing) {
            self.deliver(key, Event::OverLimit);
            // Handled at once, because it may be the next to be closed for others.
            self.pump(key);
        }
    }

    fn most_of_a_client(&self, entrance: &Entrance) -> Option<usize> {
        let most = self.turn.site.config.limits.max_conns_per_client;
        (most > 0 && !entrance.service.is_reserved).then_some(most)
    }

    fn seat(&mut self, link: Link<N::Transport>, peer: Peer, entrance: Rc<Entrance>, standing: Standing) -> Option<usize> {
        let key = self.clients.vacant_key();
        if let Err(error) = self.net.register(&link, Source::Client(key)) {
            log::error!(target: "listener", "a connection from {peer} cannot be polled: {error}");
            drop((link, standing));
            self.on_client_left(&entrance);
            return None;
        }
        enter(&mut self.turn, &entrance);
        let front = FrontH1::new(peer, &self.turn);
        let since = front.idle_since();
        let side = self.enter_side(&entrance.door, entrance.service.is_reserved);
        entrance.service.stats.client_connections.add(1);
        self.clients.insert(Client {
            link,
            front,
            entrance,
            side,
            rest: None,
            standing,
            is_queued: false,
            takes_leave: false,
            is_closing: false,
            is_resting: false,
        });
        self.set_rest(key, since.map(|since| (Rest::Idle, since)));
        self.arm(key);
        Some(key)
    }

    /// Finds out whether a client's connection can be closed without loss: bytes that reach a closed socket, or lie unread in it, make
    /// the kernel reset the connection. If not, its sending side is closed.
    pub(super) fn part(&mut self, key: usize) -> Option<Event> {
        let Client { link, entrance, front, .. } = &mut self.clients[key];
        if link.awaits_peer() {
            log::debug!(target: "listener", "{}: no PROXY protocol header came in time from {}", entrance.door.name(), front.client());
        }
        // A read would go on with the handshake, for nothing.
        if link.is_opening() {
            return Some(Event::Delivered);
        }
        match link.read(&mut [0]) {
            Transfer::Fin | Transfer::Failed => return Some(Event::ClientFin),
            Transfer::Blocked if link.may_part() => return Some(Event::Delivered),
            Transfer::Bytes(n) => entrance.service.stats.bytes_received.add(n as u64),
            Transfer::Blocked | Transfer::Beside(_) => {}
        }
        link.close(Close::Sending);
        None
    }

    /// Closes a connection that has ended, once its transport has taken leave.
    pub(super) fn close_client(&mut self, key: usize) {
        if self.take_leave(key) {
            self.drop_client(key);
        }
    }

    /// Says what is left to say. Returns whether that is done, or the time for it is over; until then it lingers. A client that does not
    /// read has as long for what lies here as for any other part of an answer.
    fn take_leave(&mut self, key: usize) -> bool {
        let client = &mut self.clients[key];
        if client.is_closing || client.front.ending() == Some(Ending::Reset) || client.link.take_leave() {
            return true;
        }
        let was_leaving = std::mem::replace(&mut client.takes_leave, true);
        if !client.link.take_moved() && was_leaving {
            return self.timers.deadline(TimerKey::Client(key)).is_none();
        }
        let patience = match self.turn.site.config.timeouts.client_write_ms {
            0 => DAY_MS,
            ms => u64::from(ms).max(LEAVE_MS),
        };
        self.timers.set(TimerKey::Client(key), self.turn.now.millis().saturating_add(patience));
        self.note_rest(key);
        false
    }

    /// Closes a connection at the end of the turn.
    pub(super) fn drop_client(&mut self, key: usize) {
        let client = &mut self.clients[key];
        if !std::mem::replace(&mut client.is_closing, true) {
            client.standing.stay.end_lingering();
            self.set_rest(key, None);
            self.closing_clients.push(key);
        }
    }

    pub(super) fn free_client(&mut self, key: usize) {
        self.timers.cancel(TimerKey::Client(key));
        self.set_rest(key, None);
        let mut client = self.clients.remove(key);
        if client.is_resting {
            self.stats.resting_clients.sub(1);
        }
        self.turn.buffers.take_back(&mut client.front.ring);
        if client.front.ending() == Some(Ending::Reset) {
            client.link.close(Close::Reset);
        }
        client.link.take_leave();
        if let Some(outcome) = client.link.take_handshake() {
            handshakes::note(&client.entrance, client.front.client(), &outcome);
        }
        let Client { entrance, link, standing, side, .. } = client;
        drop((link, standing));
        self.leave_side(side);
        entrance.service.stats.client_connections.sub(1);
        self.on_client_left(&entrance);
    }

    /// A client's place and its descriptor are free.
    fn on_client_left(&mut self, entrance: &Entrance) {
        self.shared.resume(&entrance.door.paused);
        self.on_descriptor_freed();
    }
}
