//! The one normal form of a URI's path and host (RFC 3986 6.2.2), so that two spellings of the same thing compare as equal.
//!
//! Every byte that RFC 3986 allows in a path segment stands there as it is; every other byte is percent-encoded in upper case,
//! and so is a `%` that encodes nothing. `%2F` stays encoded, as it is no separator. `\` becomes `/`, as browsers and many
//! servers read it. Empty segments and `.` are removed, and each `..` is removed together with the segment before it.

use super::steps;
use std::io::Write;
use std::net::Ipv6Addr;

/// Allowed in a segment unencoded: RFC 3986's unreserved characters, sub-delimiters, `:` and `@`.
const SEGMENT: u8 = 1;
/// Allowed in a path unencoded: the same, and `/`.
const PATH: u8 = 2;
/// Allowed in a registered name, upper case excepted.
const HOST: u8 = 4;

static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut b = 0;
    while b < 128 {
        let c = b as u8;
        let is_name = may_name(c);
        let is_segment = is_name || matches!(c, b':' | b'@');
        class[b] |= if is_segment { SEGMENT | PATH } else { 0 };
        class[b] |= if c == b'/' { PATH } else { 0 };
        class[b] |= if is_name && !c.is_ascii_uppercase() { HOST } else { 0 };
        b += 1;
    }
    class
};

