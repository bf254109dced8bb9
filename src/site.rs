//! A configuration together with the state it needs to run. It is immutable; a reload makes a new one, and every exchange ends
//! with the one it began with.

use crate::config::model::{Action, Config, HealthCheck, RateLimit, Route, Timeouts, UpstreamConfig};
use crate::guard::places::UpstreamLimits;
use crate::guard::rate::Limiter;
use crate::guard::retry::Budget;
use crate::route;
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;

/// A configuration with its pools and limits.
#[derive(Debug)]
pub struct Site {
    pub config: Config,
    /// The pools, parallel to `config.pools`.
    pub pools: Vec<Arc<Pool>>,
    /// The limits for requests that no route takes.
    limiter: Option<Limiter>,
    /// The limits of each route, parallel to `config.routes`.
    limiters: Vec<Option<Limiter>>,
}

/// What to do with a request, and the limits that apply.
#[derive(Clone, Copy, Debug)]
pub struct RouteDecision<'a> {
    /// `None` if nothing is configured for it: 404.
    pub action: Option<&'a Action>,
    /// The index of the route, if one takes the request.
    pub route: Option<usize>,
    /// The timeouts of the route, its pool, or the global ones.
    pub timeouts: &'a Timeouts,
    /// The limit of content in bytes; 0 = no limit.
    pub max_body_size: u64,
    /// Whether it gets a line in the access log.
    pub is_logged: bool,
    /// The rate limits that apply.
    pub limiter: Option<&'a Limiter>,
}

/// The action for a request without a route, if there is an upstream.
const DEFAULT: Action = Action::Proxy { pool: 0 };

impl Site {
    /// Makes the pools and limits of a configuration. What has not changed is taken over from the previous site:
    /// pools with their queues, servers with their state, limits with their counts.
    pub fn new(config: Config, workers: usize, previous: Option<&Self>) -> Self {
        let mut taken: BTreeSet<usize> = previous.iter().flat_map(|site| site.servers()).map(|(_, server)| server.slot).collect();
        let mut pools = Vec::with_capacity(config.pools.len());
        for pool in &config.pools {
            let old = previous.and_then(|site| site.pools.iter().find(|old| old.name == pool.name));
            let server = |upstream: &UpstreamConfig| {
                if let Some(server) = old.and_then(|old| old.servers.iter().find(|server| server.is(upstream))) {
                    server.update(upstream);
                    return server.clone();
                }
                let slot = (0..).find(|slot| taken.insert(*slot)).unwrap_or_default();
                Arc::new(Server::new(upstream.clone(), slot, workers))
            };
            let servers: Vec<_> = pool.upstreams.iter().map(server).collect();
            let is_checked = |upstream: &UpstreamConfig| upstream.is_checked && pool.health_check.is_some();
            servers.iter().zip(&pool.upstreams).for_each(|(server, upstream)| server.health.set_checked(is_checked(upstream)));
            if pool.breaker.failure_threshold == 0 {
                servers.iter().for_each(|server| server.circuit.reset());
            }
            let survives = |old: &&Arc<Pool>| {
                let same = |(old, new): (&Arc<Server>, &Arc<Server>)| Arc::ptr_eq(old, new);
                old.is(pool) && old.servers.len() == servers.len() && old.servers.iter().zip(&servers).all(same)
            };
            let budget = old.map_or_else(|| Arc::new(Budget::new(workers)), |old| old.budget.clone());
            pools.push(old.filter(survives).cloned().unwrap_or_else(|| Arc::new(Pool::new(pool, servers, budget))));
        }
        let (limiter, limiters) = limiters(&config, previous);
        Self { config, pools, limiter, limiters }
    }

    /// How many connections and tunnels each upstream may have.
    pub fn most(&self) -> UpstreamLimits {
        let limits = &self.config.limits;
        UpstreamLimits { connections: limits.max_conns_per_upstream, tunnels: limits.max_tunnels_per_upstream }
    }

    /// Whether rates are limited anywhere.
    pub fn limits_rates(&self) -> bool {
        self.limiter.is_some() || self.limiters.iter().any(Option::is_some)
    }

    /// Retires the servers that the next site does not have.
    pub fn retire(&self, next: &Self) {
        let stays = |server: &Arc<Server>| next.servers().any(|(_, other)| Arc::ptr_eq(server, other));
        self.servers().filter(|(_, server)| !stays(server)).for_each(|(_, server)| server.retire());
    }

    /// All servers of all pools.
    pub fn servers(&self) -> impl Iterator<Item = (&Arc<Pool>, &Arc<Server>)> {
        self.pools.iter().flat_map(|pool| pool.servers.iter().map(move |server| (pool, server)))
    }

    /// The servers that are checked, with the settings of their checks.
    pub fn checks(&self) -> impl Iterator<Item = (&Arc<Pool>, &Arc<Server>, &HealthCheck)> {
        self.pools.iter().zip(&self.config.pools).flat_map(|(pool, config)| {
            let servers = pool.servers.iter().zip(&config.upstreams).filter(|(_, upstream)| upstream.is_checked);
            config.health_check.iter().flat_map(move |check| servers.clone().map(move |(server, _)| (pool, server, check)))
        })
    }

    /// The first route that takes the request; without one the default pool, if it has upstreams.
    pub fn decide(&self, query: route::RouteQuery) -> RouteDecision<'_> {
        let config = &self.config;
        if let Some(index) = route::find(&config.routes, query) {
            let Route { action, timeouts, max_body_size, access_log, .. } = &config.routes[index];
            let limiter = self.limiters[index].as_ref();
            let (max_body_size, is_logged) = (*max_body_size, *access_log);
            return RouteDecision { action: Some(action), route: Some(index), timeouts, max_body_size, is_logged, limiter };
        }
        let pool = config.pools.first().filter(|pool| !pool.upstreams.is_empty());
        RouteDecision {
            action: pool.map(|_| &DEFAULT),
            route: None,
            timeouts: pool.map_or(&config.timeouts, |pool| &pool.timeouts),
            max_body_size: config.limits.max_body_size,
            is_logged: true,
            limiter: self.limiter.as_ref(),
        }
    }
}

/// The global limits and those of each route. A route is recognised by its name.
fn limiters(config: &Config, previous: Option<&Site>) -> (Option<Limiter>, Vec<Option<Limiter>>) {
    fn with<'a>(limit: &'a Option<RateLimit>, limiter: &'a Option<Limiter>) -> Option<(&'a RateLimit, &'a Limiter)> {
        limit.as_ref().zip(limiter.as_ref())
    }
    let old = previous.and_then(|site| with(&site.config.rate_limit, &site.limiter));
    let all = config.rate_limit.as_ref().map(|limit| Limiter::new(limit, None, old));
    let mut known: BTreeMap<&str, VecDeque<_>> = BTreeMap::new();
    for (route, limiter) in previous.iter().flat_map(|site| site.config.routes.iter().zip(&site.limiters)) {
        known.entry(&route.name).or_default().push_back((&route.rate_limit, limiter));
    }
    let of = |route: &Route| {
        // Several routes with one name are matched in their order.
        let old = known.get_mut(route.name.as_str()).and_then(VecDeque::pop_front);
        let old = old.and_then(|(limit, limiter)| with(limit, limiter));
        Some(Limiter::new(route.rate_limit.as_ref()?, all.as_ref(), old))
    };
    let routes = config.routes.iter().map(of).collect();
    (all, routes)
}
