//! Time limits.

/// How long is waited for what, as `config::keys` describes. In milliseconds; 0 = no limit, except for `queue_ms` (0 = do not wait) and
/// the `*_keepalive_ms` (0 = do not keep).
#[derive(Clone, Debug, PartialEq, Eq)]
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
