//! A configuration together with the state it needs to run. It is immutable; a reload makes a new one, and every exchange ends
//! with the one it began with.

use crate::base::address::Address;
use crate::config::model::{Action, Config, HealthCheck, PoolConfig, RateLimit, Route, Timeouts, UpstreamConfig};
use crate::guard::rate::Limiter;
use crate::guard::retry::Budget;
use crate::route;
use crate::upstream::names::{Names, Share};
use crate::upstream::pool::Pool;
use crate::upstream::resolve::WantedNames;
use crate::upstream::server::Server;
use crate::upstream::sticky::{Secret, new_secret};
use std::collections::{BTreeMap, BTreeSet, HashMap, VecDeque};
use std::sync::{Arc, Weak};

/// How many addresses of an upstream a message names.
const MAX_NAMED: usize = 8;

/// A configuration with its pools and limits.
#[derive(Debug)]
pub struct Site {
    /// Shared with the sites that differ from this one only in what names lead to.
    pub config: Arc<Config>,
    /// The pools, parallel to `config.pools`.
    pub pools: Vec<Arc<Pool>>,
    /// The limits for requests that no route takes.
    limiter: Option<Limiter>,
    /// The limits of each route, parallel to `config.routes`.
    limiters: Vec<Option<Limiter>>,
    /// Servers that are in no pool any more and still in use, each with the name of its pool: one whose address comes back goes on with
    /// what it holds.
    gone: Vec<(String, Weak<Server>)>,
    /// The names of the cookies of all pools.
    pub cookies: Vec<String>,
    /// The budgets for retries of those routes that have one of their own, parallel to `config.routes`.
    budgets: Vec<Option<Arc<Budget>>>,
    /// The key for cookies, for as long as the process lives.
    secret: Secret,
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
    /// pools with their queues, servers with their state, limits with their counts. `now` is in milliseconds.
    pub fn new(config: Config, workers: usize, previous: Option<&Self>, names: &Names, now: u64) -> Self {
        Self::of(Arc::new(config), workers, previous, names, now)
    }

    /// The same configuration with what names lead to now; `None` if that makes no difference.
    pub fn renew(&self, workers: usize, names: &Names, now: u64) -> Option<Self> {
        let new = Self::of(self.config.clone(), workers, Some(self), names, now);
        let is_same = self.pools.iter().zip(&new.pools).all(|(old, new)| Arc::ptr_eq(old, new));
        (!is_same).then_some(new)
    }

    /// Whether it differs from another site only in what names lead to.
    pub fn is_of(&self, other: &Self) -> bool {
        Arc::ptr_eq(&self.config, &other.config)
    }

    fn of(config: Arc<Config>, workers: usize, previous: Option<&Self>, names: &Names, now: u64) -> Self {
        let gone: Vec<(String, Arc<Server>)> = previous.map(Site::gone).unwrap_or_default();
        let present = previous.iter().flat_map(|site| site.servers()).map(|(_, server)| server.slot);
        let taken: BTreeSet<usize> = present.chain(gone.iter().map(|(_, server)| server.slot)).collect();
        let secret = previous.map_or_else(new_secret, |site| site.secret);
        let mut slots = (0..).filter(|slot| !taken.contains(slot));
        let of = |pool: &PoolConfig| {
            let old = previous.and_then(|site| site.pools.iter().find(|old| old.name == pool.name));
            let of_pool = gone.iter().filter(|(name, _)| *name == pool.name).map(|(_, server)| server);
            let servers =
                servers(pool, of_pool.chain(old.iter().flat_map(|old| &old.servers)), names, |upstream: &UpstreamConfig, address| {
                    Server::new(upstream.clone(), address, slots.next().unwrap_or_default(), workers)
                });
            let is_joining = |server: &&Arc<Server>| old.is_some_and(|old| !old.servers.iter().any(|other| Arc::ptr_eq(other, server)));
            if old.is_some_and(|old| old.servers.iter().any(|server| server.is_healthy())) {
                servers.iter().filter(is_joining).for_each(|server| server.came_back(now));
            }
            if pool.breaker.failure_threshold == 0 {
                servers.iter().for_each(|server| server.circuit.reset());
            }
            let budget = old.map_or_else(|| Arc::new(Budget::new(workers)), |old| old.budget.clone());
            let kept = old.filter(|old| old.is(pool, &servers)).cloned();
            kept.unwrap_or_else(|| Pool::new(pool, servers, budget, &secret).with_sessions_of(old.map(|old| &**old)).into())
        };
        let pools: Vec<Arc<Pool>> = config.pools.iter().map(of).collect();
        let (limiter, limiters) = limiters(&config, previous);
        let budgets = budgets(&config, workers, previous);
        let cookies: BTreeSet<String> = config.pools.iter().filter_map(|pool| Some(pool.sticky.as_ref()?.cookie.clone())).collect();
        let former = previous.iter().flat_map(|site| site.servers()).map(|(pool, server)| (pool.name.clone(), server.clone()));
        let gone = left_out(former.chain(gone), &pools);
        Self { config, pools, limiter, limiters, gone, cookies: cookies.into_iter().collect(), budgets, secret }
    }

    /// Those of the servers that are gone which somebody still uses.
    fn gone(&self) -> Vec<(String, Arc<Server>)> {
        self.gone.iter().filter_map(|(pool, server)| Some((pool.clone(), server.upgrade()?))).collect()
    }

    /// The budget for retries of requests of that route and pool.
    pub fn budget(&self, route: Option<usize>, pool: usize) -> &Budget {
        route.and_then(|route| self.budgets[route].as_deref()).unwrap_or(&self.pools[pool].budget)
    }

