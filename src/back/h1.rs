//! The back for HTTP/1: one exchange at a time on one connection.

use crate::config::model::Limits;
use crate::http::forwarded::RequestAdditions;
use crate::http::framing::{Body, BodyLength, Recode};
use crate::http::head::{HeadTable, NoHead, SmallTable};
use crate::http::request::Request;
use crate::http::response::{Response, is_no_status_line};
use crate::http::scan::{HeadEnd, HeadScan};
use crate::http::{HeadLimits, Refusal, write};
use crate::machine::flow::Flow;
use crate::machine::next_hop::NextHop;
use crate::machine::{AnswerEnd, Passed, Turn};

/// What new bytes of a head amount to.
#[derive(Clone, Copy, Debug)]
pub enum FoundResponse {
    /// Not yet a head, or one that has to wait.
    More,
    /// Nothing that HTTP/1 begins with.
    NoHttp,
    /// A head, and what became of it.
    Head(Passed),
    /// A head that is refused.
    Refused(Refusal),
}

/// Which switch of protocols a request asks for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum AskedSwitch {
    /// None.
    #[default]
    None,
    /// One to the protocol that its `Upgrade` names.
    Named,
}

/// What is known of the request of the exchange in progress, and of the answer to it.
#[derive(Debug, Default)]
pub struct BackH1 {
    asked_switch: AskedSwitch,
    /// Whether the client named no host: the head gets that of each upstream.
    lacks_host: bool,
    /// The search for the end of the head.
    scan: HeadScan,
    /// The decoder of the content.
    body: Body,
    /// Whether the answer is a 101 that waits until the request's content has been sent.
    holds_switch: bool,
    /// Whether the close of the connection is the end of the content.
    ends_with_close: bool,
    /// Whether the connection may serve again.
    keep: bool,
    /// Whether the answer has no content.
    is_bare: bool,
    /// Whether a response announced content that it must not have.
    belies_itself: bool,
}

/// The limits of a request's head hold for a response's too; its status line has that of a field line.
pub fn response_limits(limits: &Limits) -> HeadLimits {
    HeadLimits {
        first_line: limits.max_header_size,
        line: limits.max_header_size,
        lines: limits.max_headers,
        total: limits.max_total_headers,
    }
}

/// What reading a head needs to know of the exchange.
#[derive(Clone, Copy, Debug)]
pub struct Reading<'a> {
    /// How large a head may be.
    pub limits: &'a HeadLimits,
    /// Whether the request was a `HEAD`.
    pub to_head: bool,
    /// Whether all of the request was sent.
    pub is_request_out: bool,
    /// Whether the connection has served before.
    pub is_reused: bool,
}

impl NextHop for BackH1 {
    #[inline]
    fn request(&mut self, up: &mut Flow, request: &Request, additions: &RequestAdditions) {
        self.asked_switch = if request.upgrade.is_some() { AskedSwitch::Named } else { AskedSwitch::None };
        self.lacks_host = request.authority.is_empty();
        up.open_head();
        write::request_head(&mut up.block, request, additions);
        additions.own_cookies.iter().for_each(|name| write::remove_cookie(&mut up.block, name.as_bytes()));
        up.close_head();
    }
}

impl AskedSwitch {
    /// Whether the response, if it is a 101, switches to what was asked for by this head (RFC 9110 7.8).
    #[inline]
    pub fn check(self, head: &[u8], response: &Response) -> Result<(), Refusal> {
        match (response.status, self) {
            (101, Self::None) => Err(Refusal::Malformed("it switched protocols unasked")),
            (101, Self::Named) if !write::asked_for(head, response) => Err(Refusal::Upgrade),
            _ => Ok(()),
        }
    }
}

impl BackH1 {
    /// How the content of a request has to come: chunks pass as they are, once they are canonical.
    #[inline]
    pub fn content_form(&self) -> Recode {
        Recode::Same
    }

    /// There is a connection: an answer is to come.
    pub fn begin_answer(&mut self) {
        *self = Self { asked_switch: self.asked_switch, lacks_host: self.lacks_host, ..Self::default() };
    }

    /// Whether the head names no host.
    pub fn lacks_host(&self) -> bool {
        self.lacks_host
    }

    /// Names the upstream's own host, in place of that of an earlier attempt.
    #[cold]
    pub fn put_host(&self, up: &mut Flow, authority: &str) {
        write::put_host(&mut up.block, authority);
    }

    /// Which switch of protocols the request asks for.
    pub fn asked_switch(&self) -> AskedSwitch {
        self.asked_switch
    }

    /// Looks at the new bytes in the flow. A whole head is given to `take`, which decides what becomes of it.
    pub fn read_head(
        &mut self,
        bytes: &[u8],
        reading: Reading,
        turn: &mut Turn,
        take: impl FnOnce(&Response, &mut Turn) -> Result<Passed, Refusal>,
    ) -> (FoundResponse, usize) {
        // Most heads come complete, and need no search for their end.
        let take = match if self.scan.is_fresh() { self.find(bytes, reading, turn, take) } else { Err(take) } {
            Ok(found) => return found,
            Err(take) => take,
        };
        if is_no_status_line(bytes) {
            return (FoundResponse::NoHttp, 0);
        }
        match self.scan.find_end(bytes, reading.limits) {
            Ok(HeadEnd::At(length)) => self.parse(&bytes[..length], reading, turn, take),
            Ok(HeadEnd::Missing) => (FoundResponse::More, 0),
            Err(refusal) => (FoundResponse::Refused(refusal), 0),
        }
    }

