//! The schema for people: the table in docs/configuration.md, and the answer to "where does this key belong?".

use std::fmt::Write as _;

use super::keys::ROOT;
use super::schema::{Key, KeySupport, Kind};
use super::suggest;

/// One line of the reference.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Row {
    /// `timeouts.connect_ms`; `[]` stands for each item of a list, `<name>` for a name of your own.
    pub key: String,
    /// The default as YAML; empty if there is none.
    pub default: &'static str,
    pub allowed: String,
    pub meaning: String,
}

/// Every key of the configuration, in the order of the schema. A section that pools and routes share with the top level is
/// listed once.
pub fn rows() -> Vec<Row> {
    let mut rows = Vec::new();
    let mut seen = Vec::new();
    walk("", ROOT, &mut seen, &mut |path, key| {
        let mut meaning = key.doc.to_owned();
        if !key.also.is_empty() {
            let _ = write!(meaning, " `{}` is another name for it.", key.also);
        }
        match key.state {
            KeySupport::Built => {}
            KeySupport::NoEffectYet => meaning.push_str(" *Has no effect yet.*"),
            KeySupport::Refused(_) => meaning.push_str(" *Refused: not built yet.*"),
        }
        let allowed = if key.nullable { format!("{}, or null", key.kind.expected()) } else { key.kind.expected() };
        rows.push(Row { key: path.to_owned(), default: key.default, allowed, meaning });
    });
    rows
}

/// The rows as a Markdown table.
pub fn reference() -> String {
    let mut out = String::from("| key | default | allowed | meaning |\n| --- | --- | --- | --- |\n");
    for row in rows() {
        let default = if row.default.is_empty() { String::new() } else { format!("`{}` ", row.default) };
        let allowed = row.allowed.replace('|', "\\|");
        let _ = writeln!(out, "| `{}` | {default}| {allowed} | {} |", row.key, row.meaning);
    }
    out
}

/// The full path of the first key with this name, in any spelling and any section.
pub fn path_of(name: &str) -> Option<String> {
    let mut found = None;
    walk("", ROOT, &mut Vec::new(), &mut |path, key| {
        if found.is_none() && (suggest::same(key.name, name) || suggest::same(key.also, name) && !key.also.is_empty()) {
            found = Some(path.to_owned());
        }
    });
    found
}

fn walk(prefix: &str, keys: &'static [Key], seen: &mut Vec<&'static [Key]>, visit: &mut dyn FnMut(&str, &'static Key)) {
    for key in keys {
        let path = format!("{prefix}{}", key.name);
        visit(&path, key);
        let (suffix, inner) = inside(&key.kind);
        let Some(inner) = inner else { continue };
        if !seen.iter().any(|known| std::ptr::eq(*known, inner)) {
            seen.push(inner);
            walk(&format!("{path}{suffix}."), inner, seen, visit);
        }
    }
}

/// The section that a kind holds, and how a path goes to it.
fn inside(kind: &'static Kind) -> (String, Option<&'static [Key]>) {
    match kind {
        Kind::List(item) | Kind::OneOrList(item) => {
            let (suffix, keys) = inside(item);
            (format!("[]{suffix}"), keys)
        }
        Kind::Named { value, .. } => {
            let (suffix, keys) = inside(value);
            (format!(".<name>{suffix}"), keys)
        }
        kind => (String::new(), kind.keys()),
    }
}
