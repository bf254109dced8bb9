//! Handshakes of clients. A step of one costs as much as many requests, so they come after everything else, and only a few in a turn:
//! a handshake may wait on a full core, a request of a client that is served may not. Those with upstreams are part of the connect that
//! a request waits for, and are only counted here.

use super::core::{Core, Net};
use super::entrance::Entrance;
use crate::base::address::Peer;
use crate::net::transport::{Handshake, TlsVersion, Transport};
use crate::observe::stats::{HandshakeCounters, TlsSide};
use crate::session::{DRAIN_IDLE_MS, Event};

/// How many clients go on with their handshakes in one turn.
const STEPS_A_TURN: usize = 4;

impl<N: Net> Core<N> {
    /// Goes on with the handshakes that have waited longest.
    #[inline(never)]
    pub(super) fn shake_hands(&mut self) {
        for _ in 0..self.opening.len().min(STEPS_A_TURN) {
            let Some(key) = self.opening.pop_front() else { break };
            if let Some(client) = self.clients.get_mut(key) {
                client.is_queued = false;
                self.pump(key);
            }
        }
    }

    /// A client's handshake is over.
    #[cold]
    pub(super) fn on_handshake(&mut self, key: usize, outcome: Handshake) {
        let client = &mut self.clients[key];
        note(&client.entrance, client.front.client(), &outcome);
        if outcome == Handshake::Foreign {
            self.deliver(key, Event::Foreign);
        }
        if self.turn.is_draining {
            // Who has come this far has time for a request, as those had who were open when the drain began.
            self.asks_until = self.asks_until.max(self.turn.now.millis() + DRAIN_IDLE_MS);
            self.deliver(key, Event::Drain);
        }
    }

    /// A connect to an upstream took too long.
    pub(super) fn note_silence(&self, key: usize) {
        if self.upstreams[key].is_amid_handshake() {
            let outcome = Handshake::Failed { version: None, why: String::new() };
            count(&self.stats.handshakes, TlsSide::Upstream, &outcome);
        }
    }

    /// What carries bytes from an exchange's upstream has failed. TLS may have told why.
    #[cold]
    pub(super) fn note_fault(&mut self, exchange: usize) {
        let talk = &mut self.talks[exchange];
        let Some(upstream) = talk.upstream.map(|key| &self.upstreams[key]) else { return };
        if let Some(error) = upstream.link().and_then(|link| link.fault()) {
            talk.exchange.attempt.trouble = upstream.trouble(&error).map(Box::new);
        }
    }
}

/// Counts a client's handshake, and tells why one failed.
pub(super) fn note(entrance: &Entrance, client: Peer, outcome: &Handshake) {
    count(&entrance.service.stats.handshakes, TlsSide::Client, outcome);
    if let Handshake::Failed { why, .. } = outcome {
        log::debug!(target: "tls", "the handshake with {client} failed: {why}");
    }
}

/// Counts how a handshake went.
pub(super) fn count(counters: &HandshakeCounters, side: TlsSide, outcome: &Handshake) {
    let version = |version: &TlsVersion| match version {
        TlsVersion::V12 => 0,
        TlsVersion::V13 => 1,
    };
    match outcome {
        Handshake::Made { version: made, is_resumed } => counters.made[side as usize][version(made)][usize::from(*is_resumed)].add(1),
        Handshake::Failed { version: agreed, .. } => counters.failed[side as usize][agreed.as_ref().map_or(2, version)].add(1),
        Handshake::Foreign => counters.failed[side as usize][2].add(1),
    }
}