/// Whether the byte may stand unencoded in a registered name: unreserved characters and sub-delimiters.
pub const fn may_name(b: u8) -> bool {
    b.is_ascii_alphanumeric()
        || matches!(b, b'-' | b'.' | b'_' | b'~' | b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=')
}

/// The path of a target, which its query follows, and whether that path is its own normal form and has nothing encoded, as nearly
/// all are. One pass.
pub fn split_path(target: &[u8]) -> (&[u8], bool) {
    let (mut class, mut before, mut is_odd, mut length) = (PATH, 0, false, 0);
    for &b in target.iter().take_while(|&&b| b != b'?') {
        class &= CLASS[b as usize];
        is_odd |= before == b'/' && (b == b'/' || b == b'.');
        (before, length) = (b, length + 1);
    }
    steps::count(length);
    (&target[..length], class != 0 && !is_odd && target.first() == Some(&b'/'))
}

/// Appends the normal form of a path without its query. Returns false if the path climbs above its root.
pub fn push_path(path: &[u8], out: &mut Vec<u8>) -> bool {
    steps::count(path.len());
    let root = out.len() + 1;
    out.push(b'/');
    let mut segments = path.split(|&b| b == b'/' || b == b'\\').peekable();
    while let Some(segment) = segments.next() {
        let start = out.len();
        push_segment(segment, out);
        match &out[start..] {
            b"" => {}
            b"." => out.truncate(start),
            b".." if start == root => return false,
            b".." => {
                let above = out[..start - 1].iter().rposition(|&b| b == b'/').map_or(root, |slash| slash + 1);
                out.truncate(above);
            }
            _ if segments.peek().is_some() => out.push(b'/'),
            _ => {}
        }
    }
    true
}

fn push_segment(mut segment: &[u8], out: &mut Vec<u8>) {
    while let [b, rest @ ..] = segment {
        segment = rest;
        let b = match (b, rest) {
            (b'%', [high, low, after @ ..]) if high.is_ascii_hexdigit() && low.is_ascii_hexdigit() => {
                segment = after;
                digit(*high) << 4 | digit(*low)
            }
            (b, _) => *b,
        };
        if CLASS[b as usize] & SEGMENT != 0 {
            out.push(b);
        } else {
            const DIGITS: &[u8; 16] = b"0123456789ABCDEF";
            out.extend_from_slice(&[b'%', DIGITS[usize::from(b >> 4)], DIGITS[usize::from(b & 15)]]);
        }
    }
}

/// The value of a hexadecimal digit.
fn digit(b: u8) -> u8 {
    if b.is_ascii_digit() { b - b'0' } else { (b | 0x20) - b'a' + 10 }
}

/// Whether a host without its port is its own normal form, as nearly all are.
pub fn is_plain_host(host: &[u8]) -> bool {
    host.iter().fold(HOST, |all, &b| all & CLASS[b as usize]) != 0 && host.last() != Some(&b'.')
}

/// Whether a host consists of eight or more lower-case letters, digits, hyphens, and single dots between these: nearly every name
/// does, and that can be seen for eight bytes at once. It is valid then, and its own normal form.
pub fn is_usual_host(host: &[u8]) -> bool {
    const ONES: u64 = u64::MAX / 255;
    const HIGHS: u64 = ONES * 0x80;
    // Of bytes below 0x80, sets the high bit of those that are at least `least`.
    let at_least = |word: u64, least: u8| word + ONES * u64::from(0x80 - least);
    let is_usual = |eight: &[u8; 8]| {
        let word = u64::from_le_bytes(*eight);
        if word & HIGHS != 0 {
            return false;
        }
        let letters = at_least(word, b'a') & !at_least(word, b'z' + 1);
        let others = at_least(word, b'-') & !at_least(word, b'9' + 1) & at_least(word ^ (ONES * u64::from(b'/')), 1);
        let no_dots = at_least(word ^ (ONES * u64::from(b'.')), 1);
        let pairs = (no_dots | no_dots << 8) | !(HIGHS << 8);
        (letters | others) & pairs & HIGHS == HIGHS
    };
    let (Some(last), [first, ..]) = (host.last_chunk(), host) else { return false };
    let mut at = 0;
    // Each step begins with the byte that the one before ended with, so that two dots are seen wherever they are.
    while at + 8 < host.len() {
        match host[at..].first_chunk() {
            Some(eight) if is_usual(eight) => at += 7,
            _ => return false,
        }
    }
    is_usual(last) && *first != b'.' && last[7] != b'.'
}

/// Appends the normal form of a host: in lower case, without the trailing dot; an IPv6 address without brackets.
pub fn push_host(host: &[u8], out: &mut Vec<u8>) {
    let bare = host.strip_prefix(b"[").and_then(|host| host.strip_suffix(b"]")).unwrap_or(host);
    if let Some(address) = std::str::from_utf8(bare).ok().and_then(|text| text.parse::<Ipv6Addr>().ok()) {
        // Writing to a Vec does not fail.
        let _ = write!(out, "{address}");
        return;
    }
    let start = out.len();
    out.extend_from_slice(host.strip_suffix(b".").unwrap_or(host));
    out[start..].make_ascii_lowercase();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn usual_hosts_are_those_that_a_plain_loop_finds() {
        let mut rng = fastrand::Rng::with_seed(3);
        let mut seen = [0; 2];
        for _ in 0..200_000 {
            let mut host: Vec<u8> = (0..rng.usize(0..30)).map(|_| b"abcxyz019-."[rng.usize(0..11)]).collect();
            if rng.u8(0..4) == 0 && !host.is_empty() {
                let at = rng.usize(0..host.len());
                host[at] = rng.u8(..);
            }
            let is_it = |&b: &u8| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-' || b == b'.';
            let dots = host.windows(2).any(|pair| pair == b"..") || host.starts_with(b".") || host.ends_with(b".");
            let expected = host.len() >= 8 && host.iter().all(is_it) && !dots;
            assert_eq!(is_usual_host(&host), expected, "{}", host.escape_ascii());
            seen[usize::from(expected)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 10_000), "{seen:?}");
    }

    fn path(text: &str) -> Option<String> {
        let mut out = Vec::new();
        push_path(text.as_bytes(), &mut out).then(|| String::from_utf8(out).unwrap())
    }

    fn host(text: &str) -> String {
        let mut out = Vec::new();
        push_host(text.as_bytes(), &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn one_path_in_many_spellings() {
        for (spelling, normal) in [
            ("", "/"),
            ("/", "/"),
            ("//", "/"),
            ("/admin", "/admin"),
            ("/./admin", "/admin"),
            ("/x/../admin", "/admin"),
            ("/x/%2e%2E/admin", "/admin"),
            ("//admin", "/admin"),
            ("/%61dmin", "/admin"),
            ("/\\admin", "/admin"),
            ("/x\\..\\admin", "/admin"),
            ("/admin/", "/admin/"),
            ("/admin//", "/admin/"),
            ("/admin/.", "/admin/"),
            ("/admin/x/..", "/admin/"),
            ("/a//../b", "/b"),
            ("/.../..a", "/.../..a"),
            ("/.well-known/x", "/.well-known/x"),
            ("/a%2fb", "/a%2Fb"),
            ("/a%5cb", "/a%5Cb"),
            ("/a%2f../b", "/a%2F../b"),
            ("/%7Euser/%40me", "/~user/@me"),
            ("/{a}|`\"<>^[]", "/%7Ba%7D%7C%60%22%3C%3E%5E%5B%5D"),
            ("/%C3%a9", "/%C3%A9"),
            ("/caf\u{e9}", "/caf%C3%A9"),
            ("/100%", "/100%25"),
            ("/%%341", "/%2541"),
            ("/%zz%4", "/%25zz%254"),
            ("/%252e%252e/x", "/%252e%252e/x"),
        ] {
            assert_eq!(path(spelling).as_deref(), Some(normal), "{spelling}");
            assert_eq!(path(normal).as_deref(), Some(normal), "{spelling} twice");
            assert!(!split_path(spelling.as_bytes()).1 || spelling == normal, "{spelling}");
        }
    }

    #[test]
    fn a_path_is_split_off_as_a_plain_loop_does() {
        let mut rng = fastrand::Rng::with_seed(4);
        let mut seen = [0; 2];
        for _ in 0..100_000 {
            let target: Vec<u8> = (0..rng.usize(0..12)).map(|_| b"/aZ-:@.?%\\\xe9"[rng.usize(0..11)]).chain(*b"/x?y").collect();
            let target = &target[rng.usize(0..=target.len())..];
            let path = target.split(|&b| b == b'?').next().unwrap_or_default();
            let is_allowed = |&b: &u8| may_name(b) || matches!(b, b':' | b'@' | b'/');
            let is_odd = path.windows(2).any(|two| matches!(two, b"//" | b"/."));
            let is_plain = path.starts_with(b"/") && path.iter().all(is_allowed) && !is_odd;
            assert_eq!(split_path(target), (path, is_plain), "{}", target.escape_ascii());
            seen[usize::from(is_plain)] += 1;
        }
        assert!(seen.iter().all(|&count| count > 10_000), "{seen:?}");
    }

    #[test]
    fn nothing_lies_above_the_root() {
        for climbs in ["/..", "/../x", "/x/../..", "/%2e%2e", "/.%2E/x", "//../x", "/./..", "/\\..", "/x/..\\../x", "/../"] {
            assert_eq!(path(climbs), None, "{climbs}");
        }
    }

    #[test]
    fn one_host_in_many_spellings() {
        for (spelling, normal) in [
            ("a.example", "a.example"),
            ("A.Example.", "a.example"),
            ("[::1]", "::1"),
            ("::1", "::1"),
            ("[0:0::0:1]", "::1"),
            ("[::FFFF:10.0.0.1]", "::ffff:10.0.0.1"),
            ("127.0.0.1", "127.0.0.1"),
            ("", ""),
        ] {
            assert_eq!(host(spelling), normal);
            assert_eq!(host(normal), normal);
            assert!(!is_plain_host(spelling.as_bytes()) || spelling == normal, "{spelling}");
        }
        assert!(is_plain_host(b"a_b.example") && is_plain_host(b"") && !is_plain_host(b"A") && !is_plain_host(b"a."));
    }
}
