//! Why a request was refused or failed: one vocabulary for the answer's body, `Proxy-Status` (with RFC 9209's names where it has
//! them), the access log and the metrics. One table here has everything that the program needs to know about a reason.

/// Who is to blame. Only an upstream's fault counts against that upstream.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Blame {
    /// The client sent something wrong, or did not send or take something.
    Client,
    /// The upstream did.
    Upstream,
    /// A limit, a missing route, or a mistake of our own.
    Proxy,
}

/// Which timeout has passed: the `type` of `proxy_timeout_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum TimeoutKind {
    Connect,
    Read,
    Write,
    Total,
    Client,
}

impl TimeoutKind {
    /// The label values, in the order of the variants.
    pub const NAMES: [&'static str; 5] = ["connect", "read", "write", "total", "client"];
}

/// What kind of error an upstream caused: the `type` of `proxy_upstream_errors_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum UpstreamErrorKind {
    Timeout,
    ConnectionRefused,
    Other,
}

impl UpstreamErrorKind {
    /// The label values, in the order of the variants.
    pub const NAMES: [&'static str; 3] = ["timeout", "connection_refused", "other"];
}

/// Which rate limit was exceeded: the `scope` of `rate_limit_rejected_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateScope {
    Client,
    Global,
}

impl RateScope {
    /// The label values, in the order of the variants.
    pub const NAMES: [&'static str; 2] = ["client", "global"];
}

macro_rules! reasons {
    ($($variant:ident, $name:literal, $status:literal, $blame:ident, $timeout:expr;)*) => {
        /// A reason of the table in `docs/errors.md`.
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u8)]
        pub enum Reason { $($variant,)* }

        impl Reason {
            /// Every reason, in the order of its number.
            pub const ALL: &'static [Reason] = &[$(Reason::$variant,)*];

            /// The name in bodies, `Proxy-Status`, logs and metrics.
            pub const fn name(self) -> &'static str {
                match self { $(Reason::$variant => $name,)* }
            }

            /// The status of the answer made for it.
            pub const fn status(self) -> u16 {
                match self { $(Reason::$variant => $status,)* }
            }

            /// Who is to blame.
            pub const fn blame(self) -> Blame {
                match self { $(Reason::$variant => Blame::$blame,)* }
            }

            /// The timeout that has passed, if it is one.
            pub const fn timeout(self) -> Option<TimeoutKind> {
                use TimeoutKind::*;
                match self { $(Reason::$variant => $timeout,)* }
            }
        }
    };
}

reasons! {
    // variant                  name                              status  blame     timeout
    RequestError,               "http_request_error",               400, Client,   None;
    RequestDenied,              "http_request_denied",              403, Client,   None;
    DestinationNotFound,        "destination_not_found",            404, Client,   None;
    MethodNotAllowed,           "method_not_allowed",               405, Client,   None;
    RequestTimeout,             "http_request_timeout",             408, Client,   Some(Client);
    RequestBodySize,            "http_request_body_size",           413, Client,   None;
    RequestTargetSize,          "http_request_target_size",         414, Client,   None;
    RequestHeaderSize,          "http_request_header_size",         431, Client,   None;
    ExpectationFailed,          "expectation_failed",               417, Client,   None;
    RequestTransferCoding,      "http_request_transfer_coding",     501, Client,   None;
    RequestMethod,              "http_request_method",              501, Client,   None;
    HttpVersion,                "http_version",                     505, Client,   None;
    RateLimited,                "rate_limited",                     429, Client,   None;
    ClientConnectionLimit,      "client_connection_limit",          429, Client,   None;
    ConnectionRefused,          "connection_refused",               502, Upstream, None;
    ConnectionTerminated,       "connection_terminated",            502, Upstream, None;
    DnsError,                   "dns_error",                        502, Upstream, None;
    TlsCertificateError,        "tls_certificate_error",            502, Upstream, None;
    TlsProtocolError,           "tls_protocol_error",               502, Upstream, None;
    ProtocolError,              "http_protocol_error",              502, Upstream, None;
    ResponseHeaderSize,         "http_response_header_size",        502, Upstream, None;
    ResponseIncomplete,         "http_response_incomplete",         502, Upstream, None;
    UpgradeFailed,              "http_upgrade_failed",              502, Upstream, None;
    DestinationUnavailable,     "destination_unavailable",          503, Upstream, None;
    ConnectionLimitReached,     "connection_limit_reached",         503, Proxy,    None;
    Draining,                   "draining",                         503, Proxy,    None;
    ConnectionTimeout,          "connection_timeout",               504, Upstream, Some(Connect);
    ReadTimeout,                "connection_read_timeout",          504, Upstream, Some(Read);
    WriteTimeout,               "connection_write_timeout",         504, Upstream, Some(Write);
    ResponseTimeout,            "http_response_timeout",            504, Upstream, Some(Total);
    NotCached,                  "not_cached",                       504, Client,   None;
    LoopDetected,               "proxy_loop_detected",              508, Client,   None;
    InternalError,              "proxy_internal_error",             500, Proxy,    None;
    ClientAborted,              "client_aborted",                   499, Client,   None;
    ClientWriteTimeout,         "client_write_timeout",             499, Client,   Some(Client);
}

impl Reason {
    /// The number of reasons: the size of a table indexed by `reason as usize`.
    pub const COUNT: usize = Self::ALL.len();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_number_of_a_reason_is_its_place() {
        for (i, reason) in Reason::ALL.iter().enumerate() {
            assert_eq!(*reason as usize, i);
        }
    }
}
