//! How an attempt ends: what its upstream is told to be worth, and whether the request gets another.
//!
//! Another attempt is made only while no byte of an answer has come, and while everything that was sent of the request can be
//! sent again: the head lies in its block, the content whole in its ring. Any method may be repeated when nothing of it was
//! written to the connection; an idempotent one (RFC 9110 9.2.2) also when its connection ended, or said nothing for `read_ms`,
//! and on a status of `retry.statuses`, whose answer is then dropped.

use super::deadlines::Waits;
use super::exchange::{Attempt, Exchange};
use super::failure::Failure;
use super::{Session, State, Turn};
use crate::guard::breaker::Verdict;
use crate::guard::retry::backoff;
use crate::http::response::Response;
use crate::observe::reason::{Blame, Reason, UpstreamErrorKind};
use crate::upstream::server::Fault;

impl Session {
    pub(super) fn fail_upstream(&mut self, x: Box<Exchange>, reason: Reason, turn: &mut Turn) -> State {
        let failure = Failure::of_upstream(reason, x.server().map_or("the upstream", |server| &server.config.name));
        self.fail_attempt(x, failure, turn)
    }

    /// The upstream failed: another attempt, or the failure is the answer.
    pub(super) fn fail_attempt(&mut self, mut x: Box<Exchange>, failure: Failure, turn: &mut Turn) -> State {
        let reason = failure.reason;
        x.count_timeout(reason, turn);
        x.count_upstream_error(reason, turn);
        if x.is_its_fault(reason, turn) {
            x.blame(Fault::Reason(reason), turn);
        }
        if !x.may_repeat(reason) || !x.may_try_again(turn) {
            return self.refuse(x, failure, turn);
        }
        self.try_again(x, &failure.detail, turn)
    }

    /// The answer whose head is here is dropped for another attempt.
    pub(super) fn drop_answer(&mut self, x: Box<Exchange>, status: u16, turn: &mut Turn) -> State {
        let name = x.server().map_or("the upstream", |server| &server.config.name);
        let detail = format!("{name} answered {status}");
        self.try_again(x, &detail, turn)
    }

    fn try_again(&mut self, mut x: Box<Exchange>, why: &str, turn: &mut Turn) -> State {
        let (attempts, most) = (x.attempts, x.retry().max_retries + 1);
        log::warn!("{why}; trying again, attempt {} of at most {most} trace_id={}", attempts + 1, x.trace_id());
        self.let_go(&mut x, turn);
        x.tried.extend(x.attempt.server);
        x.attempt = Attempt::default();
        x.queue_due = 0;
        x.waits = Waits { total: x.waits.total, half_close: x.waits.half_close, ..Waits::default() };
        self.down.clear();
        x.up.replay(&mut self.up);
        let wait = backoff(x.retry(), attempts - 1, &mut turn.rng);
        if wait == 0 {
            return self.connect(x, turn);
        }
        x.is_backing_off = true;
        self.phase = turn.now.millis() + wait;
        State::ConnectingUpstream(x)
    }

    /// A trial request whose client is slow with its content keeps no other from being tried.
    pub(super) fn on_streaming_deadline(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        if self.phase != 0 && self.phase <= turn.now.millis() {
            self.phase = 0;
            if !x.up.is_complete() {
                x.end_trial(turn);
            }
        }
        self.on_deadline(x, turn, State::StreamingBody)
    }
}

impl Exchange {
    /// Whether an attempt that failed so may be made again without acting twice on the request.
    fn may_repeat(&self, reason: Reason) -> bool {
        let is_safe = match reason {
            // The time is up for another attempt too.
            Reason::ResponseTimeout => false,
            _ if self.attempt.taken == 0 => true,
            Reason::ConnectionTerminated | Reason::ReadTimeout => self.asked.is_idempotent,
            _ => false,
        };
        is_safe && self.replayable && !self.attempt.answered
    }

    /// Whether an answer with that head is worth another attempt, if there is one.
    pub(super) fn wants_another(&self, response: &Response) -> bool {
        self.retry().statuses.contains(response.status)
            && !response.is_interim()
            && self.asked.is_idempotent
            && self.replayable
            && self.attempt.interims == 0
    }

