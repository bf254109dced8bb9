//! Properties that hold for any input, as functions that panic where one does not: the bodies of the fuzz targets, through which
//! the corpus is replayed.
//!
//! The limits are small, so that a fuzzer reaches them.

use tidegate::base::address::Peer;
use tidegate::base::text;
use tidegate::http::chunked::{ChunkOutput, Decoder};
use tidegate::http::fields::Field;
use tidegate::http::forwarded::RequestAdditions;
use tidegate::http::framing::{BodyLength, Recode};
use tidegate::http::head::{FieldLine, Fields, HeadTable, NoHead, SmallTable};
use tidegate::http::request::Request;
use tidegate::http::response::Response;
use tidegate::http::scan::{HeadEnd, HeadScan};
use tidegate::http::write::{self, ResponseAdditions};
use tidegate::http::{HeadLimits, Refusal};

const LIMITS: HeadLimits = HeadLimits { first_line: 300, line: 200, lines: 12, total: 1000 };
/// For what the proxy itself has written, which may be longer than what came in.
const NO_LIMITS: HeadLimits = HeadLimits { first_line: 1 << 20, line: 1 << 20, lines: 1 << 10, total: 1 << 24 };

/// How an input was judged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HeadVerdict {
    /// A complete message part, perhaps with bytes following.
    Accepted,
    /// Incomplete: more must come.
    Incomplete,
    Refused(Refusal),
}

/// A request's head gets one verdict, whether it comes whole, byte by byte or with bytes following. One that is accepted means
/// the same after it was rewritten for an upstream.
pub fn request_head(input: &[u8]) -> HeadVerdict {
    let head = match head_of(input) {
        Ok(head) => head,
        Err(verdict) => {
            let mut table = SmallTable::default();
            assert!(matches!(Request::find(input, &LIMITS, &mut table), Err(NoHead::Undecided)), "found what is not there");
            return verdict;
        }
    };
    let (mut table, mut other) = (HeadTable::default(), SmallTable::default());
    let parsed = Request::parse(head, &mut table);
    let facts = |request: &Request| (request.method.to_owned(), request.target.to_owned(), request.minor, lines_of(request.fields));
    assert_quick(Request::find(input, &LIMITS, &mut other), &parsed, facts);
    let request = match parsed {
        Ok(request) => request,
        Err(refusal) => return HeadVerdict::Refused(refusal),
    };
    let mut written = Vec::new();
    write::request_head(
        &mut written,
        &request,
        &RequestAdditions {
            client: Peer::of([192, 0, 2, 1].into(), None),
            scheme: "http",
            trace_id: b"trace",
            is_trusted: false,
            via: true,
            own_cookies: &[],
        },
    );
    let mut authority = request.authority;
    if authority.is_empty() {
        authority = b"192.0.2.2:80";
        write::put_host(&mut written, "192.0.2.2:80");
    }
    assert_eq!(end_of(&written, 1, &NO_LIMITS), Ok(HeadEnd::At(written.len())), "the rewritten head ends elsewhere");
    let mut table = HeadTable::default();
    let again = Request::parse(&written, &mut table).expect("a rewritten head is accepted");
    check_request(&request, &again, authority);
    HeadVerdict::Accepted
}

/// The rewritten head means what the one that came in meant, and its fields are its own; `authority` is what it is sent to.
fn check_request(request: &Request, again: &Request, authority: &[u8]) {
    let slash: &[u8] = if request.path.starts_with(b"?") { b"/" } else { b"" };
    assert_eq!((again.method, again.path, again.minor), (request.method, &*[slash, request.path].concat(), 1));
    assert_eq!((again.authority, again.length), (authority, request.length));
    if !request.authority.is_empty() {
        assert_eq!(again.normal, request.normal, "matched is another target than the one that went on");
    }
    assert_eq!((again.takes_trailers, again.times_here), (request.takes_trailers, request.times_here + 1));
    assert!(
        !again.connection.close
            && !again.connection.keep_alive
            && again.connection.names_fields == (request.takes_trailers || request.upgrade.is_some())
    );
    assert_eq!(again.upgrade, request.upgrade);
    if !request.connection.names_fields {
        assert_eq!(again.expects_continue, request.expects_continue);
        assert_eq!((again.wants_json, again.user_agent, again.referer), (request.wants_json, request.user_agent, request.referer));
    }
    let count = |class| again.fields.of(class).count();
    assert_eq!(
        (count(Field::Host), count(Field::TraceId), count(Field::HopByHop), count(Field::Upgrade)),
        (1, 1, 0, usize::from(request.upgrade.is_some()))
    );
    assert!(count(Field::ContentLength) + count(Field::TransferEncoding) <= 1, "framed in two ways");
    assert!(count(Field::Forwarding) <= 3, "a stranger's forwarding fields went on");
    assert_eq!(count(Field::LookAlike), 0, "a look-alike went on");
    check_end_to_end(request.fields, again.fields);
}

