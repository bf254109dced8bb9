//! The deadlines of a session, in milliseconds of the monotonic clock; 0 means "not waiting".
//!
//! A session has one deadline for its phase: a request's head, idleness, a place in the queue, a connect, lingering; the state
//! tells which. An exchange has more, which run at the same time.

/// The deadlines of an exchange.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Waits {
    /// For bytes from the upstream.
    pub read: u64,
    /// For the head of the answer, from the beginning of the attempt.
    pub attempt: u64,
    /// For the upstream to take bytes.
    pub write: u64,
    /// For the whole exchange.
    pub total: u64,
    /// For body bytes from the client.
    pub client_body: u64,
    /// For the client to take bytes.
    pub client_write: u64,
    /// For the answer to begin, once the client has closed its sending side.
    pub half_close: u64,
}

/// Which deadline has passed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(missing_docs)]
pub enum Due {
    Phase,
    Read,
    Attempt,
    Write,
    Total,
    ClientBody,
    ClientWrite,
    HalfClose,
}

impl Waits {
    /// The earliest deadline, including that of the phase.
    pub fn earliest(&self, phase: u64) -> Option<u64> {
        let Self { read, attempt, write, total, client_body, client_write, half_close } = *self;
        // Turns 0 into the latest possible time.
        let waits = [phase, read, attempt, write, total, client_body, client_write, half_close];
        let at = waits.into_iter().fold(u64::MAX, |at, wait| at.min(wait.wrapping_sub(1)));
        at.checked_add(1)
    }

    /// The first deadline that has passed by `now`: that of a vanished client comes first, then that of the phase, then others.
    pub fn due(&self, phase: u64, now: u64) -> Option<Due> {
        [
            (self.half_close, Due::HalfClose),
            (phase, Due::Phase),
            (self.client_write, Due::ClientWrite),
            (self.client_body, Due::ClientBody),
            (self.write, Due::Write),
            (self.read, Due::Read),
            (self.attempt, Due::Attempt),
            (self.total, Due::Total),
        ]
        .into_iter()
        .find_map(|(at, due)| (at != 0 && at <= now).then_some(due))
    }
}

/// The deadline of a wait that begins now; a timeout of 0 never passes.
pub fn after(now: u64, timeout_ms: u32) -> u64 {
    if timeout_ms == 0 { 0 } else { now + u64::from(timeout_ms) }
}

/// Starts a wait, lets it go on, or ends it.
pub fn keep_waiting(deadline: &mut u64, waits: bool, now: u64, timeout_ms: u32) {
    match (waits, *deadline) {
        (true, 0) => *deadline = after(now, timeout_ms),
        (true, _) => {}
        (false, _) => *deadline = 0,
    }
}
