//! A circuit for each upstream, shared by all workers: passive health. Closed while the upstream serves, open after failures in
//! a row, half-open for a few trial requests after a while.
//!
//! ```text
//!     closed -- failure_threshold failures in a row --> open -- timeout_ms --> half-open
//!       ^                                                ^                      |     |
//!       `------------- success_threshold successes ------|----------------------'     |
//!                                                        `-------- a failure ---------'
//! ```
//!
//! Each success while it is half-open doubles the number of trials that may run at a time: those who wait are not served one
//! by one. All of it is one word, so that a change is one atomic step. Its epoch tells what belongs to an earlier state: an
//! attempt that began before the circuit opened says nothing about the trial.

use crate::config::model::Breaker;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// What a circuit does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// Lets them through.
    Closed,
    /// Lets some through at a time, as trials.
    HalfOpen,
    /// Lets none through.
    Open,
}

impl State {
    /// As logs and pages call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// What an attempt is let through with, and what its outcome is told by. Given back exactly once.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Permit {
    epoch: u16,
    /// It holds a trial's place.
    trial: bool,
}

impl Permit {
    /// Whether it keeps another trial from being let through.
    pub fn is_trial(&self) -> bool {
        self.trial
    }
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// The upstream served it.
    Success,
    /// No connection was made, or it ended before anything of the request was written: no client can bring that about.
    Unconnected,
    /// It failed later, by the upstream's fault.
    Failure,
    /// Likewise, and there is no other upstream: it counts, and opens nothing.
    Tolerated,
    /// It ended for reasons that say nothing about the upstream.
    Unknown,
}

/// A circuit went from one state to another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Change {
    /// Before.
    pub from: State,
    /// Now.
    pub to: State,
}

/// An open circuit: since when, and why.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Opening {
    /// Milliseconds.
    pub at: u64,
    /// The last failure was [`Verdict::Unconnected`].
    pub is_unconnected: bool,
    epoch: u16,
}

/// See the module.
#[derive(Debug, Default)]
pub struct Circuit {
    word: AtomicU64,
    /// When it opened last (milliseconds), times two, and in the last bit whether that was for want of a connection.
    opened: AtomicU64,
}

/// The word in its parts.
#[derive(Clone, Copy)]
struct Word {
    state: State,
    epoch: u16,
    /// Failures in a row while closed, successes while half-open.
    count: u32,
    /// Trials that run.
    trials: u16,
}

impl Word {
    /// More than any threshold that can be configured.
    const MAX_COUNT: u32 = (1 << 30) - 1;

    fn of(bits: u64) -> Self {
        let state = match bits >> 62 {
            0 => State::Closed,
            1 => State::HalfOpen,
            _ => State::Open,
        };
        Self { state, epoch: (bits >> 46) as u16, count: (bits >> 16) as u32 & Self::MAX_COUNT, trials: bits as u16 }
    }

    fn bits(self) -> u64 {
        (self.state as u64) << 62 | u64::from(self.epoch) << 46 | u64::from(self.count) << 16 | u64::from(self.trials)
    }

    /// For one more trial; there are places for 65,535 at most.
    fn has_room(self, config: &Breaker) -> bool {
        let at_a_time = u64::from(config.half_open_requests) << self.count.min(u16::BITS);
        u64::from(self.trials) < at_a_time.min(u16::MAX.into())
    }

    /// `None`: as before.
    fn after_success(self, config: &Breaker) -> Option<Self> {
        let count = self.count + 1;
        match self.state {
            State::Closed if self.count == 0 => None,
            State::Closed => Some(Self { count: 0, ..self }),
            _ if count >= config.success_threshold => Some(self.turned(State::Closed)),
            State::HalfOpen => Some(Self { count, ..self }),
            State::Open => Some(Self { count, ..self.turned(State::HalfOpen) }),
        }
    }

    /// `None`: as before.
    fn after_failure(self, is_tolerated: bool, config: &Breaker) -> Option<Self> {
        let count = (self.count + 1).min(Self::MAX_COUNT);
        match self.state {
            State::Open => None,
            State::HalfOpen if is_tolerated => None,
            State::Closed if is_tolerated || count < config.failure_threshold => Some(Self { count, ..self }),
            State::Closed | State::HalfOpen => Some(self.turned(State::Open)),
        }
    }

