//! Pools, and the upstreams in them.

use super::guards::{CIRCUIT_BREAKER, HEALTH_CHECK, RETRY};
use super::kinds::{COUNT, FIELD, FILE, MS, NAME, PORT};
use super::limits::TIMEOUTS;
use super::messages::{CACHE, ROUTE_HEADERS};
use crate::config::address;
use crate::config::rules::{cookie_name, secret};
use crate::config::schema::{Key, Kind, Rule, key};

pub(super) const UPSTREAMS: Kind = Kind::List(&Kind::Section(UPSTREAM));
static UPSTREAM: &[Key] = &[
    key(
        "host",
        Kind::Text(Rule { what: "a host name or address", check: address::host }),
        "The server's name or address, together with `port`. `url` may be given instead of both.",
    ),
    key("port", PORT, "The server's port."),
    key(
        "url",
        Kind::Text(Rule { what: "a URL", check: |text| address::url(text).map(drop) }),
        "`http://host:port` or `https://host:port`, instead of `host` and `port`; or `unix:/path`.",
    ),
    key("name", Kind::Text(NAME), "The name in logs and metrics, unique in its pool; host:port by default.").also("id"),
    key("weight", Kind::Int { min: 0, max: 1000 }, "Its share of the requests; 0 = it gets no new ones.").default("1"),
    key("health_check_enabled", Kind::Bool, "Whether `health_check` applies to it.").default("true"),
    key("backup", Kind::Bool, "It gets requests only while no other upstream of its pool is usable.").default("false"),
    key("http2", Kind::BoolOr("auto"), "Use HTTP/2 to the upstream; auto = if it offers that.").default("false").no_effect_yet(),
    key(
        "send_proxy",
        Kind::Choice { words: &["v1", "v2"], any_case: false },
        "Each connection to it begins with a header of the PROXY protocol, in this version, and serves one request.",
    )
    .off(),
];

pub(super) const BALANCE: Key = key(
    "balance",
    Kind::SectionOr { section: BALANCE_SECTION, other: &BALANCE_WORD },
    "How an upstream is chosen for a request; `round_robin` honours weights too.",
);

static BALANCE_WORD: Kind =
    Kind::Choice { words: &["round_robin", "random", "weighted", "least_connections", "consistent_hash", "adaptive"], any_case: false };
static BALANCE_SECTION: &[Key] = &[key(
    "consistent_hash",
    Kind::Section(&[key("header", Kind::Text(FIELD), "The field whose value is the key; by default the client's address is the key.")]),
    "Choose by the hash of a key.",
)];

pub(super) const SLOW_START: Key = key("slow_start_ms", MS, "The time over which the share of a recovered upstream rises; 0 = at once.");
pub(super) const STICKY: Key =
    key("sticky", Kind::Section(STICKY_KEYS), "A cookie that leads a client back to the same upstream, while that is usable.").nullable();
pub static STICKY_KEYS: &[Key] = &[
    key("cookie", Kind::Text(Rule { what: "a cookie name", check: cookie_name }), "The name of the cookie. Upstreams do not see it.")
        .default("tidegate"),
    key("max_age_ms", MS, "How long browsers keep it; 0 = until they are closed.").default("0"),
    key("secure", Kind::BoolOr("auto"), "Its `Secure` attribute; auto = if the client uses TLS.").default("auto"),
    key("same_site", Kind::Choice { words: &["lax", "strict", "none"], any_case: true }, "Its `SameSite` attribute.").default("lax"),
    key(
        "key",
        Kind::Text(Rule { what: "32 characters or more", check: secret }),
        "A secret that several processes share; by default each has one of its own, which ends with it.",
    )
    .off()
    .secret(),
];

pub(super) const UPSTREAM_TLS: Key = key("upstream_tls", Kind::Section(TLS_OUT), "TLS to `https://` upstreams.");
pub static TLS_OUT: &[Key] = &[
    key("ca_file", FILE, "The root certificates that upstreams are verified by, in PEM; the system's by default.").off(),
    key(
        "server_name",
        Kind::Text(Rule { what: "a host name or address", check: address::host }),
        "The name to ask for, and to find in certificates; the host by default.",
    )
    .off(),
    key("insecure_skip_verify", Kind::Bool, "Accept any certificate.").default("false"),
    key("client_cert", FILE, "The certificate that the proxy shows upstreams which ask for one, in PEM.").off(),
    key("client_key", FILE, "Its private key, in PEM.").off(),
];

/// A pool's own sections take precedence over the global ones, key by key.
pub(super) static POOL: &[Key] = &[
    key("upstreams", UPSTREAMS, "The servers of the pool.").also("backends"),
    BALANCE,
    SLOW_START,
    key("timeouts", Kind::Section(TIMEOUTS), "As at the top level, but for this pool or route only."),
    RETRY,
    CIRCUIT_BREAKER,
    HEALTH_CHECK,
    UPSTREAM_TLS,
    STICKY,
    key("resolve_ms", MS, "As at the top level, but for this pool or route only.").no_effect_yet(),
    ROUTE_HEADERS,
    CACHE,
    key("limits", Kind::Section(POOL_LIMITS), "As at the top level, but for this pool or route only."),
];

static POOL_LIMITS: &[Key] = &[
    key("max_conns_per_upstream", COUNT, "As at the top level, but for this pool or route only."),
    key("max_tunnels_per_upstream", COUNT, "As at the top level, but for this pool or route only."),
    key("max_streams_per_upstream", COUNT, "As at the top level, but for this pool or route only.").no_effect_yet(),
    key("upstream_idle_conns", COUNT, "As at the top level, but for this pool or route only."),
];
