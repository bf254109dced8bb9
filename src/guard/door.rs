//! The limit of client connections of one listening address, over all workers that accept there.
//!
//! Who is served has a place. Who has had the last answer, or was refused, and is only still read so that no reset overtakes that
//! answer, lingers: such connections have a few places of their own, which nobody who is served or comes waits for.

use super::gate::Gate;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};

/// What was not so for as long as this is news when it is so again.
const CALM_MS: u64 = 10_000;
/// So large a part of a door's places lies near the limit, and so many may linger.
const SHARE: usize = 16;
/// No time: nobody.
const NOBODY: u64 = u64::MAX;

/// Workers that stopped accepting until they are woken.
///
/// Who pauses must try once more after that, for a place may just have been left; who leaves a place must look here after
/// that. One of the two sees the other.
#[derive(Debug)]
pub struct Paused {
    workers: Box<[AtomicBool]>,
    count: AtomicUsize,
    /// When somebody had to make room, or pause, last (milliseconds).
    last: AtomicU64,
}

impl Paused {
    /// Nobody of so many workers.
    pub fn new(workers: usize) -> Self {
        let workers = (0..workers).map(|_| AtomicBool::new(false)).collect();
        Self { workers, count: AtomicUsize::new(0), last: AtomicU64::new(NOBODY) }
    }

    /// This worker stops.
    pub fn pause(&self, worker: usize) {
        if !self.workers[worker].swap(true, SeqCst) {
            self.count.fetch_add(1, SeqCst);
        }
    }

    /// Whether some worker stopped: one load.
    pub fn is_any(&self) -> bool {
        self.count.load(SeqCst) > 0
    }

    /// Those to wake. All of them: who waits in which one's accept queue only the kernel knows.
    pub fn take(&self) -> impl Iterator<Item = usize> {
        let woken = (0..self.workers.len()).filter(|&worker| self.workers[worker].swap(false, SeqCst));
        woken.inspect(|_| {
            self.count.fetch_sub(1, SeqCst);
        })
    }

    /// Notes that nobody can be let in; says whether that is so for the first time in a while.
    pub fn is_news(&self, now: u64) -> bool {
        let last = self.last.swap(now, SeqCst);
        last == NOBODY || now > last + CALM_MS
    }
}

/// What a connection can be in without being served.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rest {
    /// It waits for a request of which nothing has come.
    Idle,
    /// It lingers.
    Lingering,
}

/// Since when the first of a worker's connections is in each (milliseconds). Only that worker writes here.
#[derive(Debug)]
#[repr(align(128))]
struct Front([AtomicU64; 2]);

/// See the module.
#[derive(Debug)]
pub struct Door {
    /// The address, as people call it.
    name: String,
    places: Gate,
    lingering: Gate,
    limit: AtomicUsize,
    closed: AtomicBool,
    /// Who found it full.
    pub paused: Paused,
    fronts: Box<[Front]>,
    evicted: AtomicU64,
    full: AtomicU64,
}

impl Door {
    /// A door for `limit` clients and so many workers.
    pub fn new(limit: usize, workers: usize) -> Self {
        Self {
            name: String::new(),
            places: Gate::default(),
            lingering: Gate::default(),
            limit: AtomicUsize::new(limit),
            closed: AtomicBool::new(false),
            paused: Paused::new(workers),
            fronts: (0..workers).map(|_| Front([AtomicU64::new(NOBODY), AtomicU64::new(NOBODY)])).collect(),
            evicted: AtomicU64::new(0),
            full: AtomicU64::new(0),
        }
    }

    /// With a name, for logs and metrics.
    pub fn named(self, name: String) -> Self {
        Self { name, ..self }
    }

    /// See [`Door::named`].
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Takes a place for a client that was accepted.
    pub fn try_enter(&self) -> bool {
        self.places.try_enter(self.limit())
    }

