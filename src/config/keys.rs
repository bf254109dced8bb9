//! Every key of the configuration, in one table: what it is called, what may stand there, its default, and whether its function
//! is built yet. Unknown keys, ranges, warnings, `check --print` and the reference in docs/configuration.md all follow from it.

use super::address;
use super::rules::{field_value, host_pattern, method, mode, not_empty, target, token, url_path};
use super::schema::{Key, Kind, Rule, key};
use super::units::Unit;

const DAY_MS: i64 = 86_400_000;
/// At most a day; 0 has a meaning (no limit, do not wait, off, at once).
const MS: Kind = Kind::Amount { unit: Unit::Milliseconds, min: 0, max: DAY_MS };
/// At most a day, and not 0.
const SOME_MS: Kind = Kind::Amount { unit: Unit::Milliseconds, min: 1, max: DAY_MS };
/// Counts of things that are held in memory or the kernel.
const COUNT: Kind = Kind::Int { min: 1, max: 1_000_000_000 };
const COUNT_OR_0: Kind = Kind::Int { min: 0, max: 1_000_000_000 };
/// What one connection may hold in memory for a head; 16 MiB.
const HEAD: Kind = Kind::Amount { unit: Unit::Bytes, min: 1, max: 16_777_216 };
/// 1 PiB: more than anybody means, and exact in every number format.
const BYTES: Kind = Kind::Amount { unit: Unit::Bytes, min: 1, max: 1_125_899_906_842_624 };
const BYTES_OR_0: Kind = Kind::Amount { unit: Unit::Bytes, min: 0, max: 1_125_899_906_842_624 };
const PORT: Kind = Kind::Int { min: 1, max: 65_535 };
const STATUS: Kind = Kind::Int { min: 100, max: 599 };

const FILE: Kind = Kind::Text(Rule { what: "a path", check: not_empty });
const NAME: Rule = Rule { what: "a name", check: not_empty };
const TEXT: Kind = Kind::Text(Rule { what: "text", check: |_| Ok(()) });
const ADDRESS: Kind = Kind::Text(Rule { what: "\"host:port\"", check: |text| address::listen(text).map(drop) });
const LISTEN_ADDRESS: Kind = Kind::Text(Rule { what: "\"host:port\" or \"unix:/path\"", check: address::listener });
const PEERS: Kind = Kind::Text(Rule { what: "an address, a CIDR or unix", check: address::peers });
const FIELD: Rule = Rule { what: "a header name", check: token };
const FIELD_TEXT: Rule = Rule { what: "a header value", check: field_value };
const FIELD_VALUE: Kind = Kind::Text(FIELD_TEXT);
const TARGET: Kind = Kind::Text(Rule { what: "a path that begins with /", check: target });
const URL_PATH: Kind = Kind::Text(Rule { what: "a path that begins with /", check: url_path });

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
    .off()
    .no_effect_yet(),
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

static LISTENER: Kind = Kind::SectionOr {
    section: &[
        key("address", LISTEN_ADDRESS, "The address, as `host:port` or `unix:/path`."),
        key("tls", Kind::Section(TLS), "Serve TLS here.").off().refused("TLS is not built yet, and this port would serve plain HTTP"),
        key(
            "mode",
            Kind::Text(Rule { what: "a mode such as \"0660\"", check: mode }),
            "The file mode of a Unix socket, \"0660\" by default.",
        ),
        key("http2", Kind::Bool, "Offer HTTP/2 to clients.").default("true").no_effect_yet(),
        key("proxy_protocol", Kind::Bool, "Expect the PROXY protocol from a proxy in front.")
            .default("false")
            .refused("the PROXY protocol is not built yet, and every client would be refused"),
    ],
    other: &LISTEN_ADDRESS,
};

