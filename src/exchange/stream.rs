//! An exchange with a connection to its upstream: what becomes of the request's content, and of the answer's head, content and end.

use super::deadlines::Timer;
use super::state::Streaming;
use super::{Context, Exchange, ExchangeState, Heard, request};
use crate::guard::breaker::AttemptVerdict;
use crate::http::Refusal;
use crate::http::response::Response;
use crate::machine::failure::Failure;
use crate::machine::recipient::RequestFacts;
use crate::machine::{AnswerEnd, Effect, ExchangeEnd, Passed, Turn};
use crate::observe::reason::Reason;
use crate::upstream::reservation::Reservation;
use crate::upstream::server::UpstreamFault;

/// A client that sends less than this counts as one that sends nothing (bytes).
const LEAST_CONTENT: u64 = 1024;

impl Exchange {
    /// New content has been read, or how it is framed was refused.
    pub(super) fn take_content(&mut self, content: Result<(), Refusal>) -> Result<(), Refusal> {
        self.deadlines.set(Timer::ClientBody, 0);
        self.asked.awaits_continue = false;
        self.check_content(content)
    }

    /// Whether what has come of the content is accepted.
    pub fn check_content(&self, content: Result<(), Refusal>) -> Result<(), Refusal> {
        content?;
        if self.max_body_size > 0 && self.content > self.max_body_size { Err(Refusal::BodyTooLarge) } else { Ok(()) }
    }

    pub(super) fn on_content(&mut self, trial: Streaming, content: Result<(), Refusal>, cx: &mut Context) -> ExchangeState {
        if let Err(refusal) = self.take_content(content) {
            return self.fail(Failure::of_request(refusal), cx);
        }
        if self.attempt.broken && (!self.replayable || self.up.ring.room() == 0) {
            // Nobody reads them yet. They are kept so far, because another attempt begins with everything.
            self.replayable = false;
            self.up.ring.drop_checked();
        }
        ExchangeState::StreamingBody(trial)
    }

    pub(super) fn on_request_cut(&mut self, cx: &mut Context) -> ExchangeState {
        self.fail(Failure::new(Reason::RequestError, "the request ended within its body"), cx)
    }

    pub(super) fn on_upstream_took(&mut self, trial: Streaming, n: usize, turn: &Turn) -> ExchangeState {
        self.on_request_progress(n, turn);
        // What cannot be repeated need not be kept, nor what fills the ring: the body has to go on.
        let is_full = self.up.ring.room() == 0 && self.up.ring.ready() == 0;
        let has_passed = self.outcome.status != 0 || self.attempt.heard == Heard::Interim;
        if !self.asked.is_idempotent || has_passed || is_full {
            self.replayable &= self.asked.is_idempotent && self.up.ring.kept() == 0;
            self.up.ring.release();
        }
        ExchangeState::StreamingBody(trial)
    }

    /// The upstream's socket took `n` bytes of the request.
    pub fn on_request_progress(&mut self, n: usize, turn: &Turn) {
        self.deadlines.set(Timer::Write, 0);
        self.deadlines.set(Timer::Read, 0);
        self.attempt.taken += n as u64;
        self.attempt.sent_at = turn.now.micros;
        if self.attempt.taken >= self.attempt.more_at {
            (self.attempt.more_at, self.attempt.lacking_since) = (self.attempt.taken + LEAST_CONTENT, 0);
        }
    }

    /// Opaque content was read past the ring, so it cannot be repeated.
    pub fn on_content_moved(&mut self, n: usize) {
        self.deadlines.set(Timer::ClientBody, 0);
        self.asked.awaits_continue = false;
        self.replayable = false;
        self.bytes_in += n as u64;
        self.up.moved(n);
    }

    pub(super) fn on_upstream_broken(&mut self, trial: Streaming) -> ExchangeState {
        self.attempt.broken = true;
        ExchangeState::StreamingBody(trial)
    }

    /// The upstream has sent something.
    pub fn on_upstream_progress(&mut self) {
        self.deadlines.set(Timer::Read, 0);
    }

    /// These are bytes of an answer.
    pub fn on_answer_bytes(&mut self) {
        self.attempt.heard = self.attempt.heard.max(Heard::Bytes);
    }

    /// Bytes have come on a kept connection before anything was sent to it: they follow its previous answer, or announce that it closes.
    pub fn is_stray(&self) -> bool {
        self.attempt.reused && self.attempt.taken == 0
    }

    /// These bytes are no answer; a new connection takes the place of the kept one, if the request can be sent again.
    pub fn on_stray(&mut self, cx: &mut Context) -> ExchangeState {
        if self.replayable { self.replace_stale(cx.turn) } else { self.fail_upstream(Reason::ConnectionTerminated, cx) }
    }

    /// What came is no answer to this request, which has had its effect nowhere: another connection takes it.
    pub fn on_aside(&mut self, turn: &mut Turn) -> ExchangeState {
        self.replace_stale(turn)
    }

    /// The upstream closed before the head of its answer was complete; `has_begun`: some of it had come.
    pub fn on_no_answer(&mut self, has_begun: bool, cx: &mut Context) -> ExchangeState {
        let is_stale = self.attempt.reused && self.attempt.heard == Heard::Nothing;
        // Content that was dropped is missing for a new connection, even if nothing was written to this one.
        if is_stale && self.replayable && (self.attempt.taken == 0 || self.asked.is_idempotent) {
            return self.replace_stale(cx.turn);
        }
        let told = self.attempt.trouble.as_ref().map_or(Reason::ConnectionTerminated, |trouble| trouble.reason);
        let reason = if has_begun { Reason::ResponseIncomplete } else { told };
        self.fail_upstream(reason, cx)
    }

