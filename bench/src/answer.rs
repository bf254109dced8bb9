//! Reads an answer as it comes, and checks it: status 200, and a body of the right length. It shares nothing with the proxy's own
//! parser, which could be wrong in the same way.

/// Where the reader is in an answer.
enum At {
    Head,
    Body(u64),
    /// The line with the size of a chunk.
    Size(Vec<u8>),
    /// What is left of a chunk, with the line end after it.
    Chunk(u64),
    /// The line end of the last chunk: there are no trailers here.
    Last(u64),
    End,
}

/// One answer; `clear` makes it ready for the next.
pub struct Answer {
    at: At,
    head: Vec<u8>,
    body: u64,
}

impl Answer {
    pub fn new() -> Self {
        Self { at: At::Head, head: Vec::new(), body: 0 }
    }

    pub fn clear(&mut self) {
        (self.at, self.body) = (At::Head, 0);
        self.head.clear();
    }

    pub fn is_whole(&self) -> bool {
        matches!(self.at, At::End)
    }

    /// Takes the bytes that came. `length` is what the body must have.
    pub fn take(&mut self, mut bytes: &[u8], length: u64) -> Result<(), String> {
        while !bytes.is_empty() {
            bytes = match &mut self.at {
                At::Head => {
                    let before = self.head.len();
                    self.head.extend_from_slice(bytes);
                    let start = before.saturating_sub(3);
                    let Some(end) = find(&self.head[start..], b"\r\n\r\n").map(|at| start + at + 4) else {
                        return if self.head.len() < 16_384 { Ok(()) } else { Err("a head without end".into()) };
                    };
                    self.at = framing(&self.head[..end])?;
                    &bytes[end - before..]
                }
                At::Size(line) => {
                    let end = bytes.iter().position(|byte| *byte == b'\n');
                    line.extend_from_slice(&bytes[..end.unwrap_or(bytes.len())]);
                    if let Some(end) = end {
                        let size = std::str::from_utf8(line).ok().and_then(|line| u64::from_str_radix(line.trim_end(), 16).ok());
                        let size = size.ok_or_else(|| format!("a chunk of size {:?}", String::from_utf8_lossy(line)))?;
                        self.body += size;
                        self.at = if size == 0 { At::Last(2) } else { At::Chunk(size + 2) };
                        &bytes[end + 1..]
                    } else {
                        &[]
                    }
                }
                At::Body(left) | At::Chunk(left) | At::Last(left) => {
                    let step = (*left).min(bytes.len() as u64);
                    *left -= step;
                    if let At::Body(_) = self.at {
                        self.body += step;
                    }
                    &bytes[step as usize..]
                }
                At::End => return Err("bytes after the end of an answer".into()),
            };
            match self.at {
                At::Body(0) | At::Last(0) => self.at = At::End,
                At::Chunk(0) => self.at = At::Size(Vec::new()),
                _ => {}
            }
        }
        if self.is_whole() && self.body != length {
            return Err(format!("a body of {} bytes instead of {length}", self.body));
        }
        Ok(())
    }
}

/// How the body behind this head ends.
fn framing(head: &[u8]) -> Result<At, String> {
    let text = String::from_utf8_lossy(head);
    let mut lines = text.split("\r\n");
    let status = lines.next().unwrap_or_default();
    if status.split(' ').nth(1) != Some("200") {
        return Err(format!("answered with {status}"));
    }
    for (name, value) in lines.filter_map(|line| line.split_once(':')) {
        if name.eq_ignore_ascii_case("content-length") {
            return value.trim().parse().map(At::Body).map_err(|_| format!("Content-Length:{value}"));
        }
        if name.eq_ignore_ascii_case("transfer-encoding") && value.trim().eq_ignore_ascii_case("chunked") {
            return Ok(At::Size(Vec::new()));
        }
    }
    Err("an answer that says nothing of its length".into())
}

/// Where `needle` begins.
pub fn find(bytes: &[u8], needle: &[u8]) -> Option<usize> {
    bytes.windows(needle.len()).position(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
    const CHUNKED: &[u8] = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\nA\r\n0123456789\r\n0\r\n\r\n";

    fn read(bytes: &[u8], step: usize, length: u64) -> Result<bool, String> {
        let mut answer = Answer::new();
        bytes.chunks(step).try_for_each(|part| answer.take(part, length))?;
        Ok(answer.is_whole())
    }

    #[test]
    fn whole_however_it_is_cut() {
        for (bytes, length) in [(PLAIN, 5), (CHUNKED, 13)] {
            for step in 1..=bytes.len() {
                assert_eq!(read(bytes, step, length), Ok(true));
                assert_eq!(read(&bytes[..bytes.len() - 1], step, length), Ok(false));
            }
        }
    }

    #[test]
    fn what_is_wrong_is_an_error() {
        assert!(read(PLAIN, 7, 6).unwrap_err().contains("instead of 6"));
        assert!(read(CHUNKED, 7, 12).unwrap_err().contains("instead of 12"));
        assert!(read(&[PLAIN, b"x"].concat(), 7, 5).unwrap_err().contains("after the end"));
        assert!(read(b"HTTP/1.1 502 Bad Gateway\r\n\r\n", 7, 5).unwrap_err().contains("502"));
        assert!(read(b"HTTP/1.1 200 OK\r\n\r\n", 7, 5).unwrap_err().contains("length"));
        assert!(read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n", 7, 5).unwrap_err().contains("zz"));
    }
}
