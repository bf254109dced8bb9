//! Accepting: as long as there is a place at the door and a descriptor, and not a connection longer.

use super::Worker;
use super::core::{ACCEPT_TIMER, Entrance};
use crate::net::token::Source;
use mio::Interest;
use mio::net::TcpListener;
use std::io::{self, ErrorKind};

/// Connections accepted in one turn from one listener: others get their turn too.
const MAX_A_TURN: usize = 64;
/// Accepting is tried again after so long, if it failed for want of what only the system knows.
const RETRY_MS: u64 = 250;

/// A listening socket of this worker.
pub(super) struct Listener {
    pub(super) socket: TcpListener,
    pub(super) entrance: Entrance,
    /// The accept queue may have something.
    is_ready: bool,
    /// Until somebody leaves.
    is_paused: bool,
}

impl Listener {
    pub(super) fn on_edge(&mut self) {
        self.is_ready = true;
    }

    pub(super) fn resume(&mut self) {
        self.is_paused = false;
    }

    pub(super) fn is_ready(&self) -> bool {
        self.is_ready && !self.is_paused
    }
}

/// Whether a place was taken for whoever comes next.
#[derive(PartialEq, Eq)]
enum Admission {
    Granted,
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

    /// Opens a listener: its socket is registered under its number.
    pub(super) fn open(&mut self, (mut socket, entrance): (TcpListener, Entrance)) -> io::Result<()> {
        let token = Source::Listener(self.listeners.vacant_key()).token();
        self.poll.registry().register(&mut socket, token, Interest::READABLE)?;
        self.listeners.insert(Listener { socket, entrance, is_ready: false, is_paused: false });
        Ok(())
    }

    /// Closes the listeners that `goes` names. What waits in their accept queues is taken first, as far as there are places.
    pub(super) fn close(&mut self, goes: impl Fn(&Entrance) -> bool) {
        let numbers: Vec<usize> =
            self.listeners.iter().filter(|(_, listener)| goes(&listener.entrance)).map(|(number, _)| number).collect();
        for number in numbers {
            self.empty(number);
            self.listeners.remove(number);
        }
    }

    /// Takes everything that waits in the accept queue, also above the limit: it would be reset otherwise.
    pub(super) fn empty(&mut self, number: usize) {
        self.listeners[number].is_ready = true;
        self.listeners[number].is_paused = false;
        while self.accept_one(number, true) {}
    }

    /// False if this listener has nothing, or may take nothing, for now.
    fn accept_one(&mut self, number: usize, anyway: bool) -> bool {
        let entrance = self.listeners[number].entrance.clone();
        if !self.admission(&entrance, anyway) {
            self.listeners[number].is_paused = true;
            return false;
        }
        match self.listeners[number].socket.accept() {
            Ok((stream, peer)) => {
                self.core.admit(stream, peer, entrance, |kernel, stream, source| kernel.register(stream, source));
                return true;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => self.listeners[number].is_ready = false,
            // The client gave up while it waited.
            Err(error) if matches!(error.kind(), ErrorKind::ConnectionAborted | ErrorKind::Interrupted) => {}
            Err(error) => {
                log::warn!("cannot accept: {error}; trying again in {RETRY_MS} ms");
                self.listeners[number].is_paused = true;
                self.retry_later();
            }
        }
        self.core.leave(&entrance);
        self.listeners[number].is_ready()
    }

    /// Takes a place at the door, and a descriptor. Who finds none is woken when one gets free: the second look is for one
    /// that got free between the first and the pause.
    fn admission(&mut self, entrance: &Entrance, anyway: bool) -> bool {
        let shared = self.core.shared.clone();
        let door = &entrance.door;
        let resting = || shared.panel.stats.iter().map(|stats| stats.resting_clients.value() as usize).sum();
        let try_enter = || {
            if anyway {
                door.enter_anyway();
            } else if !door.try_enter() {
                return Admission::Full;
            }
            if entrance.is_admin {
                shared.descriptors.enter_admin();
                return Admission::Granted;
            }
            if shared.descriptors.admit_client(resting()) {
                return Admission::Granted;
            }
            door.leave();
            shared.resume(&door.paused);
            Admission::Starved
        };
        let mut admission = try_enter();
        if admission != Admission::Granted {
            let paused = if admission == Admission::Full { &door.paused } else { &shared.starved };
            paused.pause(self.core.turn.worker);
            admission = try_enter();
        }
        if admission == Admission::Starved {
            self.retry_later();
        }
        admission == Admission::Granted
    }

    fn retry_later(&mut self) {
        let now = self.clock.read().millis();
        self.core.set_own_timer(ACCEPT_TIMER, now + RETRY_MS);
    }
}
