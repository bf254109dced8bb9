//! A client's connection comes and goes: its slot, and the places that it takes meanwhile.

use super::core::{Client, Core, Entrance, Net, client_timer, enter};
use crate::guard::client::ClientId;
use crate::net::link::{Link, Socket, Transfer};
use crate::net::token::Source;
use crate::session::{Ending, Event, Session};
use std::io;
use std::net::SocketAddr;

impl<N: Net> Core<N> {
    /// Gives an accepted connection a slot, whose token `register` ties to the socket. Its place at the door and its
    /// descriptor are taken already.
    pub fn admit(
        &mut self,
        mut socket: N::Socket,
        peer: SocketAddr,
        entrance: Entrance,
        register: impl FnOnce(&mut N, &mut N::Socket, Source) -> io::Result<()>,
    ) {
        self.serial += 1;
        let serial = self.serial;
        let key = self.clients.vacant_key();
        if let Err(error) = register(&mut self.net, &mut socket, Source::Client(key)) {
            log::error!("a connection from {peer} cannot be polled: {error}");
            drop(socket);
            self.leave(&entrance);
            return;
        }
        let is_admin = entrance.is_admin;
        let most = self.turn.site.config.limits.max_conns_per_client;
        let is_counted = most > 0 && !is_admin;
        let is_over = is_counted && self.shared.connections.enter(ClientId::of(peer.ip())) > most;
        enter(&mut self.turn, &entrance);
        let session = Session::new(peer, serial, &self.turn);
        let link = Link::new(socket, true);
        self.clients.insert(Client {
            link,
            session,
            upstream: None,
            stand: None,
            entrance,
            is_counted,
            is_queued: false,
            is_closing: false,
            is_resting: false,
        });
        if !is_admin {
            self.turn.stats.client_connections.add(1);
        }
        if is_over {
            self.deliver(key, Event::OverLimit);
            self.enqueue(key);
        }
        self.arm(key);
    }

    /// Sees whether a client's connection can be closed without a loss: bytes that come to a closed socket, or lie unread in it,
    /// make the kernel reset the connection. If not, its sending side is closed.
    pub(super) fn part(&mut self, key: usize) -> Option<Event> {
        let Client { link, entrance, .. } = &mut self.clients[key];
        match link.read(&mut [0]) {
            Transfer::Fin | Transfer::Failed => return Some(Event::ClientFin),
            Transfer::Blocked if link.socket.is_delivered() => return Some(Event::Delivered),
            Transfer::Bytes(n) if !entrance.is_admin => self.turn.stats.bytes_received.add(n as u64),
            Transfer::Blocked | Transfer::Bytes(_) => {}
        }
        // A client that is gone already shows with the next read.
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
        let Client { entrance, link, is_counted, session, .. } = client;
        drop(link);
        if is_counted {
            self.shared.connections.leave(ClientId::of(session.client().ip()));
        }
        if !entrance.is_admin {
            self.turn.stats.client_connections.sub(1);
        }
        self.leave(&entrance);
    }

    /// A client's socket is closed: its place and its descriptor are free.
    pub(super) fn leave(&mut self, entrance: &Entrance) {
        entrance.door.leave();
        self.shared.resume(&entrance.door.paused);
        self.shared.descriptors.client_left();
        self.on_descriptor_freed();
    }
}
