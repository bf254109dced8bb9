//! Waiting lists, each in the order in which its members joined: joining, leaving and finding the first are a few stores each.
//! Members are identified by small integers that the owner chooses (they index a table), and each is in one list at most.

const NONE: u32 = u32::MAX;
/// The time of a member that is in no list.
const NEVER: u64 = u64::MAX;

#[derive(Clone, Copy, Debug)]
struct RankNode {
    previous: u32,
    next: u32,
    since: u64,
}

const OUT: RankNode = RankNode { previous: NONE, next: NONE, since: NEVER };

/// One list: its two ends.
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

/// The members of all lists, by key.
#[derive(Debug, Default)]
pub struct Ranks {
    nodes: Vec<RankNode>,
}

impl Ranks {
    /// Joins at the end. A member of a list must leave it first.
    pub fn join(&mut self, rank: &mut Rank, key: usize, since: u64) {
        if key >= self.nodes.len() {
            self.nodes.resize(key + 1, OUT);
        }
        debug_assert!(self.nodes[key].since == NEVER, "in two lists");
        self.nodes[key] = RankNode { previous: rank.last, next: NONE, since };
        match rank.last {
            NONE => rank.first = key as u32,
            last => self.nodes[last as usize].next = key as u32,
        }
        rank.last = key as u32;
    }

    /// Leaves the list, which must be the one that was joined. Does nothing for a key that is in none.
    pub fn leave(&mut self, rank: &mut Rank, key: usize) {
        let Some(RankNode { previous, next, .. }) = self.nodes.get(key).copied().filter(|node| node.since != NEVER) else { return };
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

    /// When it joined its list; `None` if it is in none.
    pub fn since(&self, key: usize) -> Option<u64> {
        self.nodes.get(key).map(|node| node.since).filter(|&since| since != NEVER)
    }

    /// The member that joined first, and when.
    pub fn first(&self, rank: &Rank) -> Option<(usize, u64)> {
        (rank.first != NONE).then(|| (rank.first as usize, self.nodes[rank.first as usize].since))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::VecDeque;

    /// Compared with a queue as a model: two lists over one table, with members coming and going at any position.
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
