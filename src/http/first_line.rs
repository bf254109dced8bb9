//! First lines of any allowed shape, and which rule the others break.

use super::Refusal;
use super::fields::{is_target, is_token, is_value};

/// Splits a head into its first line, without the CRLF, and the rest.
pub(super) fn split(head: &[u8]) -> Result<(&[u8], &[u8]), Refusal> {
    let end = memchr::memchr(b'\n', head).ok_or(Refusal::Malformed("the head is malformed"))?;
    let line = head[..end].strip_suffix(b"\r").ok_or(Refusal::Malformed("a line of the head ends in a bare LF"))?;
    Ok((line, &head[end + 1..]))
}

/// `method SP target SP HTTP/1.minor` (RFC 9112 3).
pub(super) fn request(line: &[u8]) -> Result<(&str, &[u8], u8), Refusal> {
    let malformed = |what| Err(Refusal::Malformed(what));
    let mut words = line.splitn(3, |&b| b == b' ');
    let [method, target, version] = [words.next(), words.next(), words.next()].map(Option::unwrap_or_default);
    if !is_token(method) {
        return malformed("the request line does not begin with a method");
    }
    if target.is_empty() {
        return malformed("the request line has no target, or more than one space before it");
    }
    let minor = match minor(version) {
        Some(Version::Spoken(minor)) => minor,
        Some(Version::Other) => return Err(Refusal::Version),
        None => return malformed("the request line does not end in an HTTP version"),
    };
    if !is_target(target) {
        return malformed("the request target has a control, a #, or a byte above 0x7f in it");
    }
    // A token is ASCII.
    Ok((std::str::from_utf8(method).unwrap_or_default(), target, minor))
}

/// `HTTP/1.minor SP status [SP reason]` (RFC 9112 4); many leave out the last space.
pub(super) fn status(line: &[u8]) -> Result<(u16, &[u8], u8), Refusal> {
    let malformed = |what| Err(Refusal::Malformed(what));
    let (version, rest) = line.split_at(line.iter().position(|&b| b == b' ').unwrap_or(line.len()));
    let minor = match minor(version) {
        Some(Version::Spoken(minor)) => minor,
        Some(Version::Other) => return malformed("it speaks neither HTTP/1.1 nor HTTP/1.0"),
        None => return malformed("its first line is no status line"),
    };
    let (digits, reason) = match rest {
        [b' ', a, b, c, b' ', reason @ ..] => ([a, b, c], reason),
        [b' ', a, b, c] => ([a, b, c], &b""[..]),
        _ => return malformed("its status code is not three digits"),
    };
    if !digits.iter().all(|digit| digit.is_ascii_digit()) {
        return malformed("its status code is not three digits");
    }
    if !is_value(reason) {
        return malformed("its reason phrase has a control character in it");
    }
    Ok((digits.into_iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0')), reason, minor))
}

/// The version in a first line.
enum Version {
    /// HTTP/1.0, HTTP/1.1, and later minor versions, which a recipient of HTTP/1.1 understands (RFC 9110 2.5).
    Spoken(u8),
    Other,
}

fn minor(version: &[u8]) -> Option<Version> {
    match version {
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', minor] if minor.is_ascii_digit() => Some(Version::Spoken((minor - b'0').min(1))),
        [b'H', b'T', b'T', b'P', b'/', major, b'.', minor] if major.is_ascii_digit() && minor.is_ascii_digit() => Some(Version::Other),
        _ => None,
    }
}

/// Which rule the field lines break, given that the parser refused them (RFC 9112 5).
pub(super) fn fault_of_fields(lines: &[u8]) -> &'static str {
    for line in lines.split(|&b| b == b'\n') {
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        if let [b' ' | b'\t', ..] = line {
            return "a field line begins with a blank (obs-fold)";
        }
        if line.is_empty() {
            continue;
        }
        let Some(colon) = memchr::memchr(b':', line) else { return "a field line has no colon" };
        let (name, value) = (&line[..colon], &line[colon + 1..]);
        match name {
            [] => return "a field line has no name before its colon",
            [.., b' ' | b'\t'] => return "a field name has a blank before its colon",
            name if name.iter().any(u8::is_ascii_control) => return "a field name has a control character in it",
            name if !is_token(name) => return "a field name is no token",
            _ if !is_value(value) => return "a field value has a control character in it",
            _ => {}
        }
    }
    "the head is malformed"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn later_minor_versions_are_read_as_1_1() {
        assert_eq!(request(b"GET / HTTP/1.2"), Ok(("GET", &b"/"[..], 1)));
        assert_eq!(request(b"GET / HTTP/1.0"), Ok(("GET", &b"/"[..], 0)));
        assert_eq!(status(b"HTTP/1.9 204"), Ok((204, &b""[..], 1)));
        assert_eq!(status(b"HTTP/1.1 200 caf\xe9"), Ok((200, &b"caf\xe9"[..], 1)));
        for line in ["GET / HTTP/2.0", "GET / HTTP/0.9", "PRI * HTTP/3.1"] {
            assert_eq!(request(line.as_bytes()), Err(Refusal::Version), "{line}");
        }
        for line in ["GET / HTTP/1.10", "GET / http/1.1", "GET / HTTP/1.", "GET / HTTP/1.x", "GET / HTTP/1.1 ", "GET /", "GET", ""] {
            assert!(matches!(request(line.as_bytes()), Err(Refusal::Malformed(_))), "{line}");
        }
    }

    #[test]
    fn every_rule_has_its_name() {
        for (lines, fault) in [
            ("A: b\r\n c\r\n\r\n", "a field line begins with a blank (obs-fold)"),
            ("A: b\r\nc\r\n\r\n", "a field line has no colon"),
            ("A : b\r\n\r\n", "a field name has a blank before its colon"),
            (": b\r\n\r\n", "a field line has no name before its colon"),
            ("A(: b\r\n\r\n", "a field name is no token"),
            ("A\0: b\r\n\r\n", "a field name has a control character in it"),
            ("A: b\rc\r\n\r\n", "a field value has a control character in it"),
        ] {
            assert_eq!(fault_of_fields(lines.as_bytes()), fault, "{lines:?}");
        }
    }
}
