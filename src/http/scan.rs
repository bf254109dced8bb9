//! Finds the end of a head. The search goes on where it stopped, so that a head that comes byte by byte costs each byte once;
//! limits are applied to what has come so far, line by line.

use super::{HeadLimits, Refusal};
use crate::base::steps;

/// Where a head ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadEnd {
    /// Behind this many bytes, the empty line included.
    At(usize),
    /// The empty line has not come yet.
    Missing,
}

/// A position in a head that is still coming in.
#[derive(Clone, Copy, Debug, Default)]
pub struct HeadScan {
    /// Bytes already searched.
    searched: u32,
    /// Start of the line being searched.
    line: u32,
    /// Lines complete so far, the first line included.
    lines: u32,
}

impl HeadScan {
    /// Bytes already searched.
    pub fn searched(&self) -> usize {
        self.searched as usize
    }

    /// Whether nothing was searched yet.
    pub fn is_fresh(&self) -> bool {
        self.searched == 0
    }

    /// Whether the first line is complete.
    pub fn has_first_line(&self) -> bool {
        self.lines > 0
    }

    /// Looks at the bytes of `head` that are new and returns where it ends.
    pub fn find_end(&mut self, head: &[u8], limits: &HeadLimits) -> Result<HeadEnd, Refusal> {
        let mut line = self.line as usize;
        steps::count(head.len() - self.searched as usize);
        for lf in memchr::memchr_iter(b'\n', &head[self.searched as usize..]) {
            let lf = self.searched as usize + lf;
            let is_bare = lf == 0 || head[lf - 1] != b'\r';
            let len = (lf - usize::from(!is_bare)).saturating_sub(line);
            // Limits come first: the line may not be complete yet, and the verdict must not depend on how the bytes are cut into pieces.
            self.check_line(len, limits)?;
            if lf >= limits.total {
                return Err(too_large());
            }
            if is_bare {
                return Err(Refusal::Malformed("a line of the head ends in a bare LF"));
            }
            if len == 0 {
                return Ok(HeadEnd::At(lf + 1));
            }
            self.lines += 1;
            if self.lines as usize > limits.lines + 1 {
                return Err(Refusal::HeadTooLarge("too many fields"));
            }
            line = lf + 1;
        }
        self.line = line as u32;
        self.searched = head.len() as u32;
        self.check_line((head.len() - line).saturating_sub(1), limits)?;
        if head.len() >= limits.total { Err(too_large()) } else { Ok(HeadEnd::Missing) }
    }

    fn check_line(&self, len: usize, limits: &HeadLimits) -> Result<(), Refusal> {
        match self.lines {
            0 if len > limits.first_line => Err(Refusal::LineTooLong),
            1.. if len > limits.line => Err(Refusal::HeadTooLarge("a field line is too long")),
            _ => Ok(()),
        }
    }
}

fn too_large() -> Refusal {
    Refusal::HeadTooLarge("the head is too large")
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { first_line: 16, line: 8, lines: 2, total: 40 };

    /// Whole, byte by byte, and with bytes following, the result is the same.
    fn scan(head: &[u8]) -> Result<HeadEnd, Refusal> {
        let whole = HeadScan::default().find_end(head, &LIMITS);
        let mut scan = HeadScan::default();
        let mut ends = (0..=head.len()).map(|n| scan.find_end(&head[..n], &LIMITS));
        let by_byte = ends.find(|end| *end != Ok(HeadEnd::Missing)).unwrap_or(Ok(HeadEnd::Missing));
        assert_eq!(whole, by_byte);
        whole
    }

    #[test]
    fn finds_the_empty_line() {
        assert_eq!(scan(b"GET / HTTP/1.1\r\na: b\r\n\r\n"), Ok(HeadEnd::At(24)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\n\r\nrest"), Ok(HeadEnd::At(18)));
        assert_eq!(scan(b"GET / HTTP/1.1\r\na: b\r\n\r"), Ok(HeadEnd::Missing));
    }

    #[test]
    fn limits_hold_before_the_end() {
        assert_eq!(scan(b"GET /aaaaaaaaaaaaaaaaa"), Err(Refusal::LineTooLong));
        assert_eq!(scan(b"G\r\na: 456789"), Ok(HeadEnd::Missing));
        assert_eq!(scan(b"G\r\na: 4567890"), Err(Refusal::HeadTooLarge("a field line is too long")));
        assert_eq!(scan(b"G\r\na:\r\nb:\r\nc:\r\n"), Err(Refusal::HeadTooLarge("too many fields")));
        let limits = HeadLimits { total: 10, ..LIMITS };
        assert_eq!(HeadScan::default().find_end(b"G\r\na: b\r\n\r\n", &limits), Err(too_large()));
    }

    #[test]
    fn a_bare_line_feed_is_refused_at_once() {
        for head in [&b"GET / HTTP/1.1\n"[..], b"\n", b"G\r\na: b\n\r\n"] {
            assert!(matches!(scan(head), Err(Refusal::Malformed(_))));
        }
    }
}
