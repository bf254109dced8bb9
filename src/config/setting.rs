//! One setting of a variable or an option, put into the tree. It is checked like a document that holds nothing else.

use super::conform::conform;
use super::keys::ROOT;
use super::report::Report;
use super::schema::Kind;
use super::tree::{Location, MapEntry, Node, Path, Value};
use super::{address, file};

/// Sets the value at `path`, after checking it like a document that holds nothing else.
pub fn put(tree: &mut Node, path: &[&str], value: Value, place: &Location, report: &mut Report) {
    static DOCUMENT: Kind = Kind::Section(ROOT);
    let whole = path.iter().fold(Path::default(), |path, step| path.key(step));
    let node = relocated(Node::new(value, place.clone(), whole.clone()), place, &whole);
    let mut document = Node::new(Value::Map(Vec::new()), place.clone(), Path::default());
    document.set(path, node);
    let mut checked = conform(&DOCUMENT, "", document, report);
    for step in path {
        let Value::Map(entries) = checked.value else { return };
        let Some(entry) = entries.into_iter().find(|entry| entry.key == **step) else { return };
        checked = entry.node;
    }
    tree.set(path, checked);
}

/// An item of `upstreams`, written as one word.
pub fn upstream(text: &str, at: &Node, report: &mut Report) -> Node {
    if text.contains("://") || text.starts_with("unix:") || text.starts_with("srv:") {
        return at.map_of([("url", Value::Text(text.to_owned()))]);
    }
    match address::host_port(text) {
        Ok((host, port)) => at.map_of([("host", Value::Text(host)), ("port", Value::Int(port.into()))]),
        Err(why) => {
            report.error(at, why);
            at.with(Value::Invalid)
        }
    }
}

/// An item of any other list.
pub fn word(text: &str, at: &Node, _: &mut Report) -> Node {
    at.with(file::parse(text).map_or_else(|_| Value::Text(text.to_owned()), |node| node.value))
}

/// A list of items, each made from one of `words`.
pub fn list<'a>(
    words: impl IntoIterator<Item = (&'a str, Location)>,
    path: &Path,
    report: &mut Report,
    item: fn(&str, &Node, &mut Report) -> Node,
) -> Value {
    let items = words.into_iter().enumerate().map(|(index, (word, place))| {
        let at = Node::new(Value::Null, place, path.index(index));
        item(word.trim(), &at, report)
    });
    Value::List(items.collect())
}

/// The same values, all with one place and under one path. Items of a list keep the variable that set them.
fn relocated(node: Node, place: &Location, path: &Path) -> Node {
    let value = match node.value {
        Value::List(items) => {
            let item = |(index, item): (usize, Node)| {
                let own = if matches!(item.place, Location::Named(_)) { item.place.clone() } else { place.clone() };
                relocated(item, &own, &path.index(index))
            };
            Value::List(items.into_iter().enumerate().map(item).collect())
        }
        Value::Map(entries) => {
            let entry = |MapEntry { key, node, .. }: MapEntry| {
                let node = relocated(node, place, &path.key(&key));
                MapEntry { key, place: place.clone(), node }
            };
            Value::Map(entries.into_iter().map(entry).collect())
        }
        scalar => scalar,
    };
    Node::new(value, place.clone(), path.clone())
}
