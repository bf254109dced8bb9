//! Open connections of each client, for `limits.max_conns_per_client`. Only clients with an open connection are stored, so the
//! table is bounded by the connections that are open.

use super::client::ClientId;
use std::collections::HashMap;
use std::collections::hash_map::{Entry, RandomState};
use std::hash::BuildHasher;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

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
    pub fn try_enter(self: &Arc<Self>, client: ClientId, most: usize) -> Option<CountedConnection> {
        let mut shard = self.shard(client);
        let open = shard.entry(client).or_insert(0);
        if *open >= most {
            return None;
        }
        *open += 1;
        Some(CountedConnection { connections: self.clone(), client })
    }

    /// Whether that client has at least `most` connections.
    pub fn has(&self, client: ClientId, most: usize) -> bool {
        self.shard(client).get(&client).is_some_and(|open| *open >= most)
    }

    fn leave(&self, client: ClientId) {
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

/// One connection of a client. Dropping it stops counting it.
#[derive(Debug)]
pub struct CountedConnection {
    connections: Arc<Connections>,
    client: ClientId,
}

impl Drop for CountedConnection {
    fn drop(&mut self) {
        self.connections.leave(self.client);
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
        let connections = Arc::new(Connections::default());
        let mut open = [1, 1, 1, 2].map(|n| connections.try_enter(client(n), 2));
        assert_eq!(open.each_ref().map(Option::is_some), [true, true, false, true]);
        assert!(connections.has(client(1), 2) && !connections.has(client(2), 2) && !connections.has(client(3), 1));
        open[0] = None;
        open[2] = connections.try_enter(client(1), 2);
        assert!(open[2].is_some() && connections.try_enter(client(1), 2).is_none());
        drop(open);
        assert!(connections.is_empty());
    }

    #[test]
    fn threads_agree() {
        let connections = Arc::new(Connections::default());
        let visit = |seed| {
            let mut rng = fastrand::Rng::with_seed(seed);
            let mut open = Vec::new();
            for _ in 0..20_000 {
                if open.len() < 30 && rng.bool() {
                    let client = client(rng.u32(0..50));
                    open.push(connections.try_enter(client, 1000).expect("room"));
                } else if !open.is_empty() {
                    open.swap_remove(rng.usize(0..open.len()));
                }
            }
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
