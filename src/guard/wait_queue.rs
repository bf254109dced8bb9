//! The queue of those who wait for a place at a server of a pool.
//!
//! "Is there a place?" and "does somebody wait?" are sequentially consistent on both sides: whoever joins the queue looks at the
//! places once more, and whoever gives a place back looks at the queue, so at least one of the two sees the other.
//!
//! Tickets are sorted into lanes by what would help them, so that one that cannot be helped yet holds up no other. Of those that can
//! be helped, the first to come is served first, except that tickets whose clients may have left come after all others.

use super::places::Needs;
use crate::base::sync::{AtomicUsize, Mutex, MutexGuard, Ordering::SeqCst, PoisonError};
use std::collections::VecDeque;
use std::ops::ControlFlow;

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

/// Which servers would help a ticket, by their indices in the pool.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Aim {
    /// Each.
    #[default]
    Any,
    /// Not these, which have failed the request already, as long as another takes requests.
    Others(Box<[usize]>),
    /// This one alone, to which the client's session belongs.
    Only(usize),
}

impl Aim {
    /// All but these. In which order they have failed the request means nothing.
    pub fn others(tried: &[usize]) -> Self {
        let mut tried: Box<[usize]> = tried.into();
        tried.sort_unstable();
        Self::Others(tried)
    }
}

/// What a ticket waits for.
#[derive(Clone, Debug, Default)]
pub struct Wish {
    /// What it needs besides a place.
    pub needs: Needs,
    /// Where it may go.
    pub aim: Aim,
    /// The key for `balance: consistent_hash`.
    pub key: u64,
}

/// A ticket that may be called.
#[derive(Clone, Copy, Debug)]
pub struct Candidate<'a> {
    pub ticket: Ticket,
    pub needs: Needs,
    pub aim: &'a Aim,
    pub key: u64,
}

/// A queue over all workers, first come, first served.
#[derive(Debug, Default)]
pub struct WaitQueue {
    /// A bit for each kind of needs with which a ticket waits.
    needed: AtomicUsize,
    /// The same for tickets that any server would help.
    needed_anywhere: AtomicUsize,
    /// The same for tickets that wait for one server alone, for each server. Newcomers read it while they hold the lock of a balancing
    /// algorithm, which whoever is called takes as well: so it has no lock.
    needed_at: Box<[AtomicUsize]>,
    lanes: Mutex<Lanes>,
}

fn has_kind(bits: usize, is_it: impl Fn(Needs) -> bool) -> bool {
    bits != 0 && (0..Needs::KINDS).any(|kind| bits & 1 << kind != 0 && is_it(Needs::of(kind)))
}

/// The tickets that the same would help.
#[derive(Debug)]
struct Lane {
    needs: Needs,
    aim: Aim,
    line: VecDeque<Waiter>,
}

#[derive(Clone, Copy, Debug)]
struct Waiter {
    /// In the order in which they came.
    number: u64,
    ticket: Ticket,
    key: u64,
}

#[derive(Debug, Default)]
struct Lanes {
    next: u64,
    lanes: Vec<Lane>,
    /// The order in which the lanes' first tickets are asked; here so that its storage is used again.
    order: Vec<(bool, u64, usize)>,
}

impl Lanes {
    fn lane_for(&mut self, needs: Needs, aim: Aim) -> &mut Lane {
        let known = self.lanes.iter().position(|lane| lane.needs == needs && lane.aim == aim);
        let at = known.unwrap_or_else(|| {
            self.lanes.push(Lane { needs, aim, line: VecDeque::new() });
            self.lanes.len() - 1
        });
        &mut self.lanes[at]
    }

    /// Sorts the lanes by their first tickets.
    fn sort(&mut self) {
        let Self { lanes, order, .. } = self;
        order.clear();
        order.extend(lanes.iter().enumerate().filter_map(|(at, lane)| Some((lane.needs.has_left, lane.line.front()?.number, at))));
        order.sort_unstable();
    }
}

