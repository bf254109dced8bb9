//! Field names that mean something to a proxy, and the character classes of RFC 9110 5.6.2 and RFC 3986.

use crate::base::uri;

/// What a proxy does with a field, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Field {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    /// `Keep-Alive` and `Proxy-Connection`, which are meant for one connection (RFC 9110 7.6.1).
    HopByHop,
    Te,
    Upgrade,
    Expect,
    Via,
    /// `X-Forwarded-*`, `Forwarded`, `X-Real-IP`: written here, and accepted from trusted proxies only.
    Forwarding,
    TraceId,
    Accept,
    UserAgent,
    Referer,
    Authorization,
    Cookie,
    Date,
    MaxForwards,
    /// Becomes a field that frames, routes or is written here once `_` is read as `-`, or becomes one of CGI's own variables
    /// (RFC 3875 4.1). Applications that turn fields into such variables would confuse the two.
    LookAlike,
    /// Means nothing to a proxy, as [`Field::Other`]. It is known because most messages have some of these, and a name that is known needs
    /// no check.
    Common,
    Other,
}

/// Classifies a name, ignoring case.
pub fn classify(name: &[u8]) -> Field {
    let key = key(name);
    match name.len() {
        2 if name.eq_ignore_ascii_case(b"te") => Field::Te,
        3 if name.eq_ignore_ascii_case(b"via") => Field::Via,
        4 if key == const { self::key(b"host") } => Field::Host,
        4 if key == const { self::key(b"date") } => Field::Date,
        4 if key == const { self::key(b"etag") } || key == const { self::key(b"vary") } => Field::Common,
        6 if key == const { self::key(b"accept") } => Field::Accept,
        6 if key == const { self::key(b"cookie") } => Field::Cookie,
        6 if key == const { self::key(b"expect") } => Field::Expect,
        6 if key == const { self::key(b"server") } => Field::Common,
        7 if key == const { self::key(b"referer") } => Field::Referer,
        7 if key == const { self::key(b"upgrade") } => Field::Upgrade,
        9 if key == const { self::key(b"forwarded") } => Field::Forwarding,
        9 if key == const { self::key(b"x-real-ip") } => Field::Forwarding,
        10 if key == const { self::key(b"connection") } => Field::Connection,
        10 if key == const { self::key(b"user-agent") } => Field::UserAgent,
        10 if key == const { self::key(b"keep-alive") } => Field::HopByHop,
        10 if key == const { self::key(b"x-trace-id") } => Field::TraceId,
        10 if key == const { self::key(b"set-cookie") } => Field::Common,
        12 if key == const { self::key(b"content-type") } => Field::Common,
        12 if key == const { self::key(b"max-forwards") } => Field::MaxForwards,
        13 if key == const { self::key(b"cache-control") } || key == const { self::key(b"last-modified") } => Field::Common,
        13 if key == const { self::key(b"authorization") } => Field::Authorization,
        14 if key == const { self::key(b"content-length") } => Field::ContentLength,
        15 if key == const { self::key(b"accept-encoding") } || key == const { self::key(b"accept-language") } => Field::Common,
        16 if key == const { self::key(b"proxy-connection") } => Field::HopByHop,
        16 if key == const { self::key(b"content-encoding") } => Field::Common,
        17 if key == const { self::key(b"transfer-encoding") } && name[8] == b'-' => Field::TransferEncoding,
        12.. if key.0 == const { self::key(b"x-forwarded-").0 } && name[8..12].eq_ignore_ascii_case(b"ded-") => Field::Forwarding,
        // The names with a `-` that look-alikes could mean have these lengths, or begin with `x-`.
        9 | 10 | 14 | 16 | 17 if is_look_alike(name) => Field::LookAlike,
        length @ (5 | 9 | 11 | 15) if may_be_cgi(name[0] | 0x20, length) && is_cgi(name) => Field::LookAlike,
        12.. if name[0] | 0x20 == b'x' && is_look_alike(name) => Field::LookAlike,
        _ => Field::Other,
    }
}

