//! Between requests and within a request's head: find the end of the head, and parse it.

use super::FrontH1;
use super::head::{DRAIN_IDLE_MS, ReadHead, request_limits};
use super::serving::Serving;
use super::state::{Demand, FoundRequest, FrontEvent, FrontState};
use crate::front::NewExchange;
use crate::http::head::{HeadTable, NoHead, SmallTable};
use crate::http::preface::{self, Preface};
use crate::http::request::Request;
use crate::http::scan::{HeadEnd, HeadScan};
use crate::http::{HeadLimits, Refusal};
use crate::machine::Turn;
use crate::machine::failure::Failure;
use crate::observe::reason::Reason;

/// How many empty lines may precede a request (RFC 9112 2.2).
const MAX_BLANK_LINES: u8 = 2;
/// How often a worker warns that clients speak another protocol.
const FOREIGN_EVERY_MS: u64 = 60_000;

impl FrontH1 {
    /// Returns to waiting for a request.
    pub(super) fn await_head(&mut self, turn: &Turn) -> FrontState {
        let head = ReadHead::next(turn.now.millis(), &turn.site.config.timeouts, turn.is_draining);
        self.deadline = head.deadline();
        FrontState::ReadingHead(head)
    }

    /// Looks at the new bytes. A whole head is given to `begin`, which makes an exchange of it.
    pub fn read_head(&mut self, turn: &mut Turn, begin: impl FnOnce(&Request, &mut Turn) -> NewExchange) -> FoundRequest {
        let FrontState::ReadingHead(mut head) = self.state else { return FoundRequest::More };
        self.skip_blank_lines(&mut head);
        if self.ring.raw() == 0 {
            return self.keep_reading(head);
        }
        let limits = request_limits(&turn.site.config.limits);
        // Most heads come complete, and need no search for their end.
        let begin = match if head.scan.is_fresh() { self.find(&limits, begin, turn) } else { Err(begin) } {
            Ok(found) => return found,
            Err(begin) => begin,
        };
        if head.scan.searched() < preface::LONGEST
            && let Some(refusal) = self.find_preface(turn)
        {
            return FoundRequest::Refused(refusal);
        }
        head.on_bytes(turn.now.millis(), &turn.site.config.timeouts);
        match head.scan.find_end(self.ring.raw_mut(), &limits) {
            Ok(HeadEnd::At(length)) => self.parse(length, begin, turn),
            Ok(HeadEnd::Missing) => {
                if self.ring.room() == 0 {
                    // It does not fit an ordinary ring and gets a larger one, as long as this head lasts. `total` was checked above.
                    let small = self.ring.move_to(vec![0; limits.total].into_boxed_slice());
                    turn.buffers.give_back(small);
                }
                self.deadline = head.deadline();
                self.keep_reading(head)
            }
            Err(refusal) => {
                count_refused_head(turn);
                FoundRequest::Refused(refusal)
            }
        }
    }

    fn keep_reading(&mut self, head: ReadHead) -> FoundRequest {
        self.state = FrontState::ReadingHead(head);
        FoundRequest::More
    }

    fn skip_blank_lines(&mut self, head: &mut ReadHead) {
        while head.blank_lines < MAX_BLANK_LINES && !head.scan.has_first_line() && self.ring.raw_mut().starts_with(b"\r\n") {
            head.blank_lines += 1;
            self.ring.skip(2);
            // The search begins anew, because empty lines were removed in front of it.
            head.scan = HeadScan::default();
        }
    }

    /// Takes a head that is complete and of the usual shape. For any other one, gives `begin` back.
    #[inline(never)]
    fn find<B: FnOnce(&Request, &mut Turn) -> NewExchange>(
        &mut self,
        limits: &HeadLimits,
        begin: B,
        turn: &mut Turn,
    ) -> Result<FoundRequest, B> {
        let mut table: Box<SmallTable> = turn.table.take().unwrap_or_default();
        let found = match Request::find(self.ring.raw_mut(), limits, &mut table) {
            Ok(request) => Ok(Ok(Begun::of(&request, begin, turn))),
            Err(NoHead::Refused(refusal)) => Ok(Err(refusal)),
            Err(NoHead::Undecided) => Err(begin),
        };
        turn.table = Some(table);
        found.map(|found| self.serve(found, turn))
    }

