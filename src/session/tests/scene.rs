//! The stage: a session, everything that a turn lends it, and a pretended shell.

use crate::base::clock::Now;
use crate::base::pool::BufferPool;
use crate::config::model::{Action, Config, Matcher, Retry, Route, Upstream};
use crate::config::{Sources, load};
use crate::http::date::DateCache;
use crate::http::head::SmallTable;
use crate::observe::access::Record;
use crate::observe::stats::WorkerStats;
use crate::session::{Effect, Event, Exchange, Journal, Session, Turn};
use crate::site::Site;
use crate::upstream::pool::OpenCircuit;
use std::io::IoSlice;
use std::rc::Rc;
use std::sync::Arc;

/// The request of most scenes.
pub(super) const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";

/// Lines as `status error`.
#[derive(Default)]
struct Lines(Vec<String>);

impl Journal for Lines {
    fn is_on(&self) -> bool {
        true
    }

    fn line(&mut self, record: &Record) {
        self.0.push(format!("{} {}", record.status, record.error.unwrap_or("-")));
    }
}

/// See the module.
pub(super) struct Scene {
    pub(super) session: Session,
    pub(super) site: Rc<Arc<Site>>,
    pub(super) stats: WorkerStats,
    pub(super) is_draining: bool,
    now: Now,
    lines: Lines,
    effects: Vec<Effect>,
    rng: fastrand::Rng,
    date: DateCache,
    exchanges: Vec<Box<Exchange>>,
    buffers: BufferPool,
    open_circuits: Vec<OpenCircuit>,
    table: Option<Box<SmallTable>>,
}

/// Lends everything but the session.
macro_rules! turn {
    ($scene:ident) => {
        Turn {
            now: $scene.now,
            site: &$scene.site,
            worker: 0,
            port: 8080,
            is_admin: false,
            is_draining: $scene.is_draining,
            is_leaving: $scene.is_draining,
            rng: &mut $scene.rng,
            date: &mut $scene.date,
            stats: &$scene.stats,
            journal: &mut $scene.lines,
            exchanges: &mut $scene.exchanges,
            buffers: &mut $scene.buffers,
            open_circuits: &mut $scene.open_circuits,
            table: &mut $scene.table,
            effects: &mut $scene.effects,
        }
    };
}

impl Scene {
    /// With the defaults but no retries, one upstream, and `/respond` and `/echo` answered here.
    pub(super) fn new() -> Self {
        Self::with(|_| {})
    }

    /// With a configuration of its own.
    pub(super) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = load(Sources { alone: true, ..Sources::default() }).unwrap_or_else(|_| unreachable!()).config;
        config.pools[0].upstreams =
            vec![Upstream { name: "origin".into(), host: "127.0.0.1".into(), port: 1, tls: false, weight: 1, is_checked: true }];
        config.pools[0].retry = Retry::default();
        let route = |prefix: &str, action| Route {
            name: prefix.into(),
            matcher: Matcher { path_prefix: Some(prefix.into()), ..Matcher::default() },
            action,
            timeouts: config.timeouts.clone(),
            retry: Retry::default(),
            rate_limit: None,
            max_body_size: config.limits.max_body_size,
        };
        config.routes = vec![
            route("/respond", Action::Respond { status: 200, body: "fixed".into() }),
            route("/echo", Action::Echo { name: "e".into() }),
        ];
        change(&mut config);
        let buffers = BufferPool::new(config.limits.buffer_size);
        let site = Rc::new(Arc::new(Site::new(config, 1, None)));
        let (mut rng, mut date, stats, mut lines) =
            (fastrand::Rng::with_seed(1), DateCache::default(), WorkerStats::default(), Lines::default());
        let now = Now { micros: 1_000_000, wall_ms: 0 };
        let session = Session::new(
            ([10, 0, 0, 1], 1000).into(),
            1,
            &Turn {
                now,
                site: &site,
                worker: 0,
                port: 8080,
                is_admin: false,
                is_draining: false,
                is_leaving: false,
                rng: &mut rng,
                date: &mut date,
                stats: &stats,
                journal: &mut lines,
                exchanges: &mut Vec::new(),
                buffers: &mut BufferPool::new(4096),
                open_circuits: &mut Vec::new(),
                table: &mut None,
                effects: &mut Vec::new(),
            },
        );
        Self {
            session,
            site,
            stats,
            is_draining: false,
            now,
            lines,
            effects: Vec::new(),
            rng,
            date,
            exchanges: Vec::new(),
            buffers,
            open_circuits: Vec::new(),
            table: None,
        }
    }

    /// A request is under way on a fresh connection, and what could be sent of it is out.
    pub(super) fn streaming(request: &str) -> Self {
        let mut scene = Self::new();
        scene.client(request).event(Event::UpstreamConnected { reused: false });
        scene.sent_to_upstream();
        scene.effects();
        scene
    }

    /// Anything else that happens.
    pub(super) fn event(&mut self, event: Event) -> &mut Self {
        let mut turn = turn!(self);
        self.session.handle(event, &mut turn);
        self.session.check();
        for ring in [&mut self.session.up, &mut self.session.down] {
            if ring.is_attached() && ring.is_empty() {
                self.buffers.give_back(ring.detach());
            }
        }
        self
    }

    /// The client's bytes come, as many at once as there is room for.
    pub(super) fn client(&mut self, bytes: &str) -> &mut Self {
        self.fill(bytes.as_bytes(), true)
    }

    /// The upstream's.
    pub(super) fn upstream(&mut self, bytes: &str) -> &mut Self {
        self.fill(bytes.as_bytes(), false)
    }

    fn fill(&mut self, mut bytes: &[u8], from_client: bool) -> &mut Self {
        while !bytes.is_empty() {
            let wanted = if from_client { self.session.wants_client() } else { self.session.wants_upstream() };
            assert!(wanted, "{} bytes are not wanted", bytes.len());
            let ring = if from_client { &mut self.session.up } else { &mut self.session.down };
            if !ring.is_attached() {
                ring.attach(self.buffers.lend());
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

    /// The client's socket takes all that there is.
    pub(super) fn sent_to_client(&mut self) -> String {
        let mut all = Vec::new();
        while let Some(bytes) = self.session.client_output().map(joined) {
            self.event(Event::ClientTook(bytes.len()));
            all.extend(bytes);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// The upstream's does.
    pub(super) fn sent_to_upstream(&mut self) -> String {
        let mut all = Vec::new();
        while let Some(bytes) = self.session.upstream_output().map(joined) {
            self.event(Event::UpstreamTook(bytes.len()));
            all.extend(bytes);
        }
        String::from_utf8_lossy(&all).into_owned()
    }

    /// Time passes; a deadline that comes in it is told.
    pub(super) fn wait(&mut self, ms: u64) -> &mut Self {
        self.now.micros += ms * 1000;
        if self.session.next_deadline().is_some_and(|at| at <= self.now.millis()) {
            self.event(Event::Deadline);
        }
        self
    }

    /// What was asked of the shell since the last call.
    pub(super) fn effects(&mut self) -> Vec<Effect> {
        std::mem::take(&mut self.effects)
    }

    /// The access log so far.
    pub(super) fn lines(&self) -> Vec<String> {
        self.lines.0.clone()
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