    /// Whether rates are limited anywhere.
    pub fn limits_rates(&self) -> bool {
        self.limiter.is_some() || self.limiters.iter().any(Option::is_some)
    }

    /// Retires the servers that the next site does not have.
    pub fn retire(&self, next: &Self) {
        let stay: BTreeSet<*const Server> = next.servers().map(|(_, server)| Arc::as_ptr(server)).collect();
        self.servers().filter(|(_, server)| !stay.contains(&Arc::as_ptr(server))).for_each(|(_, server)| server.retire());
    }

    /// Logs which upstreams have other addresses than in the previous site.
    pub fn tell_moves(&self, previous: &Self) {
        for pool in &self.pools {
            let Some(old) = previous.pools.iter().find(|old| old.name == pool.name && !Arc::ptr_eq(old, pool)) else { continue };
            for upstream in pool.upstreams() {
                let first = &upstream[0].config;
                let Some(before) = old.upstreams().find(|before| before[0].is(first)) else { continue };
                let (Some(host), former, now) = (first.origin.name(), addresses(before), addresses(upstream)) else { continue };
                let (name, now_listed) = (&first.name, listed(&now));
                if former.is_empty() && !now.is_empty() {
                    log::info!(target: "upstream", "upstream {name}: {host} can be looked up now: [{now_listed}]");
                } else if former != now {
                    let former = listed(&former);
                    log::info!(target: "upstream", "upstream {name}: the addresses of {host} have changed: [{former}] -> [{now_listed}]");
                }
            }
        }
    }

    /// All servers of all pools.
    pub fn servers(&self) -> impl Iterator<Item = (&Arc<Pool>, &Arc<Server>)> {
        self.pools.iter().flat_map(|pool| pool.servers.iter().map(move |server| (pool, server)))
    }

    /// The servers that are checked, with the settings of their checks.
    pub fn checks(&self) -> impl Iterator<Item = (&Arc<Pool>, &Arc<Server>, &HealthCheck)> {
        self.pools.iter().zip(&self.config.pools).flat_map(|(pool, config)| {
            let servers = pool.servers.iter().filter(|server| server.is_resolved() && server.health.is_checked());
            config.health_check.iter().flat_map(move |check| servers.clone().map(move |server| (pool, server, check)))
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

/// The names that have to be looked up, with the upstreams that are there.
pub fn names(config: &Config) -> WantedNames {
    let mut names = WantedNames::new();
    for upstream in config.pools.iter().flat_map(|pool| &pool.upstreams) {
        if let Some(name) = upstream.origin.name() {
            names.entry(name.into()).or_default().push(upstream.name.clone());
        }
    }
    names
}

/// The servers of a pool, in the order of the configuration, and those of one upstream in the order of their addresses. Those that the
/// pool has had before are kept.
fn servers<'a>(
    pool: &PoolConfig,
    old: impl Iterator<Item = &'a Arc<Server>>,
    names: &Names,
    mut make: impl FnMut(&UpstreamConfig, Option<Address>) -> Server,
) -> Vec<Arc<Server>> {
    let key = |server: &'_ Arc<Server>| (server.config.name.clone(), server.address.clone());
    let known: HashMap<_, _> = old.map(|server| (key(server), server)).collect();
    let mut servers = Vec::with_capacity(pool.upstreams.len());
    for upstream in &pool.upstreams {
        let places = names.places(&upstream.origin);
        let unresolved = places.is_empty().then_some((None, Share::WHOLE));
        for (address, share) in unresolved.into_iter().chain(places.into_iter().map(|(address, share)| (Some(address), share))) {
            let server = match known.get(&(upstream.name.clone(), address.clone())).filter(|server| server.is(upstream)) {
                Some(&server) => server.clone(),
                None => Arc::new(make(upstream, address)),
            };
            server.revive();
            server.update(upstream, share);
            server.set_limits(&pool.limits);
            server.health.set_checked(upstream.is_checked && pool.health_check.is_some());
            servers.push(server);
        }
    }
    servers
}

/// Those of these servers that no pool has.
fn left_out(servers: impl Iterator<Item = (String, Arc<Server>)>, pools: &[Arc<Pool>]) -> Vec<(String, Weak<Server>)> {
    let stay: BTreeSet<*const Server> = pools.iter().flat_map(|pool| &pool.servers).map(Arc::as_ptr).collect();
    let gone = servers.filter(|(_, server)| !stay.contains(&Arc::as_ptr(server)));
    gone.map(|(pool, server)| (pool, Arc::downgrade(&server))).collect()
}

/// The addresses of an upstream.
fn addresses(upstream: &[Arc<Server>]) -> Vec<&Address> {
    upstream.iter().filter_map(|server| server.address.as_ref()).collect()
}

/// Some of the addresses, for messages.
fn listed(addresses: &[&Address]) -> String {
    let mut words: Vec<String> = addresses.iter().take(MAX_NAMED).map(ToString::to_string).collect();
    if addresses.len() > MAX_NAMED {
        words.push(format!("and {} more", addresses.len() - MAX_NAMED));
    }
    words.join(", ")
}

/// The budgets of routes that have one of their own. A route is recognised by its name.
fn budgets(config: &Config, workers: usize, previous: Option<&Site>) -> Vec<Option<Arc<Budget>>> {
    let known: HashMap<&str, &Arc<Budget>> = previous
        .iter()
        .flat_map(|site| site.config.routes.iter().zip(&site.budgets))
        .filter_map(|(route, budget)| Some((route.name.as_str(), budget.as_ref()?)))
        .collect();
    let budget = |route: &Route| known.get(route.name.as_str()).map_or_else(|| Arc::new(Budget::new(workers)), |&budget| budget.clone());
    config.routes.iter().map(|route| route.owns_budget.then(|| budget(route))).collect()
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