/// The first and the last bytes of a name in lower case, which is the whole name where it has 4 to 16 bytes. Exact for letters,
/// digits and `-`, of which all the names above consist.
const fn key(name: &[u8]) -> (u64, u64) {
    const fn lower(word: u64) -> u64 {
        word | ((word & 0x4040_4040_4040_4040) >> 1)
    }
    match (name.first_chunk(), name.last_chunk()) {
        (Some(first), Some(last)) => (lower(u64::from_le_bytes(*first)), lower(u64::from_le_bytes(*last))),
        _ => match (name.first_chunk(), name.last_chunk()) {
            (Some(first), Some(last)) => (lower(u32::from_le_bytes(*first) as u64), lower(u32::from_le_bytes(*last) as u64)),
            _ => (0, 0),
        },
    }
}

/// Whether `Connection` may remove the field (RFC 9110 7.6.1). It must not remove what framing, routing or the fields written
/// here depend on, nor `Date`, which a response must have.
pub fn may_be_dropped(field: Field) -> bool {
    use Field::*;
    !matches!(field, Host | ContentLength | TransferEncoding | Forwarding | TraceId | Via | Authorization | Cookie | Date)
}

/// Whether the name means a field that frames, routes or is written here once `_` is read as `-`.
fn is_look_alike(name: &[u8]) -> bool {
    const LONGEST: usize = 32;
    if !name.contains(&b'_') {
        return false;
    }
    // The longest names that matter are shorter; a longer one can only begin like them.
    let name = if name.len() > LONGEST { &name[..LONGEST] } else { name };
    let mut dashed = [0; LONGEST];
    for (to, &from) in dashed.iter_mut().zip(name) {
        *to = if from == b'_' { b'-' } else { from };
    }
    use Field::*;
    let class = classify(&dashed[..name.len()]);
    matches!(class, Host | ContentLength | TransferEncoding | Connection | HopByHop | Te | Upgrade | Forwarding | TraceId)
}

/// CGI's own variables (RFC 3875 4.1) that a field could become, as fields would be named.
const CGI_NAMES: [&[u8]; 11] = [
    b"https",
    b"auth-type",
    b"path-info",
    b"remote-addr",
    b"remote-host",
    b"remote-user",
    b"script-name",
    b"server-name",
    b"server-port",
    b"path-translated",
    b"script-filename",
];

/// Whether one of CGI's own variables has this first letter and length.
fn may_be_cgi(first: u8, length: usize) -> bool {
    matches!((length, first), (5, b'h') | (9, b'a' | b'p') | (11, b'r' | b's') | (15, b'p' | b's'))
}

/// Whether the name becomes one of CGI's own variables, in which servers tell applications who asks for what.
#[cold]
fn is_cgi(name: &[u8]) -> bool {
    let is_alike = |(&a, &b): (&u8, &u8)| a == b || (a == b'-' && b == b'_') || a == b.to_ascii_lowercase();
    CGI_NAMES.iter().any(|known| known.len() == name.len() && known.iter().zip(name).all(is_alike))
}

const TCHAR: u8 = 1;
const TARGET: u8 = 2;
const HOST: u8 = 4;

/// Which bytes may stand in a token, in a request target and in a host.
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut b = 0;
    while b < 128 {
        let c = b as u8;
        if c.is_ascii_alphanumeric()
            || matches!(c, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
        {
            class[b] |= TCHAR;
        }
        // More than RFC 3986 allows: browsers send `|`, `^`, `{` and the like unencoded, and all parsers read them alike.
        if c.is_ascii_graphic() && c != b'#' {
            class[b] |= TARGET;
        }
        if uri::may_name(c) {
            class[b] |= HOST;
        }
        b += 1;
    }
    class
};

/// Has no branch for each byte, as the result is nearly always true.
fn all(text: &[u8], class: u8) -> bool {
    text.iter().fold(class, |all, &b| all & CLASS[b as usize]) != 0
}

/// `token` of RFC 9110 5.6.2. Not compiled into the loop over field lines, most of which have a name that is known.
#[inline(never)]
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TCHAR)
}

/// Whether the byte may stand in a token.
pub fn is_tchar(b: u8) -> bool {
    CLASS[b as usize] & TCHAR != 0
}

/// Whether every byte may stand in a request target: visible ASCII except `#`.
pub fn is_target(text: &[u8]) -> bool {
    all(text, TARGET)
}

