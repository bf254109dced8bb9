//! Open connections of each client, for `limits.max_conns_per_client`. Only clients with an open connection are stored, so the
//! table is bounded by the connections that are open.

use super::client::ClientId;
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::{Mutex, MutexGuard, PoisonError};

/// The table is split into parts with a lock each, so that workers seldom wait for one another.
const SHARDS: usize = 16;

type Shard = HashMap<ClientId, usize>;

/// The open connections of each client.
#[derive(Debug, Default)]
pub struct Connections {
    shards: [Mutex<Shard>; SHARDS],
    keys: RandomState,
}

impl Connections {
    /// Counts a connection, if that client has fewer than `most`. A refused connection is not counted: otherwise connections that
    /// are served would be refused because of it.
    pub fn try_enter(&self, client: ClientId, most: usize) -> bool {
        let mut shard = self.shard(client);
        let open = shard.entry(client).or_insert(0);
        let has_room = *open < most;
        *open += usize::from(has_room);
        has_room
    }

    /// Whether that client has at least `most` connections.
    pub fn has(&self, client: ClientId, most: usize) -> bool {
        self.shard(client).get(&client).is_some_and(|open| *open >= most)
    }

    /// A counted connection is closed.
    pub fn leave(&self, client: ClientId) {
        if let Entry::Occupied(mut open) = self.shard(client).entry(client) {
            *open.get_mut() -= 1;
            if *open.get() == 0 {
                open.remove();
            }
        }
    }

    /// Whether no connection is counted.
    pub fn is_empty(&self) -> bool {
        self.shards.iter().all(|shard| lock(shard).is_empty())
    }

    fn shard(&self, client: ClientId) -> MutexGuard<'_, Shard> {
        lock(&self.shards[self.keys.hash_one(client) as usize % SHARDS])
    }
}

fn lock(shard: &Mutex<Shard>) -> MutexGuard<'_, Shard> {
    shard.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::base::address::Peer;
    use std::net::Ipv4Addr;

    fn client(n: u32) -> ClientId {
        ClientId::of(Peer::of(Ipv4Addr::from_bits(n).into(), None))
    }

    #[test]
    fn who_has_none_is_forgotten() {
        let connections = Connections::default();
        assert_eq!([1, 1, 1, 2].map(|n| connections.try_enter(client(n), 2)), [true, true, false, true]);
        assert!(connections.has(client(1), 2) && !connections.has(client(2), 2) && !connections.has(client(3), 1));
        connections.leave(client(1));
        assert!(connections.try_enter(client(1), 2) && !connections.try_enter(client(1), 2));
        [1, 1, 2].into_iter().for_each(|n| connections.leave(client(n)));
        assert!(connections.is_empty());
        connections.leave(client(3));
        assert!(connections.try_enter(client(3), 1));
    }

    #[test]
    fn threads_agree() {
        let connections = Connections::default();
        let visit = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut open = Vec::new();
            for _ in 0..20_000 {
                if open.len() < 30 && rng.bool() {
                    let client = client(rng.u32(0..50));
                    assert!(connections.try_enter(client, 1000));
                    open.push(client);
                } else if !open.is_empty() {
                    connections.leave(open.swap_remove(rng.usize(0..open.len())));
                }
            }
            open.into_iter().for_each(|client| connections.leave(client));
        };
        std::thread::scope(|scope| {
            (1..4).for_each(|seed| {
                drop(scope.spawn({
                    let visit = &visit;
                    move || visit(seed)
                }))
            })
        });
        assert!(connections.is_empty());
    }
}
