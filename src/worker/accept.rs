//! Accepting connections while there are places at the listening address and descriptors. Without either, the connection that has
//! been idle longest is closed, or the new one waits until one is free, with those behind it in the kernel's queue.

use super::Worker;
use super::entrance::Entrance;
use super::listener::Listener;
use super::rests::Room;
use super::timers::OwnTimer;
use crate::base::address::Peer;
use crate::guard::descriptors::Descriptor;
use crate::guard::door::Stay;
use crate::net::listen::ListenSocket;
use crate::net::token::Source;
use crate::net::transport::Link;
use crate::net::wire::Wire;
use mio::Interest;
use std::io::{self, ErrorKind};
use std::rc::Rc;

/// How many connections are accepted in one turn from one listener, so that others get their turn.
const MAX_A_TURN: usize = 64;
/// When accepting is tried again where nothing would wake the worker: after an error of the system, or while no connection has been
/// idle for long enough yet.
const RETRY_MS: u64 = 250;

/// How many connections more than another worker has are no reason to leave a new one to it.
const FEW: u64 = 4;
/// How long a new connection is left to a worker that has fewer; then this one takes it.
const YIELD_MS: u64 = 1;

/// Whether a new connection got a place.
enum Entry {
    Granted(Stay, Descriptor),
    Full,
    Starved,
}

impl Worker {
    pub(super) fn accept(&mut self) {
        for number in 0..self.listeners.capacity() {
            for _ in 0..MAX_A_TURN {
                if !self.listeners.get(number).is_some_and(Listener::is_ready) || !self.accept_one(number, false) {
                    break;
                }
            }
        }
    }

    /// Opens a listener, and registers its socket under its number.
    pub(super) fn open(&mut self, (socket, entrance): (ListenSocket, Entrance)) -> io::Result<()> {
        Source::Listener(self.listeners.vacant_key()).register(self.poll.registry(), &socket, Interest::READABLE)?;
        self.core.shared.descriptors.listener_opened();
        self.listeners.insert(Listener::new((socket, entrance)));
        Ok(())
    }

    /// Closes the listeners that `goes` selects. Connections in their accept queues are accepted first, as far as there are places.
    pub(super) fn close(&mut self, goes: impl Fn(&Entrance) -> bool) {
        let numbers: Vec<usize> =
            self.listeners.iter().filter(|(_, listener)| goes(&listener.entrance)).map(|(number, _)| number).collect();
        for number in numbers {
            self.empty(number);
            self.listeners.remove(number);
            self.core.shared.descriptors.listener_closed();
        }
    }

    /// [`Worker::empty`] for every listener.
    pub(super) fn empty_all(&mut self) {
        let numbers: Vec<usize> = self.listeners.iter().map(|(number, _)| number).collect();
        numbers.into_iter().for_each(|number| self.empty(number));
    }

    /// Accepts everything in the accept queue, also above the limit, because it would be reset otherwise.
    pub(super) fn empty(&mut self, number: usize) {
        self.listeners[number].is_ready = true;
        self.listeners[number].is_paused = false;
        while self.accept_one(number, true) {}
    }

    /// Accepts one connection. Returns false if there is none, or none may be accepted for now.
    fn accept_one(&mut self, number: usize, anyway: bool) -> bool {
        if !anyway && self.leave_to_another(number) {
            return false;
        }
        let Some((transport, peer, entrance)) = self.newcomer(number) else { return self.listeners[number].is_ready() };
        if self.core.is_over_limit(&transport, peer, &entrance) {
            let link = Link::new(transport, self.core.shared.descriptors.enter_anyway());
            self.core.refuse(link, peer, entrance);
        } else if let Some((stay, descriptor)) = self.enter(number, &entrance, anyway) {
            self.core.admit(Link::new(transport, descriptor), peer, entrance, stay);
        } else {
            let listener = &mut self.listeners[number];
            (listener.newcomer, listener.is_paused) = (Some((transport, peer, entrance)), true);
            return false;
        }
        true
    }

    /// All workers are told of a connection at a socket that they share. The one that has many leaves it to the others for a moment:
    /// otherwise the first to wake up would get all connections that come one by one, and keep them. Returns whether it does so.
    fn leave_to_another(&mut self, number: usize) -> bool {
        let listener = &mut self.listeners[number];
        if !listener.socket.is_shared() || listener.has_yielded || listener.newcomer.is_some() {
            return false;
        }
        let open = self.core.shared.admin.stats.iter().map(|stats| stats.client_connections.value());
        let fewest = open.min().unwrap_or(0);
        if listener.entrance.service.stats.client_connections.value() <= fewest + fewest / 8 + FEW {
            return false;
        }
        (listener.has_yielded, listener.is_paused) = (true, true);
        self.retry_at(self.core.turn.now.millis() + YIELD_MS);
        true
    }

