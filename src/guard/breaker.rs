//! A circuit for each upstream, shared by all workers: passive health checking. It is closed while the upstream serves, open after
//! failures in a row, and half-open for a few trial requests after a while.
//!
//! ```text
//!     closed -- failure_threshold failures in a row --> open -- timeout_ms --> half-open
//!       ^                                                ^                      |     |
//!       `------------- success_threshold successes ------|----------------------'     |
//!                                                        `-------- a failure ---------'
//! ```
//!
//! While it is half-open, each success doubles the number of trials that may run at a time, so that waiting requests are not
//! served one by one. The state is one word, so that a change is one atomic step. An epoch in it tells what belongs to an earlier
//! state: an attempt that began before the circuit opened says nothing about the trial.

use crate::config::model::Breaker;
use std::sync::atomic::{AtomicU64, Ordering::SeqCst};

/// The state of a circuit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum CircuitState {
    /// Lets requests through.
    Closed,
    /// Lets a limited number through at a time, as trials.
    HalfOpen,
    /// Lets no request through.
    Open,
}

impl CircuitState {
    /// The name in logs and on pages.
    pub fn name(self) -> &'static str {
        match self {
            Self::Closed => "closed",
            Self::HalfOpen => "half_open",
            Self::Open => "open",
        }
    }
}

/// Permission for one attempt, by which its outcome is reported.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitPermit {
    epoch: u16,
}

/// One of the trials that may run at a time. Whoever has it ends it, with [`Circuit::end_trial`].
#[derive(Debug, PartialEq, Eq)]
pub struct Trial {
    epoch: u16,
}

/// How an attempt went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AttemptVerdict {
    /// The upstream served it.
    Success,
    /// No connection was made, or it ended before anything of the request was written: no client can cause that.
    Unconnected,
    /// It failed later, by the upstream's fault.
    Failure,
    /// It failed by the upstream's fault, and there is no other upstream: it is counted, but opens nothing.
    Tolerated,
    /// It ended for reasons that say nothing about the upstream.
    Unknown,
}

/// A change of a circuit's state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitChange {
    pub from: CircuitState,
    pub to: CircuitState,
}

/// When and why a circuit opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CircuitOpening {
    /// When, in milliseconds.
    pub at: u64,
    /// Whether the last failure was [`AttemptVerdict::Unconnected`].
    pub is_unconnected: bool,
    epoch: u16,
}

/// The circuit of one upstream.
#[derive(Debug, Default)]
pub struct Circuit {
    word: AtomicU64,
    /// When it opened last (milliseconds), times two; the last bit tells whether the failure was [`AttemptVerdict::Unconnected`].
    opened: AtomicU64,
}

/// The parts of the word.
#[derive(Clone, Copy)]
struct CircuitWord {
    state: CircuitState,
    epoch: u16,
    /// Failures in a row while closed, successes while half-open.
    count: u32,
    trials: u16,
}

impl CircuitWord {
    /// Larger than any threshold that can be configured.
    const MAX_COUNT: u32 = (1 << 30) - 1;

    fn of(bits: u64) -> Self {
        let state = match bits >> 62 {
            0 => CircuitState::Closed,
            1 => CircuitState::HalfOpen,
            _ => CircuitState::Open,
        };
        Self { state, epoch: (bits >> 46) as u16, count: (bits >> 16) as u32 & Self::MAX_COUNT, trials: bits as u16 }
    }

    fn bits(self) -> u64 {
        (self.state as u64) << 62 | u64::from(self.epoch) << 46 | u64::from(self.count) << 16 | u64::from(self.trials)
    }

    /// Whether one more trial may run; the word has room for 65,535.
    fn has_room(self, config: &Breaker) -> bool {
        let at_a_time = u64::from(config.half_open_requests) << self.count.min(u16::BITS);
        u64::from(self.trials) < at_a_time.min(u16::MAX.into())
    }

    /// The word after a success; `None` if nothing changes.
    fn after_success(self, config: &Breaker) -> Option<Self> {
        let count = self.count + 1;
        match self.state {
            CircuitState::Closed if self.count == 0 => None,
            CircuitState::Closed => Some(Self { count: 0, ..self }),
            _ if count >= config.success_threshold => Some(self.turned(CircuitState::Closed)),
            CircuitState::HalfOpen => Some(Self { count, ..self }),
            CircuitState::Open => Some(Self { count, ..self.turned(CircuitState::HalfOpen) }),
        }
    }

    /// The word after a failure; `None` if nothing changes.
    fn after_failure(self, is_tolerated: bool, config: &Breaker) -> Option<Self> {
        let count = (self.count + 1).min(Self::MAX_COUNT);
        match self.state {
            CircuitState::Open => None,
            CircuitState::HalfOpen if is_tolerated => None,
            CircuitState::Closed if is_tolerated || count < config.failure_threshold => Some(Self { count, ..self }),
            CircuitState::Closed | CircuitState::HalfOpen => Some(self.turned(CircuitState::Open)),
        }
    }

