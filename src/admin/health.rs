//! `/health` and `/backends/health`, in the contract's shapes (section 4).

use super::{Panel, Rendered};
use crate::observe::stats::UpstreamStats;
use crate::site::Site;
use serde_json::{Value, json};

pub(super) fn summary(panel: &Panel, site: &Site) -> Rendered {
    let total = site.servers().count();
    let healthy = site.servers().filter(|(_, server)| server.is_healthy()).count();
    let status = match (panel.is_draining(), healthy) {
        (true, _) => "draining",
        _ if healthy == total => "healthy",
        (false, 0) => "unhealthy",
        _ => "degraded",
    };
    let is_checking = site.config.pools.iter().any(|pool| pool.health_check.is_some());
    let features = json!({"circuit_breaker": false, "rate_limiting": false, "health_checks": is_checking, "cache": false});
    let content = json!({
        "status": status,
        "uptime_seconds": panel.started.elapsed().as_secs(),
        "backends": {"healthy": healthy, "total": total},
        "features": features,
    });
    rendered(if matches!(status, "healthy" | "degraded") { 200 } else { 503 }, &content)
}

pub(super) fn backends(site: &Site) -> Rendered {
    let sum = |cells: &[UpstreamStats], of: fn(&UpstreamStats) -> u64| cells.iter().map(of).sum::<u64>();
    let backends: Vec<Value> = site
        .servers()
        .map(|(pool, server)| {
            json!({
                "pool": pool.name,
                "name": server.config.name,
                "address": server.authority,
                "healthy": server.is_healthy(),
                "health_check": server.health.state().name(),
                "circuit": "closed",
                "resolved": server.is_resolved(),
                "consecutive_failures": 0,
                "active_connections": sum(&server.cells, |cell| cell.active.value()),
                "idle_connections": sum(&server.cells, |cell| cell.idle.value()),
                "requests_total": sum(&server.cells, |cell| cell.requests.value()),
                "last_error": server.health.last_error(),
            })
        })
        .collect();
    rendered(200, &json!({"backends": backends}))
}

fn rendered(status: u16, content: &Value) -> Rendered {
    Rendered { status, content_type: "application/json", content: format!("{content}\n").into_bytes() }
}