    /// Another state begins.
    fn turned(self, state: State) -> Self {
        Self { state, epoch: self.epoch.wrapping_add(1), count: 0, trials: 0 }
    }
}

impl Circuit {
    /// As it is now.
    pub fn state(&self) -> State {
        Word::of(self.word.load(SeqCst)).state
    }

    /// There is no breaker any more: whatever it was, it is closed, and what runs says nothing about it.
    pub fn reset(&self) {
        let _ = self.word.fetch_update(SeqCst, SeqCst, |bits| Some(Word::of(bits).turned(State::Closed).bits()));
    }

    /// Trial requests that run.
    pub fn trials(&self) -> u16 {
        Word::of(self.word.load(SeqCst)).trials
    }

    /// Since when and why it is open, if it is.
    pub fn opening(&self) -> Option<Opening> {
        let word = Word::of(self.word.load(SeqCst));
        let opened = self.opened.load(SeqCst);
        (word.state == State::Open).then_some(Opening { at: opened >> 1, is_unconnected: opened & 1 == 1, epoch: word.epoch })
    }

    /// Whether a request would be let through now.
    pub fn would_admit(&self, config: &Breaker) -> bool {
        let word = Word::of(self.word.load(SeqCst));
        config.failure_threshold == 0
            || match word.state {
                State::Closed => true,
                State::HalfOpen => word.has_room(config),
                State::Open => false,
            }
    }

    /// Lets an attempt through, or not. Whether an open circuit's time is over is for others to know: [`Circuit::half_open`].
    pub fn admit(&self, config: &Breaker) -> Option<Permit> {
        loop {
            let bits = self.word.load(SeqCst);
            let word = Word::of(bits);
            if word.state == State::Closed || config.failure_threshold == 0 {
                return Some(Permit { epoch: word.epoch, trial: false });
            }
            if word.state == State::Open || !word.has_room(config) {
                return None;
            }
            if self.swap(bits, Word { trials: word.trials + 1, ..word }) {
                return Some(Permit { epoch: word.epoch, trial: true });
            }
        }
    }

    /// Lets an attempt through although it is open: that of a request which has failed here, and has nowhere else to go. If it is
    /// served, that is as good as a trial.
    pub fn insist(&self) -> Option<Permit> {
        let word = Word::of(self.word.load(SeqCst));
        (word.state == State::Open).then_some(Permit { epoch: word.epoch, trial: false })
    }

    /// It was open for long enough.
    pub fn half_open(&self, opening: Opening) -> Option<Change> {
        let bits = self.word.load(SeqCst);
        let word = Word::of(bits);
        if word.state != State::Open || word.epoch != opening.epoch || !self.swap(bits, word.turned(State::HalfOpen)) {
            return None;
        }
        Some(Change { from: State::Open, to: State::HalfOpen })
    }

    /// The trial has shown enough to let another begin; its verdict is still to come.
    pub fn end_trial(&self, permit: &mut Permit) {
        if std::mem::take(&mut permit.trial) {
            self.update(permit.epoch, |word| Some(Word { trials: word.trials.saturating_sub(1), ..word }));
        }
    }

    /// The attempt is over.
    pub fn settle(&self, mut permit: Permit, verdict: Verdict, config: &Breaker, now: u64) -> Option<Change> {
        self.end_trial(&mut permit);
        match verdict {
            Verdict::Unknown => None,
            Verdict::Success => self.update(permit.epoch, |word| word.after_success(config)),
            _ if config.failure_threshold == 0 => None,
            _ => self.update(permit.epoch, |word| {
                let next = word.after_failure(verdict == Verdict::Tolerated, config)?;
                if next.state == State::Open {
                    // Before anybody can see that it is open.
                    self.opened.store(now << 1 | u64::from(verdict == Verdict::Unconnected), SeqCst);
                }
                Some(next)
            }),
        }
    }

    /// Changes the word if it is still of that epoch.
    fn update(&self, epoch: u16, change: impl Fn(Word) -> Option<Word>) -> Option<Change> {
        loop {
            let bits = self.word.load(SeqCst);
            let word = Word::of(bits);
            let next = if word.epoch == epoch { change(word)? } else { return None };
            if self.swap(bits, next) {
                return (word.state != next.state).then_some(Change { from: word.state, to: next.state });
            }
        }
    }

    fn swap(&self, bits: u64, next: Word) -> bool {
        self.word.compare_exchange(bits, next.bits(), SeqCst, SeqCst).is_ok()
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
