//! What is said of keys and values that do not conform to the schema.

use super::report::Report;
use super::schema::{Key, Kind};
use super::tree::{Location, MapEntry, Node, ShownText, Value};
use super::{hints, suggest};

/// A key that is there already, as `first`.
pub fn twice(key: &str, first: &MapEntry) -> String {
    let line = match first.place {
        Location::File { line, .. } => format!(" (line {line})"),
        _ => String::new(),
    };
    let name = if first.key == key { String::new() } else { format!("; it is another name for {}", first.key) };
    format!("given twice{line}{name}")
}

/// Reports a key that the section does not have, with what may have been meant.
pub fn unknown_key(keys: &'static [Key], section: &str, written: &str, place: &Location, node: &Node, report: &mut Report) {
    let path = &node.path;
    if report.is_full() {
        report.error_at(place, path, "unknown key");
        return;
    }
    if let Some(hint) = hints::foreign(section, written, node) {
        report.error_at(place, path, format!("unknown key{hint}"));
        // Keys in an unknown section may have a hint of where they belong: `server: {listen_addr: …}`.
        for entry in node.entries() {
            if let Some(hint) = hints::foreign(written, &entry.key, &entry.node) {
                report.error_at(&entry.place, &entry.node.path, format!("unknown key{hint}"));
            }
        }
        return;
    }
    let names = || keys.iter().map(|key| key.name);
    let also = keys.iter().map(|key| key.also).filter(|also| !also.is_empty());
    let message = if let Some(meant) = names().find(|name| suggest::same(name, written)) {
        format!("unknown key, did you mean {meant}?")
    } else if let Some(elsewhere) = super::reference::path_of(written) {
        format!("unknown key here, did you mean {elsewhere}?")
    } else if let Some(meant) = suggest::closest(written, names().chain(also)) {
        format!("unknown key, did you mean {meant}?")
    } else {
        format!("unknown key, allowed: {}", names().collect::<Vec<_>>().join(", "))
    };
    report.error_at(place, path, message);
}

/// Reports a value that is not of the kind, with what may have been meant.
pub fn mismatch(kind: &Kind, name: &str, node: Node, report: &mut Report) -> Node {
    let expected = kind.expected();
    let message = match &node.value {
        Value::Text(text) if let Kind::Amount { unit, .. } = kind => {
            let meant = unit.meant(name, text).map(|meant| format!(", {meant}")).unwrap_or_default();
            format!("expected {expected}, found the text \"{}\"{meant}", ShownText(text))
        }
        Value::Text(text) if matches!(kind, Kind::Int { .. } | Kind::AutoOrInt { .. }) => {
            let meant = suggest::plain_number(name, text).map(|n| format!(", write {n}")).unwrap_or_default();
            format!("expected {expected}, found the text \"{}\"{meant}", ShownText(text))
        }
        Value::Int(v) if matches!(kind, Kind::Text(_)) => match kind {
            Kind::Text(rule) if (rule.check)(&v.to_string()).is_err() => {
                format!("expected {expected}: {}", (rule.check)(&v.to_string()).err().unwrap_or_default())
            }
            _ => format!("expected {expected}, found the number {v}, write \"{v}\""),
        },
        Value::Text(text) if matches!(kind, Kind::Bool) && matches!(text.to_ascii_lowercase().as_str(), "yes" | "on") => {
            format!("expected {expected}, found the text \"{text}\", write true")
        }
        Value::Text(text) if matches!(kind, Kind::Bool) && matches!(text.to_ascii_lowercase().as_str(), "no" | "off") => {
            format!("expected {expected}, found the text \"{text}\", write false")
        }
        Value::Text(text) if is_upstream(kind) => {
            let meant = match super::address::host_port(text) {
                Ok((host, port)) => format!(", write {{host: \"{host}\", port: {port}}}"),
                Err(_) if text.contains("://") => format!(", write {{url: \"{}\"}}", ShownText(text)),
                Err(_) => String::new(),
            };
            format!("expected {expected}, found the text \"{}\"{meant}", ShownText(text))
        }
        value => format!("expected {expected}, found {}", found(value)),
    };
    refuse(&node, report, message)
}

/// An item of `upstreams`.
pub fn is_upstream(kind: &Kind) -> bool {
    kind.keys().is_some_and(|keys| keys.iter().any(|key| key.name == "url"))
}

fn found(value: &Value) -> String {
    match value {
        Value::Null => "nothing".into(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => format!("the number {v}"),
        Value::Float(v) => format!("the number {v}"),
        Value::Text(v) | Value::Filled(v) => format!("the text \"{}\"", ShownText(v)),
        Value::List(_) => "a list".into(),
        Value::Map(_) => "a section".into(),
        Value::Invalid => "something else".into(),
    }
}

/// Reports what is wrong with a value, and takes its place.
pub fn refuse(node: &Node, report: &mut Report, message: String) -> Node {
    report.error(node, message);
    node.with(Value::Invalid)
}
