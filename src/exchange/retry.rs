//! The end of an attempt: what is reported to the upstream's circuit, and whether the request gets another attempt.
//!
//! Another attempt is made only while no byte of an answer has come, and only if everything sent of the request can be sent
//! again: the head is in its block, the whole content in its ring. Any method may be repeated if nothing was written to the
//! connection; an idempotent one (RFC 9110 9.2.2) also if its connection ended or was silent for `read_ms`, and on a status of
//! `retry.statuses`, in which case that answer is dropped.

use super::deadlines::Timer;
use super::state::{Leg, Streaming};
use super::{Attempt, Charge, Context, Exchange, ExchangeState, Heard};
use crate::guard::breaker::{AttemptVerdict, CircuitPermit};
use crate::guard::retry::backoff;
use crate::http::response::Response;
use crate::machine::Turn;
use crate::machine::failure::{Failure, Silence, Time};
use crate::observe::quiet::WarningKind;
use crate::observe::reason::Reason;
use crate::upstream::pool::RetryChoice;
use crate::upstream::server::UpstreamFault;

impl Exchange {
    /// The upstream fails the attempt.
    pub fn fail_upstream(&mut self, reason: Reason, cx: &mut Context) -> ExchangeState {
        let name = self.upstream_name();
        let failure = match &self.attempt.trouble {
            Some(trouble) if trouble.reason == reason => Failure::new(reason, format!("{name} {}", trouble.words)),
            _ if reason == Reason::ConnectionTimeout && self.attempt.is_amid_handshake => Failure::of_handshake(name, &self.timeouts),
            _ => Failure::of_upstream(reason, name, &self.timeouts),
        };
        self.fail_attempt(failure, cx)
    }

    /// `attempt_ms` has passed without the head of an answer: the same as if `read_ms` had passed, unless the client is the cause.
    pub(super) fn on_attempt_over(&mut self, cx: &mut Context) -> ExchangeState {
        if self.waits_for_client() {
            let detail = format!("the client was not done within {} (timeouts.attempt_ms)", Time(self.timeouts.attempt_ms));
            return self.fail(Failure::new(Reason::ReadTimeout, detail), cx);
        }
        self.attempt.silence = Silence::Attempt;
        let failure = Failure::of_silence(Silence::Attempt, self.upstream_name(), &self.timeouts);
        self.fail_attempt(failure, cx)
    }

    /// The upstream failed: makes another attempt, or answers with the failure.
    pub(super) fn fail_attempt(&mut self, failure: Failure, cx: &mut Context) -> ExchangeState {
        let (reason, turn) = (failure.reason, &mut *cx.turn);
        self.count_timeout(reason, turn);
        self.count_upstream_error(reason, turn);
        if self.is_its_fault(reason, turn) {
            self.accuse(UpstreamFault::Reason(reason), turn);
        }
        match self.may_repeat(reason).then(|| self.where_again(reason)) {
            Some(again) if self.take_another(again, turn) => self.try_again(again, WarningKind::Failed(reason), &failure.detail, cx),
            _ => self.refuse(failure, cx),
        }
    }

    /// Drops the answer, whose head has come, for another attempt.
    pub fn drop_answer(&mut self, status: u16, cx: &mut Context) -> ExchangeState {
        let detail = format!("{} answered {status}", self.upstream_name());
        self.try_again(self.again, WarningKind::Dropped, &detail, cx)
    }

    fn try_again(&mut self, again: RetryChoice, kind: WarningKind, why: &str, cx: &mut Context) -> ExchangeState {
        let (attempts, most) = (self.attempts, self.retry().max_retries + 1);
        let name = if let WarningKind::Failed(reason) = kind { reason.name() } else { "retry.statuses" };
        self.warn(kind, format_args!("{name}: {}{why}; trying again, attempt {} of at most {most}", self.of_pool(), attempts + 1), cx.turn);
        self.let_go(cx.turn);
        self.tried.extend(self.attempt.server);
        self.again = again;
        if again == RetryChoice::Elsewhere {
            let silence = self.attempt.silence;
            self.silent = self.silent.take().or_else(|| Some((self.server()?.clone(), silence)));
        }
        self.attempt = Attempt::default();
        self.queue_due = 0;
        self.deadlines.stop(&[Timer::ClientWrite, Timer::ClientBody, Timer::Write, Timer::Read, Timer::Attempt]);
        self.down.ring.clear();
        self.up.replay();
        let wait = backoff(self.retry(), attempts - 1, &mut cx.turn.rng);
        if wait == 0 {
            return self.connect(cx);
        }
        ExchangeState::ConnectingUpstream(Leg::Backoff { until: cx.turn.now.millis() + wait })
    }

