//! The field lines of a head that was parsed: what each means, and where it lies in the head.

use super::MAX_FIELDS;
use super::fields::{Field, classify, may_be_dropped};
use crate::base::text;
use httparse::Header;
use std::ops::Range;

/// Where a field line lies in its head, and what its name means.
#[derive(Clone, Copy, Debug)]
pub(super) struct Span {
    pub(super) start: u32,
    pub(super) name: u32,
    pub(super) value: u32,
    pub(super) end: u32,
    pub(super) class: Field,
}

/// Storage for the spans of a head, borrowed by the message.
pub struct Table<const FIELDS: usize = MAX_FIELDS>(pub(super) [Span; FIELDS]);

/// Enough for most heads, and sooner made.
pub type SmallTable = Table<32>;

impl<const FIELDS: usize> Default for Table<FIELDS> {
    fn default() -> Self {
        Self([Span { start: 0, name: 0, value: 0, end: 0, class: Field::Other }; FIELDS])
    }
}

/// The field lines of a head, as they came.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'t, 'a> {
    head: &'a [u8],
    spans: &'t [Span],
    /// All of them are what would be written for them.
    are_canonical: bool,
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    head: &'a [u8],
    span: Span,
    is_canonical: bool,
}

impl<'t, 'a> Fields<'t, 'a> {
    /// Those of a head of the usual shape, which is the one that is written too.
    pub(super) fn canonical(head: &'a [u8], spans: &'t [Span]) -> Self {
        Self { head, spans, are_canonical: true }
    }

    /// Those that httparse found: its names and values are slices of the head.
    pub(super) fn parsed(head: &'a [u8], headers: &[Header<'a>], table: &'t mut Table) -> Self {
        let place = |slice: &[u8]| (slice.as_ptr() as usize - head.as_ptr() as usize) as u32;
        for (span, header) in table.0.iter_mut().zip(headers) {
            let (name, value) = (header.name.as_bytes(), text::trim(header.value));
            let (start, at) = (place(name), place(value));
            *span = Span { start, name: start + name.len() as u32, value: at, end: at + value.len() as u32, class: classify(name) };
        }
        Self { head, spans: &table.0[..headers.len()], are_canonical: false }
    }

    /// The whole head, up to and including the empty line.
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The request line or status line, with its line end.
    pub fn first_line(&self) -> &'a [u8] {
        &self.head[..self.spans.first().map_or(self.head.len() - 2, |span| span.start as usize)]
    }

    /// In their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = Line<'a>> + use<'t, 'a> {
        let Self { head, spans, are_canonical: is_canonical } = *self;
        spans.iter().map(move |&span| Line { head, span, is_canonical })
    }

    /// The value of the first field of that class.
    pub fn first(&self, class: Field) -> Option<&'a [u8]> {
        self.of(class).next().map(|line| line.value())
    }

    /// Those of that class.
    pub fn of(&self, class: Field) -> impl DoubleEndedIterator<Item = Line<'a>> {
        self.iter().filter(move |line| line.class() == class)
    }

    /// Whether a `Connection` field names this one, and may (RFC 9110 7.6.1).
    pub fn names(&self, name: &[u8], class: Field) -> bool {
        may_be_dropped(class)
            && self.of(Field::Connection).any(|line| text::list(line.value()).any(|option| option.eq_ignore_ascii_case(name)))
    }
}

impl<'a> Line<'a> {
    /// `token`
    pub fn name(&self) -> &'a [u8] {
        &self.head[self.span.start as usize..self.span.name as usize]
    }

    /// Without blanks around it.
    pub fn value(&self) -> &'a [u8] {
        &self.head[self.span.value as usize..self.span.end as usize]
    }

    /// What the name means.
    pub fn class(&self) -> Field {
        self.span.class
    }

    /// Its bytes in the head, if they are what would be written for it: `name: value` and CRLF.
    pub(super) fn canonical(&self) -> Option<Range<usize>> {
        let Span { start, name, value, end, .. } = self.span;
        let is_it = || value == name + 2 && self.head[value as usize - 1] == b' ' && self.head.get(end as usize) == Some(&b'\r');
        (self.is_canonical || is_it()).then_some(start as usize..end as usize + 2)
    }
}
