//! One request and its answer: everything that is known of them beyond the bytes in the rings. Borrowed from the worker's
//! pool at the head's end, moved from state to state, given back at the end: nothing is allocated per request.

use super::deadlines::{Waits, after};
use super::failure::Silence;
use super::half::Half;
use super::note::{Note, TraceId};
use super::turn::Turn;
use crate::admin::Page;
use crate::config::model::{Retry, Timeouts};
use crate::guard::breaker::Permit;
use crate::guard::places::Needs;
use crate::http::request::{self, Request};
use crate::http::scan::HeadScan;
use crate::observe::access::Record;
use crate::observe::reason::Reason;
use crate::site::Site;
use crate::upstream::pool::{Again, Pool};
use crate::upstream::server::{Fault, Server};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;

/// Who makes the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Maker {
    /// An upstream.
    Upstream,
    /// `respond`, or an admin page that is being rendered: the content is there, or comes.
    Fixed,
    /// `echo`: the content ends with the size of the body, so it waits for that.
    Echo,
}

/// How the client's connection ends after the answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fate {
    /// It stays open for the next request.
    Kept,
    /// It was told `Connection: close`, or its end is the end of the body.
    Closed,
    /// The answer is cut; the end of the connection shows that to the client.
    Cut,
    /// The answer is cut, and the end of the connection would look like its own: only a reset shows it.
    Reset,
}

/// See the module.
#[derive(Debug)]
pub struct Exchange {
    /// The one it began with.
    pub site: Rc<Arc<Site>>,
    /// Those of its route.
    pub timeouts: Timeouts,
    /// Bytes; 0 = no limit.
    pub max_body_size: u64,
    /// Who answers.
    pub maker: Maker,
    /// Index of the pool.
    pub pool: usize,
    /// Index of the route.
    pub route: Option<usize>,
    /// Client to upstream.
    pub up: Half,
    /// Upstream to client.
    pub down: Half,
    /// What the request asks for.
    pub asked: Asked,
    /// The attempt that runs, or ran last.
    pub attempt: Attempt,
    /// The final response, or what stands for it.
    pub outcome: Outcome,
    /// Content of an answer made here.
    pub content: Vec<u8>,
    /// `Content-Type` of an answer made here.
    pub content_type: &'static str,
    /// Status of an answer made here.
    pub content_status: u16,
    /// A page of the admin port that is still to be rendered.
    pub page: Option<Page>,
    /// Whoever renders it holds the other end: there is no need to once this one is gone.
    pub asker: Option<Arc<()>>,
    pub(super) trace_id: TraceId,
    note: Note,
    /// Who sent it, where that came through a trusted proxy: the address, and the port if that is known.
    pub forwarded_for: Option<(IpAddr, Option<u16>)>,

    /// Head complete (microseconds).
    pub started: u64,
    /// Bytes of the request's content that were received.
    pub bytes_in: u64,
    /// Requests given to upstreams.
    pub attempts: u32,
    /// Everything sent of the request can be sent again.
    pub replayable: bool,
    /// When it has waited long enough.
    pub waits: Waits,
    /// Since when the client has taken nothing of what there is for it (milliseconds); 0 if there is nothing.
    pub owed_since: u64,
    /// An attempt failed, and another is made in a moment.
    pub is_backing_off: bool,
    /// Servers that failed it, by their index in the pool.
    pub tried: Vec<usize>,
    /// What they did wrong, one a server, as far as that may be held against it.
    pub faults: Vec<Charge>,
    /// Where it may be tried again.
    pub again: Again,
    /// The server whose silence was why it was tried elsewhere first: what ends the exchange after that is its doing.
    pub silent: Option<(usize, Silence)>,
    /// What `balance: consistent_hash` goes by.
    pub key: u64,
    /// It stands in line.
    pub is_queued: bool,
    /// What it stands there for, or stood last.
    pub queued_for: Needs,
    /// End of the wait in line (milliseconds), 0 before the first.
    pub queue_due: u64,
    /// A tunnel's close was passed on to the upstream.
    pub up_is_closed: bool,
    /// A tunnel's close was passed on to the client.
    pub down_is_closed: bool,
}

/// A fault of a server.
#[derive(Clone, Copy, Debug)]
pub struct Charge {
    /// Its index in the pool.
    pub server: usize,
    /// What it did.
    pub fault: Fault,
    /// What its circuit is told by, until it is told.
    pub permit: Option<Permit>,
}

/// What a request asks for beyond its target.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    /// The client's version: HTTP/1.`minor`.
    pub minor: u8,
    /// `HEAD`
    pub to_head: bool,
    /// May be sent twice.
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
    /// It does so with content, which some read as the other protocol's: the connections that it takes serve no other request.
    pub upgrades_after_content: bool,
}

/// One try at one upstream.
#[derive(Clone, Copy, Debug, Default)]
pub struct Attempt {
    /// Index of the server in its pool, once picked.
    pub server: Option<usize>,
    /// Of the server's circuit, until the attempt is settled there.
    pub permit: Option<Permit>,
    /// What it holds at the server beyond its connection's place.
    pub holds: Needs,
    /// A connection is taken, or being made.
    pub has_upstream: bool,
    /// The connection had served before.
    pub reused: bool,
    /// A stale one was replaced.
    pub replaced: bool,
    /// The upstream takes no more bytes.
    pub broken: bool,
    /// A byte of an answer has come.
    pub answered: bool,
    /// It is a 101 that has to wait until the request's content is out.
    pub holds_switch: bool,
    /// The upstream closed its sending side.
    pub upstream_fin: bool,
    /// Its connection may serve again.
    pub keep_upstream: bool,
    /// The answer, or what the client has of it, began with an interim response.
    pub has_interim: bool,
    /// The answer has no content.
    pub is_bare: bool,
    /// A response without content announced some.
    pub belies_itself: bool,
    /// Bytes that the kernel took on this connection.
    pub taken: u64,
    /// When it began, or the last byte of the request was sent so far (microseconds).
    pub sent_at: u64,
    /// What ran out, if it did not answer in time.
    pub silence: Silence,
    /// Request sent -> response head.
    pub upstream_micros: Option<u64>,
    /// Where the upstream's head ends.
    pub scan: HeadScan,
}