    /// The attempt is settled by its status, which may open the last circuit: then this answer is better than none.
    pub(super) fn gets_another(&mut self, status: u16, turn: &mut Turn) -> bool {
        if self.pool().is_fault(status) {
            self.blame(Fault::Status(status), turn);
        } else {
            self.conclude(Verdict::Success, turn);
        }
        self.may_try_again(turn)
    }

    /// Whether a failure is held against the server. What a client can bring about at any of them is not.
    fn is_its_fault(&self, reason: Reason, turn: &Turn) -> bool {
        let Attempt { reused, answered, sent_at, upstream_micros, .. } = self.attempt;
        match reason {
            // An upstream may close an idle connection, and may do so while a request comes in.
            Reason::ConnectionTerminated => !reused || answered,
            // It may know no expectations: it waits for the client, and that for it.
            Reason::ReadTimeout => !self.asked.awaits_continue,
            Reason::InternalError => false,
            // The limit is ours, and the answer may repeat much of the request.
            Reason::ResponseHeaderSize => false,
            // Half of the time, or more, went by before it had what it has of the request; or it does answer, at length.
            Reason::ResponseTimeout => {
                upstream_micros.is_none() && turn.now.micros.saturating_sub(sent_at) / 500 >= u64::from(self.timeouts.total_ms)
            }
            _ => true,
        }
    }

    /// Whether there is an attempt left, and time for it, and the pool can afford it.
    fn may_try_again(&self, turn: &Turn) -> bool {
        let (retry, pool, now) = (self.retry(), self.pool(), turn.now.millis());
        let has_time = self.waits.total == 0 || self.waits.total > now;
        self.attempts <= retry.max_retries && has_time && pool.is_up(now) && pool.budget.take(retry.budget_percent, now)
    }

    /// The attempt failed by its server's fault. A request counts once against a server, however often it was tried there.
    pub(super) fn blame(&mut self, fault: Fault, turn: &mut Turn) {
        let Some((server, permit)) = self.attempt.server.zip(self.attempt.permit.take()) else { return };
        let (pool, now) = (self.pool(), turn.now.millis());
        if self.attempt.upstream_micros.is_none() && self.attempt.taken > 0 {
            pool.observe(server, turn.now.micros.saturating_sub(self.attempt.sent_at), now);
        }
        if self.tried.contains(&server) {
            turn.circuits_moved |= pool.settle(server, permit, Verdict::Unknown, now);
        } else {
            let opened = pool.blame(server, permit, fault, now);
            turn.circuits_moved |= opened.is_some();
            turn.open_circuits.extend(opened);
        }
    }

    /// The attempt is over, whoever ended it. A server whose answer had begun has served the request.
    pub(super) fn conclude_early(&mut self, turn: &mut Turn) {
        let has_served = self.attempt.upstream_micros.is_some();
        self.conclude(if has_served { Verdict::Success } else { Verdict::Unknown }, turn);
    }

    /// The attempt is over without a fault of its server.
    pub(super) fn conclude(&mut self, verdict: Verdict, turn: &mut Turn) {
        if let Some((server, permit)) = self.attempt.server.zip(self.attempt.permit.take()) {
            turn.circuits_moved |= self.pool().settle(server, permit, verdict, turn.now.millis());
        }
    }

    /// The head of the answer is here: however long the rest takes, another trial request may go.
    pub(super) fn end_trial(&mut self, turn: &mut Turn) {
        let Attempt { server: Some(server), permit: Some(permit), .. } = &mut self.attempt else { return };
        turn.circuits_moved |= permit.is_trial();
        self.site.pools[self.pool].servers[*server].circuit.end_trial(permit);
    }

    fn count_upstream_error(&self, reason: Reason, turn: &Turn) {
        if reason.blame() != Blame::Upstream {
            return;
        }
        let kind = match reason {
            Reason::ConnectionRefused => UpstreamErrorKind::ConnectionRefused,
            _ if reason.timeout().is_some() => UpstreamErrorKind::Timeout,
            _ => UpstreamErrorKind::Other,
        };
        self.server().into_iter().for_each(|server| server.cells[turn.worker].errors[kind as usize].add(1));
    }
}
