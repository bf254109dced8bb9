//! What is reserved of a server's limits for an attempt, or for a connection. Dropping it gives it back, so no path can forget that.
//!
//! Queued requests may wait for what is given back. Drop cannot tell them, so whoever gives something back says so, with
//! `Turn::queue_may_move` or `Turn::circuits_moved`, or by handing the place on; forgetting that delays a request, but loses nothing.

use super::server::Server;
use crate::guard::breaker::Trial;
use crate::guard::places::Needs;
use std::sync::Arc;

/// Parts of a server's limits.
#[derive(Debug, Default)]
pub struct Reservation {
    /// The server, unless nothing is reserved: most requests take a kept connection and need nothing besides, and they must not touch
    /// a count that all workers share.
    server: Option<Arc<Server>>,
    /// A connection's place.
    place: bool,
    /// One of the half for requests whose content is to come.
    partial: bool,
    tunnel: bool,
    /// A trial of the server's circuit.
    trial: Option<Trial>,
}

impl Reservation {
    /// A place for a new connection, and what is needed besides, if there is room for all of it.
    pub fn with_place(server: &Arc<Server>, needs: Needs) -> Option<Self> {
        server.places.try_enter(needs, server.most()).then(|| Self::of(server, true, needs))
    }

    /// What is needed besides the place that a kept connection has already, if there is room for it.
    pub fn without_place(server: &Arc<Server>, needs: Needs) -> Option<Self> {
        server.places.try_reserve(needs, server.most()).then(|| Self::of(server, false, needs))
    }

    #[inline]
    fn of(server: &Arc<Server>, place: bool, Needs { is_partial: partial, tunnel, .. }: Needs) -> Self {
        let server = (place || partial || tunnel).then(|| server.clone());
        Self { server, place, partial, tunnel, trial: None }
    }

    /// A trial, if there is one.
    #[inline]
    pub fn of_trial(server: &Arc<Server>, trial: Option<Trial>) -> Self {
        let server = trial.is_some().then(|| server.clone());
        Self { server, place: false, partial: false, tunnel: false, trial }
    }

    /// Adds a trial of the same server.
    #[inline]
    pub fn add_trial(&mut self, mut of_trial: Self) {
        if let Some(server) = of_trial.server.take() {
            (self.server, self.trial) = (Some(server), of_trial.trial.take());
        }
    }

    /// Whether it includes a place.
    pub fn has_place(&self) -> bool {
        self.place
    }

    /// Whether it includes one of the half for requests whose content is to come.
    pub fn is_partial(&self) -> bool {
        self.partial
    }

    /// Whether it includes a trial.
    pub fn is_trial(&self) -> bool {
        self.trial.is_some()
    }

    /// Whether nothing is reserved.
    pub fn is_empty(&self) -> bool {
        self.server.is_none()
    }

    /// Takes the place out of it.
    pub fn take_place(&mut self) -> Self {
        let place = std::mem::take(&mut self.place);
        self.part(place, false, false, None)
    }

    /// Takes out of it what requests need whose content is to come.
    pub fn take_partial(&mut self) -> Self {
        let partial = std::mem::take(&mut self.partial);
        self.part(false, partial, false, None)
    }

    /// Takes out of it what a tunnel needs.
    pub fn take_tunnel(&mut self) -> Self {
        let tunnel = std::mem::take(&mut self.tunnel);
        self.part(false, false, tunnel, None)
    }

    /// Takes the trial out of it.
    pub fn take_trial(&mut self) -> Self {
        let trial = self.trial.take();
        self.part(false, false, false, trial)
    }

    /// A reservation of what was taken out. The server stays with the rest too, if there is any.
    fn part(&mut self, place: bool, partial: bool, tunnel: bool, trial: Option<Trial>) -> Self {
        let holds = |place, partial, tunnel, trial: &Option<Trial>| place || partial || tunnel || trial.is_some();
        let server = match holds(place, partial, tunnel, &trial) {
            false => None,
            true if holds(self.place, self.partial, self.tunnel, &self.trial) => self.server.clone(),
            true => self.server.take(),
        };
        Self { server, place, partial, tunnel, trial }
    }

