//! The environment and `.env`, as settings that override the file's. The environment is an argument: nothing here reads the process's
//! own.
//!
//! Each variable becomes the smallest document with the same meaning, is checked as such, and its value is put into the tree.

use std::collections::BTreeMap;

use super::conform;
use super::keys::ROOT;
use super::mismatch;
use super::report::Report;
use super::schema::Kind;
use super::setting::{list, put, upstream, word};
use super::tree::{Location, MapEntry, Node, Path, Value};
use super::variables::Variables;
use super::{address, file, suggest};

const PREFIX: &str = "TIDEGATE_";

/// Other names for one key each; the durations are given in seconds.
const SHORT: [(&str, &[&str], bool); 8] = [
    ("LOG_LEVEL", &["logging", "level"], false),
    ("LOG_DIR", &["logging", "dir"], false),
    ("MAX_CONNECTIONS", &["limits", "max_client_conns"], false),
    ("MAX_RETRIES", &["retry", "max_retries"], false),
    ("FAILURE_THRESHOLD", &["circuit_breaker", "failure_threshold"], false),
    ("HEALTH_COOLDOWN", &["circuit_breaker", "timeout_ms"], true),
    ("REQUEST_TIMEOUT_TOTAL", &["timeouts", "attempt_ms"], true),
    ("REQUEST_TIMEOUT_CONNECT", &["timeouts", "connect_ms"], true),
];

/// Names without our prefix that hold a host or a port.
const HOSTS_AND_PORTS: [&str; 9] = [
    "LISTEN_HOST",
    "LISTEN_PORT",
    "PROXY_PORT",
    "DEVPROXY_HOST",
    "DEVPROXY_PORT",
    "METRICS_LISTEN_HOST",
    "METRICS_LISTEN_PORT",
    "UPSTREAM_HOST",
    "UPSTREAM_PORT",
];

/// Applies both to `tree`, `.env` first. Variables that together make one value (`BACKEND_1` …) may come from both.
pub fn apply(dotenv: &Variables, environment: &Variables, tree: &mut Node, report: &mut Report) {
    let set = |from: &Variables| -> Variables { from.iter().filter(|(_, v)| !v.is_empty()).map(|(n, v)| (n.clone(), v.clone())).collect() };
    let (mut environment, mut dotenv) = (set(environment), set(dotenv));
    [&mut environment, &mut dotenv].into_iter().for_each(|layer| leave_services(layer, report));
    dotenv.retain(|name, _| !environment.contains_key(name));
    let mut all = dotenv.clone();
    all.extend(environment.clone());
    for layer in [&dotenv, &environment] {
        EnvironmentLayer { layer, all: &all, tree, report }.apply();
    }
}

/// Kubernetes sets `PROXY_PORT=tcp://10.96.0.10:80` for a Service called `proxy`: such values are ignored, with a warning.
fn leave_services(layer: &mut Variables, report: &mut Report) {
    layer.retain(|name, value| {
        let is_service = HOSTS_AND_PORTS.contains(&name.as_str()) && value.contains("://");
        if is_service {
            let message =
                "is a URL, as Kubernetes sets it for a Service of that name, and ignored; TIDEGATE_LISTEN and the like are ours alone";
            report.warn_at(&Location::named(name), &Path::default(), message);
        }
        !is_service
    });
}

/// The variables of one source, and those of both.
struct EnvironmentLayer<'a> {
    layer: &'a Variables,
    all: &'a Variables,
    tree: &'a mut Node,
    report: &'a mut Report,
}

