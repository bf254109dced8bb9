//! `tidegate echo`.

use super::args::Echo;
use super::end::End;
use crate::config::model::{Action, Matcher, Retry, Route};
use crate::config::{self, ConfigSources, Loaded};
use std::path::PathBuf;

/// A test backend is a proxy without upstreams that echoes on each of its addresses. It reads no file and no variable, because those
/// are meant for the proxy beside it.
pub(super) fn echo(echo: &Echo, cwd: PathBuf) -> Result<Loaded, End> {
    let sources = ConfigSources { alone: true, cwd, listen: Some(("HOST:PORT", echo.addresses.clone())), ..ConfigSources::default() };
    let mut loaded = config::load(sources)?;
    loaded.config.metrics_listen = None;
    loaded.warnings.clear();
    let config = &mut loaded.config;
    let routes = config.listeners.iter().zip(&echo.addresses).map(|(listener, written)| Route {
        name: written.clone(),
        // Port 0 becomes some other port, and a Unix socket has none, so such a route must match any port.
        matcher: Matcher { port: listener.address.port().filter(|port| *port != 0), ..Matcher::default() },
        action: Action::Echo { name: echo.name.clone().unwrap_or_else(|| written.clone()) },
        timeouts: config.timeouts.clone(),
        retry: Retry::default(),
        owns_budget: false,
        rate_limit: None,
        access_log: true,
        max_body_size: 0,
    });
    let mut routes: Vec<Route> = routes.collect();
    routes.sort_by_key(|route| route.matcher.port.is_none());
    config.routes = routes;
    Ok(loaded)
}
