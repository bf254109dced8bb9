//! The checked configuration: defaults filled in, names turned into indices, nothing left to validate. The rest of the
//! program sees only this. Only `check.rs` makes it.

use crate::base::address::{Address, Peer};
use ipnet::IpNet;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A checked configuration. Durations are milliseconds and end in `_ms`; sizes are bytes. For timeouts 0 means "no limit".
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// The addresses for clients.
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
    /// The global limits.
    pub limits: Limits,
    /// How often names are looked up again; 0 = never.
    pub resolve_ms: u32,
    /// The limit for requests of routes without one of their own.
    pub rate_limit: Option<RateLimit>,
    /// Proxies whose `X-Forwarded-*`, `Forwarded` and `X-Trace-ID` are kept.
    pub trusted_proxies: Peers,
    /// Whether upstreams are sent `Via`.
    pub via: bool,
    /// Which clients are told more than the reason of an error.
    pub error_detail: ErrorDetail,
    /// Logs.
    pub logging: Logging,
    /// How the process ends.
    pub shutdown: Shutdown,
}

/// Peers, by their addresses or by how they come.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Peers {
    /// Networks of addresses. IPv4 is never written as IPv6.
    pub networks: Vec<IpNet>,
    /// `unix`: all that come through a Unix socket.
    pub unix: bool,
}

impl Peers {
    /// Whether a peer is one of them.
    pub fn contains(&self, peer: Peer) -> bool {
        match peer.ip() {
            Some(ip) => self.networks.iter().any(|network| network.contains(&ip)),
            None => self.unix,
        }
    }
}

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ListenerConfig {
    /// Port 0: the kernel chooses.
    pub address: Address,
    /// The address; with port 0 the kernel chooses.
    pub mode: u32,
}

/// Upstreams that requests are balanced over.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// The name, which is the `pool` label of metrics.
    pub name: String,
    /// Its servers.
    pub upstreams: Vec<UpstreamConfig>,
    /// How one is chosen.
    pub balance: BalanceConfig,
    /// The time over which a recovered upstream's share rises; 0 = at once.
    pub slow_start_ms: u32,
    /// The pool's timeouts, which take precedence over the global ones, key by key.
    pub timeouts: Timeouts,
    /// The same for retries.
    pub retry: Retry,
    /// The same for circuits.
    pub breaker: Breaker,
    /// The same for health checks; `None` is off.
    pub health_check: Option<HealthCheck>,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// The name, which is the `upstream` label of metrics; unique in its pool.
    pub name: String,
    /// Where it is.
    pub origin: Origin,
    /// 0 to 1000; 0 = no new requests.
    pub weight: u32,
    /// Whether the pool's `health_check` applies to it.
    pub is_checked: bool,
}

/// Where an upstream is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// Under a name, or at an address.
    Tcp {
        /// IPv6 without brackets.
        host: String,
        /// 1 to 65535.
        port: u16,
        /// `https://`
        tls: bool,
    },
    /// At a Unix socket of this machine, by the path of its file.
    Unix(Arc<Path>),
}

impl Origin {
    /// In plain HTTP.
    pub fn tcp(host: &str, port: u16) -> Self {
        Self::Tcp { host: host.into(), port, tls: false }
    }

    /// The name that has to be looked up.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => host.parse::<IpAddr>().is_err().then_some(host),
            Self::Unix(_) => None,
        }
    }

    /// The only address that there is, where it is given as one.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp { host, port, .. } => host.parse().ok().map(|ip| SocketAddr::new(ip, *port).into()),
            Self::Unix(path) => Some(Address::Unix(path.clone())),
        }
    }
}

/// `host:port`, `[::1]:port`, `unix:/path`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Balancing algorithms.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum BalanceConfig {
    RoundRobin,
    Random,
    Weighted,
    LeastConnections,
    /// By client address, or by the value of the named field.
    ConsistentHash {
        header: Option<String>,
    },
    Adaptive,
}

/// One entry of `routes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// The configured name, or `routes[N]`.
    pub name: String,
    /// The conditions, all of which must hold.
    pub matcher: Matcher,
    /// What is done with its requests.
    pub action: Action,
    /// Timeouts. Precedence, key by key: route, pool, global.
    pub timeouts: Timeouts,
    /// Retries, with the same precedence.
    pub retry: Retry,
    /// Rate limits, with the same precedence; `None` is off.
    pub rate_limit: Option<RateLimit>,
    /// The limit of content in bytes; 0 = no limit.
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
    /// Methods, case-sensitive.
    pub methods: Vec<String>,
    /// The port the client connected to.
    pub port: Option<u16>,
}

