//! Answers made here, and the end of every answer: what the client was told about its connection is kept to.

use super::deadlines::{Due, Waits, after};
use super::exchange::{Asked, Exchange, Fate, Maker};
use super::failure::{Failure, Time};
use super::{Effect, Ending, Session, State, Turn, Why};
use crate::admin::RenderedPage;
use crate::answer::page::ErrorPage;
use crate::answer::{Answer, echo};
use crate::http::framing::{Body, BodyLength, Recode};
use crate::observe;
use crate::observe::quiet::{CountedWarning, HeldWarning, WarningAction, WarningKind};
use crate::observe::reason::{Blame, Reason, TimeoutKind};
use std::fmt;
use std::sync::Arc;

/// How long the rest of a request is read and dropped after its answer.
const LINGER_MS: u32 = 2000;
/// When delivery is first checked before a reset, and then after twice as long each time, because no event reports it.
const DELIVERY_MS: u64 = 10;

impl Session {
    /// Sends an answer made here once the request has been read: `echo` counts its body, and the connection can be kept.
    pub(super) fn reply_once_read(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        self.up.drop_checked();
        if x.up.is_complete() {
            if let Some(page) = x.page.take() {
                self.serial += 1;
                x.asker = Some(Arc::default());
                if self.client_fin {
                    self.probe(&mut x);
                }
                turn.effects.push(Effect::Render(page));
                return State::Replying(x);
            }
            return self.reply(x, turn);
        }
        if x.asked.awaits_continue {
            x.invite(turn);
        }
        State::Replying(x)
    }

    pub(super) fn on_reply_half_close(&mut self, mut x: Box<Exchange>) -> State {
        if x.asker.is_some() {
            self.probe(&mut x);
        }
        State::Replying(x)
    }

    /// A client that waits for a page and has closed its sending side has probably left. An interim answer finds out: if it has, a
    /// reset comes back before the page is rendered in vain.
    fn probe(&self, x: &mut Exchange) {
        if x.asked.minor == 1 && !x.down.is_owing(&self.down) {
            x.down.open_head();
            x.down.block.extend_from_slice(b"HTTP/1.1 102 Processing\r\n\r\n");
            x.down.close_head(0);
        }
    }

    pub(super) fn on_rendered(&mut self, mut x: Box<Exchange>, page: RenderedPage, turn: &mut Turn) -> State {
        if x.outcome.is_whole {
            return State::Replying(x);
        }
        x.asker = None;
        (x.content_type, x.content_status) = (page.content_type, page.status);
        let has_content = x.write_whole(&page.content, false, turn);
        if has_content {
            x.down.append_shared(page.content);
        }
        self.after_reply(x, turn)
    }

    fn reply(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        if x.maker == Maker::Echo {
            let content = x.up.body.content();
            echo::end(&mut x.content, content);
        }
        // Keeps the storage for another answer.
        let content = std::mem::take(&mut x.content);
        x.write_whole(&content, true, turn);
        x.content = content;
        self.after_reply(x, turn)
    }

    /// The request fails, without an upstream's fault.
    pub(super) fn fail(&mut self, x: Box<Exchange>, failure: Failure, turn: &mut Turn) -> State {
        x.count_timeout(failure.reason, turn);
        self.refuse(x, failure, turn)
    }

    /// Sends the failure as the answer if nothing of another answer was sent; otherwise cuts off what was sent.
    pub(super) fn refuse(&mut self, mut x: Box<Exchange>, failure: Failure, turn: &mut Turn) -> State {
        x.judge(false, turn);
        let Failure { reason, detail, retry_after } = x.first_of(failure);
        x.count_error(reason, turn);
        x.report(&detail, reason, turn);
        self.let_go(&mut x, turn);
        (self.phase, x.waits) = (0, Waits::default());
        x.outcome.error = Some(reason);
        x.outcome.is_whole = true;
        if reason == Reason::ClientWriteTimeout && !x.has_begun() && !x.outcome.settled {
            // The client takes nothing, so an error page would wait like everything else.
            x.outcome.status = reason.status();
            let next = self.cut_off(turn);
            return self.finish(x, turn, next);
        }
        // A counted response stands, even if nothing of it was sent yet.
        if x.has_begun() || x.outcome.settled {
            x.settle(turn);
            x.outcome.fate = if x.outcome.ends_with_close { Fate::Reset } else { Fate::Cut };
            // A client that takes nothing will not take the rest now; any other gets what has come.
            if reason == Reason::ClientWriteTimeout || reason.timeout() == Some(TimeoutKind::Total) {
                let is_seen = x.outcome.fate == Fate::Cut && reason != Reason::ClientWriteTimeout;
                let next = if is_seen { self.linger(Why::Cut, turn) } else { self.cut_off(turn) };
                return self.finish(x, turn, next);
            }
            x.down.cut(&mut self.down);
            return self.after_reply(x, turn);
        }
        if x.outcome.status != 0 {
            x.down.retract(&mut self.down);
        } else {
            x.down.drop_body(&mut self.down);
        }
        if !x.up.is_complete() || turn.is_leaving {
            x.outcome.fate = Fate::Closed;
        }
        self.up.drop_checked();
        let json = x.asked.wants_json;
        // Details of what the request itself did wrong are for every client.
        let detail = (reason.status() < 500 || x.asked.wants_detail).then_some(&*detail);
        x.write_answer(turn, |out, frame| {
            let before = out.len();
            ErrorPage { reason, detail, json, retry_after }.write(out, frame);
            if frame.to_head { 0 } else { content_length(&out[before..]) }
        });
        x.outcome.status = reason.status();
        x.settle(turn);
        self.after_reply(x, turn)
    }

