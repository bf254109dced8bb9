//! What clients get who come through a listening address: whose routes, whose counters, and which of the limits that clients share.

use crate::admin::{self, PageRoute};
use crate::observe::stats::WorkerStats;
use std::sync::Arc;

/// What an entrance leads to. All entrances of a worker that lead to the site have the same one.
#[derive(Debug)]
pub struct Service {
    /// Who answers which request.
    pub routes: ServiceRoutes,
    /// What is counted of its clients and requests.
    pub stats: Arc<WorkerStats>,
    /// Whether its requests get lines in the access log.
    pub is_logged: bool,
    /// Whether it is for those who operate the process: its clients may use reserved descriptors, no limit of connections per client
    /// applies, no other client gains by their leaving, and it stays open while the process drains.
    pub is_reserved: bool,
    /// The name of the limit of its connections.
    pub limit: &'static str,
}

/// A table of routes.
#[derive(Clone, Copy, Debug)]
pub enum ServiceRoutes {
    /// The routes of the configuration.
    OfSite,
    /// Pages about the process.
    Pages(&'static [PageRoute]),
}

impl Service {
    /// The configured routes, counted by a worker.
    pub fn of_site(stats: Arc<WorkerStats>) -> Arc<Self> {
        let limit = "limits.max_client_conns";
        Arc::new(Self { routes: ServiceRoutes::OfSite, stats, is_logged: true, is_reserved: false, limit })
    }

    /// The admin port's pages. Nobody scrapes its counters.
    pub fn of_admin() -> Arc<Self> {
        let (routes, limit) = (ServiceRoutes::Pages(admin::ROUTES), "the admin port's limit");
        Arc::new(Self { routes, stats: Arc::default(), is_logged: false, is_reserved: true, limit })
    }
}
