//! One check: the bytes that are sent, and what the bytes that come back mean. It touches no socket.

use crate::http::framing::BodyLength;
use crate::http::head::HeadTable;
use crate::http::response::Response;
use crate::http::scan::{HeadEnd, HeadScan};
use crate::http::{HeadLimits, Refusal};
use std::fmt;

/// Content beyond this (bytes) is not read: the connection is closed while it comes.
const MAX_REST: u64 = 65_536;

/// Why a check failed, for a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ProbeFailure {
    /// The connection was refused.
    Refused,
    /// There is no route to it.
    Unreachable(String),
    /// Connecting took too long (milliseconds).
    ConnectTimeout(u32),
    /// Connecting and answering together took too long (milliseconds).
    AnswerTimeout(u32),
    /// A FIN before the end of the head; true if part of the head had come.
    Closed(bool),
    /// A reset before the end of the head.
    Reset,
    /// The answer is not HTTP/1.1, or can be read in two ways.
    Malformed(&'static str),
    /// The answer is over a limit.
    TooLarge(&'static str),
    /// The status is outside the expected range.
    Status(u16, (u16, u16)),
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused the connection"),
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::ConnectTimeout(ms) => write!(f, "did not take the connection within {ms} ms"),
            Self::AnswerTimeout(ms) => write!(f, "did not answer within {ms} ms"),
            Self::Closed(false) => f.write_str("closed the connection before it answered"),
            Self::Closed(true) => f.write_str("closed the connection within the head of its answer"),
            Self::Reset => f.write_str("reset the connection before it answered"),
            Self::Malformed(why) => write!(f, "its answer is malformed: {why}"),
            Self::TooLarge(why) => write!(f, "the head of its answer is over the limits: {why}"),
            Self::Status(status, (first, last)) if first == last => write!(f, "answered {status}, expected {first}"),
            Self::Status(status, (first, last)) => write!(f, "answered {status}, expected {first} to {last}"),
        }
    }
}

/// The bytes of one check's request.
pub fn request(path: &str, authority: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: {authority}\r\nUser-Agent: tidegate-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n")
        .into_bytes()
}

/// What a check comes to: a good status, or what is wrong.
pub type ProbeOutcome = Result<u16, ProbeFailure>;

/// Reads the answer to a check.
#[derive(Debug)]
pub struct Probe {
    /// The first and the last status that are good.
    expected: (u16, u16),
    /// The limits for all heads together, interim ones included: they bound what is stored.
    limits: HeadLimits,
    buffer: Vec<u8>,
    /// Where the head that is being read begins.
    start: usize,
    scan: HeadScan,
    /// Bytes of content still to come, once the outcome is known.
    rest: u64,
}

impl Probe {
    /// A reader of which nothing has come yet.
    pub fn new(expected: (u16, u16), limits: HeadLimits) -> Self {
        Self { expected, limits, buffer: Vec::new(), start: 0, scan: HeadScan::default(), rest: 0 }
    }

    /// Takes the next bytes; returns the outcome, once it is known. Later bytes go to [`Probe::skip`].
    pub fn take(&mut self, bytes: &[u8]) -> Option<ProbeOutcome> {
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.step() {
                Ok(ProbeStep::Blocked) => return None,
                Ok(ProbeStep::Interim) => {}
                Ok(ProbeStep::Final(status)) if (self.expected.0..=self.expected.1).contains(&status) => return Some(Ok(status)),
                Ok(ProbeStep::Final(status)) => return Some(Err(ProbeFailure::Status(status, self.expected))),
                Err(Refusal::HeadTooLarge(why)) => return Some(Err(ProbeFailure::TooLarge(why))),
                Err(Refusal::LineTooLong) => return Some(Err(ProbeFailure::TooLarge("its status line is too long"))),
                Err(Refusal::Malformed(why)) => return Some(Err(ProbeFailure::Malformed(why))),
                Err(_) => return Some(Err(ProbeFailure::Malformed("its head is malformed"))),
            }
        }
    }

    /// The fault, where the connection has ended before there was an outcome.
    pub fn on_end(&self) -> ProbeFailure {
        ProbeFailure::Closed(!self.buffer.is_empty())
    }

    /// Drops bytes of content. Returns whether the rest is worth reading, so that the upstream can finish its answer.
    pub fn skip(&mut self, count: usize) -> bool {
        self.rest = self.rest.saturating_sub(count as u64);
        self.rest > 0
    }

    fn step(&mut self) -> Result<ProbeStep, Refusal> {
        let bytes = &self.buffer[self.start..];
        let limits = HeadLimits { total: self.limits.total - self.start, ..self.limits };
        let HeadEnd::At(length) = self.scan.find_end(bytes, &limits)? else { return Ok(ProbeStep::Blocked) };
        let mut table = HeadTable::default();
        let response = Response::parse(&bytes[..length], false, &mut table)?;
        if response.is_interim() {
            self.start += length;
            self.scan = HeadScan::default();
            return Ok(ProbeStep::Interim);
        }
        let content = match response.length {
            BodyLength::Empty => 0,
            BodyLength::Known(n) => n,
            BodyLength::Chunked | BodyLength::UntilClose => u64::MAX,
        };
        self.rest = content.saturating_sub((bytes.len() - length) as u64).min(MAX_REST);
        Ok(ProbeStep::Final(response.status))
    }
}

