//! One request and its answer as a state machine that knows neither a wire format nor a socket.
//!
//! ```text
//!                       connected               answer whole
//!  ConnectingUpstream ------------> StreamingBody ------------> Replying ----> Done
//!          |      ^                   |   |    |                   ^
//!          |      `-- another try ----'   |    `-- failure --------|
//!          `----------- failure ----------|------------------------'
//!                                         `-- 101 --> Tunnelling --> Done
//! ```
//!
//! It is in one state at a time, and a transition consumes it. Bytes are in its two flows: `up` from the client, `down` to the client.
//! What it says to the client goes through a [`Recipient`], which writes it in the client's protocol. What is due at the end of an
//! answer is done before its last byte can be read by the client.

pub mod deadlines;
pub mod state;

mod attempt;
mod connect;
mod note;
mod open;
mod produce;
mod record;
mod reply;
mod retry;
mod stream;
mod tunnel;
mod waits;

pub use attempt::{Attempt, Charge, Heard};
pub use state::{ExchangeState, Leg, Reply};

use crate::admin::RenderedPage;
use crate::base::address::Peer;
use crate::config::model::{Retry, Timeouts};
use crate::guard::wait_queue::{Aim, Ticket, Wish};
use crate::http::Refusal;
use crate::machine::failure::Silence;
use crate::machine::flow::Flow;
use crate::machine::recipient::{self, Recipient};
use crate::machine::{ExchangeEnd, Turn};
use crate::observe::reason::Reason;
use crate::site::Site;
use crate::source::AnswerSource;
use crate::upstream::pool::{Grant, Pool, RetryChoice};
use crate::upstream::server::Server;
use deadlines::Deadlines;
use note::{Note, TraceId};
use std::rc::Rc;
use std::sync::{Arc, Weak};

/// What an exchange is lent to handle an event.
pub struct Context<'a> {
    /// Time, chance, configuration, counters.
    pub turn: &'a mut Turn,
    /// The client's side.
    pub front: &'a mut dyn Recipient,
}

/// What can happen to an exchange. The bytes themselves are in its flows.
#[derive(Debug)]
pub enum ExchangeEvent {
    /// New content of the request, or a fault in how it is framed.
    Content(Result<(), Refusal>),
    /// The client closed its sending side before the content was complete.
    RequestCut,
    /// The client sends nothing after what it has sent, read or not.
    HalfClosed,
    /// The client is lost, or sent away.
    ClientGone,
    /// The client took some of the answer, or its front has done what it still had to do for it.
    ClientTook,
    /// The pool that it waits in the queue of has other servers now.
    ServersChanged,
    /// Its turn in the queue has come: a place was taken for it, or an idle connection of this worker comes with it.
    Admitted(Grant),
    /// It leaves the queue unserved: every server of the pool is down, or no more tunnels are allowed.
    Dismissed,
    /// No connection could be made.
    ConnectFailed(Reason),
    /// There was no descriptor for a new connection: it must wait in the queue.
    NoDescriptor,
    /// The upstream's socket took that many bytes.
    UpstreamTook(usize),
    /// The upstream takes no more bytes; what it still sends decides the outcome.
    UpstreamBroken,
    /// An admin page is ready.
    Rendered(Box<RenderedPage>),
    /// The producer of its content has more.
    SourceReady,
    /// Other requests wait for the place that is held by an answer which the client does not take.
    MakeRoom,
    /// A deadline may have passed.
    Deadline,
    /// The process ends now.
    Cut,
}

/// One request and its answer.
#[derive(Debug)]
pub struct Exchange {
    state: ExchangeState,
    /// From client to upstream.
    pub up: Flow,
    /// From upstream to client.
    pub down: Flow,
    /// The site that it began with; if names lead elsewhere at a later attempt, the one that differs in nothing else.
    pub site: Rc<Arc<Site>>,
    /// The timeouts that apply.
    pub timeouts: Timeouts,
    /// The limit of content in bytes; 0 = no limit.
    pub max_body_size: u64,
    source: AnswerSource,
    /// The index of the pool.
    pub pool: usize,
    /// The index of the route.
    pub route: Option<usize>,
    /// What the request asks for.
    pub asked: Asked,
    /// The current or last attempt.
    pub attempt: Attempt,
    /// The final response, or what replaces it.
    pub outcome: Outcome,
    /// The text of an answer that is written here.
    text: Vec<u8>,
    trace_id: TraceId,
    note: Note,
    client: Peer,
    /// The client that a trusted proxy named.
    forwarded_for: Option<Peer>,
    /// Whether the client sends nothing beyond what it has sent.
    has_half_closed: bool,

