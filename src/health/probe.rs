//! One check: the bytes that are sent, and what the bytes that come back mean. It touches no socket.

use super::body::{BodyFinding, BodySearch};
use crate::config::model::HealthCheck;
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
    /// TLS with it failed.
    Tls(String),
    /// It took the connection, and the TLS handshake on it took too long (milliseconds).
    HandshakeTimeout(u32),
    /// Connecting took too long (milliseconds).
    ConnectTimeout(u32),
    /// Connecting and answering together took too long (milliseconds).
    AnswerTimeout(u32),
    /// A FIN before the answer was whole.
    Closed(AnswerPart),
    /// A reset before the answer was whole.
    Reset(AnswerPart),
    /// The answer is not HTTP/1.1, or can be read in two ways.
    Malformed(&'static str),
    /// The answer is over a limit.
    TooLarge(&'static str),
    /// The status is outside the expected range.
    Status(u16, (u16, u16)),
    /// The status is good, but the expected text is not in the body, for this reason.
    Body(u16, String),
}

/// How far an answer has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerPart {
    Nothing,
    Head,
    Body,
}

impl fmt::Display for AnswerPart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nothing => "before it answered",
            Self::Head => "within the head of its answer",
            Self::Body => "within the body of its answer",
        })
    }
}

impl fmt::Display for ProbeFailure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Refused => f.write_str("refused the connection"),
            Self::Unreachable(why) => write!(f, "cannot be reached: {why}"),
            Self::Tls(why) => f.write_str(why),
            Self::HandshakeTimeout(ms) => write!(f, "took the connection, but did not finish the TLS handshake within {ms} ms"),
            Self::ConnectTimeout(ms) => write!(f, "did not take the connection within {ms} ms"),
            Self::AnswerTimeout(ms) => write!(f, "did not answer within {ms} ms"),
            Self::Closed(part) => write!(f, "closed the connection {part}"),
            Self::Reset(part) => write!(f, "reset the connection {part}"),
            Self::Malformed(why) => write!(f, "its answer is malformed: {why}"),
            Self::TooLarge(why) => write!(f, "the head of its answer is over the limits: {why}"),
            Self::Status(status, (first, last)) if first == last => write!(f, "answered {status}, expected {first}"),
            Self::Status(status, (first, last)) => write!(f, "answered {status}, expected {first} to {last}"),
            Self::Body(status, why) => write!(f, "answered {status}, but {why}"),
        }
    }
}

/// The bytes of one check's request to an upstream with this `host:port`.
pub fn request(check: &HealthCheck, authority: &str) -> Vec<u8> {
    let host = check.host.as_deref().unwrap_or(authority);
    let mut head = format!("{} {} HTTP/1.1\r\nHost: {host}\r\n", check.method, check.path);
    let is_configured = |name: &str| check.headers.iter().any(|(other, _)| other.eq_ignore_ascii_case(name));
    let mut field = |name: &str, value: &str| [name, ": ", value, "\r\n"].iter().for_each(|part| head.push_str(part));
    let defaults = [
        ("User-Agent", "tidegate-health-check", true),
        ("Accept", "*/*", true),
        // An encoded body would hide the text.
        ("Accept-Encoding", "identity", check.expected_body.is_some()),
    ];
    defaults.iter().filter(|(name, _, applies)| *applies && !is_configured(name)).for_each(|(name, value, _)| field(name, value));
    check.headers.iter().for_each(|(name, value)| field(name, value));
    if matches!(check.method.as_str(), "POST" | "PUT" | "PATCH") {
        field("Content-Length", "0");
    }
    field("Connection", "close");
    head.push_str("\r\n");
    head.into_bytes()
}

/// What a check comes to: a good status, or what is wrong.
pub type ProbeOutcome = Result<u16, ProbeFailure>;

/// Reads the answer to a check.
#[derive(Debug)]
pub struct Probe {
    /// The first and the last status that are good.
    expected: (u16, u16),
    /// The text that the body must contain.
    text: Option<String>,
    /// Whether it answers HEAD.
    to_head: bool,
    /// The limits for all heads together, interim ones included: they bound what is stored.
    limits: HeadLimits,
    buffer: Vec<u8>,
    /// Where the head that is being read begins.
    start: usize,
    scan: HeadScan,
    /// The search of the body, once the head has come with a good status.
    search: Option<(u16, BodySearch)>,
    /// How the content is encoded, if it is.
    encoding: Option<String>,
    /// Bytes of the body still to come, once the head has come.
    rest: u64,
}

impl Probe {
    /// A reader of which nothing has come yet.
    pub fn new(check: &HealthCheck, limits: HeadLimits) -> Self {
        Self {
            expected: check.expected_status,
            text: check.expected_body.clone(),
            to_head: check.method == "HEAD",
            limits,
            buffer: Vec::new(),
            start: 0,
            scan: HeadScan::default(),
            search: None,
            encoding: None,
            rest: 0,
        }
    }

