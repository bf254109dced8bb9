//! The scene of a test: a session, what a turn lends to it, and a pretended worker.

use crate::base::address::Peer;
use crate::base::clock::Now;
use crate::config::model::{Action, Config, ErrorDetail, Matcher, Retry, Route, UpstreamConfig};
use crate::config::{ConfigSources, load};
use crate::observe::access::Record;
use crate::observe::stats::WorkerStats;
use crate::session::{Effect, Event, Exchange, Journal, Session, Turn};
use crate::site::Site;
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

/// A session with a pretended worker.
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
        }];
        config.pools[0].retry = Retry::default();
        let route = |prefix: &str, action| Route {
            name: prefix.into(),
            matcher: Matcher { path_prefix: Some(prefix.into()), ..Matcher::default() },
            action,
            timeouts: config.timeouts.clone(),
            retry: Retry::default(),
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
        let site = Rc::new(Arc::new(Site::new(config, 1, None)));
        let (stats, (journal, logged)) = (Arc::new(WorkerStats::default()), channel());
        let mut turn = Turn::new(0, site.clone(), stats.clone(), Box::new(Lines(journal)), 1);
        (turn.now, turn.port) = (Now::new(1_000_000, 0), Some(8080));
        let session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1000)), 1, &turn);
        Self { session, turn, site, stats, logged, lines: Vec::new() }
    }

    /// Begins to drain the process.
    pub(super) fn drain(&mut self) -> &mut Self {
        (self.turn.is_draining, self.turn.is_leaving) = (true, true);
        self
    }

    /// Accepts another client.
    pub(super) fn accept(&mut self) -> &mut Self {
        self.session = Session::new(Peer::of([10, 0, 0, 1].into(), Some(1001)), 2, &self.turn);
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
        self.session.check();
        for ring in [&mut self.session.up, &mut self.session.down] {
            if ring.is_attached() && ring.is_empty() {
                self.turn.buffers.give_back(ring.detach());
            }
        }
        self
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
            let ring = if from_client { &mut self.session.up } else { &mut self.session.down };
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
        while let Some(bytes) = self.session.client_output().map(joined) {
            self.event(Event::ClientTook(bytes.len()));
            all.extend(bytes);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Lets the upstream take everything, and returns it.
    pub(super) fn sent_to_upstream(&mut self) -> String {
        let mut all = Vec::new();
        while let Some(bytes) = self.session.upstream_output().map(joined) {
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
