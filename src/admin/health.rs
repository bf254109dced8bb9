//! `/health`, `/backends/health`, `/live` and `/ready`: JSON.

use super::state::{AdminState, RenderedPage};
use crate::health::check::HealthVerdict;
use crate::health::state::HealthState;
use crate::observe::stats::UpstreamStats;
use crate::site::Site;
use crate::upstream::server::Server;
use serde_json::{Value, json};
use std::sync::Arc;

pub(super) fn summary(state: &AdminState, site: &Site) -> RenderedPage {
    let total = site.pools.iter().flat_map(|pool| pool.upstreams()).count();
    // An upstream is usable if one of its addresses is.
    let is_healthy = |upstream: &&[Arc<Server>]| upstream.iter().any(|server| server.is_healthy());
    let healthy = site.pools.iter().flat_map(|pool| pool.upstreams()).filter(is_healthy).count();
    let status = match (state.is_draining(), healthy) {
        (true, _) => "draining",
        _ if healthy == total => "healthy",
        (false, 0) => "unhealthy",
        _ => "degraded",
    };
    let pools = &site.config.pools;
    let features = json!({
        "circuit_breaker": pools.iter().any(|pool| pool.breaker.failure_threshold > 0),
        "rate_limiting": site.limits_rates(),
        "health_checks": pools.iter().any(|pool| pool.health_check.is_some()),
        "cache": false,
    });
    let content = json!({
        "status": status,
        "uptime_seconds": state.started.elapsed().as_secs(),
        "backends": {"healthy": healthy, "total": total},
        "features": features,
    });
    rendered(if matches!(status, "healthy" | "degraded") { 200 } else { 503 }, &content)
}

/// Says nothing but that the process answers: a worker whose loop hangs could not.
pub(super) fn live() -> RenderedPage {
    rendered(200, &json!({"status": "live"}))
}

/// Whether new requests should be sent here. Upstreams that are down do not matter: without requests none would be tried again.
pub(super) fn ready(state: &AdminState) -> RenderedPage {
    let (status, word) = match (state.has_started(), state.is_draining()) {
        (_, true) => (503, "draining"),
        (false, false) => (503, "starting"),
        (true, false) => (200, "ready"),
    };
    rendered(status, &json!({"status": word}))
}

pub(super) fn backends(site: &Site) -> RenderedPage {
    let sum = |cells: &[UpstreamStats], of: fn(&UpstreamStats) -> u64| cells.iter().map(of).sum::<u64>();
    let backends: Vec<Value> = site
        .servers()
        .map(|(pool, server)| {
            json!({
                "pool": pool.name,
                "name": server.config.name,
                "address": server.address.as_ref().map(ToString::to_string).unwrap_or_default(),
                "healthy": server.is_healthy(),
                "health_check": server.health.state().name(),
                "circuit": server.circuit.state().name(),
                "weight": server.weight(),
                // No upstream can be drained by hand yet.
                "draining": false,
                "resolved": server.is_resolved(),
                "consecutive_failures": server.failures_in_a_row(),
                "active_connections": server.in_flight(),
                "idle_connections": sum(&server.cells, |cell| cell.idle.value()),
                "requests_total": sum(&server.cells, |cell| cell.requests.value()),
                "last_error": last_error(server),
            })
        })
        .collect();
    rendered(200, &json!({"backends": backends}))
}

/// The last failure of its checks while these fail, otherwise the last error of a request to it.
fn last_error(server: &Server) -> Option<String> {
    let of_check = || server.health.last_error();
    let of_request = || server.last_fault().map(|fault| fault.to_string());
    let fails = server.health.state() == HealthState::Checked(HealthVerdict::Failing);
    if fails { of_check() } else { of_request().or_else(of_check) }
}

fn rendered(status: u16, content: &Value) -> RenderedPage {
    RenderedPage { status, content_type: "application/json", content: format!("{content}\n").into_bytes().into() }
}