    /// The word at the beginning of another state.
    fn turned(self, state: CircuitState) -> Self {
        Self { state, epoch: self.epoch.wrapping_add(1), count: 0, trials: 0 }
    }
}

impl Circuit {
    /// The present state.
    pub fn state(&self) -> CircuitState {
        CircuitWord::of(self.word.load(SeqCst)).state
    }

    /// Closes it for good because the breaker was turned off; attempts that are running no longer matter.
    pub fn reset(&self) {
        let _ = self.word.fetch_update(SeqCst, SeqCst, |bits| Some(CircuitWord::of(bits).turned(CircuitState::Closed).bits()));
    }

    /// Trials that are running.
    pub fn trials(&self) -> u16 {
        CircuitWord::of(self.word.load(SeqCst)).trials
    }

    /// When and why it opened, if it is open.
    pub fn opening(&self) -> Option<CircuitOpening> {
        let word = CircuitWord::of(self.word.load(SeqCst));
        let opened = self.opened.load(SeqCst);
        (word.state == CircuitState::Open).then_some(CircuitOpening { at: opened >> 1, is_unconnected: opened & 1 == 1, epoch: word.epoch })
    }

    /// Whether a request would be let through now.
    pub fn would_admit(&self, config: &Breaker) -> bool {
        let word = CircuitWord::of(self.word.load(SeqCst));
        config.failure_threshold == 0
            || match word.state {
                CircuitState::Closed => true,
                CircuitState::HalfOpen => word.has_room(config),
                CircuitState::Open => false,
            }
    }

    /// Permits an attempt, if the state does; in a half-open circuit it is a trial. Whether an open circuit's time is over is the
    /// caller's matter: [`Circuit::half_open`].
    pub fn admit(&self, config: &Breaker) -> Option<(CircuitPermit, Option<Trial>)> {
        loop {
            let bits = self.word.load(SeqCst);
            let word = CircuitWord::of(bits);
            let permit = CircuitPermit { epoch: word.epoch };
            if word.state == CircuitState::Closed || config.failure_threshold == 0 {
                return Some((permit, None));
            }
            if word.state == CircuitState::Open || !word.has_room(config) {
                return None;
            }
            if self.swap(bits, CircuitWord { trials: word.trials + 1, ..word }) {
                return Some((permit, Some(Trial { epoch: word.epoch })));
            }
        }
    }

    /// Permits an attempt although the circuit is open, for a request that failed here and has nowhere else to go. Its success
    /// counts like that of a trial.
    pub fn insist(&self) -> Option<CircuitPermit> {
        let word = CircuitWord::of(self.word.load(SeqCst));
        (word.state == CircuitState::Open).then_some(CircuitPermit { epoch: word.epoch })
    }

    /// Makes it half-open, if it is still the opening that the caller saw.
    pub fn half_open(&self, opening: CircuitOpening) -> Option<CircuitChange> {
        let bits = self.word.load(SeqCst);
        let word = CircuitWord::of(bits);
        if word.state != CircuitState::Open || word.epoch != opening.epoch || !self.swap(bits, word.turned(CircuitState::HalfOpen)) {
            return None;
        }
        Some(CircuitChange { from: CircuitState::Open, to: CircuitState::HalfOpen })
    }

    /// Lets another trial begin, whether or not this one's outcome is known.
    pub fn end_trial(&self, trial: Trial) {
        self.update(trial.epoch, |word| Some(CircuitWord { trials: word.trials.saturating_sub(1), ..word }));
    }

    /// Reports the outcome of an attempt. Returns the change that it caused.
    pub fn settle(&self, permit: CircuitPermit, verdict: AttemptVerdict, config: &Breaker, now: u64) -> Option<CircuitChange> {
        match verdict {
            AttemptVerdict::Unknown => None,
            AttemptVerdict::Success => self.update(permit.epoch, |word| word.after_success(config)),
            _ if config.failure_threshold == 0 => None,
            _ => self.update(permit.epoch, |word| {
                let next = word.after_failure(verdict == AttemptVerdict::Tolerated, config)?;
                if next.state == CircuitState::Open {
                    // Written first, so that nobody sees an open circuit with an earlier time.
                    self.opened.store(now << 1 | u64::from(verdict == AttemptVerdict::Unconnected), SeqCst);
                }
                Some(next)
            }),
        }
    }

    /// Changes the word if it still has that epoch.
    fn update(&self, epoch: u16, change: impl Fn(CircuitWord) -> Option<CircuitWord>) -> Option<CircuitChange> {
        loop {
            let bits = self.word.load(SeqCst);
            let word = CircuitWord::of(bits);
            let next = if word.epoch == epoch { change(word)? } else { return None };
            if self.swap(bits, next) {
                return (word.state != next.state).then_some(CircuitChange { from: word.state, to: next.state });
            }
        }
    }

    fn swap(&self, bits: u64, next: CircuitWord) -> bool {
        self.word.compare_exchange(bits, next.bits(), SeqCst, SeqCst).is_ok()
    }
}

#[cfg(test)]
#[path = "breaker_tests.rs"]
mod tests;