/// A response's head, to `HEAD` and to other methods, gets one verdict, whether it comes whole, byte by byte or with bytes
/// following. One that is accepted means the same after it was rewritten for a client of either version.
pub fn response_head(input: &[u8]) -> HeadVerdict {
    let head = match head_of(input) {
        Ok(head) => head,
        Err(verdict) => {
            let mut table = SmallTable::default();
            assert!(matches!(Response::find(input, false, &LIMITS, &mut table), Err(NoHead::Undecided)), "found what is not there");
            return verdict;
        }
    };
    let mut verdict = HeadVerdict::Accepted;
    for to_head in [true, false] {
        let (mut table, mut other) = (HeadTable::default(), SmallTable::default());
        let parsed = Response::parse(head, to_head, &mut table);
        let facts = |response: &Response| (response.status, response.reason.to_owned(), response.minor, lines_of(response.fields));
        assert_quick(Response::find(input, to_head, &LIMITS, &mut other), &parsed, facts);
        match parsed {
            // It is never forwarded here, because no upgrade was asked for.
            Ok(response) if response.status == 101 => {}
            Ok(response) => (0..4).for_each(|n| check_rewritten(&response, to_head, n & 1, n & 2 != 0)),
            Err(refusal) => verdict = HeadVerdict::Refused(refusal),
        }
    }
    verdict
}

fn check_rewritten(response: &Response, to_head: bool, minor: u8, persists: bool) {
    let recode = match (minor, response.length) {
        (0, BodyLength::Chunked) => Recode::Dechunk,
        (1, BodyLength::UntilClose) => Recode::Enchunk,
        _ => Recode::Same,
    };
    let mut written = Vec::new();
    write::response_head(
        &mut written,
        response,
        ResponseAdditions { minor, persists, recode, date: b"now", trace_id: b"trace", set_cookie: None },
    );
    assert_eq!(end_of(&written, 1, &NO_LIMITS), Ok(HeadEnd::At(written.len())), "the rewritten head ends elsewhere");
    let mut table = HeadTable::default();
    let again = Response::parse(&written, to_head, &mut table).expect("a rewritten head is accepted");
    assert_eq!((again.status, again.reason, again.minor), (response.status, response.reason, 1));
    let length = match recode {
        Recode::Same => response.length,
        Recode::Dechunk => BodyLength::UntilClose,
        Recode::Enchunk => BodyLength::Chunked,
    };
    assert_eq!(again.length, length);
    if !response.is_interim() {
        let content_length = response.content_length.filter(|_| response.status != 204);
        assert_eq!((again.content_length, again.connection.persists(minor)), (content_length, persists));
    }
    let count = |class| again.fields.of(class).count();
    let may_upgrade = matches!(response.status, 101 | 426);
    assert_eq!((count(Field::TraceId), count(Field::HopByHop)), (1, 0));
    assert!(may_upgrade || count(Field::Upgrade) == 0, "an upgrade that nobody asked for");
    check_end_to_end(response.fields, again.fields);
}

