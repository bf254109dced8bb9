//! `Connection` (RFC 9110 7.6.1): whether the connection persists, and which fields are meant for it alone.

use super::Refusal;
use super::head::FieldLine;
use crate::base::{steps, text};
use std::cmp::Ordering;

/// How many members all `Connection` fields of a message may have together, empty ones included.
const MAX_OPTIONS: usize = 100;

/// What the `Connection` fields of a message say.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connection {
    /// `close`
    pub close: bool,
    /// `keep-alive`
    pub keep_alive: bool,
    /// `upgrade`
    pub upgrade: bool,
    /// Whether it names fields.
    pub names_fields: bool,
    /// How many members its list has.
    pub(super) members: u8,
}

impl Connection {
    /// Adds one `Connection` field. The names in it go into `named`.
    pub(super) fn read(&mut self, line: &FieldLine, named: &mut ConnectionOptions) -> Result<(), Refusal> {
        let value = line.value();
        steps::count(value.len());
        for member in value.split(|&b| b == b',') {
            if usize::from(self.members) == MAX_OPTIONS {
                return Err(Refusal::HeadTooLarge("Connection has too many options"));
            }
            self.members += 1;
            let option = text::trim(member);
            if option.eq_ignore_ascii_case(b"close") {
                self.close = true;
            } else if option.eq_ignore_ascii_case(b"keep-alive") {
                self.keep_alive = true;
            } else if !option.is_empty() {
                self.upgrade |= option.eq_ignore_ascii_case(b"upgrade");
                named.places[named.count] = line.place(option);
                named.count += 1;
                self.names_fields = true;
            }
        }
        Ok(())
    }

    /// Whether the connection outlives the message (RFC 9112 9.3).
    pub fn persists(self, minor: u8) -> bool {
        !self.close && (minor == 1 || self.keep_alive)
    }
}

/// Where an option stands in its head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct OptionSpan {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl OptionSpan {
    fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }
}

/// The names in the `Connection` fields of a head. Storing them splits the lists only once, however many fields are compared.
#[derive(Debug)]
pub(super) struct ConnectionOptions {
    places: [OptionSpan; MAX_OPTIONS],
    count: usize,
}

impl Default for ConnectionOptions {
    fn default() -> Self {
        Self { places: [OptionSpan::default(); MAX_OPTIONS], count: 0 }
    }
}

impl ConnectionOptions {
    /// Forgets the names of an earlier head.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// The names in the order that [`is_named`] searches by.
    pub(super) fn sorted(&mut self, head: &[u8]) -> &[OptionSpan] {
        let places = &mut self.places[..self.count];
        places.sort_unstable_by(|one, other| order(one.of(head), other.of(head)));
        places
    }
}

/// Whether one of them is that name. A binary search, so that comparing many fields with many options stays cheap.
pub(super) fn is_named(name: &[u8], places: &[OptionSpan], head: &[u8]) -> bool {
    places.binary_search_by(|place| order(place.of(head), name)).is_ok()
}

/// Compares by length, then by letters, ignoring case.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    steps::count(1);
    one.len().cmp(&other.len()).then_with(|| {
        steps::count(one.len());
        one.iter().map(u8::to_ascii_lowercase).cmp(other.iter().map(u8::to_ascii_lowercase))
    })
}
