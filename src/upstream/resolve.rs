//! Names to addresses, on threads of their own: getaddrinfo blocks.

use super::server::Server;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::{Duration, Instant};

/// Looks the servers' names up, one thread for each name, and waits for the answers until `patience` is over; later ones still count.
pub fn resolve_all(servers: impl Iterator<Item = Arc<Server>>, patience: Duration) {
    let deadline = Instant::now() + patience;
    let (done, answers): (Sender<()>, Receiver<()>) = channel();
    let mut asked = 0;
    for server in servers.filter(|server| !server.is_resolved()) {
        let done = done.clone();
        let look_up = move || {
            resolve(&server);
            // Nobody listens any more once the patience is over.
            let _ = done.send(());
        };
        match std::thread::Builder::new().name("resolver".into()).spawn(look_up) {
            Ok(_) => asked += 1,
            Err(error) => log::error!("cannot start a thread for a name look-up: {error}"),
        }
    }
    for _ in 0..asked {
        if answers.recv_timeout(deadline.saturating_duration_since(Instant::now())).is_err() {
            log::warn!("some upstream names are not looked up yet: starting without them");
            return;
        }
    }
}

fn resolve(server: &Server) {
    let (name, host, port) = (&server.config.name, &server.config.host, server.config.port);
    match (host.as_str(), port).to_socket_addrs() {
        Ok(addresses) => {
            let mut unique = Vec::new();
            addresses.for_each(|address| {
                if !unique.contains(&address) {
                    unique.push(address);
                }
            });
            log::debug!("upstream {name}: {host} is {unique:?}");
            server.set_addresses(&unique);
        }
        Err(error) => log::warn!("upstream {name}: {host} cannot be looked up: {error}; it is not used"),
    }
}
