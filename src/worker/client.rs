//! A client's slot: its connection, its front, and what it holds of what all workers share.

use super::entrance::Entrance;
use crate::front::h1::FrontH1;
use crate::guard::connections::CountedConnection;
use crate::guard::door::{Rest, Stay};
use crate::net::transport::Link;
use std::net::SocketAddr;
use std::rc::Rc;

/// What a client's connection holds of what all workers share.
pub(super) struct Standing {
    /// At its listening address.
    pub(super) stay: Stay,
    /// While it counts as a connection of its client. It lies elsewhere, because most configurations have no such limit, and idle
    /// connections are many.
    pub(super) counted: Option<Box<CountedConnection>>,
    /// Where it has connected to, if a proxy in front has told that.
    pub(super) destination: Option<Box<SocketAddr>>,
}

/// A client's slot.
pub struct Client<T> {
    pub(super) link: Link<T>,
    /// The state of its connection.
    pub front: FrontH1,
    /// Shared by all that came through it to this worker.
    pub(super) entrance: Rc<Entrance>,
    /// The index of this worker's view of its listening address.
    pub(super) side: usize,
    /// Which list of resting connections it is in.
    pub(super) rest: Option<Rest>,
    pub(super) standing: Standing,
    pub(super) is_queued: bool,
    /// Its session has ended, and its transport has something left to say.
    pub(super) takes_leave: bool,
    pub(super) is_closing: bool,
    /// Whether `stats.resting_clients` includes it.
    pub(super) is_resting: bool,
}

impl<T> Client<T> {
    /// Whether it came through an entrance for those who operate the process.
    pub fn is_reserved(&self) -> bool {
        self.entrance.service.is_reserved
    }
}
