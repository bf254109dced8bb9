//! The limit of client connections of one listening address, over all workers that accept there.
//!
//! A connection that is served has a place. One that has had its last answer or was refused is only still read from, so that no
//! reset overtakes the answer. It lingers: such connections have a few places of their own, and never keep out others.

use super::gate::Gate;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// How long a condition must have been absent before its return is reported again.
const CALM_MS: u64 = 10_000;
/// This fraction of the places counts as "near the limit", and as many connections may linger.
const SHARE: usize = 16;
/// The time that means "none".
const NOBODY: u64 = u64::MAX;

/// Workers that stopped accepting until they are woken.
///
/// A worker that pauses must try once more afterwards, because a place may just have become free; whoever frees a place must look
/// here afterwards. So at least one of the two sees the other.
#[derive(Debug)]
pub struct Paused {
    workers: Box<[AtomicBool]>,
    count: AtomicUsize,
    /// When a connection last had to make room, or a worker paused (milliseconds).
    last: AtomicU64,
}

impl Paused {
    /// None of `workers` workers is paused.
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| AtomicBool::new(false)).collect();
        Self { workers, count: AtomicUsize::new(0), last: AtomicU64::new(NOBODY) }
    }

    /// This worker stops accepting.
    pub fn pause(&self, worker: usize) {
        if !self.workers[worker].swap(true, SeqCst) {
            self.count.fetch_add(1, SeqCst);
        }
    }

    /// Whether some worker is paused. Costs one load.
    pub fn is_any(&self) -> bool {
        self.count.load(SeqCst) > 0
    }

    /// The workers to wake: all of them, as only the kernel knows in whose accept queue the next connection waits.
    pub fn take(&self) -> impl Iterator<Item = usize> {
        let woken = (0..self.workers.len()).filter(|&worker| self.workers[worker].swap(false, SeqCst));
        woken.inspect(|_| {
            self.count.fetch_sub(1, SeqCst);
        })
    }

    /// Notes that nobody can be accepted; returns whether this has not happened for a while.
    pub fn note_shortage(&self, now: u64) -> bool {
        let last = self.last.swap(now, SeqCst);
        last == NOBODY || now > last + CALM_MS
    }
}

/// States in which a connection is not being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It waits for a request of which nothing has come.
    Idle,
    /// It has had its last answer, and is only still read from, so that no reset overtakes that answer.
    Lingering,
}

/// Since when a worker's longest-resting connection has been in each state (milliseconds). Only that worker writes here.
#[derive(Debug)]
#[repr(align(128))]
struct LongestRests([AtomicU64; 2]);

/// The connections of one listening address.
#[derive(Debug)]
pub struct Door {
    /// The address, for logs and metrics.
    name: String,
    places: Gate,
    lingering: Gate,
    limit: AtomicUsize,
    closed: AtomicBool,
    /// Workers that found it full.
    pub paused: Paused,
    fronts: Box<[LongestRests]>,
    evicted: AtomicU64,
    full: AtomicU64,
}

impl Door {
    /// For `limit` clients and `workers` workers.
    pub fn new(limit: usize, workers: usize) -> Self {
        Self {
            name: String::new(),
            places: Gate::default(),
            lingering: Gate::default(),
            limit: AtomicUsize::new(limit),
            closed: AtomicBool::new(false),
            paused: Paused::new(workers),
            fronts: (0..workers).map(|_| LongestRests([AtomicU64::new(NOBODY), AtomicU64::new(NOBODY)])).collect(),
            evicted: AtomicU64::new(0),
            full: AtomicU64::new(0),
        }
    }

    /// Sets the name, for logs and metrics.
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// The name set by [`Door::named`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A place for an accepted client.
    pub fn try_enter(self: &Arc<Self>) -> Option<Stay> {
        self.places.try_enter(self.limit()).then(|| self.stay(HeldPlace::Place))
    }

    /// A place even above the limit, for connections in the queue of a listener that is about to close.
    pub fn enter_anyway(self: &Arc<Self>) -> Stay {
        self.places.try_enter(usize::MAX);
        self.stay(HeldPlace::Place)
    }

    /// For a connection without a place that lingers.
    pub fn linger(self: &Arc<Self>) -> Stay {
        self.lingering.try_enter(usize::MAX);
        self.stay(HeldPlace::Lingering)
    }

    fn stay(self: &Arc<Self>, held: HeldPlace) -> Stay {
        Stay { door: self.clone(), held }
    }

