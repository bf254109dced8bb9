//! Between requests and within a request's head: find the end of the head, parse it, decide who answers.

use super::deadlines::after;
use super::exchange::{Exchange, Fate, Maker};
use super::failure::Failure;
use super::{Ending, Session, State, Turn, Why};
use crate::balance;
use crate::base::address::Peer;
use crate::base::ring::Ring;
use crate::config::model::{Action, BalanceConfig, ErrorDetail, Limits, NewRequests, Timeouts};
use crate::guard::rate::Limiter;
use crate::http::fields::Field;
use crate::http::forwarded::forwarded_for;
use crate::http::framing::{Body, BodyLength, Recode};
use crate::http::head::{FieldLine, HeadTable, SmallTable};
use crate::http::preface::{self, Preface};
use crate::http::request::{self, Request};
use crate::http::scan::HeadScan;
use crate::http::write::{self, RequestAdditions};
use crate::http::{HeadLimits, Refusal};
use crate::observe::reason::{RateScope, Reason};
use crate::route::RouteQuery;
use crate::{admin, answer::echo};
use std::net::IpAddr;

/// How many empty lines may precede a request (RFC 9112 2.2).
const MAX_BLANK_LINES: u8 = 2;
/// How often tidegate may be named in `Via` before a request counts as going in circles.
const MAX_TIMES_HERE: u32 = 10;
/// How often a worker warns that clients speak another protocol.
const FOREIGN_EVERY_MS: u64 = 60_000;
/// How long idle connections stay open after a drain began: a request that is on its way at that moment is still answered.
pub const DRAIN_IDLE_MS: u64 = 500;

/// A request whose head was read, and whether it is accepted.
type Opened = (Box<Exchange>, Result<(), Failure>);

/// A head that is coming in or expected.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct ReadHead {
    scan: HeadScan,
    blank_lines: u8,
    /// Since when it has been expected.
    since: u64,
    /// The deadline of the idle wait; 0 once a byte has come.
    idle: u64,
    /// The deadlines for the request line and for the head.
    line: u64,
    head: u64,
}

impl ReadHead {
    /// A connection's first head, whose deadlines run from the moment of accepting.
    pub(super) fn first(now: u64, timeouts: &Timeouts, is_draining: bool) -> Self {
        let idle = if is_draining { now + DRAIN_IDLE_MS } else { 0 };
        Self { since: now, idle, head: after(now, timeouts.client_header_ms), ..Self::default() }
    }

    fn next(now: u64, timeouts: &Timeouts, is_draining: bool) -> Self {
        let idle = if is_draining { now + DRAIN_IDLE_MS } else { after(now, timeouts.client_keepalive_ms) };
        Self { since: now, idle, ..Self::default() }
    }

    /// Whether a byte of the head has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.scan.is_fresh()
    }

    /// Since when it has been expected (milliseconds).
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// Whether it is not the connection's first one, and nothing of it has come.
    pub(super) fn is_between_requests(&self) -> bool {
        self.head == 0 && !self.has_begun()
    }

    pub(super) fn is_behind(&self, ring: &Ring) -> bool {
        ring.raw() > self.scan.searched()
    }

    /// The first byte starts the waits; the end of the request line ends its own.
    fn on_bytes(&mut self, now: u64, timeouts: &Timeouts) {
        if !self.has_begun() {
            self.idle = 0;
            self.line = after(now, timeouts.client_request_line_ms);
            if self.head == 0 {
                self.head = after(now, timeouts.client_header_ms);
            }
        }
    }

    /// The earliest of its deadlines.
    pub(super) fn deadline(&self) -> u64 {
        let line = if self.scan.has_first_line() { 0 } else { self.line };
        [self.idle, line, self.head].into_iter().filter(|&at| at != 0).min().unwrap_or(0)
    }
}

/// The limits of a request's head.
pub(super) fn request_limits(limits: &Limits) -> HeadLimits {
    HeadLimits {
        first_line: limits.max_request_line,
        line: limits.max_header_size,
        lines: limits.max_headers,
        total: limits.max_total_headers,
    }
}

impl Session {
    /// Returns to waiting for a request.
    pub(super) fn await_head(&mut self, turn: &Turn) -> State {
        let head = ReadHead::next(turn.now.millis(), &turn.site.config.timeouts, turn.is_draining);
        self.phase = head.deadline();
        State::ReadingHead(head)
    }

