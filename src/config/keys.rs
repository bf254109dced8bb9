//! Every key of the configuration, in one table: what it is called, what may stand there, its default, and whether its function
//! is built yet. Unknown keys, ranges, warnings, `check --print` and the reference in docs/configuration.md all follow from it.

use super::address;
use super::schema::{Key, Kind, Rule, key};
use super::tree::Shown;
use super::units::Unit;

const DAY_MS: i64 = 86_400_000;
/// A day at most; 0 has a meaning (no limit, do not wait, off, at once).
const MS: Kind = Kind::Amount { unit: Unit::Milliseconds, min: 0, max: DAY_MS };
/// A day at most, and something.
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
const CIDR: Kind = Kind::Text(Rule { what: "an address or CIDR", check: address::cidr });
const FIELD: Rule = Rule { what: "a header name", check: token };
const FIELD_TEXT: Rule = Rule { what: "a header value", check: field_value };
const FIELD_VALUE: Kind = Kind::Text(FIELD_TEXT);
const TARGET: Kind = Kind::Text(Rule { what: "a path that begins with /", check: target });
const URL_PATH: Kind = Kind::Text(Rule { what: "a path that begins with /", check: url_path });

/// The whole document.
pub static ROOT: &[Key] = &[
    key("listen", Kind::OneOrList(&LISTENER), "Where clients connect. `:8080` and `*:8080` are every IPv4 interface.")
        .default("\"127.0.0.1:8080\""),
    key("metrics_listen", ADDRESS, "The admin port; null turns it off.").default("\"127.0.0.1:8081\"").nullable(),
    key("workers", Kind::AutoOrInt { min: 1, max: 1024 }, "Threads, each with its own loop; auto = the CPUs it may use.").default("auto"),
    key("pid_file", FILE, "Holds the process id while it runs.").off(),
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
    key("resolve_ms", MS, "Host names are looked up again this often; 0 = never.").default("30000"),
    key("timeouts", Kind::Section(TIMEOUTS), "How long is waited for what."),
    key("limits", Kind::Section(LIMITS), "How much is taken."),
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
        "The sentence after the reason in the bodies of 5xx errors; auto = only to this machine.",
    )
    .default("auto"),
    key("error_pages", FILE, "A directory with 502.html, 5xx.html, 502.json and the like.").off().no_effect_yet(),
    key("watch", Kind::Bool, "Reload when the file changes.").default("false"),
    key("tracing", Kind::Section(TRACING), "Spans by OTLP.").off().no_effect_yet(),
    key("tests", Kind::List(&Kind::Section(TEST)), "Requests, and what is to become of them.").default("[]").no_effect_yet(),
    key("admin_socket", FILE, "A Unix socket for commands that change something.").off().no_effect_yet(),
    key("shutdown", Kind::Section(SHUTDOWN), "What SIGTERM and SIGINT do."),
    key("pools", Kind::Named { name: NAME, value: &Kind::Section(POOL) }, "More pools, by name.").default("{}"),
    key(
        "routes",
        Kind::List(&Kind::Section(ROUTE)),
        "The first whose `match` holds takes the request; where none does, the pool `default`.",
    )
    .default("[]"),
];

static LISTENER: Kind = Kind::SectionOr {
    section: &[
        key("address", ADDRESS, "`host:port`."),
        key("tls", Kind::Section(TLS), "Serve TLS here.").off().refused("TLS is not built yet, and this port would serve plain HTTP"),
        key("mode", Kind::Text(Rule { what: "a mode such as \"0660\"", check: mode }), "Of a Unix socket.").no_effect_yet(),
        key("http2", Kind::Bool, "Speak HTTP/2 to clients that do.").default("true").no_effect_yet(),
        key("proxy_protocol", Kind::Bool, "Clients are proxies that send the PROXY protocol.")
            .default("false")
            .refused("the PROXY protocol is not built yet, and every client would be refused"),
    ],
    other: &ADDRESS,
};

