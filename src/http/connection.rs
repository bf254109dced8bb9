//! `Connection` (RFC 9110 7.6.1): whether the connection goes on, and which fields are meant for it alone.

use super::Refusal;
use super::head::Line;
use crate::base::{steps, text};
use std::cmp::Ordering;

/// Members that the `Connection` fields of a message may have, empty ones too.
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
    /// It names fields.
    pub names_fields: bool,
    /// How many members its list has.
    pub(super) members: u8,
}

impl Connection {
    /// Adds one `Connection` field. What it names goes into `named`.
    pub(super) fn read(&mut self, line: &Line, named: &mut Named) -> Result<(), Refusal> {
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

/// Where an option lies in its head.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Place {
    pub(super) start: u32,
    pub(super) end: u32,
}

impl Place {
    fn of(self, head: &[u8]) -> &[u8] {
        &head[self.start as usize..self.end as usize]
    }
}

/// Storage for what the `Connection` fields of a head name: their lists are split once, whatever asks later.
#[derive(Debug)]
pub(super) struct Named {
    places: [Place; MAX_OPTIONS],
    count: usize,
}

impl Default for Named {
    fn default() -> Self {
        Self { places: [Place::default(); MAX_OPTIONS], count: 0 }
    }
}

impl Named {
    /// Forgets another head's.
    pub(super) fn clear(&mut self) {
        self.count = 0;
    }

    /// In the order in which [`is_named`] looks for them.
    pub(super) fn sorted(&mut self, head: &[u8]) -> &[Place] {
        let places = &mut self.places[..self.count];
        places.sort_unstable_by(|one, other| order(one.of(head), other.of(head)));
        places
    }
}

/// Whether one of them is that name. They are sorted, so that each of many fields costs a few comparisons, not one for each option.
pub(super) fn is_named(name: &[u8], places: &[Place], head: &[u8]) -> bool {
    places.binary_search_by(|place| order(place.of(head), name)).is_ok()
}

/// By length, then by letters, whatever their case.
fn order(one: &[u8], other: &[u8]) -> Ordering {
    steps::count(1);
    one.len().cmp(&other.len()).then_with(|| {
        steps::count(one.len());
        one.iter().map(u8::to_ascii_lowercase).cmp(other.iter().map(u8::to_ascii_lowercase))
    })
}
