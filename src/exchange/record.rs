//! An exchange's storage, which is used again so that nothing is allocated for a request, and what it tells counters and logs.

use super::attempt::Attempt;
use super::deadlines::Deadlines;
use super::note::{Note, TraceId};
use super::{Asked, Exchange, ExchangeState, Outcome, Reply};
use crate::base::address::Peer;
use crate::base::clock::Now;
use crate::base::pool::BufferPool;
use crate::http::request::{self, Request};
use crate::machine::flow::Flow;
use crate::machine::{ExchangeEnd, Turn};
use crate::observe::access::Record;
use crate::observe::reason::{Blame, Reason, UpstreamErrorKind};
use crate::site::Site;
use crate::source::AnswerSource;
use crate::upstream::pool::RetryChoice;
use std::rc::Rc;
use std::sync::Arc;

/// Storage for text that is larger than this is freed after an exchange.
const MAX_TEXT_KEPT: usize = 16 * 1024;

impl Exchange {
    /// Storage for an exchange.
    pub fn new(site: Rc<Arc<Site>>) -> Self {
        Self {
            state: ExchangeState::Done(ExchangeEnd::Closed),
            timeouts: site.config.timeouts.clone(),
            max_body_size: 0,
            site,
            source: AnswerSource::Bare(204),
            pool: 0,
            route: None,
            up: Flow::default(),
            down: Flow::default(),
            asked: Asked::default(),
            attempt: Attempt::default(),
            outcome: Outcome::default(),
            text: Vec::new(),
            trace_id: TraceId::default(),
            note: Note::default(),
            client: Peer::Unix,
            forwarded_for: None,
            has_half_closed: false,
            started: 0,
            bytes_in: 0,
            content: 0,
            attempts: 0,
            replayable: true,
            deadlines: Deadlines::default(),
            owed_since: 0,
            tried: Vec::new(),
            faults: Vec::new(),
            again: RetryChoice::default(),
            silent: None,
            key: 0,
            session: None,
            sessions_elsewhere: Vec::new(),
            queue_due: 0,
            queue_micros: None,
            serial: 0,
        }
    }

    /// Begins an exchange in the storage of an earlier one, of which nothing but storage stays.
    pub fn begin(&mut self, client: Peer, has_half_closed: bool, turn: &mut Turn) {
        let Self {
            state,
            up,
            down,
            site,
            timeouts,
            max_body_size,
            source,
            pool,
            route,
            asked,
            attempt,
            outcome,
            text,
            trace_id,
            note,
            client: peer,
            forwarded_for,
            has_half_closed: half_closed,
            started,
            bytes_in,
            content,
            attempts,
            replayable,
            deadlines,
            owed_since,
            tried,
            faults,
            again,
            silent,
            key,
            session,
            sessions_elsewhere,
            queue_due,
            queue_micros,
            serial,
        } = self;
        if !Rc::ptr_eq(site, &turn.site) {
            *site = turn.site.clone();
        }
        timeouts.clone_from(&turn.site.config.timeouts);
        *max_body_size = turn.site.config.limits.max_body_size;
        *state = ExchangeState::Replying(Reply::Reading);
        (up.is_ended, down.is_ended) = (false, true);
        (*source, *pool, *route) = (AnswerSource::Bare(204), 0, None);
        (*asked, *attempt) = (Asked::default(), Attempt::default());
        *outcome = Outcome { is_logged: !turn.is_logged(), ..Outcome::default() };
        text.clear();
        trace_id.make(&mut turn.rng);
        note.clear();
        (*peer, *forwarded_for, *half_closed) = (client, None, has_half_closed);
        *started = turn.now.micros;
        (*bytes_in, *content, *attempts, *replayable) = (0, 0, 0, true);
        tried.clear();
        faults.clear();
        sessions_elsewhere.clear();
        (*again, *silent, *key, *session) = (RetryChoice::default(), None, 0, None);
        (*deadlines, *owed_since, *queue_due, *queue_micros, *serial) = (Deadlines::default(), 0, 0, None, 0);
    }

    /// Frees large leftovers at its end, and not at the next beginning.
    pub fn clear(&mut self, buffers: &mut BufferPool) {
        self.up.reset(buffers);
        self.down.reset(buffers);
        self.source = AnswerSource::Bare(204);
        if self.text.capacity() > MAX_TEXT_KEPT {
            self.text = Vec::new();
        }
    }

