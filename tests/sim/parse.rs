//! Reads what the proxy sends to either side, as it comes, and panics at whatever is not canonical.

use crate::http::{self, Framing, Part, Style};

/// A parsed head.
#[derive(Clone, Debug)]
pub struct Head {
    pub first: String,
    message: http::Head,
}

/// How a body ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    Known(u64),
    Chunked,
    UntilClose,
}

/// A piece that was read.
#[derive(Debug)]
pub enum Piece {
    Head(Head),
    Content(Vec<u8>),
    End,
}

#[derive(Debug, PartialEq, Eq)]
enum State {
    Head,
    /// The reader waits for [`Reader::begin_body`].
    Between,
    Known(u64),
    ChunkSize,
    ChunkData(u64),
    ChunkEnd,
    Trailer,
    UntilClose,
}

/// A reader that takes bytes and returns pieces.
#[derive(Debug)]
pub struct Reader {
    buffer: Vec<u8>,
    at: usize,
    state: State,
}

impl Reader {
    pub fn new() -> Self {
        Self { buffer: Vec::new(), at: 0, state: State::Head }
    }

    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.drain(..self.at);
        self.at = 0;
        self.buffer.extend_from_slice(bytes);
    }

    /// Whether the body ends with the connection.
    pub fn ends_with_close(&self) -> bool {
        self.state == State::UntilClose
    }

    pub fn in_body(&self) -> bool {
        self.state != State::Head
    }

    /// After a head: says how long its body is.
    pub fn begin_body(&mut self, length: Length) {
        assert_eq!(self.state, State::Between);
        self.state = match length {
            Length::Known(n) => State::Known(n),
            Length::Chunked => State::ChunkSize,
            Length::UntilClose => State::UntilClose,
        };
    }

    /// After an interim head: another head.
    pub fn skip_body(&mut self) {
        assert_eq!(self.state, State::Between);
        self.state = State::Head;
    }

    pub fn next(&mut self) -> Option<Piece> {
        loop {
            let rest = &self.buffer[self.at..];
            match self.state {
                State::Between => panic!("a head was not looked at"),
                State::Head => {
                    // Looked for first, so that a head that comes byte by byte is not parsed for each.
                    rest.windows(4).position(|w| w == b"\r\n\r\n")?;
                    let (message, length) = whole(http::head(rest, Style::Canonical))?;
                    let head = Head { first: text(&message.first).to_owned(), message };
                    self.at += length;
                    self.state = State::Between;
                    return Some(Piece::Head(head));
                }
                State::Known(0) => {
                    self.state = State::Head;
                    return Some(Piece::End);
                }
                State::Known(left) | State::ChunkData(left) => {
                    if left == 0 {
                        self.state = State::ChunkEnd;
                        continue;
                    }
                    let n = rest.len().min(usize::try_from(left).unwrap());
                    let content = rest[..n].to_vec();
                    self.at += n;
                    let left = left - n as u64;
                    self.state = if matches!(self.state, State::Known(_)) { State::Known(left) } else { State::ChunkData(left) };
                    return (n > 0).then_some(Piece::Content(content));
                }
                State::UntilClose => {
                    let content = rest.to_vec();
                    self.at = self.buffer.len();
                    return (!content.is_empty()).then_some(Piece::Content(content));
                }
                State::ChunkSize => {
                    let line = self.line()?;
                    let size = http::chunk_size(&line, Style::Canonical);
                    let size = size.unwrap_or_else(|| panic!("a chunk size that is not canonical: {}", line.escape_ascii()));
                    self.state = if size == 0 { State::Trailer } else { State::ChunkData(size) };
                }
                State::ChunkEnd => {
                    let line = self.line()?;
                    assert!(line.is_empty(), "chunk data does not end in CRLF");
                    self.state = State::ChunkSize;
                }
                State::Trailer => {
                    let line = self.line()?;
                    if line.is_empty() {
                        self.state = State::Head;
                        return Some(Piece::End);
                    }
                    let field = http::field(&line, Style::Any).unwrap_or_else(|why| panic!("{why}: {}", line.escape_ascii()));
                    assert_eq!(field.name, "X-Sum", "only what may pass stands in a trailer section");
                }
            }
        }
    }

    fn line(&mut self) -> Option<Vec<u8>> {
        let (line, length) = whole(http::line(&self.buffer[self.at..]))?;
        let line = line.to_vec();
        self.at += length;
        Some(line)
    }
}

/// A part and its length, once it has come.
fn whole<T>(part: Part<T>) -> Option<(T, usize)> {
    match part {
        Part::Whole(part, length) => Some((part, length)),
        Part::Cut => None,
        Part::Bad(why) => panic!("{why}"),
    }
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("a head of text")
}

impl Head {
    /// The one value of a field; panics if it stands there twice.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.message.values(name).map(text);
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands there twice: {self:?}");
        value
    }

    /// What the framing fields say; panics if they say two things.
    pub fn framing(&self) -> Option<Length> {
        let framing = self.message.framing(1).unwrap_or_else(|why| panic!("{why}: {self:?}"));
        framing.map(|framing| match framing {
            Framing::Length(n) => Length::Known(n),
            Framing::Chunked => Length::Chunked,
            Framing::Empty | Framing::UntilClose => unreachable!("no field says so"),
        })
    }

    /// The status of a response's first line.
    pub fn status(&self) -> u16 {
        let rest = self.first.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("no status line: {:?}", self.first));
        rest[..3].parse().unwrap()
    }

    pub fn closes(&self) -> bool {
        self.field("Connection").is_some_and(|value| value.eq_ignore_ascii_case("close"))
    }
}
