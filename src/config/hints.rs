//! Keys that other programs have and tidegate does not, and what to write instead. None of them is accepted.

use super::suggest;
use super::tree::{Node, Value};

/// One foreign key. `{v}` in the hint is the value as written, `{ms}` the same number of seconds in milliseconds, `{route}` the
/// path of the route around it.
struct ForeignKey {
    /// The section it stands in; "*" = any.
    section: &'static str,
    key: &'static str,
    hint: &'static str,
}

const fn hint(section: &'static str, key: &'static str, hint: &'static str) -> ForeignKey {
    ForeignKey { section, key, hint }
}

/// Exact sections stand before "*".
static HINTS: &[ForeignKey] = &[
    hint("circuit_breaker", "timeout", "did you mean timeout_ms: {ms}?"),
    hint("circuit_breaker", "cooldown", "did you mean timeout_ms: {ms}?"),
    hint("health_check", "timeout", "did you mean timeout_ms: {ms}?"),
    hint("health_check", "interval", "did you mean interval_ms: {ms}?"),
    hint("shutdown", "timeout", "did you mean grace_ms: {ms}?"),
    hint("shutdown", "grace", "did you mean grace_ms: {ms}?"),
    hint("timeouts", "connect", "did you mean connect_ms: {ms}?"),
    hint("timeouts", "read", "did you mean read_ms: {ms}?"),
    hint("timeouts", "write", "did you mean write_ms: {ms}?"),
    hint("timeouts", "send", "did you mean write_ms: {ms}?"),
    hint("timeouts", "total", "did you mean total_ms: {ms}?"),
    hint("timeouts", "request", "did you mean total_ms: {ms}?"),
    hint("timeouts", "idle", "did you mean client_keepalive_ms: {ms}?"),
    hint("logging", "file", "did you mean error_log: {v} (diagnostics) or access_log: {v}?"),
    hint("logging", "format", "did you mean access_format: {v}?"),
    hint("upstreams", "address", "write host and port, or url"),
    hint("upstreams", "server", "write host and port, or url"),
    hint("respond", "headers", "did you mean {route}.headers.set_response?"),
    hint("respond", "header", "did you mean {route}.headers.set_response?"),
    hint("", "static_files", "files are the action of a route: `routes: [{static_files: {root: public}}]`"),
    hint("", "echo", "it is the action of a route: `routes: [{echo: {}}]`"),
    hint("", "respond", "it is the action of a route: `routes: [{respond: {status: 200}}]`"),
    hint("", "redirect", "it is the action of a route: `routes: [{redirect: {location: …}}]`"),
    hint("", "match", "it belongs to a route: `routes: [{match: …, proxy: default}]`"),
    hint("", "port", "did you mean listen: \"0.0.0.0:{v}\"?"),
    hint("", "host", "did you mean listen: \"{v}:8080\"?"),
    hint(
        "*",
        "server",
        "there is no such section here: `listen: \"127.0.0.1:8080\"` stands at the top level, upstream servers under `upstreams`",
    ),
    hint("*", "servers", "did you mean upstreams: [{host: …, port: …}]?"),
    hint("*", "proxy", "there is no such section here: its `backends` (or `upstreams`) and `timeouts` stand at the top level"),
    hint("*", "frontend", "did you mean listen: \"127.0.0.1:8080\"?"),
    hint("*", "frontends", "did you mean listen: \"127.0.0.1:8080\"?"),
    hint("*", "backend", "did you mean upstreams: [{host: …, port: …}]?"),
    hint("*", "upstream", "did you mean upstreams: [{host: …, port: …}]?"),
    hint("*", "targets", "did you mean upstreams: [{host: …, port: …}]?"),
    hint("*", "origins", "did you mean upstreams: [{host: …, port: …}]?"),
    hint("*", "services", "more than one group of servers is written under `pools`"),
    hint("*", "clusters", "more than one group of servers is written under `pools`"),
    hint("*", "static_resources", "did you mean listen and upstreams, at the top level?"),
    hint("*", "http", "there is no such section: its keys stand at the top level"),
    hint("*", "global", "there is no such section: its keys stand at the top level"),
    hint("*", "defaults", "there is no such section: its keys stand at the top level"),
    hint("*", "listen_addr", "did you mean listen: {v}, at the top level?"),
    hint("*", "listen_address", "did you mean listen: {v}, at the top level?"),
    hint("*", "listeners", "did you mean listen: [\"127.0.0.1:8080\"], at the top level?"),
    hint("*", "entryPoints", "did you mean listen: [\"127.0.0.1:8080\"], at the top level?"),
    hint("*", "bind", "did you mean listen: {v}, at the top level?"),
    hint("*", "addr", "did you mean listen: {v}, at the top level?"),
    hint("*", "admin", "did you mean metrics_listen: \"127.0.0.1:8081\", at the top level?"),
    hint("*", "metrics", "did you mean metrics_listen: \"127.0.0.1:8081\", at the top level?"),
    hint("*", "metrics_port", "did you mean metrics_listen: \"127.0.0.1:{v}\", at the top level?"),
    hint("*", "connection_timeout_ms", "did you mean timeouts.connect_ms: {v}?"),
    hint("*", "connect_timeout_ms", "did you mean timeouts.connect_ms: {v}?"),
    hint("*", "request_timeout_ms", "did you mean timeouts.total_ms: {v}?"),
    hint("*", "read_timeout_ms", "did you mean timeouts.read_ms: {v}?"),
    hint("*", "write_timeout_ms", "did you mean timeouts.write_ms: {v}?"),
    hint("*", "idle_timeout_ms", "did you mean timeouts.client_keepalive_ms: {v}?"),
    hint("*", "connection_timeout", "did you mean timeouts.connect_ms: {ms}?"),
    hint("*", "connect_timeout", "did you mean timeouts.connect_ms: {ms}?"),
    hint("*", "request_timeout", "did you mean timeouts.total_ms: {ms}?"),
    hint("*", "read_timeout", "did you mean timeouts.read_ms: {ms}?"),
    hint("*", "write_timeout", "did you mean timeouts.write_ms: {ms}?"),
    hint("*", "proxy_connect_timeout", "did you mean timeouts.connect_ms: {ms}?"),
    hint("*", "proxy_read_timeout", "did you mean timeouts.read_ms: {ms}?"),
    hint("*", "proxy_send_timeout", "did you mean timeouts.write_ms: {ms}?"),
    hint("*", "keepalive_timeout", "did you mean timeouts.client_keepalive_ms: {ms}?"),
    hint("*", "idle_timeout", "did you mean timeouts.client_keepalive_ms: {ms}?"),
    hint("*", "timeout", "did you mean timeouts.total_ms: {ms}?"),
    hint("*", "worker_processes", "did you mean workers: {v}?"),
    hint("*", "threads", "did you mean workers: {v}?"),
    hint("*", "nbthread", "did you mean workers: {v}?"),
    hint("*", "concurrency", "did you mean workers: {v}?"),
    hint("*", "worker_connections", "did you mean limits.max_client_conns: {v}?"),
    hint("*", "max_connections", "did you mean limits.max_client_conns: {v}?"),
    hint("*", "maxconn", "did you mean limits.max_client_conns: {v}?"),
    hint("*", "client_max_body_size", "did you mean limits.max_body_size, in bytes?"),
    hint("*", "log_level", "did you mean logging.level: {v}?"),
    hint("*", "log", "did you mean logging?"),
    hint("*", "error_log", "did you mean logging.error_log: {v}?"),
    hint("*", "access_log", "did you mean logging.access_log: {v}?"),
    hint("*", "location", "did you mean routes: [{match: {path_prefix: /}, proxy: default}]?"),
    hint("*", "locations", "did you mean routes: [{match: {path_prefix: /}, proxy: default}]?"),
    hint("*", "rules", "did you mean routes?"),
    hint("*", "proxy_pass", "did you mean upstreams, and proxy: default in a route?"),
    hint("*", "server_name", "did you mean match.host in a route?"),
    hint("*", "prefix", "did you mean path_prefix?"),
    hint("*", "pathPrefix", "did you mean path_prefix?"),
    hint("*", "load_balancing", "did you mean balance: round_robin?"),
    hint("*", "load_balancer", "did you mean balance: round_robin?"),
    hint("*", "lb_policy", "did you mean balance: round_robin?"),
    hint("*", "algorithm", "did you mean balance: {v}?"),
    hint("*", "strategy", "did you mean balance: {v}?"),
    hint("*", "retries", "did you mean retry.max_retries: {v}?"),
    hint("*", "ssl", "did you mean tls, in an item of listen?"),
    hint("*", "tls", "did you mean tls, in an item of listen (or upstream_tls)?"),
    hint("*", "certificates", "did you mean tls.certificates, in an item of listen?"),
    hint("*", "pidfile", "did you mean pid_file: {v}?"),
    hint("*", "pid", "did you mean pid_file: {v}?"),
    hint("*", "healthcheck", "did you mean health_check?"),
    hint("*", "rate_limiting", "did you mean rate_limit?"),
    hint("*", "<<", "merge keys are no part of YAML 1.2: give the section an anchor (&a) and use it whole (*a)"),
];

