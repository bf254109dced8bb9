//! The names in the `Connection` fields of a head, sorted, so that many fields can be compared with many names.

use crate::base::steps;
use std::cmp::Ordering;

/// How many members all `Connection` fields of a message may have together, empty ones included.
pub(super) const MAX_OPTIONS: usize = 100;

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

    /// Adds one, of at most [`MAX_OPTIONS`].
    pub(super) fn add(&mut self, option: OptionSpan) {
        self.places[self.count] = option;
        self.count += 1;
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
