//! YAML text to a tree in which every value has its place. It knows none of tidegate's keys; it refuses only what is not YAML.
//!
//! serde reports positions only in errors. So the visitor of a scalar stores its value and then *fails on purpose*: the error has
//! the position, and the walk continues after the scalar, which the library has consumed. A list or a map cannot fail without
//! ending the walk. As the value of a key it gets the key's place; inside a list it gets that of its first child, until
//! [`place_of_container`] is asked for the exact one, which walks again and fails at that container.

use std::cell::Cell;
use std::fmt;

use serde::de::{DeserializeSeed, EnumAccess, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::tree::{Location, MapEntry, Node, Path, Value};

/// More values than this are an alias bomb, and no configuration.
const MAX_NODES: usize = 200_000;

/// Why a text cannot be read at all.
#[derive(Debug, PartialEq, Eq)]
pub struct SyntaxError {
    pub line: usize,
    pub column: usize,
    pub message: String,
}

/// Reads one document. An empty one is [`Value::Null`].
pub fn parse(text: &str) -> Result<Node, SyntaxError> {
    scan(text)?;
    let walk = Walk { nodes: Cell::new(0), containers: Cell::new(0), stop_at: None };
    let mut slot = None;
    let seed = Seed { walk: &walk, slot: &mut slot, path: Path::default() };
    let result = seed.deserialize(serde_yaml::Deserializer::from_str(text));
    match (result, slot) {
        (Ok(()), Some(found)) => Ok(found.place_unless_known(at(1, 1))),
        (Err(error), Some(found)) if !matches!(found.value, Value::List(_) | Value::Map(_)) => {
            // A scalar alone has failed on purpose: whether anything follows it has yet to be found out.
            serde_yaml::from_str::<IgnoredAny>(text).map_err(|error| syntax_error(&error, text))?;
            Ok(found.place_unless_known(error.location().map_or(at(1, 1), |l| at(l.line(), l.column()))))
        }
        (Err(error), _) => Err(syntax_error(&error, text)),
        (Ok(()), None) => Err(SyntaxError { line: 1, column: 1, message: "there is no value".into() }),
    }
}

/// The exact place of the document's `container`-th list or map.
pub fn place_of_container(text: &str, container: usize) -> Option<(usize, usize)> {
    let walk = Walk { nodes: Cell::new(0), containers: Cell::new(0), stop_at: Some(container) };
    let seed = Seed { walk: &walk, slot: &mut None, path: Path::default() };
    let error = seed.deserialize(serde_yaml::Deserializer::from_str(text)).err()?;
    error.location().map(|l| (l.line(), l.column()))
}

/// Finds what must not reach the library: control characters, whose place it does not report; and bracket bombs, since its time is
/// open brackets times length before it limits the depth. Brackets in strings and comments count too: no real text has so many.
fn scan(text: &str) -> Result<(), SyntaxError> {
    const MAX_OPEN: usize = 256;
    let mut open = 0_usize;
    for (index, byte) in text.bytes().enumerate() {
        let message = match byte {
            b'[' | b'{' if open == MAX_OPEN => TOO_DEEP.into(),
            b'[' | b'{' => {
                open += 1;
                continue;
            }
            b']' | b'}' => {
                open = open.saturating_sub(1);
                continue;
            }
            b'\t' | b'\n' | b'\r' => continue,
            0..b' ' | 0x7f => format!("a control character (byte {byte})"),
            _ => continue,
        };
        let before = &text[..index];
        let line = before.matches('\n').count() + 1;
        let column = before.chars().rev().take_while(|c| *c != '\n').count() + 1;
        return Err(SyntaxError { line, column, message });
    }
    Ok(())
}

const TOO_DEEP: &str = "nested too deeply";

fn at(line: usize, column: usize) -> Location {
    Location::File { line, column, container: None }
}

fn syntax_error(error: &serde_yaml::Error, text: &str) -> SyntaxError {
    let (line, column) = error.location().map_or((1, 1), |l| (l.line(), l.column()));
    let message = error.to_string().replacen(&format!(" at line {line} column {column}"), "", 1);
    let message = match message.as_str() {
        m if m.contains("recursion limit exceeded") => TOO_DEEP.into(),
        m if m.contains("repetition limit exceeded") => TOO_MANY.into(),
        m if m.contains("more than one document") => {
            "more than one YAML document (`---`, or text behind the end); a configuration is one".into()
        }
        m if m.contains("found character that cannot start any token") => {
            format!("{m} (a tab? indent with spaces; text that begins with @ or ` needs quotes)")
        }
        m if m.contains("while parsing a flow ") && has_variable(text, m, line) => {
            format!("{m} (between braces or brackets a ${{NAME}} needs quotes: \"${{NAME}}\")")
        }
        m if m.contains("while scanning an alias") || m.contains("while scanning an anchor") => {
            format!("{m} (text that begins with * or & needs quotes)")
        }
        _ => message,
    };
    SyntaxError { line, column, message }
}

/// Whether there is a `${` from where the message says that the list or map begins to the line of the error.
fn has_variable(text: &str, message: &str, line: usize) -> bool {
    let begin = message.rsplit_once(" at line ").and_then(|(_, rest)| rest.split(' ').next()?.parse().ok()).unwrap_or(line);
    text.lines().take(line).skip(begin.saturating_sub(1)).any(|line| line.contains("${"))
}

const TOO_MANY: &str = "too many values (aliases of aliases?)";

/// What the seeds of one walk share.
struct Walk {
    nodes: Cell<usize>,
    containers: Cell<usize>,
    stop_at: Option<usize>,
}

/// A value whose place may not be known yet.
struct Found {
    value: Value,
    place: Option<Location>,
    path: Path,
}

impl Found {
    fn place_unless_known(self, place: Location) -> Node {
        Node::new(self.value, self.place.unwrap_or(place), self.path)
    }
}

/// Reads one value into its slot. A scalar is stored and then fails on purpose, because only errors have a position.
struct Seed<'a> {
    walk: &'a Walk,
    slot: &'a mut Option<Found>,
    path: Path,
}