enum ProbeStep {
    /// The head is not complete yet.
    Blocked,
    Interim,
    Final(u16),
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { first_line: 40, line: 40, lines: 3, total: 160 };

    /// The outcome is the same whole and byte by byte. Of an answer that ends too soon, what its end means.
    fn outcome(answer: &str) -> Result<u16, String> {
        let end = |probe: &Probe| Err(probe.on_end());
        let mut probe = Probe::new((200, 399), LIMITS);
        let whole = probe.take(answer.as_bytes()).unwrap_or_else(|| end(&probe));
        let mut probe = Probe::new((200, 399), LIMITS);
        let by_byte = answer.as_bytes().iter().find_map(|byte| probe.take(&[*byte])).unwrap_or_else(|| end(&probe));
        assert_eq!(whole, by_byte, "{answer:?}");
        whole.map_err(|fault| fault.to_string())
    }

    fn fault(text: &str) -> Result<u16, String> {
        Err(text.into())
    }

    #[test]
    fn what_is_sent() {
        let text = "GET /health HTTP/1.1\r\nHost: a:80\r\nUser-Agent: tidegate-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n";
        assert_eq!(request("/health", "a:80"), text.as_bytes());
    }

    #[test]
    fn a_status_within_the_range_is_good() {
        assert_eq!(outcome("HTTP/1.1 200 OK\r\n\r\n"), Ok(200));
        assert_eq!(outcome("HTTP/1.0 399 \r\nContent-Length: 3\r\n\r\nabc"), Ok(399));
        assert_eq!(outcome("HTTP/1.1 500 Oh\r\n\r\n"), fault("answered 500, expected 200 to 399"));
        assert_eq!(outcome("HTTP/1.1 400 Oh\r\n\r\n"), fault("answered 400, expected 200 to 399"));
        assert_eq!(outcome("HTTP/1.1 101 Oh\r\nUpgrade: x\r\n\r\n"), fault("answered 101, expected 200 to 399"));
        assert_eq!(ProbeFailure::Status(200, (204, 204)).to_string(), "answered 200, expected 204");
    }

    #[test]
    fn interim_answers_are_passed_over() {
        assert_eq!(outcome("HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early\r\nA: b\r\n\r\nHTTP/1.1 204 None\r\n\r\n"), Ok(204));
        assert_eq!(outcome("HTTP/1.1 100 Continue\r\n\r\n"), fault("closed the connection within the head of its answer"));
        let flood = "HTTP/1.1 100 Continue\r\n\r\n".repeat(20);
        assert_eq!(outcome(&flood), fault("the head of its answer is over the limits: the head is too large"));
        let exactly = format!("{}HTTP/1.1 199 {}\r\n\r\n", "HTTP/1.1 100 Continue\r\n\r\n".repeat(5), "x".repeat(18));
        assert_eq!(exactly.len(), LIMITS.total);
        assert_eq!(outcome(&exactly), fault("the head of its answer is over the limits: the head is too large"));
    }

    #[test]
    fn what_ends_too_soon() {
        assert_eq!(outcome(""), fault("closed the connection before it answered"));
        assert_eq!(outcome("HTTP/1.1 200 OK\r\n"), fault("closed the connection within the head of its answer"));
    }

    #[test]
    fn what_is_no_answer() {
        assert_eq!(outcome("SSH-2.0-OpenSSH\r\n\r\n"), fault("its answer is malformed: its first line is no status line"));
        assert_eq!(outcome("hello\n"), fault("its answer is malformed: a line of the head ends in a bare LF"));
        let twice = "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n";
        assert_eq!(outcome(twice), fault("its answer is malformed: it has more than one Content-Length"));
    }

    #[test]
    fn what_is_too_large() {
        let long = "x".repeat(50);
        let over = |why: &str| Err(format!("the head of its answer is over the limits: {why}"));
        assert_eq!(outcome(&format!("HTTP/1.1 200 {long}\r\n\r\n")), over("its status line is too long"));
        assert_eq!(outcome(&format!("HTTP/1.1 200 OK\r\nA: {long}\r\n\r\n")), over("a field line is too long"));
        assert_eq!(outcome(&format!("HTTP/1.1 200 OK\r\n{}\r\n", "A: b\r\n".repeat(4))), over("too many fields"));
    }

    #[test]
    fn content_is_waited_for_within_reason() {
        let rest = |answer: &str, then: usize| {
            let mut probe = Probe::new((200, 399), LIMITS);
            assert_eq!(probe.take(answer.as_bytes()), Some(Ok(200)));
            [probe.skip(0), probe.skip(then)]
        };
        assert_eq!(rest("HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", 0), [false, false]);
        assert_eq!(rest("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\nabc", 0), [false, false]);
        assert_eq!(rest("HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\na", 2), [true, false]);
        assert_eq!(rest("HTTP/1.1 200 OK\r\n\r\n", 1000), [true, true]);
        assert_eq!(rest("HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n", MAX_REST as usize), [true, false]);
    }
}