    /// Takes the next bytes; returns the outcome, once it is known. Later bytes go to [`Probe::skip`].
    pub fn take(&mut self, bytes: &[u8]) -> Option<ProbeOutcome> {
        if self.search.is_some() {
            self.rest = self.rest.saturating_sub(bytes.len() as u64);
            return self.look_for_text(bytes);
        }
        self.buffer.extend_from_slice(bytes);
        loop {
            match self.step() {
                Ok(ProbeStep::Blocked) => return None,
                Ok(ProbeStep::Interim) => {}
                Ok(ProbeStep::Final(status)) if !(self.expected.0..=self.expected.1).contains(&status) => {
                    return Some(Err(ProbeFailure::Status(status, self.expected)));
                }
                Ok(ProbeStep::Final(status)) if self.search.is_none() => return Some(Ok(status)),
                Ok(ProbeStep::Final(_)) => {
                    let content = self.buffer.split_off(self.start);
                    return self.look_for_text(&content);
                }
                Err(refusal) => return Some(Err(failure(refusal))),
            }
        }
    }

    /// The fault, where the connection has ended before there was an outcome.
    pub fn on_end(&mut self) -> ProbeFailure {
        let whole = self.search.as_mut().and_then(|(status, search)| search.on_end().then_some(*status));
        match whole {
            Some(status) => self.without_text(status, "its body"),
            None => ProbeFailure::Closed(self.part()),
        }
    }

    /// The fault, where the connection was reset before there was an outcome.
    pub fn on_reset(&self) -> ProbeFailure {
        ProbeFailure::Reset(self.part())
    }

    /// The fault, where there is no outcome after so long.
    pub fn on_timeout(&self, ms: u32) -> ProbeFailure {
        match &self.search {
            Some((status, _)) => self.without_text(*status, format_args!("what it sent within {ms} ms")),
            None => ProbeFailure::AnswerTimeout(ms),
        }
    }

    fn part(&self) -> AnswerPart {
        match self.search {
            Some(_) => AnswerPart::Body,
            None if self.buffer.is_empty() => AnswerPart::Nothing,
            None => AnswerPart::Head,
        }
    }

    fn look_for_text(&mut self, bytes: &[u8]) -> Option<ProbeOutcome> {
        let (status, search) = self.search.as_mut()?;
        let status = *status;
        match search.take(bytes, &self.limits) {
            Ok(BodyFinding::Open) => None,
            Ok(BodyFinding::Found) => Some(Ok(status)),
            Ok(BodyFinding::Missing) => {
                self.rest = 0;
                Some(Err(self.without_text(status, "its body")))
            }
            Ok(BodyFinding::Beyond) => Some(Err(self.without_text(status, "the first 16 KiB of its body"))),
            Err(refusal) => {
                self.rest = 0;
                Some(Err(failure(refusal)))
            }
        }
    }

    fn without_text(&self, status: u16, place: impl fmt::Display) -> ProbeFailure {
        /// Enough of the text to recognise it by.
        const SHOWN: usize = 40;
        let text = self.text.as_deref().unwrap_or_default();
        let shown: String = text.chars().take(SHOWN).collect();
        let more = if shown.len() < text.len() { "…" } else { "" };
        let encoding = self.encoding.as_ref().map(|encoding| format!(", which is encoded ({encoding})")).unwrap_or_default();
        ProbeFailure::Body(status, format!("{shown:?}{more} is not in {place}{encoding}"))
    }

    /// Drops bytes of content. Returns whether the rest is worth reading, so that the upstream can finish its answer.
    pub fn skip(&mut self, count: usize) -> bool {
        self.rest = self.rest.saturating_sub(count as u64).min(MAX_REST);
        self.rest > 0
    }

    fn step(&mut self) -> Result<ProbeStep, Refusal> {
        let bytes = &self.buffer[self.start..];
        let limits = HeadLimits { total: self.limits.total - self.start, ..self.limits };
        let HeadEnd::At(length) = self.scan.find_end(bytes, &limits)? else { return Ok(ProbeStep::Blocked) };
        let mut table = HeadTable::default();
        let response = Response::parse(&bytes[..length], self.to_head, &mut table)?;
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
        self.rest = content.saturating_sub((bytes.len() - length) as u64);
        let status = response.status;
        if let Some(text) = &self.text {
            self.search = Some((status, BodySearch::new(text, response.length)));
            self.encoding = encoding(&response);
            self.start += length;
        }
        Ok(ProbeStep::Final(status))
    }
}

/// How its content is encoded, if it says so.
fn encoding(response: &Response) -> Option<String> {
    let line = response.fields.iter().find(|line| line.name().eq_ignore_ascii_case(b"content-encoding"))?;
    let encoding = String::from_utf8_lossy(line.value());
    (!encoding.eq_ignore_ascii_case("identity")).then(|| encoding.escape_debug().collect())
}

