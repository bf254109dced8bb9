//! Both directions of an exchange with an upstream.

use super::event::Direction;
use super::exchange::{Exchange, Fate};
use super::failure::Failure;
use super::read_head::request_limits;
use super::{Effect, Session, State, Turn};
use crate::guard::breaker::AttemptVerdict;
use crate::http::framing::{Body, BodyLength, Recode};
use crate::http::head::{HeadTable, SmallTable};
use crate::http::response::{Response, is_no_status_line};
use crate::http::scan::HeadScan;
use crate::http::write::{self, ResponseAdditions};
use crate::http::{HeadLimits, Refusal};
use crate::observe::reason::Reason;
use crate::upstream::server::UpstreamFault;

/// What happens to a response whose head has come.
enum Passed {
    /// The response, or an interim head, goes to the client.
    On,
    /// It is dropped for another attempt.
    Over(u16),
    /// It is no answer to this request.
    Aside,
}

/// A client that sends less than this counts as one that sends nothing (bytes).
const LEAST_CONTENT: u64 = 1024;

impl Session {
    /// Processes new bytes of the request's body.
    pub(super) fn scan_body(&mut self, exchange: &mut Exchange) -> Result<(), Refusal> {
        if self.up.room() == 0 && self.up.ready() == 0 && self.up.kept() > 0 {
            // The bytes kept for another attempt leave no room to complete a line, and the body has to go on.
            exchange.replayable = false;
            self.up.release();
        }
        let limits = request_limits(&exchange.site.config.limits);
        let before = exchange.up.body.received();
        exchange.up.scan(&mut self.up, &limits)?;
        exchange.bytes_in += exchange.up.body.received() - before;
        if exchange.max_body_size > 0 && exchange.up.body.content() > exchange.max_body_size {
            return Err(Refusal::BodyTooLarge);
        }
        Ok(())
    }

    pub(super) fn on_body_bytes(&mut self, mut x: Box<Exchange>, turn: &mut Turn, back: fn(Box<Exchange>) -> State) -> State {
        x.waits.client_body = 0;
        x.asked.awaits_continue = false;
        if let Err(refusal) = self.scan_body(&mut x) {
            return self.fail(x, Failure::of_request(refusal), turn);
        }
        if x.attempt.broken && (!x.replayable || self.up.room() == 0) {
            // Nobody reads them yet. They are kept so far, because another attempt begins with everything.
            x.replayable = false;
            self.up.drop_checked();
        }
        back(x)
    }

    pub(super) fn on_body_fin(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        self.fail(x, Failure::new(Reason::RequestError, "the request ended within its body"), turn)
    }

    pub(super) fn on_upstream_took(&mut self, mut x: Box<Exchange>, n: usize, turn: &mut Turn) -> State {
        x.up.took(n, &mut self.up);
        self.on_request_progress(&mut x, n, turn);
        // What cannot be repeated need not be kept, nor what fills the ring: the body has to go on.
        let is_full = self.up.room() == 0 && self.up.ready() == 0;
        let has_passed = x.outcome.status != 0 || x.attempt.has_interim;
        if !x.asked.is_idempotent || has_passed || is_full {
            x.replayable &= x.asked.is_idempotent && self.up.kept() == 0;
            self.up.release();
        }
        self.after_request_progress(x, turn)
    }

    fn on_request_progress(&mut self, x: &mut Exchange, n: usize, turn: &Turn) {
        (x.waits.write, x.waits.read) = (0, 0);
        x.attempt.taken += n as u64;
        x.attempt.sent_at = turn.now.micros;
        if x.attempt.taken >= x.attempt.more_at {
            (x.attempt.more_at, x.attempt.lacking_since) = (x.attempt.taken + LEAST_CONTENT, 0);
        }
    }

    pub(super) fn on_upstream_broken(&mut self, mut x: Box<Exchange>) -> State {
        x.attempt.broken = true;
        State::StreamingBody(x)
    }

    pub(super) fn on_upstream_bytes(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        x.waits.read = 0;
        if x.attempt.reused && x.attempt.taken == 0 {
            // Nothing was sent to it yet: these bytes follow its previous answer, or announce that it closes.
            return if x.replayable { self.replace_stale(x, turn) } else { self.fail_upstream(x, Reason::ConnectionTerminated, turn) };
        }
        x.attempt.answered = true;
        self.take_answer(x, turn)
    }

    pub(super) fn on_upstream_fin(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        x.attempt.upstream_fin = true;
        let has_answer = x.outcome.status != 0 || (self.down.raw() > 0 && !x.attempt.holds_switch);
        if has_answer { self.take_answer(x, turn) } else { self.on_no_answer(x, turn) }
    }

