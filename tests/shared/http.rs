//! An independent reader of HTTP/1.1, written from RFC 9112 and RFC 9110; it shares nothing with the crate. It accepts a message only
//! if it can be read in one way. The plays, the simulation and the hostile peers all read by it: [`body`] reads a whole stream, others
//! take its parts as they come.
#![allow(dead_code)] // not everyone needs all of it

use std::fmt;

/// How strict the reader is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Style {
    /// What a peer may send.
    Any,
    /// What the proxy sends: only the canonical form.
    Canonical,
}

#[derive(Clone, PartialEq, Eq)]
pub struct Field {
    pub name: String,
    pub value: Vec<u8>,
}

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Head {
    pub first: Vec<u8>,
    pub fields: Vec<Field>,
}

/// How a body is delimited (RFC 9112 6.3).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Framing {
    #[default]
    Empty,
    Length(u64),
    Chunked,
    UntilClose,
}

/// A body, as far as it came.
#[derive(Clone, Default)]
pub struct Body {
    pub data: Vec<u8>,
    pub trailers: Vec<Field>,
    pub is_whole: bool,
    pub flaw: Option<&'static str>,
}

/// What the front of a stream contains.
pub enum Part<T> {
    /// A complete part, and its length in bytes.
    Whole(T, usize),
    Cut,
    Bad(&'static str),
}

impl fmt::Debug for Field {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.name, self.value.escape_ascii())
    }
}

impl fmt::Debug for Body {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let end = if self.is_whole { "whole" } else { self.flaw.unwrap_or("cut off") };
        let shown: String = self.data.escape_ascii().to_string().chars().take(300).collect();
        write!(f, "\"{shown}\" ({} bytes, {end}) {:?}", self.data.len(), self.trailers)
    }
}

impl Field {
    pub fn is(&self, name: &str) -> bool {
        self.name.eq_ignore_ascii_case(name)
    }
}

impl Head {
    pub fn values<'a>(&'a self, name: &str) -> impl Iterator<Item = &'a [u8]> {
        self.fields.iter().filter(move |field| field.is(name)).map(|field| field.value.as_slice())
    }

    pub fn has(&self, name: &str) -> bool {
        self.values(name).next().is_some()
    }

    /// The members of a list that may be in several lines, in lower case.
    pub fn list(&self, name: &str) -> Vec<String> {
        let members = self.values(name).flat_map(|value| value.split(|&b| b == b','));
        members.map(|member| String::from_utf8_lossy(trim(member)).to_ascii_lowercase()).filter(|member| !member.is_empty()).collect()
    }

    /// Whether the connection ends after the message (RFC 9112 9.3).
    pub fn closes(&self, minor: u8) -> bool {
        let options = self.list("Connection");
        options.iter().any(|option| option == "close") || (minor == 0 && !options.iter().any(|option| option == "keep-alive"))
    }

    /// What the framing fields say; an error if they contradict each other.
    pub fn framing(&self, minor: u8) -> Result<Option<Framing>, &'static str> {
        let (codings, lengths): (Vec<_>, Vec<_>) = (self.values("Transfer-Encoding").collect(), self.values("Content-Length").collect());
        match (&codings[..], &lengths[..]) {
            ([], []) => Ok(None),
            ([coding], []) if minor == 1 && coding.eq_ignore_ascii_case(b"chunked") => Ok(Some(Framing::Chunked)),
            ([], [digits]) if !digits.is_empty() && digits.iter().all(u8::is_ascii_digit) => {
                let n = std::str::from_utf8(digits).unwrap_or_default().parse();
                n.map(|n| Some(Framing::Length(n))).map_err(|_| "a length beyond all bounds")
            }
            _ => Err("framing fields that can be read in two ways"),
        }
    }
}

pub fn is_token(text: &[u8]) -> bool {
    !text.is_empty() && text.iter().all(|b| b.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(b))
}

pub fn trim(mut text: &[u8]) -> &[u8] {
    while let [b' ' | b'\t', rest @ ..] | [rest @ .., b' ' | b'\t'] = text {
        text = rest;
    }
    text
}

/// A line that ends in CRLF, without any other CR, LF or NUL.
pub fn line(bytes: &[u8]) -> Part<&[u8]> {
    let Some(lf) = bytes.iter().position(|&b| b == b'\n') else { return Part::Cut };
    match bytes[..lf].strip_suffix(b"\r") {
        Some(line) if !line.contains(&b'\r') && !line.contains(&0) => Part::Whole(line, lf + 1),
        _ => Part::Bad("a line end that is not CRLF"),
    }
}

/// A field line without its end.
pub fn field(line: &[u8], style: Style) -> Result<Field, &'static str> {
    let colon = line.iter().position(|&b| b == b':').ok_or("a field without a colon")?;
    let (name, value) = (&line[..colon], &line[colon + 1..]);
    if !is_token(name) {
        return Err("a field name that is no token");
    }
    if value.iter().any(|&b| (b < b' ' && b != b'\t') || b == 0x7f) {
        return Err("a control in a field");
    }
    let is_plain = value.strip_prefix(b" ").is_some_and(|value| value == trim(value));
    if style == Style::Canonical && !is_plain {
        return Err("blanks around a field's value");
    }
    Ok(Field { name: String::from_utf8_lossy(name).into_owned(), value: trim(value).to_vec() })
}