    /// Takes a place above the limit: for those who waited at a listener that goes.
    pub fn enter_anyway(&self) {
        self.places.try_enter(usize::MAX);
    }

    /// From now on so many; those above it stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, SeqCst);
    }

    /// Places altogether.
    pub fn limit(&self) -> usize {
        self.limit.load(SeqCst)
    }

    /// Whether every place is taken.
    pub fn is_full(&self) -> bool {
        self.places.taken() >= self.limit()
    }

    /// The address is listened on no more; connections that came through here are not kept after their next answer.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    /// Whether connections are not kept after their next answer: it is closed, or places are about to run out.
    pub fn keeps_nobody(&self) -> bool {
        let limit = self.limit();
        self.closed.load(SeqCst) || self.places.taken() >= limit - limit / SHARE
    }

    /// Gives the place back. The caller then wakes those who paused.
    pub fn leave(&self) {
        self.places.leave();
    }

    /// Somebody lingers who had no place.
    pub fn begin_lingering(&self) {
        self.lingering.try_enter(usize::MAX);
    }

    /// Whether one of those who linger has to go.
    pub fn is_crowded(&self) -> bool {
        self.lingering.taken() > (self.limit() / SHARE).max(1)
    }

    /// Somebody who lingered is gone.
    pub fn end_lingering(&self) {
        self.lingering.leave();
    }

    /// Notes since when the first of that worker's connections rests.
    pub fn set_first(&self, worker: usize, rest: Rest, since: Option<u64>) {
        self.fronts[worker].0[rest as usize].store(since.unwrap_or(NOBODY), Relaxed);
    }

    /// The worker whose connection has rested longest, and since when, as far as is known at this moment.
    pub fn longest(&self, rest: Rest) -> Option<(usize, u64)> {
        let fronts = self.fronts.iter().enumerate().map(|(worker, front)| (worker, front.0[rest as usize].load(Relaxed)));
        fronts.filter(|&(_, since)| since != NOBODY).min_by_key(|&(_, since)| since)
    }

    /// Counts an idle connection that was closed for a newcomer.
    pub fn count_evicted(&self) {
        self.evicted.fetch_add(1, Relaxed);
    }

    /// Counts that a newcomer found it full.
    pub fn count_full(&self) {
        self.full.fetch_add(1, Relaxed);
    }

    /// Idle connections closed for newcomers so far, and how often it was full.
    pub fn counts(&self) -> (u64, u64) {
        (self.evicted.load(Relaxed), self.full.load(Relaxed))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn whoever_paused_is_woken_once() {
        let door = Door::new(1, 3);
        assert!(door.try_enter() && !door.try_enter() && !door.paused.is_any());
        door.paused.pause(2);
        door.paused.pause(2);
        door.leave();
        assert_eq!(door.paused.take().collect::<Vec<_>>(), [2]);
        assert!(!door.paused.is_any() && door.try_enter());
    }

    #[test]
    fn the_last_sixteenth_is_near_the_limit() {
        for (limit, near) in [(1, 1), (2, 2), (15, 15), (16, 15), (31, 30), (32, 30), (100, 94), (10_000, 9_375)] {
            let door = Door::new(limit, 1);
            let kept = (1..=limit).find(|_| door.try_enter() && door.keeps_nobody());
            assert_eq!(kept, Some(near), "of {limit}");
        }
    }

    #[test]
    fn those_who_linger_take_no_place_and_are_few() {
        let door = Door::new(32, 1);
        (0..3).for_each(|_| door.begin_lingering());
        assert!(door.is_crowded() && !door.is_full());
        door.end_lingering();
        assert!(!door.is_crowded() && (0..32).all(|_| door.try_enter()) && door.is_full());
        let small = Door::new(1, 1);
        small.begin_lingering();
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
        assert!(paused.is_news(5) && !paused.is_news(5) && !paused.is_news(9_000) && !paused.is_news(18_000));
        assert!(paused.is_news(18_001 + CALM_MS));
    }
}