fn failure(refusal: Refusal) -> ProbeFailure {
    match refusal {
        Refusal::HeadTooLarge(why) => ProbeFailure::TooLarge(why),
        Refusal::LineTooLong => ProbeFailure::TooLarge("its status line is too long"),
        Refusal::Malformed(why) => ProbeFailure::Malformed(why),
        _ => ProbeFailure::Malformed("its head is malformed"),
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
    use crate::health::tests::check;

    const LIMITS: HeadLimits = HeadLimits { first_line: 40, line: 40, lines: 3, total: 160 };

    /// The outcome is the same whole and byte by byte. Of an answer that ends too soon, what its end means.
    fn outcome(answer: &str) -> Result<u16, String> {
        outcome_of(&check(), answer)
    }

    fn outcome_of(check: &HealthCheck, answer: &str) -> Result<u16, String> {
        let mut probe = Probe::new(check, LIMITS);
        let whole = probe.take(answer.as_bytes()).unwrap_or_else(|| Err(probe.on_end()));
        let mut probe = Probe::new(check, LIMITS);
        let by_byte = answer.as_bytes().iter().find_map(|byte| probe.take(&[*byte])).unwrap_or_else(|| Err(probe.on_end()));
        assert_eq!(whole, by_byte, "{answer:?}");
        whole.map_err(|fault| fault.to_string())
    }

    fn fault(text: &str) -> Result<u16, String> {
        Err(text.into())
    }

    #[test]
    fn what_is_sent() {
        let sent = |check: HealthCheck| String::from_utf8(request(&check, "a:80")).unwrap();
        let usual = "GET /up HTTP/1.1\r\nHost: a:80\r\nUser-Agent: tidegate-health-check\r\nAccept: */*\r\nConnection: close\r\n\r\n";
        assert_eq!(sent(check()), usual);
        let field = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        let headers = vec![field("user-agent", "me"), field("X-A", "1"), field("Accept-Encoding", "gzip")];
        let other = HealthCheck { host: Some("b".into()), method: "POST".into(), headers, expected_body: Some("ok".into()), ..check() };
        let wanted = "POST /up HTTP/1.1\r\nHost: b\r\nAccept: */*\r\nuser-agent: me\r\nX-A: 1\r\nAccept-Encoding: gzip\r\n\
                      Content-Length: 0\r\nConnection: close\r\n\r\n";
        assert_eq!(sent(other), wanted);
        let with_text = sent(HealthCheck { expected_body: Some("ok".into()), ..check() });
        assert_eq!(with_text, usual.replace("Connection", "Accept-Encoding: identity\r\nConnection"));
    }

    #[test]
    fn a_text_in_the_body() {
        let says = |answer: &str| outcome_of(&HealthCheck { expected_body: Some("\"up\"".into()), ..check() }, answer);
        let missing = |place: &str| Err(format!("answered 200, but \"\\\"up\\\"\" is not in {place}"));
        assert_eq!(says("HTTP/1.1 200 OK\r\nContent-Length: 11\r\n\r\n{\"s\":\"up\"}x"), Ok(200));
        assert_eq!(says("HTTP/1.1 100 C\r\n\r\nHTTP/1.0 200 OK\r\n\r\n{\"s\":\"up\"}"), Ok(200));
        assert_eq!(says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\n{\"u\r\n3\r\np\"}\r\n0\r\n\r\n"), Ok(200));
        assert_eq!(says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndown"), missing("its body"));
        assert!(says("HTTP/1.1 204 OK\r\n\r\n").is_err());
        assert_eq!(says("HTTP/1.1 200 OK\r\n\r\ndown"), missing("its body"));
        assert_eq!(says("HTTP/1.1 500 Oh\r\n\r\n\"up\""), fault("answered 500, expected 200 to 399"));
        assert_eq!(says(&format!("HTTP/1.1 200 OK\r\n\r\n{}\"up\"", "x".repeat(16_381))), missing("the first 16 KiB of its body"));
        let encoded = "HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\nab";
        assert_eq!(says(encoded), missing("its body, which is encoded (gzip)"));
        let cut = fault("closed the connection within the body of its answer");
        assert_eq!(says("HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ndow"), cut);
        assert_eq!(says("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\ndown\r\n"), cut);
        let broken = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nup";
        assert_eq!(says(broken), fault("its answer is malformed: a chunk size is not plain hexadecimal digits"));
    }

    #[test]
    fn a_text_that_does_not_come_in_time() {
        let text = "long ".repeat(20);
        let mut probe = Probe::new(&HealthCheck { expected_body: Some(text), ..check() }, LIMITS);
        assert_eq!((probe.on_timeout(9), probe.on_reset()), (ProbeFailure::AnswerTimeout(9), ProbeFailure::Reset(AnswerPart::Nothing)));
        assert_eq!(probe.take(b"HTTP/1.1 200 OK\r\n\r\nlong"), None);
        let shown = format!("answered 200, but {:?}… is not in what it sent within 9 ms", "long ".repeat(8));
        assert_eq!(probe.on_timeout(9).to_string(), shown);
        assert_eq!(probe.on_reset().to_string(), "reset the connection within the body of its answer");
    }

    #[test]
    fn an_answer_to_head_has_no_body() {
        let mut probe = Probe::new(&HealthCheck { method: "HEAD".into(), ..check() }, LIMITS);
        assert_eq!(probe.take(b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), Some(Ok(200)));
        assert!(!probe.skip(0), "none is waited for");
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
            let mut probe = Probe::new(&check(), LIMITS);
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
