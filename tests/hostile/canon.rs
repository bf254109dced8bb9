//! The canonical form of a forwarded request, and which client's request it is.

use super::http::{Framing, Head};
use super::streams::Request;

/// Fields that the proxy writes, reads or drops by itself.
fn is_ours(name: &str) -> bool {
    let own = [
        "host",
        "content-length",
        "transfer-encoding",
        "connection",
        "keep-alive",
        "proxy-connection",
        "te",
        "upgrade",
        "expect",
        "via",
        "forwarded",
        "x-real-ip",
        "x-trace-id",
        "max-forwards",
        "date",
        "https",
        "auth-type",
        "path-info",
        "path-translated",
        "remote-addr",
        "remote-host",
        "remote-user",
        "script-filename",
        "script-name",
        "server-name",
        "server-port",
    ];
    // Some upstreams read `_` as `-`.
    let name = name.to_ascii_lowercase().replace('_', "-");
    own.contains(&name.as_str()) || name.starts_with("x-forwarded-")
}

/// Names that `Connection` may not remove.
fn is_kept(name: &str) -> bool {
    ["authorization", "cookie"].iter().any(|kept| name.eq_ignore_ascii_case(kept))
}

/// The fields for the final recipient, except those that `Connection` names.
fn end_to_end(head: &Head) -> Vec<(String, &[u8])> {
    let named = head.list("Connection");
    let stays = |name: &String| !is_ours(name) && (is_kept(name) || !named.contains(name));
    head.fields.iter().map(|field| (field.name.to_ascii_lowercase(), field.value.as_slice())).filter(|(name, _)| stays(name)).collect()
}

/// Checks the form in which every request is forwarded, whatever came.
pub fn check(request: &Request) {
    let Request { target, minor, head, .. } = request;
    let count = |name: &str| head.values(name).count();
    assert!(*minor == 1 && head.first.ends_with(b" HTTP/1.1"), "{head:?}");
    assert!(target.starts_with('/') || target == "*", "the target {target:?} went on");
    for name in ["Host", "X-Trace-ID", "X-Forwarded-For", "X-Forwarded-Proto"] {
        assert_eq!(count(name), 1, "{name} in {head:?}");
    }
    for name in ["Keep-Alive", "Proxy-Connection", "Forwarded", "X-Real-IP"] {
        assert_eq!(count(name), 0, "{name} in {head:?}");
    }
    assert!(count("Content-Length") + count("Transfer-Encoding") <= 1, "framed in two ways: {head:?}");
    let is_harmless = |name: &str| ["expect", "via", "max_forwards", "date"].contains(&name.to_ascii_lowercase().as_str());
    let look_alike = head.fields.iter().find(|field| field.name.contains('_') && is_ours(&field.name) && !is_harmless(&field.name));
    assert!(look_alike.is_none(), "a look-alike went on: {look_alike:?}");
    assert!(head.values("X-Forwarded-For").all(|value| value == b"10.9.8.7"), "a stranger's word went on: {head:?}");
    let options = head.list("Connection");
    assert_eq!(options.iter().any(|option| option == "te"), count("TE") == 1, "{head:?}");
    assert_eq!(options.iter().any(|option| option == "upgrade"), count("Upgrade") == 1, "{head:?}");
    assert!(count("Connection") <= 1 && options.iter().all(|option| option == "te" || option == "upgrade"), "{head:?}");
    assert!(head.values("TE").all(|value| value == b"trailers"), "{head:?}");
    let own = head.values("Via").last().unwrap_or_default();
    assert!(own == b"1.1 tidegate" || own == b"1.0 tidegate", "{head:?}");
    let forbidden = request.body.trailers.iter().find(|field| is_ours(&field.name) && !field.is("Date"));
    assert!(forbidden.is_none(), "{forbidden:?} in a trailer section");
}

/// Whether the forwarded request is this client's.
pub fn is_same(went: &Request, came: &Request, upstream: &str) -> bool {
    let (path, authority) = split(came);
    let host = match (authority, came.head.values("Host").next()) {
        (Some(authority), _) => authority.as_bytes(),
        (None, Some(host)) => host,
        (None, None) => upstream.as_bytes(),
    };
    let framing = match (came.framing, went.framing) {
        (Framing::Length(0) | Framing::Empty, Framing::Length(0) | Framing::Empty) => true,
        (came, went) => came == went,
    };
    let data = if went.body.is_whole {
        came.body.is_whole && went.body.data == came.body.data
    } else {
        came.body.data.starts_with(&went.body.data)
    };
    let trailers = |request: &Request| request.body.trailers.iter().filter(|field| field.is("X-T")).cloned().collect::<Vec<_>>();
    went.method == came.method
        && went.target == path
        && went.head.values("Host").next() == Some(host)
        && framing
        && data
        && (!went.body.is_whole || trailers(went) == trailers(came))
        && end_to_end(&went.head) == end_to_end(&came.head)
}

/// The target in origin-form, and the authority of an absolute-form target (RFC 9112 3.2).
fn split(request: &Request) -> (String, Option<&str>) {
    let target = request.target.as_str();
    let rest = ["http://", "https://"].iter().find_map(|scheme| {
        let (start, rest) = target.split_at_checked(scheme.len())?;
        start.eq_ignore_ascii_case(scheme).then_some(rest)
    });
    let Some(rest) = rest else { return (target.to_owned(), None) };
    let (authority, path) = rest.split_at(rest.find(['/', '?']).unwrap_or(rest.len()));
    let path = match path {
        "" if request.method == "OPTIONS" => "*".to_owned(),
        "" => "/".to_owned(),
        path if path.starts_with('?') => format!("/{path}"),
        path => path.to_owned(),
    };
    (path, Some(authority))
}
