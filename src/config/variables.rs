//! `${NAME}` and `${NAME:-default}` in scalars of the file. They are replaced before values are interpreted, and cannot add
//! structure. `$${` is a literal `${`.

use std::collections::BTreeMap;

use super::file;
use super::report::Report;
use super::schema::Kind;
use super::tree::{MapEntry, Node, ShownText, Value};

/// Names and values. Empty values count as not set, as in Compose files (`LOG_LEVEL=`).
pub type Variables = BTreeMap<String, String>;

/// The tree with every variable replaced. Whether the result is a number or a word depends on its key's kind: see [`settle`].
pub fn put_in(node: Node, variables: &Variables, report: &mut Report) -> Node {
    let Node { value, place, path } = node;
    let value = match value {
        Value::Text(text) if text.contains("${") => filled(&text, variables).unwrap_or_else(|why| {
            report.error_at(&place, &path, why);
            Value::Invalid
        }),
        Value::List(items) => Value::List(items.into_iter().map(|item| put_in(item, variables, report)).collect()),
        Value::Map(entries) => Value::Map(
            entries
                .into_iter()
                .map(|MapEntry { key, place, node }| MapEntry { key, place, node: put_in(node, variables, report) })
                .collect(),
        ),
        other => other,
    };
    Node { value, place, path }
}

/// Interprets a text in which variables were replaced as a value of its key's kind.
pub fn settle(kind: &Kind, node: Node) -> Node {
    let Value::Filled(text) = &node.value else { return node };
    let value = match kind {
        Kind::SectionOr { other, .. } => return settle(other, node),
        Kind::OneOrList(item) => return settle(item, node),
        Kind::Text(_) | Kind::Choice { .. } => Value::Text(text.clone()),
        _ => match file::parse(text).map(|node| node.value) {
            Ok(scalar @ (Value::Null | Value::Bool(_) | Value::Int(_) | Value::Float(_))) => scalar,
            _ => Value::Text(text.clone()),
        },
    };
    node.with(value)
}

/// Whether a text means null, where null is allowed.
pub fn is_null(value: &Value) -> bool {
    matches!(value, Value::Null) || matches!(value, Value::Filled(text) if matches!(text.as_str(), "" | "~" | "null"))
}

fn filled(text: &str, variables: &Variables) -> Result<Value, String> {
    let (mut out, mut rest, mut has_variables) = (String::with_capacity(text.len()), text, false);
    while let Some(at) = rest.find("${") {
        out.push_str(&rest[..at]);
        if out.ends_with('$') && rest[..at].ends_with('$') {
            out.push('{');
            rest = &rest[at + 2..];
            continue;
        }
        let Some((inside, behind)) = rest[at + 2..].split_once('}') else {
            return Err(format!("\"{}\" has no closing brace; a literal ${{ is written $${{", ShownText(&rest[at..])));
        };
        let (name, default) = inside.split_once(":-").map_or((inside, None), |(name, default)| (name, Some(default)));
        if !is_name(name) {
            let shown = ShownText(inside);
            return Err(format!("\"${{{shown}}}\" is no variable, write ${{NAME}} or ${{NAME:-default}}; a literal ${{ is written $${{"));
        }
        if default.is_some_and(|default| default.contains("${")) {
            return Err(format!("\"${{{}}}\": a default cannot hold another variable", ShownText(inside)));
        }
        match (variables.get(name).map(String::as_str), default) {
            (Some("") | None, Some(default)) => out.push_str(default),
            (Some(value), _) => out.push_str(value),
            (None, None) => return Err(format!("the variable {name} is not set; ${{{name}:-default}} gives it a default")),
        }
        has_variables = true;
        rest = behind;
    }
    out.push_str(rest);
    Ok(if has_variables { Value::Filled(out) } else { Value::Text(out) })
}

fn is_name(name: &str) -> bool {
    let is_word = |b: u8| b.is_ascii_alphanumeric() || b == b'_';
    !name.is_empty() && name.bytes().all(is_word) && !name.as_bytes()[0].is_ascii_digit()
}
