//! The first bytes of a client that does not speak HTTP/1. Other protocols are recognised before a line is complete, because their
//! clients may wait for an answer to what they have sent.

use super::Refusal;
use super::fields::is_token;

/// How version 2 of the PROXY protocol begins, after its first two empty lines, which are skipped as those before a request are.
const PROXY_2: &[u8] = b"\0\r\nQUIT\n";

/// How many bytes are needed to tell.
pub const LONGEST: usize = b"PROXY UNKNOWN".len();

/// What the first bytes of a request say about their sender.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preface {
    /// They may begin a request.
    Request,
    /// They cannot begin a request, and more bytes are needed to recognise the protocol.
    Unclear,
    /// Another protocol, by its name.
    Foreign(&'static str),
    /// No protocol that is known here.
    Unknown,
}

impl Preface {
    /// Judges the bytes that have come, without the empty lines before them.
    pub fn of(bytes: &[u8]) -> Self {
        match bytes {
            [0x16, 0x03, ..] => Self::Foreign("TLS"),
            [0x16] => Self::Unclear,
            [0, ..] if bytes.starts_with(PROXY_2) => Self::Foreign("the PROXY protocol"),
            [0, ..] if PROXY_2.starts_with(bytes) => Self::Unclear,
            // As a method, `PROXY` would have a target after it, and these are no targets.
            _ if bytes.starts_with(b"PROXY TCP") || bytes.starts_with(b"PROXY UNKNOWN") => Self::Foreign("the PROXY protocol"),
            // Too many empty lines and a bare LF are judged where the head is searched.
            [b'\r' | b'\n', ..] | [] => Self::Request,
            [first, ..] if is_token(&[*first]) => Self::Request,
            _ => Self::Unknown,
        }
    }

    /// What is wrong, for the client; `None` while it may be a request.
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

    /// The verdict is the same whole and byte by byte.
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
