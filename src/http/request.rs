//! A request head: its field lines are parsed by httparse, then checked for what httparse lets pass. The result is the one way to
//! read it, or a [`Refusal`].

use super::accept::Accept;
pub use super::accept::wants_json;
use super::connection::Connection;
use super::fields::{self, Field};
use super::framing::{BodyLength, read_content_length, read_transfer_encoding};
use super::head::{Fields, HeadStore, HeadTable, NoHead, SmallTable};
use super::options::ConnectionOptions;
use super::target::{self, NormalTarget};
use super::{HeadLimits, Refusal, first_line, quick};
use crate::base::{text, uri};

/// A request head that can be read in one way only.
#[derive(Debug)]
pub struct Request<'t, 'a> {
    /// The method, case-sensitive.
    pub method: &'a str,
    /// The target as received.
    pub target: &'a [u8],
    /// The target that is passed on: in origin-form, or `*`.
    pub path: &'a [u8],
    /// The version HTTP/1.`minor`: 0 or 1.
    pub minor: u8,
    /// The authority of an absolute-form target, otherwise the value of `Host`; empty for HTTP/1.0 without either.
    pub authority: &'a [u8],
    /// Whether `Host` is such that it is its own normal form.
    host_is_usual: bool,
    /// Whether there is a `Content-Length`.
    pub declares_length: bool,
    /// The normal form of host and path, for routes and limits.
    pub normal: NormalTarget<'t>,
    /// All field lines as they came.
    pub fields: Fields<'t, 'a>,
    /// How the body is delimited.
    pub length: BodyLength,
    pub connection: Connection,
    /// `Expect: 100-continue` from a client to which a 100 can be sent.
    pub expects_continue: bool,
    /// The protocol of an `Upgrade` that may be forwarded: a single one other than h2c, on HTTP/1.1.
    pub upgrade: Option<&'a str>,
    pub takes_trailers: bool,
    /// Whether the client accepts JSON and no text.
    pub wants_json: bool,
    /// How often `Via` names tidegate.
    pub times_here: u32,
    /// `Max-Forwards` of `OPTIONS` (RFC 9110 7.6.2): how many more times it may be forwarded.
    pub max_forwards: Option<u64>,
    /// The value of `User-Agent`, for the log.
    pub user_agent: Option<&'a [u8]>,
    /// The value of `Referer`, for the log.
    pub referer: Option<&'a [u8]>,
}