    /// When the head was complete (microseconds).
    pub started: u64,
    /// Bytes of the request's content received so far.
    pub bytes_in: u64,
    /// As many bytes of it as are known of: what has come, and what the chunk in progress announces.
    pub content: u64,
    /// How many attempts were given to upstreams.
    pub attempts: u32,
    /// Whether everything sent of the request can be sent again.
    pub replayable: bool,
    deadlines: Deadlines,
    /// Since when the client has taken nothing although there is something for it (milliseconds); 0 if there is nothing.
    owed_since: u64,
    /// The servers that failed it, by index in the pool.
    tried: Vec<usize>,
    /// The faults of these servers, one for each, as far as they may be counted against the server.
    faults: Vec<Charge>,
    /// Where it may be tried again.
    again: RetryChoice,
    /// The server whose silence was the first failure: a total timeout that follows is blamed on it.
    silent: Option<(Arc<Server>, Silence)>,
    /// The key for `balance: consistent_hash`.
    key: u64,
    /// The server that the client's cookie names, while its session holds.
    session: Option<usize>,
    /// What its cookie says of sessions in other pools: it is said again where this pool sets the cookie.
    sessions_elsewhere: Vec<u8>,
    /// The end of the wait in the queue (milliseconds); 0 before the first wait.
    pub queue_due: u64,
    /// How long it has waited in queues before (microseconds); `None` if it never has.
    queue_micros: Option<u64>,
    /// The number of the present wait.
    serial: u64,
}

/// What a request asks for, apart from its target.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
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
    /// It asks for another protocol.
    pub wants_upgrade: bool,
    /// It asks for that after content, which some servers take for bytes of the other protocol: its connections serve no other request.
    pub upgrades_after_content: bool,
}

/// What the client gets.
#[derive(Clone, Copy, Debug, Default)]
pub struct Outcome {
    /// The status of the final response; 0 before there is one.
    pub status: u16,
    /// Whether the response was counted.
    settled: bool,
    /// Whether its line was written to the access log, or it gets none.
    is_logged: bool,
    /// Whether the whole answer is here.
    pub is_whole: bool,
    /// Why the request was refused or failed.
    error: Option<Reason>,
    /// Whether the end of the process cut it off.
    is_cut: bool,
}

