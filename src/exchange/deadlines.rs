//! The timers of an exchange that run beside the wait of its state: a table of deadlines in milliseconds, 0 for "not waiting".

use crate::machine::deadlines::after;

/// What an exchange may wait for while its state has no wait of its own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Timer {
    /// For the client to take bytes.
    ClientWrite,
    /// For content from the client.
    ClientBody,
    /// For the upstream to take bytes.
    Write,
    /// For bytes from the upstream.
    Read,
    /// For the answer to begin, once the client has closed its sending side.
    HalfClose,
    /// For the head of the answer, from the beginning of the attempt.
    Attempt,
    /// For the whole exchange.
    Total,
}

impl Timer {
    const COUNT: usize = 7;
    /// If several are over at the same time, the first of these counts.
    const ALL: [Self; Self::COUNT] =
        [Self::HalfClose, Self::ClientWrite, Self::ClientBody, Self::Write, Self::Read, Self::Attempt, Self::Total];
}

/// The deadline of every timer.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Deadlines([u64; Timer::COUNT]);

impl Deadlines {
    /// The deadline of a timer.
    pub fn at(&self, timer: Timer) -> u64 {
        self.0[timer as usize]
    }

    /// Sets a timer; 0 stops it.
    pub fn set(&mut self, timer: Timer, deadline: u64) {
        self.0[timer as usize] = deadline;
    }

    /// Starts a wait, lets it go on, or ends it.
    pub fn keep_waiting(&mut self, timer: Timer, waits: bool, now: u64, timeout_ms: u32) {
        let deadline = &mut self.0[timer as usize];
        match (waits, *deadline) {
            (true, 0) => *deadline = after(now, timeout_ms),
            (true, _) => {}
            (false, _) => *deadline = 0,
        }
    }

    /// Stops these timers.
    pub fn stop(&mut self, timers: &[Timer]) {
        timers.iter().for_each(|&timer| self.set(timer, 0));
    }

    /// The earliest deadline, including `own`, that of the state.
    pub fn earliest(&self, own: u64) -> Option<u64> {
        // Turns 0 into the latest possible time.
        let at = self.0.iter().fold(own.wrapping_sub(1), |at, wait| at.min(wait.wrapping_sub(1)));
        at.checked_add(1)
    }

    /// The first timer whose deadline has passed by `now`.
    pub fn due(&self, now: u64) -> Option<Timer> {
        Timer::ALL.into_iter().find(|&timer| self.at(timer) != 0 && self.at(timer) <= now)
    }
}
