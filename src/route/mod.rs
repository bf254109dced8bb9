//! Which route takes a request. Pure functions: no socket, no state.

use crate::config::model::{Matcher, Route};
use crate::http::target::NormalTarget;

/// What a route's conditions are compared with.
#[derive(Clone, Copy, Debug)]
pub struct RouteQuery<'a> {
    /// The port that the client connected to; a Unix socket has none.
    pub port: Option<u16>,
    /// The method, case-sensitive (RFC 9110 9.1).
    pub method: &'a str,
    pub target: NormalTarget<'a>,
}

/// The index of the first route that takes the request.
pub fn find(routes: &[Route], query: RouteQuery) -> Option<usize> {
    routes.iter().position(|route| takes(&route.matcher, query))
}

fn takes(matcher: &Matcher, query: RouteQuery) -> bool {
    let NormalTarget { host, path } = query.target;
    matcher.port.is_none_or(|port| query.port == Some(port))
        && matcher.host.as_ref().is_none_or(|pattern| is_host(pattern.as_bytes(), host))
        && matcher.path.as_ref().is_none_or(|exact| exact.as_bytes() == path)
        && matcher.path_prefix.as_ref().is_none_or(|prefix| is_under(prefix.as_bytes(), path))
        && (matcher.methods.is_empty() || matcher.methods.iter().any(|method| method == query.method))
}

/// `*.example.com` matches every name under example.com, but not example.com.
fn is_host(pattern: &[u8], host: &[u8]) -> bool {
    match pattern.strip_prefix(b"*") {
        Some(suffix) => host.len() > suffix.len() && host.ends_with(suffix),
        None => host == pattern,
    }
}

/// `/api` matches `/api` and `/api/…`, but not `/apix`.
fn is_under(prefix: &[u8], path: &[u8]) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || prefix.ends_with(b"/") || rest.starts_with(b"/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_prefix_ends_at_a_slash() {
        for (prefix, path, expected) in [
            ("/api", "/api", true),
            ("/api", "/api/x", true),
            ("/api", "/apix", false),
            ("/api/", "/api/x", true),
            ("/api/", "/api", false),
            ("/", "/x", true),
        ] {
            assert_eq!(is_under(prefix.as_bytes(), path.as_bytes()), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn hosts_and_wildcards() {
        assert!(is_host(b"a.example", b"a.example") && is_host(b"*.example", b"c.b.example") && is_host(b"::1", b"::1"));
        assert!(!is_host(b"*.example", b"example") && !is_host(b"a", b"b") && !is_host(b"a", b""));
    }

    #[test]
    fn everything_given_must_hold() {
        let matcher = Matcher { path_prefix: Some("/a".into()), methods: vec!["GET".into()], port: Some(80), ..Matcher::default() };
        let query = RouteQuery { port: Some(80), method: "GET", target: NormalTarget { host: b"h", path: b"/a" } };
        assert!(takes(&matcher, query));
        assert!(!takes(&matcher, RouteQuery { method: "get", ..query }));
        assert!(!takes(&matcher, RouteQuery { port: Some(81), ..query }));
        assert!(!takes(&matcher, RouteQuery { port: None, ..query }));
        assert!(!takes(&matcher, RouteQuery { target: NormalTarget { host: b"h", path: b"/b" }, ..query }));
    }
}
