//! The admin port: its paths and pages. Pages are rendered on a helper thread, because a large configuration takes long.

mod health;
mod state;

pub use state::{AdminState, RenderedPage};

use crate::config::model::Config;
use crate::observe::exposition;
use crate::observe::reason::Reason;
use crate::site::Site;
use std::collections::BTreeMap;
use std::sync::PoisonError;
use std::sync::atomic::Ordering::Relaxed;

/// A page. The cheap ones that probes depend on come first in the order.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum AdminPage {
    Live,
    Ready,
    Health,
    /// `/` for a browser.
    Index,
    Backends,
    Metrics,
}

/// A path, and the page that is there.
#[derive(Debug)]
pub struct PageRoute {
    path: &'static str,
    page: AdminPage,
    /// The page for those who accept HTML.
    for_browsers: AdminPage,
}

/// The paths of the admin port. `/` is an index for browsers, and the metrics for all others.
pub const ROUTES: &[PageRoute] = &[
    PageRoute { path: "/", page: AdminPage::Metrics, for_browsers: AdminPage::Index },
    PageRoute::of("/live", AdminPage::Live),
    PageRoute::of("/ready", AdminPage::Ready),
    PageRoute::of("/metrics", AdminPage::Metrics),
    PageRoute::of("/health", AdminPage::Health),
    PageRoute::of("/backends/health", AdminPage::Backends),
];

impl PageRoute {
    const fn of(path: &'static str, page: AdminPage) -> Self {
        Self { path, page, for_browsers: page }
    }
}

/// Which page a request asks for, by the normal form of its path.
pub fn find(routes: &[PageRoute], method: &str, path: &[u8], accepts_html: impl FnOnce() -> bool) -> Result<AdminPage, Reason> {
    let route = routes.iter().find(|route| route.path.as_bytes() == path).ok_or(Reason::DestinationNotFound)?;
    let page = if route.page != route.for_browsers && accepts_html() { route.for_browsers } else { route.page };
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

    fn metrics(&self, site: &Site) -> RenderedPage {
        let upstreams: Vec<_> = site
            .servers()
            .map(|(pool, server)| exposition::UpstreamView {
                pool: &pool.name,
                name: &server.config.name,
                address: server.address.as_ref().map(ToString::to_string).unwrap_or_default(),
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
            certificates: &certificates(&site.config),
            upstreams: &upstreams,
            reloads_ok: self.reloads_ok.load(Relaxed),
            reloads_error: self.reloads_error.load(Relaxed),
            access_lost: self.writer.access_lost(),
            version: env!("CARGO_PKG_VERSION"),
        };
        RenderedPage { status: 200, content_type: exposition::CONTENT_TYPE, content: exposition::render(&sources).into() }
    }
}

/// The certificates that clients may get, and those that upstreams are shown. A series has one value, so of those with one name the first to expire counts.
fn certificates(config: &Config) -> Vec<(&str, u64)> {
    let mut ends = BTreeMap::new();
    let of_listeners = config.listeners.iter().filter_map(|listener| listener.tls.as_ref()).flat_map(|tls| &tls.identities);
    let of_pools = config.pools.iter().filter_map(|pool| pool.tls.as_ref()?.identity());
    for identity in of_listeners.chain(of_pools) {
        let end = ends.entry(identity.name.as_str()).or_insert(u64::MAX);
        *end = identity.validity.1.min(*end);
    }
    ends.into_iter().collect()
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
