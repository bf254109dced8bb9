//! Values of a section in a tree that conforms to the schema, with its defaults.

use super::model::{PoolLimits, Timeouts};
use super::tree::Node;

/// Timeouts from several layers, where later ones take precedence, key by key.
pub fn timeouts(layers: &[Option<&Node>]) -> Timeouts {
    let of = |key: &str| layers.iter().rev().find_map(|layer| layer.as_ref()?.get(key)?.int()).unwrap_or_default();
    Timeouts {
        attempt_ms: of("attempt_ms"),
        connect_ms: of("connect_ms"),
        read_ms: of("read_ms"),
        write_ms: of("write_ms"),
        total_ms: of("total_ms"),
        client_request_line_ms: of("client_request_line_ms"),
        client_header_ms: of("client_header_ms"),
        client_body_ms: of("client_body_ms"),
        client_write_ms: of("client_write_ms"),
        client_half_close_ms: of("client_half_close_ms"),
        client_keepalive_ms: of("client_keepalive_ms"),
        upstream_keepalive_ms: of("upstream_keepalive_ms"),
        queue_ms: of("queue_ms"),
        tunnel_idle_ms: of("tunnel_idle_ms"),
    }
}

/// The limits of a pool's servers, likewise.
pub fn limits(layers: &[Option<&Node>]) -> PoolLimits {
    let of = |key: &str| layers.iter().rev().find_map(|layer| layer.as_ref()?.get(key)?.int()).unwrap_or_default();
    PoolLimits {
        max_conns_per_upstream: of("max_conns_per_upstream"),
        max_tunnels_per_upstream: of("max_tunnels_per_upstream"),
        upstream_idle_conns: of("upstream_idle_conns"),
    }
}

/// The number under `key`; 0 if it is missing, which happens only in a tree with problems.
pub fn int<T: TryFrom<i128> + Default>(section: &Node, key: &str) -> T {
    section.get(key).and_then(Node::int).unwrap_or_default()
}

/// The text under `key`, or "".
pub fn text<'a>(section: &'a Node, key: &str) -> &'a str {
    section.get(key).and_then(Node::text).unwrap_or_default()
}