    #[cold]
    fn give_back(&mut self, server: &Server) {
        if let Some(trial) = self.trial.take() {
            server.circuit.end_trial(trial);
        }
        server.places.give_back(Needs { is_partial: self.partial, tunnel: self.tunnel, has_left: false });
        if self.place {
            server.places.leave();
        }
    }
}

impl Drop for Reservation {
    #[inline]
    fn drop(&mut self) {
        if let Some(server) = self.server.take() {
            self.give_back(&server);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::model::{Origin, PoolLimits, UpstreamConfig};
    use crate::guard::breaker::AttemptVerdict;

    const MOST: PoolLimits = PoolLimits { max_conns_per_upstream: 1, max_tunnels_per_upstream: 1, upstream_idle_conns: 1 };
    const ALL: Needs = Needs { is_partial: true, tunnel: true, has_left: false };

    fn server() -> Arc<Server> {
        let config = UpstreamConfig {
            name: "a".into(),
            origin: Origin::tcp("127.0.0.1", 1),
            weight: 1,
            is_checked: true,
            is_backup: false,
            send_proxy: None,
        };
        let server = Arc::new(Server::new(config, None, 0, 1));
        server.set_limits(&MOST);
        server
    }

    fn counts(server: &Server) -> [usize; 3] {
        [server.places.taken(), server.places.partial(), server.places.tunnels()]
    }

    #[test]
    fn each_part_is_given_back_once_whoever_has_it() {
        let server = server();
        let mut whole = Reservation::with_place(&server, ALL).expect("room");
        assert!(Reservation::with_place(&server, Needs::default()).is_none());
        let (place, partial) = (whole.take_place(), whole.take_partial());
        assert!(whole.take_place().is_empty() && !whole.is_empty() && place.has_place() && !whole.has_place());
        assert_eq!(counts(&server), [1, 1, 1]);
        drop(place);
        assert_eq!(counts(&server), [0, 1, 1]);
        let tunnel = whole.take_tunnel();
        drop(partial);
        drop(whole);
        assert_eq!(counts(&server), [0, 0, 1]);
        drop(tunnel);
        assert_eq!((counts(&server), Arc::strong_count(&server)), ([0; 3], 1));
    }

    #[test]
    fn a_trial_ends_with_what_it_was_reserved_with_or_before() {
        let server = server();
        let breaker = crate::config::load(crate::config::ConfigSources { alone: true, ..Default::default() }).unwrap().config.pools[0]
            .breaker
            .clone();
        let open = || {
            (0..breaker.failure_threshold).for_each(|_| {
                let (permit, _) = server.circuit.admit(&breaker).expect("let through");
                server.circuit.settle(permit, AttemptVerdict::Failure, &breaker, 0);
            })
        };
        let trial = || {
            let (_, trial) = server.circuit.admit(&breaker).expect("let through");
            Reservation::of_trial(&server, trial)
        };
        open();
        server.circuit.half_open(server.circuit.opening().expect("open"));
        for is_ended_before in [true, false] {
            let mut whole = Reservation::with_place(&server, Needs::default()).expect("room");
            whole.add_trial(trial());
            assert_eq!((whole.is_trial(), server.circuit.trials()), (true, 1));
            if is_ended_before {
                drop(whole.take_trial());
                assert_eq!((whole.is_trial(), server.circuit.trials(), counts(&server)), (false, 0, [1, 0, 0]));
            }
            drop(whole);
            assert_eq!((server.circuit.trials(), counts(&server), Arc::strong_count(&server)), (0, [0; 3], 1));
        }
    }

    #[test]
    fn a_request_with_a_kept_connection_usually_reserves_nothing() {
        let server = server();
        let nothing = Reservation::without_place(&server, Needs::default()).expect("room");
        assert_eq!((nothing.is_empty(), Arc::strong_count(&server)), (true, 1));
        let some = Reservation::without_place(&server, ALL).expect("room");
        assert!(some.is_partial() && Reservation::without_place(&server, ALL).is_none());
        drop(some);
        assert_eq!(counts(&server), [0; 3]);
    }
}
