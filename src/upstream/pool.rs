//! A pool: upstreams that share requests, and the one line of requests that wait for a place at any of them.

use super::server::Server;
use crate::balance::{Ask, Balance, Balancer, View};
use crate::config::model;
use crate::guard::gate::{Line, Ticket};
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub struct Pool {
    /// The `pool` label everywhere.
    pub name: String,
    /// In the order of the configuration.
    pub servers: Vec<Arc<Server>>,
    /// Requests that wait.
    pub line: Line,
    balance: Balance,
}

/// What a request got.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pick {
    /// This worker has an idle connection to that server.
    Idle(usize),
    /// A place at that server was taken: dial.
    Place(usize),
    /// Every usable server is full, or others wait already: stand in line.
    Full,
    /// No server has an address.
    Unresolved,
    /// No server takes requests.
    Unavailable,
}

impl Pool {
    /// A pool of these servers.
    pub fn new(config: &model::Pool, servers: Vec<Arc<Server>>) -> Self {
        Self { name: config.name.clone(), servers, line: Line::default(), balance: Balance::new(&config.balance, &config.upstreams) }
    }

    /// Asked once an attempt: a server for a request of `worker`, at most `limit` connections to each.
    pub fn pick(&self, worker: usize, limit: usize, rng: &mut fastrand::Rng, key: u64) -> Pick {
        if !self.line.is_empty() {
            return Pick::Full;
        }
        let mut reuse = false;
        let picked = self.balance.pick(&mut Ask { view: self, rng, key }, |index| {
            let server = &self.servers[index];
            reuse = server.is_usable() && server.cells[worker].idle.value() > 0;
            reuse || (server.is_usable() && server.places.try_enter(limit))
        });
        match picked {
            Some(index) if reuse => Pick::Idle(index),
            Some(index) => Pick::Place(index),
            None if self.servers.iter().any(|server| server.is_usable()) => Pick::Full,
            None if !self.servers.is_empty() && !self.servers.iter().any(|server| server.is_resolved()) => Pick::Unresolved,
            None => Pick::Unavailable,
        }
    }

    /// Whether half of the places at every usable server are busy.
    pub fn is_scarce(&self, limit: usize) -> bool {
        let busy = |server: &Arc<Server>| server.cells.iter().map(|cell| cell.active.value()).sum::<u64>() as usize;
        let mut usable = self.servers.iter().filter(|server| server.is_usable()).peekable();
        usable.peek().is_some() && usable.all(|server| 2 * busy(server) >= limit)
    }

    /// Takes a place for the first in line, if there is one: what whoever freed a place calls, and who has just joined.
    pub fn admit_first(&self, limit: usize, rng: &mut fastrand::Rng) -> Option<(Ticket, usize)> {
        self.line.call(|_| {
            let key = rng.u64(..);
            self.balance.pick(&mut Ask { view: self, rng, key }, |index| {
                let server = &self.servers[index];
                server.is_usable() && server.places.try_enter(limit)
            })
        })
    }

    /// Another worker that has an idle connection to one of the servers: closing it makes a place.
    pub fn idle_elsewhere(&self, worker: usize) -> Option<(usize, &Arc<Server>)> {
        self.servers.iter().filter(|server| server.is_usable()).find_map(|server| {
            let other = (0..server.cells.len()).find(|&other| other != worker && server.cells[other].idle.value() > 0)?;
            Some((other, server))
        })
    }
}

impl View for Pool {
    fn load(&self, index: usize) -> u64 {
        self.servers[index].cells.iter().map(|cell| cell.active.value()).sum()
    }

    fn latency(&self, _: usize) -> u64 {
        0
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{self, model::Upstream};

    fn pool_of(upstreams: Vec<Upstream>) -> Pool {
        let sources = config::Sources { alone: true, ..config::Sources::default() };
        let config = model::Pool { upstreams, ..config::load(sources).unwrap().config.pools.remove(0) };
        let server = |(slot, config): (usize, &Upstream)| Arc::new(Server::new(config.clone(), slot, 2));
        Pool::new(&config, config.upstreams.iter().enumerate().map(server).collect())
    }

    fn pool(weights: &[u32]) -> Pool {
        let upstream = |(index, &weight): (usize, &u32)| Upstream {
            name: index.to_string(),
            host: "127.0.0.1".into(),
            port: 1,
            tls: false,
            weight,
            is_checked: true,
        };
        pool_of(weights.iter().enumerate().map(upstream).collect())
    }

    fn pick(pool: &Pool, worker: usize, limit: usize) -> Pick {
        pool.pick(worker, limit, &mut fastrand::Rng::with_seed(1), 0)
    }

    #[test]
    fn a_full_server_is_passed_over_and_a_full_pool_waits() {
        let pool = pool(&[1, 1, 0]);
        let picks: Vec<_> = (0..5).map(|_| pick(&pool, 0, 2)).collect();
        assert_eq!(picks[..4].iter().filter(|pick| **pick == Pick::Place(0)).count(), 2);
        assert_eq!(picks[..4].iter().filter(|pick| **pick == Pick::Place(1)).count(), 2);
        assert_eq!(picks[4], Pick::Full);
    }

    #[test]
    fn nobody_passes_those_who_wait() {
        let pool = pool(&[1]);
        let ticket = Ticket { worker: 1, key: 0, serial: 1 };
        pool.line.join(ticket);
        assert_eq!(pick(&pool, 0, 10), Pick::Full);
        assert_eq!(pool.admit_first(10, &mut fastrand::Rng::with_seed(1)), Some((ticket, 0)));
        assert_eq!(pick(&pool, 0, 10), Pick::Place(0));
    }

    #[test]
    fn an_idle_connection_needs_no_place() {
        let pool = pool(&[1]);
        pool.servers[0].cells[0].idle.add(1);
        assert_eq!((pick(&pool, 0, 0), pick(&pool, 1, 0)), (Pick::Idle(0), Pick::Full));
        assert_eq!(pool.idle_elsewhere(1).map(|(worker, _)| worker), Some(0));
        assert!(pool.idle_elsewhere(0).is_none());
    }

    #[test]
    fn why_there_is_none() {
        assert_eq!(pick(&pool(&[]), 0, 1), Pick::Unavailable);
        assert_eq!(pick(&pool(&[0]), 0, 1), Pick::Unavailable);
        let config = Upstream { name: "n".into(), host: "name.invalid".into(), port: 1, tls: false, weight: 1, is_checked: true };
        let pool = pool_of(vec![config]);
        assert_eq!(pick(&pool, 0, 1), Pick::Unresolved);
    }
}
