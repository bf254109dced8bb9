//! The chunked coding (RFC 9112 7.1), decoded byte by byte and made canonical in place.
//!
//! What stays in the buffer may be passed on: sizes without leading zeros, no extensions, and only trailer fields that neither
//! frame nor route. For a recipient that does not know the coding only the data stays. The result is never longer than the input.
//!
//! ```text
//!     Size -> (extensions) -> SizeLf -> Data -> DataCr -> DataLf -> Size …
//!                               `-- size 0 --> Trailer … -> End
//! ```

use super::fields::{self, is_tchar};
use super::trailers::{self, TrailerLine, TrailerSection};
use super::{HeadLimits, Refusal};
use crate::base::steps;

/// Hexadecimal digits of a chunk size: as many as fit 64 bits.
const MAX_DIGITS: u8 = 16;
/// Bytes of one chunk's extensions.
const MAX_EXTENSION: u16 = 1024;
/// Bytes that all extensions of a body may have beyond an eighth of its data: a body must not be mostly extensions.
const FREE_OVERHEAD: u64 = 64 * 1024;

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum ChunkState {
    Size,
    /// Blanks after the size, which only an extension may follow.
    SizeBlank,
    ExtensionStart,
    ExtensionName,
    NameBlank,
    ValueStart,
    Value,
    Quoted,
    QuotedPair,
    ValueEnd,
    SizeLf,
    Data,
    DataCr,
    DataLf,
    Trailer,
    End,
}

/// A position in a chunked body.
#[derive(Clone, Debug)]
pub struct Decoder {
    state: ChunkState,
    digits: u8,
    extension: u16,
    /// The size while it is read, then the bytes of the chunk's data that have not come yet.
    left: u64,
    /// Data bytes announced so far, of all chunks.
    announced: u64,
    /// Bytes of extensions so far.
    overhead: u64,
    trailers: TrailerSection,
}

/// What is passed on of a chunked body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChunkOutput {
    /// The chunks, in canonical form.
    Framing,
    /// The data alone.
    Data,
}

/// How many new bytes were processed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ChunkProgress {
    /// Bytes processed.
    pub consumed: usize,
    /// How many of these remain, at the front.
    pub kept: usize,
}

impl Default for Decoder {
    fn default() -> Self {
        Self { state: ChunkState::Size, digits: 0, extension: 0, left: 0, announced: 0, overhead: 0, trailers: TrailerSection::default() }
    }
}

impl Decoder {
    /// Whether the last chunk and the trailer section have come.
    pub fn is_ended(&self) -> bool {
        self.state == ChunkState::End
    }

    /// Data bytes announced by the chunk sizes so far, which a limit on content is compared with.
    pub fn announced(&self) -> u64 {
        self.announced
    }

    /// How many of the following bytes need not be looked at.
    pub fn opaque(&self) -> u64 {
        if self.state == ChunkState::Data { self.left } else { 0 }
    }

    /// Notes that `n` of the [`Decoder::opaque`] bytes were moved past the decoder.
    pub fn moved(&mut self, n: u64) {
        debug_assert!(n <= self.opaque());
        self.left -= n;
        if self.left == 0 {
            self.state = ChunkState::DataCr;
        }
    }

    /// Processes new bytes, and shortens them in place to what is passed on. It stops after the end of the body, and in front of
    /// an incomplete trailer line, and of a zero that the next byte must explain.
    pub fn decode(&mut self, bytes: &mut [u8], keep: ChunkOutput, limits: &HeadLimits) -> Result<ChunkProgress, Refusal> {
        let mut step = ChunkProgress { consumed: 0, kept: 0 };
        while step.consumed < bytes.len() && self.state != ChunkState::End {
            steps::count(1);
            match self.state {
                ChunkState::Data => {
                    let n = usize::try_from(self.left).unwrap_or(usize::MAX).min(bytes.len() - step.consumed);
                    shift(bytes, &mut step, n);
                    self.moved(n as u64);
                }
                ChunkState::Trailer => {
                    let rest = &bytes[step.consumed..];
                    let (length, passes) = match self.trailers.next_line(rest, limits)? {
                        TrailerLine::Incomplete => break,
                        TrailerLine::Field(length) => (length, trailers::may_pass(&rest[..length])),
                        TrailerLine::End(length) => {
                            self.state = ChunkState::End;
                            (length, true)
                        }
                    };
                    if passes && keep == ChunkOutput::Framing {
                        shift(bytes, &mut step, length);
                    } else {
                        step.consumed += length;
                    }
                }
                _ => {
                    let b = bytes[step.consumed];
                    // A zero may be a leading one or the whole size; the next byte tells.
                    let leads = self.state == ChunkState::Size && b == b'0' && (self.digits == 0 || self.left == 0);
                    let after = bytes.get(step.consumed + 1).copied();
                    if leads && after.is_none() {
                        break;
                    }
                    step.consumed += 1;
                    let passes = self.byte(b)? && !(leads && after.is_some_and(|b| b.is_ascii_hexdigit()));
                    if passes && keep == ChunkOutput::Framing {
                        bytes[step.kept] = b;
                        step.kept += 1;
                    }
                }
            }
        }
        Ok(step)
    }

