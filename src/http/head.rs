//! The field lines of a parsed head: what each means, and where it stands in the head.

use super::MAX_FIELDS;
use super::fields::{Field, classify, may_be_dropped};
use super::options::{ConnectionOptions, OptionSpan, is_named};
use super::{Refusal, first_line};
use crate::base::{steps, text};
use std::ops::Range;

/// Why the bytes that came so far were not read as a message's head.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NoHead {
    /// They begin with a head that is refused.
    Refused(Refusal),
    /// The head is incomplete, of an unusual shape or beyond a limit; a closer look tells which of these.
    Undecided,
}

impl NoHead {
    /// The same of a whole head, which is always decided.
    pub(super) fn refusal(self) -> Refusal {
        match self {
            Self::Refused(refusal) => refusal,
            Self::Undecided => Refusal::Malformed("the head is malformed"),
        }
    }
}

impl From<Refusal> for NoHead {
    fn from(refusal: Refusal) -> Self {
        Self::Refused(refusal)
    }
}

/// Where a field line stands in its head, and what its name means.
#[derive(Clone, Copy, Debug)]
pub(super) struct FieldSpan {
    pub(super) start: u32,
    pub(super) name: u32,
    pub(super) value: u32,
    pub(super) end: u32,
    pub(super) class: Field,
}

/// Storage for what is found in a head; a message borrows it.
pub struct HeadTable<const FIELDS: usize = MAX_FIELDS> {
    pub(super) spans: [FieldSpan; FIELDS],
    pub(super) more: HeadStore,
}

/// What is stored of a head besides its field lines.
#[derive(Debug, Default)]
pub(super) struct HeadStore {
    /// The names in its `Connection` fields.
    pub(super) named: ConnectionOptions,
    /// The normal form of the target, where it differs from the target.
    pub(super) normal: Vec<u8>,
}

/// Large enough for most heads, and cheaper to initialise.
pub type SmallTable = HeadTable<32>;

impl<const FIELDS: usize> Default for HeadTable<FIELDS> {
    fn default() -> Self {
        let spans = [FieldSpan { start: 0, name: 0, value: 0, end: 0, class: Field::Other }; FIELDS];
        Self { spans, more: HeadStore::default() }
    }
}

/// The field lines of a head, in the order in which they came.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'t, 'a> {
    head: &'a [u8],
    spans: &'t [FieldSpan],
    /// Whether all of them are exactly what would be written for them.
    are_canonical: bool,
    /// The names in the `Connection` fields, once these were read.
    named: &'t [OptionSpan],
}

/// One field line.
#[derive(Clone, Copy, Debug)]
pub struct FieldLine<'a> {
    head: &'a [u8],
    span: FieldSpan,
    is_canonical: bool,
}

impl<'t, 'a> Fields<'t, 'a> {
    /// The fields of a head of the usual shape, which is also the shape that is written.
    pub(super) fn canonical(head: &'a [u8], spans: &'t [FieldSpan]) -> Self {
        Self { head, spans, are_canonical: true, named: &[] }
    }

    /// Parses the fields of any head: `lines` is the head after its first line. httparse's names and values are slices of it.
    pub(super) fn parse(head: &'a [u8], lines: &'a [u8], spans: &'t mut [FieldSpan]) -> Result<Self, Refusal> {
        let mut slots = [httparse::EMPTY_HEADER; MAX_FIELDS];
        let headers = match httparse::parse_headers(lines, &mut slots) {
            Ok(httparse::Status::Complete((length, headers))) if length == lines.len() => headers,
            Err(httparse::Error::TooManyHeaders) => return Err(Refusal::HeadTooLarge("too many fields")),
            _ => return Err(Refusal::Malformed(first_line::fault_of_fields(lines))),
        };
        steps::count(head.len());
        for (span, header) in spans.iter_mut().zip(headers) {
            let (name, value) = (header.name.as_bytes(), text::trim(header.value));
            let (start, at) = (offset(head, name), offset(head, value));
            *span = FieldSpan { start, name: start + name.len() as u32, value: at, end: at + value.len() as u32, class: classify(name) };
        }
        Ok(Self { head, spans: &spans[..headers.len()], are_canonical: false, named: &[] })
    }

    /// Stores the names in the `Connection` fields.
    pub(super) fn set_named(&mut self, named: &'t mut ConnectionOptions) {
        self.named = named.sorted(self.head);
    }

    /// The whole head, up to and including the empty line.
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The request line or status line, with its line end.
    pub fn first_line(&self) -> &'a [u8] {
        &self.head[..self.spans.first().map_or(self.head.len() - 2, |span| span.start as usize)]
    }

    /// The lines in their order.
    pub fn iter(&self) -> impl DoubleEndedIterator<Item = FieldLine<'a>> + use<'t, 'a> {
        let Self { head, spans, are_canonical: is_canonical, .. } = *self;
        steps::count(spans.len());
        spans.iter().map(move |&span| FieldLine { head, span, is_canonical })
    }

    /// The value of the first field of that class.
    pub fn first(&self, class: Field) -> Option<&'a [u8]> {
        self.of(class).next().map(|line| line.value())
    }

    /// The fields of that class.
    pub fn of(&self, class: Field) -> impl DoubleEndedIterator<Item = FieldLine<'a>> {
        self.iter().filter(move |line| line.class() == class)
    }

    /// Whether a `Connection` field names this one, and may (RFC 9110 7.6.1).
    pub fn names(&self, name: &[u8], class: Field) -> bool {
        may_be_dropped(class) && is_named(name, self.named, self.head)
    }
}

impl<'a> FieldLine<'a> {
    /// The name as it came, a `token`.
    pub fn name(&self) -> &'a [u8] {
        steps::count((self.span.name - self.span.start) as usize);
        &self.head[self.span.start as usize..self.span.name as usize]
    }

    /// The value without blanks around it.
    pub fn value(&self) -> &'a [u8] {
        // Counted for each call, because a caller that reads the value scans it.
        steps::count((self.span.end - self.span.value) as usize);
        &self.head[self.span.value as usize..self.span.end as usize]
    }

    /// Where a piece of the value stands in the head.
    pub(super) fn place(&self, piece: &[u8]) -> OptionSpan {
        let start = offset(self.head, piece);
        OptionSpan { start, end: start + piece.len() as u32 }
    }

    /// What the name means to a proxy.
    pub fn class(&self) -> Field {
        self.span.class
    }

    /// Where the line stands in the head, if it is exactly what would be written: `name: value` and CRLF.
    pub(super) fn canonical(&self) -> Option<Range<usize>> {
        let FieldSpan { start, name, value, end, .. } = self.span;
        let is_it = || value == name + 2 && self.head[value as usize - 1] == b' ' && self.head.get(end as usize) == Some(&b'\r');
        (self.is_canonical || is_it()).then_some(start as usize..end as usize + 2)
    }
}

/// The offset of a piece within its head.
fn offset(head: &[u8], piece: &[u8]) -> u32 {
    (piece.as_ptr() as usize - head.as_ptr() as usize) as u32
}
