//! What a reload changes, key by key, for the log.

use super::keys::ROOT;
use super::load::Effective;
use super::schema::{Key, Kind};
use super::tree::{Node, Value};
use std::collections::BTreeMap;
use std::hash::{BuildHasher, RandomState};

/// One text for each key that is changed, new or gone, in the order of the new configuration; gone ones come last.
pub fn changes(old: &Effective, new: &Effective) -> Vec<String> {
    let (mut before, mut after) = (Vec::new(), Vec::new());
    // Of secrets it is told that they differ: each is a number, which means something only here.
    let numbers = RandomState::new();
    let root = About { keys: Some(ROOT), kind: None, is_secret: false, numbers: &numbers };
    flatten(String::new(), old.root(), root, &mut before);
    flatten(String::new(), new.root(), root, &mut after);
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

/// What the schema says of a value.
#[derive(Clone, Copy)]
struct About<'a> {
    /// The keys of a section.
    keys: Option<&'static [Key]>,
    kind: Option<&'static Kind>,
    is_secret: bool,
    numbers: &'a RandomState,
}

impl About<'_> {
    fn of_kind(self, kind: Option<&'static Kind>) -> Self {
        Self { keys: kind.and_then(Kind::keys), kind, ..self }
    }

    /// Of the value of that key.
    fn entry(self, name: &str) -> Self {
        if let Some(Kind::Named { value, .. }) = self.kind {
            return self.of_kind(Some(value));
        }
        let key = self.keys.and_then(|keys| keys.iter().find(|key| key.is_called(name)));
        let is_secret = self.is_secret || key.is_some_and(|key| key.is_secret);
        Self { is_secret, ..self.of_kind(key.map(|key| &key.kind)) }
    }

    /// Of the items of a list.
    fn item(self) -> Self {
        match self.kind {
            Some(Kind::List(kind) | Kind::OneOrList(kind)) => self.of_kind(Some(kind)),
            _ => self,
        }
    }

    fn show(self, value: &Value) -> String {
        let shown = show(value);
        let is_empty = matches!(value, Value::Null | Value::Invalid | Value::List(_) | Value::Map(_));
        if self.is_secret && !is_empty { format!("(secret {:08x})", self.numbers.hash_one(shown) as u32) } else { shown }
    }
}

fn flatten(key: String, node: &Node, about: About, into: &mut Vec<(String, String)>) {
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            // One value may stand where a list of sections may.
            let about = if about.keys.is_none() { about.item() } else { about };
            for entry in entries {
                let dot = if key.is_empty() { "" } else { "." };
                flatten(format!("{key}{dot}{}", entry.key), &entry.node, about.entry(&entry.key), into);
            }
        }
        Value::List(items) if !items.is_empty() => {
            items.iter().enumerate().for_each(|(index, item)| flatten(format!("{key}[{index}]"), item, about.item(), into));
        }
        value => into.push((key, about.show(value))),
    }
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
    #[test]
    fn what_may_be_a_secret_is_not_told() {
        let text = |word: &str| {
            let key = word.repeat(32);
            format!(
                "sticky: {{cookie: {word}, key: {key}}}\nupstreams: [{{host: a, port: 1}}]\nhealth_check: {{headers: {{Authorization: {key}}}}}\n\
                 pools: {{p.q: {{upstreams: [{{host: a, port: 1}}], sticky: {{key: {key}}}, health_check: {{headers: {{X.Y: {key}}}}}}}}}\n\
                 rate_limit: {{requests_per_second: 1, shared: {{redis: \"redis://:{key}@a:1\"}}}}\n"
            )
        };
        let changes = changes(&effective(&text("a")), &effective(&text("b")));
        assert!(changes.contains(&"sticky.cookie: \"a\" -> \"b\"".to_owned()), "{changes:?}");
        let secrets = ["sticky.key", "health_check.headers.Authorization", "pools.p.q.sticky.key", "pools.p.q.health_check.headers.X.Y"];
        for key in secrets.into_iter().chain(["rate_limit.shared.redis"]) {
            let told = changes.iter().find(|change| change.starts_with(&format!("{key}: (secret "))).expect(key);
            assert!(told.contains(" -> (secret "), "{told}");
        }
        assert!(!changes.join("\n").contains("aaa") && !changes.join("\n").contains("bbb"), "{changes:?}");
    }
}