    /// Processes one byte of framing, and returns whether it is part of the canonical form.
    fn byte(&mut self, b: u8) -> Result<bool, Refusal> {
        use ChunkState::*;
        if !matches!(self.state, Size | SizeLf | DataCr | DataLf) {
            self.count_extension()?;
        }
        let next = match (self.state, b) {
            (Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => return self.digit(b),
            (Size | SizeBlank, b' ' | b'\t') if self.digits > 0 => SizeBlank,
            (Size | SizeBlank, b';') if self.digits > 0 => ExtensionStart,
            (Size, b'\r') if self.digits > 0 => SizeLf,
            (ExtensionStart, b' ' | b'\t') => ExtensionStart,
            (ExtensionStart | ExtensionName, b) if is_tchar(b) => ExtensionName,
            (ExtensionName | NameBlank, b' ' | b'\t') => NameBlank,
            (ExtensionName | NameBlank, b'=') => ValueStart,
            (ExtensionName | NameBlank | Value | ValueEnd, b';') => ExtensionStart,
            (ExtensionName | Value | ValueEnd, b'\r') => SizeLf,
            (ValueStart, b' ' | b'\t') => ValueStart,
            (ValueStart, b'"') => Quoted,
            (ValueStart | Value, b) if is_tchar(b) => Value,
            (Value, b' ' | b'\t') => SizeBlank,
            (ValueEnd, b' ' | b'\t') => SizeBlank,
            (Quoted, b'"') => ValueEnd,
            (Quoted, b'\\') => QuotedPair,
            (Quoted | QuotedPair, b) if fields::is_value(&[b]) => Quoted,
            (SizeLf, b'\n') if self.left == 0 => Trailer,
            (SizeLf, b'\n') => self.start_data()?,
            (DataCr, b'\r') => DataLf,
            (DataLf, b'\n') => {
                (self.digits, self.extension) = (0, 0);
                Size
            }
            (Size, _) => return Err(Refusal::Malformed("a chunk size is not plain hexadecimal digits")),
            (SizeLf, _) => return Err(Refusal::Malformed("a chunk size does not end in CRLF")),
            (DataCr | DataLf, _) => return Err(Refusal::Malformed("chunk data does not end in CRLF")),
            _ => return Err(Refusal::Malformed("a chunk extension is malformed")),
        };
        self.state = next;
        Ok(matches!((next, b), (SizeLf, b'\r') | (Trailer | Data | DataLf, _)) || (next == Size && b == b'\n'))
    }

    fn digit(&mut self, b: u8) -> Result<bool, Refusal> {
        if self.digits == MAX_DIGITS {
            return Err(Refusal::Malformed("a chunk size has too many digits"));
        }
        if self.digits == 0 {
            self.left = 0;
        }
        self.digits += 1;
        let value = (b as char).to_digit(16).unwrap_or(0);
        // Sixteen digits fit; the check stays, should the constant above ever change.
        self.left = self.left.checked_mul(16).ok_or(Refusal::Malformed("a chunk size is too large"))? + u64::from(value);
        Ok(true)
    }

    fn start_data(&mut self) -> Result<ChunkState, Refusal> {
        let announced = self.announced.checked_add(self.left);
        self.announced = announced.ok_or(Refusal::Malformed("a chunk size is too large"))?;
        Ok(ChunkState::Data)
    }

    fn count_extension(&mut self) -> Result<(), Refusal> {
        self.extension += 1;
        self.overhead += 1;
        if self.extension > MAX_EXTENSION || self.overhead > FREE_OVERHEAD + self.announced / 8 {
            return Err(Refusal::Malformed("chunk extensions are too large"));
        }
        Ok(())
    }
}

/// Moves `n` bytes forward to where the result ends.
fn shift(bytes: &mut [u8], step: &mut ChunkProgress, n: usize) {
    if step.kept != step.consumed {
        bytes.copy_within(step.consumed..step.consumed + n, step.kept);
    }
    step.consumed += n;
    step.kept += n;
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { first_line: 64, line: 64, lines: 3, total: 100 };

    fn run(decoder: &mut Decoder, body: &[u8], piece: usize, keep: ChunkOutput) -> Result<(Vec<u8>, usize), Refusal> {
        let (mut out, mut buffer, mut rest) = (Vec::new(), Vec::new(), body);
        while !decoder.is_ended() && !rest.is_empty() {
            let (now, later) = rest.split_at(piece.min(rest.len()));
            buffer.extend_from_slice(now);
            rest = later;
            let step = decoder.decode(&mut buffer, keep, &LIMITS)?;
            out.extend_from_slice(&buffer[..step.kept]);
            buffer.drain(..step.consumed);
        }
        Ok((out, buffer.len() + rest.len()))
    }

    /// Decodes a body whole, byte by byte, and with bytes following: the result is always the same.
    fn decode(body: &[u8], keep: ChunkOutput) -> Result<Vec<u8>, Refusal> {
        let mut decoder = Decoder::default();
        let whole = run(&mut decoder, body, usize::MAX, keep);
        let ended = decoder.is_ended();
        let by_byte = run(&mut Decoder::default(), body, 1, keep);
        assert_eq!(whole.as_ref().map(|r| &r.0).map_err(|e| *e), by_byte.as_ref().map(|r| &r.0).map_err(|e| *e));
        if ended {
            let followed = [body, b"GET / HTTP/1.1\r\n"].concat();
            assert_eq!(run(&mut Decoder::default(), &followed, usize::MAX, keep).map(|r| r.1), Ok(16));
        }
        whole.map(|r| r.0)
    }

    #[test]
    fn canonical_bodies_pass_untouched() {
        for body in ["0\r\n\r\n", "5\r\nhello\r\n0\r\n\r\n", "A\r\n0123456789\r\n1f\r\n", "1\r\na\r\n0\r\nX-Sum: 1\r\n\r\n"] {
            assert_eq!(decode(body.as_bytes(), ChunkOutput::Framing).unwrap(), body.as_bytes());
        }
    }

    #[test]
    fn what_is_not_canonical_is_made_so() {
        let body = b"0005;a=b ; c=\"d\\\"\t\";e\r\nhello\r\n000;x\r\nContent-Length: 3\r\nX: y\r\nhost_: z\r\nHOST: q\r\n\r\n";
        let limits = HeadLimits { lines: 9, ..LIMITS };
        let mut bytes = *body;
        let step = Decoder::default().decode(&mut bytes, ChunkOutput::Framing, &limits).unwrap();
        assert_eq!(&bytes[..step.kept], b"5\r\nhello\r\n0\r\nX: y\r\nhost_: z\r\n\r\n");
        assert_eq!(decode(b"05;a\r\nhello\r\n0\r\nX: y\r\n\r\n", ChunkOutput::Data).unwrap(), b"hello");
    }

    #[test]
    fn anything_else_is_refused() {
        for body in [
            "\r\n",
            ";x\r\n",
            "+5\r\n",
            "-1\r\n",
            "0x5\r\n",
            "5g\r\n",
            " 5\r\n",
            "5 \r\n",
            "5\n",
            "5\r5",
            "5\r\nhello0",
            "5\r\nhello\n",
            "5;\r\n",
            "5;=\r\n",
            "5;a=\r\n",
            "5;a=\"\n",
            "5;a\nb",
            "00000000000000005\r\n",
            "ffffffffffffffff\r\n\0\0",
            "0\r\n:x\r\n",
            "0\r\nx\r\n",
            "0\r\n x: y\r\n",
            "0\r\nx : y\r\n",
            "0\r\nx: y\n",
            "0\r\nx: \0\r\n",
            "0\r\na:\r\nb:\r\nc:\r\nd:\r\n",
        ] {
            let result = decode(body.as_bytes(), ChunkOutput::Framing);
            assert!(result.is_err() || body.starts_with("ffff"), "{body:?} gave {result:?}");
        }
    }

    #[test]
    fn sizes_that_overflow_together_are_refused() {
        let mut decoder = Decoder::default();
        decoder.decode(&mut b"ffffffffffffffff\r\n".to_vec(), ChunkOutput::Framing, &LIMITS).unwrap();
        decoder.moved(u64::MAX);
        assert!(decoder.decode(&mut b"\r\n1\r\n".to_vec(), ChunkOutput::Framing, &LIMITS).is_err());
    }

    #[test]
    fn extensions_may_not_outweigh_the_data() {
        let chunk = [b"1;".as_slice(), &[b'x'; 1000], b"\r\na\r\n"].concat();
        let body = chunk.repeat(70);
        assert!(decode(&body, ChunkOutput::Framing).is_err());
        assert!(decode(&chunk.repeat(60), ChunkOutput::Framing).is_ok());
    }
}
