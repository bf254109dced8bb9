//! Retries, circuits, health checks and rates, written -> meant: sections of which each layer lies over those before it, key by
//! key, and the table's defaults under all of them.

use super::keys;
use super::model::{Breaker, HealthCheck, Rate, RateAlgorithm, RateLimit, Retry, Statuses};
use super::report::Report;
use super::schema::Key;
use super::tree::{Node, Value};

/// The sections of one name, the outermost first.
struct Layers<'a> {
    sections: Vec<&'a Node>,
    keys: &'static [Key],
}

impl<'a> Layers<'a> {
    /// `None` if the innermost that is given turns the thing off, or none is given.
    fn of(owners: &[Option<&'a Node>], name: &str, keys: &'static [Key]) -> Option<Self> {
        let mut sections = Vec::new();
        for section in owners.iter().filter_map(|owner| owner.as_ref()?.written(name)) {
            if section.is_null() { sections.clear() } else { sections.push(section) }
        }
        (!sections.is_empty()).then_some(Self { sections, keys })
    }

    fn given(&self, key: &str) -> Option<&'a Node> {
        self.sections.iter().rev().find_map(|section| section.written(key)).filter(|node| !node.is_null())
    }

    fn int(&self, key: &str) -> u32 {
        let default = || self.keys.iter().find(|known| known.name == key)?.default.parse().ok();
        self.given(key).and_then(Node::int).or_else(default).unwrap_or_default()
    }

    fn statuses(&self, key: &str) -> Option<Statuses> {
        Some(self.given(key)?.items().iter().filter_map(Node::int::<u16>).collect())
    }
}

pub fn retry(owners: &[Option<&Node>]) -> Retry {
    let layers = Layers::of(owners, "retry", keys::RETRIES).unwrap_or(Layers { sections: Vec::new(), keys: keys::RETRIES });
    Retry {
        max_retries: layers.int("max_retries"),
        backoff_ms: layers.int("backoff_ms"),
        max_backoff_ms: layers.int("max_backoff_ms"),
        budget_percent: layers.int("budget_percent"),
        statuses: layers.statuses("statuses").unwrap_or_default(),
    }
}

pub fn breaker(owners: &[Option<&Node>]) -> Breaker {
    let layers = Layers::of(owners, "circuit_breaker", keys::BREAKER).unwrap_or(Layers { sections: Vec::new(), keys: keys::BREAKER });
    Breaker {
        failure_threshold: layers.int("failure_threshold"),
        success_threshold: layers.int("success_threshold"),
        timeout_ms: layers.int("timeout_ms"),
        half_open_requests: layers.int("half_open_requests"),
        failure_statuses: layers.statuses("failure_statuses").unwrap_or_else(|| [502, 503, 504].into_iter().collect()),
    }
}

pub fn health_check(owners: &[Option<&Node>]) -> Option<HealthCheck> {
    let layers = Layers::of(owners, "health_check", keys::CHECK)?;
    let expected = layers.given("expected_status").map(Node::items).unwrap_or_default();
    Some(HealthCheck {
        path: layers.given("path").and_then(Node::text).unwrap_or("/health").to_owned(),
        interval_ms: layers.int("interval_ms"),
        timeout_ms: layers.int("timeout_ms"),
        failure_threshold: layers.int("failure_threshold"),
        success_threshold: layers.int("success_threshold"),
        expected_status: match expected {
            [first, last] => (first.int().unwrap_or(200), last.int().unwrap_or(399)),
            _ => (200, 399),
        },
    })
}

/// Of the process (`owners` is the root alone), or of a route (the root and the route).
pub fn rate_limit(owners: &[Option<&Node>], report: &mut Report) -> Option<RateLimit> {
    let layers = Layers::of(owners, "rate_limit", keys::RATE)?;
    if let Some(clients) = layers.given("per_client").filter(|clients| clients.entries().is_empty() && !clients.is_invalid()) {
        report.warn(clients, "limits nothing, give it requests_per_second");
    }
    let clients = layers.given("per_client").map(|_| Layers {
        sections: layers.sections.iter().filter_map(|section| section.get("per_client")).collect(),
        keys: keys::PER_CLIENT,
    });
    let own = owners.last().copied().flatten().and_then(|owner| owner.written("rate_limit"));
    let owns = |names: &[&str]| owners.len() == 1 || own.is_some_and(|own| names.iter().any(|name| own.has(name)));
    let limit = RateLimit {
        algorithm: match layers.given("algorithm").and_then(Node::text) {
            Some("sliding_window") => RateAlgorithm::SlidingWindow,
            _ => RateAlgorithm::TokenBucket,
        },
        global: rate(&layers, report),
        per_client: clients.as_ref().and_then(|clients| rate(clients, report)),
        dry_run: layers.given("dry_run").is_some_and(|node| matches!(node.value, Value::Bool(true))),
        owns_global: owns(&["algorithm", "requests_per_second", "burst"]),
        owns_per_client: owns(&["algorithm", "per_client"]),
    };
    let at = own;
    if let (None, None, Some(at)) = (limit.global, limit.per_client, at)
        && layers.given("burst").is_none()
        && layers.sections.iter().all(|section| !section.has_invalid() && section.get("per_client").is_none())
    {
        report.warn(at, "limits nothing, give it requests_per_second, or per_client: {requests_per_second: 10}, or both");
    }
    Some(limit)
}

/// `None` is off: a rate has a number.
fn rate(layers: &Layers, report: &mut Report) -> Option<Rate> {
    let burst = layers.given("burst");
    let Some(requests_per_second) = layers.given("requests_per_second") else {
        burst.filter(|burst| !burst.is_invalid()).into_iter().for_each(|burst| {
            report.error(burst, "a burst of what? give requests_per_second beside it");
        });
        return None;
    };
    let requests_per_second: u32 = requests_per_second.int()?;
    Some(Rate { requests_per_second, burst: burst.and_then(Node::int).unwrap_or(requests_per_second.saturating_mul(2)) })
}

/// What its keys say together.
pub fn check_health_check(section: Option<&Node>, report: &mut Report) {
    // Reported where it stands, once for each section.
    let Some(range) = section.and_then(|section| section.get("expected_status")).filter(|range| !range.is_invalid()) else { return };
    let good = match range.items() {
        [first, last] => first.is_invalid() || last.is_invalid() || first.int::<u16>() <= last.int(),
        _ => false,
    };
    if !good {
        report.error(range, "expected the first and the last good status, such as [200, 399]");
    }
}
