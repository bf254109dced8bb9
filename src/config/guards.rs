//! Retries, circuits, health checks, sticky sessions and rate limits: sections whose layers take precedence over those before them, key by key, and
//! over the defaults.

use super::conform::fill;
use super::keys;
use super::model::{Breaker, HealthCheck, Rate, RateAlgorithm, RateLimit, Retry, SameSite, SecureCookie, StickyConfig};
use super::report::Report;
use super::schema::Key;
use super::tree::{Location, Node, Path, Value};
use std::cell::OnceCell;

/// The sections with one name, the outermost first, and the defaults.
pub(super) struct SectionLayers<'a> {
    sections: Vec<&'a Node>,
    keys: &'static [Key],
    /// Made only where it is needed: the root's sections have their defaults filled in already.
    defaults: OnceCell<Node>,
}

impl<'a> SectionLayers<'a> {
    /// The sections that are given; null removes those before it.
    pub(super) fn of(owners: &[Option<&'a Node>], name: &str, keys: &'static [Key]) -> Self {
        let mut sections = Vec::new();
        for section in owners.iter().filter_map(|owner| owner.as_ref()?.written(name)) {
            if section.is_null() { sections.clear() } else { sections.push(section) }
        }
        Self::over(sections, keys)
    }

    fn over(sections: Vec<&'a Node>, keys: &'static [Key]) -> Self {
        Self { sections, keys, defaults: OnceCell::new() }
    }

    fn defaults(&self) -> &Node {
        self.defaults.get_or_init(|| {
            let mut section = Node::new(Value::Map(Vec::new()), Location::Nowhere, Path::default());
            fill(self.keys, &mut section);
            section
        })
    }

    /// `None` if it is off: turned off by the innermost section, or never configured.
    fn unless_off(self) -> Option<Self> {
        (!self.sections.is_empty()).then_some(self)
    }

    pub(super) fn get(&self, key: &str) -> Option<&Node> {
        let given = self.sections.iter().rev().find_map(|section| section.written(key));
        given.or_else(|| self.defaults().written(key)).filter(|node| !node.is_null())
    }

    fn int<T: TryFrom<i128> + Default>(&self, key: &str) -> T {
        self.get(key).and_then(Node::int).unwrap_or_default()
    }

    pub(super) fn is_true(&self, key: &str) -> bool {
        self.get(key).is_some_and(|node| matches!(node.value, Value::Bool(true)))
    }

    fn items(&self, key: &str) -> impl Iterator<Item = u16> {
        self.get(key).map(Node::items).unwrap_or_default().iter().filter_map(Node::int)
    }
}

/// The retries of the innermost owner; each key is that of the innermost section that has it.
pub fn retry(owners: &[Option<&Node>]) -> Retry {
    let layers = SectionLayers::of(owners, "retry", keys::RETRIES);
    Retry {
        max_retries: layers.int("max_retries"),
        backoff_ms: layers.int("backoff_ms"),
        max_backoff_ms: layers.int("max_backoff_ms"),
        budget_percent: layers.int("budget_percent"),
        statuses: layers.items("statuses").collect(),
    }
}

/// The circuits, likewise.
pub fn breaker(owners: &[Option<&Node>]) -> Breaker {
    let layers = SectionLayers::of(owners, "circuit_breaker", keys::BREAKER);
    Breaker {
        failure_threshold: layers.int("failure_threshold"),
        success_threshold: layers.int("success_threshold"),
        timeout_ms: layers.int("timeout_ms"),
        last_resort_ms: layers.int("last_resort_ms"),
        half_open_requests: layers.int("half_open_requests"),
        failure_statuses: layers.items("failure_statuses").collect(),
    }
}

/// The health checks, likewise; `None` is off.
pub fn health_check(owners: &[Option<&Node>], report: &mut Report) -> Option<HealthCheck> {
    let layers = SectionLayers::of(owners, "health_check", keys::CHECK).unless_off()?;
    let mut expected = layers.items("expected_status");
    let text = |key| layers.get(key).and_then(Node::text).map(str::to_owned);
    let headers = layers.get("headers").map(Node::entries).unwrap_or_default().iter();
    let check = HealthCheck {
        path: text("path").unwrap_or_default(),
        method: text("method").unwrap_or_default(),
        host: text("host"),
        headers: headers.filter_map(|entry| Some((entry.key.clone(), entry.node.text()?.to_owned()))).collect(),
        port: layers.get("port").and_then(Node::int),
        interval_ms: layers.int("interval_ms"),
        timeout_ms: layers.int("timeout_ms"),
        failure_threshold: layers.int("failure_threshold"),
        success_threshold: layers.int("success_threshold"),
        expected_status: (expected.next().unwrap_or_default(), expected.next().unwrap_or_default()),
        expected_body: text("expected_body"),
        fail_open: layers.is_true("fail_open"),
    };
    if check.method == "HEAD" && check.expected_body.is_some() {
        // Reported at the innermost section that has one of the two; those that inherit both have no part in it.
        let own = owners.last().copied().flatten().and_then(|owner| owner.get("health_check"));
        let is_written = |node: &&Node| node.place != Location::Nowhere;
        if let Some(at) = own.and_then(|own| ["expected_body", "method"].iter().find_map(|key| own.get(key).filter(is_written))) {
            report.error(at, "an answer to HEAD has no body, and expected_body needs one: write method: GET");
        }
    }
    Some(check)
}

/// Sticky sessions, likewise; `None` is off.
pub fn sticky(owners: &[Option<&Node>], report: &mut Report) -> Option<StickyConfig> {
    let layers = SectionLayers::of(owners, "sticky", keys::STICKY_KEYS).unless_off()?;
    let sticky = StickyConfig {
        cookie: layers.get("cookie").and_then(Node::text).unwrap_or_default().to_owned(),
        max_age_ms: layers.int("max_age_ms"),
        secure: match layers.get("secure").map(|node| &node.value) {
            Some(Value::Bool(true)) => SecureCookie::Always,
            Some(Value::Bool(false)) => SecureCookie::Never,
            _ => SecureCookie::Auto,
        },
        same_site: match layers.get("same_site").and_then(Node::text).map(str::to_ascii_lowercase).as_deref() {
            Some("strict") => SameSite::Strict,
            Some("none") => SameSite::None,
            _ => SameSite::Lax,
        },
        key: layers.get("key").and_then(Node::text).map(str::to_owned),
    };
    if sticky.same_site == SameSite::None && sticky.secure != SecureCookie::Always {
        let own = owners.last().copied().flatten().and_then(|owner| owner.get("sticky")?.written("same_site"));
        own.into_iter().for_each(|node| report.warn(node, "browsers take a cookie for other sites only with secure: true"));
    }
    Some(sticky)
}

/// The global limit (`owners` is the root alone), or a route's (the root and the route).
pub fn rate_limit(owners: &[Option<&Node>], report: &mut Report) -> Option<RateLimit> {
    let layers = SectionLayers::of(owners, "rate_limit", keys::RATE).unless_off()?;
    if let Some(clients) = layers.get("per_client").filter(|clients| clients.entries().is_empty() && !clients.is_invalid()) {
        report.warn(clients, "limits nothing, give it requests_per_second");
    }
    let of_clients = || layers.sections.iter().filter_map(|section| section.get("per_client")).collect();
    let clients = layers.get("per_client").map(|_| SectionLayers::over(of_clients(), keys::PER_CLIENT));
    let own = owners.last().copied().flatten().and_then(|owner| owner.written("rate_limit"));
    let owns = |names: &[&str]| owners.len() == 1 || own.is_some_and(|own| names.iter().any(|name| own.has(name)));
    let limit = RateLimit {
        algorithm: match layers.get("algorithm").and_then(Node::text) {
            Some("sliding_window") => RateAlgorithm::SlidingWindow,
            _ => RateAlgorithm::TokenBucket,
        },
        global: rate(&layers, report),
        per_client: clients.as_ref().and_then(|clients| rate(clients, report)),
        dry_run: layers.is_true("dry_run"),
        owns_global: owns(&["algorithm", "requests_per_second", "burst"]),
        owns_per_client: owns(&["algorithm", "per_client"]),
    };
    let at = own;
    if let (None, None, Some(at)) = (limit.global, limit.per_client, at)
        && layers.get("burst").is_none()
        && layers.sections.iter().all(|section| !section.has_invalid() && section.get("per_client").is_none())
    {
        report.warn(at, "limits nothing, give it requests_per_second, or per_client: {requests_per_second: 10}, or both");
    }
    Some(limit)
}

/// `None` is off: without a number there is no limit.
fn rate(layers: &SectionLayers, report: &mut Report) -> Option<Rate> {
    let burst = layers.get("burst");
    let Some(requests_per_second) = layers.get("requests_per_second") else {
        burst.filter(|burst| !burst.is_invalid()).into_iter().for_each(|burst| {
            report.error(burst, "a burst of what? give requests_per_second beside it");
        });
        return None;
    };
    let requests_per_second: u32 = requests_per_second.int()?;
    Some(Rate { requests_per_second, burst: burst.and_then(Node::int).unwrap_or(requests_per_second.saturating_mul(2)) })
}

/// Checks how its keys fit together.
pub fn check_health_check(section: Option<&Node>, report: &mut Report) {
    // Reported once for each section, at its place.
    let Some(range) = section.and_then(|section| section.get("expected_status")).filter(|range| !range.is_invalid()) else { return };
    let good = match range.items() {
        [first, last] => first.is_invalid() || last.is_invalid() || first.int::<u16>() <= last.int(),
        _ => false,
    };
    if !good {
        report.error(range, "expected the first and the last good status, such as [200, 399]");
    }
}
