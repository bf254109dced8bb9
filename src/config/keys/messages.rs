//! What is done to the messages that pass: header fields, compression, the cache.

use super::kinds::{BYTES, FIELD, FIELD_VALUE, NAME, PEERS};
use crate::config::schema::{Key, Kind, key};

const NO_CHANGES: &str = "changes to header fields are not built yet, and it would pass as it came";
pub(super) const HEADERS: Key = key("headers", Kind::Section(FIELDS), "Header fields.");
pub(super) const ROUTE_HEADERS: Key = key("headers", Kind::Section(FIELDS), "Header fields.").no_effect_yet();
static FIELDS: &[Key] = &[
    key("via", Kind::Bool, "Send `Via` to upstreams. Without it, loops are not recognised.").default("true"),
    key("trusted_proxies", Kind::List(&PEERS), "Proxies in front, whose X-Forwarded-*, Forwarded and X-Trace-ID are trusted.")
        .default("[]"),
    key("upstream_host", Kind::Bool, "Send the upstream's own host:port as `Host`.").default("false").no_effect_yet(),
    key("remove_request", Kind::List(&Kind::Text(FIELD)), "Fields that are removed from requests.").default("[]").refused(NO_CHANGES),
    key("remove_response", Kind::List(&Kind::Text(FIELD)), "Fields that are removed from answers.").default("[]").refused(NO_CHANGES),
    key("set_request", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "Fields that are set in requests.")
        .default("{}")
        .secret()
        .refused(NO_CHANGES),
    key("set_response", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "Fields that are set in answers.")
        .default("{}")
        .secret()
        .refused(NO_CHANGES),
    key("add_response", Kind::Named { name: FIELD, value: &FIELD_VALUE }, "Fields that are added to answers, beside existing ones.")
        .default("{}")
        .secret()
        .refused(NO_CHANGES),
];

pub(super) const COMPRESSION: Key = key("compression", Kind::Section(COMPRESSED), "Compression of answers.").no_effect_yet();
static COMPRESSED: &[Key] = &[
    key("algorithms", Kind::List(&Kind::Choice { words: &["zstd", "br", "gzip"], any_case: false }), "In order of preference.")
        .default("[zstd, br, gzip]"),
    key("min_bytes", BYTES, "Smaller answers are not compressed.").default("1024"),
    key("types", Kind::List(&Kind::Text(NAME)), "The media types that are compressed; `text/*` means every text."),
];

pub(super) const CACHE: Key = key("cache", Kind::Section(CACHED), "A shared cache for answers (RFC 9111).").nullable().no_effect_yet();
static CACHED: &[Key] = &[
    key("max_bytes", BYTES, "The size of all stored answers together.").default("67108864"),
    key("max_object_bytes", BYTES, "The size of one stored answer.").default("1048576"),
];
