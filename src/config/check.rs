//! From a tree that conforms to the schema, with its defaults, to the [`Config`]. What remains to be checked here is how keys fit
//! together. Values that were refused before are skipped without a message, and the result is then discarded.

use ipnet::IpNet;
use std::net::IpAddr;
use std::path::{Path, PathBuf};

use super::listeners::bind_address;
use super::model::{AccessFormat, Config, ErrorDetail, Limits, LogTarget, Logging, NewRequests, Peers, RotateConfig, Shutdown};
use super::report::Report;
use super::tree::{Node, Value};
use super::values::{int, text, timeouts};
use super::{doubts, guards, listeners, pools, routes};

/// Converts the whole tree.
pub fn read(root: &Node, report: &mut Report) -> Config {
    let timeouts = timeouts(&[root.get("timeouts")]);
    let listeners = listeners::read(root, report);
    let metrics_listen = root.get("metrics_listen").and_then(|node| bind_address(node, report));
    if let (Some(admin), Some(node)) = (metrics_listen, root.get("metrics_listen"))
        && admin.port() != 0
        && listeners.iter().any(|listener| listeners::overlap(&listener.address, admin))
    {
        report.error(node, format!("{admin} is one of the addresses in listen, give it another port"));
    }
    let pools = pools::read(root, &timeouts, report);
    let rate_limit = guards::rate_limit(&[Some(root)], report);
    let routes = routes::read(root, &pools, &listeners, rate_limit.as_ref(), report);
    let nothing = Node::new(Value::Null, super::tree::Location::Nowhere, super::tree::Path::default());
    let section = |name| root.get(name).unwrap_or(&nothing);
    let config = Config {
        workers: workers(root),
        pid_file: path(root, "pid_file"),
        watch: root.get("watch").is_some_and(|node| matches!(node.value, Value::Bool(true))),
        limits: limits(section("limits")),
        resolve_ms: int(root, "resolve_ms"),
        resolver: root.get("resolver").and_then(Node::text).map(str::to_owned),
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
        max_conns_per_client: int(section, "max_conns_per_client"),
        max_request_line: int(section, "max_request_line"),
        max_header_size: int(section, "max_header_size"),
        max_headers: int(section, "max_headers"),
        max_total_headers: int(section, "max_total_headers"),
        max_body_size: int(section, "max_body_size"),
        buffer_size: int(section, "buffer_size"),
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
