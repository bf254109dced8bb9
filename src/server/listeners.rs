//! Listening addresses: for each of them one socket a worker, and one for the admin port. A reload opens new ones before it closes
//! those that are gone, and leaves the others alone.

use crate::config::model::Config;
use crate::guard::door::Door;
use crate::net::listen::{is_listened_on, listen, listen_alone};
use crate::worker::Entrance;
use mio::net::TcpListener;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// The limit of connections to the admin port.
const MAX_ADMIN_CONNS: usize = 64;

/// The sockets of each worker.
pub(super) type Sockets = Vec<Vec<(TcpListener, Entrance)>>;

/// The addresses that are listened on.
#[derive(Debug)]
pub(super) struct Listeners {
    workers: usize,
    open: Vec<Open>,
}

/// One listening address.
#[derive(Clone, Debug)]
struct Open {
    /// The address as configured, perhaps with port 0, so that a reload recognises it.
    configured: SocketAddr,
    bound: SocketAddr,
    door: Arc<Door>,
}

/// The step from one set of addresses to the next, prepared but not done, so that it can be abandoned as a whole.
pub(super) struct Change {
    open: Vec<Open>,
    /// Sockets of new addresses.
    pub(super) sockets: Sockets,
    /// Addresses that are gone.
    pub(super) closed: Vec<Arc<Door>>,
}

impl Listeners {
    /// No address yet.
    pub(super) fn new(workers: usize) -> Self {
        Self { workers, open: Vec::new() }
    }

    /// Binds the new addresses of a configuration. The first worker's socket gets the port, and the others share it.
    pub(super) fn prepare(&self, config: &Config) -> io::Result<Change> {
        let mut sockets: Sockets = (0..self.workers).map(|_| Vec::new()).collect();
        let mut open = Vec::new();
        // Each old one is used at most once: two addresses with port 0 are two listeners.
        let mut old: Vec<Option<&Open>> = self.open.iter().map(Some).collect();
        for listener in &config.listeners {
            let configured = listener.address;
            let same = old.iter_mut().find(|old| old.is_some_and(|old| old.configured == configured));
            if let Some(same) = same.and_then(Option::take) {
                open.push(same.clone());
                continue;
            }
            let mut bound = configured;
            let mut own = Vec::new();
            for _ in 0..self.workers {
                let socket;
                (socket, bound) = named("listen", bound, listen(bound))?;
                own.push(socket);
            }
            let door = Arc::new(Door::new(config.limits.max_client_conns, self.workers).named(bound.to_string()));
            for (worker, socket) in sockets.iter_mut().zip(own) {
                worker.push((socket, Entrance { door: door.clone(), port: bound.port(), is_admin: false }));
            }
            open.push(Open { configured, bound, door });
        }
        let stays = |door: &Arc<Door>| open.iter().any(|open| Arc::ptr_eq(&open.door, door));
        let closed = self.open.iter().map(|open| open.door.clone()).filter(|door| !stays(door)).collect();
        Ok(Change { open, sockets, closed })
    }

    /// Makes the change; returns what to give to the workers.
    pub(super) fn commit(&mut self, change: Change, max_client_conns: usize) -> (Sockets, Vec<Arc<Door>>) {
        self.open = change.open;
        self.open.iter().for_each(|open| open.door.set_limit(max_client_conns));
        change.closed.iter().for_each(|door| door.close());
        (change.sockets, change.closed)
    }

    /// The addresses, for the ready line.
    pub(super) fn names(&self) -> String {
        self.open.iter().map(|open| open.bound.to_string()).collect::<Vec<_>>().join(",")
    }

    /// The limit of every address.
    pub(super) fn doors(&self) -> impl Iterator<Item = &Arc<Door>> {
        self.open.iter().map(|open| &open.door)
    }
}

/// Whether another process listens on one of these addresses. Must be asked before this process does.
pub(super) fn are_shared(config: &Config) -> bool {
    config.listeners.iter().any(|listener| is_listened_on(listener.address))
}

/// Binds the admin port, for one worker, and for one process: if two shared it, scrapes would alternate between them.
pub(super) fn admin(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, (TcpListener, Entrance))> {
    let (socket, bound) = named("metrics_listen", address, listen_alone(address))?;
    let door = Arc::new(Door::new(MAX_ADMIN_CONNS, workers).named(bound.to_string()));
    Ok((bound, (socket, Entrance { door, port: bound.port(), is_admin: true })))
}

/// The socket and the address that it got. The error says which key to change.
fn named(key: &str, address: SocketAddr, socket: io::Result<TcpListener>) -> io::Result<(TcpListener, SocketAddr)> {
    let bound = socket.and_then(|socket| Ok((socket.local_addr()?, socket)));
    let (bound, socket) = bound.map_err(|error| io::Error::new(error.kind(), format!("{key} {address}: {}", explain(key, &error))))?;
    Ok((socket, bound))
}

/// The error, and what helps.
fn explain(key: &str, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse if key == "metrics_listen" => {
            ": another program listens there, perhaps a tidegate with the same configuration; each process needs an admin port of its own \
             (metrics_listen, or METRICS_LISTEN_PORT), or none (null)"
        }
        io::ErrorKind::AddrInUse => ": another program listens there; stop it, or choose another port",
        io::ErrorKind::AddrNotAvailable => ": no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "",
    };
    format!("{error}{remedy}")
}
