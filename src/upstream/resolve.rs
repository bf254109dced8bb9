//! Names to addresses, on threads of their own: getaddrinfo blocks.

use super::server::Server;
use std::net::ToSocketAddrs;
use std::sync::Arc;
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::time::{Duration, Instant};

/// Threads that look names up at once.
const MAX_THREADS: usize = 16;

/// Looks the servers' names up and waits for the answers until `patience` is over; later ones still count.
pub fn resolve_all(servers: impl Iterator<Item = Arc<Server>>, patience: Duration) {
    let deadline = Instant::now() + patience;
    let (done, answers) = channel::<()>();
    let mut shares: [Vec<Arc<Server>>; MAX_THREADS] = Default::default();
    let unresolved = servers.filter(|server| !server.is_resolved());
    unresolved.enumerate().for_each(|(number, server)| shares[number % MAX_THREADS].push(server));
    for share in shares.into_iter().filter(|share| !share.is_empty()) {
        let done = done.clone();
        let look_up = move || {
            share.iter().for_each(|server| resolve(server));
            // Dropped when all of the share is looked up: that is the news.
            drop(done);
        };
        if let Err(error) = std::thread::Builder::new().name("resolver".into()).spawn(look_up) {
            log::error!("cannot start a thread for name look-ups: {error}");
        }
    }
    drop(done);
    if answers.recv_timeout(deadline.saturating_duration_since(Instant::now())) == Err(RecvTimeoutError::Timeout) {
        log::warn!("some upstream names are not looked up yet: starting without them");
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
