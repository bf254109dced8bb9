//! What a reload changes, key by key, for the log.

use super::load::Effective;
use super::tree::{Node, Value};
use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};

/// One text for each key that is changed, new or gone, in the order of the new configuration; gone ones come last.
pub fn changes(old: &Effective, new: &Effective) -> Vec<String> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    flatten(String::new(), old.root(), &mut before);
    flatten(String::new(), new.root(), &mut after);
    let mut rest: BTreeMap<String, String> = before.into_iter().collect();
    let mut changes = Vec::new();
    for (key, value) in after {
        match rest.remove(&key) {
            Some(old) if old == value => {}
            Some(old) => changes.push(format!("{key}: {old} -> {value}")),
            None => changes.push(format!("{key}: {value} (new)")),
        }
    }
    changes.extend(rest.into_iter().map(|(key, old)| format!("{key}: {old} (gone)")));
    changes
}

fn flatten(key: String, node: &Node, into: &mut Vec<(String, String)>) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            for entry in entries {
                let dot = if key.is_empty() { "" } else { "." };
                flatten(format!("{key}{dot}{}", entry.key), &entry.node, into);
            }
        }
        Value::List(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| flatten(format!("{key}[{index}]"), item, into));
        }
        value => {
            let shown = if is_secret(&key) { hidden(value) } else { show(value) };
            into.push((key, shown));
        }
    }
}

fn is_secret(key: &str) -> bool {
    key.ends_with("sticky.key")
}

/// A number that tells values apart, and nothing else.
fn hidden(value: &Value) -> String {
    let mut hasher = DefaultHasher::new();
    show(value).hash(&mut hasher);
    if matches!(value, Value::Null) { "null".into() } else { format!("(secret {:04x})", hasher.finish() as u16) }
}

fn show(value: &Value) -> String {
    match value {
        Value::Null | Value::Invalid => "null".into(),
        Value::Bool(value) => value.to_string(),
        Value::Int(value) => value.to_string(),
        Value::Float(value) => value.to_string(),
        Value::Text(value) | Value::Filled(value) => format!("{value:?}"),
        Value::List(_) => "[]".into(),
        Value::Map(_) => "{}".into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{ConfigSources, load};

    fn effective(text: &str) -> Effective {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("config.yaml"), text).unwrap();
        load(ConfigSources { cwd: folder.path().into(), ..ConfigSources::default() }).unwrap().effective
    }

    #[test]
    fn each_key_that_is_another_is_named() {
        let old = effective("limits: {max_headers: 7}\nupstreams: [{host: a, port: 1}, {host: b, port: 2}]\n");
        let new = effective("limits: {max_headers: 8}\nupstreams: [{host: a, port: 1, weight: 3}]\n");
        let changes = changes(&old, &new);
        assert!(changes.contains(&"limits.max_headers: 7 -> 8".to_owned()), "{changes:?}");
        assert!(changes.iter().any(|change| change.starts_with("upstreams[0].weight: ") && change.contains('3')), "{changes:?}");
        assert!(changes.contains(&"upstreams[1].host: \"b\" (gone)".to_owned()), "{changes:?}");
        assert!(super::changes(&old, &old).is_empty());
    }
}