    pub(super) fn on_upstream_gone(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        if x.outcome.status == 0 { self.on_no_answer(x, turn) } else { self.fail_upstream(x, Reason::ResponseIncomplete, turn) }
    }

    /// The upstream closed before the head of its answer was complete.
    fn on_no_answer(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        let is_stale = x.attempt.reused && !x.attempt.answered && !x.attempt.replaced;
        // Content that was dropped is missing for a new connection, even if nothing was written to this one.
        if is_stale && x.replayable && (x.attempt.taken == 0 || x.asked.is_idempotent) {
            return self.replace_stale(x, turn);
        }
        let reason = if self.down.raw() > 0 { Reason::ResponseIncomplete } else { Reason::ConnectionTerminated };
        self.fail_upstream(x, reason, turn)
    }

    /// Processes new bytes of the answer: heads until the final one, then the body.
    fn take_answer(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        if x.attempt.holds_switch && !self.is_request_out(&x) {
            return State::StreamingBody(x);
        }
        let limits = response_limits(&x);
        while x.outcome.status == 0 {
            if x.down.pending(&self.down) >= x.site.config.limits.buffer_size {
                // Many interim responses wait for the client; until it takes them the upstream waits too.
                return State::StreamingBody(x);
            }
            // Most heads come complete, and need no search for their end.
            let passed = match x.attempt.scan.is_fresh().then(|| self.on_response_head(&mut x, None, turn)).flatten() {
                Some(passed) => passed,
                None if is_no_status_line(self.down.raw_mut()) => return self.on_no_status_line(x, turn),
                None => match x.attempt.scan.find_end(self.down.raw_mut(), &limits) {
                    Ok(Some(length)) => match self.on_response_head(&mut x, Some(length), turn) {
                        Some(passed) => passed,
                        None => return State::StreamingBody(x),
                    },
                    Ok(None) if x.attempt.upstream_fin => return self.on_no_answer(x, turn),
                    Ok(None) => {
                        if self.down.is_attached() && self.down.room() == 0 {
                            let small = self.down.move_to(vec![0; limits.total].into_boxed_slice());
                            turn.buffers.give_back(small);
                        }
                        return State::StreamingBody(x);
                    }
                    Err(refusal) => Err(refusal),
                },
            };
            match passed {
                Ok(Passed::On) => {}
                Ok(Passed::Over(status)) => return self.drop_answer(x, status, turn),
                Ok(Passed::Aside) => return self.replace_stale(x, turn),
                Err(refusal) => return self.fail_response(x, refusal, turn),
            }
        }
        if x.outcome.status == 101 {
            return self.open_tunnel(x, turn);
        }
        if let Err(refusal) = x.down.scan(&mut self.down, &limits) {
            return self.fail_response(x, refusal, turn);
        }
        if x.attempt.upstream_fin && !x.down.is_complete() && !x.down.close(&mut self.down) {
            return self.fail_upstream(x, Reason::ResponseIncomplete, turn);
        }
        if x.down.is_complete() { self.on_answer_whole(x, turn) } else { State::StreamingBody(x) }
    }

    /// The upstream does not speak HTTP; on a reused connection, these are stray bytes after its previous answer.
    fn on_no_status_line(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        if x.attempt.reused && x.asked.is_idempotent && x.replayable {
            return self.replace_stale(x, turn);
        }
        let name = x.server().map_or("the upstream", |server| &server.config.name);
        let failure = Failure::not_http(name, self.down.raw_mut());
        self.fail_attempt(x, failure, turn)
    }

    /// Passes on a head of the given length, or of unknown length: `None` if its end must be searched for, or it has to wait.
    fn on_response_head(&mut self, x: &mut Exchange, length: Option<usize>, turn: &mut Turn) -> Option<Result<Passed, Refusal>> {
        let mut table = turn.table.take().unwrap_or_default();
        let passed = self.pass_response_head(x, length, &mut table, turn);
        turn.table = Some(table);
        passed
    }