/// What to write instead of `key` in `section` (the last name of its path, "" at the top), as the end of a sentence.
pub fn foreign(section: &str, key: &str, value: &Node) -> Option<String> {
    let hint = filled_in(section, key, value)?;
    let separator = if hint.starts_with("did you mean") { ", " } else { "; " };
    Some(format!("{separator}{hint}"))
}

fn filled_in(section: &str, key: &str, value: &Node) -> Option<String> {
    let found = HINTS.iter().find(|hint| hint.key == key && (hint.section == section || hint.section == "*"))?;
    let shown = scalar(value);
    let wants_value = found.hint.contains("{v}") || found.hint.contains("{ms}");
    if wants_value && shown.is_none() {
        // `timeout: {…}`: the hint names the key, and leaves the value open.
        return Some(found.hint.replace("\"0.0.0.0:{v}\"", "…").replace("{v}", "…").replace("{ms}", "…"));
    }
    if found.hint.contains("{route}") {
        let path = value.path.to_string();
        // Outside of a route, the section itself is what is wrong.
        let route = path.rsplitn(3, '.').nth(2)?;
        return Some(found.hint.replace("{route}", route));
    }
    let ms = milliseconds(value).unwrap_or_else(|| "…".into());
    Some(found.hint.replace("{v}", &shown.unwrap_or_default()).replace("{ms}", &ms))
}

fn scalar(value: &Node) -> Option<String> {
    Some(match &value.value {
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Text(v) if v.len() <= 80 && v.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-./".contains(&b)) => v.clone(),
        Value::Text(v) if v.len() <= 80 && !v.contains(char::is_control) => format!("{v:?}"),
        _ => return None,
    })
}

fn milliseconds(value: &Node) -> Option<String> {
    match &value.value {
        Value::Int(v) => v.checked_mul(1000).map(|ms| ms.to_string()),
        Value::Float(v) => suggest::plain_number("_ms", &format!("{v}s")).map(|ms| ms.to_string()),
        Value::Text(v) => suggest::plain_number("_ms", v).map(|ms| ms.to_string()),
        _ => None,
    }
}