/// Whether every byte may stand in a field value (RFC 9110 5.5): visible, blank or obs-text.
pub fn is_value(text: &[u8]) -> bool {
    text.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

/// `uri-host [ ":" port ]` (RFC 9110 7.2), not empty. Percent-encoding is refused: no name in the DNS has such bytes.
pub fn is_host(text: &[u8]) -> bool {
    let (host, port) = if text.first() == Some(&b'[') {
        let Some(end) = text.iter().position(|&b| b == b']') else { return false };
        let literal = &text[1..end];
        let inside = std::str::from_utf8(literal).is_ok_and(|text| text.parse::<std::net::Ipv6Addr>().is_ok());
        if !inside {
            return false;
        }
        (&b"-"[..], &text[end + 1..])
    } else {
        // Empty labels are refused; a dot at the end stands for the root.
        let (mut length, mut before) = (0, b'.');
        for &b in text.iter().take_while(|&&b| CLASS[b as usize] & HOST != 0) {
            if b == b'.' && before == b'.' {
                return false;
            }
            (length, before) = (length + 1, b);
        }
        text.split_at(length)
    };
    let port_is_valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) && decimal(digits) <= 65_535,
        _ => false,
    };
    !host.is_empty() && port_is_valid
}

fn decimal(digits: &[u8]) -> u32 {
    digits.iter().fold(0, |n, &d| n * 10 + u32::from(d - b'0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_in_any_case() {
        assert_eq!(classify(b"HoSt"), Field::Host);
        assert_eq!(classify(b"X-Forwarded-Anything"), Field::Forwarding);
        assert_eq!(classify(b"x-forwarded"), Field::Other);
        assert_eq!(classify(b""), Field::Other);
        assert_eq!((classify(b"h-st"), classify(b"content\x0dlength")), (Field::Other, Field::Other));
    }

    /// Compared with a plain comparison of names: every byte of every name is replaced by every other byte.
    #[test]
    fn a_name_is_known_by_all_of_its_bytes() {
        let names = [
            "te",
            "via",
            "host",
            "date",
            "accept",
            "cookie",
            "expect",
            "referer",
            "upgrade",
            "forwarded",
            "x-real-ip",
            "connection",
            "user-agent",
            "keep-alive",
            "x-trace-id",
            "max-forwards",
            "authorization",
            "content-length",
            "proxy-connection",
            "transfer-encoding",
            "x-forwarded-for",
            "etag",
            "vary",
            "server",
            "set-cookie",
            "content-type",
            "cache-control",
            "last-modified",
            "accept-encoding",
            "accept-language",
            "content-encoding",
        ];
        for name in names.map(str::as_bytes) {
            let class = classify(name);
            assert_ne!(class, Field::Other);
            for at in 0..name.len() {
                for b in 0..=255 {
                    let mut other = name.to_vec();
                    other[at] = b;
                    let is_known = names.iter().any(|known| known.as_bytes().eq_ignore_ascii_case(&other))
                        || other.get(..12).is_some_and(|start| start.eq_ignore_ascii_case(b"x-forwarded-"));
                    assert_eq!(is_known, !matches!(classify(&other), Field::Other | Field::LookAlike), "{other:?}");
                }
                if name[at] == b'-' && !matches!(class, Field::UserAgent | Field::MaxForwards | Field::Common) {
                    let mut other = name.to_vec();
                    other[at] = b'_';
                    assert_eq!(classify(&other), Field::LookAlike, "{other:?}");
                }
            }
        }
    }

    #[test]
    fn underscores_do_not_smuggle() {
        for name in ["Content_Length", "x_forwarded-for", "TRANSFER_ENCODING"] {
            assert_eq!(classify(name.as_bytes()), Field::LookAlike, "{name}");
        }
        for name in ["SCRIPT_NAME", "Script-Name", "path_translated", "REMOTE_USER", "https", "HTTPS", "server-Port"] {
            assert_eq!(classify(name.as_bytes()), Field::LookAlike, "{name}");
        }
        for name in CGI_NAMES {
            assert_eq!(classify(name), Field::LookAlike, "{}", name.escape_ascii());
        }
        assert_eq!((classify(b"script.name"), classify(b"Referers"), classify(b"range")), (Field::Other, Field::Other, Field::Other));
        assert_eq!((classify(b"my_field"), classify(&[b'_'; 100])), (Field::Other, Field::Other));
    }

    #[test]
    fn hosts() {
        for host in ["a", "a.example:80", "127.0.0.1", "[::1]", "[::1]:8080", "a_b", "a:", "a.example."] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in
            ["", ":80", "a b", "a:b", "a:99999", "[::1", "[x]", "u@h", "a/b", "[::1]x", "h\u{e9}", "a%2Fb", "%61", "a%", ".a", "a..b", "."]
        {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
