//! Routes: their conditions, and what is done with a request.

use super::guards::{RATE_LIMIT, RETRY};
use super::kinds::{FIELD, FIELD_TEXT, FILE, NAME, PEERS, PORT, SOME_MS, TARGET, TEXT, URL_PATH};
use super::limits::{MAX_BODY_SIZE, TIMEOUTS};
use super::messages::{CACHE, COMPRESSION, ROUTE_HEADERS};
use crate::config::rules::{host_pattern, method};
use crate::config::schema::{Key, Kind, Rule, key};

/// A route's own sections take precedence over its pool's and the global ones, key by key.
pub(super) static ROUTE: &[Key] = &[
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
    key("users", Kind::Named { name: NAME, value: &TEXT }, "User names with the hashes of their passwords.").secret(),
];

static FORWARD_AUTH: &[Key] = &[
    key("pool", Kind::Text(NAME), "The pool of the service that decides."),
    key("path", TARGET, "The path of the request to that service."),
    key("copy", Kind::List(&Kind::Text(FIELD)), "Fields of its answer that are sent to the upstream.").default("[]"),
    key("timeout_ms", SOME_MS, "The time limit of that request.").default("5000"),
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
