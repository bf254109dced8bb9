//! Lists of those who wait for the same, in the order in which they began: joining, leaving and finding the first are a few
//! stores each. Members have keys that the owner chooses (small integers: they index a table), and each is in one list at most.

const NONE: u32 = u32::MAX;
/// Of nobody who is in a list.
const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct Node {
    previous: u32,
    next: u32,
    since: u64,
}

const OUT: Node = Node { previous: NONE, next: NONE, since: NEVER };

/// One list: its ends.
#[derive(Debug)]
pub struct Rank {
    first: u32,
    last: u32,
}

impl Default for Rank {
    fn default() -> Self {
        Self { first: NONE, last: NONE }
    }
}

/// The table of all lists' members.
#[derive(Debug, Default)]
pub struct Ranks {
    nodes: Vec<Node>,
}

impl Ranks {
    /// Joins at the end. Whoever is in a list must leave it first.
    pub fn join(&mut self, rank: &mut Rank, key: usize, since: u64) {
        if key >= self.nodes.len() {
            self.nodes.resize(key + 1, OUT);
        }
        debug_assert!(self.nodes[key].since == NEVER, "in two lists");
        self.nodes[key] = Node { previous: rank.last, next: NONE, since };
        match rank.last {
            NONE => rank.first = key as u32,
            last => self.nodes[last as usize].next = key as u32,
        }
        rank.last = key as u32;
    }

    /// Leaves the list, which must be the one that was joined; nothing happens to whoever is in none.
    pub fn leave(&mut self, rank: &mut Rank, key: usize) {
        let Some(Node { previous, next, .. }) = self.nodes.get(key).copied().filter(|node| node.since != NEVER) else { return };
        match previous {
            NONE => rank.first = next,
            previous => self.nodes[previous as usize].next = next,
        }
        match next {
            NONE => rank.last = previous,
            next => self.nodes[next as usize].previous = previous,
        }
        self.nodes[key] = OUT;
    }

    /// Since when it is in its list.
    pub fn since(&self, key: usize) -> Option<u64> {
        self.nodes.get(key).map(|node| node.since).filter(|&since| since != NEVER)
    }

    /// Who joined first of those who are there, and when.
    pub fn first(&self, rank: &Rank) -> Option<(usize, u64)> {
        (rank.first != NONE).then(|| (rank.first as usize, self.nodes[rank.first as usize].since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Against a queue: two lists over one table, members coming and going anywhere in them.
    #[test]
    fn agrees_with_a_queue_under_random_operations() {
        let mut rng = fastrand::Rng::with_seed(7);
        let (mut ranks, mut lists) = (Ranks::default(), [Rank::default(), Rank::default()]);
        let mut model: [VecDeque<(usize, u64)>; 2] = Default::default();
        for now in 0..50_000 {
            let (key, list) = (rng.usize(0..30), rng.usize(0..2));
            let found = model.iter().position(|queue| queue.iter().any(|(member, _)| *member == key));
            match found {
                None => {
                    ranks.join(&mut lists[list], key, now);
                    model[list].push_back((key, now));
                }
                Some(list) => {
                    ranks.leave(&mut lists[list], key);
                    model[list].retain(|(member, _)| *member != key);
                }
            }
            for list in 0..2 {
                assert_eq!(ranks.first(&lists[list]), model[list].front().copied());
                assert!(model[list].iter().all(|(member, since)| ranks.since(*member) == Some(*since)));
            }
        }
        ranks.leave(&mut lists[0], 1000);
        assert_eq!(ranks.since(1000), None);
    }
}
