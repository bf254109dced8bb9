//! Listening addresses: for each of them one socket a worker, and one for the admin port. A reload opens new ones before it closes
//! those that are gone, and leaves the others alone, except for the permissions of a Unix socket's file.

use crate::base::address::Address;
use crate::config::model::{Config, ListenerConfig};
use crate::guard::door::Door;
use crate::machine::service::Service;
use crate::net::listen::{ListenSocket, Listening, is_listened_on, listen, listen_alone};
use crate::net::unix::SocketFile;
use crate::net::wire::Arrival;
use crate::worker::Entrance;
use std::io;
use std::net::SocketAddr;
use std::sync::{Arc, Weak};

/// The limit of connections to the admin port.
const MAX_ADMIN_CONNS: usize = 64;

/// The sockets of each worker.
pub(super) type Sockets = Vec<Vec<(ListenSocket, Entrance)>>;

/// The addresses that are listened on.
#[derive(Debug)]
pub(super) struct Listeners {
    /// What the addresses lead to, for each worker.
    services: Vec<Arc<Service>>,
    open: Vec<OpenListener>,
}

/// One listening address.
#[derive(Clone, Debug)]
struct OpenListener {
    /// As configured, perhaps with port 0, so that a reload recognises it.
    configured: ListenerConfig,
    bound: Address,
    /// Of a Unix socket.
    file: Option<Arc<SocketFile>>,
    door: Arc<Door>,
    arrival: Arc<Arrival>,
}

/// The step from one set of addresses to the next, prepared but not done, so that it can be abandoned as a whole.
pub(super) struct ListenersChange {
    open: Vec<OpenListener>,
    /// Sockets of new addresses.
    pub(super) sockets: Sockets,
    /// Addresses that are gone.
    pub(super) closed: Vec<Arc<Door>>,
}

impl Listeners {
    /// No address yet.
    pub(super) fn new(services: Vec<Arc<Service>>) -> Self {
        Self { services, open: Vec::new() }
    }

    /// Binds the new addresses of a configuration. The first worker's socket gets the port, and the others share it.
    pub(super) fn prepare(&self, config: &Config) -> io::Result<ListenersChange> {
        let mut sockets: Sockets = self.services.iter().map(|_| Vec::new()).collect();
        let mut open = Vec::new();
        // Each old one is used at most once: two addresses with port 0 are two listeners.
        let mut old: Vec<Option<&OpenListener>> = self.open.iter().map(Some).collect();
        for listener in &config.listeners {
            let arrival = Arc::new(Arrival::of(listener));
            let same = old.iter_mut().find(|old| old.is_some_and(|old| old.configured.address == listener.address));
            if let Some(same) = same.and_then(Option::take) {
                open.push(OpenListener { configured: listener.clone(), arrival, ..same.clone() });
                continue;
            }
            let opened = listen(&listener.address, listener.mode, self.services.len());
            let Listening { sockets: own, bound, file } = opened.map_err(|error| refusal("listen", &listener.address, &error))?;
            let door = Arc::new(Door::new(config.limits.max_client_conns, self.services.len()).named(bound.to_string()));
            for ((worker, service), socket) in sockets.iter_mut().zip(&self.services).zip(own) {
                worker.push((
                    socket,
                    Entrance { door: door.clone(), port: bound.port(), arrival: arrival.clone(), service: service.clone() },
                ));
            }
            open.push(OpenListener { configured: listener.clone(), bound, file: file.map(Arc::new), door, arrival });
        }
        let stays = |door: &Arc<Door>| open.iter().any(|open| Arc::ptr_eq(&open.door, door));
        let closed = self.open.iter().map(|open| open.door.clone()).filter(|door| !stays(door)).collect();
        Ok(ListenersChange { open, sockets, closed })
    }

    /// Makes the change; returns what to give to the workers.
    pub(super) fn commit(&mut self, change: ListenersChange, max_client_conns: usize) -> (Sockets, Vec<Arc<Door>>) {
        self.open = change.open;
        for OpenListener { configured, file, .. } in &self.open {
            if let Some(Err(error)) = file.as_ref().map(|file| file.set_mode(configured.mode)) {
                log::error!(target: "listener", "{}: its mode cannot be set: {error}", configured.address);
            }
        }
        self.open.iter().for_each(|open| open.door.set_limit(max_client_conns));
        change.closed.iter().for_each(|door| door.close());
        (change.sockets, change.closed)
    }

    /// The files of Unix sockets.
    pub(super) fn files(&self) -> Vec<Weak<SocketFile>> {
        self.open.iter().filter_map(|open| open.file.as_ref().map(Arc::downgrade)).collect()
    }

    /// The addresses, for the ready line.
    pub(super) fn names(&self) -> String {
        self.open.iter().map(|open| open.bound.to_string()).collect::<Vec<_>>().join(",")
    }

    /// What every address wants of its clients.
    pub(super) fn arrivals(&self) -> Vec<(Arc<Door>, Arc<Arrival>)> {
        self.open.iter().map(|open| (open.door.clone(), open.arrival.clone())).collect()
    }

    /// The limit of every address.
    pub(super) fn doors(&self) -> impl Iterator<Item = &Arc<Door>> {
        self.open.iter().map(|open| &open.door)
    }
}

/// Whether another process listens on one of these addresses. Must be asked before this process does.
pub(super) fn are_shared(config: &Config) -> bool {
    config.listeners.iter().any(|listener| matches!(listener.address, Address::Ip(address) if is_listened_on(address)))
}

/// Binds the admin port, for one worker, and for one process: if two shared it, scrapes would alternate between them.
pub(super) fn admin(address: SocketAddr, workers: usize) -> io::Result<(SocketAddr, (ListenSocket, Entrance))> {
    let opened = listen_alone(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
    let (bound, socket) = opened.map_err(|error| refusal("metrics_listen", &address.into(), &error))?;
    let door = Arc::new(Door::new(MAX_ADMIN_CONNS, workers).named(bound.to_string()));
    Ok((
        bound,
        (ListenSocket::Tcp(socket), Entrance { door, port: Some(bound.port()), arrival: Arc::default(), service: Service::of_admin() }),
    ))
}

/// Says which key to change.
fn refusal(key: &str, address: &Address, error: &io::Error) -> io::Error {
    io::Error::new(error.kind(), format!("{key} {address}: {}", explain(key, address, error)))
}

/// The error, and what helps.
fn explain(key: &str, address: &Address, error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse if key == "metrics_listen" => {
            ": another program listens there, perhaps a tidegate with the same configuration; each process needs an admin port of its own \
             (metrics_listen, or METRICS_LISTEN_PORT), or none (null)"
        }
        io::ErrorKind::AddrInUse if address.port().is_none() => ": another program listens there; stop it, or choose another path",
        io::ErrorKind::AddrInUse => ": another program listens there; stop it, or choose another port",
        io::ErrorKind::AddrNotAvailable => ": no interface of this machine has that address",
        io::ErrorKind::PermissionDenied if address.port().is_none() => ": the directory must be writable for the user that this runs as",
        io::ErrorKind::NotFound => ": the directory does not exist",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "",
    };
    format!("{error}{remedy}")
}
