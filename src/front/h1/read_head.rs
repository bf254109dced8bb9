//! Between requests and within a request's head: find the end of the head, and parse it.

use super::FrontH1;
use super::head::{DRAIN_IDLE_MS, ReadHead, request_limits};
use super::serving::Serving;
use super::state::{Demand, FoundRequest, FrontEvent, FrontState};
use crate::http::HeadLimits;
use crate::http::head::{HeadTable, NoHead, SmallTable};
use crate::http::preface::{self, Preface};
use crate::http::request::Request;
use crate::http::scan::{HeadEnd, HeadScan};
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

    /// Looks at the new bytes. A whole head is given to `begin`, which makes an exchange of it and returns its key.
    pub fn read_head<T>(&mut self, turn: &mut Turn, begin: impl FnOnce(&Request, &mut Turn) -> (usize, T)) -> FoundRequest<T> {
        let FrontState::ReadingHead(mut head) = self.state else { return FoundRequest::More };
        self.skip_blank_lines(&mut head);
        if self.ring.raw() == 0 {
            return self.keep_reading(head);
        }
        let limits = request_limits(&turn.site.config.limits);
        let mut begin = Some(begin);
        // Most heads come complete, and need no search for their end.
        if head.scan.is_fresh() {
            match self.parse(None, &limits, &mut begin, turn) {
                FoundRequest::More => {}
                found => return found,
            }
        }
        if head.scan.searched() < preface::LONGEST
            && let Some(failure) = self.find_preface(turn)
        {
            return FoundRequest::Refused(failure);
        }
        head.on_bytes(turn.now.millis(), &turn.site.config.timeouts);
        match head.scan.find_end(self.ring.raw_mut(), &limits) {
            Ok(HeadEnd::At(length)) => self.parse(Some(length), &limits, &mut begin, turn),
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
                FoundRequest::Refused(Failure::of_request(refusal))
            }
        }
    }

    fn keep_reading<T>(&mut self, head: ReadHead) -> FoundRequest<T> {
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

    /// Parses a head of that length; if it is unknown, only one that is complete and of the usual shape.
    fn parse<T, B: FnOnce(&Request, &mut Turn) -> (usize, T)>(
        &mut self,
        length: Option<usize>,
        limits: &HeadLimits,
        begin: &mut Option<B>,
        turn: &mut Turn,
    ) -> FoundRequest<T> {
        let mut table: Box<SmallTable> = turn.table.take().unwrap_or_default();
        let mut large;
        let bytes = &*self.ring.raw_mut();
        let read = if let Some(length) = length {
            large = HeadTable::default();
            Request::parse(&bytes[..length], &mut large).map_err(NoHead::Refused)
        } else {
            Request::find(bytes, limits, &mut table)
        };
        let found = match (&read, begin.take()) {
            (Ok(request), Some(begin)) => {
                let (key, made) = begin(request, turn);
                self.state = FrontState::Serving(Serving::new(key, request, turn));
                let length = request.fields.head().len();
                self.ring.skip(length);
                self.deadline = 0;
                FoundRequest::Request(made)
            }
            (Err(NoHead::Refused(refusal)), _) => {
                count_refused_head(turn);
                FoundRequest::Refused(Failure::of_request(*refusal))
            }
            (_, back) => {
                *begin = back;
                FoundRequest::More
            }
        };
        turn.table = Some(table);
        if matches!(found, FoundRequest::Request(_)) {
            self.shrink(turn);
        }
        found
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
    fn find_preface(&mut self, turn: &mut Turn) -> Option<Failure> {
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
        Some(Failure::of_request(refusal))
    }
}

fn count_refused_head(turn: &Turn) {
    turn.stats.requests.add(1);
    turn.stats.parse_errors.add(1);
}
