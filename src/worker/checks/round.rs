//! One check in progress: its connection, from connect to close.

use crate::config::model::HealthCheck;
use crate::health::probe::{Probe, ProbeFailure, request};
use crate::http::HeadLimits;
use crate::net::transport::{Link, Opening, Transfer, Transport};
use crate::tls::client::ClientTls;
use crate::upstream::pool::Pool;
use crate::upstream::server::Server;
use std::io::{self, ErrorKind, IoSlice};
use std::sync::Arc;

/// How many bytes are read at once.
const PIECE: usize = 4096;

/// A check in progress.
pub(super) struct Round<T> {
    pub(super) link: Link<T>,
    pub(super) phase: Phase,
    /// When it is over (milliseconds).
    pub(super) end: u64,
    request: Vec<u8>,
    /// How much of the request was sent.
    sent: usize,
    probe: Probe,
    /// What its connection speaks TLS by, if it does.
    tls: Option<Arc<ClientTls>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    Connecting,
    Talking,
    /// The outcome is known.
    Resting,
}

impl<T: Transport> Round<T> {
    /// A check whose connect has just begun.
    pub(super) fn new(link: Link<T>, end: u64, (pool, server): (&Pool, &Server), config: &HealthCheck, limits: HeadLimits) -> Self {
        Self {
            tls: pool.tls.clone(),
            link,
            phase: Phase::Connecting,
            request: request(config, &server.authority),
            sent: 0,
            probe: Probe::new(config, limits),
            end,
        }
    }

    /// Closes it in a regular way, as far as that does not take time.
    pub(super) fn leave(mut self) {
        self.link.take_leave();
    }

    /// Sends and reads as far as possible; returns the outcome, once it is known.
    pub(super) fn talk(&mut self) -> Option<Result<u16, ProbeFailure>> {
        if self.phase == Phase::Connecting {
            match self.link.open() {
                Opening::Pending => return None,
                Opening::Failed(error) => return Some(Err(self.explain(&error).unwrap_or_else(|| fault(&error)))),
                Opening::Open => self.phase = Phase::Talking,
            }
        }
        while self.sent < self.request.len() && self.link.may_write() {
            match self.link.send(&[IoSlice::new(&self.request[self.sent..])]) {
                Transfer::Bytes(n) => self.sent += n,
                Transfer::Blocked | Transfer::Beside(_) => {}
                // What the upstream sent before that can still be read.
                Transfer::Fin | Transfer::Failed => break,
            }
        }
        let mut piece = [0; PIECE];
        while self.link.may_read() {
            let outcome = match self.link.read(&mut piece) {
                Transfer::Bytes(n) => self.probe.take(&piece[..n]),
                Transfer::Blocked | Transfer::Beside(_) => None,
                Transfer::Fin => Some(Err(self.probe.on_end())),
                Transfer::Failed => {
                    let told = self.link.fault().and_then(|error| self.explain(&error));
                    Some(Err(told.unwrap_or_else(|| self.probe.on_reset())))
                }
            };
            if outcome.is_some() {
                return outcome;
            }
        }
        None
    }

    /// The fault, where there is no outcome after so long.
    pub(super) fn on_timeout(&self, ms: u32) -> ProbeFailure {
        match self.phase {
            Phase::Connecting if self.link.is_amid_handshake() => ProbeFailure::HandshakeTimeout(ms),
            Phase::Connecting => ProbeFailure::ConnectTimeout(ms),
            Phase::Talking | Phase::Resting => self.probe.on_timeout(ms),
        }
    }

    /// What an error means, where TLS has told it.
    fn explain(&self, error: &io::Error) -> Option<ProbeFailure> {
        self.tls.as_ref()?.explain(error).map(|fault| ProbeFailure::Tls(fault.into_words()))
    }

    /// Drops what comes after the outcome; returns whether more is expected.
    pub(super) fn rest(&mut self) -> bool {
        let mut piece = [0; PIECE];
        let mut waits = self.probe.skip(0);
        while waits && self.link.may_read() {
            waits = match self.link.read(&mut piece) {
                Transfer::Bytes(n) => self.probe.skip(n),
                Transfer::Blocked | Transfer::Beside(_) => true,
                Transfer::Fin | Transfer::Failed => false,
            };
        }
        waits
    }
}

/// The fault for the error of a connect.
pub(super) fn fault(error: &io::Error) -> ProbeFailure {
    match error.kind() {
        ErrorKind::ConnectionRefused => ProbeFailure::Refused,
        _ => ProbeFailure::Unreachable(error.to_string()),
    }
}
