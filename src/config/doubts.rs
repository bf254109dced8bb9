//! Warnings about configurations that are valid, but probably not intended.

use super::model::{Action, Config, ListenerConfig, Origin, PoolConfig, Route, UpstreamConfig};
use super::report::Report;
use super::tree::Node;
use crate::base::address::Address;
use std::net::IpAddr;

/// Reports everything in a whole configuration that deserves a second look.
pub fn of(config: &Config, root: &Node, report: &mut Report) {
    if config.pools.iter().all(|pool| pool.upstreams.is_empty()) && config.routes.is_empty() {
        report.warn(root, "neither upstreams nor routes: every request is answered 404");
    }
    if let Some(node) = root.get("metrics_listen").filter(|_| config.metrics_listen.is_some_and(|admin| admin.ip().is_unspecified())) {
        report.warn(node, "everybody who reaches this machine can read the admin port; 127.0.0.1 or a private address keeps it closed");
    }
    // The sections as written, in the order of the pools: the top level for the default pool, then those under `pools`.
    let written = [root].into_iter().chain(root.get("pools").map(Node::entries).unwrap_or_default().iter().map(|entry| &entry.node));
    for (index, node) in written.enumerate() {
        timeouts(node, report);
        statuses(node, report);
        let Some(pool) = config.pools.get(index).filter(|pool| node.has("upstreams") && !pool.upstreams.is_empty()) else { continue };
        weights(pool, node, report);
        loops(config, index, node, report);
        check_ports(pool, node, report);
    }
    for node in root.get("routes").map(Node::items).unwrap_or_default() {
        timeouts(node, report);
        statuses(node, report);
    }
}

/// Only where both are written in one section: a single one was not compared with the other.
fn timeouts(owner: &Node, report: &mut Report) {
    let Some(section) = owner.get("timeouts") else { return };
    let is_written = |key| section.get(key).filter(|node| node.place != super::tree::Location::Nowhere);
    for key in ["read_ms", "attempt_ms"] {
        let (Some(part), Some(total)) = (is_written(key), is_written("total_ms")) else { continue };
        if let (Some(part_ms), Some(total_ms)) = (part.int::<u32>(), total.int::<u32>())
            && total_ms > 0
            && total_ms < part_ms
        {
            report.warn(part, format!("never comes: total_ms ends the exchange after {total_ms} ms"));
        }
    }
}

fn statuses(owner: &Node, report: &mut Report) {
    let listed = owner.get("retry").and_then(|retry| retry.get("statuses")).map(Node::items).unwrap_or_default();
    if let Some(node) = listed.iter().find(|node| node.int::<u16>().is_some_and(|status| (200..300).contains(&status))) {
        report.warn(node, "a success would be thrown away and asked for again");
    }
}

fn weights(pool: &PoolConfig, node: &Node, report: &mut Report) {
    if pool.upstreams.iter().all(|upstream| upstream.weight == 0)
        && let Some(list) = node.get("upstreams")
    {
        report.warn(list, "every weight is 0: no upstream gets requests");
    }
}

/// Checked upstreams behind Unix sockets, to which `health_check.port` cannot apply.
fn check_ports(pool: &PoolConfig, node: &Node, report: &mut Report) {
    let items = node.get("upstreams").map(Node::items).unwrap_or_default();
    if pool.health_check.as_ref().is_none_or(|check| check.port.is_none()) || items.len() != pool.upstreams.len() {
        return;
    }
    let is_on_a_socket = |upstream: &UpstreamConfig| upstream.is_checked && matches!(upstream.origin, Origin::Unix(_));
    for (_, item) in pool.upstreams.iter().zip(items).filter(|(upstream, _)| is_on_a_socket(upstream)) {
        report.warn(item, "a Unix socket has no ports: health_check.port does not apply, and the socket itself is checked");
    }
}

/// Upstreams that are listeners of this proxy, whose requests come back to the same pool.
fn loops(config: &Config, pool: usize, node: &Node, report: &mut Report) {
    let items = node.get("upstreams").map(Node::items).unwrap_or_default();
    if items.len() != config.pools[pool].upstreams.len() {
        return;
    }
    for (upstream, item) in config.pools[pool].upstreams.iter().zip(items) {
        let listener = config.listeners.iter().find(|listener| is_at(listener, upstream));
        if listener.is_some_and(|listener| leads_back(config, listener.address.port(), pool)) {
            report
                .warn(item, format!("{} is an address of listen: requests go round until Via has named tidegate ten times", upstream.name));
        }
    }
}

fn is_at(listener: &ListenerConfig, upstream: &UpstreamConfig) -> bool {
    let (own, host, port) = match (&listener.address, &upstream.origin) {
        (Address::Unix(own), Origin::Unix(path)) => return own == path,
        (Address::Ip(own), Origin::Tcp { host, port, .. }) => (own, host, *port),
        _ => return false,
    };
    let host = match host.parse::<IpAddr>() {
        Ok(ip) => ip,
        Err(_) if host.eq_ignore_ascii_case("localhost") => IpAddr::from([127, 0, 0, 1]),
        Err(_) => return false,
    };
    own.port() == port && (own.ip() == host || (own.ip().is_unspecified() && host.is_loopback()))
}

/// Whether requests to that port may be forwarded to that pool.
fn leads_back(config: &Config, port: Option<u16>, pool: usize) -> bool {
    let takes_port = |route: &&Route| route.matcher.port.is_none_or(|wanted| port == Some(wanted));
    for route in config.routes.iter().filter(takes_port) {
        if matches!(route.action, Action::Proxy { pool: other } if other == pool) {
            return true;
        }
        let matcher = &route.matcher;
        let takes_all = matcher.host.is_none() && matcher.path.is_none() && matcher.methods.is_empty();
        if takes_all && matcher.path_prefix.as_deref().is_none_or(|prefix| prefix == "/") {
            return false;
        }
    }
    pool == 0
}
