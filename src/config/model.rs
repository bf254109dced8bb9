//! The configuration as it is meant: defaults filled in, names turned into indices, nothing left to validate. The rest of the
//! program sees only this. `check.rs` is the only maker of it.

use ipnet::IpNet;
use std::net::SocketAddr;
use std::path::PathBuf;

/// A checked configuration. Durations are milliseconds and end in `_ms`; sizes are bytes. For timeouts 0 means "no limit".
#[derive(Clone, Debug, PartialEq)]
pub struct Config {
    /// Where clients connect.
    pub listeners: Vec<Listener>,
    /// The admin port.
    pub metrics_listen: Option<SocketAddr>,
    /// Worker threads, at least 1 (`auto` is resolved).
    pub workers: usize,
    /// Written once everything is bound, removed at the end.
    pub pid_file: Option<PathBuf>,
    /// A change of the file is a reload.
    pub watch: bool,
    /// `pools[0]` is the pool named "default", which may be empty.
    pub pools: Vec<Pool>,
    /// In order: the first that matches wins.
    pub routes: Vec<Route>,
    /// The global ones; client-side timeouts always come from here until a route is known.
    pub timeouts: Timeouts,
    /// The global ones.
    pub limits: Limits,
    /// Names are looked up again this often; 0 = never.
    pub resolve_ms: u32,
    /// For requests of routes without one of their own.
    pub rate_limit: Option<RateLimit>,
    /// Whose `X-Forwarded-*`, `Forwarded` and `X-Trace-ID` are kept.
    pub trusted_proxies: Vec<IpNet>,
    /// Whether upstreams are sent `Via`.
    pub via: bool,
    /// Who is told more than the reason of an error.
    pub error_detail: ErrorDetail,
    /// Logs.
    pub logging: Logging,
    /// Drain.
    pub shutdown: Shutdown,
}

/// One listening address.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Listener {
    /// Port 0: the kernel chooses.
    pub address: SocketAddr,
}

/// Upstreams that requests are balanced over.
#[derive(Clone, Debug, PartialEq)]
pub struct Pool {
    /// The `pool` label everywhere.
    pub name: String,
    /// Its servers.
    pub upstreams: Vec<Upstream>,
    /// How one is chosen.
    pub balance: Balance,
    /// An upstream that comes back is ramped up over this time; 0 = at once.
    pub slow_start_ms: u32,
    /// Global timeouts with this pool's own laid over them, key by key.
    pub timeouts: Timeouts,
    /// Likewise.
    pub retry: Retry,
    /// Likewise.
    pub breaker: Breaker,
    /// Likewise; `None` is off.
    pub health_check: Option<HealthCheck>,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Upstream {
    /// The `upstream` label everywhere; unique in its pool.
    pub name: String,
    /// A name or an address (IPv6 without brackets).
    pub host: String,
    /// Its port.
    pub port: u16,
    /// `https://`
    pub tls: bool,
    /// 0 to 1000; 0 = no new requests.
    pub weight: u32,
    /// Whether the pool's `health_check` looks at it.
    pub is_checked: bool,
}

/// Balancing algorithms.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Balance {
    RoundRobin,
    Random,
    Weighted,
    LeastConnections,
    /// By client address, or by the named field.
    ConsistentHash {
        header: Option<String>,
    },
    Adaptive,
}

/// One entry of `routes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Route {
    /// As configured, or `routes[N]`.
    pub name: String,
    /// All that is given must hold.
    pub matcher: Matcher,
    /// What is done.
    pub action: Action,
    /// Global, then the pool's, then the route's, key by key.
    pub timeouts: Timeouts,
    /// Likewise.
    pub retry: Retry,
    /// Likewise; `None` is off.
    pub rate_limit: Option<RateLimit>,
    /// 0 = no limit.
    pub max_body_size: u64,
    /// Whether its requests have lines in the access log.
    pub access_log: bool,
}

