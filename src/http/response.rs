//! A response head from an upstream, read as strictly as a request's wherever two readings could do harm.

use super::connection::Connection;
use super::fields::Field;
use super::framing::{BodyLength, read_content_length};
use super::head::{Fields, HeadTable, NoHead, SmallTable};
use super::options::ConnectionOptions;
use super::{HeadLimits, Refusal, first_line, quick};

/// A response head that can be read in one way only.
#[derive(Debug)]
pub struct Response<'t, 'a> {
    /// The status: 100 to 599.
    pub status: u16,
    /// The reason phrase; may be empty.
    pub reason: &'a [u8],
    /// The version HTTP/1.`minor`: 0 or 1.
    pub minor: u8,
    /// All field lines as they came.
    pub fields: Fields<'t, 'a>,
    /// How the body that follows on the connection is delimited.
    pub length: BodyLength,
    /// `Content-Length`, also where no body follows (`HEAD`, 304).
    pub content_length: Option<u64>,
    pub connection: Connection,
    pub has_date: bool,
    /// Whether it announces content that it must not have: an upstream that errs in this may send the content all the same.
    pub belies_itself: bool,
}

/// Whether these bytes cannot begin a status line.
pub fn is_no_status_line(bytes: &[u8]) -> bool {
    bytes.iter().zip(b"HTTP/1.0 000").any(|(&b, &model)| if model == b'0' { !b.is_ascii_digit() } else { b != model })
}

