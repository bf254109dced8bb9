//! The scene of a test: a session, what a turn lends to it, and a pretended worker.

use crate::base::address::Peer;
use crate::base::clock::Now;
use crate::base::ring::Ring;
use crate::config::model::{Action, Config, ErrorDetail, Matcher, Retry, Route, UpstreamConfig};
use crate::config::{ConfigSources, load};
use crate::exchange::{Exchange, ExchangeState};
use crate::front::h1::{FrontH1, FrontState};
use crate::observe::access::Record;
use crate::observe::stats::WorkerStats;
use crate::session::{self, Direction, Effect, Ending, Event, Journal, SessionView, Talks, Turn};
use crate::site::Site;
use crate::upstream::names::Names;
use crate::upstream::pool::Grant;
use crate::upstream::reservation::Reservation;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};

/// The request that most tests use.
pub(super) const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

/// Collects log lines as `status error`.
struct Lines(Sender<String>);

impl Journal for Lines {
    fn is_on(&self) -> bool {
        true
    }

    fn line(&mut self, record: &Record) {
        self.0.send(format!("{} {}", record.status, record.error.unwrap_or("-"))).unwrap();
    }
}

/// The state of a front, or of its exchange while there is one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    ReadingHead,
    ConnectingUpstream,
    StreamingBody,
    Replying,
    Tunnelling,
    Discarding,
    Draining,
    Closed,
}

/// A client's machines, as a worker has them.
pub(super) struct Session {
    pub(super) front: FrontH1,
    pub(super) talks: Talks,
}

impl Session {
    pub(super) fn new(client: Peer, turn: &Turn) -> Self {
        Self { front: FrontH1::new(client, turn), talks: Talks::default() }
    }

    fn handle(&mut self, event: Event, turn: &mut Turn) {
        let concerned = session::Session { client: 0, about: None, front: &mut self.front, talks: &mut self.talks }.handle(event, turn);
        let over = concerned.filter(|&key| self.talks[key].exchange.end().is_some());
        over.into_iter().for_each(|key| self.talks.end(key, &mut turn.buffers));
        self.talks.reuse();
        self.view().check();
        assert_eq!(self.talks.iter().count(), self.front.exchange().iter().count(), "an exchange is left over");
    }

    pub(super) fn view(&self) -> SessionView<'_> {
        SessionView::new(&self.front, &self.talks)
    }

    pub(super) fn phase(&self) -> Phase {
        match (self.front.state(), self.exchange().map(Exchange::state)) {
            (FrontState::ReadingHead(_), _) => Phase::ReadingHead,
            (FrontState::Serving(_), Some(ExchangeState::ConnectingUpstream(_))) => Phase::ConnectingUpstream,
            (FrontState::Serving(_), Some(ExchangeState::StreamingBody(_))) => Phase::StreamingBody,
            (FrontState::Serving(_), Some(ExchangeState::Tunnelling(_))) => Phase::Tunnelling,
            (FrontState::Serving(_), _) => Phase::Replying,
            (FrontState::Discarding(_), _) => Phase::Discarding,
            (FrontState::Draining(_), _) => Phase::Draining,
            (FrontState::Closed(_), _) => Phase::Closed,
            (FrontState::Many { .. }, _) => unreachable!("a test of HTTP/1"),
        }
    }

    pub(super) fn exchange(&self) -> Option<&Exchange> {
        self.view().exchange()
    }

    /// What the client has sent.
    pub(super) fn up(&self) -> &Ring {
        self.exchange().map_or(&self.front.ring, |exchange| &exchange.up.ring)
    }

    /// What the upstream has sent.
    pub(super) fn down(&self) -> &Ring {
        &self.exchange().expect("an exchange").down.ring
    }

    fn rings(&mut self) -> Vec<&mut Ring> {
        let exchange = self.front.exchange().map(|key| &mut self.talks[key].exchange);
        let of_exchange = exchange.into_iter().flat_map(|exchange| [&mut exchange.up.ring, &mut exchange.down.ring]);
        [&mut self.front.ring].into_iter().chain(of_exchange).collect()
    }

    pub(super) fn output(&self, direction: Direction) -> Option<[IoSlice<'_>; 5]> {
        self.view().output(direction)
    }

    pub(super) fn opaque(&self, direction: Direction) -> u64 {
        self.view().opaque(direction)
    }

    pub(super) fn spill(&mut self, direction: Direction, bytes: &[u8]) {
        session::Session { client: 0, about: None, front: &mut self.front, talks: &mut self.talks }.spill(direction, bytes);
    }

    pub(super) fn wants_client(&self) -> bool {
        self.view().wants_client()
    }

    pub(super) fn wants_upstream(&self) -> bool {
        self.view().wants_upstream()
    }

    pub(super) fn is_behind(&self) -> bool {
        self.front.is_behind()
    }

    pub(super) fn is_busy(&self) -> bool {
        self.front.is_busy()
    }

    pub(super) fn is_resting(&self) -> bool {
        self.front.is_resting()
    }

    pub(super) fn ending(&self) -> Option<Ending> {
        self.front.ending()
    }

    pub(super) fn next_deadline(&self) -> Option<u64> {
        self.view().next_deadline()
    }
}

