//! The beginning: who answers a request, and under which limits.

use super::Exchange;
use crate::balance;
use crate::base::address::Peer;
use crate::config::model::{Action, BalanceConfig, ErrorDetail, NewRequests};
use crate::guard::rate::Limiter;
use crate::http::Refusal;
use crate::http::fields::Field;
use crate::http::forwarded::{RequestAdditions, forwarded_for};
use crate::http::framing::BodyLength;
use crate::http::head::FieldLine;
use crate::http::request::{self, Request};
use crate::machine::Turn;
use crate::machine::failure::Failure;
use crate::machine::next_hop::NextHop;
use crate::machine::service::ServiceRoutes;
use crate::observe::reason::{RateScope, Reason};
use crate::route::RouteQuery;
use crate::source::AnswerSource;
use crate::{admin, answer::echo};
use std::net::IpAddr;

/// How often tidegate may be named in `Via` before a request counts as going in circles.
const MAX_TIMES_HERE: u32 = 10;

impl Exchange {
    /// Decides who answers; if that is an upstream, `hop` gets the head. A request that fails here was understood, so the connection can go
    /// on. `is_late`: its client connected after the process began to drain.
    pub fn open(&mut self, request: &Request, is_late: bool, hop: &mut impl NextHop, turn: &Turn) -> Result<(), Failure> {
        let refuse = |reason, detail: &'static str| Err(Failure::new(reason, detail));
        let client = self.client;
        self.describe(request, turn.is_logged());
        let trusts = |peer| turn.site.config.trusted_proxies.contains(peer);
        let is_trusted = trusts(client);
        if is_trusted {
            request.fields.first(Field::TraceId).into_iter().for_each(|given| self.trace_id.take(given));
            self.forwarded_for = forwarded_for(client, request.fields, trusts);
        }
        self.asked.wants_detail = wants_detail(turn.site.config.error_detail, client, || request.is_forwarded());
        self.up.is_ended = matches!(request.length, BodyLength::Empty | BodyLength::Known(0));
        self.asked.awaits_continue = request.expects_continue && request.length != BodyLength::Empty;
        self.asked.upgrades_after_content = request.upgrade.is_some() && request.length != BodyLength::Empty;
        if let ServiceRoutes::Pages(routes) = turn.service.routes {
            return match admin::find(routes, request.method, request.normal.path, || request.accepts_html()) {
                Ok(page) => {
                    self.source = AnswerSource::Page(page);
                    Ok(())
                }
                Err(Reason::MethodNotAllowed) => refuse(Reason::MethodNotAllowed, "the admin port knows GET and HEAD"),
                Err(reason) => refuse(reason, "the admin port has /metrics, /health, /backends/health, /live and /ready"),
            };
        }
        if is_late && turn.site.config.shutdown.new_requests == NewRequests::Reject {
            return refuse(Reason::Draining, "this proxy is about to end; try another, or again in a moment");
        }
        let site = self.site.clone();
        let decision = site.decide(RouteQuery { port: turn.port, method: request.method, target: request.normal });
        self.route = decision.route;
        self.timeouts = decision.timeouts.clone();
        self.max_body_size = decision.max_body_size;
        self.outcome.is_logged |= !decision.is_logged;
        let sender = self.forwarded_for.unwrap_or(client);
        if let Some(limiter) = decision.limiter {
            limit_rate(limiter, self, turn, sender)?;
        }
        if matches!(request.length, BodyLength::Known(n) if n > self.max_body_size && self.max_body_size > 0) {
            return Err(Failure::of_request(Refusal::BodyTooLarge));
        }
        self.take_action(decision.action, request, is_trusted, sender, hop, turn)
    }

    /// The request's head is refused. `is_cut`: because the process ends.
    pub fn open_refused(&mut self, head: &[u8], is_cut: bool) {
        self.outcome.is_cut = is_cut;
        self.describe_raw(head);
        self.asked.wants_detail = wants_detail(self.site.config.error_detail, self.client, || request::is_forwarded(head));
    }

    fn take_action(
        &mut self,
        action: Option<&Action>,
        request: &Request,
        is_trusted: bool,
        sender: Peer,
        hop: &mut impl NextHop,
        turn: &Turn,
    ) -> Result<(), Failure> {
        let refuse = |reason, detail: &'static str| Err(Failure::new(reason, detail));
        match action {
            // RFC 9110 7.6.2: it is not forwarded, so we are its final recipient.
            Some(Action::Proxy { .. }) if request.max_forwards == Some(0) => self.source = AnswerSource::Bare(204),
            Some(Action::Proxy { pool }) => {
                let config = &self.site.config;
                if config.via && request.times_here >= MAX_TIMES_HERE {
                    return refuse(Reason::LoopDetected, "Via names tidegate too often: a pool leads back here");
                }
                self.source = AnswerSource::Upstream;
                self.pool = *pool;
                self.key = match &config.pools[*pool].balance {
                    BalanceConfig::ConsistentHash { header } => key(header.as_deref(), request, sender),
                    _ => 0,
                };
                let sticky = self.site.pools[*pool].sticky.as_ref();
                if let Some(sticky) = sticky {
                    let cookies = || request.fields.of(Field::Cookie).map(|line| line.value());
                    self.session = cookies().find_map(|cookie| sticky.find(cookie));
                    cookies().for_each(|cookie| sticky.keep_others(cookie, &mut self.sessions_elsewhere));
                }
                self.asked.wants_upgrade = request.upgrade.is_some();
                let trace_id = self.trace_id.as_bytes();
                let own_cookies = &self.site.cookies;
                let additions =
                    RequestAdditions { client: self.client, scheme: turn.scheme, trace_id, is_trusted, via: config.via, own_cookies };
                hop.request(&mut self.up, request, &additions);
            }
            Some(Action::Echo { name }) => {
                self.source = AnswerSource::Echo;
                echo::begin(&mut self.text, name, request.fields.head());
            }
            Some(Action::Respond { status, .. }) => self.source = AnswerSource::Respond(*status),
            Some(Action::Unbuilt) => return refuse(Reason::DestinationNotFound, "the action of this route is not built yet"),
            None => return refuse(Reason::DestinationNotFound, "no route takes this request"),
        }
        Ok(())
    }
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
