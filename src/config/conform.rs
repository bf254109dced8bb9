//! Checks a tree against the schema, and reports every deviation. Other names of a key are replaced by its own name; wrong values
//! become [`Value::Invalid`], so that later checks can go on without them. Each source (the file, a variable, an option) is checked
//! by itself here, before they are merged.

use super::mismatch::{mismatch, refuse, twice, unknown_key};
use super::report::Report;
use super::schema::{Key, KeySupport, Kind, Rule};
use super::suggest;
use super::tree::{Location, MapEntry, Node, Path, ShownText, Value};
use super::variables;

/// Checks `node` against `kind`. `name` is the key it stands under, for hints about units and sections.
pub fn conform(kind: &'static Kind, name: &str, node: Node, report: &mut Report) -> Node {
    if matches!(node.value, Value::Invalid) {
        return node;
    }
    let node = variables::settle(kind, node);
    match kind {
        Kind::Bool => match node.value {
            Value::Bool(_) => node,
            _ => mismatch(kind, name, node, report),
        },
        Kind::BoolOr(word) => match &node.value {
            Value::Bool(_) => node,
            Value::Text(text) if text == word => node,
            _ => mismatch(kind, name, node, report),
        },
        Kind::AutoOrInt { .. } if node.text() == Some("auto") => node,
        Kind::Int { min, max } | Kind::AutoOrInt { min, max } => match node.value {
            Value::Int(v) => within(v, *min, *max, node, report),
            _ => mismatch(kind, name, node, report),
        },
        Kind::Amount { unit, min, max } => match (&node.value, node.text().and_then(|text| unit.parse(text))) {
            (Value::Int(v), _) => within(*v, *min, *max, node, report),
            (_, Some(v)) => within(v, *min, *max, node, report),
            _ => mismatch(kind, name, node, report),
        },
        Kind::Text(rule) => match &node.value {
            Value::Text(text) => match (rule.check)(text) {
                Ok(()) => node,
                Err(why) => refuse(&node, report, why),
            },
            _ => mismatch(kind, name, node, report),
        },
        Kind::Choice { words, any_case } => choice(kind, words, *any_case, name, node, report),
        Kind::SectionOr { section, other } => match node.value {
            Value::Map(_) => section_of(section, name, node, report),
            _ => conform(other, name, node, report),
        },
        Kind::Section(keys) => match node.value {
            Value::Map(_) => section_of(keys, name, node, report),
            _ => mismatch(kind, name, node, report),
        },
        Kind::List(item) => match node.value {
            Value::List(_) => list_of(item, name, node, report),
            _ => mismatch(kind, name, node, report),
        },
        Kind::OneOrList(item) => match node.value {
            Value::List(_) => list_of(item, name, node, report),
            _ => conform(item, name, node, report),
        },
        Kind::Named { name: rule, value } => match node.value {
            Value::Map(_) => named(rule, value, node, report),
            _ => mismatch(kind, name, node, report),
        },
    }
}

/// A number, if it is in range.
fn within(v: i128, min: i64, max: i64, node: Node, report: &mut Report) -> Node {
    if (i128::from(min)..=i128::from(max)).contains(&v) {
        return node.with(Value::Int(v));
    }
    refuse(&node, report, format!("{v} is out of range, allowed: {min} to {max}"))
}

fn section_of(keys: &'static [Key], section: &str, node: Node, report: &mut Report) -> Node {
    let Node { value: Value::Map(entries), place, path } = node else { return node };
    let mut kept: Vec<MapEntry> = Vec::with_capacity(entries.len());
    for MapEntry { key: written, place: key_place, node } in entries {
        let Some(key) = keys.iter().find(|key| key.is_called(&written)) else {
            unknown_key(keys, section, &written, &key_place, &node, report);
            // The entry stays, so that its key is not reported as missing.
            let node = node.with(Value::Invalid);
            kept.push(MapEntry { key: written, place: key_place, node });
            continue;
        };
        if let Some(first) = kept.iter().find(|entry| entry.key == key.name) {
            report.error_at(&key_place, &node.path, twice(&written, first));
            continue;
        }
        if asks_for_something(&key.kind, &node.value) || restricts_empty(key, &node.value) {
            match key.state {
                KeySupport::Built => {}
                KeySupport::NoEffectYet if is_default(key, &node.value) => {}
                KeySupport::NoEffectYet => report.no_effect_yet(key, &key_place, &node.path),
                KeySupport::Refused(why) => report.error_at(&key_place, &node.path, why),
            }
        }
        let node = match node.value {
            _ if key.nullable && variables::is_null(&node.value) => node.with(Value::Null),
            Value::Null if matches!(key.kind, Kind::List(_) | Kind::OneOrList(_)) => node.with(Value::List(Vec::new())),
            Value::Null if key.kind.can_be_empty() => node.with(Value::Map(Vec::new())),
            _ => conform(&key.kind, key.name, node, report),
        };
        kept.push(MapEntry { key: key.name.to_owned(), place: key_place, node });
    }
    Node::new(Value::Map(kept), place, path)
}

