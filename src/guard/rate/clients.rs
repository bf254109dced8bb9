//! A meter for each client, in a table of fixed size.
//!
//! A client belongs to one set, chosen by a hash that nobody outside can compute. Its whole address is stored, so no two clients
//! share a meter. A meter that owes nothing equals a new one, so its slot counts as free. In a set without a free slot, the meter
//! that owes least is dropped, and the set remembers the largest debt dropped so: a new client there begins with that. So nobody
//! gains by being dropped, however many addresses are used, and a million of them need no more memory than the table has.

use super::meter::{DroppedDebt, Meter};
use crate::guard::client::ClientId;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Sets of slots, with a lock each.
const SETS: usize = 4096;
/// Slots in a set: 65,536 clients have one at a time.
const WAYS: usize = 16;

/// The meters of all clients.
#[derive(Debug)]
pub struct Clients<M: Meter> {
    quota: M::Quota,
    sets: Box<[Mutex<Set<M>>]>,
    keys: RandomState,
}

#[derive(Debug)]
struct Set<M> {
    /// Allocated with the first client.
    slots: Vec<Slot<M>>,
    /// What remains of the meters that were dropped.
    legacy: DroppedDebt,
}

#[derive(Clone, Copy, Debug)]
struct Slot<M> {
    client: ClientId,
    meter: M,
}

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The client has used its share; the microseconds until its next request is allowed.
    Client(u64),
    /// The further check refused.
    Further(u64),
}

impl<M: Meter> Clients<M> {
    /// An empty table.
    pub fn new(quota: M::Quota) -> Self {
        let set = || Mutex::new(Set { slots: Vec::new(), legacy: DroppedDebt::default() });
        Self { quota, sets: (0..SETS).map(|_| set()).collect(), keys: RandomState::new() }
    }

    /// Counts a request of that client, if it is allowed and `further`, which is asked only then, allows it too.
    pub fn take(&self, client: ClientId, now: u64, further: impl FnOnce() -> Result<(), u64>) -> Result<(), Denied> {
        let set = &self.sets[self.keys.hash_one(client) as usize % SETS];
        set.lock().unwrap_or_else(PoisonError::into_inner).take(client, &self.quota, now, further)
    }
}

impl<M: Meter> Set<M> {
    fn take(&mut self, client: ClientId, quota: &M::Quota, now: u64, further: impl FnOnce() -> Result<(), u64>) -> Result<(), Denied> {
        let mut known = self.slots.iter_mut().find(|slot| slot.client == client);
        let mut heir = Slot { client, meter: M::inherit(self.legacy) };
        let meter = known.as_mut().map_or(&mut heir.meter, |slot| &mut slot.meter);
        meter.wait(quota, now).map_err(Denied::Client)?;
        further().map_err(Denied::Further)?;
        meter.take(quota, now);
        if known.is_none() {
            self.put(heir, now);
        }
        Ok(())
    }

    fn put(&mut self, new: Slot<M>, now: u64) {
        let least = self.slots.iter_mut().enumerate().map(|(index, slot)| (slot.meter.debt(now), index)).min();
        match least {
            Some((debt, index)) if debt.is_none() => self.slots[index] = new,
            Some((_, index)) if self.slots.len() == WAYS => {
                self.legacy.add(self.slots[index].meter.bequeath());
                self.slots[index] = new;
            }
            _ => {
                self.slots.reserve_exact(WAYS - self.slots.len());
                self.slots.push(new);
            }
        }
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
