//! One finished request -> one line of the access log. It formats and nothing else: no clock, no file, no allocation beyond
//! the growth of the buffer it writes to.
//!
//! | format | a line |
//! | --- | --- |
//! | `text` | `2026-01-02T03:04:05.678Z 127.0.0.1:53412 "GET /a?b HTTP/1.1" 200 1234 0.012 upstream=127.0.0.1:9001 attempts=1 trace_id=…` |
//! | `combined` | Apache's `%h %l %u %t "%r" %>s %b "%{Referer}i" "%{User-agent}i"`; its time is that of the request's beginning |
//! | `json` | one object, every field always there, `null` where it is not known |

use super::escape;
use super::stamp::DateStamp;
use crate::base::address::Peer;
use std::io::Write;
use std::net::IpAddr;

/// What an access log line says about one request.
#[derive(Clone, Copy, Debug)]
pub struct Record<'a> {
    /// Wall clock at the end of the request, in milliseconds since 1970.
    pub unix_ms: u64,
    /// The client: the peer, or the client for which a trusted proxy forwarded the request.
    pub client: Peer,
    /// The TCP peer.
    pub peer: Peer,
    pub request: RequestLine<'a>,
    /// `Host`, as the client sent it.
    pub host: Option<&'a [u8]>,
    /// The status of the answer; 499 if the client left first.
    pub status: u16,
    /// Bytes of the request's content.
    pub bytes_in: u64,
    /// Bytes of the answer's content.
    pub bytes_out: u64,
    /// The time from the complete head to the last byte sent to the client.
    pub duration_micros: u64,
    /// The time from sending the request to the response's head, of the last attempt.
    pub upstream_micros: Option<u64>,
    /// How long it waited for a free connection; `None` if it did not.
    pub queue_micros: Option<u64>,
    /// How long the connection of the last attempt took; `None` if it was kept from before, or did not come about.
    pub connect_micros: Option<u64>,
    /// Name of the last upstream.
    pub upstream: Option<&'a str>,
    /// Name of the route that took the request.
    pub route: Option<&'a str>,
    /// Attempts given to upstreams.
    pub attempts: u32,
    /// The name of the reason, if the answer was made or cut off here.
    pub error: Option<&'a str>,
    /// `hit`, `miss`, …, where there is a cache.
    pub cache: Option<&'a str>,
    /// The trace id; empty if the request ended before it got one.
    pub trace_id: &'a str,
    /// As the client sent it.
    pub user_agent: Option<&'a [u8]>,
    /// As the client sent it.
    pub referer: Option<&'a [u8]>,
}

/// A request line, as far as it was understood.
#[derive(Clone, Copy, Debug)]
pub enum RequestLine<'a> {
    /// The line of a parsed request.
    Parsed {
        /// `GET`
        method: &'a [u8],
        /// `/a?b`, as the client sent it.
        target: &'a [u8],
        /// `HTTP/1.1`
        version: &'a [u8],
    },
    /// The raw first line of any other, without its end, as far as it came. May be empty.
    Raw(&'a [u8]),
}

/// `logging.access_format`
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    Text,
    Combined,
    Json,
}

/// Writes lines; keeps only the date of the last one.
#[derive(Clone, Debug, Default)]
pub struct Formatter {
    stamp: DateStamp,
}

impl Formatter {
    /// Appends one line, its end included.
    pub fn line(&mut self, format: Format, record: &Record<'_>, out: &mut Vec<u8>) {
        match format {
            Format::Text => self.text(record, out),
            Format::Combined => self.combined(record, out),
            Format::Json => self.json(record, out),
        }
        out.push(b'\n');
    }

    fn text(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        self.stamp.iso(record.unix_ms, out);
        out.push(b' ');
        address(record.client, out);
        out.push(b' ');
        request_line(record.request, out);
        out.push(b' ');
        decimal(record.status.into(), out);
        out.push(b' ');
        decimal(record.bytes_out, out);
        out.push(b' ');
        thousandths(record.duration_micros / 1000, out);
        out.extend_from_slice(b" upstream=");
        or_dash(record.upstream.map(str::as_bytes), out);
        out.extend_from_slice(b" attempts=");
        decimal(record.attempts.into(), out);
        if let Some(reason) = record.error {
            out.extend_from_slice(b" error=");
            out.extend_from_slice(reason.as_bytes());
        }
        out.extend_from_slice(b" trace_id=");
        or_dash(Some(record.trace_id.as_bytes()), out);
    }

    fn combined(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        address(without_port(record.client), out);
        out.extend_from_slice(b" - - [");
        self.stamp.apache(record.unix_ms.saturating_sub(record.duration_micros / 1000), out);
        out.extend_from_slice(b"] ");
        request_line(record.request, out);
        out.push(b' ');
        decimal(record.status.into(), out);
        out.push(b' ');
        match record.bytes_out {
            0 => out.push(b'-'),
            bytes => decimal(bytes, out),
        }
        for field in [record.referer, record.user_agent] {
            out.extend_from_slice(b" \"");
            or_dash(field, out);
            out.push(b'"');
        }
    }

