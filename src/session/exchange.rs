//! One request and its answer: what is known of them besides the bytes in the rings. An exchange is borrowed from the worker's
//! store when a head is complete, and given back at the end, so that nothing is allocated for a request.

use super::deadlines::{Waits, after};
use super::failure::Silence;
use super::half::Half;
use super::note::{Note, TraceId};
use super::turn::Turn;
use crate::admin::AdminPage;
use crate::base::address::Peer;
use crate::config::model::{Retry, Timeouts};
use crate::guard::breaker::CircuitPermit;
use crate::guard::places::Needs;
use crate::http::request::{self, Request};
use crate::http::scan::HeadScan;
use crate::observe::access::Record;
use crate::observe::reason::Reason;
use crate::site::Site;
use crate::upstream::pool::{Pool, RetryChoice};
use crate::upstream::server::{Server, UpstreamFault};
use std::rc::Rc;
use std::sync::Arc;

/// Where the answer comes from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// From an upstream.
    Upstream,
    /// From `respond`, or an admin page that is being rendered.
    Fixed,
    /// From `echo`: its content ends with the size of the request's body, so it waits for that.
    Echo,
}

/// How the client's connection goes on after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays open for the next request.
    Kept,
    /// It closes: `Connection: close` was sent, or the close marks the end of the body.
    Closed,
    /// The answer is cut off; the close shows that to the client.
    Cut,
    /// The answer is cut off; a plain close would look like the end of the body, so the connection is reset.
    Reset,
}

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    /// The site that it began with.
    pub site: Rc<Arc<Site>>,
    /// The timeouts that apply.
    pub timeouts: Timeouts,
    /// The limit of content in bytes; 0 = no limit.
    pub max_body_size: u64,
    /// Where the answer comes from.
    pub maker: Maker,
    /// The index of the pool.
    pub pool: usize,
    /// The index of the route.
    pub route: Option<usize>,
    /// From client to upstream.
    pub up: Half,
    /// From upstream to client.
    pub down: Half,
    /// What the request asks for.
    pub asked: Asked,
    /// The current or last attempt.
    pub attempt: Attempt,
    /// The final response, or what replaces it.
    pub outcome: Outcome,
    /// The content of an answer made here.
    pub content: Vec<u8>,
    /// The `Content-Type` of an answer made here.
    pub content_type: &'static str,
    /// The status of an answer made here.
    pub content_status: u16,
    /// A page of the admin port that has yet to be rendered.
    pub page: Option<AdminPage>,
    /// The renderer holds a weak reference to this, and skips the page once it is gone.
    pub asker: Option<Arc<()>>,
    pub(super) trace_id: TraceId,
    note: Note,
    /// The client that a trusted proxy named.
    pub forwarded_for: Option<Peer>,

    /// When the head was complete (microseconds).
    pub started: u64,
    /// Bytes of the request's content received so far.
    pub bytes_in: u64,
    /// How many attempts were given to upstreams.
    pub attempts: u32,
    /// Whether everything sent of the request can be sent again.
    pub replayable: bool,
    /// Its deadlines.
    pub waits: Waits,
    /// Since when the client has taken nothing although there is something for it (milliseconds); 0 if there is nothing.
    pub owed_since: u64,
    /// Whether it waits between two attempts.
    pub is_backing_off: bool,
    /// The servers that failed it, by index in the pool.
    pub tried: Vec<usize>,
    /// The faults of these servers, one for each, as far as they may be counted against the server.
    pub faults: Vec<Charge>,
    /// Where it may be tried again.
    pub again: RetryChoice,
    /// The server whose silence was the first failure: a total timeout that follows is blamed on it.
    pub silent: Option<(usize, Silence)>,
    /// The key for `balance: consistent_hash`.
    pub key: u64,
    /// Whether it is in the queue.
    pub is_queued: bool,
    /// What it needs there, or needed last.
    pub queued_for: Needs,
    /// The end of the wait in the queue (milliseconds); 0 before the first wait.
    pub queue_due: u64,
    /// Since when it waits in the queue (microseconds).
    pub queued_at: u64,
    /// How long it has waited in queues before (microseconds); `None` if it never has.
    pub queue_micros: Option<u64>,
    /// Whether a tunnel's half-close was passed on to the upstream.
    pub up_is_closed: bool,
    /// Whether a tunnel's half-close was passed on to the client.
    pub down_is_closed: bool,
}

/// A fault of a server.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// The server's index in the pool.
    pub server: usize,
    /// The fault.
    pub fault: UpstreamFault,
    /// The permit by which it is reported to the circuit; `None` once that was done.
    pub permit: Option<CircuitPermit>,
}