static TLS: &[Key] = &[
    key(
        "certificates",
        Kind::List(&Kind::Section(CERTIFICATE)),
        "Certificates, chosen by the server name that the client asks for; the first is the default.",
    ),
    key("min_version", Kind::Choice { words: &["1.2", "1.3"], any_case: false }, "The oldest TLS version that is accepted.")
        .default("\"1.2\""),
    key("strict_sni", Kind::Bool, "Refuse server names without a certificate.").default("false"),
    key("client_ca", FILE, "The root certificates for client certificates, in PEM.").off(),
    key("client_auth", Kind::Choice { words: &["require", "request"], any_case: false }, "Whether a client must have a certificate.")
        .default("require"),
];
static CERTIFICATE: &[Key] = &[key("cert", FILE, "The certificate chain, in PEM."), key("key", FILE, "The private key, in PEM.")];

const UPSTREAMS: Kind = Kind::List(&Kind::Section(UPSTREAM));
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
        "`http://host:port`, instead of `host` and `port`; or `unix:/path`.",
    ),
    key("name", Kind::Text(NAME), "The name in logs and metrics, unique in its pool; host:port by default.").also("id"),
    key("weight", Kind::Int { min: 0, max: 1000 }, "Its share of the requests; 0 = it gets no new ones.").default("1"),
    key("health_check_enabled", Kind::Bool, "Whether `health_check` applies to it.").default("true"),
    key("backup", Kind::Bool, "It gets requests only while no other upstream of its pool is usable.").default("false").no_effect_yet(),
    key("http2", Kind::BoolOr("auto"), "Use HTTP/2 to the upstream; auto = if it offers that.").default("false").no_effect_yet(),
    key("send_proxy", Kind::Choice { words: &["v1", "v2"], any_case: false }, "Send the PROXY protocol to the upstream, in this version.")
        .off()
        .refused("the PROXY protocol is not built yet, and the upstream would wait for it"),
];