impl<'t, 'a: 't> Request<'t, 'a> {
    /// Reads a whole head, up to and including the empty line.
    pub fn parse(head: &'a [u8], table: &'t mut HeadTable) -> Result<Self, Refusal> {
        let (line, lines) = first_line::split(head)?;
        let (method, target, minor) = first_line::request(line)?;
        let fields = Fields::parse(head, lines, &mut table.spans)?;
        Self::read(method, target, minor, fields, &mut table.more).map_err(NoHead::refusal)
    }

    /// Reads the head at the front of `bytes`, if it is complete, of the usual shape and within the limits. Every other one is left to
    /// `HeadScan` and [`Request::parse`], which find out what is wrong or missing.
    pub fn find(bytes: &'a [u8], limits: &HeadLimits, table: &'t mut SmallTable) -> Result<Self, NoHead> {
        let (method, target, at) = quick::request_line(bytes, limits).ok_or(NoHead::Undecided)?;
        let (count, length) = quick::fields(bytes, at, limits, &mut table.spans).ok_or(NoHead::Undecided)?;
        let fields = Fields::canonical(&bytes[..length], &table.spans[..count]);
        Self::read(method, target, 1, fields, &mut table.more)
    }

    /// A whole head is never undecided; the result has the type that `find` returns, so that it need not be copied.
    fn read(method: &'a str, target: &'a [u8], minor: u8, fields: Fields<'t, 'a>, store: &'t mut HeadStore) -> Result<Self, NoHead> {
        if matches!(method, "CONNECT" | "TRACE") {
            return Err(Refusal::Method.into());
        }
        let (path, absolute) = target::split(method, target)?;
        let mut request = Self {
            method,
            target,
            path,
            minor,
            authority: b"",
            host_is_usual: false,
            normal: NormalTarget::default(),
            declares_length: false,
            fields,
            length: BodyLength::Empty,
            connection: Connection::default(),
            expects_continue: false,
            upgrade: None,
            takes_trailers: false,
            wants_json: false,
            times_here: 0,
            max_forwards: None,
            user_agent: None,
            referer: None,
        };
        request.read_fields(absolute, &mut store.named)?;
        request.fields.set_named(&mut store.named);
        if request.fields.names(b"expect", Field::Expect) {
            // The request is answered here, so no upstream will send a 100 (Continue).
            request.expects_continue = false;
        }
        let is_plain = request.host_is_usual && absolute.is_none();
        request.normal = NormalTarget::read(path, request.authority, is_plain, &mut store.normal)?;
        Ok(request)
    }

    /// Whether sending it twice has the effect of sending it once (RFC 9110 9.2.2); the methods that may be retried.
    pub fn is_idempotent(&self) -> bool {
        matches!(self.method, "GET" | "HEAD" | "OPTIONS" | "PUT" | "DELETE")
    }

    fn read_host(&mut self, value: &'a [u8]) -> Result<&'a [u8], Refusal> {
        self.host_is_usual = uri::is_usual_host(value);
        if self.host_is_usual || fields::is_host(value) { Ok(value) } else { Err(Refusal::Malformed("Host is not a host")) }
    }

    fn read_fields(&mut self, absolute: Option<&'a [u8]>, named: &mut ConnectionOptions) -> Result<(), Refusal> {
        named.clear();
        let (mut host, mut content_length, mut chunked, mut accept) = (None, None, false, Accept::default());
        let (mut upgrade, mut upgrades) = (None, 0);
        for field in self.fields.iter() {
            match field.class() {
                Field::Host if host.is_some() => return Err(Refusal::Malformed("more than one Host")),
                Field::Host => host = Some(self.read_host(field.value())?),
                Field::ContentLength => {
                    let n = read_content_length(field.value()).ok_or(Refusal::Malformed("Content-Length is not one plain number"))?;
                    if content_length.replace(n).is_some() {
                        return Err(Refusal::Malformed("more than one Content-Length"));
                    }
                }
                Field::TransferEncoding => {
                    if self.minor == 0 {
                        return Err(Refusal::Malformed("Transfer-Encoding in an HTTP/1.0 request"));
                    }
                    if chunked {
                        return Err(Refusal::Malformed("more than one Transfer-Encoding"));
                    }
                    read_transfer_encoding(field.value())?;
                    chunked = true;
                }
                Field::Connection => self.connection.read(&field, named)?,
                Field::Expect if self.minor == 1 => self.expects_continue |= read_expect(field.value())?,
                Field::Upgrade => {
                    upgrades += 1;
                    upgrade = std::str::from_utf8(field.value()).ok();
                }
                Field::Te => self.takes_trailers |= text::list(field.value()).any(|coding| coding.eq_ignore_ascii_case(b"trailers")),
                Field::Via => self.times_here += text::list(field.value()).filter(|hop| names_us(hop)).count() as u32,
                Field::Accept => accept.read(field.value()),
                Field::MaxForwards if self.method == "OPTIONS" => self.max_forwards = read_content_length(field.value()),
                Field::UserAgent => self.user_agent = Some(field.value()),
                Field::Referer => self.referer = Some(field.value()),
                _ => {}
            }
        }
        if host.is_none() && self.minor == 1 {
            return Err(Refusal::Malformed("no Host"));
        }
        self.declares_length = content_length.is_some();
        if chunked && content_length.is_some() {
            return Err(Refusal::Malformed("both Content-Length and Transfer-Encoding"));
        }
        self.wants_json = accept.wants_json();
        let is_asked_for = self.minor == 1 && self.connection.upgrade && upgrades == 1;
        self.upgrade = upgrade.filter(|name| is_asked_for && is_protocol(name));
        self.authority = absolute.or(host).unwrap_or_default();
        self.length = match content_length {
            _ if chunked => BodyLength::Chunked,
            None | Some(0) => BodyLength::Empty,
            Some(n) => BodyLength::Known(n),
        };
        Ok(())
    }
}

impl Request<'_, '_> {
    /// Whether the `Accept` fields name HTML, as those of browsers do.
    pub fn accepts_html(&self) -> bool {
        let names_it = |range: &[u8]| text::trim(range.split(|&b| b == b';').next().unwrap_or_default()).eq_ignore_ascii_case(b"text/html");
        self.fields.of(Field::Accept).any(|line| text::list(line.value()).any(names_it))
    }
}

/// Fields that show that a request came through a proxy or gateway.
const FORWARDED: [&[u8]; 3] = [b"x-forwarded-for", b"forwarded", b"via"];

impl Request<'_, '_> {
    /// Whether it came through another proxy.
    pub fn is_forwarded(&self) -> bool {
        let tells = |name: &[u8]| FORWARDED.iter().any(|known| name.eq_ignore_ascii_case(known));
        self.fields.iter().any(|line| matches!(line.class(), Field::Via | Field::Forwarding) && tells(line.name()))
    }
}

/// The same for a head that could not be parsed.
pub fn is_forwarded(head: &[u8]) -> bool {
    let tells = |line: &[u8]| FORWARDED.iter().any(|name| line.get(..name.len()).is_some_and(|start| start.eq_ignore_ascii_case(name)));
    head.split(|&b| b == b'\n').any(tells)
}