/// What a request must have for a route to take it; `None` and empty mean "any".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// In normal form, IPv6 without brackets; `*.example.com` stands for any name under it.
    pub host: Option<String>,
    /// The path exactly, in normal form.
    pub path: Option<String>,
    /// In normal form; `/api` takes `/api`, `/api/…`, `/api?…`, not `/apix`.
    pub path_prefix: Option<String>,
    /// Case-sensitive.
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
    /// Answer with what was received.
    Echo {
        /// First line of the answer.
        name: String,
    },
    /// A fixed answer.
    Respond {
        /// 200 to 599.
        status: u16,
        /// `text/plain`.
        body: String,
    },
    /// An action that is read and checked, but not built yet (`static_files`, `redirect`): answered as "not found".
    Unbuilt,
}

/// What is waited for how long; `keys.rs` says what each is. All in milliseconds; 0 = no limit, but for `queue_ms` (0 = do not wait) and the
/// `*_keepalive_ms` (0 = do not keep).
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

/// Further attempts of a request; by default none.
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
    /// Worth another try.
    pub statuses: Statuses,
}

/// Passive health: one circuit for each upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// Failures in a row until it opens; 0 = no breaker.
    pub failure_threshold: u32,
    /// Successes until it closes.
    pub success_threshold: u32,
    /// Open until half-open.
    pub timeout_ms: u32,
    /// The same while no other upstream of the pool is usable; 0 = no such difference.
    pub last_resort_ms: u32,
    /// Trial requests at a time.
    pub half_open_requests: u32,
    /// Count as failures.
    pub failure_statuses: Statuses,
}

/// Active health.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// What is asked for, with GET.
    pub path: String,
    /// Between two checks of one upstream.
    pub interval_ms: u32,
    /// Of one check, connect included.
    pub timeout_ms: u32,
    /// Failures in a row until it is down.
    pub failure_threshold: u32,
    /// Successes in a row until it is up.
    pub success_threshold: u32,
    /// First and last good status.
    pub expected_status: (u16, u16),
}

/// How many requests are taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    /// How they are counted.
    pub algorithm: RateAlgorithm,
    /// Of all clients together.
    pub global: Option<Rate>,
    /// Of each client.
    pub per_client: Option<Rate>,
    /// What is over it is counted, and let through.
    pub dry_run: bool,
    /// Whether this section says something about `global` itself, or inherits it, and with it what was counted so far.
    pub owns_global: bool,
    /// The same of `per_client`.
    pub owns_per_client: bool,
}

/// `rate_limit.algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum RateAlgorithm {
    TokenBucket,
    SlidingWindow,
}

/// So many.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// In the long run, or in any second.
    pub requests_per_second: u32,
    /// At once, of a token bucket.
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
    /// What is no status is passed over.
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

/// How much is taken; `keys.rs` says what each is.
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
    /// Of diagnostics.
    pub level: log::LevelFilter,
    /// `None` turns it off.
    pub access_log: Option<Target>,
    /// Diagnostics.
    pub error_log: Target,
    /// How a line of the access log looks.
    pub access_format: AccessFormat,
    /// Size at which a file is rotated, and how many old ones are kept; `None` leaves that to others.
    pub rotate: Option<Rotate>,
}

/// Where lines go. Paths are already joined with `logging.dir`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Target {
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
pub struct Rotate {
    pub max_bytes: u64,
    pub keep: u32,
}

/// Whose error answers with a status of 5xx say more than the reason.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorDetail {
    /// Those to clients on this machine whose request was not forwarded.
    Auto,
    /// All.
    Always,
    /// None.
    Never,
}

/// What SIGTERM and SIGINT do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// Everything is served as before for so long.
    pub delay_ms: u32,
    /// After that; 0 = cut at once.
    pub grace_ms: u32,
    /// What becomes of new requests in it.
    pub new_requests: NewRequests,
}

/// `shutdown.new_requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewRequests {
    /// Those on connections that come now get 503.
    Reject,
    /// Accept queues are emptied and listeners close.
    Refuse,
}
