//! From a tree that conforms to the schema, with its defaults, to the [`Config`]. What remains to be checked here is how keys fit
//! together. Values that were refused before are skipped without a message, and the result is then discarded.

use ipnet::IpNet;
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, SocketAddr};
use std::path::{Path, PathBuf};

use super::address;
use super::doubts;
use super::guards;
use super::model::{
    AccessFormat, BalanceConfig, Config, ErrorDetail, Limits, ListenerConfig, LogTarget, Logging, NewRequests, Origin, Peers, PoolConfig,
    RotateConfig, Shutdown, Timeouts, UpstreamConfig,
};
use super::report::Report;
use super::routes;
use super::tree::{Node, Value};
use super::values::{int, text, timeouts};
use crate::base::address::Address;

/// Of a Unix socket's file: who is in its group may connect.
const DEFAULT_MODE: u32 = 0o660;

/// Converts the whole tree.
pub fn mean(root: &Node, report: &mut Report) -> Config {
    let timeouts = timeouts(&[root.get("timeouts")]);
    let listeners = listeners(root, report);
    let metrics_listen = root.get("metrics_listen").and_then(|node| bind_address(node, report));
    if let (Some(admin), Some(node)) = (metrics_listen, root.get("metrics_listen"))
        && admin.port() != 0
        && listeners.iter().any(|listener| overlap(&listener.address, admin))
    {
        report.error(node, format!("{admin} is one of the addresses in listen, give it another port"));
    }
    let pools = pools(root, &timeouts, report);
    let rate_limit = guards::rate_limit(&[Some(root)], report);
    let routes = routes::mean(root, &pools, &listeners, rate_limit.as_ref(), report);
    let nothing = Node::new(Value::Null, super::tree::Location::Nowhere, super::tree::Path::default());
    let section = |name| root.get(name).unwrap_or(&nothing);
    let config = Config {
        workers: workers(root),
        pid_file: path(root, "pid_file"),
        watch: root.get("watch").is_some_and(|node| matches!(node.value, Value::Bool(true))),
        limits: limits(section("limits")),
        resolve_ms: int(root, "resolve_ms"),
        rate_limit,
        trusted_proxies: trusted_proxies(section("headers")),
        via: section("headers").get("via").is_none_or(|node| matches!(node.value, Value::Bool(true))),
        error_detail: match text(root, "error_detail") {
            "always" => ErrorDetail::Always,
            "never" => ErrorDetail::Never,
            _ => ErrorDetail::Auto,
        },
        logging: logging(section("logging")),
        shutdown: Shutdown {
            delay_ms: int(section("shutdown"), "delay_ms"),
            grace_ms: int(section("shutdown"), "grace_ms"),
            new_requests: match text(section("shutdown"), "new_requests") {
                "reject" => NewRequests::Reject,
                _ => NewRequests::Refuse,
            },
        },
        listeners,
        metrics_listen,
        pools,
        routes,
        timeouts,
    };
    guards::check_health_check(root.get("health_check"), report);
    doubts::of(&config, root, report);
    config
}

fn path(section: &Node, key: &str) -> Option<PathBuf> {
    section.get(key).and_then(Node::text).map(PathBuf::from)
}

fn workers(root: &Node) -> usize {
    let auto = || std::thread::available_parallelism().map_or(1, usize::from);
    root.get("workers").and_then(Node::int).unwrap_or_else(auto)
}

fn listeners(root: &Node, report: &mut Report) -> Vec<ListenerConfig> {
    let Some(listen) = root.get("listen").filter(|listen| !listen.is_invalid()) else { return Vec::new() };
    let items = if let Value::List(items) = &listen.value { items } else { std::slice::from_ref(listen) };
    if items.is_empty() {
        report.error(listen, "must not be empty, give at least one address such as \"127.0.0.1:8080\"");
    }
    let mut listeners = Vec::with_capacity(items.len());
    let mut seen = HashSet::new();
    for item in items {
        let address = match item.value {
            Value::Map(_) if !item.has("address") => {
                if !item.has_invalid() {
                    report.error(item, "a listener needs an address, such as {address: \"127.0.0.1:8080\"}");
                }
                continue;
            }
            Value::Map(_) => item.get("address").and_then(|node| listen_address(node, report)),
            _ => listen_address(item, report),
        };
        let Some(address) = address else { continue };
        if !address.is_any_port() && !seen.insert(address.clone()) {
            report.error(item, format!("{address} is given twice"));
        }
        let given = item.get("mode").filter(|node| !node.is_invalid());
        if let (Some(node), Address::Ip(_)) = (given, &address) {
            report.warn(node, "has no effect: only the file of a Unix socket has a mode");
        }
        let mode = given.and_then(Node::text).and_then(|text| u32::from_str_radix(text, 8).ok()).unwrap_or(DEFAULT_MODE);
        listeners.push(ListenerConfig { address, mode });
    }
    listeners
}

