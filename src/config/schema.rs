//! The language in which `config::keys` describes the configuration: keys, the kinds of their values, and how far they are implemented.
//! It checks nothing (`conform.rs` does) and lists nothing (`config::keys` does).

use super::units::Unit;
use std::fmt;

/// One key of a section.
#[derive(Debug)]
pub struct Key {
    pub name: &'static str,
    /// Another name that is accepted, or "".
    pub also: &'static str,
    pub kind: Kind,
    /// The default as YAML. "" for a section (its keys have defaults of their own) and for a key without one.
    pub default: &'static str,
    /// Whether `null` is allowed: it turns the function off.
    pub nullable: bool,
    /// Whether logs and pages tell no value.
    pub is_secret: bool,
    pub state: KeySupport,
    /// One line for the reference.
    pub doc: &'static str,
}

/// How far the function of a key is implemented.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeySupport {
    Built,
    /// Read, checked, and answered with a warning.
    NoEffectYet,
    /// An error, because ignoring it would be dangerous.
    Refused(&'static str),
}

/// What a value may be.
#[derive(Debug)]
pub enum Kind {
    Bool,
    /// true, false, or this word.
    BoolOr(&'static str),
    Int {
        min: i64,
        max: i64,
    },
    /// A number of milliseconds or bytes, also written with a unit.
    Amount {
        unit: Unit,
        min: i64,
        max: i64,
    },
    AutoOrInt {
        min: i64,
        max: i64,
    },
    Text(Rule),
    Choice {
        words: &'static [&'static str],
        any_case: bool,
    },
    List(&'static Kind),
    /// A list; a single item may stand for a list of one.
    OneOrList(&'static Kind),
    Section(&'static [Key]),
    /// Free names, each with a value of the kind.
    Named {
        name: Rule,
        value: &'static Kind,
    },
    /// The section if the value is a map, otherwise the other kind.
    SectionOr {
        section: &'static [Key],
        other: &'static Kind,
    },
}

/// A rule for a text.
#[derive(Clone, Copy)]
pub struct Rule {
    /// "a path that begins with /".
    pub what: &'static str,
    /// The error says what is wrong and what would be right.
    pub check: fn(&str) -> Result<(), String>,
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.what)
    }
}

/// A key without a default.
pub const fn key(name: &'static str, kind: Kind, doc: &'static str) -> Key {
    Key { name, also: "", kind, default: "", nullable: false, is_secret: false, state: KeySupport::Built, doc }
}

impl Key {
    /// Gives it this value, written as YAML, where it is not set.
    pub const fn default(mut self, yaml: &'static str) -> Self {
        self.default = yaml;
        self
    }

    /// Allows null, and makes it the default: off unless set.
    pub const fn off(mut self) -> Self {
        self.nullable = true;
        self.default = "null";
        self
    }

    /// Allows null, besides a value of its kind.
    pub const fn nullable(mut self) -> Self {
        self.nullable = true;
        self
    }

    /// Lets another name stand for it.
    pub const fn also(mut self, name: &'static str) -> Self {
        self.also = name;
        self
    }

    /// Its value, and whatever is in it, may be a secret.
    pub const fn secret(mut self) -> Self {
        self.is_secret = true;
        self
    }

    /// Its function is not built yet: it is read, checked, and answered with a warning.
    pub const fn no_effect_yet(mut self) -> Self {
        self.state = KeySupport::NoEffectYet;
        self
    }

    /// Its function is not built yet, and to ignore it would be dangerous: setting it is an error.
    pub const fn refused(mut self, why: &'static str) -> Self {
        self.state = KeySupport::Refused(why);
        self
    }

    pub fn is_called(&self, name: &str) -> bool {
        self.name == name || (!self.also.is_empty() && self.also == name)
    }
}

impl Kind {
    /// Which values are allowed, for messages and the reference.
    pub fn expected(&self) -> String {
        match self {
            Self::Bool => "true or false".into(),
            Self::BoolOr(word) => format!("true, false or {word}"),
            Self::Int { min, max } => format!("an integer from {min} to {max}"),
            Self::Amount { unit, min, max } => {
                let (what, example) = unit.words();
                format!("{what} from {min} to {max}, or {example}")
            }
            Self::AutoOrInt { min, max } => format!("auto, or an integer from {min} to {max}"),
            Self::Text(rule) => rule.what.into(),
            Self::Choice { words, .. } => {
                format!("one of {}", words.join(", "))
            }
            Self::List(item) => format!("a list, each item {}", item.expected()),
            Self::OneOrList(item) => format!("{}, or a list of such", item.expected()),
            Self::Section(keys) => format!("a section {}", key_names(keys)),
            Self::Named { name, .. } => format!("a map; each key is {}", name.what),
            Self::SectionOr { section, other } => format!("{}, or a section {}", other.expected(), key_names(section)),
        }
    }

    /// The keys of a section of this kind.
    pub fn keys(&self) -> Option<&'static [Key]> {
        match self {
            Self::Section(keys) | Self::SectionOr { section: keys, .. } => Some(keys),
            _ => None,
        }
    }

    /// Whether nothing may stand for empty, as it may for lists and maps (`timeouts:` with every line below it commented out).
    pub fn can_be_empty(&self) -> bool {
        matches!(self, Self::List(_) | Self::OneOrList(_) | Self::Section(_) | Self::Named { .. })
    }
}

/// `{host, port, …}`
fn key_names(keys: &[Key]) -> String {
    /// Enough keys to recognise the section by.
    const SHOWN: usize = 4;
    let mut names: Vec<&str> = keys.iter().take(SHOWN).map(|key| key.name).collect();
    if keys.len() > SHOWN {
        names.push("…");
    }
    format!("{{{}}}", names.join(", "))
}
