//! Answers made here, failures, and the end of every exchange.

use super::deadlines::{Deadlines, Timer};
use super::state::Reply;
use super::{Context, Exchange, ExchangeState};
use crate::answer::Answer;
use crate::answer::page::ErrorPage;
use crate::guard::breaker::AttemptVerdict;
use crate::http::Refusal;
use crate::machine::deadlines::after;
use crate::machine::failure::Failure;
use crate::machine::{Effect, ExchangeEnd, Turn};
use crate::observe;
use crate::observe::quiet::{CountedWarning, HeldWarning, WarningAction, WarningKind};
use crate::observe::reason::{Blame, Reason, TimeoutKind};
use crate::source::{AnswerSource, Stock};
use std::fmt;
use std::sync::Arc;

impl Exchange {
    /// The head has been read, and what came with it of the content.
    pub fn start(&mut self, opened: Result<(), Failure>, content: Result<(), Refusal>, cx: &mut Context) -> ExchangeState {
        self.deadlines.set(Timer::Total, after(cx.turn.now.millis(), self.timeouts.total_ms));
        if let Err(failure) = opened {
            return self.fail(failure, cx);
        }
        if let Err(refusal) = self.check_content(content) {
            return self.fail(Failure::of_request(refusal), cx);
        }
        if matches!(self.source, AnswerSource::Upstream) { self.connect(cx) } else { self.reply_once_read(cx) }
    }

    /// Sends an answer made here once the request has been read: `echo` counts its body, and the connection can be kept.
    fn reply_once_read(&mut self, cx: &mut Context) -> ExchangeState {
        self.up.ring.drop_checked();
        if self.up.is_ended {
            if let AnswerSource::Page(page) = self.source {
                self.serial = cx.turn.number_wait();
                if self.has_half_closed {
                    self.probe(cx);
                }
                cx.turn.effects.push(Effect::Render(page));
                return ExchangeState::Replying(Reply::Rendering(Arc::default()));
            }
            return self.reply(cx);
        }
        if self.asked.awaits_continue {
            self.invite(cx);
        }
        ExchangeState::Replying(Reply::Reading)
    }

    pub(super) fn on_reply_half_close(&mut self, reply: Reply, cx: &mut Context) -> ExchangeState {
        if matches!(reply, Reply::Rendering(_)) {
            self.probe(cx);
        }
        ExchangeState::Replying(reply)
    }

    /// A client that waits for a page and has closed its sending side has probably left. An interim answer finds out: if it has, a
    /// reset comes back before the page is rendered in vain.
    fn probe(&mut self, cx: &mut Context) {
        if !self.down.is_owing() {
            cx.front.interim(&mut self.down, 102);
        }
    }

    /// Tells a client that waits for it to send its content.
    pub(super) fn invite(&mut self, cx: &mut Context) {
        self.asked.awaits_continue = false;
        if cx.front.interim(&mut self.down, 100) {
            self.count_interim(cx.turn);
        }
    }

    /// The request fails, without an upstream's fault.
    pub fn fail(&mut self, failure: Failure, cx: &mut Context) -> ExchangeState {
        self.count_timeout(failure.reason, cx.turn);
        self.refuse(failure, cx)
    }

    /// Sends the failure as the answer if nothing of another answer was sent; otherwise cuts off what was sent.
    pub(super) fn refuse(&mut self, failure: Failure, cx: &mut Context) -> ExchangeState {
        self.judge(false, cx.turn);
        let failure = self.first_of(failure);
        let reason = failure.reason;
        self.count_error(reason, cx.turn);
        self.report(&failure.detail, reason, cx.turn);
        self.let_go(cx.turn);
        self.deadlines = Deadlines::default();
        self.outcome.error = Some(reason);
        self.outcome.is_whole = true;
        if reason == Reason::ClientWriteTimeout && !self.has_begun() && !self.outcome.settled {
            // The client takes nothing, so an error page would wait like everything else.
            self.outcome.status = reason.status();
            return self.finish(ExchangeEnd::CutOff, cx.turn);
        }
        // A counted response stands, even if nothing of it was sent yet.
        if self.has_begun() || self.outcome.settled {
            self.count_answer(cx.turn);
            // A client that takes nothing will not take the rest now; any other gets what has come.
            match reason {
                Reason::ClientWriteTimeout => return self.finish(ExchangeEnd::CutOff, cx.turn),
                _ if reason.timeout() == Some(TimeoutKind::Total) => return self.finish(ExchangeEnd::Cut, cx.turn),
                _ => cx.front.cut(&mut self.down),
            }
            return self.after_reply(ExchangeEnd::Cut, cx);
        }
        if self.outcome.status != 0 {
            self.down.retract();
        } else {
            self.down.drop_content();
        }
        self.up.ring.drop_checked();
        self.explain(&failure, cx)
    }

    /// Answers with the failure.
    fn explain(&mut self, failure: &Failure, cx: &mut Context) -> ExchangeState {
        let Failure { reason, detail, retry_after } = failure;
        // Details of what the request itself did wrong are for every client.
        let detail = (reason.status() < 500 || self.asked.wants_detail).then_some(&**detail);
        let page = ErrorPage { reason: *reason, detail, json: self.asked.wants_json, retry_after: *retry_after };
        let (fields, content) = page.write(self.trace_id.as_str());
        self.text = content.into_bytes();
        let supply = self.supply(Stock::Made);
        let head = Answer { status: reason.status(), content_type: page.content_type(), fields: &fields, length: supply.left() };
        self.answer(&head, supply, cx)
    }

