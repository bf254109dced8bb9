//! When each name is looked up. It has no clock, thread or resolver: the caller passes the time, and gets the name that is due.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

/// The wait before a name without an address is tried again, unless the interval is shorter.
const UNRESOLVED_MS: u64 = 5_000;

/// The shortest time between two look-ups of a name.
const HURRY_MS: u64 = 1_000;

/// Every wait is randomly shortened by up to this part, so that names that began together do not stay together.
const JITTER_PARTS: u64 = 4;

/// What the caller has to do.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Next {
    /// Look this name up now, and report the end by [`Schedule::done`]. It is not given out again meanwhile.
    LookUp(Arc<str>),
    /// Nothing before this time (milliseconds).
    At(u64),
    /// Nothing until a look-up ends or the names change.
    Nothing,
}

/// What a look-up changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LookUpChange {
    /// Nothing.
    Same,
    /// It fails, and was found before or is new.
    Fails,
    /// It is found, and failed before.
    Recovers,
}

/// The schedule of all names. Times are milliseconds of one monotonic clock.
#[derive(Debug)]
pub struct Schedule {
    names: BTreeMap<Arc<str>, ScheduledName>,
    /// Waiting names, the earliest first: those that were found last time, and the suspects.
    queues: [BTreeSet<(u64, Arc<str>)>; 2],
    /// How many look-ups of suspects are in progress.
    suspects: usize,
    max_suspects: usize,
    interval_ms: u64,
    rng: fastrand::Rng,
}

#[derive(Debug, Default)]
struct ScheduledName {
    state: LookUpState,
    /// When its last look-up ended.
    ended: Option<u64>,
    /// How long the last answer that was found holds, where that is known (milliseconds).
    ttl_ms: Option<u64>,
    is_resolved: bool,
    is_failing: bool,
}

#[derive(Debug, Default)]
enum LookUpState {
    /// It is not looked up again.
    #[default]
    Resting,
    Due(u64),
    Running {
        is_suspect: bool,
        is_wanted: bool,
    },
}

impl ScheduledName {
    /// Whether its look-up may hang, because it has not been found yet or has failed.
    fn is_suspect(&self) -> bool {
        self.is_failing || !self.is_resolved
    }
}

impl Schedule {
    /// Without names. At most `max_suspects` new or failing names are looked up at once, so that the others are not held up.
    pub fn new(max_suspects: usize, rng: fastrand::Rng) -> Self {
        Self { names: BTreeMap::new(), queues: Default::default(), suspects: 0, max_suspects, interval_ms: 0, rng }
    }

    /// Changes to these names, each looked up again after `interval_ms` (0 = not once it was found). Returns the new ones, which
    /// are due now.
    pub fn set(&mut self, wanted: &BTreeSet<Arc<str>>, interval_ms: u64, now: u64) -> Vec<Arc<str>> {
        let is_changed = std::mem::replace(&mut self.interval_ms, interval_ms) != interval_ms;
        let known: Vec<Arc<str>> = self.names.keys().cloned().collect();
        for name in known {
            match (self.names.get_mut(&name), wanted.contains(&name)) {
                (Some(known), false) => match &mut known.state {
                    LookUpState::Running { is_suspect, .. } => {
                        // Its look-up is in progress, so it is not looked up by another thread before that ends.
                        let state = LookUpState::Running { is_suspect: *is_suspect, is_wanted: false };
                        *known = ScheduledName { state, ..ScheduledName::default() };
                    }
                    _ => self.forget(&name),
                },
                (Some(ScheduledName { state: LookUpState::Resting | LookUpState::Due(_), ended: Some(ended), .. }), true) if is_changed => {
                    let ended = *ended;
                    self.rest(&name, ended);
                }
                _ => {}
            }
        }
        let mut new = Vec::new();
        for name in wanted {
            match self.names.get_mut(name).map(|known| &mut known.state) {
                Some(LookUpState::Running { is_wanted, .. }) => {
                    if !std::mem::replace(is_wanted, true) {
                        new.push(name.clone());
                    }
                }
                Some(_) => {}
                None => {
                    self.names.insert(name.clone(), ScheduledName::default());
                    self.enqueue(name, now);
                    new.push(name.clone());
                }
            }
        }
        new
    }

