//! Routes, written -> meant: exactly one action each, and a pool that exists.

use super::check::{health_check, int, text, timeouts};
use super::model::{Action, Listener, Matcher, Pool, Route};
use super::report::Report;
use super::suggest;
use super::tree::{Node, Shown};

/// A route does one of these.
const ACTIONS: [&str; 5] = ["proxy", "static_files", "echo", "respond", "redirect"];

/// The list under `routes`.
pub fn mean(root: &Node, pools: &[Pool], listeners: &[Listener], report: &mut Report) -> Vec<Route> {
    let mut catch_all: Option<&Node> = None;
    let mut routes = Vec::new();
    for node in root.get("routes").map(Node::items).unwrap_or_default() {
        if node.is_invalid() {
            continue;
        }
        if let Some(before) = catch_all {
            report.warn(node, format!("is never reached: {} takes every request", before.path));
        }
        if node.get("match").is_none_or(|matcher| matcher.entries().is_empty()) {
            catch_all = catch_all.or(Some(node));
        }
        if let Some(route) = route(node, root, pools, listeners, report) {
            routes.push(route);
        }
    }
    routes
}

fn route(node: &Node, root: &Node, pools: &[Pool], listeners: &[Listener], report: &mut Report) -> Option<Route> {
    let name = node.get("name").and_then(Node::text).map_or_else(|| node.path.to_string(), str::to_owned);
    let given: Vec<(&str, &Node)> = ACTIONS.iter().filter_map(|action| Some((*action, node.get(action)?))).collect();
    let action = match given.as_slice() {
        [] => {
            report.error(node, format!("a route needs an action, one of {}", ACTIONS.join(", ")));
            return None;
        }
        [(kind, action)] => action_of(kind, action, &name, pools, report)?,
        [(first, _), (_, second), ..] => {
            for (kind, action) in &given {
                action_of(kind, action, &name, pools, report);
            }
            report.error(second, format!("a second action besides {first}, a route has exactly one"));
            return None;
        }
    };
    let pool = match action {
        Action::Proxy { pool: 0 } => None,
        Action::Proxy { pool } => root.get("pools").and_then(|all| all.get(&pools[pool].name)),
        _ => None,
    };
    health_check(node.get("health_check"), report);
    let own_limit = node.get("limits").and_then(|limits| limits.get("max_body_size"));
    let limit = own_limit.or_else(|| root.get("limits")?.get("max_body_size"));
    Some(Route {
        name,
        matcher: node.get("match").map(|matcher| matcher_of(matcher, listeners, report)).unwrap_or_default(),
        action,
        timeouts: timeouts(&[root.get("timeouts"), pool.and_then(|pool| pool.get("timeouts")), node.get("timeouts")]),
        max_body_size: limit.and_then(Node::int).unwrap_or_default(),
    })
}

fn action_of(kind: &str, node: &Node, route: &str, pools: &[Pool], report: &mut Report) -> Option<Action> {
    match kind {
        "proxy" => {
            let wanted = node.text()?;
            if let Some(pool) = pools.iter().position(|pool| pool.name == wanted) {
                if pool == 0 && pools[0].upstreams.is_empty() {
                    report.warn(node, "the pool default has no upstreams: every request is answered 503");
                }
                return Some(Action::Proxy { pool });
            }
            let names: Vec<&str> = pools.iter().map(|pool| pool.name.as_str()).collect();
            let meant = suggest::closest(wanted, names.iter().copied()).map(|name| format!(", did you mean {name}?")).unwrap_or_default();
            let stop = if meant.is_empty() { "," } else { "" };
            report.error(node, format!("unknown pool \"{}\"{meant}{stop} there are: {}", Shown(wanted), names.join(", ")));
            None
        }
        "echo" => {
            let name = node.get("name").and_then(Node::text).unwrap_or(route);
            Some(Action::Echo { name: name.to_owned() })
        }
        "respond" => {
            let status = node.get("status").map_or(Some(200), Node::int)?;
            Some(Action::Respond { status, body: text(node, "body").to_owned() })
        }
        "static_files" => required(node, "root", "a directory, such as {root: public}", report),
        _ => required(node, "location", "a target, such as {location: \"https://{host}{uri}\"}", report),
    }
}

fn required(node: &Node, key: &str, what: &str, report: &mut Report) -> Option<Action> {
    if !node.is_invalid() && !node.has(key) {
        report.error(node, format!("{key} is missing: {what}"));
    }
    Some(Action::Unbuilt)
}

fn matcher_of(node: &Node, listeners: &[Listener], report: &mut Report) -> Matcher {
    let owned = |key| node.get(key).and_then(Node::text).map(str::to_owned);
    let methods = node.get("methods").map(Node::items).unwrap_or_default();
    let matcher = Matcher {
        host: owned("host").map(|host| host.to_ascii_lowercase()),
        path: owned("path"),
        path_prefix: owned("path_prefix"),
        methods: methods.iter().filter_map(Node::text).map(str::to_owned).collect(),
        port: node.get("port").map(|_| int(node, "port")),
    };
    if let (Some(port), Some(at)) = (matcher.port, node.get("port"))
        && !listeners.iter().any(|listener| [0, port].contains(&listener.address.port()))
    {
        report.warn(at, format!("nothing listens on port {port}: no request matches"));
    }
    matcher
}