    /// Takes a head that is complete and of the usual shape. For any other one, gives `take` back.
    #[inline(never)]
    fn find<T: FnOnce(&Response, &mut Turn) -> Result<Passed, Refusal>>(
        &mut self,
        bytes: &[u8],
        reading: Reading,
        turn: &mut Turn,
        take: T,
    ) -> Result<(FoundResponse, usize), T> {
        let mut table: Box<SmallTable> = turn.table.take().unwrap_or_default();
        let found = match Response::find(bytes, reading.to_head, reading.limits, &mut table) {
            Ok(response) => Ok(self.pass(&response, reading, turn, take)),
            Err(NoHead::Refused(refusal)) => Ok((FoundResponse::Refused(refusal), 0)),
            Err(NoHead::Undecided) => Err(take),
        };
        turn.table = Some(table);
        found
    }

    /// Takes a head of any shape. Not compiled into its caller, which would then reserve its large table for every head.
    #[inline(never)]
    fn parse(
        &mut self,
        head: &[u8],
        reading: Reading,
        turn: &mut Turn,
        take: impl FnOnce(&Response, &mut Turn) -> Result<Passed, Refusal>,
    ) -> (FoundResponse, usize) {
        let mut table = HeadTable::default();
        match Response::parse(head, reading.to_head, &mut table) {
            Ok(response) => self.pass(&response, reading, turn, take),
            Err(refusal) => (FoundResponse::Refused(refusal), 0),
        }
    }

    #[inline(always)]
    fn pass(
        &mut self,
        response: &Response,
        reading: Reading,
        turn: &mut Turn,
        take: impl FnOnce(&Response, &mut Turn) -> Result<Passed, Refusal>,
    ) -> (FoundResponse, usize) {
        // Until the request's content is complete, the client and whoever reads it still speak HTTP.
        if response.status == 101 && self.asked_switch == AskedSwitch::Named && !reading.is_request_out {
            self.holds_switch = true;
            return (FoundResponse::More, 0);
        }
        match take(response, turn) {
            Ok(passed) => {
                self.note(response, passed, reading);
                (FoundResponse::Head(passed), response.fields.head().len())
            }
            Err(refusal) => (FoundResponse::Refused(refusal), 0),
        }
    }

    /// A head has been passed on.
    fn note(&mut self, response: &Response, passed: Passed, reading: Reading) {
        self.scan = HeadScan::default();
        self.belies_itself |= response.belies_itself;
        let Passed::Final(recode) = passed else { return };
        let is_framed = response.length != BodyLength::UntilClose && !self.belies_itself;
        self.keep = is_framed && response.connection.persists(response.minor);
        // Stray bytes may have been taken for the answer, in which case the answer is still to come.
        self.keep &= reading.is_request_out || !reading.is_reused;
        self.ends_with_close = response.length == BodyLength::UntilClose;
        self.is_bare = response.length == BodyLength::Empty;
        self.body = Body::new(response.length, recode);
    }

    /// Looks at new bytes of the content; returns how many are ready, if the client's side has to frame them.
    pub fn read_content(&mut self, down: &mut Flow, limits: &HeadLimits) -> Result<Option<usize>, Refusal> {
        if self.body.is_enchunked() {
            // The client's side frames piece by piece.
            if !down.may_frame() {
                return Ok(None);
            }
            let ready = down.scan(&mut self.body, limits)?;
            return Ok(Some(ready).filter(|&ready| ready > 0));
        }
        down.scan(&mut self.body, limits).map(|_| None)
    }

    /// Whether content that has come was not looked at yet, because the client has to take the piece before it. Where the end of the
    /// connection is that of the content, what has come is all there is.
    pub fn is_held_up(&self, down: &Flow) -> bool {
        self.body.is_enchunked() && !self.ends_with_close && !down.may_frame() && down.ring.raw() > 0
    }

    /// Whether the client's side must be told of the content's end, and frames the rest.
    pub fn is_framed_by_client(&self) -> bool {
        self.body.is_enchunked()
    }

    /// The content that follows the final head begins.
    pub fn begin_content(&self, down: &mut Flow) {
        down.is_ended = self.body.is_ended();
    }

    /// The upstream closed its sending side. Returns whether that completes the content.
    pub fn close(&mut self, down: &mut Flow) -> bool {
        down.is_ended = self.body.close();
        down.is_ended
    }

    /// How many of the following bytes of the answer need no look, and may bypass the ring.
    pub fn opaque(&self, down: &Flow) -> u64 {
        if down.may_bypass() && !down.is_ended { self.body.opaque() } else { 0 }
    }

    /// Notes that `n` opaque bytes were moved past the ring.
    pub fn on_moved(&mut self, n: usize, down: &mut Flow) {
        self.body.moved(n);
        down.is_ended = self.body.is_ended();
    }

    /// Whether a switch of protocols waits until the request's content has been sent.
    pub fn holds_switch(&self) -> bool {
        self.holds_switch
    }

    /// The end of the answer: what follows it is dropped, and makes the connection unusable.
    pub fn end(&self, down: &mut Flow) -> AnswerEnd {
        let is_exact = down.ring.raw() == 0;
        if !self.ends_with_close {
            down.ring.drop_raw();
        }
        AnswerEnd { keep: self.keep && is_exact, is_bare: self.is_bare }
    }

    /// From here on the upstream's bytes are not looked at.
    pub fn open_tunnel(&mut self) {
        self.body = Body::new(BodyLength::UntilClose, Recode::Same);
    }
}