impl EnvironmentLayer<'_> {
    fn apply(mut self) {
        let mut long: Vec<(&String, Vec<String>, &'static Kind)> = Vec::new();
        for name in self.layer.keys() {
            let Some(rest) = name.strip_prefix(PREFIX) else { continue };
            let steps: Vec<String> = rest.split("__").map(str::to_ascii_lowercase).collect();
            match conform::lookup(ROOT, &steps) {
                Some((path, kind)) => long.push((name, path, kind)),
                // Kubernetes sets TIDEGATE_PORT and the like beside a Service of that name.
                None => self.unknown(name, &steps),
            }
        }
        // `TIDEGATE_…` takes precedence over every other name of the key.
        let taken = |path: &[&str]| long.iter().any(|(_, long, _)| path.starts_with(&long.iter().map(String::as_str).collect::<Vec<_>>()));
        if !taken(&["listen"]) {
            self.listen();
        }
        if !taken(&["metrics_listen"]) {
            self.metrics_listen();
        }
        if !taken(&["upstreams"]) {
            self.upstreams();
        }
        for (name, path, seconds) in SHORT.iter().filter(|(_, path, _)| !taken(path)) {
            self.short(name, path, *seconds);
        }
        // A section comes before the keys in it, so that both apply.
        long.sort_by_key(|(_, path, _)| path.len());
        for (name, path, kind) in &long {
            self.long(name, path, kind);
        }
    }

    fn unknown(&mut self, name: &str, steps: &[String]) {
        // Items of lists, and keys with free names, have no variables of their own.
        let keys = super::reference::rows().into_iter().map(|row| row.key);
        let known = keys.filter(|key| !key.contains(['[', '<'])).collect::<Vec<_>>();
        let meant = suggest::closest(&steps.join("."), known.iter().map(String::as_str));
        let meant = meant.map(|key| format!(", did you mean {PREFIX}{}?", key.to_ascii_uppercase().replace('.', "__"))).unwrap_or_default();
        self.report.warn_at(&Location::named(name), &Path::default(), format!("no key of the configuration, ignored{meant}"));
    }

    fn long(&mut self, name: &str, path: &[String], kind: &'static Kind) {
        let text = &self.layer[name];
        let place = Location::named(name);
        // In YAML a lone dash is a list; as a log's target it means standard output.
        let node = if text == "-" { Ok(Node::new(Value::Text("-".into()), place.clone(), Path::default())) } else { file::parse(text) };
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        match node {
            Ok(node) => {
                let value = self.words(text, node.value, kind, &path, &place);
                put(self.tree, &path, value, &place, self.report)
            }
            Err(error) => self.report.error_at(&place, &Path::default(), format!("is no YAML: {}", error.message)),
        }
    }

    /// Where a list is wanted, words with commas between them are one, as in `UPSTREAMS` and on the command line.
    fn words(&mut self, text: &str, value: Value, kind: &'static Kind, path: &[&str], place: &Location) -> Value {
        let (Kind::List(item) | Kind::OneOrList(item)) = kind else { return value };
        let is_word = matches!(value, Value::Text(_) | Value::Int(_) | Value::Float(_) | Value::Bool(_));
        if !is_word || (matches!(kind, Kind::OneOrList(_)) && !text.contains(',')) {
            return value;
        }
        let path = path.iter().fold(Path::default(), |path, step| path.key(step));
        let words = text.split(',').filter(|word| !word.trim().is_empty()).map(|word| (word, place.clone()));
        list(words, &path, self.report, if mismatch::is_upstream(item) { upstream } else { word })
    }

    fn short(&mut self, name: &str, path: &[&str], seconds: bool) {
        let Some(text) = self.layer.get(name) else { return };
        let place = Location::named(name);
        let value = match (text.parse::<i128>(), milliseconds(text)) {
            (_, Some(ms)) if seconds => Value::Int(ms.into()),
            _ if seconds => {
                self.report.error_at(
                    &place,
                    &Path::default(),
                    format!("expected seconds such as 1.5, found \"{}\"", super::tree::ShownText(text)),
                );
                return;
            }
            (Ok(int), _) if path[0] != "logging" => Value::Int(int),
            _ => Value::Text(text.clone()),
        };
        put(self.tree, path, value, &place, self.report);
    }

    /// The first of `names` that this layer sets.
    fn first(&self, names: &[&str]) -> Option<(String, String)> {
        let name = names.iter().find(|name| self.layer.contains_key(**name))?;
        Some(((*name).to_owned(), self.layer[*name].clone()))
    }

    fn port(&mut self, names: &[&str], lowest: u16) -> Option<(String, u16)> {
        let (name, text) = self.first(names)?;
        match text.parse::<u16>() {
            Ok(port) if port >= lowest && text.bytes().all(|b| b.is_ascii_digit()) => Some((name, port)),
            _ => {
                let message = format!("\"{}\" is no port, allowed: {lowest} to 65535", super::tree::ShownText(&text));
                self.report.error_at(&Location::named(&name), &Path::default(), message);
                None
            }
        }
    }

    fn listen(&mut self) {
        let port = self.port(&["LISTEN_PORT", "PROXY_PORT", "DEVPROXY_PORT"], 0);
        let host = self.first(&["LISTEN_HOST", "DEVPROXY_HOST"]);
        self.change(&["listen"], "127.0.0.1:8080", host, port);
    }

    fn metrics_listen(&mut self) {
        let port = self.port(&["METRICS_LISTEN_PORT"], 0);
        let host = self.first(&["METRICS_LISTEN_HOST"]);
        self.change(&["metrics_listen"], "127.0.0.1:8081", host, port);
    }

    /// Replaces host, port or both in the address at `path` (in a list: in the first).
    fn change(&mut self, path: &[&str], default: &str, host: Option<(String, String)>, port: Option<(String, u16)>) {
        let Some(name) = host.as_ref().map(|(name, _)| name).or(port.as_ref().map(|(name, _)| name)) else { return };
        let place = Location::named(name);
        if !self.tree.has(path[0]) || self.tree.get(path[0]).is_none() {
            put(self.tree, path, Value::Text(default.to_owned()), &place, self.report);
        }
        let Some(text) = first_address(self.tree, path[0]) else { return };
        let Some((old_host, old_port)) = text.text().and_then(|text| address::listen(text).ok()) else { return };
        if let Some((name, Err(why))) = host.as_ref().map(|(name, host)| (name, address::host(host.trim_matches(['[', ']', '*'])))) {
            self.report.error_at(&Location::named(name), &text.path, why);
            *text = text.with(Value::Invalid);
            return;
        }
        let new_host = host.map_or(old_host, |(_, host)| host.trim_matches(['[', ']']).to_owned());
        let changed = address::join(&new_host, port.map_or(old_port, |(_, port)| port));
        let changed = match address::listen(&changed) {
            Ok(_) => Value::Text(changed),
            Err(why) => {
                self.report.error_at(&place, &text.path, why);
                Value::Invalid
            }
        };
        *text = Node::new(changed, place, text.path.clone());
    }

    fn upstreams(&mut self) {
        // Pairs of a variable and one word of it.
        let mut words: Vec<(&str, String)> = Vec::new();
        if let Some(text) = self.layer.get("UPSTREAMS") {
            words.extend(text.split(',').map(|word| ("UPSTREAMS", word.trim().to_owned())).filter(|(_, word)| !word.is_empty()));
        } else if self.layer.keys().any(|name| backend_number(name).is_some()) {
            let all = self.all.iter().filter_map(|(name, value)| Some((backend_number(name)?, (name.as_str(), value.clone()))));
            words.extend(all.collect::<BTreeMap<_, _>>().into_values());
        } else if self.layer.contains_key("UPSTREAM_HOST") || self.layer.contains_key("UPSTREAM_PORT") {
            let Some(host) = self.all.get("UPSTREAM_HOST") else {
                self.report.warn_at(&Location::named("UPSTREAM_PORT"), &Path::default(), "has no effect without UPSTREAM_HOST");
                return;
            };
            let host = host.trim_matches(['[', ']']);
            let port = self.all.get("UPSTREAM_PORT").map_or("80", String::as_str);
            let address = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
            words.push(("UPSTREAM_HOST", if port == "443" { format!("https://{address}") } else { address }));
        }
        let Some((first, _)) = words.first() else { return };
        let place = Location::named(first);
        let words = words.iter().map(|(name, word)| (word.as_str(), Location::named(name)));
        let value = list(words, &Path::default().key("upstreams"), self.report, upstream);
        put(self.tree, &["upstreams"], value, &place, self.report);
    }
}

