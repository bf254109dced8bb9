//! The first bytes of a client that does not speak HTTP/1: they are told apart before a line is complete, for such a client may
//! wait for an answer to what it has said.

use super::Refusal;
use super::fields::is_token;

/// How the PROXY protocol, version 2, begins; the two empty lines before a request would be, too.
const PROXY_2: &[u8] = b"\0\r\nQUIT\n";

/// More bytes than that tell no more.
pub const LONGEST: usize = b"PROXY UNKNOWN".len();

/// What the first bytes of a request say of who sent them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// They may begin a request.
    Request,
    /// They cannot, and what they begin is not told yet.
    Unclear,
    /// Another protocol: its name.
    Foreign(&'static str),
    /// Nothing that is known here.
    Unknown,
}

impl Preface {
    /// Looks at what has come, without the empty lines before it.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0x16, 0x03, ..] => Self::Foreign("TLS"),
            [0x16] => Self::Unclear,
            [0, ..] if bytes.starts_with(PROXY_2) => Self::Foreign("the PROXY protocol"),
            [0, ..] if PROXY_2.starts_with(bytes) => Self::Unclear,
            // As a method it would have a target after it, and these are none.
            _ if bytes.starts_with(b"PROXY TCP") || bytes.starts_with(b"PROXY UNKNOWN") => Self::Foreign("the PROXY protocol"),
            // What an empty line too many, or a bare LF, is told is the search's to say.
            [b'\r' | b'\n', ..] | [] => Self::Request,
            [first, ..] if is_token(&[*first]) => Self::Request,
            _ => Self::Unknown,
        }
    }

    /// What the client is told.
    pub fn refusal(self) -> Option<Refusal> {
        match self {
            Self::Request | Self::Unclear => None,
            Self::Foreign("TLS") => Some(Refusal::Malformed("this port speaks plain HTTP, and TLS was spoken to it")),
            Self::Foreign(_) => Some(Refusal::Malformed("this port speaks plain HTTP, without the PROXY protocol before it")),
            Self::Unknown => Some(Refusal::Malformed("this port speaks plain HTTP, and these bytes cannot begin a request")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whole and byte by byte the verdict is the same.
    fn of(bytes: &[u8]) -> Preface {
        let whole = Preface::of(bytes);
        let by_byte = (1..=bytes.len()).map(|n| Preface::of(&bytes[..n])).find(|preface| preface.refusal().is_some());
        assert_eq!(whole.refusal(), by_byte.and_then(Preface::refusal), "{bytes:?}");
        whole
    }

    #[test]
    fn who_does_not_speak_http_is_told_apart() {
        assert_eq!(of(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"), Preface::Foreign("TLS"));
        assert_eq!(of(b"\x16\x03"), Preface::Foreign("TLS"));
        assert_eq!(of(b"\0\r\nQUIT\n\x21\x11"), Preface::Foreign("the PROXY protocol"));
        assert_eq!(of(b"PROXY TCP4 192.0.2.1 192.0.2.2 1 2\r\n"), Preface::Foreign("the PROXY protocol"));
        assert_eq!(of(b"PROXY UNKNOWN\r\n"), Preface::Foreign("the PROXY protocol"));
        for bytes in [&b"\x16\x04"[..], b"\0\r\nX", b"\0\0", b"\x80\x01", b" GET / HTTP/1.1\r\n", b":"] {
            assert_eq!(of(bytes), Preface::Unknown, "{bytes:?}");
        }
    }

    #[test]
    fn what_may_be_a_request_is_left_to_those_who_read_it() {
        for bytes in [&b"GET / HTTP/1.1\r\n"[..], b"PROXY /x HTTP/1.1\r\n", b"PROXY TC", b"!", b"\r", b"\r\n", b"\n", b""] {
            assert_eq!(of(bytes), Preface::Request, "{bytes:?}");
        }
        assert_eq!((of(b"\x16"), of(b"\0\r\nQUI")), (Preface::Unclear, Preface::Unclear));
    }
}
