//! A configuration as a tree of values with their places: the common form of all sources (file, environment, command line,
//! defaults). It knows YAML's types, and none of tidegate's keys.
//!
//! ```text
//!     Node { value, place, path }
//!              |      |      `-- limits.max_headers       what a message calls it
//!              |      `--------- line 14, column 3        where a message points
//!              `---------------- scalar | List | Map | Invalid
//! ```

use std::fmt;
use std::sync::Arc;

use serde::ser::{Serialize, SerializeMap, SerializeSeq, Serializer};

/// One value and where it came from.
#[derive(Clone, Debug)]
pub struct Node {
    pub value: Value,
    /// Where it was written.
    pub place: Location,
    /// Its key's path, as written.
    pub path: Path,
}

/// A value, of one of YAML's types.
#[derive(Clone, Debug)]
pub enum Value {
    Null,
    Bool(bool),
    Int(i128),
    Float(f64),
    Text(String),
    /// A text in which variables were replaced: whether it is a number or a word depends on its key.
    Filled(String),
    List(Vec<Node>),
    Map(Vec<MapEntry>),
    /// A value that was refused: later checks neither use it nor report it as missing.
    Invalid,
}

/// An entry of a map. Equal keys are kept side by side, to be refused with their places.
#[derive(Clone, Debug)]
pub struct MapEntry {
    /// As written.
    pub key: String,
    /// Where the key is (its value may be lines below).
    pub place: Location,
    pub node: Node,
}

/// Where a value was written.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Location {
    /// In the file. `container` numbers the values whose exact place takes a second walk to find (see `file.rs`).
    File {
        /// From 1.
        line: usize,
        /// From 1, in characters.
        column: usize,
        /// The number of the list or map in the document.
        container: Option<usize>,
    },
    /// Set by this variable or option.
    Named(Arc<str>),
    /// Nowhere: a default.
    Nowhere,
}

impl Location {
    pub fn named(name: &str) -> Self {
        Self::Named(name.into())
    }
}

/// The path of a value, as a list from the leaf up: children share their ancestors, so a long key is stored only once.
#[derive(Clone, Debug, Default)]
pub struct Path(Option<Arc<PathLink>>);

#[derive(Debug)]
struct PathLink {
    parent: Path,
    step: PathStep,
}

#[derive(Debug)]
enum PathStep {
    Key(String),
    Index(usize),
}

impl Path {
    pub fn key(&self, key: &str) -> Self {
        Self(Some(Arc::new(PathLink { parent: self.clone(), step: PathStep::Key(key.to_owned()) })))
    }

    pub fn index(&self, index: usize) -> Self {
        Self(Some(Arc::new(PathLink { parent: self.clone(), step: PathStep::Index(index) })))
    }

    pub fn is_root(&self) -> bool {
        self.0.is_none()
    }
}

impl fmt::Display for Path {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(link) = &self.0 else { return Ok(()) };
        link.parent.fmt(f)?;
        match &link.step {
            PathStep::Key(key) => {
                let dot = if link.parent.is_root() { "" } else { "." };
                let key = if key.is_empty() { "\"\"" } else { key };
                write!(f, "{dot}{}", ShownText(key))
            }
            PathStep::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// Text from a source, prepared for a message of one line: controls are escaped, and long texts cut.
pub struct ShownText<'a>(pub &'a str);

impl fmt::Display for ShownText<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// More of a wrong value than this does not help.
        const MAX_CHARS: usize = 80;
        for (count, c) in self.0.chars().enumerate() {
            if count == MAX_CHARS {
                return f.write_str("…");
            }
            if c.is_control() { write!(f, "{}", c.escape_default())? } else { write!(f, "{c}")? }
        }
        Ok(())
    }
}

impl Node {
    pub fn new(value: Value, place: Location, path: Path) -> Self {
        Self { value, place, path }
    }

    /// The same place and path with another value.
    pub fn with(&self, value: Value) -> Self {
        Self { value, place: self.place.clone(), path: self.path.clone() }
    }

    /// A map of its own place: `{key: text, …}`.
    pub fn map_of(&self, pairs: impl IntoIterator<Item = (&'static str, Value)>) -> Self {
        let entries = pairs.into_iter().map(|(key, value)| MapEntry {
            key: key.to_owned(),
            place: self.place.clone(),
            node: Self::new(value, self.place.clone(), self.path.key(key)),
        });
        self.with(Value::Map(entries.collect()))
    }

    pub fn entries(&self) -> &[MapEntry] {
        if let Value::Map(entries) = &self.value { entries } else { &[] }
    }

    pub fn items(&self) -> &[Node] {
        if let Value::List(items) = &self.value { items } else { &[] }
    }

    /// The value under `key`; `None` where there is none, or null.
    pub fn get(&self, key: &str) -> Option<&Node> {
        let found = self.entries().iter().find(|entry| entry.key == key)?;
        (!matches!(found.node.value, Value::Null)).then_some(&found.node)
    }

    /// The value under `key`, null included.
    pub fn written(&self, key: &str) -> Option<&Node> {
        self.entries().iter().find(|entry| entry.key == key).map(|entry| &entry.node)
    }

    pub fn is_null(&self) -> bool {
        matches!(self.value, Value::Null)
    }

    /// Whether `key` is there at all, null included.
    pub fn has(&self, key: &str) -> bool {
        self.entries().iter().any(|entry| entry.key == key)
    }

    pub fn text(&self) -> Option<&str> {
        if let Value::Text(text) = &self.value { Some(text) } else { None }
    }

    /// A number of the wanted type, if it is one and fits.
    pub fn int<T: TryFrom<i128>>(&self) -> Option<T> {
        if let Value::Int(int) = self.value { T::try_from(int).ok() } else { None }
    }

    /// Whether a value directly below was refused, which may explain a missing one.
    pub fn has_invalid(&self) -> bool {
        self.is_invalid() || self.entries().iter().any(|entry| entry.node.is_invalid())
    }

    pub fn is_invalid(&self) -> bool {
        matches!(self.value, Value::Invalid)
    }

    /// Puts `node` at `path`, and makes the maps on the way.
    pub fn set(&mut self, path: &[&str], node: Node) {
        let Some((first, rest)) = path.split_first() else {
            *self = node;
            return;
        };
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else { return };
        let found = entries.iter().position(|entry| entry.key == *first).unwrap_or_else(|| {
            let empty = Node::new(Value::Null, node.place.clone(), self.path.key(first));
            entries.push(MapEntry { key: (*first).to_owned(), place: node.place.clone(), node: empty });
            entries.len() - 1
        });
        entries[found].node.set(rest, node);
    }
}

impl Serialize for Node {
    fn serialize<S: Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        match &self.value {
            Value::Null | Value::Invalid => s.serialize_unit(),
            Value::Bool(v) => s.serialize_bool(*v),
            Value::Int(v) => s.serialize_i128(*v),
            Value::Float(v) => s.serialize_f64(*v),
            // Printed so that it is not read back as a variable.
            Value::Text(v) | Value::Filled(v) if v.contains("${") => s.serialize_str(&v.replace("${", "$${")),
            Value::Text(v) | Value::Filled(v) => s.serialize_str(v),
            Value::List(items) => {
                let mut list = s.serialize_seq(Some(items.len()))?;
                for item in items {
                    list.serialize_element(item)?;
                }
                list.end()
            }
            Value::Map(entries) => {
                let mut map = s.serialize_map(Some(entries.len()))?;
                for entry in entries {
                    map.serialize_entry(&entry.key, &entry.node)?;
                }
                map.end()
            }
        }
    }
}
