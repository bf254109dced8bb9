//! The process: its logs, its traces, its end, and its own tests.

use super::kinds::{BYTES, FILE, MS, NAME, STATUS, TARGET};
use crate::config::schema::{Key, Kind, key};

pub(super) static LOGGING: &[Key] = &[
    key("level", Kind::Choice { words: LEVELS, any_case: true }, "The level of diagnostics.").default("info"),
    key("access_log", FILE, "The file of the access log; `-` = standard output, null = none. With `dir` the default is access.log.")
        .default("\"-\"")
        .nullable(),
    key("error_log", FILE, "The file of diagnostics; `-` = standard error. With `dir` the default is error.log.").default("\"-\""),
    key("access_format", Kind::Choice { words: &["text", "combined", "json"], any_case: false }, "The format of the access log.")
        .default("text"),
    key("dir", FILE, "The directory for relative paths of logs, created if it is missing.").off(),
    key("rotate", Kind::Section(ROTATE), "Rotation of log files by size; null = another program such as logrotate rotates them.")
        .nullable()
        .default("{}"),
    key("server_timing", Kind::Bool, "Add `Server-Timing` to answers.").default("false").no_effect_yet(),
];

static LEVELS: &[&str] = &["error", "warn", "warning", "info", "debug", "trace"];
static ROTATE: &[Key] = &[
    key("max_bytes", BYTES, "The size at which a file is renamed to access.log.1.").default("104857600"),
    key("keep", Kind::Int { min: 1, max: 1000 }, "How many old files are kept.").default("5"),
];

pub(super) static TRACING: &[Key] = &[
    key("otlp", Kind::Text(NAME), "Where spans go: `http://127.0.0.1:4318`.").secret(),
    key("sample_percent", Kind::Int { min: 0, max: 100 }, "The share of requests that are traced, of those that do not say so themselves.")
        .default("1"),
    key("service_name", Kind::Text(NAME), "The name of this service in traces.").default("tidegate"),
];

pub(super) static SHUTDOWN: &[Key] = &[
    key("delay_ms", MS, "How long everything is still served, while `/ready` answers 503 and `/health` says `draining`.").default("0"),
    key("grace_ms", MS, "How long requests in progress may take after that, before they are cut; 0 = they are cut at once.")
        .default("30000"),
    key(
        "new_requests",
        Kind::Choice { words: &["refuse", "reject"], any_case: false },
        "refuse = listeners close; reject = listeners stay open, and requests on new connections get 503.",
    )
    .default("refuse"),
];

pub(super) static TEST: &[Key] = &[
    key("request", Kind::Text(NAME), "`GET https://shop.example/api`."),
    key("from", Kind::Text(NAME), "The client's address.").default("127.0.0.1"),
    key("expect", Kind::Section(EXPECT), "The expected result."),
];

static EXPECT: &[Key] = &[
    key("status", STATUS, "The status of the answer."),
    key("route", Kind::Text(NAME), "The route that takes it."),
    key("pool", Kind::Text(NAME), "The pool that gets it."),
    key("upstream_path", TARGET, "The path that the upstream gets."),
];