/// What a request asks for, apart from its target.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The client's version: HTTP/1.`minor`.
    pub minor: u8,
    /// The method is `HEAD`.
    pub to_head: bool,
    /// The request may be sent twice.
    pub is_idempotent: bool,
    /// Errors as JSON.
    pub wants_json: bool,
    /// Errors with what happened, and where.
    pub wants_detail: bool,
    /// The client waits for 100 (Continue) before it sends its body.
    pub awaits_continue: bool,
    /// On the admin port: not counted, not logged.
    pub is_admin: bool,
    /// The forwarded head lacks a `Host`.
    pub needs_host: bool,
    /// The client sends no other request after it, and knows that.
    pub is_last: bool,
    /// It asks for another protocol.
    pub wants_upgrade: bool,
    /// It asks for that after content, which some servers take for bytes of the other protocol: its connections serve no other request.
    pub upgrades_after_content: bool,
}

/// One attempt at one upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// The index of the server in its pool, once picked.
    pub server: Option<usize>,
    /// The permit of the server's circuit, until the attempt is settled.
    pub permit: Option<CircuitPermit>,
    /// What it holds at the server besides its connection's place.
    pub holds: Needs,
    /// Whether it has a connection, or one is being made.
    pub has_upstream: bool,
    /// Whether the connection had served before.
    pub reused: bool,
    /// Whether a stale connection was replaced already.
    pub replaced: bool,
    /// Whether the upstream takes no more bytes.
    pub broken: bool,
    /// Whether a byte of an answer has come.
    pub answered: bool,
    /// Whether the answer is a 101 that waits until the request's content has been sent.
    pub holds_switch: bool,
    /// Whether the upstream closed its sending side.
    pub upstream_fin: bool,
    /// Whether its connection may serve again.
    pub keep_upstream: bool,
    /// Whether an interim response has come, or was passed on.
    pub has_interim: bool,
    /// Whether the answer has no content.
    pub is_bare: bool,
    /// Whether the response announces content that it must not have.
    pub belies_itself: bool,
    /// How many bytes the kernel took on this connection.
    pub taken: u64,
    /// How many bytes the kernel must have taken before the client counts as having sent more of its content.
    pub more_at: u64,
    /// Since when the client has sent next to nothing of the content that it owes (milliseconds); 0 if it owes none.
    pub lacking_since: u64,
    /// When the attempt began, or the latest byte of the request was sent (microseconds).
    pub sent_at: u64,
    /// Which timeout passed, if it did not answer in time.
    pub silence: Silence,
    /// The time from the pick to the connection, unless it is a kept one.
    pub connect_micros: Option<u64>,
    /// The time from sending the request to the response's head.
    pub upstream_micros: Option<u64>,
    /// The search for the end of the response's head.
    pub scan: HeadScan,
}

/// What the client gets.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// The status of the final response; 0 before there is one.
    pub status: u16,
    /// Whether the client takes the close of its connection for the end of the body.
    pub ends_with_close: bool,
    /// Whether the response was counted.
    pub settled: bool,
    /// Whether its line was written to the access log, or it gets none.
    pub is_logged: bool,
    /// Whether the whole answer is here.
    pub is_whole: bool,
    /// What becomes of the client's connection.
    pub fate: Fate,
    /// Why the request was refused or failed.
    pub error: Option<Reason>,
    /// Whether the end of the process cut it off.
    pub is_cut: bool,
    /// Bytes sent to the client before the final response, for interim ones.
    pub final_at: u64,
}

impl Default for Outcome {
    fn default() -> Self {
        Self {
            status: 0,
            ends_with_close: false,
            settled: false,
            is_logged: false,
            is_whole: false,
            fate: Fate::Closed,
            error: None,
            is_cut: false,
            final_at: 0,
        }
    }
}

impl Exchange {
    /// Takes an exchange from the turn's store, reset but for what the turn knows.
    pub fn begin(turn: &mut Turn) -> Box<Self> {
        let mut exchange = turn.exchanges.pop().unwrap_or_else(|| Box::new(Self::new(turn.site.clone())));
        exchange.reset(&turn.site);
        exchange.trace_id.make(&mut turn.rng);
        exchange.started = turn.now.micros;
        (exchange.asked.is_admin, exchange.outcome.is_logged) = (turn.is_admin, turn.is_admin || !turn.journal.is_on());
        exchange
    }

    /// Gives it back for another request.
    pub fn put_back(mut self: Box<Self>, turn: &mut Turn) {
        /// Content storage larger than this is freed.
        const MAX_CONTENT_KEPT: usize = 16 * 1024;
        /// How many exchanges are stored.
        const MAX_FREE: usize = 256;
        if turn.exchanges.len() < MAX_FREE {
            // Reset now and not at the next request, so that large leftovers are freed.
            self.up.reset();
            self.down.reset();
            self.asker = None;
            if self.content.capacity() > MAX_CONTENT_KEPT {
                self.content = Vec::new();
            }
            turn.exchanges.push(self);
        }
    }