    /// What to do now. A look-up that is returned counts as begun.
    pub fn next(&mut self, now: u64) -> Next {
        let Some((due, name)) = self.first() else { return Next::Nothing };
        if due > now {
            return Next::At(due);
        }
        self.dequeue(&name);
        if let Some(known) = self.names.get_mut(&name) {
            let is_suspect = known.is_suspect();
            known.state = LookUpState::Running { is_suspect, is_wanted: true };
            self.suspects += usize::from(is_suspect);
        }
        Next::LookUp(name)
    }

    /// Nothing answers at the name's addresses: it is looked up now, unless that was done in the last second or the interval is 0,
    /// which means that names are not looked up again.
    pub fn hurry(&mut self, name: &str, now: u64) {
        let Some((name, known)) = self.names.get_key_value(name) else { return };
        let due = known.ended.map_or(now, |ended| now.max(ended + HURRY_MS));
        if self.interval_ms > 0 && matches!(known.state, LookUpState::Due(later) if due < later) {
            let name = name.clone();
            self.dequeue(&name);
            self.enqueue(&name, due);
        }
    }

    /// What was found does not count any more: it is looked up again, but not more than once a second. A look-up in progress is not
    /// disturbed.
    pub fn again(&mut self, name: &str, now: u64) {
        let Some((name, known)) = self.names.get_key_value(name) else { return };
        let due = known.ended.map_or(now, |ended| now.max(ended + HURRY_MS));
        if !matches!(known.state, LookUpState::Running { .. }) {
            let name = name.clone();
            self.dequeue(&name);
            self.enqueue(&name, due);
        }
    }

    /// The answer that is found now holds for so long: the next look-up is due then, if that is before the interval ends.
    pub fn set_ttl(&mut self, name: &str, ttl_ms: u64) {
        if let Some(known) = self.names.get_mut(name) {
            known.ttl_ms = Some(ttl_ms);
        }
    }

    /// Whether [`Schedule::next`] has something to do, now or later.
    pub fn has_more(&self) -> bool {
        self.first().is_some()
    }

    /// A look-up has ended. `None` if the name is not wanted any more.
    pub fn done(&mut self, name: &Arc<str>, is_found: bool, now: u64) -> Option<LookUpChange> {
        let known = self.names.get_mut(name)?;
        let LookUpState::Running { is_suspect, is_wanted } = known.state else { return None };
        self.suspects -= usize::from(is_suspect);
        if !is_wanted {
            self.names.remove(name);
            return None;
        }
        let turn = match (known.is_failing, is_found) {
            (false, false) => LookUpChange::Fails,
            (true, true) => LookUpChange::Recovers,
            _ => LookUpChange::Same,
        };
        known.is_failing = !is_found;
        known.is_resolved |= is_found;
        known.state = LookUpState::Resting;
        self.rest(name, now);
        Some(turn)
    }

    /// Whether a look-up of it has ended since it was added; true for a name that is gone.
    pub fn has_ended(&self, name: &str) -> bool {
        self.names.get(name).is_none_or(|known| known.ended.is_some())
    }

    fn first(&self) -> Option<(u64, Arc<str>)> {
        let open = if self.suspects < self.max_suspects { 2 } else { 1 };
        self.queues[..open].iter().filter_map(BTreeSet::first).min().cloned()
    }

    /// Plans the next look-up after one that ended at `ended`.
    fn rest(&mut self, name: &Arc<str>, ended: u64) {
        self.dequeue(name);
        let Some(known) = self.names.get_mut(name) else { return };
        known.ended = Some(ended);
        let wait = match (self.interval_ms, known.is_resolved) {
            (0, true) => return,
            (0, false) => UNRESOLVED_MS,
            (interval, true) => known.ttl_ms.map_or(interval, |ttl_ms| interval.min(ttl_ms.max(HURRY_MS))),
            (interval, false) => interval.min(UNRESOLVED_MS),
        };
        let due = ended + wait - self.rng.u64(0..=wait / JITTER_PARTS);
        self.enqueue(name, due);
    }

    fn enqueue(&mut self, name: &Arc<str>, due: u64) {
        let Some(known) = self.names.get_mut(name) else { return };
        known.state = LookUpState::Due(due);
        self.queues[usize::from(known.is_suspect())].insert((due, name.clone()));
    }

    fn dequeue(&mut self, name: &Arc<str>) {
        let Some(known) = self.names.get_mut(name) else { return };
        if let LookUpState::Due(due) = std::mem::take(&mut known.state) {
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