    /// Notes what is needed of the head after it is gone.
    pub(super) fn describe(&mut self, request: &Request, log: bool) {
        self.asked.to_head = request.method == "HEAD";
        self.asked.is_idempotent = request.is_idempotent();
        self.asked.wants_json = request.wants_json;
        if log {
            let parts = [
                request.method.as_bytes(),
                request.target,
                request.authority,
                request.user_agent.unwrap_or_default(),
                request.referer.unwrap_or_default(),
            ];
            self.note.take(parts, Some(request.minor));
        }
    }

    /// Notes the first line of a head that could not be parsed, as far as it came, and which form its error should have.
    pub fn describe_raw(&mut self, head: &[u8]) {
        self.asked.wants_json = request::wants_json(head);
        self.asked.to_head = head.starts_with(b"HEAD ");
        let end = memchr::memchr2(b'\r', b'\n', head).unwrap_or(head.len()).min(Note::MAX_RAW);
        self.note.take([&head[..end], b"", b"", b"", b""], None);
    }

    /// The data for its line in the access log.
    pub fn record(&self, now: Now) -> Record<'_> {
        // Between two attempts the server of the last one is logged.
        let asked_last = self.attempt.server.or(self.tried.last().copied());
        Record {
            unix_ms: now.wall_ms,
            client: self.forwarded_for.unwrap_or(self.client),
            peer: self.client,
            request: self.note.line(),
            host: self.note.known(2),
            status: self.outcome.status,
            bytes_in: self.bytes_in,
            bytes_out: self.down.content_sent(),
            duration_micros: now.micros.saturating_sub(self.started),
            upstream_micros: self.attempt.upstream_micros,
            queue_micros: self.queue_micros,
            connect_micros: self.attempt.connect_micros,
            upstream: asked_last.map(|index| self.pool().label(index)),
            route: self.route.map(|route| self.site.config.routes[route].name.as_str()),
            attempts: self.attempts,
            error: self.outcome.error.map(Reason::name),
            cache: None,
            trace_id: self.trace_id(),
            user_agent: self.note.known(3),
            referer: self.note.known(4),
        }
    }

    /// Writes its log line, unless that was done.
    pub(super) fn log(&mut self, turn: &mut Turn) {
        if !std::mem::replace(&mut self.outcome.is_logged, true) {
            let Turn { now, journal, .. } = turn;
            journal.line(&self.record(*now));
        }
    }

    /// Counts the final response, unless that was done.
    pub(super) fn count_answer(&mut self, turn: &Turn) {
        if !std::mem::replace(&mut self.outcome.settled, true) {
            let class = usize::from(self.outcome.status / 100).clamp(1, 5) - 1;
            turn.stats.responses[class].add(1);
            turn.stats.duration.observe(turn.now.micros.saturating_sub(self.started));
        }
    }

    /// Counts how it ended, for the last diagnostic of the process.
    pub(super) fn count_end(&self, turn: &Turn) {
        match self.outcome.error {
            _ if self.outcome.is_cut => turn.stats.exchanges_cut.add(1),
            Some(Reason::Draining | Reason::ClientAborted) => {}
            _ => turn.stats.exchanges_finished.add(1),
        }
    }

    /// Counts an answer that was made or cut off here.
    pub(super) fn count_error(&self, reason: Reason, turn: &Turn) {
        turn.stats.errors[reason].add(1);
    }

    /// Counts the timeout of a failure, if it is one.
    pub(super) fn count_timeout(&self, reason: Reason, turn: &Turn) {
        if let Some(kind) = reason.timeout() {
            turn.stats.timeouts[kind as usize].add(1);
        }
    }

    /// Counts an interim response that the client gets.
    pub(super) fn count_interim(&self, turn: &Turn) {
        turn.stats.responses[0].add(1);
    }

    /// Counts a response from the upstream.
    pub(super) fn count_response(&self, status: u16, turn: &Turn) {
        let class = usize::from(status / 100).clamp(1, 5) - 1;
        self.server().into_iter().for_each(|server| server.cells[turn.worker].responses[class].add(1));
    }

    pub(super) fn count_upstream_error(&self, reason: Reason, turn: &Turn) {
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
