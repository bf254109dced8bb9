//! A table whose keys are small integers. A removed entry is gone at once, but its key is reused only after [`Slots::reuse`], so that
//! something still pending for the key, such as another event of the same poll, finds no entry instead of a wrong one.
//!
//! [`Slots::reuse`] is called at the end of a turn, when all events of the poll are handled, and before the next poll. What knows a key
//! for longer must not meet an entry that came later. There are three ways for that:
//!
//! - It is undone when the entry is removed: its socket is closed, so that the poll reports no more events under its token; its timer
//!   is cancelled, also one that is due and not yet handled; it is taken out of lists; entries that know it forget it. `check_keys` of
//!   the worker finds what was forgotten, after every turn of the simulation.
//! - A number goes with it that is given to nobody else: so it is with the tickets of those who wait for a message, because nothing can
//!   be undone in the mailbox of another thread.
//! - It is a hint: whoever has the key now is looked at in vain, and nothing is concluded from the key alone. So it is with clients that
//!   are to be pumped in the next round, and with connections whose rest begins after the turn.
//!
//! So a key needs no generation of its own, which every use would have to carry and compare.

use std::iter::{Enumerate, FilterMap};
use std::ops::{Index, IndexMut};
use std::slice;

const NOBODY: &str = "nobody has that key";

/// The iterator of [`Slots::iter`].
pub type Iter<'a, T> = FilterMap<Enumerate<slice::Iter<'a, Option<T>>>, fn((usize, &'a Option<T>)) -> Option<(usize, &'a T)>>;

/// A table whose keys are reused only when nothing is pending for them.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Option<T>>,
    /// Keys that may be used, the next one last.
    free: Vec<usize>,
    /// Keys that may be used after the next [`Slots::reuse`].
    left: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), left: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// The key that the next insertion returns.
    pub fn vacant_key(&self) -> usize {
        self.free.last().copied().unwrap_or(self.slots.len())
    }

    /// Inserts an entry; returns its key.
    pub fn insert(&mut self, value: T) -> usize {
        match self.free.pop() {
            Some(key) => {
                self.slots[key] = Some(value);
                key
            }
            None => {
                self.slots.push(Some(value));
                self.slots.len() - 1
            }
        }
    }

    /// Removes the entry, which must exist.
    pub fn remove(&mut self, key: usize) -> T {
        let value = self.slots[key].take().expect(NOBODY);
        self.left.push(key);
        value
    }

    /// Lets the keys of removed entries be used again. Call it when nothing is pending for them.
    pub fn reuse(&mut self) {
        self.free.append(&mut self.left);
    }

    /// The keys that nobody has.
    pub fn vacant(&self) -> impl Iterator<Item = usize> {
        self.free.iter().chain(&self.left).copied()
    }

    /// The entry, if it exists.
    pub fn get(&self, key: usize) -> Option<&T> {
        self.slots.get(key)?.as_ref()
    }

    /// The entry to be changed, if it exists.
    pub fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.slots.get_mut(key)?.as_mut()
    }

    /// Whether the entry exists.
    pub fn contains(&self, key: usize) -> bool {
        self.get(key).is_some()
    }

    /// The number of entries.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len() - self.left.len()
    }

    /// Whether there is no entry.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All entries with their keys.
    pub fn iter(&self) -> Iter<'_, T> {
        self.slots.iter().enumerate().filter_map(|(key, slot)| Some((key, slot.as_ref()?)))
    }

    /// The same, to be changed.
    pub fn iter_mut(&mut self) -> impl Iterator<Item = (usize, &mut T)> {
        self.slots.iter_mut().enumerate().filter_map(|(key, slot)| Some((key, slot.as_mut()?)))
    }
}

impl<'a, T> IntoIterator for &'a Slots<T> {
    type Item = (usize, &'a T);
    type IntoIter = Iter<'a, T>;

    fn into_iter(self) -> Iter<'a, T> {
        self.iter()
    }
}

/// The entry, which must exist.
impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, key: usize) -> &T {
        self.get(key).expect(NOBODY)
    }
}

/// The same, to be changed.
impl<T> IndexMut<usize> for Slots<T> {
    fn index_mut(&mut self, key: usize) -> &mut T {
        self.get_mut(key).expect(NOBODY)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_given_to_nobody_else_before_that_is_allowed() {
        let mut slots = Slots::default();
        assert_eq!([slots.insert('a'), slots.insert('b')], [0, 1]);
        assert_eq!((slots.remove(0), slots.contains(0)), ('a', false));
        assert_eq!((slots.vacant_key(), slots.insert('c'), slots.len()), (2, 2, 2));
        slots.reuse();
        assert_eq!((slots.vacant_key(), slots.insert('d'), slots.len()), (0, 0, 3));
        assert_eq!(slots.iter().map(|(key, value)| (key, *value)).collect::<Vec<_>>(), [(0, 'd'), (1, 'b'), (2, 'c')]);
    }

    #[test]
    fn who_is_there_is_found_and_nobody_else() {
        let mut slots = Slots::default();
        assert!(slots.is_empty() && slots.get(0).is_none() && slots.get_mut(7).is_none());
        let key = slots.insert(1);
        slots[key] += 1;
        slots.iter_mut().for_each(|(_, value)| *value *= 10);
        assert_eq!((slots[key], slots.get(key)), (20, Some(&20)));
        assert_eq!((slots.remove(key), slots.is_empty()), (20, true));
    }
}
