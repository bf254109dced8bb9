//! Every key of the configuration, in one table: what it is called, what may stand there, its default, and whether its function
//! is built yet. Unknown keys, ranges, warnings, `check --print` and the reference in docs/configuration.md all follow from it.

mod guards;
mod kinds;
mod limits;
mod listener;
mod messages;
mod pools;
mod process;
mod routes;

pub use guards::{BREAKER, CHECK, PER_CLIENT, RATE, RETRIES};
pub use pools::{STICKY_KEYS, TLS_OUT};

use crate::config::address;
use crate::config::schema::{Key, Kind, Rule, key};
use guards::{CIRCUIT_BREAKER, HEALTH_CHECK, RATE_LIMIT, RETRY};
use kinds::{ADDRESS, FILE, MS, NAME};
use limits::{LIMITS, TIMEOUTS};
use listener::LISTENER;
use messages::{CACHE, COMPRESSION, HEADERS};
use pools::{BALANCE, POOL, SLOW_START, STICKY, UPSTREAM_TLS, UPSTREAMS};
use process::{LOGGING, SHUTDOWN, TEST, TRACING};
use routes::ROUTE;

/// The whole document.
pub static ROOT: &[Key] = &[
    key("listen", Kind::OneOrList(&LISTENER), "The addresses for clients. `:8080` and `*:8080` mean every IPv4 interface.")
        .default("\"127.0.0.1:8080\""),
    key("metrics_listen", ADDRESS, "The admin port, with metrics and health pages; null turns it off.")
        .default("\"127.0.0.1:8081\"")
        .nullable(),
    key(
        "workers",
        Kind::AutoOrInt { min: 1, max: 1024 },
        "Worker threads, each with an event loop; auto = one for each CPU that the process may use.",
    )
    .default("auto"),
    key("pid_file", FILE, "A file that holds the process id while the process runs.").off(),
    key("upstreams", UPSTREAMS, "The servers of the pool named `default`.").also("backends").default("[]"),
    key(
        "resolver",
        Kind::Text(Rule { what: "\"host:port\"", check: |text| address::host_port(text).map(drop) }),
        "A name server for `srv:` upstreams; the system's by default.",
    )
    .off(),
    BALANCE.default("round_robin"),
    STICKY.off(),
    SLOW_START.default("0"),
    key("resolve_ms", MS, "How often host names are looked up again; 0 = never.").default("30000"),
    key("timeouts", Kind::Section(TIMEOUTS), "Time limits. 0 means no limit, unless stated otherwise."),
    key("limits", Kind::Section(LIMITS), "Limits of connections and sizes."),
    key("logging", Kind::Section(LOGGING), "The logs."),
    RETRY,
    CIRCUIT_BREAKER,
    HEALTH_CHECK.off(),
    RATE_LIMIT.off(),
    CACHE.off(),
    HEADERS,
    UPSTREAM_TLS,
    COMPRESSION.off(),
    key(
        "error_detail",
        Kind::Choice { words: &["auto", "always", "never"], any_case: false },
        "Which clients get the sentence after the reason in 5xx errors; auto = those on this machine.",
    )
    .default("auto"),
    key("error_pages", FILE, "A directory with pages for errors: 502.html, 5xx.html, 502.json and the like.").off().no_effect_yet(),
    key("watch", Kind::Bool, "Reload when the configuration file or the file with variables changes.").default("false"),
    key("tracing", Kind::Section(TRACING), "Traces, sent by OTLP.").off().no_effect_yet(),
    key("tests", Kind::List(&Kind::Section(TEST)), "Test requests with the expected results.").default("[]").no_effect_yet(),
    key("admin_socket", FILE, "A Unix socket for commands that change the state of the proxy.").off().no_effect_yet(),
    key("shutdown", Kind::Section(SHUTDOWN), "How the process ends on SIGTERM and SIGINT."),
    key("pools", Kind::Named { name: NAME, value: &Kind::Section(POOL) }, "More pools, by name.").default("{}"),
    key(
        "routes",
        Kind::List(&Kind::Section(ROUTE)),
        "The first route whose `match` holds takes the request; without one it goes to the pool `default`.",
    )
    .default("[]"),
];