fn named(rule: &Rule, value: &'static Kind, node: Node, report: &mut Report) -> Node {
    let Node { value: Value::Map(entries), place, path } = node else { return node };
    let mut kept: Vec<MapEntry> = Vec::with_capacity(entries.len());
    let mut seen = std::collections::HashMap::new();
    for MapEntry { key, place: key_place, node } in entries {
        if let Some(&first) = seen.get(&key) {
            let first: &MapEntry = &kept[first];
            report.error_at(&key_place, &node.path, twice(&key, first));
            continue;
        }
        if let Err(why) = (rule.check)(&key) {
            report.error_at(&key_place, &node.path, why);
        }
        let node = match node.value {
            Value::Null if value.can_be_empty() => node.with(Value::Map(Vec::new())),
            _ => conform(value, "", node, report),
        };
        seen.insert(key.clone(), kept.len());
        kept.push(MapEntry { key, place: key_place, node });
    }
    Node::new(Value::Map(kept), place, path)
}

fn list_of(item: &'static Kind, name: &str, node: Node, report: &mut Report) -> Node {
    let Node { value: Value::List(items), place, path } = node else { return node };
    let items = items.into_iter().map(|node| conform(item, name, node, report)).collect();
    Node::new(Value::List(items), place, path)
}

fn choice(kind: &Kind, words: &'static [&'static str], any_case: bool, name: &str, node: Node, report: &mut Report) -> Node {
    let Value::Text(text) = &node.value else { return mismatch(kind, name, node, report) };
    if let Some(word) = words.iter().find(|word| *word == text || (any_case && word.eq_ignore_ascii_case(text))) {
        return node.with(Value::Text((*word).to_owned()));
    }
    let meant = suggest::closest(text, words.iter().copied()).map(|word| format!(", did you mean {word}?")).unwrap_or_default();
    let stop = if meant.is_empty() { "," } else { "" };
    let message = format!("unknown value \"{}\"{meant}{stop} allowed: {}", ShownText(text), words.join(", "));
    refuse(&node, report, message)
}

/// Whether a value asks for the function of its key. Turning off what does not exist yet deserves no warning. An empty section
/// (`cache: {}`) does ask for it.
fn asks_for_something(kind: &Kind, value: &Value) -> bool {
    fn any(value: &Value) -> bool {
        match value {
            Value::Null | Value::Bool(false) | Value::Int(0) | Value::Invalid => false,
            Value::Filled(text) => !matches!(text.as_str(), "" | "~" | "null" | "false" | "0"),
            Value::List(items) => !items.is_empty(),
            Value::Map(entries) => entries.iter().any(|entry| any(&entry.node.value)),
            _ => true,
        }
    }
    matches!((kind, value), (Kind::Section(_), Value::Map(entries)) if entries.is_empty()) || any(value)
}

/// Whether an empty value under a key without its function means that nobody is allowed in: `allow: []`, `basic_auth: {users: {}}`.
fn restricts_empty(key: &Key, value: &Value) -> bool {
    let is_there = matches!(value, Value::Map(_) | Value::List(_));
    is_there && matches!(key.state, KeySupport::Refused(_)) && (matches!(key.kind, Kind::Section(_)) || key.name == "allow")
}

/// Whether it repeats the default, as everything does that `--print` has filled in.
fn is_default(key: &Key, value: &Value) -> bool {
    let default = super::file::parse(key.default).map_or(Value::Invalid, |node| node.value);
    match (value, default) {
        (Value::Bool(value), Value::Bool(default)) => *value == default,
        (Value::Int(value), Value::Int(default)) => *value == default,
        (Value::Text(value), Value::Text(default)) => *value == default,
        _ => false,
    }
}

/// The path that `names` (which may be other names of keys) lead to, in the names of the schema, and the kind of its value.
pub fn lookup(root: &'static [Key], names: &[String]) -> Option<(Vec<String>, &'static Kind)> {
    let mut path = Vec::with_capacity(names.len());
    let mut kind: Option<&'static Kind> = None;
    for step in names {
        if let Some(Kind::Named { value, .. }) = kind {
            path.push(step.clone());
            kind = Some(value);
        } else {
            let keys = kind.map_or(Some(root), Kind::keys)?;
            let key = keys.iter().find(|key| key.is_called(step))?;
            path.push(key.name.to_owned());
            kind = Some(&key.kind);
        }
    }
    Some((path, kind?))
}

/// Fills the defaults of `keys` into a section and its subsections. Lists and sections under free names are left as written: there, a
/// missing key is inherited.
pub fn fill(keys: &'static [Key], section: &mut Node) {
    let written = match std::mem::replace(&mut section.value, Value::Null) {
        Value::Map(entries) => entries,
        _ => Vec::new(),
    };
    let mut written: Vec<Option<MapEntry>> = written.into_iter().map(Some).collect();
    let mut filled = Vec::with_capacity(keys.len());
    for key in keys {
        let found = written.iter_mut().find(|entry| entry.as_ref().is_some_and(|entry| entry.key == key.name)).and_then(Option::take);
        let path = section.path.key(key.name);
        let mut entry = match found {
            Some(entry) => entry,
            None if key.default.is_empty() && (key.nullable || !matches!(key.kind, Kind::Section(_))) => continue,
            None => MapEntry { key: key.name.to_owned(), place: Location::Nowhere, node: default(key, path) },
        };
        if let (Kind::Section(keys), Value::Map(_)) = (&key.kind, &entry.node.value) {
            fill(keys, &mut entry.node);
        }
        filled.push(entry);
    }
    section.value = Value::Map(filled);
}

fn default(key: &'static Key, path: Path) -> Node {
    let empty = || Value::Map(Vec::new());
    let value = if key.default.is_empty() { empty() } else { super::file::parse(key.default).map_or_else(|_| empty(), |node| node.value) };
    Node::new(value, Location::Nowhere, path)
}
