//! The timers of clients, and those of the worker itself, in one wheel.

use crate::base::wheel::Wheel;

/// A timer of the worker itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OwnTimer {
    /// Accepting is tried again although nothing woke the worker.
    Accept,
    /// A circuit that is open becomes half-open.
    Circuit,
    /// `shutdown.delay_ms` is over.
    Delay,
    /// Requests without a descriptor try again, although none was seen to become free.
    Dial,
    /// `shutdown.grace_ms` is over.
    Grace,
    /// A drain no longer waits for requests on idle connections; the loop then sees whether it may end.
    Idle,
    /// While requests are queued: clients that do not take their answers are looked for.
    Stall,
}

impl OwnTimer {
    /// All of them. The wheel knows each by its index here.
    const ALL: [Self; 7] = [Self::Accept, Self::Circuit, Self::Delay, Self::Dial, Self::Grace, Self::Idle, Self::Stall];
}

/// Whose timer it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum TimerKey {
    /// The worker's.
    Own(OwnTimer),
    /// That of the client in this slot.
    Client(usize),
}

impl From<OwnTimer> for TimerKey {
    fn from(timer: OwnTimer) -> Self {
        Self::Own(timer)
    }
}

impl TimerKey {
    /// The wheel's number for it.
    fn number(self) -> u32 {
        match self {
            Self::Own(timer) => timer as u32,
            Self::Client(key) => (OwnTimer::ALL.len() + key) as u32,
        }
    }

    /// Whose timer has this number.
    fn of(number: u32) -> Self {
        let number = number as usize;
        OwnTimer::ALL.get(number).map_or_else(|| Self::Client(number - OwnTimer::ALL.len()), |timer| Self::Own(*timer))
    }
}

/// The wheel of a worker, except for its upstream connections.
#[derive(Debug, Default)]
pub(super) struct Timers(Wheel);

impl Timers {
    /// Sets a timer, or moves it.
    pub(super) fn set(&mut self, timer: impl Into<TimerKey>, deadline: u64) {
        self.0.set(timer.into().number(), deadline);
    }

    /// The same, unless it is set to an earlier time.
    pub(super) fn set_by(&mut self, timer: impl Into<TimerKey>, deadline: u64) {
        let number = timer.into().number();
        if self.0.deadline(number).is_none_or(|set| set > deadline) {
            self.0.set(number, deadline);
        }
    }

    /// Cancels a timer, if it is set.
    pub(super) fn cancel(&mut self, timer: impl Into<TimerKey>) {
        self.0.cancel(timer.into().number());
    }

    /// When it fires, if it is set.
    pub(super) fn deadline(&self, timer: impl Into<TimerKey>) -> Option<u64> {
        self.0.deadline(timer.into().number())
    }

    /// When something may be due, at the earliest.
    pub(super) fn next_wake(&self) -> Option<u64> {
        self.0.next_wake()
    }

    /// Moves time forward.
    pub(super) fn advance(&mut self, now: u64) {
        self.0.advance(now);
    }

    /// Takes one timer that is due; it is no longer set then.
    pub(super) fn pop_due(&mut self) -> Option<TimerKey> {
        self.0.pop_due().map(TimerKey::of)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_timer_is_told_from_all_others() {
        let own = OwnTimer::ALL.into_iter().map(TimerKey::Own);
        for (number, timer) in own.chain((0..3).map(TimerKey::Client)).enumerate() {
            assert_eq!((timer.number(), TimerKey::of(number as u32)), (number as u32, timer));
        }
    }

    #[test]
    fn one_that_is_set_earlier_stays() {
        let mut timers = Timers::default();
        for (deadline, expected) in [(20, 20), (30, 20), (10, 10)] {
            timers.set_by(OwnTimer::Dial, deadline);
            assert_eq!(timers.deadline(OwnTimer::Dial), Some(expected));
        }
        timers.set(TimerKey::Client(0), 10);
        timers.cancel(OwnTimer::Dial);
        timers.advance(10);
        assert_eq!((timers.pop_due(), timers.pop_due()), (Some(TimerKey::Client(0)), None));
    }
}