static TLS: &[Key] = &[
    key("certificates", Kind::List(&Kind::Section(CERTIFICATE)), "Chosen by the client's server name; the first is the default."),
    key("min_version", Kind::Choice { words: &["1.2", "1.3"], any_case: false }, "The oldest version.").default("\"1.2\""),
    key("strict_sni", Kind::Bool, "Refuse names without a certificate.").default("false"),
    key("client_ca", FILE, "Roots of clients' certificates, PEM.").off(),
    key("client_auth", Kind::Choice { words: &["require", "request"], any_case: false }, "Whether a client must have one.")
        .default("require"),
];
static CERTIFICATE: &[Key] = &[key("cert", FILE, "The chain, PEM."), key("key", FILE, "Its key, PEM.")];

const UPSTREAMS: Kind = Kind::List(&Kind::Section(UPSTREAM));
static UPSTREAM: &[Key] = &[
    key("host", Kind::Text(Rule { what: "a host name or address", check: address::host }), "Together with `port`; or `url`."),
    key("port", PORT, "Its port."),
    key("url", Kind::Text(Rule { what: "a URL", check: |text| address::url(text).map(drop) }), "`http://host:port`, instead of both."),
    key("name", Kind::Text(NAME), "What logs and metrics call it: unique in its pool, host:port by default.").also("id"),
    key("weight", Kind::Int { min: 0, max: 1000 }, "Its share; 0 = no new requests.").default("1"),
    key("health_check_enabled", Kind::Bool, "Whether `health_check` looks at it.").default("true"),
    key("backup", Kind::Bool, "Gets requests only while no other of its pool is usable.").default("false").no_effect_yet(),
    key("http2", Kind::BoolOr("auto"), "Speak HTTP/2 to it; auto = where it offers that.").default("false").no_effect_yet(),
    key("send_proxy", Kind::Choice { words: &["v1", "v2"], any_case: false }, "Send it the PROXY protocol.")
        .off()
        .refused("the PROXY protocol is not built yet, and the upstream would wait for it"),
];

const BALANCE: Key = key(
    "balance",
    Kind::SectionOr { section: BALANCE_SECTION, other: &BALANCE_WORD },
    "How an upstream is chosen; `round_robin` honours weights too.",
);
static BALANCE_WORD: Kind =
    Kind::Choice { words: &["round_robin", "random", "weighted", "least_connections", "consistent_hash", "adaptive"], any_case: false };
static BALANCE_SECTION: &[Key] = &[key(
    "consistent_hash",
    Kind::Section(&[key("header", Kind::Text(FIELD), "By this field instead of the client's address.")]),
    "By hash.",
)];
const SLOW_START: Key = key("slow_start_ms", MS, "An upstream that comes back is ramped up over this time; 0 = at once.");

static TIMEOUTS: &[Key] = &[
    key("connect_ms", MS, "TCP connect to the upstream, all its addresses together: 504.").default("5000"),
    key("read_ms", MS, "One wait for bytes from the upstream: 504.").default("60000"),
    key("write_ms", MS, "One wait for the upstream to take bytes: 504.").default("60000"),
    key("total_ms", MS, "Request head complete to last response byte: 504, or a cut connection.").default("0"),
    key("attempt_ms", MS, "One attempt at an upstream, until the head of its answer is here; over, it is as if `read_ms` were.")
        .default("0"),
    key("client_request_line_ms", MS, "First byte to the end of the request line: 408.").default("5000"),
    key("client_header_ms", MS, "Accept (first request) or first byte to the end of the head: 408.").default("10000"),
    key("client_body_ms", MS, "One wait for body bytes from the client: 408.").default("30000"),
    key("client_write_ms", MS, "One wait for the client to take response bytes: cut.").default("15000"),
    key(
        "client_half_close_ms",
        MS,
        "A client that closed its sending side is still answered if the answer begins in this time; then it counts as gone.",
    )
    .default("1000"),
    key("client_keepalive_ms", MS, "An idle client connection is closed; 0 = do not keep.").default("75000"),
    key("upstream_keepalive_ms", MS, "An idle upstream connection is closed; 0 = do not keep.").default("60000"),
    key("queue_ms", MS, "Waiting for a free upstream slot: 503; 0 = do not wait.").default("5000"),
    key("tunnel_idle_ms", MS, "An upgraded connection without a byte either way is closed.").default("300000"),
];