    fn pass_response_head(
        &mut self,
        x: &mut Exchange,
        length: Option<usize>,
        table: &mut SmallTable,
        turn: &mut Turn,
    ) -> Option<Result<Passed, Refusal>> {
        let request_is_out = self.is_request_out(x);
        let bytes = &*self.down.raw_mut();
        let mut large;
        let parsed = if let Some(length) = length {
            large = HeadTable::default();
            Response::parse(&bytes[..length], x.asked.to_head, &mut large)
        } else {
            Response::find(bytes, x.asked.to_head, &response_limits(x), table)?
        };
        let response = match &parsed {
            Ok(response) => response,
            Err(refusal) => return Some(Err(*refusal)),
        };
        if is_farewell(x, response) {
            return Some(Ok(Passed::Aside));
        }
        if x.wants_another(response) && x.gets_another(response.status, turn) {
            x.count_response(response.status, turn);
            return Some(Ok(Passed::Over(response.status)));
        }
        if response.status == 101 && x.asked.wants_upgrade && !request_is_out {
            // Until the content is complete, the client and whoever reads it still speak HTTP.
            x.attempt.holds_switch = true;
            return None;
        }
        if let Err(refusal) = take_head(x, response, turn) {
            return Some(Err(refusal));
        }
        // Stray bytes may have been taken for the answer, in which case the answer is still to come.
        x.attempt.keep_upstream &= request_is_out || !x.attempt.reused;
        let length = response.fields.head().len();
        self.down.skip(length);
        // From here on no other attempt is possible.
        x.replayable = false;
        self.up.release();
        Some(Ok(Passed::On))
    }

    /// Whether all of the request was sent to the upstream.
    fn is_request_out(&self, x: &Exchange) -> bool {
        x.up.is_complete() && !x.attempt.broken && x.up.is_flushed(&self.up)
    }

    /// More of the request was sent: an answer that waited for that is processed again.
    fn after_request_progress(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        if x.attempt.holds_switch { self.take_answer(x, turn) } else { State::StreamingBody(x) }
    }

    /// The last byte of the answer is here. Everything is settled before the client can see that byte.
    fn on_answer_whole(&mut self, mut x: Box<Exchange>, turn: &mut Turn) -> State {
        x.settle(turn);
        x.conclude(AttemptVerdict::Success, turn);
        let request_is_out = self.is_request_out(&x);
        let is_exact = self.down.raw() == 0;
        x.down.drop_extra(&mut self.down);
        if request_is_out {
            self.up.release();
        } else {
            // Nobody reads the rest of the request any more.
            self.up.drop_checked();
        }
        x.give_back(x.attempt.holds, turn);
        let keep = x.attempt.keep_upstream && request_is_out && is_exact && !x.attempt.upstream_fin;
        if keep && x.attempt.is_bare {
            turn.effects.push(Effect::LetRest);
        }
        let is_closed = !keep && request_is_out;
        turn.effects.push(if is_closed { Effect::CloseUpstream } else { Effect::Release { keep } });
        x.attempt.has_upstream = false;
        x.outcome.is_whole = true;
        (self.phase, x.waits.read, x.waits.write) = (0, 0, 0);
        self.after_reply(x, turn)
    }

    pub(super) fn on_client_took(&mut self, mut x: Box<Exchange>, n: usize, turn: &mut Turn) -> State {
        x.on_client_progress();
        x.down.took(n, &mut self.down);
        self.down.release();
        // An enchunked body is framed piece by piece, and the next piece may be there; so may a head after interim ones.
        if self.down.raw() > 0 { self.take_answer(x, turn) } else { State::StreamingBody(x) }
    }

    pub(super) fn on_moved(&mut self, mut x: Box<Exchange>, direction: Direction, n: usize, turn: &mut Turn) -> State {
        match direction {
            Direction::Up => {
                x.waits.client_body = 0;
                x.asked.awaits_continue = false;
                // They bypass the ring, so they cannot be repeated.
                x.replayable = false;
                x.bytes_in += n as u64;
                x.up.moved(n);
                State::StreamingBody(x)
            }
            Direction::Down => {
                x.waits.read = 0;
                x.down.moved(n);
                if x.down.is_complete() { self.on_answer_whole(x, turn) } else { State::StreamingBody(x) }
            }
        }
    }

    pub(super) fn on_passed(&mut self, mut x: Box<Exchange>, direction: Direction, n: usize, turn: &mut Turn) -> State {
        match direction {
            Direction::Up => {
                x.up.passed(n);
                self.on_request_progress(&mut x, n, turn);
                self.after_request_progress(x, turn)
            }
            Direction::Down => {
                x.on_client_progress();
                x.down.passed(n);
                State::StreamingBody(x)
            }
        }
    }

    /// Other requests wait for the place, and the client takes nothing, or sends nothing.
    pub(super) fn make_room(&mut self, x: Box<Exchange>, turn: &mut Turn) -> State {
        let failure = if x.owed_since > 0 {
            let detail = "the client took nothing of the answer, and others wait for its place at the upstream";
            Failure::new(Reason::ClientWriteTimeout, detail)
        } else {
            let detail = "too little of the content came, and others wait for its place at the upstream";
            Failure::new(Reason::RequestTimeout, detail)
        };
        self.fail(x, failure, turn)
    }

