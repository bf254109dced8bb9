//! Where clients connect.

use super::kinds::{FILE, LISTEN_ADDRESS};
use crate::config::rules::mode;
use crate::config::schema::{Key, Kind, Rule, key};

pub(super) static LISTENER: Kind = Kind::SectionOr {
    section: &[
        key("address", LISTEN_ADDRESS, "The address, as `host:port` or `unix:/path`."),
        key("tls", Kind::Section(TLS), "Serve TLS here.").off(),
        key(
            "mode",
            Kind::Text(Rule { what: "a mode such as \"0660\"", check: mode }),
            "The file mode of a Unix socket, \"0660\" by default.",
        ),
        key("http2", Kind::Bool, "Offer HTTP/2 to clients.").default("true").no_effect_yet(),
        key(
            "proxy_protocol",
            Kind::Bool,
            "Each connection begins with a header of the PROXY protocol, in version 1 or 2; anything else is closed.",
        )
        .default("false"),
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