/// A chunked body is decoded to the same result, whether it comes whole, byte by byte, in pieces of any size, or bypasses the
/// decoder where it may. The result is canonical, never longer, and carries the same data as the body without its framing.
pub fn chunked(input: &[u8]) -> HeadVerdict {
    let mut random = Xorshift::from(input);
    let whole = decode(input, ChunkOutput::Framing, false, || usize::MAX);
    let bare = decode(input, ChunkOutput::Data, false, || usize::MAX);
    for (keep, expected) in [(ChunkOutput::Framing, &whole), (ChunkOutput::Data, &bare)] {
        expected.is_same(&decode(input, keep, false, || 1));
        expected.is_same(&decode(input, keep, false, || random.below(17)));
        expected.is_same(&decode(input, keep, true, || random.below(9)));
    }
    assert_eq!(bare.result, whole.result);
    if let Err(refusal) = whole.result {
        return HeadVerdict::Refused(refusal);
    }
    assert_eq!((bare.consumed, bare.is_ended, bare.announced), (whole.consumed, whole.is_ended, whole.announced));
    assert_eq!(bare.out, data_of(&whole.out), "the data differs from that in the chunks");
    for (keep, out) in [(ChunkOutput::Framing, &whole.out), (ChunkOutput::Data, &bare.out)] {
        let again = decode(&whole.out, keep, false, || usize::MAX);
        // A zero at the very end waits for the next byte, which tells whether it is the size or a leading zero.
        let waiting = &whole.out[again.consumed..];
        assert!(waiting.is_empty() || waiting == b"0", "what went on is not taken again: {waiting:?}");
        let kept = if keep == ChunkOutput::Framing { waiting } else { b"" };
        assert_eq!((&[&again.out, kept].concat(), again.is_ended, again.announced), (out, whole.is_ended, whole.announced));
    }
    if !whole.is_ended {
        return HeadVerdict::Incomplete;
    }
    whole.is_same(&decode(&input[..whole.consumed], ChunkOutput::Framing, false, || usize::MAX));
    whole.is_same(&decode(&[&input[..whole.consumed], b"0\r\n\r\n"].concat(), ChunkOutput::Framing, false, || usize::MAX));
    HeadVerdict::Accepted
}

/// The head at the front of `input`, or the verdict if there is none.
fn head_of(input: &[u8]) -> Result<&[u8], HeadVerdict> {
    let whole = end_of(input, usize::MAX, &LIMITS);
    assert_same(whole, end_of(input, 1, &LIMITS));
    assert_same(whole, end_of(input, 7, &LIMITS));
    match whole {
        Ok(HeadEnd::At(end)) => {
            assert_eq!(end_of(&input[..end], usize::MAX, &LIMITS), whole, "the bytes that follow matter");
            Ok(&input[..end])
        }
        Ok(HeadEnd::Missing) => Err(HeadVerdict::Incomplete),
        Err(refusal) => Err(HeadVerdict::Refused(refusal)),
    }
}

/// The quick reading is the same as the complete one, if it decides.
#[track_caller]
fn assert_quick<M, F: PartialEq + std::fmt::Debug>(quick: Result<M, NoHead>, parsed: &Result<M, Refusal>, facts: impl Fn(&M) -> F) {
    if !matches!(quick, Err(NoHead::Undecided)) {
        let parsed = parsed.as_ref().map(&facts).map_err(|refusal| NoHead::Refused(*refusal));
        assert_eq!(quick.as_ref().map(&facts).map_err(|none| *none), parsed, "the quick reading is another");
    }
}

/// Where the head ends, if it comes in pieces of `step` bytes.
fn end_of(input: &[u8], step: usize, limits: &HeadLimits) -> Result<HeadEnd, Refusal> {
    let (mut scan, mut come) = (HeadScan::default(), 0usize);
    loop {
        come = come.saturating_add(step).min(input.len());
        match scan.find_end(&input[..come], limits) {
            Ok(HeadEnd::Missing) if come < input.len() => {}
            outcome => return outcome,
        }
    }
}

/// The verdicts are equal, except that where a limit is exceeded, either that or another fault may be reported first.
#[track_caller]
fn assert_same<T: PartialEq + std::fmt::Debug>(whole: Result<T, Refusal>, pieces: Result<T, Refusal>) {
    let is_limit = |refusal: &Refusal| matches!(refusal, Refusal::LineTooLong | Refusal::HeadTooLarge(_));
    match (&whole, &pieces) {
        (Err(one), Err(other)) if is_limit(one) || is_limit(other) => {}
        _ => assert_eq!(whole, pieces, "whole, and in pieces"),
    }
}

