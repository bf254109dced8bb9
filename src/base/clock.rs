//! Time as the loop sees it: read once a turn, handed in everywhere else.

use std::time::{Instant, SystemTime, UNIX_EPOCH};

/// One reading of both clocks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Now {
    /// Monotonic microseconds since the clock was made. All deadlines and durations come from this one.
    pub micros: u64,
    /// Wall-clock milliseconds since 1970, for dates and log lines only: it may jump.
    pub wall_ms: u64,
    /// Divided once, because it is asked for many times a request.
    millis: u64,
}

impl Now {
    /// A reading of both clocks, in microseconds and milliseconds.
    pub fn new(micros: u64, wall_ms: u64) -> Self {
        Self { micros, wall_ms, millis: micros / 1000 }
    }

    /// Monotonic milliseconds, rounded down: the unit of the timer wheel.
    pub fn millis(self) -> u64 {
        self.millis
    }
}

/// Where readings come from. Every worker of a process has a copy of the same clock.
#[derive(Clone, Copy, Debug)]
pub struct Clock(Instant);

impl Clock {
    /// A clock that starts at zero now.
    pub fn start() -> Self {
        Self(Instant::now())
    }

    /// Reads both clocks.
    pub fn read(self) -> Now {
        let wall_ms = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |d| d.as_millis() as u64);
        Now::new(self.0.elapsed().as_micros() as u64, wall_ms)
    }
}