/// Whether the two addresses cannot both be bound: one of them may be every interface.
fn overlap(a: &Address, b: SocketAddr) -> bool {
    let Address::Ip(a) = a else { return false };
    let is_any = a.ip().is_unspecified() || b.ip().is_unspecified();
    a.port() == b.port() && (a.ip() == b.ip() || (is_any && a.is_ipv4() == b.is_ipv4()))
}

fn listen_address(node: &Node, report: &mut Report) -> Option<Address> {
    match node.text()? {
        text if address::is_unix(text) => address::unix_path(text).ok().map(|path| Address::Unix(path.into())),
        _ => bind_address(node, report).map(Address::Ip),
    }
}

fn bind_address(node: &Node, report: &mut Report) -> Option<SocketAddr> {
    let (host, port) = address::listen(node.text()?).ok()?;
    address::resolve(&host, port).map_err(|why| report.error(node, why)).ok()
}

fn pools(root: &Node, global: &Timeouts, report: &mut Report) -> Vec<PoolConfig> {
    let inherited = balance(root.get("balance"), None);
    let mut pools = vec![PoolConfig {
        name: "default".into(),
        upstreams: upstreams(root.get("upstreams"), report),
        balance: inherited.clone(),
        slow_start_ms: int(root, "slow_start_ms"),
        timeouts: global.clone(),
        retry: guards::retry(&[Some(root)]),
        breaker: guards::breaker(&[Some(root)]),
        health_check: guards::health_check(&[Some(root)]),
    }];
    for entry in root.get("pools").map(Node::entries).unwrap_or_default() {
        let pool = &entry.node;
        if entry.key == "default" {
            report.error_at(&entry.place, &pool.path, "the pool named default is the one under upstreams, at the top level");
            continue;
        }
        let upstreams = upstreams(pool.get("upstreams"), report);
        if upstreams.is_empty() && !pool.is_invalid() && !pool.get("upstreams").is_some_and(Node::is_invalid) {
            report.warn_at(&entry.place, &pool.path, "has no upstreams: every request for it is answered 503");
        }
        guards::check_health_check(pool.get("health_check"), report);
        let owners = [Some(root), Some(pool)];
        pools.push(PoolConfig {
            name: entry.key.clone(),
            upstreams,
            balance: balance(pool.get("balance"), Some(&inherited)),
            slow_start_ms: pool.get("slow_start_ms").and_then(Node::int).unwrap_or_else(|| int(root, "slow_start_ms")),
            timeouts: timeouts(&[root.get("timeouts"), pool.get("timeouts")]),
            retry: guards::retry(&owners),
            breaker: guards::breaker(&owners),
            health_check: guards::health_check(&owners),
        });
    }
    pools
}

fn balance(node: Option<&Node>, inherited: Option<&BalanceConfig>) -> BalanceConfig {
    let default = || inherited.cloned().unwrap_or(BalanceConfig::RoundRobin);
    let Some(node) = node else { return default() };
    if let Some(hash) = node.get("consistent_hash") {
        return BalanceConfig::ConsistentHash { header: hash.get("header").and_then(Node::text).map(str::to_owned) };
    }
    match node.text() {
        Some("round_robin") => BalanceConfig::RoundRobin,
        Some("random") => BalanceConfig::Random,
        Some("weighted") => BalanceConfig::Weighted,
        Some("least_connections") => BalanceConfig::LeastConnections,
        Some("consistent_hash") => BalanceConfig::ConsistentHash { header: None },
        Some("adaptive") => BalanceConfig::Adaptive,
        _ => default(),
    }
}

fn upstreams(list: Option<&Node>, report: &mut Report) -> Vec<UpstreamConfig> {
    let mut names: HashMap<String, &Node> = HashMap::new();
    let mut upstreams = Vec::new();
    for item in list.map(Node::items).unwrap_or_default() {
        let upstream = upstream(item, report);
        let given = item.get("name").and_then(Node::text);
        if let Some(name) = given.or(upstream.as_ref().map(|upstream| upstream.name.as_str())) {
            if let Some(first) = names.get(name) {
                let remedy = if given.is_some() { "give it another" } else { "give it a name of its own" };
                let at = item.get("name").unwrap_or(item);
                report.error(at, format!("\"{}\" is the name of {} already, {remedy}", super::tree::ShownText(name), first.path));
            } else {
                names.insert(name.to_owned(), item);
            }
        }
        upstreams.extend(upstream);
    }
    upstreams
}

