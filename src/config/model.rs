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
    /// `pools[0]` is the pool named "default", which may be empty.
    pub pools: Vec<Pool>,
    /// In order: the first that matches wins.
    pub routes: Vec<Route>,
    /// The global ones; client-side timeouts always come from here until a route is known.
    pub timeouts: Timeouts,
    /// The global ones.
    pub limits: Limits,
    /// Whose `X-Forwarded-*`, `Forwarded` and `X-Trace-ID` are kept.
    pub trusted_proxies: Vec<IpNet>,
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
    /// Global timeouts with this pool's own laid over them, key by key.
    pub timeouts: Timeouts,
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
    /// 0 = no limit.
    pub max_body_size: u64,
}

/// What a request must have for a route to take it; `None` and empty mean "any".
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Matcher {
    /// Lower case; `*.example.com` stands for any name under it.
    pub host: Option<String>,
    /// The path exactly.
    pub path: Option<String>,
    /// `/api` takes `/api`, `/api/…`, `/api?…`, not `/apix`.
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

/// See the contract, section 2. All in milliseconds; 0 = no limit, but for `queue_ms` (0 = do not wait) and the
/// `*_keepalive_ms` (0 = do not keep).
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Timeouts {
    pub connect_ms: u32,
    pub read_ms: u32,
    pub write_ms: u32,
    pub total_ms: u32,
    pub client_request_line_ms: u32,
    pub client_header_ms: u32,
    pub client_body_ms: u32,
    pub client_write_ms: u32,
    pub client_keepalive_ms: u32,
    pub upstream_keepalive_ms: u32,
    pub queue_ms: u32,
    pub tunnel_idle_ms: u32,
}

/// See the contract, section 2.
#[derive(Clone, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub struct Limits {
    pub max_client_conns: usize,
    pub max_conns_per_upstream: usize,
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
    /// Size at which a file is rotated, and how many old ones are kept.
    pub rotate: Rotate,
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

/// What SIGTERM and SIGINT do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shutdown {
    /// 0 = cut at once.
    pub grace_ms: u32,
    /// What becomes of new requests meanwhile.
    pub new_requests: NewRequests,
}

/// `shutdown.new_requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NewRequests {
    /// 503 while draining.
    Reject,
    /// Accept queues are emptied and listeners close.
    Refuse,
}