    /// The next connection.
    fn newcomer(&mut self, number: usize) -> Option<(Wire, Peer, Rc<Entrance>)> {
        let listener = &mut self.listeners[number];
        if let Some(newcomer) = listener.newcomer.take() {
            return Some(newcomer);
        }
        match listener.socket.accept() {
            Ok((stream, peer)) => match Wire::accepted(stream, peer, &listener.entrance.arrival) {
                Ok(wire) => return Some((wire, peer, listener.entrance.clone())),
                Err(error) => log::error!(target: "listener", "a connection from {peer} cannot be served: {error}"),
            },
            Err(error) if error.kind() == ErrorKind::WouldBlock => {
                (listener.is_ready, listener.is_full, listener.has_yielded) = (false, false, false);
            }
            // The client gave up while it was in the queue.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(error) => {
                log::warn!(target: "listener", "cannot accept: {error}; trying again in {RETRY_MS} ms");
                listener.is_paused = true;
                self.retry_at(self.clock.read().millis() + RETRY_MS);
            }
        }
        None
    }

    /// Takes a place and a descriptor, and makes room if possible. Otherwise the worker pauses until one is free; it looks again
    /// afterwards, because one may have become free between the first look and the pause.
    fn enter(&mut self, number: usize, entrance: &Entrance, anyway: bool) -> Option<(Stay, Descriptor)> {
        let mut starves = match self.try_enter(entrance, anyway) {
            Entry::Granted(stay, descriptor) => return Some((stay, descriptor)),
            Entry::Full => false,
            Entry::Starved => true,
        };
        self.tell_full(number, starves);
        let shared = self.core.shared.clone();
        let mut tried_at = self.core.turn.now.millis() + RETRY_MS;
        loop {
            let paused = if starves { &shared.starved } else { &entrance.door.paused };
            paused.pause(self.core.turn.worker);
            starves = match self.try_enter(entrance, anyway) {
                Entry::Granted(stay, descriptor) => return Some((stay, descriptor)),
                Entry::Full => false,
                Entry::Starved => true,
            };
            match self.core.make_room(&entrance.door, starves) {
                Room::Made => continue,
                Room::At(at) => tried_at = tried_at.min(at),
                Room::Asked | Room::None => {}
            }
            self.retry_at(tried_at);
            return None;
        }
    }

    fn try_enter(&mut self, entrance: &Entrance, anyway: bool) -> Entry {
        let (shared, door) = (&self.core.shared, &entrance.door);
        let stay = if anyway { Some(door.enter_anyway()) } else { door.try_enter() };
        let Some(stay) = stay else { return Entry::Full };
        let descriptor = if entrance.service.is_reserved {
            Some(shared.descriptors.enter_anyway())
        } else {
            let resting = shared.admin.stats.iter().map(|stats| stats.resting_clients.value() as usize).sum();
            shared.descriptors.admit_client(resting)
        };
        if let Some(descriptor) = descriptor {
            return Entry::Granted(stay, descriptor);
        }
        drop(stay);
        shared.resume(&door.paused);
        Entry::Starved
    }

    /// Counts it, and warns once as long as it lasts.
    fn tell_full(&mut self, number: usize, starves: bool) {
        let (now, listener) = (self.core.turn.now.millis(), &mut self.listeners[number]);
        let Entrance { door, service, .. } = &*listener.entrance;
        let is_first = !std::mem::replace(&mut listener.is_full, true);
        if starves {
            if self.core.shared.starved.note_shortage(now) {
                log::warn!(
                    target: "listener",
                    "file descriptors are used up (ulimit -n): connections that idle are closed for new ones, and where none idles \
                     clients wait until others leave"
                );
            }
            return;
        }
        if is_first {
            door.count_full();
        }
        if door.paused.note_shortage(now) {
            log::warn!(
                target: "listener",
                "{} has as many clients as {} allows ({}): connections that idle are closed for new ones, and where none idles \
                 clients wait until others leave",
                door.name(),
                service.limit,
                door.limit()
            );
        }
    }

    fn retry_at(&mut self, at: u64) {
        self.core.timers.set_by(OwnTimer::Accept, at);
    }
}