static LIMITS: &[Key] = &[
    key("max_client_conns", COUNT, "Open client connections of each listen address.").default("10000"),
    key("max_conns_per_upstream", COUNT, "Open connections to one upstream, idle ones too.").default("1000"),
    key("max_tunnels_per_upstream", COUNT, "Upgraded connections to one upstream, counted apart from the others: 503.").default("1000"),
    key("max_streams_per_upstream", COUNT, "Exchanges on HTTP/2 connections to one upstream.").default("1000").no_effect_yet(),
    key("max_streams_per_connection", COUNT, "Exchanges at a time of one HTTP/2 client connection.").default("100").no_effect_yet(),
    key("max_conns_per_client", COUNT_OR_0, "Open connections of one client: 429; 0 = off.").default("0"),
    key("max_request_line", HEAD, "Request line: 414.").default("8192"),
    key("max_header_size", HEAD, "One field line: 431.").default("16384"),
    key("max_headers", Kind::Int { min: 1, max: 1024 }, "Field lines: 431.").default("100"),
    key("max_total_headers", HEAD, "Whole head: 431.").default("65536"),
    MAX_BODY_SIZE.default("0"),
    key("buffer_size", Kind::Amount { unit: Unit::Bytes, min: 4096, max: 16_777_216 }, "One ring buffer, one direction.").default("16384"),
    key("upstream_idle_conns", COUNT, "Idle connections kept per upstream and worker.").default("64"),
];
const MAX_BODY_SIZE: Key = key("max_body_size", BYTES_OR_0, "Request body: 413; 0 = no limit.");

static LOGGING: &[Key] = &[
    key("level", Kind::Choice { words: LEVELS, any_case: true }, "Of diagnostics.").default("info"),
    key("access_log", FILE, "`-` = standard output; with `dir` set the default is access.log; null turns it off.")
        .default("\"-\"")
        .nullable(),
    key("error_log", FILE, "Diagnostics; `-` = standard error; with `dir` set the default is error.log.").default("\"-\""),
    key("access_format", Kind::Choice { words: &["text", "combined", "json"], any_case: false }, "Of the access log.").default("text"),
    key("dir", FILE, "Directory of relative paths, made if missing.").off(),
    key("rotate", Kind::Section(ROTATE), "Of log files; null leaves it to others.").nullable().default("{}"),
    key("server_timing", Kind::Bool, "`Server-Timing` on answers.").default("false").no_effect_yet(),
];
static LEVELS: &[&str] = &["error", "warn", "warning", "info", "debug", "trace"];
static ROTATE: &[Key] = &[
    key("max_bytes", BYTES, "A file this large becomes access.log.1.").default("104857600"),
    key("keep", Kind::Int { min: 1, max: 1000 }, "Old files kept.").default("5"),
];

const RETRY: Key = key("retry", Kind::Section(RETRIES), "Second tries.");
pub static RETRIES: &[Key] = &[
    key("max_retries", Kind::Int { min: 0, max: 100 }, "Attempts after the first; 0 = none.").default("2"),
    key("backoff_ms", MS, "Upper bound of the first wait, doubled each time; 0 = no wait.").default("25"),
    key("max_backoff_ms", SOME_MS, "Upper bound of every wait.").default("1000"),
    key("budget_percent", Kind::Int { min: 0, max: 100 }, "Share of the pool's requests that may be retries.").default("20"),
    key("statuses", Kind::List(&STATUS), "Upstream statuses worth another try.").default("[]"),
];

const CIRCUIT_BREAKER: Key = key("circuit_breaker", Kind::Section(BREAKER), "Passive health, one per upstream.");
pub static BREAKER: &[Key] = &[
    key("failure_threshold", COUNT_OR_0, "Consecutive failures until it opens; 0 = no breaker.").default("3"),
    key("success_threshold", COUNT, "Successes until it closes.").default("2"),
    key("timeout_ms", SOME_MS, "Open until half-open.").default("20000"),
    key("last_resort_ms", MS, "Likewise, while no other upstream of the pool is usable; 0 = off.").default("1000"),
    key("half_open_requests", COUNT, "Trial requests at a time, twice as many after each success.").default("1"),
    key("failure_statuses", Kind::List(&STATUS), "Statuses that count as failures.").default("[502, 503, 504]"),
];