impl<'t, 'a: 't> Response<'t, 'a> {
    /// Reads a whole head, up to and including the empty line; `to_head` says whether it answers `HEAD`.
    pub fn parse(head: &'a [u8], to_head: bool, table: &'t mut HeadTable) -> Result<Self, Refusal> {
        let (line, lines) = first_line::split(head)?;
        let (status, reason, minor) = first_line::status(line)?;
        let fields = Fields::parse(head, lines, &mut table.spans)?;
        Self::read(status, reason, minor, fields, to_head, &mut table.more.named).map_err(NoHead::refusal)
    }

    /// Reads the head at the front of `bytes`, if it is complete, of the usual shape and within the limits. Every other one is left to
    /// `HeadScan` and [`Response::parse`], which find out what is wrong or missing.
    pub fn find(bytes: &'a [u8], to_head: bool, limits: &HeadLimits, table: &'t mut SmallTable) -> Result<Self, NoHead> {
        let (status, reason, at) = quick::status_line(bytes, limits).ok_or(NoHead::Undecided)?;
        let (count, length) = quick::fields(bytes, at, limits, &mut table.spans).ok_or(NoHead::Undecided)?;
        let fields = Fields::canonical(&bytes[..length], &table.spans[..count]);
        Self::read(status, reason, 1, fields, to_head, &mut table.more.named)
    }

    /// A whole head is never undecided; the result has the type that `find` returns, so that it need not be copied.
    fn read(
        status: u16,
        reason: &'a [u8],
        minor: u8,
        fields: Fields<'t, 'a>,
        to_head: bool,
        named: &'t mut ConnectionOptions,
    ) -> Result<Self, NoHead> {
        if !(100..=599).contains(&status) {
            return Err(Refusal::Malformed("its status code is not one of 100 to 599").into());
        }
        let mut response = Self {
            status,
            reason,
            minor,
            fields,
            length: BodyLength::Empty,
            content_length: None,
            connection: Connection::default(),
            has_date: false,
            belies_itself: false,
        };
        response.read_fields(to_head, named)?;
        response.fields.set_named(named);
        Ok(response)
    }

    /// Whether another response to the same request follows (RFC 9110 15.2).
    pub fn is_interim(&self) -> bool {
        self.status < 200 && self.status != 101
    }

    /// The steps of RFC 9112 6.3 that concern responses, by their numbers.
    fn read_fields(&mut self, to_head: bool, named: &mut ConnectionOptions) -> Result<(), Refusal> {
        named.clear();
        let mut chunked = false;
        for field in self.fields.iter() {
            match field.class() {
                Field::ContentLength => {
                    // Step 5: anything but one plain number is an unrecoverable error.
                    let n = read_content_length(field.value()).ok_or(Refusal::Malformed("its Content-Length is not one plain number"))?;
                    if self.content_length.replace(n).is_some() {
                        return Err(Refusal::Malformed("it has more than one Content-Length"));
                    }
                }
                Field::TransferEncoding => {
                    if chunked || self.minor == 0 || !field.value().eq_ignore_ascii_case(b"chunked") {
                        return Err(Refusal::Malformed("its Transfer-Encoding is not a single chunked"));
                    }
                    chunked = true;
                }
                Field::Connection => self.connection.read(&field, named)?,
                Field::Date => self.has_date = true,
                _ => {}
            }
        }
        if chunked && self.content_length.is_some() {
            // Step 3 lets a proxy accept this, but calls it an attempt at smuggling; it is refused here.
            return Err(Refusal::Malformed("it has both Content-Length and Transfer-Encoding"));
        }
        let is_bare = self.status < 200 || self.status == 204;
        let has_none = is_bare || to_head || self.status == 304;
        // RFC 9110 8.6 and RFC 9112 6.1: the length in a response to HEAD or in a 304 is that of what GET would have got.
        self.belies_itself = has_none && (chunked || (is_bare && self.content_length.is_some_and(|n| n > 0)));
        self.length = match self.content_length {
            // Step 1: no body, whatever the fields say.
            _ if has_none => BodyLength::Empty,
            _ if chunked => BodyLength::Chunked, // step 4
            Some(0) => BodyLength::Empty,        // step 6
            Some(n) => BodyLength::Known(n),     // step 6
            None => BodyLength::UntilClose,      // step 8
        };
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(head: &str, to_head: bool) -> Option<BodyLength> {
        Response::parse(head.as_bytes(), to_head, &mut HeadTable::default()).ok().map(|response| response.length)
    }

    #[test]
    fn how_a_body_ends() {
        assert_eq!(length("HTTP/1.1 200 OK\r\n\r\n", false), Some(BodyLength::UntilClose));
        assert_eq!(length("HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", false), Some(BodyLength::Known(5)));
        assert_eq!(length("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true), Some(BodyLength::Empty));
        assert_eq!(length("HTTP/1.1 304 OK\r\nTransfer-Encoding: chunked\r\n\r\n", false), Some(BodyLength::Empty));
        assert_eq!(length("HTTP/1.1 200 OK\r\nTransfer-Encoding: Chunked\r\n\r\n", false), Some(BodyLength::Chunked));
    }

    #[test]
    fn what_must_not_follow_is_noticed() {
        let belies = |head: &str, to_head| {
            let head = format!("HTTP/1.1 {head}\r\n\r\n");
            Response::parse(head.as_bytes(), to_head, &mut HeadTable::default()).unwrap().belies_itself
        };
        for head in ["204 OK\r\nContent-Length: 5", "204 OK\r\nTransfer-Encoding: chunked", "304 OK\r\nTransfer-Encoding: chunked"] {
            assert!(belies(head, false) && belies(head, true), "{head:?}");
        }
        assert!(belies("200 OK\r\nTransfer-Encoding: chunked", true) && belies("103 Hints\r\nContent-Length: 5", false));
        for head in ["204 OK\r\nContent-Length: 0", "304 OK\r\nContent-Length: 5", "304 OK", "204 OK"] {
            assert!(!belies(head, false), "{head:?}");
        }
        assert!(!belies("200 OK\r\nContent-Length: 5", true) && !belies("200 OK\r\nTransfer-Encoding: chunked", false));
    }

    #[test]
    fn what_begins_no_status_line_shows_at_its_first_wrong_byte() {
        for line in ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404\r\n", "HTTP/1.1 599 \u{ff}"] {
            assert!((0..=line.len()).all(|n| !is_no_status_line(&line.as_bytes()[..n])), "{line:?}");
        }
        for (line, wrong) in
            [("SSH-2.0", 0), ("HTTP/2.0 200", 5), ("HTTP/1.1200", 8), ("HTTP/1.1 20 OK", 11), ("\r\nHTTP/1.1", 0), ("ICY 200", 0)]
        {
            let first = (0..=line.len()).find(|&n| is_no_status_line(&line.as_bytes()[..n]));
            assert_eq!(first, Some(wrong + 1), "{line:?}");
        }
    }

    #[test]
    fn what_could_be_read_two_ways_is_refused() {
        for head in [
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nContent-Length: 5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nContent-Length: 5,5\r\n\r\n",
            "HTTP/1.1 200 OK\r\nTransfer-Encoding: gzip, chunked\r\n\r\n",
            "HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n",
            "HTTP/1.1 099 OK\r\n\r\n",
            "HTTP/1.1 999 OK\r\n\r\n",
            "HTTP/2.0 200 OK\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA : b\r\n\r\n",
            "HTTP/1.1 200 OK\r\nA: b\r\n c\r\n\r\n",
            "<html>\r\n\r\n",
        ] {
            assert_eq!(length(head, false), None, "{head:?}");
        }
    }
}
