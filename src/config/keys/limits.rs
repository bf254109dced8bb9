//! Time limits, and limits of connections and sizes.

use super::kinds::{BYTES_OR_0, COUNT, COUNT_OR_0, HEAD, MS};
use crate::config::schema::{Key, Kind, key};
use crate::config::units::Unit;

pub(super) static TIMEOUTS: &[Key] = &[
    key("connect_ms", MS, "To connect to the upstream, all its addresses together; otherwise 504.").default("5000"),
    key("read_ms", MS, "The longest silence of the upstream; after it 504.").default("60000"),
    key("write_ms", MS, "The longest time in which the upstream takes no bytes; after it 504.").default("60000"),
    key("total_ms", MS, "From the complete request head to the last byte of the response; after it 504, or the connection is cut.")
        .default("0"),
    key("attempt_ms", MS, "For one attempt at an upstream, up to the head of its answer; after it the same happens as after `read_ms`.")
        .default("0"),
    key("client_request_line_ms", MS, "From the first byte to the end of the request line; after it 408.").default("5000"),
    key(
        "client_header_ms",
        MS,
        "To the end of the request head, from its first byte, or from the accept for the first request; after it 408.",
    )
    .default("10000"),
    key("client_body_ms", MS, "The longest silence of the client within a body; after it 408.").default("30000"),
    key("client_write_ms", MS, "The longest time in which the client takes no bytes; after it the connection is cut.").default("15000"),
    key(
        "client_half_close_ms",
        MS,
        "How long a client that has closed its sending side may wait for its answer to begin; after it, it counts as gone.",
    )
    .default("1000"),
    key("client_keepalive_ms", MS, "When an idle client connection is closed; 0 = connections are not kept.").default("75000"),
    key("upstream_keepalive_ms", MS, "When an idle upstream connection is closed; 0 = connections are not kept.").default("60000"),
    key("queue_ms", MS, "The longest wait for a place at an upstream; after it 503. 0 = do not wait.").default("5000"),
    key("tunnel_idle_ms", MS, "When an upgraded connection (WebSocket) without any bytes is closed.").default("300000"),
];

pub(super) static LIMITS: &[Key] = &[
    key("max_client_conns", COUNT, "Open client connections of each listening address.").default("10000"),
    key("max_conns_per_upstream", COUNT, "Open connections to one upstream, idle ones included; further requests wait.").default("1000"),
    key("max_tunnels_per_upstream", COUNT, "Upgraded connections (WebSockets) to one upstream, counted separately; further ones get 503.")
        .default("1000"),
    key("max_streams_per_upstream", COUNT, "Requests in progress on HTTP/2 connections to one upstream.").default("1000").no_effect_yet(),
    key("max_streams_per_connection", COUNT, "Requests in progress on one HTTP/2 client connection.").default("100").no_effect_yet(),
    key("max_conns_per_client", COUNT_OR_0, "Open connections of one client; further ones get 429. 0 = no limit.").default("0"),
    key("max_request_line", HEAD, "Length of the request line; a longer one gets 414.").default("8192"),
    key("max_header_size", HEAD, "Length of one field line; a longer one gets 431.").default("16384"),
    key("max_headers", Kind::Int { min: 1, max: 1024 }, "Number of field lines; more get 431.").default("100"),
    key("max_total_headers", HEAD, "Length of the whole head; a longer one gets 431.").default("65536"),
    MAX_BODY_SIZE.default("0"),
    key(
        "buffer_size",
        Kind::Amount { unit: Unit::Bytes, min: 4096, max: 16_777_216 },
        "The buffer for one direction of an exchange. Content that fits it can be sent again in a retry.",
    )
    .default("16384"),
    key("upstream_idle_conns", COUNT, "Idle connections that each worker keeps for each upstream.").default("64"),
];

pub(super) const MAX_BODY_SIZE: Key = key("max_body_size", BYTES_OR_0, "Length of a request body; a longer one gets 413. 0 = no limit.");