/// Fields go on in the order in which they came, and none is added. None is missing that only the recipient understands, unless
/// `Connection` names it.
fn check_end_to_end(came: Fields, went: Fields) {
    let is_end_to_end = |line: &FieldLine| matches!(line.class(), Field::Common | Field::Other | Field::Authorization | Field::Cookie);
    let is_named = |line: &FieldLine| {
        let mut names = came.of(Field::Connection).flat_map(|connection| text::list(connection.value()));
        matches!(line.class(), Field::Common | Field::Other) && names.any(|name| name.eq_ignore_ascii_case(line.name()))
    };
    let plain = |line: FieldLine| (line.name().to_owned(), line.value().to_vec());
    let expected: Vec<_> = came.iter().filter(is_end_to_end).filter(|line| !is_named(line)).map(plain).collect();
    let found: Vec<_> = went.iter().filter(is_end_to_end).map(plain).collect();
    assert_eq!(found, expected, "fields that are not ours");
}

/// The head, and a text of what was found in it.
fn lines_of(fields: Fields) -> (Vec<u8>, String) {
    let lines = fields.iter().map(|line| format!("{:?} {:?} {:?}\n", line.name(), line.value(), line.class()));
    (fields.head().to_vec(), lines.collect())
}

/// The result of decoding a body.
#[derive(Debug, PartialEq, Eq)]
struct Decoded {
    result: Result<(), Refusal>,
    out: Vec<u8>,
    consumed: usize,
    is_ended: bool,
    announced: u64,
}

impl Decoded {
    #[track_caller]
    fn is_same(&self, other: &Self) {
        assert_same(self.result, other.result);
        if self.result.is_ok() {
            assert_eq!(self, other, "whole, and in pieces");
        }
    }
}

/// Decodes `input` in pieces whose sizes `piece` chooses; with `moves`, bytes that need no look bypass the decoder.
fn decode(input: &[u8], keep: ChunkOutput, moves: bool, mut piece: impl FnMut() -> usize) -> Decoded {
    let mut decoder = Decoder::default();
    let (mut buffer, mut rest) = (Vec::new(), input);
    let mut done = Decoded { result: Ok(()), out: Vec::new(), consumed: 0, is_ended: false, announced: 0 };
    while !rest.is_empty() && !decoder.is_ended() {
        let (now, later) = rest.split_at(piece().clamp(1, rest.len()));
        rest = later;
        buffer.extend_from_slice(now);
        if moves && decoder.opaque() > 0 {
            let n = usize::try_from(decoder.opaque()).unwrap_or(usize::MAX).min(buffer.len());
            decoder.moved(n as u64);
            done.out.extend(buffer.drain(..n));
            done.consumed += n;
        }
        match decoder.decode(&mut buffer, keep, &LIMITS) {
            Ok(step) => {
                assert!(step.kept <= step.consumed && step.consumed <= buffer.len());
                done.out.extend_from_slice(&buffer[..step.kept]);
                done.consumed += step.consumed;
                buffer.drain(..step.consumed);
            }
            Err(refusal) => {
                done.result = Err(refusal);
                break;
            }
        }
    }
    assert!(done.out.len() <= done.consumed, "longer than it came");
    (done.is_ended, done.announced) = (decoder.is_ended(), decoder.announced());
    done
}

/// The data of a canonical body, perhaps cut off: read in the simplest way, to compare with.
fn data_of(mut body: &[u8]) -> Vec<u8> {
    let mut data = Vec::new();
    while let Some(end) = body.windows(2).position(|two| two == b"\r\n") {
        let digits = std::str::from_utf8(&body[..end]).unwrap_or_default();
        assert!(digits == "0" || !digits.starts_with('0'), "not canonical: {digits:?}");
        let size = u64::from_str_radix(digits, 16).expect("a plain chunk size");
        body = &body[end + 2..];
        if size == 0 {
            return data;
        }
        let n = usize::try_from(size).unwrap_or(usize::MAX).min(body.len());
        data.extend_from_slice(&body[..n]);
        body = &body[n..];
        body = body.strip_prefix(b"\r\n").unwrap_or_default();
    }
    data
}

/// A generator of numbers that depend on the input alone, so that a finding can be repeated (xorshift).
struct Xorshift(u64);

impl Xorshift {
    fn from(input: &[u8]) -> Self {
        Self(input.iter().fold(0x9e37_79b9_7f4a_7c15, |seed, &b| (seed ^ u64::from(b)).wrapping_mul(0x100_0000_01b3)) | 1)
    }

    fn below(&mut self, n: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 33) as usize % n
    }
}
