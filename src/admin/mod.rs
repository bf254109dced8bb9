//! The admin port: its paths and pages. Pages are rendered on a helper thread, because a large configuration takes long.

mod health;

use crate::guard::door::Door;
use crate::observe::exposition;
use crate::observe::reason::Reason;
use crate::observe::stats::WorkerStats;
use crate::observe::writer::Writer;
use crate::site::Site;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A page. The cheap ones that probes depend on come first in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdminPage {
    /// `/live`
    Live,
    /// `/ready`
    Ready,
    /// `/health`
    Health,
    /// `/` for a browser.
    Index,
    /// `/backends/health`
    Backends,
    /// `/metrics`
    Metrics,
}

/// A rendered page, shared by all who wait for it.
#[derive(Clone, Debug)]
pub struct RenderedPage {
    /// The status: 200 or 503.
    pub status: u16,
    /// The value of `Content-Type`.
    pub content_type: &'static str,
    /// The content.
    pub content: Arc<[u8]>,
}

/// What the pages show. The process has one.
#[derive(Debug)]
pub struct AdminState {
    /// The counters of every worker.
    pub stats: Vec<Arc<WorkerStats>>,
    /// The listening addresses at present.
    pub doors: Mutex<Vec<Arc<Door>>>,
    /// The writer of all logs.
    pub writer: Arc<Writer>,
    /// Whether the start is over.
    pub started_up: AtomicBool,
    /// Whether the process is about to end.
    pub draining: AtomicBool,
    /// Number of reloads that were applied.
    pub reloads_ok: AtomicU64,
    /// Number of reloads that were refused.
    pub reloads_error: AtomicU64,
    /// When the process began.
    pub started: Instant,
}

/// Which page a request asks for, by the normal form of its path. `/` is an index for browsers, and the metrics for all others.
pub fn find(method: &str, path: &[u8], accepts_html: impl FnOnce() -> bool) -> Result<AdminPage, Reason> {
    let page = match path {
        b"/" if accepts_html() => AdminPage::Index,
        b"/" => AdminPage::Metrics,
        b"/live" => AdminPage::Live,
        b"/ready" => AdminPage::Ready,
        b"/metrics" => AdminPage::Metrics,
        b"/health" => AdminPage::Health,
        b"/backends/health" => AdminPage::Backends,
        _ => return Err(Reason::DestinationNotFound),
    };
    if matches!(method, "GET" | "HEAD") { Ok(page) } else { Err(Reason::MethodNotAllowed) }
}

impl AdminState {
    /// Renders a page.
    pub fn render(&self, page: AdminPage, site: &Site) -> RenderedPage {
        match page {
            AdminPage::Metrics => self.metrics(site),
            AdminPage::Health => health::summary(self, site),
            AdminPage::Backends => health::backends(site),
            AdminPage::Live => health::live(),
            AdminPage::Ready => health::ready(self),
            AdminPage::Index => index(),
        }
    }

    /// Replaces the listening addresses.
    pub fn set_doors(&self, doors: Vec<Arc<Door>>) {
        *self.doors.lock().unwrap_or_else(PoisonError::into_inner) = doors;
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether the start is over.
    pub fn has_started(&self) -> bool {
        self.started_up.load(Relaxed)
    }

    fn metrics(&self, site: &Site) -> RenderedPage {
        let upstreams: Vec<_> = site
            .servers()
            .map(|(pool, server)| exposition::UpstreamView {
                pool: &pool.name,
                name: &server.config.name,
                cells: &server.cells,
                usable: server.is_healthy(),
                circuit: server.circuit.state() as u8,
            })
            .collect();
        let doors = self.doors.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let listeners: Vec<_> = doors
            .iter()
            .map(|door| {
                let (evicted, full) = door.counts();
                exposition::ListenerView { name: door.name(), evicted, full }
            })
            .collect();
        let sources = exposition::Scrape {
            workers: &self.stats,
            listeners: &listeners,
            upstreams: &upstreams,
            reloads_ok: self.reloads_ok.load(Relaxed),
            reloads_error: self.reloads_error.load(Relaxed),
            access_lost: self.writer.access_lost(),
            version: env!("CARGO_PKG_VERSION"),
        };
        RenderedPage { status: 200, content_type: exposition::CONTENT_TYPE, content: exposition::render(&sources).into() }
    }
}

/// Links to the other pages, for a person with a browser.
fn index() -> RenderedPage {
    let content = "<!doctype html>\n<title>tidegate</title>\n<h1>tidegate</h1>\n<ul>\n\
        <li><a href=\"/metrics\">/metrics</a>: Prometheus text</li>\n\
        <li><a href=\"/health\">/health</a>: whether it can serve</li>\n\
        <li><a href=\"/backends/health\">/backends/health</a>: each upstream</li>\n\
        <li><a href=\"/live\">/live</a>, <a href=\"/ready\">/ready</a>: for probes</li>\n</ul>\n";
    RenderedPage { status: 200, content_type: "text/html; charset=utf-8", content: content.as_bytes().into() }
}
