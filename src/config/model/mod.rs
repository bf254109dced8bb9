//! The checked configuration: defaults filled in, names turned into indices, nothing left to validate. The rest of the
//! program sees only this. Only `check.rs`, and what it calls, makes it.

mod guards;
mod listener;
mod logging;
mod pool;
mod route;
mod timeouts;

pub use guards::{Breaker, HealthCheck, Rate, RateAlgorithm, RateLimit, Retry, Statuses};
pub use listener::{ListenerConfig, Peers};
pub use logging::{AccessFormat, LogTarget, Logging, RotateConfig};
pub use pool::{BalanceConfig, Origin, PoolConfig, PoolLimits, SRV, SameSite, SecureCookie, StickyConfig, UpstreamConfig};
pub use route::{Action, Matcher, Route};
pub use timeouts::Timeouts;

use std::net::SocketAddr;
use std::path::PathBuf;

/// A checked configuration. Durations are milliseconds and end in `_ms`; sizes are bytes. For timeouts 0 means "no limit".
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    pub listeners: Vec<ListenerConfig>,
    /// The admin port.
    pub metrics_listen: Option<SocketAddr>,
    /// Worker threads, at least 1 (`auto` is resolved).
    pub workers: usize,
    /// Written once everything is bound, removed at the end.
    pub pid_file: Option<PathBuf>,
    /// Whether the configuration is reloaded when its file changes.
    pub watch: bool,
    /// `pools[0]` is the pool named "default", which may be empty.
    pub pools: Vec<PoolConfig>,
    /// In order: the first that matches wins.
    pub routes: Vec<Route>,
    /// The global timeouts, which also apply to clients before a route is known.
    pub timeouts: Timeouts,
    pub limits: Limits,
    /// How often names are looked up again; 0 = never.
    pub resolve_ms: u32,
    /// The `host:port` of a name server for SRV records; without it those of the system are asked.
    pub resolver: Option<String>,
    /// The limit for requests of routes without one of their own.
    pub rate_limit: Option<RateLimit>,
    /// Proxies whose `X-Forwarded-*`, `Forwarded` and `X-Trace-ID` are kept.
    pub trusted_proxies: Peers,
    /// Whether upstreams are sent `Via`.
    pub via: bool,
    /// Which clients are told more than the reason of an error.
    pub error_detail: ErrorDetail,
    pub logging: Logging,
    pub shutdown: Shutdown,
}

impl Config {
    /// The files that it names and that were read with it.
    pub fn files(&self) -> impl Iterator<Item = &PathBuf> {
        let of_listeners = self.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| tls.files());
        of_listeners.chain(self.pools.iter().filter_map(|pool| pool.tls.as_ref()).flat_map(|tls| tls.files()))
    }
}

/// Limits that are not those of a pool, as `config::keys` describes them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Limits {
    pub max_client_conns: usize,
    /// 0 = no limit.
    pub max_conns_per_client: usize,
    pub max_request_line: usize,
    pub max_header_size: usize,
    pub max_headers: usize,
    pub max_total_headers: usize,
    /// 0 = no limit.
    pub max_body_size: u64,
    pub buffer_size: usize,
}

/// Which clients get details in error answers with a status of 5xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorDetail {
    /// Clients on this machine whose request was not forwarded.
    Auto,
    Always,
    Never,
}

/// What SIGTERM and SIGINT do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// How long everything is served as before.
    pub delay_ms: u32,
    /// How long exchanges may go on after that; 0 = they are cut off at once.
    pub grace_ms: u32,
    /// What happens to new requests in that time.
    pub new_requests: NewRequests,
}

/// `shutdown.new_requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewRequests {
    /// Requests on new connections get 503.
    Reject,
    /// Accept queues are emptied, and listeners close.
    Refuse,
}
