//! One worker's idle upstream connections: for each server a stack, so that the warmest is reused and the coldest ages out.

/// Keys of connections, by the slot of their server.
#[derive(Debug, Default)]
pub struct Idle(Vec<Vec<usize>>);

impl Idle {
    /// Puts a connection on top.
    pub fn park(&mut self, slot: usize, key: usize) {
        if slot >= self.0.len() {
            self.0.resize_with(slot + 1, Vec::new);
        }
        self.0[slot].push(key);
    }

    /// Takes the warmest that will do.
    pub fn take(&mut self, slot: usize, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        let stack = self.0.get_mut(slot)?;
        let at = stack.iter().rposition(|&key| will_do(key))?;
        Some(stack.remove(at))
    }

    /// The coldest connection of that server.
    pub fn coldest(&self, slot: usize) -> Option<usize> {
        self.0.get(slot)?.first().copied()
    }

    /// Any connection, of whatever server: one to give up when descriptors are short.
    pub fn any(&self) -> Option<usize> {
        self.0.iter().find_map(|stack| stack.first().copied())
    }

    /// Takes one out that was closed; false if it is not there.
    pub fn remove(&mut self, slot: usize, key: usize) -> bool {
        let Some(stack) = self.0.get_mut(slot) else { return false };
        let at = stack.iter().position(|other| *other == key);
        at.map(|at| stack.remove(at));
        at.is_some()
    }

    /// How many there are of that server.
    pub fn count(&self, slot: usize) -> usize {
        self.0.get(slot).map_or(0, Vec::len)
    }
}