impl Seed<'_> {
    fn scalar<E: serde::de::Error>(self, value: Value) -> Result<(), E> {
        self.walk.count()?;
        *self.slot = Some(Found { value, place: None, path: self.path });
        Err(E::custom("here"))
    }

    fn container(self, value: Value, place: Option<Location>) {
        *self.slot = Some(Found { value, place, path: self.path });
    }
}

impl Walk {
    fn count<E: serde::de::Error>(&self) -> Result<(), E> {
        self.nodes.set(self.nodes.get() + 1);
        if self.nodes.get() > MAX_NODES { Err(E::custom(TOO_MANY)) } else { Ok(()) }
    }

    fn enter<E: serde::de::Error>(&self) -> Result<usize, E> {
        self.count()?;
        let number = self.containers.get();
        self.containers.set(number + 1);
        if self.stop_at == Some(number) { Err(E::custom("here")) } else { Ok(number) }
    }
}

/// The result of a seed: a value (with its place, if it is a scalar), or a failure that was not on purpose.
fn settle<E: serde::de::Error>(result: Result<(), E>, slot: Option<Found>) -> Result<Found, E> {
    match (result, slot) {
        (Err(error), Some(mut found)) => {
            found.place = Some(place_in(&error.to_string()));
            Ok(found)
        }
        (Ok(()), Some(found)) => Ok(found),
        (Err(error), None) => Err(error),
        (Ok(()), None) => Err(E::custom("there is no value")),
    }
}

/// Inside a visitor the type of the error is hidden, and only its text has the place. The library omits line 1 column 1.
fn place_in(message: &str) -> Location {
    let parsed = message.rsplit_once(" at line ").and_then(|(_, rest)| {
        let (line, column) = rest.split_once(" column ")?;
        Some(at(line.parse().ok()?, column.parse().ok()?))
    });
    parsed.unwrap_or(at(1, 1))
}