/// What the client gets in the end.
#[derive(Clone, Copy, Debug)]
pub struct Outcome {
    /// Of the final response; 0 before there is one.
    pub status: u16,
    /// The client takes the end of its connection for the end of the body.
    pub ends_with_close: bool,
    /// Counted.
    pub settled: bool,
    /// Its line is in the access log, or it gets none.
    pub is_logged: bool,
    /// The whole answer is here.
    pub is_whole: bool,
    /// Of the client's connection.
    pub fate: Fate,
    /// Why it was refused or failed.
    pub error: Option<Reason>,
    /// The end of the process cut it.
    pub is_cut: bool,
    /// Bytes sent to the client before the final response: interim ones.
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
    /// Takes one from the turn's pool, blank but for what the turn knows.
    pub fn begin(turn: &mut Turn) -> Box<Self> {
        let mut exchange = turn.exchanges.pop().unwrap_or_else(|| Box::new(Self::new(turn.site.clone())));
        exchange.reset(&turn.site);
        exchange.trace_id.make(&mut turn.rng);
        exchange.started = turn.now.micros;
        (exchange.asked.is_admin, exchange.outcome.is_logged) = (turn.is_admin, turn.is_admin || !turn.journal.is_on());
        exchange
    }

    /// Gives it back, for the next request.
    pub fn put_back(mut self: Box<Self>, turn: &mut Turn) {
        /// Content that grew beyond this is not kept for the next exchange.
        const MAX_CONTENT_KEPT: usize = 16 * 1024;
        /// More than so many are not kept for later.
        const MAX_FREE: usize = 256;
        if turn.exchanges.len() < MAX_FREE {
            // Now, not at the next request: what a slow client left of a large send is not kept.
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
            again: Again::default(),
            silent: None,
            key: 0,
            is_queued: false,
            queued_for: Needs::default(),
            queue_due: 0,
            up_is_closed: false,
            down_is_closed: false,
        }
    }

    /// Forgets the request before; storage stays.
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
        self.tried.clear();
        self.faults.clear();
        (self.again, self.silent) = (Again::default(), None);
        self.key = 0;
        (self.up_is_closed, self.down_is_closed) = (false, false);
    }

    /// Notes what a head says that outlives it.
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

    /// Notes the first line of a head that could not be read, as far as it came, and what form of answer it asks for.
    pub fn describe_raw(&mut self, head: &[u8]) {
        self.asked.wants_json = request::wants_json(head);
        self.asked.to_head = head.starts_with(b"HEAD ");
        let end = memchr::memchr2(b'\r', b'\n', head).unwrap_or(head.len()).min(Note::MAX_RAW);
        self.note.take([&head[..end], b"", b"", b"", b""], None);
    }

    /// `X-Trace-ID`.
    pub fn trace_id(&self) -> &str {
        self.trace_id.as_str()
    }

    /// The pool, as the site of this exchange has it.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.site.pools[self.pool]
    }

    /// When a connect that begins now must be over (milliseconds); 0 = never.
    pub fn connect_due(&self, now: u64) -> u64 {
        let waits = Waits { attempt: self.waits.attempt, ..Waits::default() };
        waits.earliest(after(now, self.timeouts.connect_ms)).unwrap_or(0)
    }

    /// When it may be tried again, and how often.
    pub fn retry(&self) -> &Retry {
        let config = &self.site.config;
        self.route.map_or(&config.pools[self.pool].retry, |route| &config.routes[route].retry)
    }

    /// The server, once picked.
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.attempt.server.map(|index| &self.pool().servers[index])
    }

    /// Whether a byte of the final response has gone to the client.
    pub fn has_begun(&self) -> bool {
        self.outcome.status != 0 && self.down.sent > self.outcome.final_at
    }

    /// Its line of the access log.
    pub fn record<'a>(&'a self, peer: SocketAddr, turn: &Turn) -> Record<'a> {
        // Between two attempts, the one before.
        let asked_last = self.attempt.server.or(self.tried.last().copied());
        Record {
            unix_ms: turn.now.wall_ms,
            client: self.forwarded_for.unwrap_or((peer.ip(), Some(peer.port()))),
            peer,
            request: self.note.line(),
            host: self.note.known(2),
            status: self.outcome.status,
            bytes_in: self.bytes_in,
            bytes_out: self.down.sent.saturating_sub(self.down.overhead),
            duration_micros: turn.now.micros.saturating_sub(self.started),
            upstream_micros: self.attempt.upstream_micros,
            upstream: asked_last.map(|index| self.pool().servers[index].config.name.as_str()),
            attempts: self.attempts,
            error: self.outcome.error.map(Reason::name),
            cache: None,
            trace_id: self.trace_id(),
            user_agent: self.note.known(3),
            referer: self.note.known(4),
        }
    }
}