const BALANCE: Key = key(
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
const SLOW_START: Key = key("slow_start_ms", MS, "The time over which the share of a recovered upstream rises; 0 = at once.");

static TIMEOUTS: &[Key] = &[
    key("connect_ms", MS, "To connect to the upstream, all its addresses together; otherwise 504.").default("5000"),
    key("read_ms", MS, "The longest silence of the upstream; after it 504.").default("60000"),
    key("write_ms", MS, "The longest time in which the upstream takes no bytes; after it 504.").default("60000"),
    key("total_ms", MS, "From the complete request head to the last byte of the response; after it 504, or the connection is cut.")
        .default("0"),
    key("attempt_ms", MS, "For one attempt at an upstream, up to the head of its answer; after it the same happens as after `read_ms`.")
        .default("0"),
    key("client_request_line_ms", MS, "From the first byte to the end of the request line; after it 408.").default("5000"),
    key(
        "client_header_ms",
        MS,
        "To the end of the request head, from its first byte, or from the accept for the first request; after it 408.",
    )
    .default("10000"),
    key("client_body_ms", MS, "The longest silence of the client within a body; after it 408.").default("30000"),
    key("client_write_ms", MS, "The longest time in which the client takes no bytes; after it the connection is cut.").default("15000"),
    key(
        "client_half_close_ms",
        MS,
        "How long a client that has closed its sending side may wait for its answer to begin; after it, it counts as gone.",
    )
    .default("1000"),
    key("client_keepalive_ms", MS, "When an idle client connection is closed; 0 = connections are not kept.").default("75000"),
    key("upstream_keepalive_ms", MS, "When an idle upstream connection is closed; 0 = connections are not kept.").default("60000"),
    key("queue_ms", MS, "The longest wait for a place at an upstream; after it 503. 0 = do not wait.").default("5000"),
    key("tunnel_idle_ms", MS, "When an upgraded connection (WebSocket) without any bytes is closed.").default("300000"),
];

static LIMITS: &[Key] = &[
    key("max_client_conns", COUNT, "Open client connections of each listening address.").default("10000"),
    key("max_conns_per_upstream", COUNT, "Open connections to one upstream, idle ones included; further requests wait.").default("1000"),
    key("max_tunnels_per_upstream", COUNT, "Upgraded connections (WebSockets) to one upstream, counted separately; further ones get 503.")
        .default("1000"),
    key("max_streams_per_upstream", COUNT, "Requests in progress on HTTP/2 connections to one upstream.").default("1000").no_effect_yet(),
    key("max_streams_per_connection", COUNT, "Requests in progress on one HTTP/2 client connection.").default("100").no_effect_yet(),
    key("max_conns_per_client", COUNT_OR_0, "Open connections of one client; further ones get 429. 0 = no limit.").default("0"),
    key("max_request_line", HEAD, "Length of the request line; a longer one gets 414.").default("8192"),
    key("max_header_size", HEAD, "Length of one field line; a longer one gets 431.").default("16384"),
    key("max_headers", Kind::Int { min: 1, max: 1024 }, "Number of field lines; more get 431.").default("100"),
    key("max_total_headers", HEAD, "Length of the whole head; a longer one gets 431.").default("65536"),
    MAX_BODY_SIZE.default("0"),
    key(
        "buffer_size",
        Kind::Amount { unit: Unit::Bytes, min: 4096, max: 16_777_216 },
        "The buffer for one direction of an exchange. Content that fits it can be sent again in a retry.",
    )
    .default("16384"),
    key("upstream_idle_conns", COUNT, "Idle connections that each worker keeps for each upstream.").default("64"),
];
const MAX_BODY_SIZE: Key = key("max_body_size", BYTES_OR_0, "Length of a request body; a longer one gets 413. 0 = no limit.");

static LOGGING: &[Key] = &[
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

const RETRY: Key = key("retry", Kind::Section(RETRIES), "Further attempts of failed requests.");
pub static RETRIES: &[Key] = &[
    key("max_retries", Kind::Int { min: 0, max: 100 }, "How many attempts may follow the first; 0 = none.").default("2"),
    key("backoff_ms", MS, "The upper limit of the random wait before the first retry; it doubles with each retry. 0 = no wait.")
        .default("25"),
    key("max_backoff_ms", SOME_MS, "The upper limit of every such wait.").default("1000"),
    key("budget_percent", Kind::Int { min: 0, max: 100 }, "The share of the pool's requests that may be retried.").default("20"),
    key("statuses", Kind::List(&STATUS), "Statuses of upstreams for which a request is retried.").default("[]"),
];

const CIRCUIT_BREAKER: Key =
    key("circuit_breaker", Kind::Section(BREAKER), "Circuit breakers: an upstream that fails requests gets none for a while.");
pub static BREAKER: &[Key] = &[
    key("failure_threshold", COUNT_OR_0, "How many failures in a row open the circuit; 0 = never.").default("3"),
    key("success_threshold", COUNT, "How many successes of trials close it.").default("2"),
    key("timeout_ms", SOME_MS, "How long it is open before trial requests are made.").default("20000"),
    key("last_resort_ms", MS, "The same while no other upstream of the pool is usable; 0 = no difference.").default("1000"),
    key("half_open_requests", COUNT, "How many trial requests may run at a time; doubled after each success.").default("1"),
    key("failure_statuses", Kind::List(&STATUS), "Statuses of upstreams that count as failures.").default("[502, 503, 504]"),
];

const HEALTH_CHECK: Key =
    key("health_check", Kind::Section(CHECK), "Health checks: requests that tidegate itself sends to find out whether an upstream works.")
        .nullable();
pub static CHECK: &[Key] = &[
    key("path", TARGET, "The path that is requested, with a query if needed.").default("/health"),
    key("interval_ms", SOME_MS, "The time between two checks of an upstream.").default("5000"),
    key("timeout_ms", SOME_MS, "The time limit of one check, connect included.").default("1000"),
    key("failure_threshold", COUNT, "How many failures in a row make the upstream unusable.").default("3"),
    key("success_threshold", COUNT, "How many successes in a row make it usable again.").default("2"),
    key("expected_status", Kind::List(&STATUS), "The first and the last good status.").default("[200, 399]"),
    key("host", Kind::Text(NAME), "The `Host` of the check; the upstream's by default.").off().no_effect_yet(),
    key("headers", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "More header fields of the check.").default("{}").no_effect_yet(),
    key("method", Kind::Text(Rule { what: "a method", check: method }), "The method of the check.").default("GET").no_effect_yet(),
    key("port", PORT, "The port to check, if it is not the upstream's.").off().no_effect_yet(),
    key("expected_body", TEXT, "Text that the first 16 KiB of the body must contain.").off().no_effect_yet(),
    key("grpc", TEXT, "Check by grpc.health.v1: the service, or \"\" for the whole server.").off().no_effect_yet(),
    key("fail_open", Kind::Bool, "If all upstreams of a pool fail their checks, treat them as if none did.")
        .default("false")
        .no_effect_yet(),
];

const RATE_LIMIT: Key = key("rate_limit", Kind::Section(RATE), "Limits of requests a second; further ones get 429.").nullable();
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
    key("redis", Kind::Text(NAME), "The Redis server, as `redis://host:6379`."),
    key("prefix", Kind::Text(NAME), "The prefix of the keys there.").default("tidegate"),
    key("sync_ms", SOME_MS, "How often counts are exchanged.").default("100"),
];
pub static PER_CLIENT: &[Key] = &[
    key("requests_per_second", COUNT, "The limit for one client."),
    key("burst", COUNT, "How many requests may come at once; twice the rate by default."),
];

const CACHE: Key = key("cache", Kind::Section(CACHED), "A shared cache for answers (RFC 9111).").nullable().no_effect_yet();
static CACHED: &[Key] = &[
    key("max_bytes", BYTES, "The size of all stored answers together.").default("67108864"),
    key("max_object_bytes", BYTES, "The size of one stored answer.").default("1048576"),
];

const NO_CHANGES: &str = "changes to header fields are not built yet, and it would pass as it came";
const HEADERS: Key = key("headers", Kind::Section(FIELDS), "Header fields.");
const ROUTE_HEADERS: Key = key("headers", Kind::Section(FIELDS), "Header fields.").no_effect_yet();
static FIELDS: &[Key] = &[
    key("via", Kind::Bool, "Send `Via` to upstreams. Without it, loops are not recognised.").default("true"),
    key("trusted_proxies", Kind::List(&PEERS), "Proxies in front, whose X-Forwarded-*, Forwarded and X-Trace-ID are trusted.")
        .default("[]"),
    key("upstream_host", Kind::Bool, "Send the upstream's own host:port as `Host`.").default("false").no_effect_yet(),
    key("remove_request", Kind::List(&Kind::Text(FIELD)), "Fields that are removed from requests.").default("[]").refused(NO_CHANGES),
    key("remove_response", Kind::List(&Kind::Text(FIELD)), "Fields that are removed from answers.").default("[]").refused(NO_CHANGES),
    key("set_request", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "Fields that are set in requests.")
        .default("{}")
        .refused(NO_CHANGES),
    key("set_response", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "Fields that are set in answers.")
        .default("{}")
        .refused(NO_CHANGES),
    key("add_response", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "Fields that are added to answers, beside existing ones.")
        .default("{}")
        .refused(NO_CHANGES),
];

const UPSTREAM_TLS: Key = key("upstream_tls", Kind::Section(TLS_OUT), "TLS to `https://` upstreams.").no_effect_yet();
static TLS_OUT: &[Key] = &[
    key("ca_file", FILE, "The root certificates, in PEM; the system's by default.").off(),
    key("server_name", Kind::Text(NAME), "The server name to ask for; the host by default.").off(),
    key("insecure_skip_verify", Kind::Bool, "Accept any certificate.").default("false"),
    key("client_cert", FILE, "The client certificate of the proxy, in PEM.").off(),
    key("client_key", FILE, "The private key, in PEM.").off(),
];

static SHUTDOWN: &[Key] = &[
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

/// A pool's own sections take precedence over the global ones, key by key.
static POOL: &[Key] = &[
    key("upstreams", UPSTREAMS, "The servers of the pool.").also("backends"),
    BALANCE,
    SLOW_START,
    key("timeouts", Kind::Section(TIMEOUTS), "As at the top level, but for this pool or route only."),
    RETRY,
    CIRCUIT_BREAKER,
    HEALTH_CHECK,
    UPSTREAM_TLS,
    STICKY.nullable(),
    key("resolve_ms", MS, "As at the top level, but for this pool or route only.").no_effect_yet(),
    ROUTE_HEADERS,
    CACHE,
    key("limits", Kind::Section(POOL_LIMITS), "As at the top level, but for this pool or route only.").no_effect_yet(),
];
static POOL_LIMITS: &[Key] = &[
    key("max_conns_per_upstream", COUNT, "As at the top level, but for this pool or route only."),
    key("max_tunnels_per_upstream", COUNT, "As at the top level, but for this pool or route only."),
    key("max_streams_per_upstream", COUNT, "As at the top level, but for this pool or route only."),
    key("upstream_idle_conns", COUNT, "As at the top level, but for this pool or route only."),
];

/// A route's own sections take precedence over its pool's and the global ones, key by key.
static ROUTE: &[Key] = &[
    key("name", Kind::Text(NAME), "The name in logs, by which a reload also recognises the route."),
    key("match", Kind::Section(MATCH), "The conditions, all of which must hold; without any the route matches every request."),
    key("strip_prefix", URL_PATH, "Removed from the path before it is sent to the upstream.")
        .refused("it is not built yet, and the upstream would get another path"),
    key("proxy", Kind::Text(NAME), "Action: forward to this pool."),
    key("static_files", Kind::Section(FILES), "Action: serve files of a directory.").no_effect_yet(),
    key("echo", Kind::Section(ECHO), "Action: answer with the request that was received."),
    key("respond", Kind::Section(RESPOND), "Action: give a fixed answer."),
    key("redirect", Kind::Section(REDIRECT), "Action: redirect the client.").no_effect_yet(),
    key(
        "admin",
        Kind::Choice { words: &["metrics", "health", "backends", "live", "ready"], any_case: false },
        "Action: show a page of the admin port.",
    )
    .no_effect_yet(),
    key("rewrite", Kind::Section(REWRITE), "Change the path for the upstream.")
        .refused("it is not built yet, and the upstream would get another path"),
    key("basic_auth", Kind::Section(BASIC_AUTH), "Ask for a password; without it 401.")
        .refused("it is not built yet, and everybody would get in"),
    key("forward_auth", Kind::Section(FORWARD_AUTH), "Ask another service whether a request is allowed.")
        .refused("it is not built yet, and everybody would get in"),
    key("access_log", Kind::Bool, "Whether requests of this route get lines in the access log.").default("true"),
    COMPRESSION.nullable(),
    key("timeouts", Kind::Section(TIMEOUTS), "As at the top level, but for this pool or route only."),
    RETRY,
    RATE_LIMIT,
    CACHE,
    ROUTE_HEADERS,
    key("limits", Kind::Section(&[MAX_BODY_SIZE]), "As at the top level, but for this pool or route only."),
    key("allow", Kind::List(&PEERS), "Only these clients are allowed; others get 403.")
        .refused("access lists are not built yet, and everybody would get in"),
    key("deny", Kind::List(&PEERS), "These clients get 403.").refused("access lists are not built yet, and everybody would get in"),
];
static MATCH: &[Key] = &[
    key(
        "host",
        Kind::Text(Rule { what: "a host name", check: host_pattern }),
        "The host, without a port; `*.example.com` matches every name under example.com.",
    ),
    key("path", URL_PATH, "The exact path."),
    key("path_prefix", URL_PATH, "`/api` matches `/api`, `/api/…` and `/api?…`, but not `/apix`."),
    key("methods", Kind::List(&Kind::Text(Rule { what: "a method", check: method })), "The method is one of these."),
    key("port", PORT, "The port that the client connected to."),
];
static FILES: &[Key] = &[
    key("root", FILE, "The directory."),
    key("index", Kind::OneOrList(&Kind::Text(NAME)), "The file that is served for a directory.").default("index.html"),
    key("try", Kind::List(&Kind::Text(NAME)), "Files to try, in order.").default("[]"),
    key("listing", Kind::Bool, "List directories.").default("false"),
    key("precompressed", Kind::Bool, "Serve `.zst`, `.br` and `.gz` beside a file.").default("true"),
    key("cache_control", Kind::Text(FIELD_TEXT), "The `Cache-Control` of the answers.").off(),
];
static REWRITE: &[Key] = &[
    key("path", Kind::Text(NAME), "The new path; `{path}` is the old one."),
    key("regex", Kind::Text(NAME), "The regular expression that the path must match."),
    key("to", Kind::Text(NAME), "The new path; `$1` is the first group."),
];
static BASIC_AUTH: &[Key] = &[
    key("realm", TEXT, "The text that browsers show with the question.").default("tidegate"),
    key("users", Kind::Named { name: NAME, value: &TEXT }, "User names with the hashes of their passwords."),
];
static FORWARD_AUTH: &[Key] = &[
    key("pool", Kind::Text(NAME), "The pool of the service that decides."),
    key("path", TARGET, "The path of the request to that service."),
    key("copy", Kind::List(&Kind::Text(FIELD)), "Fields of its answer that are sent to the upstream.").default("[]"),
    key("timeout_ms", SOME_MS, "The time limit of that request.").default("5000"),
];
const STICKY: Key = key("sticky", Kind::Section(STICKY_KEYS), "A cookie that leads a client back to the same upstream.").no_effect_yet();
static STICKY_KEYS: &[Key] = &[
    key("cookie", Kind::Text(FIELD), "The name of the cookie.").default("tidegate"),
    key("max_age_ms", MS, "How long browsers keep it; 0 = until they are closed.").default("0"),
    key("secure", Kind::BoolOr("auto"), "Its `Secure` attribute; auto = if the client uses TLS.").default("auto"),
    key("same_site", Kind::Choice { words: &["lax", "strict", "none"], any_case: true }, "Its `SameSite` attribute.").default("lax"),
    key("key", TEXT, "A secret of 32 characters or more, the same for several processes.").off(),
];
const COMPRESSION: Key = key("compression", Kind::Section(COMPRESSED), "Compression of answers.").no_effect_yet();
static COMPRESSED: &[Key] = &[
    key("algorithms", Kind::List(&Kind::Choice { words: &["zstd", "br", "gzip"], any_case: false }), "In order of preference.")
        .default("[zstd, br, gzip]"),
    key("min_bytes", BYTES, "Smaller answers are not compressed.").default("1024"),
    key("types", Kind::List(&Kind::Text(NAME)), "The media types that are compressed; `text/*` means every text."),
];
static TRACING: &[Key] = &[
    key("otlp", Kind::Text(NAME), "Where spans go: `http://127.0.0.1:4318`."),
    key("sample_percent", Kind::Int { min: 0, max: 100 }, "The share of requests that are traced, of those that do not say so themselves.")
        .default("1"),
    key("service_name", Kind::Text(NAME), "The name of this service in traces.").default("tidegate"),
];
static TEST: &[Key] = &[
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
static ECHO: &[Key] = &[key("name", Kind::Text(NAME), "The first line of the answer; the route's name by default.")];
static RESPOND: &[Key] = &[
    key("status", Kind::Int { min: 200, max: 599 }, "The status of the answer.").default("200"),
    key("body", TEXT, "The body of the answer.").default("\"\""),
    key("body_file", FILE, "A file with the body of the answer.").off().no_effect_yet(),
    key("content_type", Kind::Text(FIELD_TEXT), "The type of the body.").default("\"text/plain; charset=utf-8\"").no_effect_yet(),
];
static REDIRECT: &[Key] = &[
    key("status", Kind::Int { min: 300, max: 399 }, "The status of the answer.").default("308"),
    key("location", Kind::Text(NAME), "Where to; `{host}` and `{uri}` are replaced by those of the request."),
];