    fn json(&mut self, record: &Record<'_>, out: &mut Vec<u8>) {
        let [method, uri, version] = record.request.pieces();
        out.extend_from_slice(b"{\"time\":\"");
        self.stamp.iso(record.unix_ms, out);
        out.extend_from_slice(b"\",\"client\":\"");
        address(record.client, out);
        out.push(b'"');
        if record.peer == record.client {
            out.extend_from_slice(b",\"peer\":null");
        } else {
            out.extend_from_slice(b",\"peer\":\"");
            address(record.peer, out);
            out.push(b'"');
        }
        string("method", method, out);
        string("uri", uri, out);
        string("version", version, out);
        string("host", record.host, out);
        number("status", record.status.into(), out);
        number("bytes_in", record.bytes_in, out);
        number("bytes_out", record.bytes_out, out);
        out.extend_from_slice(b",\"duration_ms\":");
        thousandths(record.duration_micros, out);
        milliseconds("upstream_ms", record.upstream_micros, out);
        string("upstream", record.upstream.map(str::as_bytes), out);
        milliseconds("queue_ms", record.queue_micros, out);
        milliseconds("connect_ms", record.connect_micros, out);
        string("route", record.route.map(str::as_bytes), out);
        number("attempts", record.attempts.into(), out);
        string("error", record.error.map(str::as_bytes), out);
        string("cache", record.cache.map(str::as_bytes), out);
        string("trace_id", Some(record.trace_id.as_bytes()).filter(|id| !id.is_empty()), out);
        // Nothing sets these yet; they are there so that what reads the lines need not change later.
        string("traceparent", None, out);
        string("user", None, out);
        string("user_agent", record.user_agent, out);
        string("referer", record.referer, out);
        out.push(b'}');
    }
}

impl<'a> RequestLine<'a> {
    /// Method, target and version. A raw line is split at its first space, and at its last if `HTTP/` follows there; `None` is
    /// unknown.
    fn pieces(self) -> [Option<&'a [u8]>; 3] {
        let line = match self {
            Self::Parsed { method, target, version } => return [Some(method), Some(target), Some(version)],
            Self::Raw(line) => line,
        };
        let known = |piece: &'a [u8]| Some(piece).filter(|piece| !piece.is_empty());
        let Some(first) = memchr::memchr(b' ', line) else {
            return [known(line), None, None];
        };
        let (method, rest) = (&line[..first], &line[first + 1..]);
        match memchr::memrchr(b' ', rest) {
            Some(last) if rest[last + 1..].starts_with(b"HTTP/") => [known(method), known(&rest[..last]), Some(&rest[last + 1..])],
            _ => [known(method), known(rest), None],
        }
    }
}

fn request_line(request: RequestLine<'_>, out: &mut Vec<u8>) {
    out.push(b'"');
    match request {
        RequestLine::Parsed { method, target, version } => {
            escape::quoted(method, out);
            out.push(b' ');
            escape::quoted(target, out);
            out.push(b' ');
            escape::quoted(version, out);
        }
        RequestLine::Raw(line) => or_dash(Some(line), out),
    }
    out.push(b'"');
}

fn or_dash(value: Option<&[u8]>, out: &mut Vec<u8>) {
    match value {
        Some(value) if !value.is_empty() => escape::quoted(value, out),
        _ => out.push(b'-'),
    }
}

fn string(key: &str, value: Option<&[u8]>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    match value {
        Some(value) => {
            out.extend_from_slice(b"\":\"");
            escape::json(value, out);
            out.push(b'"');
        }
        None => out.extend_from_slice(b"\":null"),
    }
}

fn number(key: &str, value: u64, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    decimal(value, out);
}

fn milliseconds(key: &str, micros: Option<u64>, out: &mut Vec<u8>) {
    out.extend_from_slice(b",\"");
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
    match micros {
        Some(micros) => thousandths(micros, out),
        None => out.extend_from_slice(b"null"),
    }
}

fn without_port(peer: Peer) -> Peer {
    match peer {
        Peer::Ip(ip, _) => Peer::Ip(ip, None),
        Peer::Unix => Peer::Unix,
    }
}

/// IPv4 is written by hand: `Display` pads it through a buffer, and costs more than all the rest of a line.
fn address(peer: Peer, out: &mut Vec<u8>) {
    let Peer::Ip(ip, port) = peer else { return out.extend_from_slice(b"unix") };
    match (ip, port) {
        (IpAddr::V4(ip), _) => {
            for (i, octet) in ip.octets().into_iter().enumerate() {
                if i > 0 {
                    out.push(b'.');
                }
                decimal(octet.into(), out);
            }
        }
        // Writing to a `Vec` cannot fail.
        (IpAddr::V6(ip), Some(_)) => drop(write!(out, "[{ip}]")),
        (IpAddr::V6(ip), None) => drop(write!(out, "{ip}")),
    }
    if let Some(port) = port {
        out.push(b':');
        decimal(port.into(), out);
    }
}

/// `12345` -> `12.345`
fn thousandths(value: u64, out: &mut Vec<u8>) {
    decimal(value / 1000, out);
    let rest = value % 1000;
    out.extend_from_slice(&[b'.', b'0' + (rest / 100) as u8, b'0' + (rest / 10 % 10) as u8, b'0' + (rest % 10) as u8]);
}

fn decimal(mut value: u64, out: &mut Vec<u8>) {
    let mut digits = [0; 20]; // of u64::MAX
    let mut at = digits.len();
    loop {
        at -= 1;
        digits[at] = b'0' + (value % 10) as u8;
        value /= 10;
        if value == 0 {
            return out.extend_from_slice(&digits[at..]);
        }
    }
}

#[cfg(test)]
#[path = "access_tests.rs"]
mod tests;