/// What a route does with a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action {
    /// Forward to a pool.
    Proxy {
        /// Index into [`Config::pools`].
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

/// How long is waited for what, as `keys.rs` describes. In milliseconds; 0 = no limit, except for `queue_ms` (0 = do not wait) and
/// the `*_keepalive_ms` (0 = do not keep).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Timeouts {
    pub attempt_ms: u32,
    pub connect_ms: u32,
    pub read_ms: u32,
    pub write_ms: u32,
    pub total_ms: u32,
    pub client_request_line_ms: u32,
    pub client_header_ms: u32,
    pub client_body_ms: u32,
    pub client_write_ms: u32,
    pub client_half_close_ms: u32,
    pub client_keepalive_ms: u32,
    pub upstream_keepalive_ms: u32,
    pub queue_ms: u32,
    pub tunnel_idle_ms: u32,
}

/// Retries of a request; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Attempts after the first; 0 = none.
    pub max_retries: u32,
    /// Upper bound of the first wait, doubled each time; 0 = no wait.
    pub backoff_ms: u32,
    /// Upper bound of every wait.
    pub max_backoff_ms: u32,
    /// Share of a pool's requests that may be retries.
    pub budget_percent: u32,
    /// Statuses that are worth another try.
    pub statuses: Statuses,
}

/// Passive health checks: one circuit for each upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// How many failures in a row open it; 0 = no circuit.
    pub failure_threshold: u32,
    /// How many successes close it.
    pub success_threshold: u32,
    /// How long it is open before it becomes half-open.
    pub timeout_ms: u32,
    /// The same while no other upstream of the pool is usable; 0 = no difference.
    pub last_resort_ms: u32,
    /// How many trial requests may run at a time.
    pub half_open_requests: u32,
    /// Statuses that count as failures.
    pub failure_statuses: Statuses,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The target of the GET.
    pub path: String,
    /// The time between two checks of one upstream.
    pub interval_ms: u32,
    /// The time for one check, connect included.
    pub timeout_ms: u32,
    /// How many failures in a row make it failing.
    pub failure_threshold: u32,
    /// How many successes in a row make it passing.
    pub success_threshold: u32,
    /// The first and the last good status.
    pub expected_status: (u16, u16),
}

/// How many requests are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How they are counted.
    pub algorithm: RateAlgorithm,
    /// Of all clients together.
    pub global: Option<Rate>,
    /// Of each client.
    pub per_client: Option<Rate>,
    /// Whether requests over the limit are only counted.
    pub dry_run: bool,
    /// Whether this section sets `global` itself; if not, it inherits the limit together with its count.
    pub owns_global: bool,
    /// The same for `per_client`.
    pub owns_per_client: bool,
}

/// `rate_limit.algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RateAlgorithm {
    TokenBucket,
    SlidingWindow,
}

/// The numbers of a rate limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Allowed in the long run (token bucket), or in any second (sliding window).
    pub requests_per_second: u32,
    /// Allowed at once (token bucket only).
    pub burst: u32,
}

/// A set of statuses, 100 to 599.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses([u64; 8]);

impl Statuses {
    /// The empty set.
    pub const NONE: Self = Self([0; 8]);
    const FIRST: u16 = 100;
    const END: u16 = 600;

    /// Whether it is in the set.
    pub fn contains(&self, status: u16) -> bool {
        let index = usize::from(status.wrapping_sub(Self::FIRST));
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

impl FromIterator<u16> for Statuses {
    /// Numbers that are not statuses are ignored.
    fn from_iter<I: IntoIterator<Item = u16>>(statuses: I) -> Self {
        let mut set = Self::default();
        for status in statuses.into_iter().filter(|status| *status < Self::END) {
            let index = usize::from(status.wrapping_sub(Self::FIRST));
            if let Some(word) = set.0.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        }
        set
    }
}

/// Limits, as `keys.rs` describes them.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Limits {
    pub max_client_conns: usize,
    pub max_conns_per_upstream: usize,
    pub max_tunnels_per_upstream: usize,
    /// 0 = no limit.
    pub max_conns_per_client: usize,
    pub max_request_line: usize,
    pub max_header_size: usize,
    pub max_headers: usize,
    pub max_total_headers: usize,
    /// 0 = no limit.
    pub max_body_size: u64,
    pub buffer_size: usize,
    pub upstream_idle_conns: usize,
}

/// Logs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Logging {
    /// The level of diagnostics.
    pub level: log::LevelFilter,
    /// `None` turns it off.
    pub access_log: Option<LogTarget>,
    /// The target of diagnostics.
    pub error_log: LogTarget,
    /// The format of the access log.
    pub access_format: AccessFormat,
    /// When files are rotated; `None` leaves that to another program.
    pub rotate: Option<RotateConfig>,
}

/// Where lines go. Paths are already joined with `logging.dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum LogTarget {
    /// `-`: standard output for the access log, standard error for diagnostics.
    Standard,
    /// A file.
    File(PathBuf),
}

/// The access log's format.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum AccessFormat {
    Text,
    Combined,
    Json,
}

/// Rotation by size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct RotateConfig {
    pub max_bytes: u64,
    pub keep: u32,
}

/// Which clients get details in error answers with a status of 5xx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorDetail {
    /// Clients on this machine whose request was not forwarded.
    Auto,
    /// All clients.
    Always,
    /// No client.
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
