//! Counting places, and the queue of those who wait for one.
//!
//! Taking a place is one atomic operation while nobody waits. "Is there a place?" and "does somebody wait?" are sequentially
//! consistent on both sides: whoever joins the queue looks at the places once more, and whoever gives a place back looks at the
//! queue, so at least one of the two sees the other.
//!
//! Tickets are sorted into lanes by what they need, so that one that cannot be helped yet holds up no other. Of those that can be
//! helped, the first to come is served first, except that tickets whose clients may have left come after all others.

use super::places::Needs;
use crate::base::sync::{AtomicUsize, Mutex, MutexGuard, Ordering::SeqCst, PoisonError};
use std::collections::VecDeque;
use std::ops::ControlFlow;

/// The number of places taken; the caller supplies the limit, because a reload may change it.
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

    /// The number of places taken now.
    pub fn taken(&self) -> usize {
        self.0.load(SeqCst)
    }
}

/// Identifies a waiting exchange: worker, slot, and a serial number that tells it from later ones in the same slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ticket {
    /// The index of the worker.
    pub worker: usize,
    /// The slot of the exchange there.
    pub key: usize,
    /// Unique within the worker.
    pub serial: u64,
}

/// A queue over all workers, first come, first served.
#[derive(Debug, Default)]
pub struct WaitQueue {
    /// A bit for each lane that is not empty.
    lanes_in_use: AtomicUsize,
    lanes: Mutex<TicketLanes>,
}

/// For each lane its tickets, with numbers in the order in which they came.
#[derive(Debug, Default)]
struct TicketLanes {
    next: u64,
    of: [VecDeque<(u64, Ticket)>; Needs::KINDS],
}

impl TicketLanes {
    /// Of these lanes, the one whose first ticket comes before those of the others.
    fn first(&self, lanes: usize) -> Option<usize> {
        let of = |kind: usize| Some(((Needs::of(kind).has_left, self.of[kind].front()?.0), kind));
        (0..Needs::KINDS).filter(|kind| lanes & 1 << kind != 0).filter_map(of).min().map(|(_, kind)| kind)
    }
}

impl WaitQueue {
    /// Whether nobody waits. Costs one load.
    pub fn is_empty(&self) -> bool {
        self.lanes_in_use.load(SeqCst) == 0
    }

    /// Whether a ticket with such needs waits.
    pub fn has_any(&self, is_it: impl Fn(Needs) -> bool) -> bool {
        let in_use = self.lanes_in_use.load(SeqCst);
        in_use != 0 && (0..Needs::KINDS).any(|kind| in_use & 1 << kind != 0 && is_it(Needs::of(kind)))
    }

    /// How many tickets with such needs wait.
    pub fn count(&self, is_it: impl Fn(Needs) -> bool) -> usize {
        let lanes = self.lock();
        lanes.of.iter().enumerate().filter(|(kind, _)| is_it(Needs::of(*kind))).map(|(_, lane)| lane.len()).sum()
    }

    /// Joins at the end.
    pub fn join(&self, ticket: Ticket, needs: Needs) {
        let mut lanes = self.lock();
        let number = lanes.next;
        lanes.next += 1;
        lanes.of[needs.kind()].push_back((number, ticket));
        self.note(&lanes);
    }

    /// Takes a ticket out; false if it was called already.
    pub fn leave(&self, ticket: Ticket, needs: Needs) -> bool {
        let mut lanes = self.lock();
        let lane = &mut lanes.of[needs.kind()];
        let found = lane.iter().position(|(_, other)| *other == ticket);
        found.map(|at| lane.remove(at));
        self.note(&lanes);
        found.is_some()
    }

    /// Calls the first ticket for which `admit` has something. `admit` is asked for the first of each lane, until it breaks off.
    pub fn call<T>(&self, mut admit: impl FnMut(&Ticket, Needs) -> ControlFlow<Option<T>>) -> Option<(Ticket, T)> {
        if self.is_empty() {
            return None;
        }
        let mut lanes = self.lock();
        let mut left = usize::MAX;
        while let Some(kind) = lanes.first(left) {
            let &(_, ticket) = lanes.of[kind].front()?;
            if let ControlFlow::Break(gift) = admit(&ticket, Needs::of(kind)) {
                let gift = gift?;
                lanes.of[kind].pop_front();
                self.note(&lanes);
                return Some((ticket, gift));
            }
            left &= !(1 << kind);
        }
        None
    }

    fn note(&self, lanes: &TicketLanes) {
        let in_use = lanes.of.iter().enumerate().filter(|(_, lane)| !lane.is_empty());
        self.lanes_in_use.store(in_use.fold(0, |bits, (kind, _)| bits | 1 << kind), SeqCst);
    }

    fn lock(&self) -> MutexGuard<'_, TicketLanes> {
        self.lanes.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WHOLE: Needs = Needs { is_partial: false, tunnel: false, has_left: false };
    const PARTIAL: Needs = Needs { is_partial: true, ..WHOLE };
    const LEFT: Needs = Needs { has_left: true, ..WHOLE };

    fn ticket(key: usize) -> Ticket {
        Ticket { worker: 0, key, serial: 1 }
    }

    /// All tickets that are called while such needs can be met, in their order.
    fn called(queue: &WaitQueue, for_whom: impl Fn(Needs) -> bool) -> Vec<usize> {
        let admit = |_: &Ticket, needs| if for_whom(needs) { ControlFlow::Break(Some(())) } else { ControlFlow::Continue(()) };
        std::iter::from_fn(|| queue.call(admit)).map(|(ticket, ())| ticket.key).collect()
    }

    #[test]
    fn never_more_than_the_limit() {
        let gate = Gate::default();
        assert!(gate.try_enter(2) && gate.try_enter(2) && !gate.try_enter(2));
        gate.leave();
        assert!(gate.try_enter(2));
        assert_eq!(gate.taken(), 2);
    }

    #[test]
    fn the_queue_keeps_its_order() {
        let queue = WaitQueue::default();
        (0..4).for_each(|key| queue.join(ticket(key), WHOLE));
        assert!(queue.leave(ticket(1), WHOLE) && !queue.leave(ticket(1), WHOLE));
        assert_eq!(queue.call(|_, _| ControlFlow::Break(None::<()>)), None);
        assert_eq!(called(&queue, |_| true), [0, 2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn who_can_be_helped_passes_who_cannot_and_else_all_keep_their_order() {
        let queue = WaitQueue::default();
        [PARTIAL, WHOLE, PARTIAL, LEFT, WHOLE].into_iter().enumerate().for_each(|(key, needs)| queue.join(ticket(key), needs));
        assert_eq!((queue.count(|_| true), queue.count(|needs| needs.is_partial)), (5, 2));
        assert_eq!(called(&queue, |needs| needs == WHOLE), [1, 4]);
        assert!(queue.has_any(|needs| needs.is_partial) && !queue.has_any(|needs| needs == WHOLE));
        queue.join(ticket(5), WHOLE);
        assert_eq!(called(&queue, |_| true), [0, 2, 5, 3], "who may have left comes last");
        assert!(queue.is_empty());
    }
}