    /// A trial request with slow content must not keep other trials from beginning; nor, where no other upstream is usable, must one
    /// whose answer takes long.
    pub(super) fn on_streaming_deadline(&mut self, mut trial: Streaming, cx: &mut Context) -> ExchangeState {
        if trial.trial_until != 0 && trial.trial_until <= cx.turn.now.millis() {
            trial.trial_until = 0;
            let is_last = self.attempt.server.is_some_and(|server| self.pool().is_last(server, &[]));
            if is_last || !self.up.is_ended {
                self.end_trial(cx.turn);
            }
        }
        self.on_deadline(ExchangeState::StreamingBody(trial), cx)
    }

    /// Whether an attempt with this failure may be repeated without the request taking effect twice.
    fn may_repeat(&self, reason: Reason) -> bool {
        let is_safe = match reason {
            // There is no time for another attempt either.
            Reason::ResponseTimeout => false,
            _ if self.attempt.taken == 0 => true,
            // After the handshake, it is told in this way that it does not accept our certificate.
            Reason::ConnectionTerminated | Reason::ReadTimeout | Reason::TlsProtocolError => self.asked.is_idempotent,
            _ => false,
        };
        is_safe && self.replayable && self.attempt.heard == Heard::Nothing
    }

    /// Whether a response with this head asks for another attempt, if one is possible.
    pub(super) fn wants_another(&self, response: &Response) -> bool {
        self.retry().statuses.contains(response.status)
            && !response.is_interim()
            && self.asked.is_idempotent
            && self.replayable
            && self.attempt.heard < Heard::Interim
    }

    /// An answer with that status is dropped for another attempt, if one is left; if not, the client gets it.
    pub(super) fn try_another(&mut self, status: u16, turn: &mut Turn) -> bool {
        if !self.take_another(self.again, turn) {
            return false;
        }
        if self.pool().is_fault(status) {
            self.accuse(UpstreamFault::Status(status), turn);
        } else {
            self.conclude(AttemptVerdict::Success, turn);
        }
        true
    }

    /// Whether a failure counts against the server. What any client could cause at will does not.
    pub(super) fn is_its_fault(&self, reason: Reason, turn: &Turn) -> bool {
        let &Attempt { reused, heard, sent_at, upstream_micros, silence, .. } = &self.attempt;
        // Half of the time, or more, went by before it had what it has of the request.
        let had_half_of = |ms: u32| turn.now.micros.saturating_sub(sent_at) / 500 >= u64::from(ms);
        match reason {
            // An upstream may close an idle connection while a request is on its way.
            Reason::ConnectionTerminated => !reused || heard > Heard::Nothing,
            Reason::InternalError => false,
            // It switched to what the client asked for, under another name.
            Reason::UpgradeFailed => false,
            // The limit is ours, and the response may repeat much of the request.
            Reason::ResponseHeaderSize => false,
            // A server that is still answering is not at fault.
            Reason::ResponseTimeout => upstream_micros.is_none() && had_half_of(self.timeouts.total_ms),
            Reason::ReadTimeout if silence == Silence::Attempt => had_half_of(self.timeouts.attempt_ms),
            _ => true,
        }
    }

    /// The failure of the server whose silence led to another attempt.
    pub(super) fn first_silence(&self) -> Option<Failure> {
        let (server, silence) = self.silent.as_ref()?;
        Some(Failure::of_silence(*silence, &server.config.name, &self.timeouts))
    }

    /// Where the next attempt may go after this failure. A silent server may still be working on the request, so from then on only
    /// servers that were not tried are asked.
    fn where_again(&self, reason: Reason) -> RetryChoice {
        match reason {
            _ if self.again == RetryChoice::Elsewhere => RetryChoice::Elsewhere,
            Reason::ReadTimeout => RetryChoice::Elsewhere,
            Reason::ConnectionRefused => RetryChoice::Regardless,
            Reason::ConnectionTerminated if self.attempt.taken == 0 => RetryChoice::Regardless,
            _ => RetryChoice::Anywhere,
        }
    }