    /// The client left.
    pub(super) fn abort(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        self.let_go(&mut x, turn);
        // A client that has the whole answer and stops sending the rest of its request was served.
        let is_served = x.outcome.is_whole && x.down.is_flushed(&self.down);
        if x.outcome.error.is_none() && !is_served {
            x.count_error(Reason::ClientAborted, turn);
            x.outcome.error = Some(Reason::ClientAborted);
            x.outcome.status = Reason::ClientAborted.status();
        }
        self.finish(x, turn, State::Closed(Ending::Plain))
    }

    /// The grace period is over. An answer that has begun is cut off; any other request gets its answer at once or never.
    pub(super) fn on_cut(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        if x.outcome.is_whole && x.down.is_flushed(&self.down) {
            return self.finish(x, turn, State::Closed(Ending::Plain));
        }
        x.outcome.is_cut = true;
        if !x.outcome.is_whole && !x.has_begun() {
            return self.fail(x, Failure::new(Reason::Draining, "this proxy ended before the answer was complete"), turn);
        }
        if x.outcome.error.is_none() {
            x.count_error(Reason::Draining, turn);
            x.outcome.error = Some(Reason::Draining);
        }
        x.settle(turn);
        self.let_go(&mut x, turn);
        // The kernel still delivers what it has after a plain close.
        let ending = if x.outcome.ends_with_close { Ending::Reset } else { Ending::Plain };
        self.finish(x, turn, State::Closed(ending))
    }

    pub(super) fn on_dropped_bytes(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        x.waits.client_body = 0;
        let scanned = self.scan_body(&mut x);
        self.up.drop_checked();
        match scanned {
            Err(refusal) if !x.outcome.is_whole => self.fail(x, Failure::of_request(refusal), turn),
            Err(_) => {
                // The answer stays, but where the next request begins is unknown.
                self.up.clear();
                x.up.body = Body::new(BodyLength::UntilClose, Recode::Same);
                x.outcome.fate = Fate::Closed;
                self.after_reply(x, turn)
            }
            Ok(()) if x.outcome.is_whole => self.after_reply(x, turn),
            Ok(()) => self.reply_once_read(x, turn),
        }
    }

    pub(super) fn on_reply_fin(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        if !x.outcome.is_whole {
            return self.on_body_fin(x, turn);
        }
        x.up.body = Body::default();
        x.asked.is_last = true;
        if x.outcome.fate == Fate::Kept {
            x.outcome.fate = Fate::Closed;
        }
        self.up.clear();
        self.after_reply(x, turn)
    }

    pub(super) fn on_reply_took(&mut self, mut x: Box<Exchange>, n: usize, turn: &mut Turn) -> State {
        x.on_client_progress();
        x.down.took(n, &mut self.down);
        self.down.release();
        self.after_reply(x, turn)
    }

    pub(super) fn on_reply_passed(&mut self, mut x: Box<Exchange>, n: usize, turn: &mut Turn) -> State {
        x.on_client_progress();
        x.down.passed(n);
        self.after_reply(x, turn)
    }

    /// If the answer has been sent, the connection goes on as the client was told.
    pub(super) fn after_reply(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        if !x.outcome.is_whole || !x.down.is_flushed(&self.down) {
            return State::Replying(x);
        }
        let request_is_read = x.up.is_complete();
        match x.outcome.fate {
            Fate::Kept if request_is_read => {
                let next = self.await_head(turn);
                self.finish(x, turn, next)
            }
            Fate::Kept => {
                // The client has its answer: what it still sends does not change the log line.
                self.log(&mut x, turn);
                if self.phase == 0 {
                    x.waits.total = 0;
                    self.phase = after(turn.now.millis(), LINGER_MS);
                }
                State::Replying(x)
            }
            // A client that did not ask for the close may have sent its next request already.
            Fate::Closed if request_is_read && x.asked.is_last && self.up.raw() == 0 => {
                let next = self.part(turn);
                self.finish(x, turn, next)
            }
            Fate::Closed => {
                let next = self.linger(Why::Answered, turn);
                self.finish(x, turn, next)
            }
            Fate::Cut => {
                let next = self.linger(Why::Cut, turn);
                self.finish(x, turn, next)
            }
            Fate::Reset => {
                let next = self.cut_off(turn);
                self.finish(x, turn, next)
            }
        }
    }