    /// Takes a head of any shape and of that length. Not compiled into its caller, which would then reserve its large table for every
    /// head.
    #[inline(never)]
    fn parse(&mut self, length: usize, begin: impl FnOnce(&Request, &mut Turn) -> NewExchange, turn: &mut Turn) -> FoundRequest {
        let mut table = HeadTable::default();
        let found = Request::parse(&self.ring.raw_mut()[..length], &mut table).map(|request| Begun::of(&request, begin, turn));
        self.serve(found, turn)
    }

    #[inline(always)]
    fn serve(&mut self, found: Result<Begun, Refusal>, turn: &mut Turn) -> FoundRequest {
        match found {
            Ok(Begun { serving, length }) => {
                let key = serving.exchange();
                self.state = FrontState::Serving(serving);
                self.deadline = 0;
                self.ring.skip(length);
                self.shrink(turn);
                FoundRequest::Request(key)
            }
            Err(refusal) => {
                count_refused_head(turn);
                FoundRequest::Refused(refusal)
            }
        }
    }

    /// Replaces the large ring of a large head as soon as what follows fits an ordinary one.
    fn shrink(&mut self, turn: &mut Turn) {
        if self.ring.capacity() > turn.buffers.size() && self.ring.len() <= turn.buffers.size() {
            self.ring.move_to(turn.buffers.lend());
        }
    }

    /// The client closed, left or is sent away between requests or in the middle of a head.
    pub(super) fn on_head_end(&mut self, head: &ReadHead, event: FrontEvent, turn: &Turn) -> Option<Demand> {
        match event {
            FrontEvent::Fin if head.has_begun() => {
                count_refused_head(turn);
                Some(Demand::Refuse(Failure::new(Reason::RequestError, "the request ended within its head")))
            }
            FrontEvent::Gone if self.ring.raw() > 0 => Some(Demand::Abandon),
            FrontEvent::Cut if head.has_begun() => {
                let detail = "this proxy ended before the request was complete";
                Some(Demand::RefuseAtEnd(Failure::new(Reason::Draining, detail)))
            }
            _ => None,
        }
    }

    pub(super) fn on_head_drain(&mut self, mut head: ReadHead, now: u64) -> FrontState {
        if !head.has_begun() {
            head.idle = now + DRAIN_IDLE_MS;
            self.deadline = head.deadline();
        }
        FrontState::ReadingHead(head)
    }

    /// What came of a head that is refused, which an exchange with this key answers; whatever else comes is dropped.
    pub fn serve_refused(&mut self, key: usize) {
        self.ring.clear();
        self.deadline = 0;
        self.state = FrontState::Serving(Serving::of_refused(key));
    }

    /// The client speaks another protocol. It is told at once, because it may be waiting for an answer; and so is the operator, whose
    /// load balancer may be misconfigured.
    #[cold]
    fn find_preface(&mut self, turn: &mut Turn) -> Option<Refusal> {
        let preface = Preface::of(self.ring.raw_mut());
        let refusal = preface.refusal()?;
        if let Preface::Foreign(protocol) = preface {
            let now = turn.now.millis();
            let level = if now < turn.quiet_until { log::Level::Debug } else { log::Level::Warn };
            if level == log::Level::Warn {
                turn.quiet_until = now + FOREIGN_EVERY_MS;
            }
            let client = self.client;
            let port = turn.port.map_or("a Unix socket".to_owned(), |port| format!("port {port}"));
            log::log!(target: "listener", level, "the client {client} speaks {protocol} to {port}, which speaks plain HTTP without it: 400");
        }
        count_refused_head(turn);
        Some(refusal)
    }
}

/// An exchange that a head has begun.
struct Begun {
    serving: Serving,
    /// The length of the head.
    length: usize,
}

impl Begun {
    #[inline(always)]
    fn of(request: &Request, begin: impl FnOnce(&Request, &mut Turn) -> NewExchange, turn: &mut Turn) -> Self {
        let exchange = begin(request, turn);
        Self { serving: Serving::new(exchange, request, turn), length: request.fields.head().len() }
    }
}

fn count_refused_head(turn: &Turn) {
    turn.stats.requests.add(1);
    turn.stats.parse_errors.add(1);
}
