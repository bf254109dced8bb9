//! A table whose keys are small integers. What is removed is gone at once, but its key is given to nobody else before
//! [`Slots::reuse`]: what is still under way for a key, such as an edge of the same poll, finds nobody rather than somebody else.

use std::iter::{Enumerate, FilterMap};
use std::ops::{Index, IndexMut};
use std::slice;

const NOBODY: &str = "nobody has that key";

/// What [`Slots::iter`] goes through.
pub type Iter<'a, T> = FilterMap<Enumerate<slice::Iter<'a, Option<T>>>, fn((usize, &'a Option<T>)) -> Option<(usize, &'a T)>>;

/// See the module.
#[derive(Debug)]
pub struct Slots<T> {
    slots: Vec<Option<T>>,
    /// Keys that may be given out, the next one last.
    free: Vec<usize>,
    /// Keys that may be given out after the next [`Slots::reuse`].
    left: Vec<usize>,
}

impl<T> Default for Slots<T> {
    fn default() -> Self {
        Self { slots: Vec::new(), free: Vec::new(), left: Vec::new() }
    }
}

impl<T> Slots<T> {
    /// The key that the next insertion gives.
    pub fn vacant_key(&self) -> usize {
        self.free.last().copied().unwrap_or(self.slots.len())
    }

    /// Puts something in; returns its key.
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

    /// Takes out what is there; there must be something.
    pub fn remove(&mut self, key: usize) -> T {
        let value = self.slots[key].take().expect(NOBODY);
        self.left.push(key);
        value
    }

    /// Nothing is under way for keys of what was removed so far.
    pub fn reuse(&mut self) {
        self.free.append(&mut self.left);
    }

    /// What is there.
    pub fn get(&self, key: usize) -> Option<&T> {
        self.slots.get(key)?.as_ref()
    }

    /// The same, to be changed.
    pub fn get_mut(&mut self, key: usize) -> Option<&mut T> {
        self.slots.get_mut(key)?.as_mut()
    }

    /// Whether something is there.
    pub fn contains(&self, key: usize) -> bool {
        self.get(key).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.slots.len() - self.free.len() - self.left.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// All of them, by their keys.
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

/// What is there; there must be something.
impl<T> Index<usize> for Slots<T> {
    type Output = T;

    fn index(&self, key: usize) -> &T {
        self.get(key).expect(NOBODY)
    }
}

/// As above.
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