    pub(super) fn on_head_bytes(&mut self, mut head: ReadHead, turn: &mut Turn) -> State {
        while head.blank_lines < MAX_BLANK_LINES && !head.scan.has_first_line() && self.up.raw_mut().starts_with(b"\r\n") {
            head.blank_lines += 1;
            self.up.skip(2);
            // The search begins anew, because empty lines were removed in front of it.
            head.scan = HeadScan::default();
        }
        if self.up.raw() == 0 {
            return State::ReadingHead(head);
        }
        let limits = request_limits(&turn.site.config.limits);
        // Most heads come complete, and need no search for their end.
        if let Some(state) = head.scan.is_fresh().then(|| self.on_head(None, &limits, turn)).flatten() {
            return state;
        }
        if head.scan.searched() < preface::LONGEST
            && let Some(state) = self.on_preface(turn)
        {
            return state;
        }
        head.on_bytes(turn.now.millis(), &turn.site.config.timeouts);
        match head.scan.find_end(self.up.raw_mut(), &limits) {
            Ok(None) => {
                if self.up.room() == 0 {
                    // It does not fit an ordinary ring and gets a larger one, as long as this head lasts. `total` was checked above.
                    let small = self.up.move_to(vec![0; limits.total].into_boxed_slice());
                    turn.buffers.give_back(small);
                }
                self.phase = head.deadline();
                State::ReadingHead(head)
            }
            Ok(Some(length)) => self.on_head(Some(length), &limits, turn).unwrap_or(State::ReadingHead(head)),
            Err(refusal) => {
                self.count_refused_head(turn);
                self.refuse_head(Failure::of_request(refusal), turn)
            }
        }
    }

    pub(super) fn on_head_fin(&mut self, head: ReadHead, turn: &mut Turn) -> State {
        if !head.has_begun() {
            return State::Closed(Ending::Plain);
        }
        self.count_refused_head(turn);
        self.refuse_head(Failure::new(Reason::RequestError, "the request ended within its head"), turn)
    }

    pub(super) fn on_head_deadline(&mut self, head: ReadHead, turn: &mut Turn) -> State {
        if self.phase == 0 || self.phase > turn.now.millis() {
            return State::ReadingHead(head);
        }
        if head.has_begun() {
            return self.refuse_head(Failure::new(Reason::RequestTimeout, "the request's head did not come in time"), turn);
        }
        if !turn.is_draining {
            return self.part(turn);
        }
        self.linger(Why::Idle, turn)
    }

    pub(super) fn on_head_drain(&mut self, mut head: ReadHead, turn: &mut Turn) -> State {
        if !head.has_begun() {
            head.idle = turn.now.millis() + DRAIN_IDLE_MS;
            self.phase = head.deadline();
        }
        State::ReadingHead(head)
    }

    /// The client left between requests or in the middle of a head.
    pub(super) fn on_head_lost(&mut self, turn: &mut Turn) -> State {
        if self.up.raw() == 0 {
            return State::Closed(Ending::Plain);
        }
        let mut exchange = Exchange::begin(turn);
        exchange.describe_raw(self.up.raw_mut());
        self.abort(exchange, turn)
    }

    /// The process ends: a client that has sent part of a head is told that the rest is not waited for.
    pub(super) fn on_head_cut(&mut self, head: ReadHead, turn: &mut Turn) -> State {
        if !head.has_begun() {
            return State::Closed(Ending::Plain);
        }
        let mut exchange = self.begin_refused(turn);
        exchange.outcome.is_cut = true;
        self.fail(exchange, Failure::new(Reason::Draining, "this proxy ended before the request was complete"), turn)
    }

    pub(super) fn on_over_limit(&mut self, turn: &mut Turn) -> State {
        let detail = "this client has as many connections open as limits.max_conns_per_client allows";
        self.refuse_head(Failure::new(Reason::ClientConnectionLimit, detail), turn)
    }

    /// The client speaks another protocol. It is told at once, because it may be waiting for an answer; and so is the operator, whose
    /// load balancer may be misconfigured.
    #[cold]
    fn on_preface(&mut self, turn: &mut Turn) -> Option<State> {
        let preface = Preface::of(self.up.raw_mut());
        let refusal = preface.refusal()?;
        if let Preface::Foreign(protocol) = preface {
            let now = turn.now.millis();
            let level = if now < turn.quiet_until { log::Level::Debug } else { log::Level::Warn };
            if level == log::Level::Warn {
                turn.quiet_until = now + FOREIGN_EVERY_MS;
            }
            let client = self.client;
            let port = turn.port.map_or("a Unix socket".to_owned(), |port| format!("port {port}"));
            log::log!(target: "listener", level, "the client {client} speaks {protocol} to {port}, which speaks plain HTTP without it: 400");
        }
        self.count_refused_head(turn);
        Some(self.refuse_head(Failure::of_request(refusal), turn))
    }

    fn count_refused_head(&mut self, turn: &Turn) {
        if !turn.is_admin {
            turn.stats.requests.add(1);
            turn.stats.parse_errors.add(1);
        }
    }