    /// Closes the connection if the client loses nothing by that; otherwise lingers. What arrives at a closed socket is answered with a
    /// reset, which destroys everything that has not been read.
    pub(super) fn part(&mut self, turn: &mut Turn) -> State {
        self.drain(turn, Effect::Part);
        State::Draining(Why::Answered)
    }

    /// Resets the connection once what was sent before has arrived.
    fn cut_off(&mut self, turn: &mut Turn) -> State {
        self.drain(turn, Effect::AskDelivered);
        let until = std::mem::replace(&mut self.phase, turn.now.millis() + DELIVERY_MS);
        State::Draining(Why::Broken { until })
    }

    /// Half-closes, then reads and drops what still comes (RFC 9112 9.6).
    pub(super) fn linger(&mut self, why: Why, turn: &mut Turn) -> State {
        self.drain(turn, Effect::HalfClose);
        State::Draining(why)
    }

    fn drain(&mut self, turn: &mut Turn, effect: Effect) {
        self.up.clear();
        self.down.clear();
        self.phase = after(turn.now.millis(), LINGER_MS);
        turn.effects.push(effect);
    }

    pub(super) fn on_lingering_bytes(&mut self, why: Why) -> State {
        self.up.clear();
        State::Draining(why)
    }

    pub(super) fn on_lingering_deadline(&mut self, why: Why, turn: &mut Turn) -> State {
        let now = turn.now.millis();
        match why {
            _ if self.phase > now => State::Draining(why),
            Why::Broken { until } if until > now => {
                let waited = now.saturating_sub(until - u64::from(LINGER_MS));
                self.phase = until.min(now + waited.max(DELIVERY_MS));
                turn.effects.push(Effect::AskDelivered);
                State::Draining(why)
            }
            Why::Cut | Why::Broken { .. } => State::Closed(Ending::Reset),
            Why::Answered | Why::Idle => State::Closed(Ending::Plain),
        }
    }

    /// A deadline of an exchange has passed.
    pub(super) fn on_deadline(&mut self, x: Box<Exchange>, turn: &mut Turn, back: fn(Box<Exchange>) -> State) -> State {
        let now = turn.now.millis();
        if x.is_backing_off && self.phase <= now && x.waits.due(0, now).is_none() {
            return self.connect(x, turn);
        }
        let phase = if x.is_backing_off { 0 } else { self.phase };
        let Some(due) = x.waits.due(phase, now) else { return back(x) };
        match due {
            Due::Phase if x.is_queued => self.fail_full(x, turn),
            Due::Phase if x.attempt.has_upstream => self.fail_upstream(x, Reason::ConnectionTimeout, turn),
            Due::Phase => self.finish(x, turn, State::Closed(Ending::Plain)),
            Due::Read => self.fail_upstream(x, Reason::ReadTimeout, turn),
            Due::Attempt => self.on_attempt_over(x, turn),
            Due::Write => self.fail_upstream(x, Reason::WriteTimeout, turn),
            Due::Total if self.waits_for_upstream(&x) => self.fail_upstream(x, Reason::ResponseTimeout, turn),
            Due::Total => {
                let detail = format!("the exchange was not done within {} (timeouts.total_ms)", Time(x.timeouts.total_ms));
                self.fail(x, Failure::new(Reason::ResponseTimeout, detail), turn)
            }
            Due::HalfClose => self.abort(x, turn),
            Due::ClientBody => {
                let detail = format!("nothing of the content came for {} (timeouts.client_body_ms)", Time(x.timeouts.client_body_ms));
                self.fail(x, Failure::new(Reason::RequestTimeout, detail), turn)
            }
            Due::ClientWrite => {
                let time = Time(x.timeouts.client_write_ms);
                let detail = format!("the client took nothing of the answer for {time} (timeouts.client_write_ms)");
                self.fail(x, Failure::new(Reason::ClientWriteTimeout, detail), turn)
            }
        }
    }