/// The lines up to the empty one, which is included.
fn fields(bytes: &[u8], style: Style) -> Part<Vec<Field>> {
    let (mut found, mut at) = (Vec::new(), 0);
    loop {
        match line(&bytes[at..]) {
            Part::Whole(b"", n) => return Part::Whole(found, at + n),
            Part::Whole(text, n) => match field(text, style) {
                Ok(field) => {
                    found.push(field);
                    at += n;
                }
                Err(why) => return Part::Bad(why),
            },
            Part::Cut => return Part::Cut,
            Part::Bad(why) => return Part::Bad(why),
        }
    }
}

pub fn head(bytes: &[u8], style: Style) -> Part<Head> {
    let (first, at) = match line(bytes) {
        Part::Whole(b"", _) => return Part::Bad("no first line"),
        Part::Whole(first, at) => (first.to_vec(), at),
        Part::Cut => return Part::Cut,
        Part::Bad(why) => return Part::Bad(why),
    };
    match fields(&bytes[at..], style) {
        Part::Whole(fields, n) => Part::Whole(Head { first, fields }, at + n),
        Part::Cut => Part::Cut,
        Part::Bad(why) => Part::Bad(why),
    }
}

/// The body at the front of `bytes`, and how many of them belong to it.
pub fn body(bytes: &[u8], framing: Framing, style: Style) -> (Body, usize) {
    let plain = |n: usize, is_whole| (Body { data: bytes[..n].to_vec(), is_whole, ..Body::default() }, n);
    match framing {
        Framing::Empty => plain(0, true),
        Framing::Length(n) => match usize::try_from(n) {
            Ok(n) if n <= bytes.len() => plain(n, true),
            _ => plain(bytes.len(), false),
        },
        Framing::UntilClose => plain(bytes.len(), false),
        Framing::Chunked => chunks(bytes, style),
    }
}

/// Chunks (RFC 9112 7.1).
fn chunks(bytes: &[u8], style: Style) -> (Body, usize) {
    let (mut body, mut at) = (Body::default(), 0);
    loop {
        let (text, n) = match line(&bytes[at..]) {
            Part::Whole(text, n) => (text, n),
            Part::Cut => return (body, bytes.len()),
            Part::Bad(why) => return (Body { flaw: Some(why), ..body }, at),
        };
        let Some(size) = chunk_size(text, style) else {
            return (Body { flaw: Some("a chunk size that is none"), ..body }, at);
        };
        at += n;
        if size == 0 {
            // A trailer line is passed on unchanged, blanks included.
            return match fields(&bytes[at..], Style::Any) {
                Part::Whole(trailers, n) => (Body { trailers, is_whole: true, ..body }, at + n),
                Part::Cut => (body, bytes.len()),
                Part::Bad(why) => (Body { flaw: Some(why), ..body }, at),
            };
        }
        let n = usize::try_from(size).unwrap_or(usize::MAX).min(bytes.len() - at);
        body.data.extend_from_slice(&bytes[at..at + n]);
        at += n;
        match &bytes[at..] {
            [] | b"\r" => return (body, bytes.len()),
            [b'\r', b'\n', ..] => at += 2,
            _ => return (Body { flaw: Some("data that does not end with its chunk"), ..body }, at),
        }
    }
}

/// RFC 9112 7.1.1: each has a name, and perhaps a value. Blanks may stand around the delimiters, and not at the end of the line.
fn are_extensions(mut text: &[u8]) -> bool {
    let after_blanks = |text: &'_ [u8]| text.iter().take_while(|b| matches!(b, b' ' | b'\t')).count();
    let token = |text: &'_ [u8]| text.iter().take_while(|&&b| is_token(&[b])).count();
    while !text.is_empty() {
        let Some(rest) = text[after_blanks(text)..].strip_prefix(b";") else { return false };
        let rest = &rest[after_blanks(rest)..];
        let name = token(rest);
        text = &rest[name..];
        if name == 0 {
            return false;
        }
        let Some(value) = text[after_blanks(text)..].strip_prefix(b"=") else { continue };
        let value = &value[after_blanks(value)..];
        let length = if value.starts_with(b"\"") { quoted(value) } else { Some(token(value)).filter(|&n| n > 0) };
        let Some(length) = length else { return false };
        text = &value[length..];
    }
    true
}

/// The length of the quoted string at the front.
fn quoted(text: &[u8]) -> Option<usize> {
    let mut at = 1;
    loop {
        match text.get(at)? {
            b'"' => return Some(at + 1),
            b'\\' => at += 2,
            _ => at += 1,
        }
    }
}

/// The size in the first line of a chunk.
pub fn chunk_size(line: &[u8], style: Style) -> Option<u64> {
    let digits = line.iter().take_while(|b| b.is_ascii_hexdigit()).count();
    let (size, extensions) = line.split_at(digits);
    let has_control = extensions.iter().any(|&b| (b < b' ' && b != b'\t') || b == 0x7f);
    let is_extension = are_extensions(extensions);
    let is_canonical = extensions.is_empty() && (size == b"0" || !size.starts_with(b"0"));
    if !is_extension || has_control || !(1..=16).contains(&digits) || (style == Style::Canonical && !is_canonical) {
        return None;
    }
    u64::from_str_radix(std::str::from_utf8(size).ok()?, 16).ok()
}
