//! Pools, and the upstreams in them.

use super::guards::{Breaker, HealthCheck, Retry};
use super::timeouts::Timeouts;
use crate::base::address::Address;
use crate::base::proxy_header::ProxyVersion;
use crate::tls::client::ClientTls;
use std::fmt;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::sync::Arc;

/// Upstreams that requests are balanced over. Timeouts and guards are, key by key, the pool's or the global ones.
#[derive(Clone, Debug, PartialEq)]
pub struct PoolConfig {
    /// The `pool` label of metrics.
    pub name: String,
    pub upstreams: Vec<UpstreamConfig>,
    pub balance: BalanceConfig,
    /// The time over which a recovered upstream's share rises; 0 = at once.
    pub slow_start_ms: u32,
    pub timeouts: Timeouts,
    pub limits: PoolLimits,
    pub retry: Retry,
    pub breaker: Breaker,
    /// `None` is off.
    pub health_check: Option<HealthCheck>,
    /// `None` is off.
    pub sticky: Option<StickyConfig>,
    /// For those of its upstreams that speak TLS; `None` if there are none.
    pub tls: Option<Arc<ClientTls>>,
}

/// Limits for each server of a pool.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PoolLimits {
    /// Open connections, idle ones included.
    pub max_conns_per_upstream: usize,
    /// Upgraded connections, which are counted separately.
    pub max_tunnels_per_upstream: usize,
    /// Idle connections of each worker.
    pub upstream_idle_conns: usize,
}

/// A cookie that leads a client back to the server that answered it.
#[derive(Clone, PartialEq, Eq)]
pub struct StickyConfig {
    /// The cookie's name.
    pub cookie: String,
    /// How long browsers keep it; 0 = until they are closed.
    pub max_age_ms: u32,
    pub secure: SecureCookie,
    pub same_site: SameSite,
    /// A secret that several processes share; `None` is one of this process.
    pub key: Option<String>,
}

/// The key is not shown.
impl fmt::Debug for StickyConfig {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StickyConfig").field("cookie", &self.cookie).finish_non_exhaustive()
    }
}

/// When a cookie has the attribute `Secure`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SecureCookie {
    /// For clients that come by TLS.
    Auto,
    Always,
    Never,
}

/// The attribute `SameSite` of a cookie.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SameSite {
    Lax,
    Strict,
    None,
}

/// One server of a pool.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UpstreamConfig {
    /// The `upstream` label of metrics; unique in its pool.
    pub name: String,
    pub origin: Origin,
    /// 0 to 1000; 0 = no new requests.
    pub weight: u32,
    /// Whether the pool's `health_check` applies to it.
    pub is_checked: bool,
    /// Whether it gets requests only while no other of the pool is usable.
    pub is_backup: bool,
    /// In which version each connection to it begins with a header of the PROXY protocol.
    pub send_proxy: Option<ProxyVersion>,
}

/// What stands before the name of SRV records.
pub const SRV: &str = "srv:";

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
    /// Wherever SRV records lead: [`SRV`] and their name.
    Srv(String),
    /// At a Unix socket of this machine, by the path of its file.
    Unix(Arc<Path>),
}

impl Origin {
    /// In plain HTTP.
    pub fn tcp(host: &str, port: u16) -> Self {
        Self::Tcp { host: host.into(), port, tls: false }
    }

    /// Whether TLS is spoken there.
    pub fn is_tls(&self) -> bool {
        matches!(self, Self::Tcp { tls: true, .. })
    }

    /// The name that has to be looked up.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Tcp { host, .. } => host.parse::<IpAddr>().is_err().then_some(host),
            Self::Srv(name) => Some(name),
            Self::Unix(_) => None,
        }
    }

    /// The domain that SRV records are of, without the service and protocol; a host name as it is, and nothing for a socket.
    pub fn domain(&self) -> &str {
        let mut rest = self.name().map_or("", |name| name.strip_prefix(SRV).unwrap_or(name));
        while let Some((_, parent)) = rest.split_once('.').filter(|(label, _)| label.starts_with('_')) {
            rest = parent;
        }
        rest
    }

    /// The only address that there is, where it is given as one.
    pub fn address(&self) -> Option<Address> {
        match self {
            Self::Tcp { host, port, .. } => host.parse().ok().map(|ip| SocketAddr::new(ip, *port).into()),
            Self::Srv(_) => None,
            Self::Unix(path) => Some(Address::Unix(path.clone())),
        }
    }
}

/// `host:port`, `[::1]:port`, `srv:name`, `unix:/path`
impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp { host, port, .. } if host.contains(':') => write!(f, "[{host}]:{port}"),
            Self::Tcp { host, port, .. } => write!(f, "{host}:{port}"),
            Self::Srv(name) => f.write_str(name),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

/// Balancing algorithms.
#[derive(Clone, Debug, PartialEq, Eq)]
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
