//! One worker's idle upstream connections: a stack for each server, so that the latest is reused and the oldest ages out.

/// Connections, by the slot of their server.
#[derive(Debug, Default)]
pub struct IdleConnections(Vec<Vec<usize>>);

impl IdleConnections {
    /// Puts a connection on top.
    pub fn park(&mut self, slot: usize, key: usize) {
        if slot >= self.0.len() {
            self.0.resize_with(slot + 1, Vec::new);
        }
        self.0[slot].push(key);
    }

    /// Takes the latest that `will_do`.
    pub fn take(&mut self, slot: usize, will_do: impl Fn(usize) -> bool) -> Option<usize> {
        let stack = self.0.get_mut(slot)?;
        let at = stack.iter().rposition(|&key| will_do(key))?;
        Some(stack.remove(at))
    }

    /// The connection of that server that has been idle longest.
    pub fn coldest(&self, slot: usize) -> Option<usize> {
        self.0.get(slot)?.first().copied()
    }

    /// Any connection of any server, to close when descriptors are short.
    pub fn any(&self) -> Option<usize> {
        self.0.iter().find_map(|stack| stack.first().copied())
    }

    /// Removes a connection that was closed; false if it is not there.
    pub fn remove(&mut self, slot: usize, key: usize) -> bool {
        let Some(stack) = self.0.get_mut(slot) else { return false };
        let at = stack.iter().position(|other| *other == key);
        at.map(|at| stack.remove(at));
        at.is_some()
    }

    /// Whether a connection is there.
    pub fn contains(&self, key: usize) -> bool {
        self.0.iter().any(|stack| stack.contains(&key))
    }

    /// How many connections of that server are idle.
    pub fn count(&self, slot: usize) -> usize {
        self.0.get(slot).map_or(0, Vec::len)
    }
}
