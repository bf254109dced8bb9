//! A listening socket of a worker, and what it waits for.

use super::entrance::Entrance;
use crate::base::address::Peer;
use crate::net::listen::ListenSocket;
use crate::net::wire::Wire;
use std::rc::Rc;

/// A listening socket of this worker.
pub(super) struct Listener {
    pub(super) socket: ListenSocket,
    pub(super) entrance: Rc<Entrance>,
    /// Whether the accept queue may have something.
    pub(super) is_ready: bool,
    /// Whether it waits until a connection is closed.
    pub(super) is_paused: bool,
    /// Whether a connection found no place, and the queue has not been empty since.
    pub(super) is_full: bool,
    /// Whether new connections were left to another worker, and the queue has not been empty since.
    pub(super) has_yielded: bool,
    /// A connection that was accepted and has no place yet, with what was wanted of it then.
    pub(super) newcomer: Option<(Wire, Peer, Rc<Entrance>)>,
}

impl Listener {
    pub(super) fn new((socket, entrance): (ListenSocket, Entrance)) -> Self {
        Self { socket, entrance: Rc::new(entrance), is_ready: false, is_paused: false, is_full: false, has_yielded: false, newcomer: None }
    }

    pub(super) fn on_edge(&mut self) {
        self.is_ready = true;
    }

    pub(super) fn resume(&mut self) {
        self.is_paused = false;
    }

    pub(super) fn is_ready(&self) -> bool {
        (self.is_ready || self.newcomer.is_some()) && !self.is_paused
    }
}
