//! Where clients come in.

use crate::guard::door::Door;
use crate::machine::service::Service;
use crate::net::wire::Arrival;
use std::sync::Arc;

/// The listening address that a client came through.
#[derive(Clone, Debug)]
pub struct Entrance {
    /// Its limit of connections.
    pub door: Arc<Door>,
    /// The port that the client connected to; a Unix socket has none.
    pub port: Option<u16>,
    /// What is wanted of its clients beyond HTTP.
    pub arrival: Arc<Arrival>,
    /// What its clients get.
    pub service: Arc<Service>,
}
