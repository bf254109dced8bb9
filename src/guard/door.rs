//! The limit of client connections of one listening address, over all workers that accept there.

use super::gate::Gate;
use crate::base::sync::{AtomicBool, AtomicUsize, Ordering::SeqCst};

/// Workers that stopped accepting until they are woken.
///
/// Who pauses must try once more after that, for a place may just have been left; who leaves a place must look here after
/// that. One of the two sees the other.
#[derive(Debug)]
pub struct Paused {
    workers: Box<[AtomicBool]>,
    count: AtomicUsize,
}

impl Paused {
    /// Nobody of so many workers.
    pub fn new(workers: usize) -> Self {
        Self { workers: (0..workers).map(|_| AtomicBool::new(false)).collect(), count: AtomicUsize::new(0) }
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
}

/// See the module.
#[derive(Debug)]
pub struct Door {
    places: Gate,
    limit: AtomicUsize,
    closed: AtomicBool,
    /// Who found it full.
    pub paused: Paused,
}

impl Door {
    /// A door for `limit` clients and so many workers.
    pub fn new(limit: usize, workers: usize) -> Self {
        Self { places: Gate::default(), limit: AtomicUsize::new(limit), closed: AtomicBool::new(false), paused: Paused::new(workers) }
    }

    /// Takes a place for a client that may be accepted next.
    pub fn try_enter(&self) -> bool {
        self.places.try_enter(self.limit.load(SeqCst))
    }

    /// Takes a place above the limit: for those who waited at a listener that goes.
    pub fn enter_anyway(&self) {
        self.places.try_enter(usize::MAX);
    }

    /// From now on so many; those above it stay.
    pub fn set_limit(&self, limit: usize) {
        self.limit.store(limit, SeqCst);
    }

    /// The address is listened on no more; connections that came through here are not kept after their next answer.
    pub fn close(&self) {
        self.closed.store(true, SeqCst);
    }

    /// See [`Door::close`].
    pub fn is_closed(&self) -> bool {
        self.closed.load(SeqCst)
    }

    /// Gives the place back. The caller then wakes those who paused.
    pub fn leave(&self) {
        self.places.leave();
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
}
