//! Converts routes: each has exactly one action, and its pool must exist.

use std::collections::{HashMap, HashSet};

use super::address;
use super::guards;
use super::model::{Action, ListenerConfig, Matcher, PoolConfig, RateLimit, Route};
use super::report::Report;
use super::suggest;
use super::tree::{Node, ShownText, Value};
use super::values::{int, text, timeouts};

/// The actions, of which a route has exactly one.
const ACTIONS: [&str; 6] = ["proxy", "static_files", "echo", "respond", "redirect", "admin"];

/// The list under `routes`.
pub fn read(root: &Node, pools: &[PoolConfig], listeners: &[ListenerConfig], rate: Option<&RateLimit>, report: &mut Report) -> Vec<Route> {
    let written = root.get("pools").map(Node::entries).unwrap_or_default();
    let mut reader = RouteReader {
        root,
        pools,
        rate,
        index: pools.iter().enumerate().map(|(index, pool)| (pool.name.as_str(), index)).collect(),
        written: written.iter().map(|entry| (entry.key.as_str(), &entry.node)).collect(),
        ports: listeners.iter().filter_map(|listener| listener.address.port()).collect(),
        report,
    };
    let mut catch_all: Option<&Node> = None;
    let mut routes = Vec::new();
    for node in root.get("routes").map(Node::items).unwrap_or_default().iter().filter(|node| !node.is_invalid()) {
        if let Some(before) = catch_all {
            reader.report.warn(node, format!("is never reached: {} takes every request", before.path));
        }
        if node.get("match").is_none_or(|matcher| matcher.entries().is_empty() && !matcher.is_invalid()) {
            catch_all = catch_all.or(Some(node));
        }
        routes.extend(reader.route(node));
    }
    routes
}

/// What routes are read with.
struct RouteReader<'a> {
    root: &'a Node,
    pools: &'a [PoolConfig],
    rate: Option<&'a RateLimit>,
    /// The index of each pool, by name.
    index: HashMap<&'a str, usize>,
    /// The sections under `pools`, by name.
    written: HashMap<&'a str, &'a Node>,
    ports: HashSet<u16>,
    report: &'a mut Report,
}

impl RouteReader<'_> {
    fn route(&mut self, node: &Node) -> Option<Route> {
        let name = node.get("name").and_then(Node::text).map_or_else(|| node.path.to_string(), str::to_owned);
        let matcher = node.get("match").map(|matcher| self.matcher(matcher)).unwrap_or_default();
        let given: Vec<(&str, &Node)> = ACTIONS.iter().filter_map(|action| Some((*action, node.get(action)?))).collect();
        let mut actions: Vec<Option<Action>> = given.iter().map(|(kind, action)| self.action(kind, action, &name)).collect();
        match given.as_slice() {
            [] if node.has_invalid() => {}
            [] => self.report.error(node, format!("a route needs an action, one of {}", ACTIONS.join(", "))),
            [_] => {}
            [(first, _), (_, second), ..] => {
                self.report.error(second, format!("a second action besides {first}, a route has exactly one"));
            }
        }
        let action = actions.pop()??;
        let pool = match action {
            Action::Proxy { pool } => self.written.get(self.pools[pool].name.as_str()),
            _ => None,
        };
        let layers = [self.root.get("timeouts"), pool.and_then(|pool| pool.get("timeouts")), node.get("timeouts")];
        let own_limit = node.get("limits").and_then(|limits| limits.get("max_body_size"));
        let limit = own_limit.or_else(|| self.root.get("limits")?.get("max_body_size"));
        let owners = [Some(self.root), pool.copied(), Some(node)];
        // A route's own rate section replaces what it sets; pools have none.
        let rate_limit = match node.written("rate_limit") {
            Some(_) => guards::rate_limit(&[Some(self.root), Some(node)], self.report),
            None => self.rate.cloned(),
        };
        Some(Route {
            name,
            matcher,
            action,
            timeouts: timeouts(&layers),
            retry: guards::retry(&owners),
            owns_budget: node.written("retry").is_some_and(|retry| retry.has("budget_percent")),
            rate_limit,
            access_log: node.get("access_log").is_none_or(|node| !matches!(node.value, Value::Bool(false))),
            max_body_size: limit.and_then(Node::int).unwrap_or_default(),
        })
    }

    fn action(&mut self, kind: &str, node: &Node, route: &str) -> Option<Action> {
        match kind {
            "proxy" => self.proxy(node),
            "echo" => {
                let name = node.get("name").and_then(Node::text).unwrap_or(route);
                Some(Action::Echo { name: name.to_owned() })
            }
            "respond" => {
                let status = node.get("status").map_or(Some(200), Node::int)?;
                Some(Action::Respond { status, body: text(node, "body").to_owned() })
            }
            "admin" => Some(Action::Unbuilt),
            "static_files" => self.unbuilt(node, "root", "a directory, such as {root: public}"),
            _ => self.unbuilt(node, "location", "a target, such as {location: \"https://{host}{uri}\"}"),
        }
    }

    fn proxy(&mut self, node: &Node) -> Option<Action> {
        /// How many pools a message lists.
        const SHOWN: usize = 20;
        let wanted = node.text()?;
        if let Some(&pool) = self.index.get(wanted) {
            if pool == 0 && self.pools[0].upstreams.is_empty() {
                self.report.warn(node, "the pool default has no upstreams: every request is answered 503");
            }
            return Some(Action::Proxy { pool });
        }
        let names: Vec<&str> = self.pools.iter().take(SHOWN).map(|pool| pool.name.as_str()).collect();
        let meant = suggest::closest(wanted, names.iter().copied()).map_or(",".into(), |name| format!(", did you mean {name}?"));
        let more = if self.pools.len() > SHOWN { ", …" } else { "" };
        self.report.error(node, format!("unknown pool \"{}\"{meant} there are: {}{more}", ShownText(wanted), names.join(", ")));
        None
    }

    fn unbuilt(&mut self, node: &Node, key: &str, what: &str) -> Option<Action> {
        if !node.has_invalid() && !node.has(key) {
            self.report.error(node, format!("{key} is missing: {what}"));
        }
        Some(Action::Unbuilt)
    }

    fn matcher(&mut self, node: &Node) -> Matcher {
        let owned = |key| node.get(key).and_then(Node::text).map(str::to_owned);
        let methods = node.get("methods").map(Node::items).unwrap_or_default();
        let matcher = Matcher {
            host: owned("host").map(|host| address::normal_pattern(&host)),
            path: owned("path").and_then(|path| address::normal_path(&path)),
            path_prefix: owned("path_prefix").and_then(|path| address::normal_path(&path)),
            methods: methods.iter().filter_map(Node::text).map(str::to_owned).collect(),
            port: node.get("port").map(|_| int(node, "port")),
        };
        if let (Some(port), Some(at)) = (matcher.port, node.get("port"))
            && !at.is_invalid()
            && !self.ports.contains(&port)
            && !self.ports.contains(&0)
        {
            self.report.warn(at, format!("nothing listens on port {port}: no request matches"));
        }
        matcher
    }
}