    /// Takes another attempt, if attempts, time and the pool's budget are left, and some server is.
    fn take_another(&self, again: RetryChoice, turn: &Turn) -> bool {
        let (retry, pool, now) = (self.retry(), self.pool(), turn.now.millis());
        let total = self.deadlines.at(Timer::Total);
        let has_time = total == 0 || total > now;
        let is_tried = |server| self.attempt.server == Some(server) || self.tried.contains(&server);
        let has_aim = || match again {
            RetryChoice::Anywhere => pool.is_up(now),
            RetryChoice::Regardless => pool.is_up(now) || pool.may_insist(is_tried),
            RetryChoice::Elsewhere => pool.has_untried(is_tried, now),
        };
        self.attempts <= retry.max_retries
            && has_time
            && has_aim()
            && self.site.budget(self.route, self.pool).take(retry.budget_percent, now)
    }

    /// The attempt failed by its server's fault. Before anything of the request was written that counts at once, since no client can
    /// cause it. Later it may be the request's fault, which its end tells; while the client owes content, it is nobody's.
    pub(super) fn accuse(&mut self, fault: UpstreamFault, turn: &mut Turn) {
        let Some((server, permit)) = self.attempt.server.zip(self.attempt.take_permit()) else { return };
        self.end_trial(turn);
        let (pool, now) = (self.pool(), turn.now.millis());
        if self.attempt.upstream_micros.is_none() && self.attempt.taken > 0 {
            pool.observe(server, turn.now.micros.saturating_sub(self.attempt.sent_at), now);
        }
        let known = self.faults.iter().position(|charge| charge.server == server);
        if self.attempt.taken == 0 {
            let is_told = known.is_some_and(|at| self.faults[at].permit.is_none());
            let told = Charge { server, fault, permit: None };
            match known {
                Some(at) => self.faults[at] = told,
                None => self.faults.push(told),
            }
            if !is_told {
                self.blame(server, permit, fault, true, turn);
            }
        } else if known.is_none() && self.up.is_ended {
            self.faults.push(Charge { server, fault, permit: Some(permit) });
        }
    }

    /// The end of the request is known. If a server answered it, the others failed it. If two or more failed it alike and none
    /// answered, the request is to blame. A server is blamed once, however often it was tried.
    pub(super) fn judge(&mut self, is_answered: bool, turn: &mut Turn) {
        let open = |charge: &&Charge| charge.permit.is_some();
        let is_alike = |a: &Charge| {
            let mut others = self.faults.iter().filter(open).filter(|b| b.server != a.server);
            others.any(|b| a.fault.is_like(b.fault))
        };
        let is_its_own = !is_answered && self.faults.iter().filter(open).any(is_alike);
        let answering = self.attempt.server.filter(|_| is_answered);
        for at in 0..self.faults.len() {
            let Charge { server, fault, permit } = &mut self.faults[at];
            let (server, fault) = (*server, *fault);
            let Some(permit) = permit.take() else { continue };
            if !is_its_own && answering != Some(server) {
                self.blame(server, permit, fault, false, turn);
            }
        }
    }

    fn blame(&self, server: usize, permit: CircuitPermit, fault: UpstreamFault, is_unconnected: bool, turn: &mut Turn) {
        let opened = self.pool().blame(server, permit, fault, is_unconnected, turn.now.millis());
        turn.circuits_moved |= opened.is_some();
        turn.open_circuits.extend(opened);
    }

    /// The exchange needs its connection no longer. Reports the outcome, unless that was done, and gives back what the attempt has
    /// reserved. Returns whether there is a connection to be released, or one being made.
    #[inline]
    pub(super) fn end_attempt(&mut self, verdict: AttemptVerdict, turn: &mut Turn) -> bool {
        self.conclude(verdict, turn);
        turn.queue_may_move |= self.attempt.reserved().is_some();
        self.attempt.hold.take().is_some()
    }

    /// The outcome of the attempt is known, and is not its server's fault.
    #[inline]
    pub(super) fn conclude(&mut self, verdict: AttemptVerdict, turn: &mut Turn) {
        if let Some((server, permit)) = self.attempt.server.zip(self.attempt.take_permit()) {
            self.end_trial(turn);
            turn.circuits_moved |= self.pool().settle(server, permit, verdict, turn.now.millis());
        }
    }

    /// If it is a trial, another may begin, however long the rest takes.
    #[inline]
    pub(super) fn end_trial(&mut self, turn: &mut Turn) {
        turn.circuits_moved |= self.attempt.reserved().is_some_and(|reserved| !reserved.take_trial().is_empty());
    }
}