/// `BACKEND_1` to `BACKEND_99`.
fn backend_number(name: &str) -> Option<u32> {
    let digits = name.strip_prefix("BACKEND_")?;
    let number = digits.parse::<u32>().ok()?;
    ((1..=99).contains(&number) && number.to_string() == digits).then_some(number)
}

/// Seconds with decimals, in milliseconds. A positive value is at least 1, because 0 would mean "no limit".
fn milliseconds(seconds: &str) -> Option<i64> {
    let plain = !seconds.is_empty() && seconds.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    let value = seconds.parse::<f64>().ok().filter(|_| plain)? * 1000.0;
    #[allow(clippy::cast_possible_truncation)]
    let ms = value.min(9e15).round() as i64;
    Some(if ms == 0 && value > 0.0 { 1 } else { ms })
}

fn first_address<'a>(tree: &'a mut Node, key: &str) -> Option<&'a mut Node> {
    let entry = entries_mut(tree).iter_mut().find(|entry| entry.key == key)?;
    let node = match &mut entry.node {
        Node { value: Value::List(items), .. } => items.first_mut()?,
        node => node,
    };
    if matches!(node.value, Value::Map(_)) {
        return entries_mut(node).iter_mut().find(|entry| entry.key == "address").map(|entry| &mut entry.node);
    }
    Some(node)
}

fn entries_mut(node: &mut Node) -> &mut [MapEntry] {
    if let Value::Map(entries) = &mut node.value { entries } else { &mut [] }
}