fn upstream(item: &Node, report: &mut Report) -> Option<UpstreamConfig> {
    if !matches!(item.value, Value::Map(_)) {
        return None;
    }
    let (host, port, url) = (item.get("host"), item.get("port"), item.get("url"));
    let origin = match (host, port, url) {
        (Some(other), _, Some(_)) | (None, Some(other), Some(_)) => {
            report.error(other, "either url, or host and port, not both");
            return None;
        }
        (None, _, None) | (Some(_), None, None) if item.has_invalid() => return None,
        (None, None, None) => {
            report.error(item, "an upstream needs host and port, or url");
            return None;
        }
        (Some(_), None, None) => {
            report.error(item, "an upstream with a host needs a port");
            return None;
        }
        (None, Some(_), None) => {
            report.error(item, "an upstream with a port needs a host");
            return None;
        }
        (_, _, Some(url)) => {
            let origin = address::url(url.text()?).ok()?;
            if matches!(origin, Origin::Tcp { tls: true, .. }) {
                report.error(url, "TLS to upstreams is not built yet, and this one would be spoken to in plain HTTP");
            }
            origin
        }
        (Some(host), Some(port), None) => {
            let host = host.text()?.trim_matches(['[', ']']);
            Origin::tcp(host, port.int()?)
        }
    };
    let name = item.get("name").and_then(Node::text).map_or_else(|| origin.to_string(), str::to_owned);
    let weight = item.get("weight").map_or(Some(1), Node::int)?;
    let is_checked = item.get("health_check_enabled").is_none_or(|node| matches!(node.value, Value::Bool(true)));
    Some(UpstreamConfig { name, origin, weight, is_checked })
}

/// A plain address means that address alone; the schema has checked that each is an address, a CIDR or `unix`.
fn trusted_proxies(section: &Node) -> Peers {
    let items = section.get("trusted_proxies").map(Node::items).unwrap_or_default();
    let network = |text: &str| text.parse().ok().or_else(|| text.parse::<IpAddr>().ok().map(IpNet::from));
    Peers {
        networks: items.iter().filter_map(|item| network(item.text()?).map(canonical)).collect(),
        unix: items.iter().any(|item| item.text() == Some("unix")),
    }
}

/// Turns IPv4 addresses that are written as IPv6 into IPv4, because peers are compared in that form.
fn canonical(net: IpNet) -> IpNet {
    let shorter = net.prefix_len().checked_sub(96).filter(|_| net.addr().is_ipv6());
    shorter.and_then(|bits| IpNet::new(net.addr().to_canonical(), bits).ok()).filter(|net| net.addr().is_ipv4()).unwrap_or(net)
}

fn limits(section: &Node) -> Limits {
    Limits {
        max_client_conns: int(section, "max_client_conns"),
        max_conns_per_upstream: int(section, "max_conns_per_upstream"),
        max_tunnels_per_upstream: int(section, "max_tunnels_per_upstream"),
        max_conns_per_client: int(section, "max_conns_per_client"),
        max_request_line: int(section, "max_request_line"),
        max_header_size: int(section, "max_header_size"),
        max_headers: int(section, "max_headers"),
        max_total_headers: int(section, "max_total_headers"),
        max_body_size: int(section, "max_body_size"),
        buffer_size: int(section, "buffer_size"),
        upstream_idle_conns: int(section, "upstream_idle_conns"),
    }
}

fn logging(section: &Node) -> Logging {
    let dir = path(section, "dir").unwrap_or_default();
    let target = |key| match section.get(key).and_then(Node::text) {
        None => None,
        Some("-") => Some(LogTarget::Standard),
        Some(file) => Some(LogTarget::File(Path::new(&dir).join(file))),
    };
    Logging {
        level: match text(section, "level") {
            "warning" => log::LevelFilter::Warn,
            level => level.parse().unwrap_or(log::LevelFilter::Info),
        },
        access_log: target("access_log"),
        error_log: target("error_log").unwrap_or(LogTarget::Standard),
        access_format: match text(section, "access_format") {
            "combined" => AccessFormat::Combined,
            "json" => AccessFormat::Json,
            _ => AccessFormat::Text,
        },
        rotate: section.get("rotate").map(|rotate| RotateConfig { max_bytes: int(rotate, "max_bytes"), keep: int(rotate, "keep") }),
    }
}