    /// Changes the limit; connections above it stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, SeqCst);
    }

    /// The limit.
    pub fn limit(&self) -> usize {
        self.limit.load(SeqCst)
    }

    /// Whether every place is taken.
    pub fn is_full(&self) -> bool {
        self.places.taken() >= self.limit()
    }

    /// The address is no longer listened on; its connections are closed after their next answer.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    /// Whether connections are closed after their next answer: it is closed, or nearly full.
    pub fn keeps_nobody(&self) -> bool {
        let limit = self.limit();
        self.closed.load(SeqCst) || self.places.taken() >= limit - limit / SHARE
    }

    /// Whether one of the lingering connections has to go.
    pub fn is_crowded(&self) -> bool {
        self.lingering.taken() > (self.limit() / SHARE).max(1)
    }

    /// Sets since when that worker's longest-resting connection rests.
    pub fn set_first(&self, worker: usize, rest: Rest, since: Option<u64>) {
        self.fronts[worker].0[rest as usize].store(since.unwrap_or(NOBODY), Relaxed);
    }

    /// The worker whose connection has rested longest, and since when, as far as is known now.
    pub fn longest(&self, rest: Rest) -> Option<(usize, u64)> {
        let fronts = self.fronts.iter().enumerate().map(|(worker, front)| (worker, front.0[rest as usize].load(Relaxed)));
        fronts.filter(|&(_, since)| since != NOBODY).min_by_key(|&(_, since)| since)
    }

    /// Counts an idle connection that was closed for a newcomer.
    pub fn count_evicted(&self) {
        self.evicted.fetch_add(1, Relaxed);
    }

    /// Counts that a new connection found it full.
    pub fn count_full(&self) {
        self.full.fetch_add(1, Relaxed);
    }

    /// How many idle connections were closed for new ones so far, and how often it was full.
    pub fn counts(&self) -> (u64, u64) {
        (self.evicted.load(Relaxed), self.full.load(Relaxed))
    }
}

/// What a client's connection holds at its listening address. Dropping it gives that back, which has to be after the socket is closed;
/// whoever drops it then wakes the workers that paused.
#[derive(Debug)]
pub struct Stay {
    door: Arc<Door>,
    held: HeldPlace,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum HeldPlace {
    Place,
    Lingering,
    Nothing,
}

impl Stay {
    /// Whether it has a place.
    pub fn has_place(&self) -> bool {
        self.held == HeldPlace::Place
    }

    /// Leaves its place to others, and lingers.
    pub fn linger(&mut self) {
        if self.held == HeldPlace::Place {
            *self = self.door.linger();
        }
    }

    /// It lingers no longer: it will be closed.
    pub fn end_lingering(&mut self) {
        if self.held == HeldPlace::Lingering {
            *self = self.door.stay(HeldPlace::Nothing);
        }
    }
}

impl Drop for Stay {
    fn drop(&mut self) {
        match self.held {
            HeldPlace::Place => self.door.places.leave(),
            HeldPlace::Lingering => self.door.lingering.leave(),
            HeldPlace::Nothing => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_paused_is_woken_once() {
        let door = Arc::new(Door::new(1, 3));
        let stay = door.try_enter();
        assert!(stay.is_some() && door.try_enter().is_none() && !door.paused.is_any());
        door.paused.pause(2);
        door.paused.pause(2);
        drop(stay);
        assert_eq!(door.paused.take().collect::<Vec<_>>(), [2]);
        assert!(!door.paused.is_any() && door.try_enter().is_some());
    }

    #[test]
    fn the_last_sixteenth_is_near_the_limit() {
        for (limit, near) in [(1, 1), (2, 2), (15, 15), (16, 15), (31, 30), (32, 30), (100, 94), (10_000, 9_375)] {
            let (door, mut stays) = (Arc::new(Door::new(limit, 1)), Vec::new());
            let mut keeps_nobody = || {
                stays.push(door.try_enter().expect("a place"));
                door.keeps_nobody()
            };
            let kept = (1..=limit).find(|_| keeps_nobody());
            assert_eq!(kept, Some(near), "of {limit}");
        }
    }

    #[test]
    fn those_who_linger_take_no_place_and_are_few() {
        let door = Arc::new(Door::new(32, 1));
        let mut lingering: Vec<Stay> = (0..2).map(|_| door.linger()).collect();
        let mut third = door.enter_anyway();
        third.linger();
        assert!(door.is_crowded() && !door.is_full() && !third.has_place());
        third.end_lingering();
        assert!(!door.is_crowded());
        let places: Vec<Stay> = std::iter::from_fn(|| door.try_enter()).collect();
        assert!(places.len() == 32 && door.is_full());
        lingering.clear();
        let small = Arc::new(Door::new(1, 1));
        let _one = small.linger();
        assert!(!small.is_crowded(), "one always may");
    }

    #[test]
    fn the_longest_of_all_workers_is_known() {
        let door = Door::new(1, 3);
        assert_eq!(door.longest(Rest::Idle), None);
        door.set_first(0, Rest::Idle, Some(30));
        door.set_first(2, Rest::Idle, Some(20));
        door.set_first(1, Rest::Lingering, Some(10));
        assert_eq!((door.longest(Rest::Idle), door.longest(Rest::Lingering)), (Some((2, 20)), Some((1, 10))));
        door.set_first(2, Rest::Idle, None);
        assert_eq!(door.longest(Rest::Idle), Some((0, 30)));
    }

    #[test]
    fn what_goes_on_is_no_news() {
        let paused = Paused::new(1);
        assert!(paused.note_shortage(5) && !paused.note_shortage(5) && !paused.note_shortage(9_000) && !paused.note_shortage(18_000));
        assert!(paused.note_shortage(18_001 + CALM_MS));
    }
}
