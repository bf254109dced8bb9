//! Which deadlines run, computed from the state after every event. A wait for bytes runs only while they are wanted and there is
//! room for them, so that a slow client is never mistaken for a slow upstream, nor the other way round.

use super::deadlines::{Waits, keep_waiting};
use super::{Exchange, Session, State, Turn};

impl Session {
    pub(super) fn update_waits(&mut self, turn: &Turn) {
        let now = turn.now.millis();
        let client_fin = self.client_fin;
        let (x, to_upstream) = match &mut self.state {
            State::StreamingBody(x) => {
                let to_upstream = !x.attempt.broken && x.up.is_owing(&self.up);
                (x, to_upstream)
            }
            State::Replying(x) => (x, false),
            State::ConnectingUpstream(x) if x.is_queued && x.queued_for.is_partial => (x, false),
            // The wait for a connection or a place has the phase's deadline; the body's bytes stay where they are meanwhile.
            State::ConnectingUpstream(x) => {
                let Waits { attempt, total, half_close, .. } = x.waits;
                x.waits = Waits { attempt, total, half_close, ..Waits::default() };
                return x.watch_half_close(client_fin, now);
            }
            _ => return,
        };
        let to_client = x.down.is_owing(&self.down);
        let client_owes = client_owes(x);
        let upstream_owes = upstream_owes(x);
        x.watch_half_close(client_fin, now);
        x.owed_since = match (to_client, x.owed_since) {
            (true, 0) => now,
            (true, since) => since,
            (false, _) => 0,
        };
        x.attempt.lacking_since = match (client_owes, x.attempt.lacking_since) {
            (true, 0) => now,
            (true, since) => since,
            (false, _) => 0,
        };
        let Exchange { waits, timeouts, attempt, .. } = &mut **x;
        keep_waiting(&mut waits.client_body, client_owes && !to_upstream && !attempt.broken, now, timeouts.client_body_ms);
        keep_waiting(&mut waits.client_write, to_client, now, timeouts.client_write_ms);
        keep_waiting(&mut waits.write, to_upstream, now, timeouts.write_ms);
        keep_waiting(&mut waits.read, upstream_owes && !to_upstream && !to_client, now, timeouts.read_ms);
    }

    /// Once the content is complete, gives back what the request took because it was incomplete.
    pub(super) fn settle_content(&mut self, turn: &mut Turn) {
        let is_held = |x: &Exchange| x.attempt.holds.is_partial;
        let is_due = self.exchange().is_some_and(|x| is_held(x) && self.is_here(x));
        if let (true, State::ConnectingUpstream(x) | State::StreamingBody(x)) = (is_due, &mut self.state) {
            x.give_back(x.held_as_partial(), turn);
        }
    }

    /// Since when the client has taken nothing of an answer that holds a connection to the upstream, or has sent next to nothing of
    /// the content that the upstream awaits (milliseconds).
    pub fn stalled_since(&self) -> Option<u64> {
        let State::StreamingBody(x) = &self.state else { return None };
        let awaits_content = x.outcome.status == 0 && self.waits_for_client(x);
        let since = if x.owed_since == 0 && awaits_content { x.attempt.lacking_since } else { x.owed_since };
        Some(since).filter(|&since| since > 0)
    }

    /// Whether the next move is the client's, in an exchange that has a connection to its upstream.
    pub(super) fn waits_for_client(&self, x: &Exchange) -> bool {
        let lacks_content = client_owes(x) && !x.attempt.broken && !x.up.is_owing(&self.up);
        (x.attempt.taken > 0 && lacks_content) || x.down.is_owing(&self.down)
    }

    /// Whether the upstream has to act next.
    pub(super) fn waits_for_upstream(&self, x: &Exchange) -> bool {
        upstream_owes(x) && !x.down.is_owing(&self.down)
    }
}

impl Exchange {
    /// The client took some of the answer.
    pub(super) fn on_client_progress(&mut self) {
        (self.waits.client_write, self.owed_since) = (0, 0);
    }

    /// A client that will send nothing more may have left, so the answer must begin in time.
    fn watch_half_close(&mut self, client_fin: bool, now: u64) {
        let is_awaited = client_fin && self.up.is_complete() && self.outcome.status == 0;
        keep_waiting(&mut self.waits.half_close, is_awaited, now, self.timeouts.client_half_close_ms);
    }
}

/// Whether more of the request is expected from the client.
fn client_owes(x: &Exchange) -> bool {
    !x.up.is_complete() && !x.outcome.is_whole && !x.asked.awaits_continue
}

/// Whether more of the answer is expected from the upstream, which is not waiting for the request.
fn upstream_owes(x: &Exchange) -> bool {
    x.attempt.has_upstream && !x.attempt.upstream_fin && (!client_owes(x) || x.attempt.broken)
}
