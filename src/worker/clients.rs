//! Opening and closing a client's connection: its slot, and the places that it holds meanwhile.

use super::core::{Client, Core, Entrance, Net, Standing, client_timer, enter};
use crate::base::address::Peer;
use crate::guard::client::ClientId;
use crate::guard::door::Rest;
use crate::net::link::{Link, Socket, Transfer};
use crate::net::token::Source;
use crate::session::{Ending, Event, Session};
use std::io;

impl<N: Net> Core<N> {
    /// Gives an accepted connection a slot, whose token `register` ties to the socket. Its place and its descriptor were taken
    /// already.
    pub fn admit(
        &mut self,
        socket: N::Socket,
        peer: Peer,
        entrance: Entrance,
        register: impl FnOnce(&mut N, &mut N::Socket, Source) -> io::Result<()>,
    ) {
        let most = self.most_of_a_client(&entrance);
        if most.is_some_and(|most| !self.shared.connections.try_enter(ClientId::of(peer), most)) {
            entrance.door.leave();
            self.shared.resume(&entrance.door.paused);
            return self.refuse(socket, peer, entrance, register);
        }
        let standing = Standing { has_place: true, lingers: false, is_counted: most.is_some() };
        self.seat(socket, peer, entrance, standing, register);
    }

    /// Whether the client has as many connections as it may.
    pub fn is_over_limit(&self, peer: Peer, entrance: &Entrance) -> bool {
        self.most_of_a_client(entrance).is_some_and(|most| self.shared.connections.has(ClientId::of(peer), most))
    }

    /// Tells a client that it has too many connections. The descriptor is counted already. It gets no place, and lingers from the
    /// beginning.
    pub fn refuse(
        &mut self,
        socket: N::Socket,
        peer: Peer,
        entrance: Entrance,
        register: impl FnOnce(&mut N, &mut N::Socket, Source) -> io::Result<()>,
    ) {
        entrance.door.begin_lingering();
        let standing = Standing { has_place: false, lingers: true, is_counted: false };
        if let Some(key) = self.seat(socket, peer, entrance, standing, register) {
            self.deliver(key, Event::OverLimit);
            // Handled at once, because it may be the next to be closed for others.
            self.pump(key);
        }
    }

    fn most_of_a_client(&self, entrance: &Entrance) -> Option<usize> {
        let most = self.turn.site.config.limits.max_conns_per_client;
        (most > 0 && !entrance.is_admin).then_some(most)
    }

    fn seat(
        &mut self,
        mut socket: N::Socket,
        peer: Peer,
        entrance: Entrance,
        standing: Standing,
        register: impl FnOnce(&mut N, &mut N::Socket, Source) -> io::Result<()>,
    ) -> Option<usize> {
        let key = self.clients.vacant_key();
        if let Err(error) = register(&mut self.net, &mut socket, Source::Client(key)) {
            log::error!(target: "listener", "a connection from {peer} cannot be polled: {error}");
            drop(socket);
            self.leave(&entrance, peer, standing);
            return None;
        }
        self.serial += 1;
        enter(&mut self.turn, &entrance);
        let (session, link) = (Session::new(peer, self.serial, &self.turn), Link::new(socket, true));
        let since = session.idle_since();
        let side = self.enter_side(&entrance.door, entrance.is_admin);
        if !entrance.is_admin {
            self.turn.stats.client_connections.add(1);
        }
        self.clients.insert(Client {
            link,
            session,
            upstream: None,
            stand: None,
            entrance,
            side,
            rest: None,
            standing,
            is_queued: false,
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
        let Client { link, entrance, .. } = &mut self.clients[key];
        match link.read(&mut [0]) {
            Transfer::Fin | Transfer::Failed => return Some(Event::ClientFin),
            Transfer::Blocked if link.socket.is_delivered() => return Some(Event::Delivered),
            Transfer::Bytes(n) if !entrance.is_admin => self.turn.stats.bytes_received.add(n as u64),
            Transfer::Blocked | Transfer::Bytes(_) => {}
        }
        // If it fails, the client is gone, which the next read shows.
        let _ = link.socket.shutdown_write();
        None
    }

    pub(super) fn free_client(&mut self, key: usize) {
        self.wheel.cancel(client_timer(key));
        self.leave_line(key);
        if let Some(upstream) = self.clients[key].upstream.take() {
            self.release(upstream, false);
        }
        self.take_up_pipes(key, |_, _| true);
        self.set_rest(key, None);
        let mut client = self.clients.remove(key);
        if client.is_resting {
            self.turn.stats.resting_clients.sub(1);
        }
        for ring in [&mut client.session.up, &mut client.session.down] {
            ring.clear();
            self.turn.buffers.give_back(ring.detach());
        }
        if client.session.ending() == Some(Ending::Reset) {
            client.link.socket.reset_on_close();
        }
        let Client { entrance, link, standing, session, side, .. } = client;
        drop(link);
        self.leave_side(side);
        if !entrance.is_admin {
            self.turn.stats.client_connections.sub(1);
        }
        self.leave(&entrance, session.client(), standing);
    }

    /// A client's socket is closed: frees its places and its descriptor.
    fn leave(&mut self, entrance: &Entrance, peer: Peer, standing: Standing) {
        let door = &entrance.door;
        if standing.is_counted {
            self.shared.connections.leave(ClientId::of(peer));
        }
        if standing.has_place {
            door.leave();
            self.shared.resume(&door.paused);
        } else if standing.lingers {
            door.end_lingering();
        }
        self.shared.descriptors.client_left();
        self.on_descriptor_freed();
    }
}
