//! Searches the body of an answer for a text, as it comes.

use crate::config::model::HealthCheck;
use crate::http::framing::{Body, BodyLength, Recode};
use crate::http::{HeadLimits, Refusal};
use memchr::memmem;

/// What is known of a body so far.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BodyFinding {
    /// It has not come far enough.
    Open,
    /// The text is in it.
    Found,
    /// All of it has come, and the text is not in it.
    Missing,
    /// The text is not in the part that is searched.
    Beyond,
}

/// The search for a text in the first 16 KiB of a body.
#[derive(Debug)]
pub struct BodySearch {
    text: Box<[u8]>,
    body: Body,
    /// Content, then bytes that the framing has not let through yet.
    buffer: Vec<u8>,
    /// How much of the buffer is content.
    content: usize,
}

impl BodySearch {
    /// A search in a body of which nothing has come yet.
    pub fn new(text: &str, length: BodyLength) -> Self {
        Self { text: text.as_bytes().into(), body: Body::new(length, Recode::Dechunk), buffer: Vec::new(), content: 0 }
    }

    /// Takes the next bytes of the connection; their number bounds what is stored beyond 16 KiB.
    pub fn take(&mut self, bytes: &[u8], limits: &HeadLimits) -> Result<BodyFinding, Refusal> {
        self.buffer.extend_from_slice(bytes);
        let step = self.body.scan(&mut self.buffer[self.content..], limits)?;
        let from = self.content.saturating_sub(self.text.len().saturating_sub(1));
        self.buffer.drain(self.content + step.kept..self.content + step.consumed);
        self.content += step.kept;
        let searched = &self.buffer[from..self.content.min(HealthCheck::SEARCHED).max(from)];
        Ok(match () {
            () if memmem::find(searched, &self.text).is_some() => BodyFinding::Found,
            () if self.content >= HealthCheck::SEARCHED && !self.is_whole() => BodyFinding::Beyond,
            () if self.is_whole() => BodyFinding::Missing,
            () => BodyFinding::Open,
        })
    }

    /// The connection has ended: whether that is the end of the body too.
    pub fn on_end(&mut self) -> bool {
        self.body.close()
    }

    fn is_whole(&self) -> bool {
        self.body.is_ended() && self.content <= HealthCheck::SEARCHED
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LIMITS: HeadLimits = HeadLimits { first_line: 100, line: 100, lines: 3, total: 100 };

    /// What is found is the same whatever the pieces in which a body comes.
    fn find(text: &str, length: BodyLength, body: &[u8]) -> BodyFinding {
        let found = [1, 7, 4096].map(|piece| {
            let mut search = BodySearch::new(text, length);
            let mut pieces = std::iter::once(&body[..0]).chain(body.chunks(piece));
            let finding = pieces.find_map(|bytes| {
                let finding = search.take(bytes, &LIMITS).expect("a good body");
                assert!(search.buffer.len() <= HealthCheck::SEARCHED + piece + LIMITS.total);
                (finding != BodyFinding::Open).then_some(finding)
            });
            match finding {
                None if search.on_end() => BodyFinding::Missing,
                finding => finding.unwrap_or(BodyFinding::Open),
            }
        });
        assert!(found.iter().all(|finding| *finding == found[0]), "{found:?}");
        found[0]
    }

    fn chunked(pieces: &[&str]) -> Vec<u8> {
        pieces.iter().chain(&[""]).map(|piece| format!("{:x}\r\n{piece}\r\n", piece.len())).collect::<String>().into_bytes()
    }

    #[test]
    fn a_text_is_found_in_every_framing() {
        use BodyFinding::*;
        for (body, finding) in [("status: ok.", Found), ("ok", Found), ("oook", Found), ("o k", Missing), ("", Missing), ("o", Missing)] {
            assert_eq!(find("ok", BodyLength::Known(body.len() as u64), body.as_bytes()), finding, "{body}");
            assert_eq!(find("ok", BodyLength::UntilClose, body.as_bytes()), finding, "{body}");
            let letters: Vec<&str> = body.split("").filter(|letter| !letter.is_empty()).collect();
            assert_eq!(find("ok", BodyLength::Chunked, &chunked(&letters)), finding, "{body}");
        }
        assert_eq!(find("ok", BodyLength::Empty, b""), Missing);
        assert_eq!(find("\r\n2", BodyLength::Chunked, &chunked(&["ab", "cd"])), Missing, "framing is no content");
        assert_eq!(find("ok", BodyLength::Known(2), b"xxok"), Missing, "what follows the body is no content");
    }

    #[test]
    fn a_body_that_is_cut_off_is_neither() {
        assert_eq!(find("ok", BodyLength::Known(3), b"o"), BodyFinding::Open);
        assert_eq!(find("ok", BodyLength::Chunked, b"3\r\no"), BodyFinding::Open);
        assert_eq!(find("ok", BodyLength::Chunked, b"1\r\no\r\n"), BodyFinding::Open);
    }

    #[test]
    fn the_first_16_kib_are_searched() {
        use BodyFinding::*;
        for (before, after, finding) in [
            (16_382, 0, Found),
            (16_382, 9, Found),
            (16_383, 0, Beyond),
            (16_383, 9, Beyond),
            (16_384, 0, Beyond),
            (99_999, 0, Beyond),
            (0, 99_999, Found),
        ] {
            let body = format!("{}ok{}", "x".repeat(before), "x".repeat(after));
            let known = BodyLength::Known(body.len() as u64);
            assert_eq!(find("ok", known, body.as_bytes()), finding, "{before}");
            assert_eq!(find("ok", BodyLength::UntilClose, body.as_bytes()), finding, "{before}");
            assert_eq!(find("ok", BodyLength::Chunked, &chunked(&[&body])), finding, "{before}");
        }
        let exactly = "x".repeat(16_384);
        assert_eq!(find("ok", BodyLength::Known(16_384), exactly.as_bytes()), Missing);
        assert_eq!(find(&exactly, BodyLength::Known(16_385), format!("{exactly}x").as_bytes()), Found);
    }

    #[test]
    fn broken_chunks_are_refused() {
        let mut search = BodySearch::new("ok", BodyLength::Chunked);
        assert!(search.take(b"2\r\nabc", &LIMITS).is_err());
    }
}