/// A client's machines with a pretended worker.
pub(super) struct Scene {
    pub(super) session: Session,
    pub(super) turn: Turn,
    pub(super) site: Rc<Arc<Site>>,
    pub(super) stats: Arc<WorkerStats>,
    logged: Receiver<String>,
    lines: Vec<String>,
}

impl Scene {
    /// A scene with the defaults but no retries, one upstream, and `/respond` and `/echo` answered here.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// A scene whose configuration `change` has changed.
    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = load(ConfigSources { alone: true, ..ConfigSources::default() }).unwrap_or_else(|_| unreachable!()).config;
        config.pools[0].upstreams = vec![UpstreamConfig {
            name: "origin".into(),
            origin: crate::config::model::Origin::tcp("127.0.0.1", 1),
            weight: 1,
            is_checked: true,
            is_backup: false,
            send_proxy: None,
        }];
        config.pools[0].retry = Retry::default();
        let route = |prefix: &str, action| Route {
            name: prefix.into(),
            matcher: Matcher { path_prefix: Some(prefix.into()), ..Matcher::default() },
            action,
            timeouts: config.timeouts.clone(),
            retry: Retry::default(),
            owns_budget: false,
            rate_limit: None,
            access_log: true,
            max_body_size: config.limits.max_body_size,
        };
        config.routes = vec![
            route("/respond", Action::Respond { status: 200, body: "fixed".into() }),
            route("/echo", Action::Echo { name: "e".into() }),
        ];
        config.error_detail = ErrorDetail::Always;
        change(&mut config);
        crate::balance::tests::begin_with_the_first();
        let site = Rc::new(Arc::new(Site::new(config, 1, None, &Names::default(), 0)));
        let (stats, (journal, logged)) = (Arc::new(WorkerStats::default()), channel());
        let mut turn = Turn::new(0, site.clone(), stats.clone(), Box::new(Lines(journal)), 1);
        (turn.now, turn.port) = (Now::new(1_000_000, 0), Some(8080));
        let session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1000)), &turn);
        Self { session, turn, site, stats, logged, lines: Vec::new() }
    }

    /// Begins to drain the process.
    pub(super) fn drain(&mut self) -> &mut Self {
        (self.turn.is_draining, self.turn.is_leaving) = (true, true);
        self
    }

    /// Accepts another client.
    pub(super) fn accept(&mut self) -> &mut Self {
        self.session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1001)), &self.turn);
        self
    }

    /// A request in progress on a new connection, of which everything possible was sent.
    pub(super) fn streaming(request: &str) -> Self {
        let mut scene = Self::new();
        scene.client(request).event(Event::UpstreamConnected { reused: false });
        scene.sent_to_upstream();
        scene.effects();
        scene
    }

    /// Delivers any other event.
    pub(super) fn event(&mut self, event: Event) -> &mut Self {
        self.session.handle(event, &mut self.turn);
        for ring in self.session.rings() {
            if ring.is_empty() {
                self.turn.buffers.take_back(ring);
            }
        }
        self
    }

    /// Its turn in the queue has come, and an idle connection comes with it.
    pub(super) fn admit(&mut self) -> &mut Self {
        let (server, config) = (&self.site.pools[0].servers[0], &self.site.config.pools[0]);
        let (permit, trial) = server.circuit.admit(&config.breaker).expect("let through");
        let grant = Grant { server: 0, permit, reserved: Reservation::of_trial(server, trial) };
        let key = self.session.front.exchange().expect("an exchange");
        self.session.talks[key].grant = Some(grant);
        self.event(Event::Admitted)
    }

    /// Delivers bytes of the client, as many at once as there is room for.
    pub(super) fn client(&mut self, bytes: &str) -> &mut Self {
        self.fill(bytes.as_bytes(), true)
    }

    /// Delivers bytes of the upstream.
    pub(super) fn upstream(&mut self, bytes: &str) -> &mut Self {
        self.fill(bytes.as_bytes(), false)
    }

    fn fill(&mut self, mut bytes: &[u8], from_client: bool) -> &mut Self {
        while !bytes.is_empty() {
            let wanted = if from_client { self.session.wants_client() } else { self.session.wants_upstream() };
            assert!(wanted, "{} bytes are not wanted", bytes.len());
            let ring = match self.session.front.exchange().map(|key| &mut self.session.talks[key].exchange) {
                Some(exchange) if from_client => &mut exchange.up.ring,
                Some(exchange) => &mut exchange.down.ring,
                None => &mut self.session.front.ring,
            };
            if !ring.is_attached() {
                ring.attach(self.turn.buffers.lend());
            }
            let (first, second) = ring.room_mut();
            let n = bytes.len().min(first.len() + second.len());
            let split = n.min(first.len());
            first[..split].copy_from_slice(&bytes[..split]);
            second[..n - split].copy_from_slice(&bytes[split..n]);
            ring.fill(n);
            bytes = &bytes[n..];
            self.event(if from_client { Event::ClientBytes } else { Event::UpstreamBytes });
        }
        self
    }

    /// Lets the client take everything, and returns it.
    pub(super) fn sent_to_client(&mut self) -> String {
        let mut all = Vec::new();
        while let Some(bytes) = self.session.output(Direction::Down).map(joined) {
            self.event(Event::ClientTook(bytes.len()));
            all.extend(bytes);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Lets the upstream take everything, and returns it.
    pub(super) fn sent_to_upstream(&mut self) -> String {
        let mut all = Vec::new();
        while let Some(bytes) = self.session.output(Direction::Up).map(joined) {
            self.event(Event::UpstreamTook(bytes.len()));
            all.extend(bytes);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Lets time pass, and delivers a deadline that it reaches.
    pub(super) fn wait(&mut self, ms: u64) -> &mut Self {
        self.turn.now = Now::new(self.turn.now.micros + ms * 1000, 0);
        if self.session.next_deadline().is_some_and(|at| at <= self.turn.now.millis()) {
            self.event(Event::Deadline);
        }
        self
    }

    /// The effects since the last call.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.turn.effects)
    }

    /// The lines of the access log so far.
    pub(super) fn lines(&mut self) -> Vec<String> {
        self.lines.extend(self.logged.try_iter());
        self.lines.clone()
    }

    pub(super) fn exchange(&self) -> &Exchange {
        self.session.exchange().unwrap_or_else(|| panic!("no exchange"))
    }
}

fn joined(slices: [IoSlice; 5]) -> Vec<u8> {
    slices.iter().flat_map(|slice| slice.to_vec()).collect()
}

/// The value of a field of an answer.
pub(super) fn field<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let head = answer.split("\r\n\r\n").next()?;
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}