const HEALTH_CHECK: Key = key("health_check", Kind::Section(CHECK), "Active health.").nullable();
pub static CHECK: &[Key] = &[
    key("path", TARGET, "What is asked for; it may have a query.").default("/health"),
    key("interval_ms", SOME_MS, "Between checks.").default("5000"),
    key("timeout_ms", SOME_MS, "Of one check.").default("1000"),
    key("failure_threshold", COUNT, "Failures until it is down.").default("3"),
    key("success_threshold", COUNT, "Successes until it is up.").default("2"),
    key("expected_status", Kind::List(&STATUS), "First and last good status.").default("[200, 399]"),
    key("host", Kind::Text(NAME), "Its Host; the upstream's by default.").off().no_effect_yet(),
    key("headers", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "More fields.").default("{}").no_effect_yet(),
    key("method", Kind::Text(Rule { what: "a method", check: method }), "Its method.").default("GET").no_effect_yet(),
    key("port", PORT, "Another port than the upstream's.").off().no_effect_yet(),
    key("expected_body", TEXT, "What the first 16 KiB of the body must contain.").off().no_effect_yet(),
    key("grpc", TEXT, "A service of grpc.health.v1; \"\" = the whole server.").off().no_effect_yet(),
    key("fail_open", Kind::Bool, "Where every check of a pool fails, requests go on as if none did.").default("false").no_effect_yet(),
];

const RATE_LIMIT: Key = key("rate_limit", Kind::Section(RATE), "Requests over it get 429.").nullable();
pub static RATE: &[Key] = &[
    key("algorithm", Kind::Choice { words: &["token_bucket", "sliding_window"], any_case: false }, "How it is counted.")
        .default("token_bucket"),
    key("requests_per_second", COUNT, "Of the whole process."),
    key("burst", COUNT, "At once; twice the rate by default."),
    key("per_client", Kind::Section(PER_CLIENT), "Of each client.").off(),
    key("dry_run", Kind::Bool, "Count what would be refused, refuse nothing.").default("false"),
    key("shared", Kind::Section(SHARED), "Counted over several processes.").off().no_effect_yet(),
];
static SHARED: &[Key] = &[
    key("redis", Kind::Text(NAME), "`redis://host:6379`."),
    key("prefix", Kind::Text(NAME), "Of its keys.").default("tidegate"),
    key("sync_ms", SOME_MS, "How often it is asked.").default("100"),
];
pub static PER_CLIENT: &[Key] =
    &[key("requests_per_second", COUNT, "Of one client."), key("burst", COUNT, "At once; twice the rate by default.")];

const CACHE: Key = key("cache", Kind::Section(CACHED), "A shared cache, RFC 9111.").nullable().no_effect_yet();
static CACHED: &[Key] = &[
    key("max_bytes", BYTES, "All answers together.").default("67108864"),
    key("max_object_bytes", BYTES, "One answer.").default("1048576"),
];

const NO_CHANGES: &str = "changes to header fields are not built yet, and it would pass as it came";
const HEADERS: Key = key("headers", Kind::Section(FIELDS), "What is changed in heads.");
const ROUTE_HEADERS: Key = key("headers", Kind::Section(FIELDS), "What is changed in heads.").no_effect_yet();
static FIELDS: &[Key] = &[
    key("via", Kind::Bool, "Send `Via` upstream; false: no loop is noticed either.").default("true"),
    key("trusted_proxies", Kind::List(&CIDR), "Whose X-Forwarded-*, Forwarded and X-Trace-ID are kept.").default("[]"),
    key("upstream_host", Kind::Bool, "Send the upstream's own host:port as Host.").default("false").no_effect_yet(),
    key("remove_request", Kind::List(&Kind::Text(FIELD)), "Never sent upstream.").default("[]").refused(NO_CHANGES),
    key("remove_response", Kind::List(&Kind::Text(FIELD)), "Never sent to the client.").default("[]").refused(NO_CHANGES),
    key("set_request", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "Set on the way up.").default("{}").refused(NO_CHANGES),
    key("set_response", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "Set on the way down.").default("{}").refused(NO_CHANGES),
    key("add_response", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "Added on the way down, beside what is there.")
        .default("{}")
        .refused(NO_CHANGES),
];