    fn new(site: Rc<Arc<Site>>) -> Self {
        Self {
            timeouts: site.config.timeouts.clone(),
            max_body_size: 0,
            site,
            maker: Maker::Fixed,
            pool: 0,
            route: None,
            up: Half::default(),
            down: Half::default(),
            asked: Asked::default(),
            attempt: Attempt::default(),
            outcome: Outcome::default(),
            content: Vec::new(),
            content_type: "",
            content_status: 0,
            page: None,
            asker: None,
            trace_id: TraceId::default(),
            note: Note::default(),
            forwarded_for: None,
            started: 0,
            bytes_in: 0,
            attempts: 0,
            replayable: true,
            waits: Waits::default(),
            owed_since: 0,
            is_backing_off: false,
            tried: Vec::new(),
            faults: Vec::new(),
            again: RetryChoice::default(),
            silent: None,
            key: 0,
            is_queued: false,
            queued_for: Needs::default(),
            queue_due: 0,
            queued_at: 0,
            queue_micros: None,
            up_is_closed: false,
            down_is_closed: false,
        }
    }

    /// Forgets the previous request; storage stays.
    fn reset(&mut self, site: &Rc<Arc<Site>>) {
        if !Rc::ptr_eq(&self.site, site) {
            self.site = site.clone();
        }
        self.timeouts.clone_from(&site.config.timeouts);
        self.max_body_size = site.config.limits.max_body_size;
        (self.maker, self.pool, self.route) = (Maker::Fixed, 0, None);
        (self.asked, self.attempt, self.outcome) = (Asked { minor: 1, ..Asked::default() }, Attempt::default(), Outcome::default());
        self.content.clear();
        (self.content_type, self.content_status, self.page) = ("text/plain; charset=utf-8", 0, None);
        self.note.clear();
        self.forwarded_for = None;
        (self.bytes_in, self.attempts, self.replayable) = (0, 0, true);
        (self.waits, self.owed_since, self.is_backing_off) = (Waits::default(), 0, false);
        (self.is_queued, self.queued_for, self.queue_due) = (false, Needs::default(), 0);
        self.queue_micros = None;
        self.tried.clear();
        self.faults.clear();
        (self.again, self.silent) = (RetryChoice::default(), None);
        self.key = 0;
        (self.up_is_closed, self.down_is_closed) = (false, false);
    }

    /// Notes what is needed of the head after it is gone.
    pub fn describe(&mut self, request: &Request, log: bool) {
        self.asked.minor = request.minor;
        self.asked.to_head = request.method == "HEAD";
        self.asked.is_idempotent = request.is_idempotent();
        self.asked.wants_json = request.wants_json;
        self.asked.is_last = !request.connection.persists(request.minor);
        self.outcome.fate = if self.asked.is_last { Fate::Closed } else { Fate::Kept };
        if log {
            let [method, target] = [request.method, request.target].map(str::as_bytes);
            let parts = [method, target, request.authority, request.user_agent.unwrap_or_default(), request.referer.unwrap_or_default()];
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

    /// The value of `X-Trace-ID`.
    pub fn trace_id(&self) -> &str {
        self.trace_id.as_str()
    }

    /// The pool, in this exchange's site.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.site.pools[self.pool]
    }

    /// When a connect that begins now must be over (milliseconds); 0 = never.
    pub fn connect_due(&self, now: u64) -> u64 {
        let waits = Waits { attempt: self.waits.attempt, ..Waits::default() };
        waits.earliest(after(now, self.timeouts.connect_ms)).unwrap_or(0)
    }

    /// The pool's settings for retries.
    pub fn retry(&self) -> &Retry {
        let config = &self.site.config;
        self.route.map_or(&config.pools[self.pool].retry, |route| &config.routes[route].retry)
    }

    /// The server of the current attempt, once picked.
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.attempt.server.map(|index| &self.pool().servers[index])
    }

    /// Whether a byte of the final response has gone to the client.
    pub fn has_begun(&self) -> bool {
        self.outcome.status != 0 && self.down.sent > self.outcome.final_at
    }

    /// The data for its line in the access log.
    pub fn record<'a>(&'a self, peer: Peer, turn: &Turn) -> Record<'a> {
        // Between two attempts the server of the last one is logged.
        let asked_last = self.attempt.server.or(self.tried.last().copied());
        Record {
            unix_ms: turn.now.wall_ms,
            client: self.forwarded_for.unwrap_or(peer),
            peer,
            request: self.note.line(),
            host: self.note.known(2),
            status: self.outcome.status,
            bytes_in: self.bytes_in,
            bytes_out: self.down.content_sent(),
            duration_micros: turn.now.micros.saturating_sub(self.started),
            upstream_micros: self.attempt.upstream_micros,
            queue_micros: self.queue_micros,
            connect_micros: self.attempt.connect_micros,
            upstream: asked_last.map(|index| self.pool().servers[index].config.name.as_str()),
            route: self.route.map(|route| self.site.config.routes[route].name.as_str()),
            attempts: self.attempts,
            error: self.outcome.error.map(Reason::name),
            cache: None,
            trace_id: self.trace_id(),
            user_agent: self.note.known(3),
            referer: self.note.known(4),
        }
    }
}
