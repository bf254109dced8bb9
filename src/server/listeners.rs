//! Listening addresses: one socket a worker for each, and one for the admin port.

use crate::config::model::Config;
use crate::guard::door::Door;
use crate::net::listen::listen;
use crate::worker::Entrance;
use mio::net::TcpListener;
use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

/// Connections of the admin port: it has places of its own.
const MAX_ADMIN_CONNS: usize = 64;

/// What was bound.
pub(super) struct Bound {
    /// Of each worker.
    pub(super) sockets: Vec<Vec<(TcpListener, Entrance)>>,
    /// For the ready line.
    pub(super) names: String,
}

/// Binds everything before anything is served. The first worker binds; the others share the port that it was given.
pub(super) fn bind(config: &Config) -> io::Result<Bound> {
    let mut sockets: Vec<Vec<_>> = (0..config.workers).map(|_| Vec::new()).collect();
    let mut addresses = Vec::new();
    for (door, listener) in config.listeners.iter().enumerate() {
        let mut address = listener.address;
        for worker in &mut sockets {
            let (socket, bound) = open("listen", address)?;
            address = bound;
            worker.push((socket, Entrance { door, port: bound.port(), is_admin: false }));
        }
        addresses.push(address.to_string());
    }
    let mut metrics = "off".to_owned();
    if let (Some(address), Some(first)) = (config.metrics_listen, sockets.first_mut()) {
        let (socket, bound) = open("metrics_listen", address)?;
        metrics = bound.to_string();
        first.push((socket, Entrance { door: config.listeners.len(), port: bound.port(), is_admin: true }));
    }
    Ok(Bound { sockets, names: format!("listen={} metrics={metrics}", addresses.join(",")) })
}

/// One door a listening address; the last is the admin port's.
pub(super) fn doors(config: &Config, workers: usize) -> Vec<Arc<Door>> {
    let limits = config.listeners.iter().map(|_| config.limits.max_client_conns);
    limits.chain([MAX_ADMIN_CONNS]).map(|limit| Arc::new(Door::new(limit, workers))).collect()
}

fn open(key: &str, address: SocketAddr) -> io::Result<(TcpListener, SocketAddr)> {
    let bound = listen(address).and_then(|socket| Ok((socket.local_addr()?, socket)));
    let (bound, socket) = bound.map_err(|error| io::Error::new(error.kind(), format!("{key} {address}: {}", explain(&error))))?;
    Ok((socket, bound))
}

/// What went wrong, and what helps.
fn explain(error: &io::Error) -> String {
    let remedy = match error.kind() {
        io::ErrorKind::AddrInUse => ": another program listens there; stop it, or choose another port",
        io::ErrorKind::AddrNotAvailable => ": no interface of this machine has that address",
        io::ErrorKind::PermissionDenied => ": ports below 1024 need root or CAP_NET_BIND_SERVICE",
        _ => "",
    };
    format!("{error}{remedy}")
}
