//! A head that is coming in: how much of it was searched, and how long it may take.

use crate::base::ring::Ring;
use crate::config::model::{Limits, Timeouts};
use crate::http::HeadLimits;
use crate::http::scan::HeadScan;
use crate::machine::deadlines::after;

/// How long idle connections stay open after a drain began: a request that is on its way at that moment is still answered.
pub const DRAIN_IDLE_MS: u64 = 500;

/// A head that is coming in or expected.
#[derive(Clone, Copy, Debug, Default)]
pub struct ReadHead {
    pub(super) scan: HeadScan,
    pub(super) blank_lines: u8,
    /// Since when it has been expected.
    since: u64,
    /// The deadline of the idle wait; 0 once a byte has come.
    pub(super) idle: u64,
    /// The deadlines for the request line and for the head.
    line: u64,
    head: u64,
}

impl ReadHead {
    /// A connection's first head, whose deadlines run from the moment of accepting.
    pub(super) fn first(now: u64, timeouts: &Timeouts, is_draining: bool) -> Self {
        let idle = if is_draining { now + DRAIN_IDLE_MS } else { 0 };
        Self { since: now, idle, head: after(now, timeouts.client_header_ms), ..Self::default() }
    }

    pub(super) fn next(now: u64, timeouts: &Timeouts, is_draining: bool) -> Self {
        let idle = if is_draining { now + DRAIN_IDLE_MS } else { after(now, timeouts.client_keepalive_ms) };
        Self { since: now, idle, ..Self::default() }
    }

    /// Whether a byte of the head has come.
    pub(super) fn has_begun(&self) -> bool {
        !self.scan.is_fresh()
    }

    /// Since when it has been expected (milliseconds).
    pub(super) fn since(&self) -> u64 {
        self.since
    }

    /// Whether it is not the connection's first one, and nothing of it has come.
    pub(super) fn is_between_requests(&self) -> bool {
        self.head == 0 && !self.has_begun()
    }

    pub(super) fn is_behind(&self, ring: &Ring) -> bool {
        ring.raw() > self.scan.searched()
    }

    /// The first byte starts the waits; the end of the request line ends its own.
    pub(super) fn on_bytes(&mut self, now: u64, timeouts: &Timeouts) {
        if !self.has_begun() {
            self.idle = 0;
            self.line = after(now, timeouts.client_request_line_ms);
            if self.head == 0 {
                self.head = after(now, timeouts.client_header_ms);
            }
        }
    }

    /// The earliest of its deadlines.
    pub(super) fn deadline(&self) -> u64 {
        let line = if self.scan.has_first_line() { 0 } else { self.line };
        [self.idle, line, self.head].into_iter().filter(|&at| at != 0).min().unwrap_or(0)
    }
}

/// The limits of a request's head.
pub fn request_limits(limits: &Limits) -> HeadLimits {
    HeadLimits {
        first_line: limits.max_request_line,
        line: limits.max_header_size,
        lines: limits.max_headers,
        total: limits.max_total_headers,
    }
}
