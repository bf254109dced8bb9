//! The field lines of a head that was parsed: what each means, and where it lies in the head.

use super::fields::{Field, classify};
use super::{HeadLimits, MAX_FIELDS};
use crate::base::text;
use httparse::Header;
use std::mem::MaybeUninit;
use std::ops::Range;

/// Storage for a parser's table of fields, borrowed by the message.
pub struct Table<'a, const FIELDS: usize = MAX_FIELDS> {
    pub(super) headers: [MaybeUninit<Header<'a>>; FIELDS],
    pub(super) classes: [Field; FIELDS],
}

/// Enough for most heads, and sooner made.
pub type SmallTable<'a> = Table<'a, 64>;

impl<const FIELDS: usize> Default for Table<'_, FIELDS> {
    fn default() -> Self {
        Self { headers: [const { MaybeUninit::uninit() }; FIELDS], classes: [Field::Other; FIELDS] }
    }
}

/// The field lines of a head, as they came.
#[derive(Clone, Copy, Debug)]
pub struct Fields<'t, 'a> {
    head: &'a [u8],
    headers: &'t [Header<'a>],
    classes: &'t [Field],
}

/// One of them.
#[derive(Clone, Copy, Debug)]
pub struct Line<'a> {
    /// `token`
    pub name: &'a str,
    /// Without blanks around it.
    pub value: &'a [u8],
    /// What the name means.
    pub class: Field,
    /// Where its line begins.
    start: usize,
}

impl<'t, 'a> Fields<'t, 'a> {
    /// Looks every name up, once.
    pub(super) fn new(head: &'a [u8], headers: &'t [Header<'a>], classes: &'t mut [Field]) -> Self {
        for (class, header) in classes.iter_mut().zip(headers) {
            *class = classify(header.name.as_bytes());
        }
        Self { head, headers, classes: &classes[..headers.len()] }
    }

    /// The whole head, up to and including the empty line.
    pub fn head(&self) -> &'a [u8] {
        self.head
    }

    /// The request line or status line, with its line end.
    pub fn first_line(&self) -> &'a [u8] {
        &self.head[..self.headers.first().map_or(self.head.len() - 2, |header| start_of(self.head, header))]
    }

    /// In their order.
    pub fn iter(&self) -> impl Iterator<Item = Line<'a>> + use<'t, 'a> {
        let Self { head, headers, classes } = *self;
        headers.iter().zip(classes).map(move |(header, &class)| Line {
            name: header.name,
            value: header.value,
            class,
            start: start_of(head, header),
        })
    }

    /// The value of the first field of that class.
    pub fn first(&self, class: Field) -> Option<&'a [u8]> {
        self.classes.iter().position(|&other| other == class).map(|at| self.headers[at].value)
    }

    /// Those of that class.
    pub fn of(&self, class: Field) -> impl Iterator<Item = Line<'a>> {
        self.iter().filter(move |line| line.class == class)
    }

    /// Whether a `Connection` field names this one, and may (RFC 9110 7.6.1).
    pub fn names(&self, name: &[u8], class: Field) -> bool {
        super::fields::may_be_dropped(class)
            && self.of(Field::Connection).any(|line| text::list(line.value).any(|option| option.eq_ignore_ascii_case(name)))
    }

    /// Whether every line ends in CRLF and is within the limits: what `HeadScan` finds out of a head that comes in pieces.
    pub(super) fn keep(&self, limits: &HeadLimits) -> bool {
        let (head, mut line, mut longest) = (self.head, 0, limits.first_line);
        for header in self.headers {
            let next = start_of(head, header);
            if !ends_line(head, line, next, longest) {
                return false;
            }
            (line, longest) = (next, limits.line);
        }
        let end = head.len() - 2;
        ends_line(head, line, end, longest) && head[end] == b'\r' && self.headers.len() <= limits.lines && head.len() <= limits.total
    }
}

/// Whether the line that begins at `line` ends in CRLF before `next`, and is not too long.
fn ends_line(head: &[u8], line: usize, next: usize, longest: usize) -> bool {
    next >= line + 2 && head[next - 2] == b'\r' && next - 2 - line <= longest
}

impl<'a> Line<'a> {
    /// Its bytes in the head, if they are what would be written for it: `name: value` and CRLF.
    pub(super) fn canonical(&self, head: &[u8]) -> Option<Range<usize>> {
        let value = self.start + self.name.len() + 2;
        let end = value + self.value.len() + 2;
        // The parser's values have no blanks around them, so a line end there is the line's.
        let is_canonical = self.value.as_ptr() as usize - head.as_ptr() as usize == value && head.get(end - 2) == Some(&b'\r');
        (is_canonical && head[value - 1] == b' ').then_some(self.start..end)
    }
}

/// Where in the head a field's line begins: the parser's names are slices of it.
fn start_of(head: &[u8], header: &Header) -> usize {
    header.name.as_ptr() as usize - head.as_ptr() as usize
}