impl WaitQueue {
    /// The queue of a pool with so many servers.
    pub fn new(servers: usize) -> Self {
        Self { needed_at: (0..servers).map(|_| AtomicUsize::default()).collect(), ..Self::default() }
    }

    /// Whether nobody waits. Costs one load.
    pub fn is_empty(&self) -> bool {
        self.needed.load(SeqCst) == 0
    }

    /// Whether a ticket with such needs waits that any server would help. Costs one load.
    pub fn has_any(&self, is_it: impl Fn(Needs) -> bool) -> bool {
        has_kind(self.needed_anywhere.load(SeqCst), is_it)
    }

    /// Whether a ticket with such needs waits for that server alone. Costs one load.
    pub fn is_awaited(&self, server: usize, is_it: impl Fn(Needs) -> bool) -> bool {
        self.needed_at.get(server).is_some_and(|needed| has_kind(needed.load(SeqCst), is_it))
    }

    /// How many tickets with such needs and aims wait.
    pub fn count(&self, is_it: impl Fn(Needs, &Aim) -> bool) -> usize {
        self.lock().lanes.iter().filter(|lane| is_it(lane.needs, &lane.aim)).map(|lane| lane.line.len()).sum()
    }

    /// Joins at the end.
    pub fn join(&self, ticket: Ticket, wish: Wish) {
        let mut lanes = self.lock();
        let number = lanes.next;
        lanes.next += 1;
        lanes.lane_for(wish.needs, wish.aim).line.push_back(Waiter { number, ticket, key: wish.key });
        self.note(&mut lanes);
    }

    /// Takes a ticket out; false if it was called already.
    pub fn leave(&self, ticket: Ticket, needs: Needs) -> bool {
        let mut lanes = self.lock();
        let mut lines = lanes.lanes.iter_mut().filter(|lane| lane.needs == needs).map(|lane| &mut lane.line);
        let found = lines.find_map(|line| {
            let at = line.iter().position(|waiter| waiter.ticket == ticket)?;
            line.remove(at)
        });
        self.note(&mut lanes);
        found.is_some()
    }

    /// Calls the first ticket for which `admit` has something. `admit` is asked for the first of each lane, until it breaks off.
    pub fn call<T>(&self, mut admit: impl FnMut(Candidate) -> ControlFlow<Option<T>>) -> Option<(Ticket, T)> {
        if self.is_empty() {
            return None;
        }
        let mut lanes = self.lock();
        lanes.sort();
        for at in 0..lanes.order.len() {
            let (.., lane) = lanes.order[at];
            let Lane { needs, aim, line } = &mut lanes.lanes[lane];
            let &Waiter { ticket, key, .. } = line.front()?;
            if let ControlFlow::Break(gift) = admit(Candidate { ticket, needs: *needs, aim, key }) {
                let gift = gift?;
                line.pop_front();
                self.note(&mut lanes);
                return Some((ticket, gift));
            }
        }
        None
    }

    /// Tells what the tickets need that are there now. Lanes for few tickets go with their last one; the others keep their storage.
    fn note(&self, lanes: &mut Lanes) {
        let (mut needed, mut needed_anywhere) = (0, 0);
        for lane in &lanes.lanes {
            let bit = 1 << lane.needs.kind();
            let here = if lane.line.is_empty() { 0 } else { bit };
            needed |= here;
            match lane.aim {
                Aim::Any => needed_anywhere |= here,
                Aim::Only(server) => self.note_at(server, bit, here),
                Aim::Others(_) => {}
            }
        }
        lanes.lanes.retain(|lane| lane.aim == Aim::Any || !lane.line.is_empty());
        self.needed.store(needed, SeqCst);
        self.needed_anywhere.store(needed_anywhere, SeqCst);
    }

    /// Under the lock, so nobody else writes.
    fn note_at(&self, server: usize, bit: usize, here: usize) {
        if let Some(needed) = self.needed_at.get(server) {
            needed.store(needed.load(SeqCst) & !bit | here, SeqCst);
        }
    }

    fn lock(&self) -> MutexGuard<'_, Lanes> {
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

