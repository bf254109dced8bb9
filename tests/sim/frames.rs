//! A protocol of the tests' own with several exchanges on one connection.
//!
//! A frame is a kind (one byte), the number of a stream and a length (two bytes each), and so many bytes.

/// The kind, the stream and the length.
pub const HEADER: usize = 5;
/// The longest content of one frame that a client sends.
pub const MOST: usize = 1000;

/// What a frame is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A head, as text.
    Head = 1,
    /// Content.
    Data,
    /// The content is complete.
    End,
    /// The stream is given up.
    Reset,
    /// So much more content may be sent.
    Window,
}

impl Kind {
    fn of(byte: u8) -> Option<Self> {
        [Self::Head, Self::Data, Self::End, Self::Reset, Self::Window].into_iter().find(|kind| *kind as u8 == byte)
    }
}

/// A frame without its content.
#[derive(Clone, Copy, Debug)]
pub struct Header {
    pub kind: Kind,
    pub stream: u16,
    pub length: usize,
}

impl Header {
    /// Reads one; `None` if it is none.
    pub fn read(bytes: [u8; HEADER]) -> Option<Self> {
        let [kind, a, b, c, d] = bytes;
        Some(Self { kind: Kind::of(kind)?, stream: u16::from_be_bytes([a, b]), length: u16::from_be_bytes([c, d]).into() })
    }
}

/// The bytes in front of a frame's content.
pub fn header(kind: Kind, stream: u16, length: usize) -> [u8; HEADER] {
    let ([a, b], [c, d]) = (stream.to_be_bytes(), u16::try_from(length).unwrap().to_be_bytes());
    [kind as u8, a, b, c, d]
}

/// Appends a frame.
pub fn push(out: &mut Vec<u8>, kind: Kind, stream: u16, content: &[u8]) {
    out.extend(header(kind, stream, content.len()));
    out.extend_from_slice(content);
}
