//! Counting places, and the line of those who wait for one.
//!
//! Taking a place is one atomic operation while nobody waits. Both sides of "is there a place?" and "does somebody wait?" are
//! sequentially consistent: who stands in line looks at the places once more, and who gives one back looks at the line, so
//! at least one of the two sees the other.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::sync::{Mutex, MutexGuard, PoisonError};

/// Places that are taken; the limit is the caller's, for a reload may change it.
#[derive(Debug, Default)]
pub struct Gate(AtomicUsize);

impl Gate {
    /// Takes a place if fewer than `limit` are taken.
    pub fn try_enter(&self, limit: usize) -> bool {
        self.0.fetch_update(SeqCst, SeqCst, |taken| (taken < limit).then_some(taken + 1)).is_ok()
    }

    /// Gives a place back.
    pub fn leave(&self) {
        let before = self.0.fetch_sub(1, SeqCst);
        debug_assert!(before > 0, "a place was given back twice");
    }

    /// Places taken now.
    pub fn taken(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// Somebody who waits: a session of a worker, told apart from later ones in the same slot by its serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// Index of the worker.
    pub worker: usize,
    /// Slot of the session there.
    pub key: usize,
    /// Unique within the worker.
    pub serial: u64,
}

/// First come, first served, over all workers.
#[derive(Debug, Default)]
pub struct Line {
    waiting: AtomicUsize,
    tickets: Mutex<VecDeque<Ticket>>,
}

impl Line {
    /// Whether nobody waits: one load.
    pub fn is_empty(&self) -> bool {
        self.waiting.load(SeqCst) == 0
    }

    /// Stands at the end.
    pub fn join(&self, ticket: Ticket) {
        let mut tickets = self.lock();
        tickets.push_back(ticket);
        self.waiting.store(tickets.len(), SeqCst);
    }

    /// Takes a ticket back; false if its turn has come already.
    pub fn leave(&self, ticket: Ticket) -> bool {
        let mut tickets = self.lock();
        let found = tickets.iter().position(|other| *other == ticket);
        found.map(|at| tickets.remove(at));
        self.waiting.store(tickets.len(), SeqCst);
        found.is_some()
    }

    /// Calls the first in line if `admit` has something for it.
    pub fn call<T>(&self, admit: impl FnOnce(&Ticket) -> Option<T>) -> Option<(Ticket, T)> {
        if self.is_empty() {
            return None;
        }
        let mut tickets = self.lock();
        let first = *tickets.front()?;
        let gift = admit(&first)?;
        tickets.pop_front();
        self.waiting.store(tickets.len(), SeqCst);
        Some((first, gift))
    }

    fn lock(&self) -> MutexGuard<'_, VecDeque<Ticket>> {
        self.tickets.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn never_more_than_the_limit() {
        let gate = Gate::default();
        assert!(gate.try_enter(2) && gate.try_enter(2) && !gate.try_enter(2));
        gate.leave();
        assert!(gate.try_enter(2));
        assert_eq!(gate.taken(), 2);
    }

    #[test]
    fn the_line_keeps_its_order() {
        let line = Line::default();
        let ticket = |key| Ticket { worker: 0, key, serial: 1 };
        (0..4).for_each(|key| line.join(ticket(key)));
        assert!(line.leave(ticket(1)) && !line.leave(ticket(1)));
        assert_eq!(line.call(|_| None::<()>), None);
        let called: Vec<_> = std::iter::from_fn(|| line.call(|_| Some(()))).map(|(ticket, ())| ticket.key).collect();
        assert_eq!(called, [0, 2, 3]);
        assert!(line.is_empty());
    }
}
