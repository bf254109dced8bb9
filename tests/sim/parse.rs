//! A strict reader of what the proxy sends to either side. It shares nothing with the crate, and panics at whatever it does not accept.

/// A parsed head.
#[derive(Clone, Debug)]
pub struct Head {
    pub first: String,
    pub fields: Vec<(String, String)>,
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
                    let end = rest.windows(4).position(|w| w == b"\r\n\r\n")? + 4;
                    let head = parse_head(&rest[..end]);
                    self.at += end;
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
                    let is_canonical =
                        !line.is_empty() && line.bytes().all(|b| b.is_ascii_hexdigit()) && (line == "0" || !line.starts_with('0'));
                    assert!(is_canonical, "a chunk size that is not canonical: {line:?}");
                    let size = u64::from_str_radix(&line, 16).unwrap();
                    self.state = if size == 0 { State::Trailer } else { State::ChunkData(size) };
                }
                State::ChunkEnd => {
                    let line = self.line()?;
                    assert_eq!(line, "", "chunk data does not end in CRLF");
                    self.state = State::ChunkSize;
                }
                State::Trailer => {
                    let line = self.line()?;
                    if line.is_empty() {
                        self.state = State::Head;
                        return Some(Piece::End);
                    }
                    let (name, _) = parse_field(&line);
                    assert_eq!(name, "X-Sum", "only what may pass stands in a trailer section");
                }
            }
        }
    }

    fn line(&mut self) -> Option<String> {
        let rest = &self.buffer[self.at..];
        let lf = rest.iter().position(|&b| b == b'\n')?;
        let line = rest[..lf].strip_suffix(b"\r").unwrap_or_else(|| panic!("a bare LF after {:?}", String::from_utf8_lossy(&rest[..lf])));
        let line = String::from_utf8(line.to_vec()).expect("text in the framing");
        self.at += lf + 1;
        Some(line)
    }
}

fn parse_head(bytes: &[u8]) -> Head {
    let text = std::str::from_utf8(bytes).expect("a head of text");
    let mut lines = text.strip_suffix("\r\n\r\n").unwrap().split("\r\n");
    let first = lines.next().unwrap().to_owned();
    assert!(!first.contains(['\r', '\n', '\0']), "{first:?}");
    Head { first, fields: lines.map(parse_field).collect() }
}

fn parse_field(line: &str) -> (String, String) {
    let (name, value) = line.split_once(':').unwrap_or_else(|| panic!("no field: {line:?}"));
    let is_token = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.!#$%&'*+^`|~".contains(&b));
    assert!(is_token && !value.contains(|c: char| c.is_control() && c != '\t'), "a malformed field: {line:?}");
    (name.to_owned(), value.trim().to_owned())
}

impl Head {
    /// The one value of a field; panics if it stands there twice.
    pub fn field(&self, name: &str) -> Option<&str> {
        let mut values = self.fields.iter().filter(|(other, _)| other.eq_ignore_ascii_case(name)).map(|(_, value)| value.as_str());
        let value = values.next();
        assert!(values.next().is_none(), "{name} stands there twice: {self:?}");
        value
    }

    /// What the framing fields say; panics if they say two things.
    pub fn framing(&self) -> Option<Length> {
        match (self.field("Content-Length"), self.field("Transfer-Encoding")) {
            (Some(_), Some(_)) => panic!("two framings: {self:?}"),
            (Some(n), None) => Some(Length::Known(n.parse().unwrap_or_else(|_| panic!("{self:?}")))),
            (None, Some("chunked")) => Some(Length::Chunked),
            (None, Some(other)) => panic!("transfer coding {other}"),
            (None, None) => None,
        }
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
