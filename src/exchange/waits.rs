//! Which deadlines run, computed from the state after every event. A wait for bytes runs only while they are wanted and there is
//! room for them, so that a slow client is never mistaken for a slow upstream, nor the other way round.

use super::deadlines::Timer;
use super::state::{ExchangeState, Leg};
use super::{Context, Exchange};
use crate::machine::Turn;
use crate::machine::failure::{Failure, Time};
use crate::observe::reason::Reason;
use crate::upstream::reservation::Reservation;

impl Exchange {
    #[inline(always)]
    pub(super) fn update_waits(&mut self, now: u64) {
        let to_upstream = match &self.state {
            ExchangeState::StreamingBody(_) => !self.attempt.broken && self.up.is_owing(),
            ExchangeState::Replying(_) => false,
            ExchangeState::ConnectingUpstream(Leg::Queued(place)) if place.needs.is_partial => false,
            // The wait for a connection or a place has a deadline of its own; the content stays where it is meanwhile.
            ExchangeState::ConnectingUpstream(_) => {
                self.deadlines.stop(&[Timer::ClientWrite, Timer::ClientBody, Timer::Write, Timer::Read]);
                return self.watch_half_close(now);
            }
            ExchangeState::Tunnelling(_) | ExchangeState::Done(_) => return,
        };
        let (to_client, client_owes, upstream_owes) = (self.down.is_owing(), self.client_owes(), self.upstream_owes());
        self.watch_half_close(now);
        let since = |is_so, since| match (is_so, since) {
            (true, 0) => now,
            (true, since) => since,
            (false, _) => 0,
        };
        self.owed_since = since(to_client, self.owed_since);
        self.attempt.lacking_since = since(client_owes, self.attempt.lacking_since);
        let Self { deadlines, timeouts, attempt, .. } = self;
        deadlines.keep_waiting(Timer::ClientBody, client_owes && !to_upstream && !attempt.broken, now, timeouts.client_body_ms);
        deadlines.keep_waiting(Timer::ClientWrite, to_client, now, timeouts.client_write_ms);
        deadlines.keep_waiting(Timer::Write, to_upstream, now, timeouts.write_ms);
        deadlines.keep_waiting(Timer::Read, upstream_owes && !to_upstream && !to_client, now, timeouts.read_ms);
    }

    /// Once the content is complete, gives back what the request took because it was incomplete.
    #[inline(always)]
    pub(super) fn settle_content(&mut self, turn: &mut Turn) {
        if self.attempt.hold.as_ref().is_some_and(|hold| hold.reserved.is_partial()) && self.is_here() {
            self.give_back(Reservation::take_partial, turn);
        }
    }

    /// Since when the client has taken nothing of an answer that holds a connection to the upstream, or has sent next to nothing of
    /// the content that the upstream awaits (milliseconds).
    pub fn stalled_since(&self) -> Option<u64> {
        if !matches!(self.state, ExchangeState::StreamingBody(_)) {
            return None;
        }
        let awaits_content = self.outcome.status == 0 && self.waits_for_client();
        let since = if self.owed_since == 0 && awaits_content { self.attempt.lacking_since } else { self.owed_since };
        Some(since).filter(|&since| since > 0)
    }

    /// Whether the next move is the client's, in an exchange that has a connection to its upstream.
    pub(super) fn waits_for_client(&self) -> bool {
        let lacks_content = self.client_owes() && !self.attempt.broken && !self.up.is_owing();
        (self.attempt.taken > 0 && lacks_content) || self.down.is_owing()
    }

    /// The client took some of the answer.
    pub fn on_client_progress(&mut self) {
        self.deadlines.set(Timer::ClientWrite, 0);
        self.owed_since = 0;
    }

    /// A client that will send nothing more may have left, so the answer must begin in time.
    fn watch_half_close(&mut self, now: u64) {
        let is_awaited = self.has_half_closed && self.up.is_ended && self.outcome.status == 0;
        self.deadlines.keep_waiting(Timer::HalfClose, is_awaited, now, self.timeouts.client_half_close_ms);
    }

    /// Whether more of the request is expected from the client.
    fn client_owes(&self) -> bool {
        !self.up.is_ended && !self.outcome.is_whole && !self.asked.awaits_continue
    }

    /// Whether more of the answer is expected from the upstream, which is not waiting for the request.
    fn upstream_owes(&self) -> bool {
        self.has_upstream() && !self.attempt.upstream_fin && (!self.client_owes() || self.attempt.broken)
    }

    /// Whether the upstream has to act next.
    fn waits_for_upstream(&self) -> bool {
        self.upstream_owes() && !self.down.is_owing()
    }

    /// A deadline may have passed while there is no connection yet.
    pub(super) fn on_leg_deadline(&mut self, leg: Leg, cx: &mut Context) -> ExchangeState {
        let now = cx.turn.now.millis();
        let is_over = |until: u64| until != 0 && until <= now;
        let due = self.deadlines.due(now);
        match leg {
            Leg::Backoff { until } if is_over(until) && due.is_none() => self.connect(cx),
            Leg::Queued(place) if is_over(place.until) && due != Some(Timer::HalfClose) => {
                self.left(leg, cx.turn).fail_full(place.needs, cx)
            }
            Leg::Dialing { until } if is_over(until) && due != Some(Timer::HalfClose) => self.fail_upstream(Reason::ConnectionTimeout, cx),
            leg if due.is_none() => ExchangeState::ConnectingUpstream(leg),
            leg => self.left(leg, cx.turn).on_deadline(ExchangeState::ConnectingUpstream(Leg::Backoff { until: 0 }), cx),
        }
    }

    /// The first timer whose deadline has passed decides.
    pub(super) fn on_deadline(&mut self, state: ExchangeState, cx: &mut Context) -> ExchangeState {
        let Some(timer) = self.deadlines.due(cx.turn.now.millis()) else { return state };
        match timer {
            Timer::HalfClose => self.abort(cx),
            Timer::Read => self.fail_upstream(Reason::ReadTimeout, cx),
            Timer::Attempt => self.on_attempt_over(cx),
            Timer::Write => self.fail_upstream(Reason::WriteTimeout, cx),
            Timer::Total if self.waits_for_upstream() => self.fail_upstream(Reason::ResponseTimeout, cx),
            Timer::Total => {
                let detail = format!("the exchange was not done within {} (timeouts.total_ms)", Time(self.timeouts.total_ms));
                self.fail(Failure::new(Reason::ResponseTimeout, detail), cx)
            }
            Timer::ClientBody => {
                let detail = format!("nothing of the content came for {} (timeouts.client_body_ms)", Time(self.timeouts.client_body_ms));
                self.fail(Failure::new(Reason::RequestTimeout, detail), cx)
            }
            Timer::ClientWrite => {
                let time = Time(self.timeouts.client_write_ms);
                let detail = format!("the client took nothing of the answer for {time} (timeouts.client_write_ms)");
                self.fail(Failure::new(Reason::ClientWriteTimeout, detail), cx)
            }
        }
    }
}