    /// The client left.
    pub(super) fn abort(&mut self, cx: &mut Context) -> ExchangeState {
        self.let_go(cx.turn);
        // A client that has the whole answer and stops sending the rest of its request was served.
        let is_served = self.outcome.is_whole && cx.front.is_flushed(&self.down);
        if self.outcome.error.is_none() && !is_served {
            self.count_error(Reason::ClientAborted, cx.turn);
            self.outcome.error = Some(Reason::ClientAborted);
            self.outcome.status = Reason::ClientAborted.status();
        }
        self.finish(ExchangeEnd::Closed, cx.turn)
    }

    /// The grace period is over. An answer that has begun is cut off; any other request gets its answer at once or never.
    pub(super) fn on_cut(&mut self, cx: &mut Context) -> ExchangeState {
        self.outcome.is_cut = true;
        if !self.outcome.is_whole && !self.has_begun() {
            return self.fail(Failure::new(Reason::Draining, "this proxy ended before the answer was complete"), cx);
        }
        if self.outcome.error.is_none() {
            self.count_error(Reason::Draining, cx.turn);
            self.outcome.error = Some(Reason::Draining);
        }
        self.count_answer(cx.turn);
        self.let_go(cx.turn);
        self.finish(ExchangeEnd::ClosedMidway, cx.turn)
    }

    pub(super) fn on_dropped_content(&mut self, reply: Reply, content: Result<(), Refusal>, cx: &mut Context) -> ExchangeState {
        let content = self.take_content(content);
        self.up.ring.drop_checked();
        match (reply, content) {
            (Reply::Sending(end), _) => self.after_reply(end, cx),
            (Reply::Producing(supply), _) => ExchangeState::Replying(Reply::Producing(supply)),
            (_, Err(refusal)) => self.fail(Failure::of_request(refusal), cx),
            (Reply::Reading, Ok(())) => self.reply_once_read(cx),
            (reply, Ok(())) => ExchangeState::Replying(reply),
        }
    }

    /// The client took some of the answer.
    #[inline(always)]
    pub(super) fn go_on(&mut self, reply: Reply, cx: &mut Context) -> ExchangeState {
        match reply {
            Reply::Sending(end) => self.after_reply(end, cx),
            Reply::Producing(supply) => self.go_on_producing(supply, cx),
            reply => ExchangeState::Replying(reply),
        }
    }

    /// If the answer has been sent, the exchange is over.
    pub(super) fn after_reply(&mut self, end: ExchangeEnd, cx: &mut Context) -> ExchangeState {
        if cx.front.is_flushed(&self.down) { self.finish(end, cx.turn) } else { ExchangeState::Replying(Reply::Sending(end)) }
    }

    /// Releases what the exchange holds of an upstream.
    pub(super) fn let_go(&mut self, turn: &mut Turn) {
        // A server whose answer had begun has served the request, whoever ends it.
        let has_served = self.attempt.upstream_micros.is_some();
        if self.end_attempt(if has_served { AttemptVerdict::Success } else { AttemptVerdict::Unknown }, turn) {
            turn.effects.push(Effect::Release { keep: false });
        }
    }

    /// Counts and logs it.
    pub(super) fn finish(&mut self, end: ExchangeEnd, turn: &mut Turn) -> ExchangeState {
        self.count_end(turn);
        self.log(turn);
        ExchangeState::Done(end)
    }

    /// If the request was tried elsewhere after one upstream's silence, a total timeout is blamed on that silence.
    fn first_of(&self, failure: Failure) -> Failure {
        let is_late = matches!(failure.reason.timeout(), Some(kind) if kind != TimeoutKind::Client);
        self.first_silence().filter(|_| is_late && !self.has_begun()).unwrap_or(failure)
    }

    /// Logs a failure: an upstream's or our own as a warning, a client's at level `debug`.
    fn report(&self, detail: &str, reason: Reason, turn: &Turn) {
        if reason.blame() == Blame::Client {
            log::debug!(target: "request", "{}: {detail} trace_id={}", reason.name(), self.trace_id());
        } else {
            self.warn(WarningKind::Failed(reason), format_args!("{}: {}{detail}", reason.name(), self.of_pool()), turn);
        }
    }

    /// Logs a warning about the attempt's upstream, its pool, or this worker. All but the first of a kind in a second are logged at
    /// level `debug`, and counted in the next.
    pub(super) fn warn(&self, kind: WarningKind, what: fmt::Arguments, turn: &Turn) {
        let (target, warnings) = match (&self.source, self.server()) {
            (AnswerSource::Upstream, Some(server)) => ("upstream", &server.warnings),
            (AnswerSource::Upstream, None) => ("upstream", &self.pool().warnings),
            _ => ("request", &turn.warnings),
        };
        let trace_id = self.trace_id();
        match warnings.ask(kind, turn.now.millis()) {
            WarningAction::Tell(more) => return log::warn!(target: target, "{}", CountedWarning { what, more, trace_id }),
            WarningAction::HoldFirst(pause) => observe::log::hold(|| HeldWarning::new(pause, target, what, trace_id)),
            WarningAction::Hold => {}
        }
        log::debug!(target: target, "{what} trace_id={trace_id}");
    }

    /// `pool api: `, if the request goes to a pool.
    pub(super) fn of_pool(&self) -> OfPool<'_> {
        OfPool(matches!(self.source, AnswerSource::Upstream).then(|| self.pool().name.as_str()))
    }
}

/// Formats as the name of the pool that a message is about, if there is one.
pub(super) struct OfPool<'a>(Option<&'a str>);

impl fmt::Display for OfPool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pool| write!(f, "pool {pool}: "))
    }
}