    fn fail_response(&mut self, x: Box<Exchange>, refusal: Refusal, turn: &mut Turn) -> State {
        let failure = Failure::of_response(refusal, x.server().map_or("the upstream", |server| &server.config.name));
        self.fail_attempt(x, failure, turn)
    }
}

/// The limits of a request's head hold for a response's too; its status line has that of a field line.
fn response_limits(x: &Exchange) -> HeadLimits {
    let limits = request_limits(&x.site.config.limits);
    HeadLimits { first_line: limits.line, ..limits }
}

/// Writes the response's head for the client.
fn take_head(x: &mut Exchange, response: &Response, turn: &mut Turn) -> Result<(), Refusal> {
    if response.status == 101 && !x.asked.wants_upgrade {
        return Err(Refusal::Malformed("it switched protocols unasked"));
    }
    if response.status == 101 && !write::asked_for(&x.up.block, response) {
        return Err(Refusal::Upgrade);
    }
    x.count_response(response.status, turn);
    if response.is_interim() {
        take_interim(x, response, turn);
    } else {
        take_final(x, response, turn);
    }
    x.attempt.scan = HeadScan::default();
    Ok(())
}

fn take_interim(x: &mut Exchange, response: &Response, turn: &mut Turn) {
    x.attempt.has_interim = true;
    if x.asked.minor == 1 {
        turn.stats.responses[0].add(1);
        pass_head(x, response, Recode::Same, true, turn);
    }
    x.asked.awaits_continue &= response.status != 100;
    x.attempt.belies_itself |= response.belies_itself;
}

/// Whether it is a message that some upstreams send before they close an idle connection, and that has crossed this request.
fn is_farewell(x: &Exchange, response: &Response) -> bool {
    let closes = response.status == 408 && !response.connection.persists(response.minor);
    let is_safe = x.asked.is_idempotent && x.replayable && x.up.is_complete() && x.up.body.content() == 0;
    closes && is_safe && x.attempt.reused && !x.attempt.has_interim
}

fn take_final(x: &mut Exchange, response: &Response, turn: &mut Turn) {
    let recode = match (x.asked.minor, response.length) {
        (0, BodyLength::Chunked) => Recode::Dechunk,
        (1, BodyLength::UntilClose) => Recode::Enchunk,
        _ => Recode::Same,
    };
    x.outcome.ends_with_close = x.asked.minor == 0 && matches!(response.length, BodyLength::Chunked | BodyLength::UntilClose);
    // RFC 9110 10.1.1: a client without a 100 may send its next request where the content would be read.
    let may_skip_content = x.asked.awaits_continue && !x.up.is_complete();
    if x.outcome.ends_with_close || turn.is_leaving || may_skip_content {
        x.outcome.fate = Fate::Closed;
    }
    x.outcome.final_at = pass_head(x, response, recode, x.outcome.fate == Fate::Kept, turn);
    x.outcome.status = response.status;
    x.waits.attempt = 0;
    x.attempt.belies_itself |= response.belies_itself;
    let is_framed = response.length != BodyLength::UntilClose && !x.attempt.belies_itself;
    let persists = is_framed && response.connection.persists(response.minor);
    x.attempt.keep_upstream = persists && !x.asked.upgrades_after_content;
    x.attempt.is_bare = response.length == BodyLength::Empty;
    x.down.body = Body::new(response.length, recode);
    let micros = turn.now.micros.saturating_sub(x.attempt.sent_at);
    x.attempt.upstream_micros = Some(micros);
    if let Some(server) = x.attempt.server {
        let pool = x.pool();
        pool.servers[server].cells[turn.worker].duration.observe(micros);
        pool.observe(server, micros, turn.now.millis());
    }
    if response.status != 101 {
        x.give_back(x.held_for_tunnel(), turn);
    }
    let is_fault = x.pool().is_fault(response.status);
    if is_fault {
        x.accuse(UpstreamFault::Status(response.status), turn);
    } else {
        x.end_trial(turn);
    }
    if !x.faults.is_empty() {
        x.judge(!is_fault, turn);
    }
}

/// Writes a head for the client; returns how many bytes are sent before it.
fn pass_head(x: &mut Exchange, response: &Response, recode: Recode, persists: bool, turn: &mut Turn) -> u64 {
    let reply =
        ResponseAdditions { minor: x.asked.minor, persists, recode, date: turn.date.at(turn.now.wall_ms), trace_id: x.trace_id.as_bytes() };
    let at = x.down.open_head();
    write::response_head(&mut x.down.block, response, reply);
    x.down.close_head(0);
    at
}
