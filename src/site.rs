//! The site: a configuration together with what runs by it. Immutable; a reload makes a new one, and every exchange ends on
//! the one it began with.

use crate::config::model::{Action, Config, Timeouts};
use crate::route;
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use std::sync::Arc;

/// See the module.
#[derive(Debug)]
pub struct Site {
    /// As meant.
    pub config: Config,
    /// Parallel to `config.pools`.
    pub pools: Vec<Arc<Pool>>,
}

/// What is to be done with a request, and under which limits.
#[derive(Clone, Copy, Debug)]
pub struct Decision<'a> {
    /// `None`: there is nothing here.
    pub action: Option<&'a Action>,
    /// Those of the route, or of the pool, or the global ones.
    pub timeouts: &'a Timeouts,
    /// Bytes of content; 0 = no limit.
    pub max_body_size: u64,
}

/// Where a request without a route goes, if there is an upstream.
const DEFAULT: Action = Action::Proxy { pool: 0 };

impl Site {
    /// Makes the pools of a configuration.
    pub fn new(config: Config, workers: usize) -> Self {
        let mut slot = 0;
        let mut make_server = |upstream: &crate::config::model::Upstream| {
            slot += 1;
            Arc::new(Server::new(upstream.clone(), slot - 1, workers))
        };
        let pools = config
            .pools
            .iter()
            .map(|pool| Arc::new(Pool::new(pool.name.clone(), pool.upstreams.iter().map(&mut make_server).collect())))
            .collect();
        Self { config, pools }
    }

    /// All servers of all pools.
    pub fn servers(&self) -> impl Iterator<Item = (&Arc<Pool>, &Arc<Server>)> {
        self.pools.iter().flat_map(|pool| pool.servers.iter().map(move |server| (pool, server)))
    }

    /// The first route that takes the request; without one the default pool, if it has upstreams.
    pub fn decide(&self, query: route::Query) -> Decision<'_> {
        let config = &self.config;
        if let Some(route) = route::find(&config.routes, query).map(|index| &config.routes[index]) {
            return Decision { action: Some(&route.action), timeouts: &route.timeouts, max_body_size: route.max_body_size };
        }
        let pool = config.pools.first().filter(|pool| !pool.upstreams.is_empty());
        Decision {
            action: pool.map(|_| &DEFAULT),
            timeouts: pool.map_or(&config.timeouts, |pool| &pool.timeouts),
            max_body_size: config.limits.max_body_size,
        }
    }
}