    /// The upstream does not speak HTTP; on a reused connection, these are stray bytes after its previous answer.
    pub fn on_no_http(&mut self, bytes: &[u8], cx: &mut Context) -> ExchangeState {
        if self.attempt.reused && self.asked.is_idempotent && self.replayable {
            return self.replace_stale(cx.turn);
        }
        let failure = Failure::not_http(self.upstream_name(), bytes);
        self.fail_attempt(failure, cx)
    }

    /// What comes breaks the protocol.
    pub fn fail_response(&mut self, refusal: Refusal, cx: &mut Context) -> ExchangeState {
        let failure = Failure::of_response(refusal, self.upstream_name());
        self.fail_attempt(failure, cx)
    }

    /// The name of the attempt's upstream, for people.
    pub(super) fn upstream_name(&self) -> &str {
        self.server().map_or("the upstream", |server| &server.config.name)
    }

    /// The head of a response has come: decides what becomes of it, and passes it on if it is for the client.
    #[inline(always)]
    pub fn take_head(&mut self, response: &Response, cx: &mut Context) -> Result<Passed, Refusal> {
        if self.is_farewell(response) {
            return Ok(Passed::Aside);
        }
        if self.wants_another(response) && self.try_another(response.status, cx.turn) {
            self.count_response(response.status, cx.turn);
            return Ok(Passed::Over(response.status));
        }
        self.count_response(response.status, cx.turn);
        let passed = if response.is_interim() { self.pass_interim(response, cx) } else { self.pass_final(response, cx) };
        // From here on no other attempt is possible.
        self.replayable = false;
        self.up.ring.release();
        Ok(passed)
    }

    /// Whether it is a message that some upstreams send before they close an idle connection, and that has crossed this request.
    fn is_farewell(&self, response: &Response) -> bool {
        let closes = response.status == 408 && !response.connection.persists(response.minor);
        let is_safe = self.asked.is_idempotent && self.replayable && self.up.is_ended && self.content == 0;
        closes && is_safe && self.attempt.reused && self.attempt.heard < Heard::Interim
    }

    fn pass_interim(&mut self, response: &Response, cx: &mut Context) -> Passed {
        self.attempt.heard = Heard::Interim;
        if cx.front.pass_interim(&mut self.down, response, self.trace_id.as_bytes(), cx.turn) {
            cx.turn.stats.responses[0].add(1);
        }
        self.asked.awaits_continue &= response.status != 100;
        Passed::Interim
    }

    fn pass_final(&mut self, response: &Response, cx: &mut Context) -> Passed {
        let sticky = self.site.pools[self.pool].sticky.as_ref().filter(|_| self.session != self.attempt.server);
        let set_cookie =
            sticky.zip(self.attempt.server).map(|(sticky, server)| sticky.set_cookie(server, cx.turn.scheme, &self.sessions_elsewhere));
        let facts = RequestFacts { set_cookie: set_cookie.as_deref(), ..request(&self.trace_id, &self.up, &self.asked) };
        let recode = cx.front.pass_head(&mut self.down, facts, response, cx.turn);
        let turn = &mut *cx.turn;
        self.outcome.status = response.status;
        self.deadlines.set(Timer::Attempt, 0);
        let micros = turn.now.micros.saturating_sub(self.attempt.sent_at);
        self.attempt.upstream_micros = Some(micros);
        if let Some(server) = self.attempt.server {
            let pool = self.pool();
            pool.servers[server].cells[turn.worker].duration.observe(micros);
            pool.observe(server, micros, turn.now.millis());
        }
        if response.status != 101 {
            self.give_back(Reservation::take_tunnel, turn);
        }
        let is_fault = self.pool().is_fault(response.status);
        if is_fault {
            self.accuse(UpstreamFault::Status(response.status), turn);
        } else {
            self.end_trial(turn);
        }
        if !self.faults.is_empty() {
            self.judge(!is_fault, turn);
        }
        Passed::Final(recode)
    }

    /// The last byte of the answer is here. Everything is settled before the client can see that byte.
    #[inline(always)]
    pub fn on_answer_whole(&mut self, end: AnswerEnd, cx: &mut Context) -> ExchangeState {
        let turn = &mut *cx.turn;
        self.count_answer(turn);
        self.end_attempt(AttemptVerdict::Success, turn);
        let request_is_out = self.is_request_out();
        if request_is_out {
            self.up.ring.release();
        } else {
            // Nobody reads the rest of the request any more.
            self.up.ring.drop_checked();
        }
        let keep = end.keep && request_is_out && !self.asked.upgrades_after_content && !self.attempt.upstream_fin;
        if keep && end.is_bare {
            turn.effects.push(Effect::LetRest);
        }
        let is_closed = !keep && request_is_out;
        turn.effects.push(if is_closed { Effect::CloseUpstream } else { Effect::Release { keep } });
        self.outcome.is_whole = true;
        self.deadlines.set(Timer::Read, 0);
        self.deadlines.set(Timer::Write, 0);
        self.after_reply(ExchangeEnd::Answered, cx)
    }

    /// Other requests wait for the place, and the client takes nothing, or sends nothing.
    pub(super) fn make_room(&mut self, cx: &mut Context) -> ExchangeState {
        let failure = if self.owed_since > 0 {
            let detail = "the client took nothing of the answer, and others wait for its place at the upstream";
            Failure::new(Reason::ClientWriteTimeout, detail)
        } else {
            let detail = "too little of the content came, and others wait for its place at the upstream";
            Failure::new(Reason::RequestTimeout, detail)
        };
        self.fail(failure, cx)
    }
}
