//! Converts listening addresses.

use super::model::ListenerConfig;
use super::report::Report;
use super::tree::{Node, Value};
use super::{address, listener_tls};
use crate::base::address::Address;
use std::collections::HashSet;
use std::net::SocketAddr;

/// Of a Unix socket's file: who is in its group may connect.
const DEFAULT_MODE: u32 = 0o660;

/// The addresses for clients.
pub fn read(root: &Node, report: &mut Report) -> Vec<ListenerConfig> {
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
        let proxy_protocol = item.get("proxy_protocol").is_some_and(|node| matches!(node.value, Value::Bool(true)));
        let tls = item.get("tls").filter(|node| matches!(node.value, Value::Map(_))).and_then(|node| listener_tls::read(node, report));
        listeners.push(ListenerConfig { address, mode, proxy_protocol, tls });
    }
    listeners
}

/// Whether the two addresses cannot both be bound: one of them may be every interface.
pub fn overlap(a: &Address, b: SocketAddr) -> bool {
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

/// The address to bind of a `host:port`.
pub fn bind_address(node: &Node, report: &mut Report) -> Option<SocketAddr> {
    let (host, port) = address::listen(node.text()?).ok()?;
    address::resolve(&host, port).map_err(|why| report.error(node, why)).ok()
}
