//! A failure: its reason, whose status, blame and timeout are in the table of [`Reason`], and a sentence for people.

use crate::config::model::Timeouts;
use crate::http::Refusal;
use crate::observe::escape::quoted;
use crate::observe::reason::Reason;
use std::borrow::Cow;
use std::fmt;

/// Why a request fails.
#[derive(Clone, Debug)]
pub struct Failure {
    /// The reason.
    pub reason: Reason,
    /// What happened and where, in words.
    pub detail: Cow<'static, str>,
    /// Seconds after which another try makes sense, where that is known.
    pub retry_after: Option<u32>,
}

/// What is known of a connection that failed, beyond its reason.
#[derive(Clone, Debug)]
pub struct Trouble {
    /// The reason that it explains.
    pub reason: Reason,
    /// The rest of a sentence that begins with the upstream's name.
    pub words: String,
}

/// Which timeout passed while an upstream did not answer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Silence {
    /// `read_ms`.
    #[default]
    Read,
    /// `attempt_ms`.
    Attempt,
}

/// Milliseconds, formatted for people.
pub struct Time(pub u32);

impl fmt::Display for Time {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            ms if ms % 1000 == 0 => write!(f, "{} s", ms / 1000),
            ms => write!(f, "{ms} ms"),
        }
    }
}

impl Failure {
    /// A failure without a time for another try.
    pub fn new(reason: Reason, detail: impl Into<Cow<'static, str>>) -> Self {
        Self { reason, detail: detail.into(), retry_after: None }
    }

    /// Sets the seconds after which another try makes sense.
    pub fn retry_after(self, seconds: u32) -> Self {
        Self { retry_after: Some(seconds), ..self }
    }

    /// A refused request.
    pub fn of_request(refusal: Refusal) -> Self {
        match refusal {
            Refusal::Malformed(what) => Self::new(Reason::RequestError, what),
            Refusal::LineTooLong => Self::new(Reason::RequestTargetSize, "the request line is longer than limits.max_request_line"),
            Refusal::HeadTooLarge(what) => Self::new(Reason::RequestHeaderSize, what),
            Refusal::BodyTooLarge => Self::new(Reason::RequestBodySize, "the content is larger than limits.max_body_size"),
            Refusal::Version => Self::new(Reason::HttpVersion, "HTTP/1.1 and HTTP/1.0 are spoken here"),
            Refusal::Method => Self::new(Reason::RequestMethod, "CONNECT and TRACE are not served"),
            Refusal::Coding => Self::new(Reason::RequestTransferCoding, "no transfer coding but chunked is known here"),
            // Only a response can switch protocols; this cannot happen.
            Refusal::Upgrade => Self::new(Reason::RequestError, "the request is malformed"),
            Refusal::Expectation => Self::new(Reason::ExpectationFailed, "no expectation but 100-continue is known here"),
        }
    }

    /// A refused response.
    pub fn of_response(refusal: Refusal, upstream: &str) -> Self {
        match refusal {
            Refusal::HeadTooLarge(what) => Self::new(Reason::ResponseHeaderSize, format!("{upstream}: {what}")),
            Refusal::LineTooLong => Self::new(Reason::ResponseHeaderSize, format!("{upstream}: the status line is too long")),
            Refusal::Malformed(what) => Self::new(Reason::ProtocolError, format!("{upstream}: {what}")),
            Refusal::Upgrade => Self::new(Reason::UpgradeFailed, format!("{upstream} switched to another protocol than was asked for")),
            _ => Self::new(Reason::ProtocolError, format!("{upstream} broke the protocol")),
        }
    }

    /// An upstream that speaks another protocol, judged by its first bytes.
    pub fn not_http(upstream: &str, bytes: &[u8]) -> Self {
        const MAX_SHOWN: usize = 64;
        let mut shown = Vec::new();
        quoted(&bytes[..bytes.len().min(MAX_SHOWN)], &mut shown);
        let shown = String::from_utf8_lossy(&shown);
        Self::new(Reason::ProtocolError, format!("{upstream} sent what begins no HTTP/1 answer: \"{shown}\""))
    }

    /// An upstream that did not answer in time.
    pub fn of_silence(silence: Silence, upstream: &str, timeouts: &Timeouts) -> Self {
        match silence {
            Silence::Read => Self::of_upstream(Reason::ReadTimeout, upstream, timeouts),
            Silence::Attempt => {
                let time = Time(timeouts.attempt_ms);
                Self::new(Reason::ReadTimeout, format!("{upstream} did not answer within {time} (timeouts.attempt_ms)"))
            }
        }
    }

    /// An upstream that took the connection, and then let the handshake on it go unanswered.
    pub fn of_handshake(upstream: &str, timeouts: &Timeouts) -> Self {
        let time = Time(timeouts.connect_ms);
        let detail = format!("{upstream} took the connection, but did not finish the TLS handshake within {time} (timeouts.connect_ms)");
        Self::new(Reason::ConnectionTimeout, detail)
    }

    /// The failure of an attempt, in words.
    pub fn of_upstream(reason: Reason, upstream: &str, timeouts: &Timeouts) -> Self {
        let over = match reason {
            Reason::ConnectionTimeout => Some(("did not take the connection within", timeouts.connect_ms, "connect_ms")),
            Reason::ReadTimeout => Some(("sent nothing for", timeouts.read_ms, "read_ms")),
            Reason::WriteTimeout => Some(("took nothing for", timeouts.write_ms, "write_ms")),
            Reason::ResponseTimeout => Some(("did not finish its answer within", timeouts.total_ms, "total_ms")),
            _ => None,
        };
        if let Some((what, ms, key)) = over {
            return Self::new(reason, format!("{upstream} {what} {} (timeouts.{key})", Time(ms)));
        }
        let what = match reason {
            Reason::ConnectionRefused => "refused the connection",
            Reason::ConnectionTerminated => "closed the connection before it answered",
            Reason::ResponseIncomplete => "closed the connection in the middle of its answer",
            Reason::DnsError => "has a name that is not resolved",
            Reason::TlsCertificateError => "has a certificate that is not accepted (upstream_tls)",
            Reason::TlsProtocolError => "does not speak TLS as it should",
            Reason::InternalError => "could not be connected to: this machine has no port or no memory left for it",
            _ => "failed",
        };
        Self::new(reason, format!("{upstream} {what}"))
    }
}
