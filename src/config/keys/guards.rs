//! Retries, circuits, health checks and rate limits.

use super::kinds::{COUNT, COUNT_OR_0, FIELD_VALUE, MS, NAME, PORT, SOME_MS, STATUS, TARGET, TEXT};
use crate::config::address;
use crate::config::rules::{check_field, check_method, expected_body};
use crate::config::schema::{Key, Kind, Rule, key};

pub(super) const RETRY: Key = key("retry", Kind::Section(RETRIES), "Further attempts of failed requests.");
pub static RETRIES: &[Key] = &[
    key("max_retries", Kind::Int { min: 0, max: 100 }, "How many attempts may follow the first; 0 = none.").default("2"),
    key("backoff_ms", MS, "The upper limit of the random wait before the first retry; it doubles with each retry. 0 = no wait.")
        .default("25"),
    key("max_backoff_ms", SOME_MS, "The upper limit of every such wait.").default("1000"),
    key("budget_percent", Kind::Int { min: 0, max: 100 }, "The share of the pool's requests that may be retried.").default("20"),
    key("statuses", Kind::List(&STATUS), "Statuses of upstreams for which a request is retried.").default("[]"),
];

pub(super) const CIRCUIT_BREAKER: Key =
    key("circuit_breaker", Kind::Section(BREAKER), "Circuit breakers: an upstream that fails requests gets none for a while.");
pub static BREAKER: &[Key] = &[
    key("failure_threshold", COUNT_OR_0, "How many failures in a row open the circuit; 0 = never.").default("3"),
    key("success_threshold", COUNT, "How many successes of trials close it.").default("2"),
    key("timeout_ms", SOME_MS, "How long it is open before trial requests are made.").default("20000"),
    key("last_resort_ms", MS, "The same while no other upstream of the pool is usable; 0 = no difference.").default("1000"),
    key("half_open_requests", COUNT, "How many trial requests may run at a time; doubled after each success.").default("1"),
    key("failure_statuses", Kind::List(&STATUS), "Statuses of upstreams that count as failures.").default("[502, 503, 504]"),
];

pub(super) const HEALTH_CHECK: Key =
    key("health_check", Kind::Section(CHECK), "Health checks: requests that tidegate itself sends to find out whether an upstream works.")
        .nullable();

const AUTHORITY: Rule = Rule { what: "a host, with or without a port", check: address::authority };
const CHECK_FIELD: Rule = Rule { what: "a header name", check: check_field };
const BODY_TEXT: Rule = Rule { what: "text", check: expected_body };

pub static CHECK: &[Key] = &[
    key("path", TARGET, "The path that is requested, with a query if needed.").default("/health"),
    key("interval_ms", SOME_MS, "The time between two checks of an upstream.").default("5000"),
    key("timeout_ms", SOME_MS, "The time limit of one check, connect included.").default("1000"),
    key("failure_threshold", COUNT, "How many failures in a row make the upstream unusable.").default("3"),
    key("success_threshold", COUNT, "How many successes in a row make it usable again.").default("2"),
    key("expected_status", Kind::List(&STATUS), "The first and the last good status.").default("[200, 399]"),
    key("host", Kind::Text(AUTHORITY), "The `Host` of the check; the upstream's `host:port` by default.").off(),
    key("headers", Kind::Named { name: CHECK_FIELD, value: &FIELD_VALUE }, "More header fields of the check.").default("{}").secret(),
    key("method", Kind::Text(Rule { what: "a method", check: check_method }), "The method of the check.").default("GET"),
    key("port", PORT, "The port to check, if it is not the upstream's.").off(),
    key("expected_body", Kind::Text(BODY_TEXT), "Text that the first 16 KiB of the body must contain.").off(),
    key("grpc", TEXT, "Check by grpc.health.v1: the service, or \"\" for the whole server.").off().no_effect_yet(),
    key("fail_open", Kind::Bool, "If all upstreams of a pool fail their checks, treat them as if none did.").default("false"),
];

pub(super) const RATE_LIMIT: Key = key("rate_limit", Kind::Section(RATE), "Limits of requests a second; further ones get 429.").nullable();
pub static RATE: &[Key] = &[
    key("algorithm", Kind::Choice { words: &["token_bucket", "sliding_window"], any_case: false }, "How requests are counted.")
        .default("token_bucket"),
    key("requests_per_second", COUNT, "The limit for all clients together."),
    key("burst", COUNT, "How many requests may come at once; twice the rate by default."),
    key("per_client", Kind::Section(PER_CLIENT), "The limit for each client.").off(),
    key("dry_run", Kind::Bool, "Only count what would be refused.").default("false"),
    key("shared", Kind::Section(SHARED), "Share the counts between several processes.").off().no_effect_yet(),
];

static SHARED: &[Key] = &[
    key("redis", Kind::Text(NAME), "The Redis server, as `redis://host:6379`.").secret(),
    key("prefix", Kind::Text(NAME), "The prefix of the keys there.").default("tidegate"),
    key("sync_ms", SOME_MS, "How often counts are exchanged.").default("100"),
];

pub static PER_CLIENT: &[Key] = &[
    key("requests_per_second", COUNT, "The limit for one client."),
    key("burst", COUNT, "How many requests may come at once; twice the rate by default."),
];
