//! What an upstream connection holds of what all workers share: a place at its server, or a tunnel's, and its share of the gauges.

use super::reservation::Reservation;
use super::server::Server;
use crate::observe::stats::{Counter, UpstreamStats};
use std::sync::Arc;

/// What a connection is used for; each use has a gauge.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectionUse {
    /// An exchange has it, or it is being made.
    Exchange,
    /// Nobody has it.
    Idle,
    /// Two parties speak through it. It holds no place, but is counted among the tunnels.
    Tunnel,
}

impl ConnectionUse {
    fn gauge(self, cell: &UpstreamStats) -> &Counter {
        match self {
            Self::Exchange => &cell.active,
            Self::Idle => &cell.idle,
            Self::Tunnel => &cell.tunnels,
        }
    }
}

/// One connection's share of its server. Dropping it gives it back, which has to be after the socket is closed. Only the worker that
/// it was made for may use or drop it.
#[derive(Debug)]
pub struct Lease {
    server: Arc<Server>,
    /// A place, or what a tunnel needs.
    reservation: Reservation,
    worker: usize,
    used: ConnectionUse,
    /// The connection is about to be closed: no gauge includes it any more.
    is_closing: bool,
}

impl Lease {
    /// For an exchange, with a place at the server.
    pub fn new(server: Arc<Server>, place: Reservation, worker: usize) -> Self {
        debug_assert!(place.has_place(), "a connection without a place");
        ConnectionUse::Exchange.gauge(&server.cells[worker]).add(1);
        Self { server, reservation: place, worker, used: ConnectionUse::Exchange, is_closing: false }
    }

    /// The server.
    pub fn server(&self) -> &Arc<Server> {
        &self.server
    }

    /// An exchange gets the connection.
    #[inline]
    pub fn serve(&mut self) {
        self.pass_to(ConnectionUse::Exchange);
    }

    /// Nobody needs the connection for now.
    #[inline]
    pub fn rest(&mut self) {
        self.pass_to(ConnectionUse::Idle);
    }

    /// It becomes a tunnel, for which room was reserved before, and gives its place to others.
    pub fn become_tunnel(&mut self, room: Reservation) {
        self.pass_to(ConnectionUse::Tunnel);
        self.reservation = room;
    }

    #[inline]
    fn pass_to(&mut self, used: ConnectionUse) {
        let cell = &self.server.cells[self.worker];
        self.used.gauge(cell).sub(1);
        used.gauge(cell).add(1);
        self.used = used;
    }

    /// The connection will be closed: the gauges show it no longer, but it keeps its place until then.
    pub fn begin_close(&mut self) {
        if !std::mem::replace(&mut self.is_closing, true) {
            self.used.gauge(&self.server.cells[self.worker]).sub(1);
        }
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        self.begin_close();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Origin, PoolLimits, UpstreamConfig};
    use crate::guard::places::Needs;

    #[test]
    fn whatever_it_is_used_for_is_given_back() {
        let config = UpstreamConfig {
            name: "a".into(),
            origin: Origin::tcp("127.0.0.1", 1),
            weight: 1,
            is_checked: true,
            is_backup: false,
            send_proxy: None,
        };
        let server = Arc::new(Server::new(config, None, 0, 1));
        server.set_limits(&PoolLimits { max_conns_per_upstream: 1, max_tunnels_per_upstream: 1, upstream_idle_conns: 1 });
        let held = || {
            let cell = &server.cells[0];
            let gauges = [cell.active.value(), cell.idle.value(), cell.tunnels.value()];
            (gauges, server.places.taken(), server.places.tunnels())
        };
        let for_tunnel = Needs { tunnel: true, ..Needs::default() };
        for (used, expected) in [
            (ConnectionUse::Exchange, ([1, 0, 0], 1, 1)),
            (ConnectionUse::Idle, ([0, 1, 0], 1, 1)),
            (ConnectionUse::Tunnel, ([0, 0, 1], 0, 1)),
        ] {
            let mut reserved = Reservation::with_place(&server, for_tunnel).expect("room");
            let mut lease = Lease::new(server.clone(), reserved.take_place(), 0);
            lease.rest();
            lease.serve();
            match used {
                ConnectionUse::Exchange => {}
                ConnectionUse::Idle => lease.rest(),
                ConnectionUse::Tunnel => lease.become_tunnel(reserved.take_tunnel()),
            }
            assert_eq!(held(), expected, "{used:?}");
            lease.begin_close();
            assert_eq!(held(), ([0, 0, 0], expected.1, 1), "{used:?}");
            drop((lease, reserved));
            assert_eq!(held(), ([0, 0, 0], 0, 0), "{used:?}");
        }
    }
}
