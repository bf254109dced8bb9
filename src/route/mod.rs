//! Which route takes a request. Pure: no socket, no state.

use crate::config::model::{Matcher, Route};

/// What a route can ask about a request.
#[derive(Clone, Copy, Debug)]
pub struct Query<'a> {
    /// The port that the client connected to.
    pub port: u16,
    /// Host with or without a port.
    pub authority: &'a [u8],
    /// Case-sensitive.
    pub method: &'a str,
    /// Origin-form: path and query.
    pub path: &'a str,
}

/// The index of the first route that takes the request.
pub fn find(routes: &[Route], query: Query) -> Option<usize> {
    routes.iter().position(|route| takes(&route.matcher, query))
}

fn takes(matcher: &Matcher, query: Query) -> bool {
    let path = query.path.split('?').next().unwrap_or_default();
    matcher.port.is_none_or(|port| port == query.port)
        && matcher.host.as_ref().is_none_or(|pattern| is_host(pattern, query.authority))
        && matcher.path.as_ref().is_none_or(|exact| exact == path)
        && matcher.path_prefix.as_ref().is_none_or(|prefix| is_under(prefix, path))
        && (matcher.methods.is_empty() || matcher.methods.iter().any(|method| method == query.method))
}

/// `*.example.com` stands for every name under example.com, not for itself.
fn is_host(pattern: &str, authority: &[u8]) -> bool {
    let host = match authority.iter().rposition(|&b| b == b':') {
        Some(colon) if !authority.ends_with(b"]") => &authority[..colon],
        _ => authority,
    };
    match pattern.strip_prefix('*') {
        Some(suffix) => host.len() > suffix.len() && host[host.len() - suffix.len()..].eq_ignore_ascii_case(suffix.as_bytes()),
        None => host.eq_ignore_ascii_case(pattern.as_bytes()),
    }
}

/// `/api` takes `/api` and `/api/…`, not `/apix`.
fn is_under(prefix: &str, path: &str) -> bool {
    path.strip_prefix(prefix).is_some_and(|rest| rest.is_empty() || prefix.ends_with('/') || rest.starts_with('/'))
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
            assert_eq!(is_under(prefix, path), expected, "{prefix} {path}");
        }
    }

    #[test]
    fn hosts_with_ports_and_wildcards() {
        assert!(is_host("a.example", b"A.example:80") && is_host("*.example", b"b.EXAMPLE") && is_host("[::1]", b"[::1]"));
        assert!(!is_host("*.example", b"example") && !is_host("a", b"b") && is_host("[::1]", b"[::1]:8080"));
    }

    #[test]
    fn everything_given_must_hold() {
        let matcher = Matcher { path_prefix: Some("/a".into()), methods: vec!["GET".into()], port: Some(80), ..Matcher::default() };
        let query = Query { port: 80, authority: b"h", method: "GET", path: "/a?b" };
        assert!(takes(&matcher, query));
        assert!(!takes(&matcher, Query { method: "get", ..query }));
        assert!(!takes(&matcher, Query { port: 81, ..query }));
        assert!(!takes(&matcher, Query { path: "/b", ..query }));
    }
}