    /// Answers a head that is refused; whatever else has come or comes is dropped.
    pub(super) fn refuse_head(&mut self, failure: Failure, turn: &mut Turn) -> State {
        let exchange = self.begin_refused(turn);
        self.fail(exchange, failure, turn)
    }

    fn begin_refused(&mut self, turn: &mut Turn) -> Box<Exchange> {
        let mut exchange = Exchange::begin(turn);
        exchange.describe_raw(self.up.raw_mut());
        let is_forwarded = request::is_forwarded(self.up.raw_mut());
        exchange.asked.wants_detail = wants_detail(exchange.site.config.error_detail, self.client, || is_forwarded);
        exchange.up.body = Body::new(BodyLength::UntilClose, Recode::Same);
        self.up.clear();
        exchange
    }

    /// Takes a head of the given length, or one whose length is unknown: `None` if its end must be searched for.
    fn on_head(&mut self, length: Option<usize>, limits: &HeadLimits, turn: &mut Turn) -> Option<State> {
        let mut table = turn.table.take().unwrap_or_default();
        let read = self.read(length, limits, &mut table, turn);
        turn.table = Some(table);
        Some(match read? {
            Ok((exchange, opened)) => self.on_request(exchange, opened, turn),
            Err(refusal) => {
                self.count_refused_head(turn);
                self.refuse_head(Failure::of_request(refusal), turn)
            }
        })
    }

    /// Takes the head out of the ring, and decides who answers.
    fn read(
        &mut self,
        length: Option<usize>,
        limits: &HeadLimits,
        table: &mut SmallTable,
        turn: &mut Turn,
    ) -> Option<Result<Opened, Refusal>> {
        let bytes = &*self.up.raw_mut();
        let mut large;
        let parsed = if let Some(length) = length {
            large = HeadTable::default();
            Request::parse(&bytes[..length], &mut large)
        } else {
            Request::find(bytes, limits, table)?
        };
        let request = match &parsed {
            Ok(request) => request,
            Err(refusal) => return Some(Err(*refusal)),
        };
        let mut exchange = Exchange::begin(turn);
        let opened = open(&mut exchange, request, self.client, self.is_late, turn);
        let length = request.fields.head().len();
        self.up.skip(length);
        Some(Ok((exchange, opened)))
    }

    fn on_request(&mut self, mut exchange: Box<Exchange>, opened: Result<(), Failure>, turn: &mut Turn) -> State {
        turn.requests_begun += 1;
        if !turn.is_admin {
            turn.stats.requests.add(1);
        }
        self.shrink(turn);
        self.phase = 0;
        exchange.waits.total = after(turn.now.millis(), exchange.timeouts.total_ms);
        // A body that came with the head is processed first: if it is complete, the connection survives a refusal.
        let scanned = self.scan_body(&mut exchange);
        if let Err(failure) = opened {
            return self.fail(exchange, failure, turn);
        }
        if let Err(refusal) = scanned {
            return self.fail(exchange, Failure::of_request(refusal), turn);
        }
        match exchange.maker {
            Maker::Upstream => self.connect(exchange, turn),
            _ => self.reply_once_read(exchange, turn),
        }
    }

    /// Replaces the large ring of a large head as soon as what follows fits an ordinary one.
    fn shrink(&mut self, turn: &mut Turn) {
        if self.up.capacity() > turn.buffers.size() && self.up.len() <= turn.buffers.size() {
            self.up.move_to(turn.buffers.lend());
        }
    }
}