    fn needing(needs: Needs) -> Wish {
        Wish { needs, ..Wish::default() }
    }

    /// All tickets that are called while such needs can be met, in their order.
    fn called(queue: &WaitQueue, for_whom: impl Fn(Needs) -> bool) -> Vec<usize> {
        let admit = |asks: Candidate| if for_whom(asks.needs) { ControlFlow::Break(Some(())) } else { ControlFlow::Continue(()) };
        std::iter::from_fn(|| queue.call(admit)).map(|(ticket, ())| ticket.key).collect()
    }

    #[test]
    fn the_queue_keeps_its_order() {
        let queue = WaitQueue::default();
        (0..4).for_each(|key| queue.join(ticket(key), needing(WHOLE)));
        assert!(queue.leave(ticket(1), WHOLE) && !queue.leave(ticket(1), WHOLE));
        assert_eq!(queue.call(|_| ControlFlow::Break(None::<()>)), None);
        assert_eq!(called(&queue, |_| true), [0, 2, 3]);
        assert!(queue.is_empty());
    }

    #[test]
    fn who_can_be_helped_passes_who_cannot_and_else_all_keep_their_order() {
        let queue = WaitQueue::default();
        let all = [PARTIAL, WHOLE, PARTIAL, LEFT, WHOLE];
        all.into_iter().enumerate().for_each(|(key, needs)| queue.join(ticket(key), needing(needs)));
        assert_eq!((queue.count(|_, _| true), queue.count(|needs, _| needs.is_partial)), (5, 2));
        assert_eq!(called(&queue, |needs| needs == WHOLE), [1, 4]);
        assert!(queue.has_any(|needs| needs.is_partial) && !queue.has_any(|needs| needs == WHOLE));
        queue.join(ticket(5), needing(WHOLE));
        assert_eq!(called(&queue, |_| true), [0, 2, 5, 3], "who may have left comes last");
        assert!(queue.is_empty());
    }

    #[test]
    fn who_waits_for_some_servers_only_holds_up_nobody_and_is_not_passed_where_they_help() {
        let queue = WaitQueue::default();
        let others = |tried: &[usize]| Wish { aim: Aim::others(tried), key: 7, ..Wish::default() };
        queue.join(ticket(0), others(&[0]));
        assert!(!queue.is_empty() && !queue.has_any(|_| true), "newcomers may go to the others");
        queue.join(ticket(1), needing(WHOLE));
        queue.join(ticket(2), others(&[0, 1]));
        let free = |server: usize| {
            let admit = |asks: Candidate| match asks.aim {
                Aim::Others(tried) if tried.contains(&server) => ControlFlow::Continue(()),
                _ => ControlFlow::Break(Some(asks.key)),
            };
            queue.call(admit).map(|(ticket, key)| (ticket.key, key))
        };
        assert_eq!(Aim::others(&[2, 0, 1]), Aim::others(&[1, 2, 0]), "they wait in one line");
        assert_eq!([free(0), free(0), free(1), free(1), free(2)], [Some((1, 0)), None, Some((0, 7)), None, Some((2, 7))]);
        assert!(queue.is_empty());
    }

    #[test]
    fn who_waits_for_one_server_alone_is_seen_there_and_nowhere_else() {
        let queue = WaitQueue::new(2);
        let at = |needs| Wish { needs, aim: Aim::Only(1), key: 0 };
        queue.join(ticket(0), at(WHOLE));
        queue.join(ticket(1), at(PARTIAL));
        let seen = |needs: Needs| (queue.has_any(|_| true), [0, 1, 2].map(|server| queue.is_awaited(server, |other| other == needs)));
        assert_eq!((seen(WHOLE), seen(PARTIAL)), ((false, [false, true, false]), (false, [false, true, false])));
        assert!(queue.leave(ticket(0), WHOLE));
        assert_eq!((seen(WHOLE).1[1], seen(PARTIAL).1[1]), (false, true));
        assert_eq!(called(&queue, |_| true), [1]);
        assert!(!seen(PARTIAL).1[1] && queue.is_empty());
    }
}