impl<'de> DeserializeSeed<'de> for Seed<'_> {
    type Value = ();

    fn deserialize<D: serde::Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Seed<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a value")
    }

    fn visit_bool<E: serde::de::Error>(self, v: bool) -> Result<(), E> {
        self.scalar(Value::Bool(v))
    }

    fn visit_i64<E: serde::de::Error>(self, v: i64) -> Result<(), E> {
        self.scalar(Value::Int(v.into()))
    }

    fn visit_u64<E: serde::de::Error>(self, v: u64) -> Result<(), E> {
        self.scalar(Value::Int(v.into()))
    }

    fn visit_i128<E: serde::de::Error>(self, v: i128) -> Result<(), E> {
        self.scalar(Value::Int(v))
    }

    fn visit_u128<E: serde::de::Error>(self, v: u128) -> Result<(), E> {
        self.scalar(Value::Int(v.try_into().unwrap_or(i128::MAX)))
    }

    fn visit_f64<E: serde::de::Error>(self, v: f64) -> Result<(), E> {
        self.scalar(Value::Float(v))
    }

    fn visit_str<E: serde::de::Error>(self, v: &str) -> Result<(), E> {
        self.scalar(Value::Text(v.to_owned()))
    }

    fn visit_unit<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar(Value::Null)
    }

    fn visit_none<E: serde::de::Error>(self) -> Result<(), E> {
        self.scalar(Value::Null)
    }

    fn visit_enum<A: EnumAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("a YAML tag (a word after `!`) has no meaning here"))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let container = self.walk.enter()?;
        let mut items: Vec<Node> = Vec::new();
        loop {
            let mut slot = None;
            let path = self.path.index(items.len());
            let found = match seq.next_element_seed(Seed { walk: self.walk, slot: &mut slot, path }) {
                Ok(None) => break,
                Ok(Some(())) => settle(Ok(()), slot)?,
                Err(error) => settle(Err(error), slot)?,
            };
            items.push(found.place_unless_known(Location::Nowhere));
        }
        let place = items.first().map(|first| near(&first.place, container));
        self.container(Value::List(items), place.or(Some(unknown(container))));
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let container = self.walk.enter()?;
        let mut entries: Vec<MapEntry> = Vec::new();
        loop {
            let mut slot = None;
            let key = match map.next_key_seed(Seed { walk: self.walk, slot: &mut slot, path: Path::default() }) {
                Ok(None) => break,
                Ok(Some(())) => return Err(A::Error::custom("a list or a map cannot be a key")),
                Err(error) => settle(Err(error), slot)?.place_unless_known(Location::Nowhere),
            };
            let name = key_text(&key.value);
            let mut slot = None;
            let path = self.path.key(&name);
            let result = map.next_value_seed(Seed { walk: self.walk, slot: &mut slot, path });
            let mut found = settle(result, slot)?;
            if matches!(found.value, Value::List(_) | Value::Map(_)) {
                found.place = Some(key.place.clone());
            }
            let node = found.place_unless_known(key.place.clone());
            entries.push(MapEntry { key: name, place: key.place, node });
        }
        let place = entries.first().map(|first| near(&first.place, container));
        self.container(Value::Map(entries), place.or(Some(unknown(container))));
        Ok(())
    }
}

/// A container's place until the exact one is asked for.
fn near(first_child: &Location, number: usize) -> Location {
    match first_child {
        Location::File { line, column, .. } => Location::File { line: *line, column: *column, container: Some(number) },
        other => other.clone(),
    }
}

fn unknown(number: usize) -> Location {
    Location::File { line: 1, column: 1, container: Some(number) }
}

/// Keys are text, whatever YAML makes of them: a pool may be called `8080` or `true`.
fn key_text(value: &Value) -> String {
    match value {
        Value::Text(text) | Value::Filled(text) => text.clone(),
        Value::Bool(v) => v.to_string(),
        Value::Int(v) => v.to_string(),
        Value::Float(v) => v.to_string(),
        Value::Null | Value::List(_) | Value::Map(_) | Value::Invalid => "null".to_owned(),
    }
}