/// Decides who answers. A request that fails here was understood, so the connection can go on.
fn open(exchange: &mut Exchange, request: &Request, client: Peer, is_late: bool, turn: &Turn) -> Result<(), Failure> {
    let refuse = |reason, detail: &'static str| Err(Failure::new(reason, detail));
    exchange.describe(request, turn.journal.is_on());
    let trusts = |peer| turn.site.config.trusted_proxies.contains(peer);
    let is_trusted = trusts(client);
    if is_trusted {
        request.fields.first(Field::TraceId).into_iter().for_each(|given| exchange.trace_id.take(given));
        exchange.forwarded_for = forwarded_for(client, request.fields, trusts);
    }
    exchange.asked.wants_detail = wants_detail(turn.site.config.error_detail, client, || request.is_forwarded());
    exchange.up.body = Body::new(request.length, Recode::Same);
    exchange.asked.awaits_continue = request.expects_continue && request.length != BodyLength::Empty;
    exchange.asked.upgrades_after_content = request.upgrade.is_some() && request.length != BodyLength::Empty;
    if exchange.asked.upgrades_after_content || turn.is_leaving || turn.site.config.timeouts.client_keepalive_ms == 0 {
        exchange.outcome.fate = Fate::Closed;
    }
    if turn.is_admin {
        return match admin::find(request.method, request.normal.path, || request.accepts_html()) {
            Ok(page) => {
                exchange.page = Some(page);
                Ok(())
            }
            Err(Reason::MethodNotAllowed) => refuse(Reason::MethodNotAllowed, "the admin port knows GET and HEAD"),
            Err(reason) => refuse(reason, "the admin port has /metrics, /health, /backends/health, /live and /ready"),
        };
    }
    if is_late && turn.site.config.shutdown.new_requests == NewRequests::Reject {
        return refuse(Reason::Draining, "this proxy is about to end; try another, or again in a moment");
    }
    let site = exchange.site.clone();
    let query = RouteQuery { port: turn.port, method: request.method, target: request.normal };
    let decision = site.decide(query);
    exchange.route = decision.route;
    exchange.timeouts = decision.timeouts.clone();
    exchange.max_body_size = decision.max_body_size;
    exchange.outcome.is_logged |= !decision.is_logged;
    let sender = exchange.forwarded_for.unwrap_or(client);
    if let Some(limiter) = decision.limiter {
        limit_rate(limiter, exchange, turn, sender)?;
    }
    if matches!(request.length, BodyLength::Known(n) if n > exchange.max_body_size && exchange.max_body_size > 0) {
        return Err(Failure::of_request(Refusal::BodyTooLarge));
    }
    match decision.action {
        // RFC 9110 7.6.2: it is not forwarded, so we are its final recipient.
        Some(Action::Proxy { .. }) if request.max_forwards == Some(0) => exchange.content_status = 204,
        Some(Action::Proxy { pool }) => {
            if site.config.via && request.times_here >= MAX_TIMES_HERE {
                return refuse(Reason::LoopDetected, "Via names tidegate too often: a pool leads back here");
            }
            exchange.maker = Maker::Upstream;
            exchange.pool = *pool;
            exchange.key = match &site.config.pools[*pool].balance {
                BalanceConfig::ConsistentHash { header } => key(header.as_deref(), request, sender),
                _ => 0,
            };
            exchange.asked.needs_host = request.authority.is_empty();
            exchange.asked.wants_upgrade = request.upgrade.is_some();
            let trace_id = exchange.trace_id.as_bytes();
            let forward = RequestAdditions { client, scheme: "http", trace_id, is_trusted, via: site.config.via };
            exchange.up.open_head();
            write::request_head(&mut exchange.up.block, request, forward);
            exchange.up.close_head(0);
        }
        Some(Action::Echo { name }) => {
            exchange.maker = Maker::Echo;
            exchange.content_status = 200;
            echo::begin(&mut exchange.content, name, request.fields.head());
        }
        Some(Action::Respond { status, body }) => {
            exchange.content_status = *status;
            exchange.content.extend_from_slice(body.as_bytes());
        }
        Some(Action::Unbuilt) => return refuse(Reason::DestinationNotFound, "the action of this route is not built yet"),
        None => return refuse(Reason::DestinationNotFound, "no route takes this request"),
    }
    Ok(())
}

/// Whether an error may tell this client the details, which can name an upstream: a client on this machine may know them, one that
/// came through another proxy is not on this machine.
fn wants_detail(setting: ErrorDetail, client: Peer, is_forwarded: impl FnOnce() -> bool) -> bool {
    match setting {
        ErrorDetail::Always => true,
        ErrorDetail::Never => false,
        ErrorDetail::Auto => client.is_local() && !is_forwarded(),
    }
}

/// The key for `balance: consistent_hash`: the configured field, or the client's address if there is none.
fn key(header: Option<&str>, request: &Request, client: Peer) -> u64 {
    let is_it = |line: &FieldLine| header.is_some_and(|name| line.name().eq_ignore_ascii_case(name.as_bytes()));
    match request.fields.iter().find(is_it) {
        Some(line) => balance::hash(line.value()),
        None => match client.ip() {
            Some(IpAddr::V4(ip)) => balance::hash(&ip.octets()),
            Some(IpAddr::V6(ip)) => balance::hash(&ip.octets()),
            None => balance::hash(b"unix"),
        },
    }
}

/// Whether the rate limits allow the request.
fn limit_rate(limiter: &Limiter, exchange: &Exchange, turn: &Turn, client: Peer) -> Result<(), Failure> {
    let Err(excess) = limiter.take(turn.now.micros, || client) else { return Ok(()) };
    turn.stats.rate_limited[excess.scope as usize].add(1);
    let detail = match excess.scope {
        RateScope::Client => "this client sends more requests than rate_limit.per_client allows",
        RateScope::Global => "more requests come than rate_limit allows",
    };
    if limiter.is_dry_run {
        log::debug!(target: "request", "rate_limit.dry_run, let through: {detail} trace_id={}", exchange.trace_id());
        return Ok(());
    }
    Err(Failure::new(Reason::RateLimited, detail).retry_after(excess.retry_after()))
}
