//! A connection whose first bytes tell for whom it speaks: a header of the PROXY protocol, and nothing else.
//!
//! The bytes are looked at where they lie, and only the header's are taken, so that whatever comes next finds all of its own.

use super::plain::{PlainTransport, Socket};
use super::{Close, Edge, Introduction, Opening, Transfer, Transport};
use crate::base::address::Peer;
use crate::base::proxy_header::{self, Announced, Fault, LONGEST};
use crate::base::ring::Ring;
use crate::observe::escape::quoted;
use std::io::IoSlice;

/// How many of the bytes that came instead of a header are shown.
const SHOWN: usize = 24;

/// A socket that was accepted, until its header has come.
#[derive(Debug)]
pub struct PrefaceTransport<S> {
    /// Gone with [`PrefaceTransport::take_plain`].
    plain: Option<PlainTransport<S>>,
    /// Who counts where the header names nobody.
    own: Peer,
    /// What became of the header, until it is asked for.
    verdict: Option<Result<Introduction, String>>,
    /// How the connection ended before its header was there.
    end: Option<Transfer>,
}

impl<S: Socket> PrefaceTransport<S> {
    /// A socket that was accepted from this peer.
    pub fn new(plain: PlainTransport<S>, own: Peer) -> Self {
        Self { plain: Some(plain), own, verdict: None, end: None }
    }

    /// The header has been taken: gives the socket to what comes next.
    pub fn take_plain(&mut self) -> Option<PlainTransport<S>> {
        self.plain.take()
    }

    /// Nothing can come next.
    pub fn give_up(&mut self) {
        self.end = Some(Transfer::Failed);
    }

    /// The socket, to tie it to a poll.
    pub fn socket(&self) -> &S {
        self.plain().socket()
    }

    fn plain(&self) -> &PlainTransport<S> {
        self.plain.as_ref().expect("whoever takes the socket drops this")
    }

    fn plain_mut(&mut self) -> &mut PlainTransport<S> {
        self.plain.as_mut().expect("whoever takes the socket drops this")
    }

    fn look(&mut self) {
        let mut bytes = [0; LONGEST];
        let peeked = self.plain_mut().peek(&mut bytes);
        let n = match peeked {
            Transfer::Bytes(n) => n,
            Transfer::Blocked | Transfer::Beside(_) => return,
            // Whoever only looks whether this port is open says nothing.
            Transfer::Fin | Transfer::Failed => return self.end = Some(peeked),
        };
        match proxy_header::read(&bytes[..n]) {
            Ok(Some(header)) if self.plain_mut().read(&mut bytes[..header.length]) == Transfer::Bytes(header.length) => {
                self.verdict = Some(Ok(self.introduce(header.announced)));
            }
            Ok(Some(_)) => self.end = Some(Transfer::Failed),
            Ok(None) if self.plain().is_ending() => self.refuse("the connection ended within its PROXY protocol header".into()),
            Ok(None) => {}
            Err(fault) => {
                // A close with bytes unread would be a reset.
                let _ = self.plain_mut().read(&mut [0; LONGEST]);
                self.refuse(describe(fault, &bytes[..n]));
            }
        }
    }

    fn refuse(&mut self, why: String) {
        self.verdict = Some(Err(why));
        self.end = Some(Transfer::Failed);
    }

    fn introduce(&self, announced: Announced) -> Introduction {
        match announced {
            Announced::Itself => Introduction { client: self.own, destination: None },
            Announced::Ip { source, destination } => Introduction { client: source.into(), destination: Some(destination) },
            Announced::Unix => Introduction { client: Peer::Unix, destination: None },
        }
    }
}

/// The fault, and the bytes in which it is.
fn describe(fault: Fault, bytes: &[u8]) -> String {
    let what = if bytes.starts_with(&[0x16, 0x03]) { "TLS, " } else { "" };
    let mut shown = Vec::new();
    quoted(&bytes[..bytes.len().min(SHOWN)], &mut shown);
    format!("{fault}, but {what}\"{}\"", String::from_utf8_lossy(&shown))
}

impl<S: Socket> Transport for PrefaceTransport<S> {
    type Pipe = S::Pipe;

    fn on_edge(&mut self, edge: Edge) {
        self.plain_mut().on_edge(edge);
        if self.verdict.is_none() && self.end.is_none() && self.plain().may_read() {
            self.look();
        }
    }

    fn awaits_peer(&self) -> bool {
        true
    }

    fn take_peer(&mut self) -> Option<Result<Introduction, String>> {
        self.verdict.take()
    }

    fn say_first(&mut self, _: Vec<u8>) {}

    fn open(&mut self) -> Opening {
        Opening::Pending
    }

    fn may_read(&self) -> bool {
        self.end.is_some()
    }

    fn may_write(&self) -> bool {
        false
    }

    fn is_gone(&self) -> bool {
        self.plain().is_gone()
    }

    fn is_ending(&self) -> bool {
        self.plain().is_ending()
    }

    fn look_again(&mut self) {
        self.plain_mut().look_again();
    }

    fn fill(&mut self, _: &mut Ring) -> Transfer {
        self.end.unwrap_or(Transfer::Blocked)
    }

    fn read(&mut self, _: &mut [u8]) -> Transfer {
        self.end.unwrap_or(Transfer::Blocked)
    }

    fn send(&mut self, _: &[IoSlice]) -> Transfer {
        Transfer::Blocked
    }

    fn check_quiet(&mut self) -> bool {
        false
    }

    fn check_quiet_now(&mut self) -> bool {
        false
    }

    fn is_delivered(&self) -> bool {
        self.plain().is_delivered()
    }

    fn may_part(&self) -> bool {
        true
    }

    fn close(&mut self, how: Close) {
        self.plain_mut().close(how);
    }

    fn take_leave(&mut self) -> bool {
        true
    }
}
