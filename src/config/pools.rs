//! Converts pools and the upstreams in them.

use super::address;
use super::guards;
use super::model::{BalanceConfig, Origin, PoolConfig, Timeouts, UpstreamConfig};
use super::report::Report;
use super::tree::{Node, ShownText, Value};
use super::upstream_tls::TlsReader;
use super::values::{int, limits, timeouts};
use crate::base::proxy_header::ProxyVersion;
use crate::tls::client::server_name;
use std::collections::HashMap;

/// All pools, the default pool first.
pub fn read(root: &Node, global: &Timeouts, report: &mut Report) -> Vec<PoolConfig> {
    let inherited = balance(root.get("balance"), None);
    let mut tls = TlsReader::default();
    let mut pools = vec![PoolConfig {
        name: "default".into(),
        upstreams: upstreams(root.get("upstreams"), report),
        balance: inherited.clone(),
        slow_start_ms: int(root, "slow_start_ms"),
        timeouts: global.clone(),
        limits: limits(&[root.get("limits")]),
        retry: guards::retry(&[Some(root)]),
        breaker: guards::breaker(&[Some(root)]),
        health_check: guards::health_check(&[Some(root)], report),
        sticky: guards::sticky(&[Some(root)], report),
        tls: tls.read(&[Some(root)], report),
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
            limits: limits(&[root.get("limits"), pool.get("limits")]),
            retry: guards::retry(&owners),
            breaker: guards::breaker(&owners),
            health_check: guards::health_check(&owners, report),
            sticky: guards::sticky(&owners, report),
            tls: tls.read(&owners, report),
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
                report.error(at, format!("\"{}\" is the name of {} already, {remedy}", ShownText(name), first.path));
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
            if let Origin::Tcp { host, tls: true, .. } = &origin
                && server_name(host).is_none()
            {
                report.error(url, format!("\"{}\" is no name that a certificate can have", ShownText(host)));
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
    let is_backup = item.get("backup").is_some_and(|node| matches!(node.value, Value::Bool(true)));
    let send_proxy =
        item.get("send_proxy").and_then(Node::text).map(|version| if version == "v1" { ProxyVersion::V1 } else { ProxyVersion::V2 });
    Some(UpstreamConfig { name, origin, weight, is_checked, is_backup, send_proxy })
}