/// `protocol-name ["/" protocol-version]` (RFC 9110 7.8) of a protocol that a tunnel can carry. Not `h2c`, which would carry
/// requests that nobody checks.
fn is_protocol(text: &str) -> bool {
    let (name, version) = text.split_once('/').unwrap_or((text, "0"));
    fields::is_token(name.as_bytes()) && fields::is_token(version.as_bytes()) && !name.eq_ignore_ascii_case("h2c")
}

/// A list (RFC 9110 10.1.1) of which only one member is known; returns whether that member is there.
fn read_expect(value: &[u8]) -> Result<bool, Refusal> {
    let mut expectations = text::list(value).peekable();
    let is_there = expectations.peek().is_some();
    if expectations.all(|expectation| expectation.eq_ignore_ascii_case(b"100-continue")) { Ok(is_there) } else { Err(Refusal::Expectation) }
}

/// One member of a `Via` list (RFC 9110 7.6.3): received-protocol, received-by, perhaps a comment.
fn names_us(hop: &[u8]) -> bool {
    let mut words = hop.split(|&b| b == b' ' || b == b'\t').filter(|word| !word.is_empty());
    words.nth(1).is_some_and(|by| by.eq_ignore_ascii_case(super::NAME.as_bytes()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::head::HeadTable;

    fn refusal(head: &str) -> Option<Refusal> {
        Request::parse(head.as_bytes(), &mut HeadTable::default()).err()
    }

    #[test]
    fn one_way_to_read_it_or_none() {
        let malformed = [
            "GET / HTTP/1.1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a b\r\n\r\n",
            "GET  / HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /a#b HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\u{e9} HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET a HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET * HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost : a\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\n b\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1, 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: +1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length:\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 99999999999999999999\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: xchunked\r\n\r\n",
            "GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked, gzip\r\n\r\n",
            "GET / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n",
            "GET / HTP/1.1\r\nHost: a\r\n\r\n",
            "GET /\r\n\r\n",
            "GET /a b HTTP/1.1\r\nHost: a\r\n\r\n",
        ];
        for head in malformed {
            assert!(matches!(refusal(head), Some(Refusal::Malformed(_))), "{head:?} gave {:?}", refusal(head));
        }
    }

    #[test]
    fn refusals_name_the_remedy() {
        for (head, expected) in [
            ("GET / HTTP/2.0\r\nHost: a\r\n\r\n", Refusal::Version),
            ("PRI * HTTP/2.0\r\n\r\n", Refusal::Version),
            ("GET / HTTP/3.0\r\nHost: a\r\n\r\n", Refusal::Version),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue, tea\r\n\r\n", Refusal::Expectation),
            ("CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
            ("TRACE / HTTP/1.1\r\nHost: a\r\n\r\n", Refusal::Method),
            ("GET / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: gzip, chunked\r\n\r\n", Refusal::Coding),
            ("GET / HTTP/1.1\r\nHost: a\r\nExpect: tea\r\n\r\n", Refusal::Expectation),
        ] {
            assert_eq!(refusal(head), Some(expected), "{head:?}");
        }
    }

    #[test]
    fn an_absolute_target_wins_over_host() {
        for (target, path, authority) in
            [("http://b:8/x?y", "/x?y", "b:8"), ("HTTPS://b", "/", "b"), ("http://b?q", "?q", "b"), ("/x", "/x", "a")]
        {
            let head = format!("GET {target} HTTP/1.1\r\nHost: a\r\n\r\n");
            let mut table = HeadTable::default();
            let request = Request::parse(head.as_bytes(), &mut table).unwrap();
            assert_eq!((request.path, request.authority), (path.as_bytes(), authority.as_bytes()));
        }
    }

    #[test]
    fn facts_of_a_head() {
        let head = "POST / HTTP/1.1\r\nHost: a\r\nConnection: TE, close, x-y\r\nTE: trailers;q=1, trailers\r\nAccept: application/json;q=1\r\n\
            Expect: 100-Continue\r\nVia: 1.1 x, 1.1 tidegate (c)\r\nVia: 1.0 TideGate\r\nContent-Length: 007\r\nUser-Agent: u\r\n\r\n";
        let mut table = HeadTable::default();
        let request = Request::parse(head.as_bytes(), &mut table).unwrap();
        assert_eq!(request.connection, Connection { close: true, keep_alive: false, upgrade: false, names_fields: true, members: 3 });
        assert!(request.takes_trailers && request.wants_json && request.expects_continue && !request.is_idempotent());
        assert_eq!((request.times_here, request.length, request.user_agent), (2, BodyLength::Known(7), Some(&b"u"[..])));
    }
}
