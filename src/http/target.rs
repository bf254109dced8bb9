//! The target of a request: its forms, and the normal form of its host and path. Routes, limits and access lists use the latter, so
//! that another spelling of a target does not evade them. What goes on to an upstream is what the client sent.

use super::{Refusal, fields};
use crate::base::uri;

/// The host and path that a request asks for, in normal form.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct NormalTarget<'t> {
    /// The host in lower case, without port, brackets and trailing dot. Empty where an HTTP/1.0 request names none.
    pub host: &'t [u8],
    /// The path without the query; `/` for `OPTIONS *`.
    pub path: &'t [u8],
}

impl<'t> NormalTarget<'t> {
    /// The normal form of a target (origin-form, absolute-form without its authority, or `*`) and of a valid authority. The usual
    /// ones are their own normal form, of the authority if it `is_plain`; that of others is written into `buffer`.
    pub(super) fn read(target: &'t [u8], authority: &'t [u8], is_plain: bool, buffer: &'t mut Vec<u8>) -> Result<Self, Refusal> {
        let (path, path_is_plain) = uri::split_path(if target == b"*" { b"/" } else { target });
        let host = if is_plain { authority } else { without_port(authority) };
        let host_is_plain = is_plain || uri::is_plain_host(host);
        if path_is_plain && host_is_plain {
            return Ok(Self { host, path });
        }
        buffer.clear();
        if !path_is_plain && !uri::push_path(path, buffer) {
            return Err(Refusal::Malformed("the request target climbs above its root"));
        }
        let middle = buffer.len();
        if !host_is_plain {
            uri::push_host(host, buffer);
        }
        let (normal_path, normal_host) = buffer.split_at(middle);
        Ok(Self { host: if host_is_plain { host } else { normal_host }, path: if path_is_plain { path } else { normal_path } })
    }
}

fn without_port(authority: &[u8]) -> &[u8] {
    // Too short for a vectorised search to pay.
    match authority.iter().rposition(|&b| b == b':') {
        Some(colon) if !authority.ends_with(b"]") => &authority[..colon],
        _ => authority,
    }
}

/// The forms of RFC 9112 3.2 that a reverse proxy accepts: the target to pass on, and the authority if the target names one.
pub(super) fn split<'a>(method: &str, target: &'a [u8]) -> Result<(&'a [u8], Option<&'a [u8]>), Refusal> {
    let malformed = Refusal::Malformed("the request target is malformed");
    if target.first() == Some(&b'/') || (target == b"*" && method == "OPTIONS") {
        return Ok((target, None));
    }
    let has_scheme = |scheme: &&[u8]| target.get(..scheme.len()).is_some_and(|start| start.eq_ignore_ascii_case(scheme));
    let Some(scheme) = [&b"http://"[..], b"https://"].into_iter().find(has_scheme) else { return Err(malformed) };
    let rest = &target[scheme.len()..];
    let end = rest.iter().position(|b| matches!(b, b'/' | b'?')).unwrap_or(rest.len());
    let (authority, path) = rest.split_at(end);
    if !fields::is_host(authority) {
        return Err(malformed);
    }
    match path {
        b"" if method == "OPTIONS" => Ok((b"*", Some(authority))),
        b"" => Ok((b"/", Some(authority))),
        [b'/', ..] => Ok((path, Some(authority))),
        // The path of `http://host?query` is empty; the writer puts a `/` in front.
        _ => Ok((path, Some(authority))),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(target: &str, authority: &str) -> Option<(String, String)> {
        let mut buffer = b"left over".to_vec();
        let text = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        NormalTarget::read(target.as_bytes(), authority.as_bytes(), false, &mut buffer)
            .ok()
            .map(|normal| (text(normal.host), text(normal.path)))
    }

    #[test]
    fn targets_of_every_form() {
        for (target, authority, host, path) in [
            ("/a?b=/../c", "a.example:80", "a.example", "/a"),
            ("?x", "a", "a", "/"),
            ("*", "a", "a", "/"),
            ("/", "", "", "/"),
            ("//x", "A.Example.:80", "a.example", "/x"),
            ("/x", "A:", "a", "/x"),
            ("/%78", "[::1]", "::1", "/x"),
            ("/x", "[0::1]:80", "::1", "/x"),
        ] {
            assert_eq!(read(target, authority), Some((host.to_owned(), path.to_owned())), "{target} {authority}");
        }
        assert_eq!(read("/../x", "a"), None);
    }
}