const UPSTREAM_TLS: Key = key("upstream_tls", Kind::Section(TLS_OUT), "For https:// upstreams.").no_effect_yet();
static TLS_OUT: &[Key] = &[
    key("ca_file", FILE, "Roots, PEM; the system's by default.").off(),
    key("server_name", Kind::Text(NAME), "The name asked for; the host by default.").off(),
    key("insecure_skip_verify", Kind::Bool, "Take any certificate.").default("false"),
    key("client_cert", FILE, "Ours, PEM.").off(),
    key("client_key", FILE, "Its key, PEM.").off(),
];

static SHUTDOWN: &[Key] = &[
    key("delay_ms", MS, "Everything is served as before for so long, while `/health` says `draining`.").default("0"),
    key("grace_ms", MS, "From then on: what is unfinished after it is cut; 0 = at once.").default("30000"),
    key(
        "new_requests",
        Kind::Choice { words: &["refuse", "reject"], any_case: false },
        "refuse = listeners close; reject = requests on new connections get 503.",
    )
    .default("refuse"),
];

/// A pool's own sections lie over the global ones, key by key.
static POOL: &[Key] = &[
    key("upstreams", UPSTREAMS, "Its servers.").also("backends"),
    BALANCE,
    SLOW_START,
    key("timeouts", Kind::Section(TIMEOUTS), "Its own."),
    RETRY,
    CIRCUIT_BREAKER,
    HEALTH_CHECK,
    UPSTREAM_TLS,
    STICKY.nullable(),
    key("resolve_ms", MS, "Its own.").no_effect_yet(),
    ROUTE_HEADERS,
    CACHE,
    key("limits", Kind::Section(POOL_LIMITS), "Its own.").no_effect_yet(),
];
static POOL_LIMITS: &[Key] = &[
    key("max_conns_per_upstream", COUNT, "Its own."),
    key("max_tunnels_per_upstream", COUNT, "Its own."),
    key("max_streams_per_upstream", COUNT, "Its own."),
    key("upstream_idle_conns", COUNT, "Its own."),
];

