//! When which name is looked up. It has no clock, no thread and no resolver: time comes in, the name that is due goes out.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// A name that has no address yet is tried again after so long, or after the interval if that is shorter.
const UNRESOLVED_MS: u64 = 5_000;

/// Between two look-ups of a name, however urgent.
const HURRY_MS: u64 = 1_000;

/// Every wait is shortened by chance, by up to one part in so many: names that began together do not stay together.
const JITTER_PARTS: u64 = 4;

/// What there is to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look this name up now; [`Schedule::done`] ends that. Nobody else is told to meanwhile.
    LookUp(Arc<str>),
    /// Nothing before then (milliseconds).
    At(u64),
    /// Nothing, until a look-up ends or other names come.
    Nothing,
}

/// What the end of a look-up means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Turn {
    /// As the time before.
    Same,
    /// It was well, or new, and fails.
    Fails,
    /// It failed, and is well.
    Recovers,
}

/// See the module. Times are milliseconds of one monotonic clock.
#[derive(Debug)]
pub struct Schedule {
    names: BTreeMap<Arc<str>, Name>,
    /// Names that wait, the earliest first: those that were found the last time, and suspects.
    queues: [BTreeSet<(u64, Arc<str>)>; 2],
    /// Look-ups of suspects that go on.
    suspects: usize,
    max_suspects: usize,
    interval_ms: u64,
    rng: fastrand::Rng,
}

#[derive(Debug, Default)]
struct Name {
    state: State,
    /// When its last look-up ended.
    ended: Option<u64>,
    is_resolved: bool,
    is_failing: bool,
}

#[derive(Debug, Default)]
enum State {
    /// It is not looked up again.
    #[default]
    Resting,
    Due(u64),
    Running {
        is_suspect: bool,
        is_wanted: bool,
    },
}

impl Name {
    /// A look-up may hang: there is no answer that says otherwise.
    fn is_suspect(&self) -> bool {
        self.is_failing || !self.is_resolved
    }
}

impl Schedule {
    /// Without names. At most `max_suspects` names that are new or failing are looked up at once: what is left is for the others.
    pub fn new(max_suspects: usize, rng: fastrand::Rng) -> Self {
        Self { names: BTreeMap::new(), queues: Default::default(), suspects: 0, max_suspects, interval_ms: 0, rng }
    }

    /// Goes over to these names, each looked up again after `interval_ms`; 0 = not once it was found. Returns the new ones, which
    /// are due now.
    pub fn set(&mut self, wanted: &BTreeSet<Arc<str>>, interval_ms: u64, now: u64) -> Vec<Arc<str>> {
        let is_changed = std::mem::replace(&mut self.interval_ms, interval_ms) != interval_ms;
        let known: Vec<Arc<str>> = self.names.keys().cloned().collect();
        for name in known {
            match (self.names.get_mut(&name), wanted.contains(&name)) {
                (Some(known), false) => match &mut known.state {
                    State::Running { is_suspect, .. } => {
                        // Its end is still to come: until then nobody else looks it up.
                        let state = State::Running { is_suspect: *is_suspect, is_wanted: false };
                        *known = Name { state, ..Name::default() };
                    }
                    _ => self.forget(&name),
                },
                (Some(Name { state: State::Resting | State::Due(_), ended: Some(ended), .. }), true) if is_changed => {
                    let ended = *ended;
                    self.rest(&name, ended);
                }
                _ => {}
            }
        }
        let mut new = Vec::new();
        for name in wanted {
            match self.names.get_mut(name).map(|known| &mut known.state) {
                Some(State::Running { is_wanted, .. }) => {
                    if !std::mem::replace(is_wanted, true) {
                        new.push(name.clone());
                    }
                }
                Some(_) => {}
                None => {
                    self.names.insert(name.clone(), Name::default());
                    self.enqueue(name, now);
                    new.push(name.clone());
                }
            }
        }
        new
    }

    /// What there is to do now. A look-up that it names has begun.
    pub fn next(&mut self, now: u64) -> Next {
        let Some((due, name)) = self.first() else { return Next::Nothing };
        if due > now {
            return Next::At(due);
        }
        self.dequeue(&name);
        if let Some(known) = self.names.get_mut(&name) {
            let is_suspect = known.is_suspect();
            known.state = State::Running { is_suspect, is_wanted: true };
            self.suspects += usize::from(is_suspect);
        }
        Next::LookUp(name)
    }

    /// Nothing answers where the name leads: it is looked up now, if that was not done in the last second. Who wants no name looked
    /// up again (an interval of 0) is left alone.
    pub fn hurry(&mut self, name: &str, now: u64) {
        let Some((name, known)) = self.names.get_key_value(name) else { return };
        let due = known.ended.map_or(now, |ended| now.max(ended + HURRY_MS));
        if self.interval_ms > 0 && matches!(known.state, State::Due(later) if due < later) {
            let name = name.clone();
            self.dequeue(&name);
            self.enqueue(&name, due);
        }
    }

    /// Whether [`Schedule::next`] has something, now or later.
    pub fn has_more(&self) -> bool {
        self.first().is_some()
    }

    /// A look-up has ended. `None`: nobody wants the name any more.
    pub fn done(&mut self, name: &Arc<str>, is_found: bool, now: u64) -> Option<Turn> {
        let known = self.names.get_mut(name)?;
        let State::Running { is_suspect, is_wanted } = known.state else { return None };
        self.suspects -= usize::from(is_suspect);
        if !is_wanted {
            self.names.remove(name);
            return None;
        }
        let turn = match (known.is_failing, is_found) {
            (false, false) => Turn::Fails,
            (true, true) => Turn::Recovers,
            _ => Turn::Same,
        };
        known.is_failing = !is_found;
        known.is_resolved |= is_found;
        known.state = State::Resting;
        self.rest(name, now);
        Some(turn)
    }

    /// Whether a look-up of it has ended since it came; also of a name that is gone.
    pub fn has_ended(&self, name: &str) -> bool {
        self.names.get(name).is_none_or(|known| known.ended.is_some())
    }

    fn first(&self) -> Option<(u64, Arc<str>)> {
        let open = if self.suspects < self.max_suspects { 2 } else { 1 };
        self.queues[..open].iter().filter_map(BTreeSet::first).min().cloned()
    }

    /// Its look-up ended then: when is the next one?
    fn rest(&mut self, name: &Arc<str>, ended: u64) {
        self.dequeue(name);
        let Some(known) = self.names.get_mut(name) else { return };
        known.ended = Some(ended);
        let wait = match (self.interval_ms, known.is_resolved) {
            (0, true) => return,
            (0, false) => UNRESOLVED_MS,
            (interval, true) => interval,
            (interval, false) => interval.min(UNRESOLVED_MS),
        };
        let due = ended + wait - self.rng.u64(0..=wait / JITTER_PARTS);
        self.enqueue(name, due);
    }

    fn enqueue(&mut self, name: &Arc<str>, due: u64) {
        let Some(known) = self.names.get_mut(name) else { return };
        known.state = State::Due(due);
        self.queues[usize::from(known.is_suspect())].insert((due, name.clone()));
    }

    fn dequeue(&mut self, name: &Arc<str>) {
        let Some(known) = self.names.get_mut(name) else { return };
        if let State::Due(due) = std::mem::take(&mut known.state) {
            self.queues[usize::from(known.is_suspect())].remove(&(due, name.clone()));
        }
    }

    fn forget(&mut self, name: &Arc<str>) {
        self.dequeue(name);
        self.names.remove(name);
    }
}

#[cfg(test)]
#[path = "schedule_tests.rs"]
mod tests;