impl Exchange {
    /// Handles an event: changes the state, and leaves effects behind. An event without a meaning in this state is ignored.
    ///
    /// Whoever calls it knows the event, so where it is compiled in place only that event's arms remain of the match.
    #[inline(always)]
    pub fn handle(&mut self, event: ExchangeEvent, cx: &mut Context) {
        use ExchangeEvent::*;
        use ExchangeState::*;
        self.has_half_closed |= matches!(event, HalfClosed);
        let state = std::mem::replace(&mut self.state, Done(ExchangeEnd::Closed));
        self.state = match (state, event) {
            (ConnectingUpstream(leg), Content(content)) => self.on_early_content(leg, content, cx),
            (ConnectingUpstream(Leg::Queued(place)), HalfClosed) => self.on_queued_half_close(place, cx),
            (ConnectingUpstream(Leg::Queued(place)), Admitted(grant)) => self.on_admitted(place, grant, cx),
            (ConnectingUpstream(Leg::Queued(place)), Dismissed) => self.on_dismissed(place, cx),
            (ConnectingUpstream(Leg::Queued(place)), ServersChanged) => self.on_servers_changed(place, cx),
            (ConnectingUpstream(Leg::Dialing { until }), ConnectFailed(reason)) => self.on_connect_failed(reason, until, cx),
            (ConnectingUpstream(Leg::Dialing { .. }), NoDescriptor) => self.queue(cx),
            (ConnectingUpstream(leg), Deadline) => self.on_leg_deadline(leg, cx),

            (StreamingBody(trial), Content(content)) => self.on_content(trial, content, cx),
            (StreamingBody(trial), UpstreamTook(n)) => self.on_upstream_took(trial, n, cx.turn),
            (StreamingBody(trial), UpstreamBroken) => self.on_upstream_broken(trial),
            (StreamingBody(_), MakeRoom) => self.make_room(cx),
            (StreamingBody(trial), Deadline) => self.on_streaming_deadline(trial, cx),

            (Replying(reply), Content(content)) => self.on_dropped_content(reply, content, cx),
            (Replying(reply), ClientTook) => self.go_on(reply, cx),
            (Replying(reply), HalfClosed) => self.on_reply_half_close(reply, cx),
            (Replying(Reply::Rendering(_)), Rendered(page)) => self.on_rendered(*page, cx),
            (Replying(Reply::Producing(supply)), SourceReady) => self.go_on_producing(supply, cx),
            (Replying(reply), Deadline) => self.on_deadline(Replying(reply), cx),

            (Tunnelling(tunnel), Content(_) | ClientTook | UpstreamTook(_)) => self.on_tunnel_progress(tunnel, cx.turn),
            (Tunnelling(tunnel), UpstreamBroken) => self.on_tunnel_broken(tunnel, true, cx.turn),
            (Tunnelling(_), ClientGone) => self.on_tunnel_aborted(cx.turn),
            (Tunnelling(tunnel), Deadline) => self.on_tunnel_deadline(tunnel, cx.turn),
            (Tunnelling(_), Cut) => self.on_tunnel_cut(cx.turn),

            (ConnectingUpstream(leg), RequestCut) => self.left(leg, cx.turn).on_request_cut(cx),
            (ConnectingUpstream(leg), ClientGone) => self.left(leg, cx.turn).abort(cx),
            (ConnectingUpstream(leg), Cut) => self.left(leg, cx.turn).on_cut(cx),
            (StreamingBody(_) | Replying(_), RequestCut) => self.on_request_cut(cx),
            (StreamingBody(_) | Replying(_), ClientGone) => self.abort(cx),
            (StreamingBody(_) | Replying(_), Cut) => self.on_cut(cx),

            (state, _) => state,
        };
    }

    /// Performs a transition that another machine's event has caused.
    #[inline(always)]
    pub fn step(&mut self, cx: &mut Context, step: impl FnOnce(&mut Self, ExchangeState, &mut Context) -> ExchangeState) {
        let state = std::mem::replace(&mut self.state, ExchangeState::Done(ExchangeEnd::Closed));
        self.state = step(self, state, cx);
    }

    /// To be called after each event: gives back what is not needed any more, and finds out which deadlines run.
    #[inline(always)]
    pub fn settle(&mut self, turn: &mut Turn) {
        self.settle_content(turn);
        self.update_waits(turn.now.millis());
    }

    /// The state.
    pub fn state(&self) -> &ExchangeState {
        &self.state
    }

    /// How it has ended, if it has.
    pub fn end(&self) -> Option<ExchangeEnd> {
        if let ExchangeState::Done(end) = self.state { Some(end) } else { None }
    }

    /// Whether content from the client is wanted, and there is room for it.
    pub fn wants_content(&self) -> bool {
        !self.up.is_ended && self.up.has_room()
    }

    /// Whether bytes from the upstream are wanted, and there is room for them.
    pub fn wants_upstream(&self) -> bool {
        let goes_on = match &self.state {
            ExchangeState::StreamingBody(_) => !self.attempt.upstream_fin,
            ExchangeState::Tunnelling(_) => !self.down.is_ended,
            _ => false,
        };
        goes_on && self.down.has_room()
    }

    /// The flow to the upstream, while that takes bytes.
    pub fn to_upstream(&self) -> Option<&Flow> {
        let takes = matches!(self.state, ExchangeState::StreamingBody(_) | ExchangeState::Tunnelling(_)) && !self.attempt.broken;
        takes.then_some(&self.up)
    }