/// A route's own sections lie over its pool's and the global ones, key by key.
static ROUTE: &[Key] = &[
    key("name", Kind::Text(NAME), "What logs call it."),
    key("match", Kind::Section(MATCH), "All that is given must hold; nothing = every request."),
    key("strip_prefix", URL_PATH, "Taken off the path before it is sent upstream.")
        .refused("it is not built yet, and the upstream would get another path"),
    key("proxy", Kind::Text(NAME), "Action: forward to this pool."),
    key("static_files", Kind::Section(FILES), "Action: files of a directory.").no_effect_yet(),
    key("echo", Kind::Section(ECHO), "Action: answer with what was received."),
    key("respond", Kind::Section(RESPOND), "Action: a fixed answer."),
    key("redirect", Kind::Section(REDIRECT), "Action: send the client elsewhere.").no_effect_yet(),
    key(
        "admin",
        Kind::Choice { words: &["metrics", "health", "backends", "live", "ready"], any_case: false },
        "Action: a page of the admin port.",
    )
    .no_effect_yet(),
    key("rewrite", Kind::Section(REWRITE), "Another path for the upstream.")
        .refused("it is not built yet, and the upstream would get another path"),
    key("basic_auth", Kind::Section(BASIC_AUTH), "Who has no password gets 401.")
        .refused("it is not built yet, and everybody would get in"),
    key("forward_auth", Kind::Section(FORWARD_AUTH), "Another service says who may pass.")
        .refused("it is not built yet, and everybody would get in"),
    key("access_log", Kind::Bool, "false: no line in the access log.").default("true"),
    COMPRESSION.nullable(),
    key("timeouts", Kind::Section(TIMEOUTS), "Its own."),
    RETRY,
    RATE_LIMIT,
    CACHE,
    ROUTE_HEADERS,
    key("limits", Kind::Section(&[MAX_BODY_SIZE]), "Its own."),
    key("allow", Kind::List(&CIDR), "Who is not in it gets 403.").refused("access lists are not built yet, and everybody would get in"),
    key("deny", Kind::List(&CIDR), "Who is in it gets 403.").refused("access lists are not built yet, and everybody would get in"),
];
static MATCH: &[Key] = &[
    key("host", Kind::Text(Rule { what: "a host name", check: host_pattern }), "Without port; `*.example.com` is any name under it."),
    key("path", URL_PATH, "Exactly this path."),
    key("path_prefix", URL_PATH, "`/api` takes `/api`, `/api/…` and `/api?…`, not `/apix`."),
    key("methods", Kind::List(&Kind::Text(Rule { what: "a method", check: method })), "One of these."),
    key("port", PORT, "The port the client connected to."),
];
static FILES: &[Key] = &[
    key("root", FILE, "The directory."),
    key("index", Kind::OneOrList(&Kind::Text(NAME)), "Served for a directory.").default("index.html"),
    key("try", Kind::List(&Kind::Text(NAME)), "Files to try, in order.").default("[]"),
    key("listing", Kind::Bool, "List directories.").default("false"),
    key("precompressed", Kind::Bool, "Serve `.zst`, `.br` and `.gz` beside a file.").default("true"),
    key("cache_control", Kind::Text(FIELD_TEXT), "`Cache-Control` of its answers.").off(),
];
static REWRITE: &[Key] = &[
    key("path", Kind::Text(NAME), "The new path; `{path}` is the old one."),
    key("regex", Kind::Text(NAME), "What it must match."),
    key("to", Kind::Text(NAME), "What it becomes; `$1` is the first group."),
];
static BASIC_AUTH: &[Key] = &[
    key("realm", TEXT, "Shown to whoever is asked.").default("tidegate"),
    key("users", Kind::Named { name: NAME, value: &TEXT }, "Names, and hashes of their passwords."),
];
static FORWARD_AUTH: &[Key] = &[
    key("pool", Kind::Text(NAME), "Who is asked."),
    key("path", TARGET, "For what."),
    key("copy", Kind::List(&Kind::Text(FIELD)), "Fields of its answer that go upstream.").default("[]"),
    key("timeout_ms", SOME_MS, "How long it may take.").default("5000"),
];
const STICKY: Key = key("sticky", Kind::Section(STICKY_KEYS), "A cookie that leads a client to the same upstream.").no_effect_yet();
static STICKY_KEYS: &[Key] = &[
    key("cookie", Kind::Text(FIELD), "Its name.").default("tidegate"),
    key("max_age_ms", MS, "How long it is kept; 0 = the session.").default("0"),
    key("secure", Kind::BoolOr("auto"), "auto = where the client speaks TLS.").default("auto"),
    key("same_site", Kind::Choice { words: &["lax", "strict", "none"], any_case: true }, "Its SameSite.").default("lax"),
    key("key", TEXT, "32 characters or more, for several processes to agree.").off(),
];
const COMPRESSION: Key = key("compression", Kind::Section(COMPRESSED), "Answers are compressed.").no_effect_yet();
static COMPRESSED: &[Key] = &[
    key("algorithms", Kind::List(&Kind::Choice { words: &["zstd", "br", "gzip"], any_case: false }), "In order of preference.")
        .default("[zstd, br, gzip]"),
    key("min_bytes", BYTES, "Smaller ones are not.").default("1024"),
    key("types", Kind::List(&Kind::Text(NAME)), "Which media types; `text/*` is every text."),
];
static TRACING: &[Key] = &[
    key("otlp", Kind::Text(NAME), "Where spans go: `http://127.0.0.1:4318`."),
    key("sample_percent", Kind::Int { min: 0, max: 100 }, "Of requests that carry no decision.").default("1"),
    key("service_name", Kind::Text(NAME), "What it is called there.").default("tidegate"),
];
static TEST: &[Key] = &[
    key("request", Kind::Text(NAME), "`GET https://shop.example/api`."),
    key("from", Kind::Text(NAME), "The client's address.").default("127.0.0.1"),
    key("expect", Kind::Section(EXPECT), "What is to become of it."),
];
static EXPECT: &[Key] = &[
    key("status", STATUS, "Of the answer made here."),
    key("route", Kind::Text(NAME), "The route that takes it."),
    key("pool", Kind::Text(NAME), "The pool that gets it."),
    key("upstream_path", TARGET, "The path that the upstream sees."),
];
static ECHO: &[Key] = &[key("name", Kind::Text(NAME), "First line of the answer; the route's name by default.")];
static RESPOND: &[Key] = &[
    key("status", Kind::Int { min: 200, max: 599 }, "Its status.").default("200"),
    key("body", TEXT, "Its body, text/plain.").default("\"\""),
    key("body_file", FILE, "A file with its body.").off().no_effect_yet(),
    key("content_type", Kind::Text(FIELD_TEXT), "Of the body.").default("\"text/plain; charset=utf-8\"").no_effect_yet(),
];
static REDIRECT: &[Key] = &[
    key("status", Kind::Int { min: 300, max: 399 }, "Its status.").default("308"),
    key("location", Kind::Text(NAME), "`{host}` and `{uri}` are the request's."),
];