    /// Releases what the exchange holds outside the session.
    pub(super) fn let_go(&mut self, x: &mut Exchange, turn: &mut Turn) {
        if x.leave_line(turn) {
            turn.effects.push(Effect::LeaveQueue);
        }
        x.conclude_early(turn);
        x.give_back(x.attempt.holds, turn);
        if std::mem::take(&mut x.attempt.has_upstream) {
            turn.effects.push(Effect::Release { keep: false });
        }
    }

    /// Writes the exchange's log line, unless that was done.
    fn log(&self, x: &mut Exchange, turn: &mut Turn) {
        if !std::mem::replace(&mut x.outcome.is_logged, true) {
            turn.journal.line(&x.record(self.client, turn));
        }
    }

    /// Logs the exchange and returns it to the store.
    pub(super) fn finish(&mut self, mut x: Box<Exchange>, turn: &mut Turn, next: State) -> State {
        self.down.clear();
        if !x.asked.is_admin {
            x.count_end(turn);
        }
        self.log(&mut x, turn);
        x.put_back(turn);
        next
    }
}

impl Exchange {
    /// Tells a client that waits for it to send its content.
    pub(super) fn invite(&mut self, turn: &Turn) {
        self.asked.awaits_continue = false;
        self.down.open_head();
        self.down.block.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        self.down.close_head(0);
        if !self.asked.is_admin {
            turn.stats.responses[0].add(1);
        }
    }

    /// Counts the final response, unless that was done.
    pub(super) fn settle(&mut self, turn: &Turn) {
        if !std::mem::replace(&mut self.outcome.settled, true) && !self.asked.is_admin {
            let class = usize::from(self.outcome.status / 100).clamp(1, 5) - 1;
            turn.stats.responses[class].add(1);
            turn.stats.duration.observe(turn.now.micros.saturating_sub(self.started));
        }
    }

    /// Counts how it ended, for the last diagnostic of the process.
    fn count_end(&self, turn: &Turn) {
        match self.outcome.error {
            _ if self.outcome.is_cut => turn.stats.exchanges_cut.add(1),
            Some(Reason::Draining | Reason::ClientAborted) => {}
            _ => turn.stats.exchanges_finished.add(1),
        }
    }

    /// Counts an answer that was made or cut off here.
    pub(super) fn count_error(&self, reason: Reason, turn: &Turn) {
        if !self.asked.is_admin {
            turn.stats.errors[reason].add(1);
        }
    }

    /// Counts the timeout of a failure, if it is one.
    pub(super) fn count_timeout(&self, reason: Reason, turn: &Turn) {
        if let Some(kind) = reason.timeout().filter(|_| !self.asked.is_admin) {
            turn.stats.timeouts[kind as usize].add(1);
        }
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
        let (target, warnings) = match (self.maker, self.server()) {
            (Maker::Upstream, Some(server)) => ("upstream", &server.warnings),
            (Maker::Upstream, None) => ("upstream", &self.pool().warnings),
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
        OfPool((self.maker == Maker::Upstream).then(|| self.pool().name.as_str()))
    }

    /// Appends a whole answer to the block, or only its head. Returns whether content follows the head.
    fn write_whole(&mut self, content: &[u8], with_content: bool, turn: &mut Turn) -> bool {
        let Self { content_status: status, content_type, asked: Asked { minor, to_head, .. }, .. } = *self;
        let has_content = !to_head && !matches!(status, 204 | 304);
        let is_written = has_content && with_content;
        self.write_answer(turn, |out, frame| {
            Answer { status, content_type, minor, to_head: !is_written, ..frame }.write(out, "", content);
            if is_written { content.len() } else { 0 }
        });
        self.outcome.status = status;
        self.settle(turn);
        self.outcome.is_whole = true;
        has_content
    }

    /// Appends an answer made here to the block; `write` returns how many bytes of it are content.
    fn write_answer(&mut self, turn: &mut Turn, write: impl FnOnce(&mut Vec<u8>, Answer) -> usize) {
        self.outcome.final_at = self.down.open_head();
        let frame = Answer {
            status: 0,
            content_type: "",
            minor: self.asked.minor,
            persists: self.outcome.fate == Fate::Kept,
            to_head: self.asked.to_head,
            date: turn.date.at(turn.now.wall_ms),
            trace_id: self.trace_id.as_str(),
        };
        let content = write(&mut self.down.block, frame);
        self.down.close_head(content);
    }
}

/// Formats as the name of the pool that a message is about, if there is one.
pub(super) struct OfPool<'a>(Option<&'a str>);

impl fmt::Display for OfPool<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.map_or(Ok(()), |pool| write!(f, "pool {pool}: "))
    }
}

/// The number of bytes after the head of an answer that was just written.
fn content_length(answer: &[u8]) -> usize {
    let end = answer.windows(4).position(|end| end == b"\r\n\r\n").map_or(answer.len(), |at| at + 4);
    answer.len() - end
}
