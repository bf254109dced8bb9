//! Field names that mean something to a proxy, and the character classes of RFC 9110 5.6.2 and RFC 3986.

/// What a proxy does with a field, by its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Field {
    Host,
    ContentLength,
    TransferEncoding,
    Connection,
    /// `Keep-Alive`, `Proxy-Connection`: meant for one connection (RFC 9110 7.6.1).
    HopByHop,
    Te,
    Upgrade,
    Expect,
    Via,
    /// `X-Forwarded-*`, `Forwarded`, `X-Real-IP`: written here, so never taken from a stranger.
    Forwarding,
    TraceId,
    Accept,
    UserAgent,
    Referer,
    Authorization,
    Cookie,
    Date,
    MaxForwards,
    Other,
}

/// Looks a name up, in any case.
pub fn classify(name: &[u8]) -> Field {
    let is = |other: &str| name.eq_ignore_ascii_case(other.as_bytes());
    match name.len() {
        2 if is("te") => Field::Te,
        3 if is("via") => Field::Via,
        4 if is("host") => Field::Host,
        4 if is("date") => Field::Date,
        6 if is("accept") => Field::Accept,
        6 if is("cookie") => Field::Cookie,
        6 if is("expect") => Field::Expect,
        7 if is("referer") => Field::Referer,
        7 if is("upgrade") => Field::Upgrade,
        9 if is("forwarded") || is("x-real-ip") => Field::Forwarding,
        10 if is("connection") => Field::Connection,
        10 if is("user-agent") => Field::UserAgent,
        10 if is("keep-alive") => Field::HopByHop,
        10 if is("x-trace-id") => Field::TraceId,
        12 if is("max-forwards") => Field::MaxForwards,
        13 if is("authorization") => Field::Authorization,
        14 if is("content-length") => Field::ContentLength,
        16 if is("proxy-connection") => Field::HopByHop,
        17 if is("transfer-encoding") => Field::TransferEncoding,
        12.. if name[..12].eq_ignore_ascii_case(b"x-forwarded-") => Field::Forwarding,
        _ => Field::Other,
    }
}

/// Whether `Connection` may name the field away (RFC 9110 7.6.1): not those that framing, routing or the fields written here
/// depend on, nor `Date`, which a response must have.
pub fn may_be_dropped(field: Field) -> bool {
    use Field::*;
    !matches!(field, Host | ContentLength | TransferEncoding | Forwarding | TraceId | Via | Authorization | Cookie | Date)
}

/// Whether a name reads as one that frames, routes or is written here once `_` is taken for `-`, as CGI-like upstreams do.
pub fn is_look_alike(name: &[u8]) -> bool {
    const LONGEST: usize = 32;
    if name.len() > LONGEST || !name.contains(&b'_') {
        return false;
    }
    let mut dashed = [0; LONGEST];
    for (to, &from) in dashed.iter_mut().zip(name) {
        *to = if from == b'_' { b'-' } else { from };
    }
    use Field::*;
    matches!(
        classify(&dashed[..name.len()]),
        Host | ContentLength | TransferEncoding | Connection | HopByHop | Te | Upgrade | Forwarding | TraceId
    )
}

const TCHAR: u8 = 1;
const TARGET: u8 = 2;
const HOST: u8 = 4;

/// Which bytes may stand in a token, in a request target, in a host.
static CLASS: [u8; 256] = {
    let mut class = [0; 256];
    let mut b = 0;
    while b < 128 {
        let c = b as u8;
        let unreserved = c.is_ascii_alphanumeric() || matches!(c, b'-' | b'.' | b'_' | b'~');
        let sub_delim = matches!(c, b'!' | b'$' | b'&' | b'\'' | b'(' | b')' | b'*' | b'+' | b',' | b';' | b'=');
        if c.is_ascii_alphanumeric()
            || matches!(c, b'!' | b'#' | b'$' | b'%' | b'&' | b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~')
        {
            class[b] |= TCHAR;
        }
        // `[` and `]` are not of RFC 3986's path or query, but browsers send them in queries and nobody reads them two ways.
        if unreserved || sub_delim || matches!(c, b':' | b'@' | b'/' | b'?' | b'%' | b'[' | b']') {
            class[b] |= TARGET;
        }
        if unreserved || sub_delim || c == b'%' {
            class[b] |= HOST;
        }
        b += 1;
    }
    class
};

fn all(text: &[u8], class: u8) -> bool {
    text.iter().all(|&b| CLASS[b as usize] & class != 0)
}

/// `token` of RFC 9110 5.6.2.
pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && all(text, TCHAR)
}

/// Whether the byte may stand in a token.
pub fn is_tchar(b: u8) -> bool {
    CLASS[b as usize] & TCHAR != 0
}

/// Whether every byte may stand in a request target (RFC 3986; no `#`, no raw UTF-8).
pub fn is_target(text: &[u8]) -> bool {
    all(text, TARGET)
}

/// Whether every byte may stand in a field value (RFC 9110 5.5): visible, blank or obs-text.
pub fn is_value(text: &[u8]) -> bool {
    text.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f))
}

/// `uri-host [ ":" port ]` (RFC 9110 7.2), not empty.
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
        text.split_at(text.iter().position(|&b| b == b':').unwrap_or(text.len()))
    };
    let port_is_valid = match port {
        [] => true,
        [b':', digits @ ..] => digits.len() <= 5 && digits.iter().all(u8::is_ascii_digit) && decimal(digits) <= 65_535,
        _ => false,
    };
    !host.is_empty() && all(host, HOST) && port_is_valid
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
    }

    #[test]
    fn underscores_do_not_smuggle() {
        assert!(is_look_alike(b"Content_Length") && is_look_alike(b"x_forwarded-for") && is_look_alike(b"TRANSFER_ENCODING"));
        assert!(!is_look_alike(b"my_field") && !is_look_alike(b"Host") && !is_look_alike(&[b'_'; 100]));
    }

    #[test]
    fn hosts() {
        for host in ["a", "a.example:80", "127.0.0.1", "[::1]", "[::1]:8080", "a_b", "a:"] {
            assert!(is_host(host.as_bytes()), "{host}");
        }
        for host in ["", ":80", "a b", "a:b", "a:99999", "[::1", "[x]", "u@h", "a/b", "[::1]x", "h\u{e9}"] {
            assert!(!is_host(host.as_bytes()), "{host}");
        }
    }
}
