//! Routes: which requests, and what is done with them.

use super::guards::{RateLimit, Retry};
use super::timeouts::Timeouts;

/// One entry of `routes`. Its timeouts, retries and rate limits are, key by key, its own, its pool's or the global ones.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The configured name, or `routes[N]`.
    pub name: String,
    pub matcher: Matcher,
    pub action: Action,
    pub timeouts: Timeouts,
    pub retry: Retry,
    /// Whether `retry.budget_percent` is its own: then its retries are counted apart from those of its pool.
    pub owns_budget: bool,
    /// `None` is off.
    pub rate_limit: Option<RateLimit>,
    /// 0 = no limit.
    pub max_body_size: u64,
    /// Whether its requests get lines in the access log.
    pub access_log: bool,
}

/// The conditions of a route; `None` and empty mean "any".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// In normal form, IPv6 without brackets; `*.example.com` means every name under it.
    pub host: Option<String>,
    /// The exact path, in normal form.
    pub path: Option<String>,
    /// In normal form; `/api` matches `/api`, `/api/…` and `/api?…`, but not `/apix`.
    pub path_prefix: Option<String>,
    pub methods: Vec<String>,
    /// The port the client connected to.
    pub port: Option<u16>,
}

/// What a route does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    Proxy {
        /// Index into the pools of the configuration.
        pool: usize,
    },
    /// Answer with the request that was received.
    Echo {
        /// First line of the answer.
        name: String,
    },
    /// A fixed answer.
    Respond {
        /// 200 to 599.
        status: u16,
        /// The content, sent as `text/plain`.
        body: String,
    },
    /// An action that is read and checked but not implemented yet (`static_files`, `redirect`): answered with 404.
    Unbuilt,
}
