//! A meter for each client, in a table of fixed size.
//!
//! A client belongs to one set, chosen by a hash that nobody outside can compute, and its address is kept whole: no two share a
//! meter. A meter that owes nothing is the same as none, so its slot is free. In a set without a free slot the meter that owes
//! least makes room, and the set remembers how much the worst of those owed: whoever is new there begins with that. So nobody
//! gains by being forgotten, however many addresses he has, and a million of them take no more memory than the table has.

use super::meter::{Legacy, Meter};
use crate::guard::client::ClientId;
use std::hash::{BuildHasher, RandomState};
use std::sync::{Mutex, PoisonError};

/// Sets of slots, each with a lock of its own.
const SETS: usize = 4096;
/// Slots of a set: 65,536 clients have one at a time.
const WAYS: usize = 16;

/// See the module.
#[derive(Debug)]
pub struct Clients<M: Meter> {
    quota: M::Quota,
    sets: Box<[Mutex<Set<M>>]>,
    keys: RandomState,
}

#[derive(Debug)]
struct Set<M> {
    /// Room for all is made with the first.
    slots: Vec<Slot<M>>,
    /// Of those that made room.
    legacy: Legacy,
}

#[derive(Clone, Copy, Debug)]
struct Slot<M> {
    client: ClientId,
    meter: M,
}

/// Why a request is not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Denied {
    /// The client has had its share; how long until the next (microseconds).
    Client(u64),
    /// What was asked after it said no.
    Further(u64),
}

impl<M: Meter> Clients<M> {
    /// Nobody has come yet.
    pub fn new(quota: M::Quota) -> Self {
        let set = || Mutex::new(Set { slots: Vec::new(), legacy: Legacy::default() });
        Self { quota, sets: (0..SETS).map(|_| set()).collect(), keys: RandomState::new() }
    }

    /// Counts a request of that client, if it may come, and if `further` says so too: it is asked only then.
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
