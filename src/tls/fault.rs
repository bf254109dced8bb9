//! What it means when TLS with an upstream fails, in words that name what can be done about it.

use super::client::ClientTls;
use rustls::pki_types::{ServerName, UnixTime};
use rustls::{AlertDescription, CertificateError, Error};
use std::fmt::Write;
use std::io;

/// How many names of a certificate a message shows, and how much of each.
const MAX_NAMES: usize = 8;
const MAX_NAME: usize = 253;

/// Why there is no connection, for those who need to tell an upstream's certificate from its protocol.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum TlsFault {
    /// Its certificate is not accepted.
    Certificate(String),
    /// It speaks no TLS, or refuses to speak it with us.
    Protocol(String),
    /// The connection ended before the handshake did.
    Cut(String),
}

/// The other end has answered in plain HTTP.
#[derive(Debug)]
pub struct PlainHttp;

/// The connection has ended before the handshake did.
#[derive(Debug)]
pub struct HandshakeCut;

macro_rules! error {
    ($name:ident, $text:literal) => {
        impl std::fmt::Display for $name {
            fn fmt(&self, f: &mut std::fmt::Formatter) -> std::fmt::Result {
                f.write_str($text)
            }
        }
        impl std::error::Error for $name {}
    };
}

error!(PlainHttp, "plain HTTP was spoken");
error!(HandshakeCut, "the connection was closed in the middle of the handshake");

impl ClientTls {
    /// What an error of a connection made with these settings means, as the rest of a sentence that begins with the upstream's name;
    /// `None` if it is none of TLS.
    pub fn explain(&self, error: &io::Error) -> Option<TlsFault> {
        let inner = error.get_ref()?;
        if inner.is::<PlainHttp>() {
            return Some(TlsFault::Protocol("speaks plain HTTP, not TLS: its url begins with http://".into()));
        }
        if inner.is::<HandshakeCut>() {
            return Some(TlsFault::Cut("closed the connection in the TLS handshake".into()));
        }
        Some(match inner.downcast_ref::<Error>()? {
            Error::InvalidCertificate(error) => TlsFault::Certificate(format!("{}; {}", of_certificate(error), self.verified_by())),
            Error::NoCertificatesPresented => TlsFault::Certificate("has no certificate".into()),
            Error::AlertReceived(alert) => TlsFault::Protocol(self.of_alert(*alert)),
            Error::InvalidMessage(error) => TlsFault::Protocol(format!("does not speak TLS as it should: {error:?}")),
            Error::PeerIncompatible(error) => TlsFault::Protocol(format!("speaks no TLS that is spoken here (1.2 or 1.3): {error:?}")),
            error => TlsFault::Protocol(format!("broke off the TLS handshake, or is no server for it: {error}")),
        })
    }

    fn verified_by(&self) -> String {
        match self.ca_file() {
            Some(file) => format!("verified by {} (upstream_tls.ca_file)", file.display()),
            None => "verified by the system's roots (upstream_tls.ca_file is not set)".into(),
        }
    }

    fn of_alert(&self, alert: AlertDescription) -> String {
        use AlertDescription as Alert;
        let word = format!("{alert:?}");
        match (alert, self.identity()) {
            (Alert::CertificateRequired | Alert::NoCertificate, None) => {
                format!("demands a client certificate (upstream_tls.client_cert and client_key), and says {word}")
            }
            (
                Alert::CertificateRequired
                | Alert::BadCertificate
                | Alert::UnsupportedCertificate
                | Alert::CertificateRevoked
                | Alert::CertificateExpired
                | Alert::CertificateUnknown
                | Alert::UnknownCA
                | Alert::AccessDenied
                | Alert::DecryptError,
                Some(identity),
            ) => format!("does not accept {} (upstream_tls.client_cert): it says {word}", identity.files()[0].display()),
            (Alert::HandshakeFailure, None) => {
                format!("refused the TLS handshake, and says {word}: it may demand a client certificate (upstream_tls.client_cert)")
            }
            (Alert::UnrecognisedName, _) => format!("serves no such name (upstream_tls.server_name), and says {word}"),
            (Alert::ProtocolVersion, _) => format!("speaks no TLS that is spoken here (1.2 or 1.3), and says {word}"),
            (Alert::NoApplicationProtocol, _) => format!("does not offer http/1.1 (ALPN), and says {word}"),
            _ => format!("ended TLS, and says {word}"),
        }
    }
}

/// What is wrong with it.
fn of_certificate(error: &CertificateError) -> String {
    use CertificateError as Wrong;
    match error {
        Wrong::ExpiredContext { time, not_after } => format!("has a certificate that expired {} ago", span(*not_after, *time)),
        Wrong::Expired => "has a certificate that has expired".into(),
        Wrong::NotValidYetContext { time, not_before } => {
            format!("has a certificate that will be valid only in {}", span(*time, *not_before))
        }
        Wrong::NotValidYet => "has a certificate that is not valid yet".into(),
        Wrong::UnknownIssuer => "has a certificate from an unknown issuer".into(),
        Wrong::NotValidForNameContext { expected, presented } => for_others(expected, presented),
        Wrong::NotValidForName => "has a certificate for another name (upstream_tls.server_name)".into(),
        Wrong::Revoked => "has a certificate that was revoked".into(),
        Wrong::BadSignature => "has a certificate with a wrong signature".into(),
        Wrong::InvalidPurpose | Wrong::InvalidPurposeContext { .. } => "has a certificate that is not for servers".into(),
        Wrong::BadEncoding => "has a certificate that cannot be understood".into(),
        Wrong::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => {
            "has the certificate of a CA for its own (upstream_tls.ca_file may name that very certificate)".into()
        }
        error => format!("has a certificate that is not accepted: {error}"),
    }
}

/// It is for other names than the expected one.
fn for_others(expected: &ServerName, presented: &[String]) -> String {
    let expected = expected.to_str();
    let key = "upstream_tls.server_name";
    if presented.is_empty() {
        return format!("has a certificate without names (subjectAltName), and so not for {expected} ({key})");
    }
    let mut names = String::new();
    for (at, name) in presented.iter().take(MAX_NAMES).enumerate() {
        let separator = if at == 0 { "" } else { ", " };
        // Writing to a String does not fail.
        let _ = write!(names, "{separator}{}", plain(name));
    }
    if presented.len() > MAX_NAMES {
        let _ = write!(names, " and {} more", presented.len() - MAX_NAMES);
    }
    format!("has a certificate for {names}, not for {expected} ({key})")
}

/// A name without the word for its kind around it, as far as it fits a message.
fn plain(name: &str) -> String {
    let inner = name.split_once('(').and_then(|(_, rest)| rest.strip_suffix(')')).unwrap_or(name);
    let inner = inner.trim_matches('"').chars().take(MAX_NAME);
    inner.map(|c| if c.is_ascii_graphic() { c } else { '?' }).collect()
}

fn span(from: UnixTime, to: UnixTime) -> String {
    match to.as_secs().saturating_sub(from.as_secs()) {
        seconds @ 0..60 => format!("{seconds} seconds"),
        seconds @ 60..7200 => format!("{} minutes", seconds / 60),
        seconds @ 7200..172_800 => format!("{} hours", seconds / 3600),
        seconds => format!("{} days", seconds / 86_400),
    }
}

impl TlsFault {
    /// The rest of the sentence.
    pub fn into_words(self) -> String {
        match self {
            Self::Certificate(words) | Self::Protocol(words) | Self::Cut(words) => words,
        }
    }
}