fn not_empty(text: &str) -> Result<(), String> {
    match text {
        "" => Err("must not be empty".into()),
        _ if text.chars().any(char::is_control) => Err(format!("\"{}\" has a control character in it", Shown(text))),
        _ => Ok(()),
    }
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&b))
}

fn token(text: &str) -> Result<(), String> {
    if is_token(text) { Ok(()) } else { Err(format!("\"{}\" is no header name", Shown(text))) }
}

fn field_value(text: &str) -> Result<(), String> {
    let bad = text.bytes().any(|b| (b < b' ' && b != b'\t') || b == 0x7f);
    if bad { Err(format!("\"{}\" has a control character in it", Shown(text))) } else { Ok(()) }
}

fn mode(text: &str) -> Result<(), String> {
    let is_octal = (3..=4).contains(&text.len()) && text.bytes().all(|b| (b'0'..=b'7').contains(&b));
    if is_octal { Ok(()) } else { Err(format!("\"{}\" is no mode, write it like \"0660\"", Shown(text))) }
}

fn url_path(text: &str) -> Result<(), String> {
    if text.starts_with('/') && text.contains(['?', '#']) {
        return Err(format!("\"{}\": a path has no query or fragment", Shown(text)));
    }
    target(text)?;
    match address::normal_path(text) {
        Some(_) => Ok(()),
        None => Err(format!("\"{}\" climbs above its root: no request has such a path", Shown(text))),
    }
}

fn target(text: &str) -> Result<(), String> {
    let shown = Shown(text);
    match text {
        _ if !text.starts_with('/') => Err(format!("\"{shown}\" must begin with /, write \"/{shown}\"")),
        _ if text.contains('#') => Err(format!("\"{shown}\": a fragment is never sent")),
        _ if text.bytes().any(|b| b <= b' ' || b == 0x7f) => Err(format!("\"{shown}\" has a space or control in it, write %20")),
        _ => Ok(()),
    }
}

fn method(text: &str) -> Result<(), String> {
    let upper = text.to_ascii_uppercase();
    let usual = ["GET", "HEAD", "POST", "PUT", "DELETE", "PATCH", "OPTIONS"].contains(&upper.as_str());
    match text {
        _ if usual && upper != text => Err(format!("\"{text}\": methods are case-sensitive, did you mean {upper}?")),
        _ if !is_token(text) => Err(format!("\"{}\" is no method", Shown(text))),
        _ => Ok(()),
    }
}

fn host_pattern(text: &str) -> Result<(), String> {
    let name = text.strip_prefix("*.").unwrap_or(text);
    if name.contains('*') {
        return Err(format!("\"{}\": only a leading \"*.\" is a wildcard", Shown(text)));
    }
    if let Some((host, _)) = name.rsplit_once(':').filter(|(host, port)| !host.contains(':') && port.parse::<u16>().is_ok()) {
        return Err(format!("\"{}\": the port goes into match.port, write \"{}\"", Shown(text), Shown(host)));
    }
    if name.len() < text.len() && name.trim_matches(['[', ']']).parse::<std::net::IpAddr>().is_ok() {
        return Err(format!("\"{}\": there are no names under an address, write \"{}\"", Shown(text), Shown(name)));
    }
    address::host(name)
}