    /// The earliest deadline (milliseconds).
    pub fn next_deadline(&self) -> Option<u64> {
        self.deadlines.earliest(self.state.deadline())
    }

    /// Whether it waits in the queue of its pool.
    pub fn is_queued(&self) -> bool {
        matches!(self.state, ExchangeState::ConnectingUpstream(Leg::Queued(_)))
    }

    /// What it waits for in the queue.
    pub fn wish(&self) -> Option<Wish> {
        let ExchangeState::ConnectingUpstream(Leg::Queued(place)) = &self.state else { return None };
        let aim = match self.session.filter(|server| !self.tried.contains(server)) {
            Some(server) => Aim::Only(server),
            None if self.tried.is_empty() => Aim::Any,
            None => Aim::others(&self.tried),
        };
        Some(Wish { needs: place.needs, aim, key: self.key })
    }

    /// A reference that is gone once it no longer waits for a page.
    pub fn asker(&self) -> Weak<()> {
        if let ExchangeState::Replying(Reply::Rendering(asker)) = &self.state { Arc::downgrade(asker) } else { Weak::new() }
    }

    /// Its ticket for the queue, or for a message.
    pub fn ticket(&self, worker: usize, key: usize) -> Ticket {
        Ticket { worker, key, serial: self.serial }
    }

    /// Whether a ticket or message was made for its current wait.
    pub fn is_serial(&self, serial: u64) -> bool {
        self.serial == serial
    }

    /// The value of `X-Trace-ID`.
    pub fn trace_id(&self) -> &str {
        self.trace_id.as_str()
    }

    /// The pool, in this exchange's site.
    pub fn pool(&self) -> &Arc<Pool> {
        &self.site.pools[self.pool]
    }

    /// The pool's settings for retries.
    fn retry(&self) -> &Retry {
        let config = &self.site.config;
        self.route.map_or(&config.pools[self.pool].retry, |route| &config.routes[route].retry)
    }

    /// The server of the current attempt, once picked.
    pub fn server(&self) -> Option<&Arc<Server>> {
        self.attempt.server.map(|index| &self.pool().servers[index])
    }

    /// The flow to the upstream, and the name of that upstream's host.
    pub fn hop(&mut self) -> (&mut Flow, &str) {
        let server = self.attempt.server.map(|index| &self.site.pools[self.pool].servers[index]);
        (&mut self.up, server.map_or("", |server| &server.authority))
    }

    /// Whether it has a connection to an upstream, or one is being made.
    pub fn has_upstream(&self) -> bool {
        self.attempt.hold.is_some()
    }

    /// Whether a byte of the final response has gone to the client.
    fn has_begun(&self) -> bool {
        self.outcome.status != 0 && self.down.sent > self.down.final_at
    }

    /// Whether all of the request was sent to the upstream.
    pub fn is_request_out(&self) -> bool {
        self.up.is_ended && !self.attempt.broken && !self.up.is_owing()
    }

    /// Panics unless it is consistent, as it must be after every event: for the simulation and the fuzzer.
    pub fn check(&self) {
        for flow in [&self.up, &self.down] {
            assert!(flow.ring.len() <= flow.ring.capacity());
        }
        let needs_upstream = match &self.state {
            ExchangeState::StreamingBody(_) | ExchangeState::Tunnelling(_) | ExchangeState::ConnectingUpstream(Leg::Dialing { .. }) => true,
            ExchangeState::ConnectingUpstream(_) | ExchangeState::Replying(_) | ExchangeState::Done(_) => false,
        };
        assert_eq!(self.has_upstream(), needs_upstream, "a connection in the wrong state: {:?}", self.state);
    }
}

/// What a front must know of the request.
fn request<'a>(trace_id: &'a TraceId, up: &Flow, asked: &Asked) -> recipient::RequestFacts<'a> {
    recipient::RequestFacts {
        trace_id: trace_id.as_bytes(),
        is_read: up.is_ended,
        awaits_continue: asked.awaits_continue,
        set_cookie: None,
    }
}
