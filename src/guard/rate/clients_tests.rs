use super::super::bucket::{Bucket, Pace};
use super::super::window::Window;
use super::*;
use crate::base::address::Peer;
use crate::config::model::Rate;
use std::collections::{HashMap, VecDeque};
use std::net::Ipv4Addr;

const SECOND: u64 = 1_000_000;

fn client(n: u32) -> ClientId {
    ClientId::of(Peer::of(Ipv4Addr::from_bits(n).into(), None))
}

fn buckets(requests_per_second: u32, burst: u32) -> Clients<Bucket> {
    Clients::new(Pace::new(Rate { requests_per_second, burst }))
}

impl<M: Meter> Clients<M> {
    fn ask(&self, n: u32, now: u64) -> Result<(), Denied> {
        self.take(client(n), now, || Ok(()))
    }

    /// Allocated bytes.
    fn memory(&self) -> usize {
        let slots = |set: &Mutex<Set<M>>| set.lock().unwrap().slots.capacity() * size_of::<Slot<M>>();
        size_of_val(&*self.sets) + self.sets.iter().map(slots).sum::<usize>()
    }

    fn known(&self) -> usize {
        self.sets.iter().map(|set| set.lock().unwrap().slots.len()).sum()
    }
}

#[test]
fn each_client_has_its_own() {
    let clients = buckets(1, 3);
    for n in 0..1000 {
        assert!((0..3).all(|_| clients.ask(n, SECOND).is_ok()));
        assert_eq!(clients.ask(n, SECOND), Err(Denied::Client(SECOND)));
    }
    assert_eq!(clients.ask(7, 2 * SECOND), Ok(()));
}

#[test]
fn what_is_refused_further_on_uses_nothing_up() {
    let clients = buckets(1, 1);
    assert_eq!(clients.take(client(1), SECOND, || Err(5)), Err(Denied::Further(5)));
    assert_eq!((clients.known(), clients.ask(1, SECOND)), (0, Ok(())));
    let unasked = clients.take(client(1), SECOND, || unreachable!("the client is over its limit"));
    assert_eq!(unasked, Err(Denied::Client(SECOND)));
}

#[test]
fn slots_of_those_who_owe_nothing_are_used_again() {
    let clients = buckets(100, 1);
    for n in 0..300_000 {
        assert_eq!(clients.ask(n, u64::from(n) * 1000), Ok(()), "nobody is refused where few come at a time");
    }
    assert!(clients.known() < 3 * SETS, "{} slots for ten clients at a time", clients.known());
}

/// A million addresses, with one request each or as many as they get: a client that has used up its share stays limited, and so
/// does each of them.
#[test]
fn a_million_addresses_move_nobody_out_in_his_favour() {
    let clients = buckets(1, 5);
    let victim = u32::MAX;
    let mut now = SECOND;
    assert_eq!((0..100).filter(|_| clients.ask(victim, now).is_ok()).count(), 5);
    let (mut taken, start) = (5, now);
    for n in 0..1_000_000 {
        now += 2;
        let _ = clients.ask(n, now);
        if n % 3 == 0 {
            while clients.ask(n, now).is_ok() {}
        }
        if n % 100 == 0 {
            taken += u64::from(clients.ask(victim, now).is_ok());
            assert!(taken <= 5 + (now - start) / SECOND, "{taken} after {} us", now - start);
        }
    }
    assert!(clients.known() <= SETS * WAYS && clients.memory() < 4 << 20, "{} bytes", clients.memory());
    let windows = Clients::<Window<32>>::new(5);
    let taken = (0..1_000_000).filter(|n| n % 100 == 0 && windows.ask(victim, SECOND).is_ok() || windows.ask(*n, SECOND).is_ok());
    assert!(taken.count() > SETS * WAYS);
    assert_eq!(windows.ask(victim, SECOND + 1), Err(Denied::Client(SECOND - 1)));
    assert!(windows.memory() < 32 << 20, "{} bytes", windows.memory());
}

/// Whatever the table drops, each client gets what its own meter would have allowed, or less; here in a single set.
#[test]
fn nobody_gains_by_being_forgotten() {
    for seed in 0..200 {
        let mut rng = fastrand::Rng::with_seed(seed);
        let (many, most) = (rng.u32(1..60), rng.u32(1..6));
        let pace = Pace::new(Rate { requests_per_second: most, burst: most });
        let mut buckets = Set::<Bucket> { slots: Vec::new(), legacy: DroppedDebt::default() };
        let mut windows = Set::<Window<32>> { slots: Vec::new(), legacy: DroppedDebt::default() };
        let mut own: HashMap<u32, Bucket> = HashMap::new();
        let mut recent: HashMap<u32, VecDeque<u64>> = HashMap::new();
        let (mut now, mut refused_newcomers) = (SECOND, 0);
        for _ in 0..3000 {
            let n = rng.u32(0..many).min(rng.u32(0..many));
            let bucket = own.entry(n).or_default();
            match buckets.take(client(n), &pace, now, || Ok(())) {
                Ok(()) => {
                    assert_eq!(bucket.wait(&pace, now), Ok(()), "seed {seed}");
                    bucket.take(&pace, now);
                }
                Err(_) => refused_newcomers += u32::from(bucket.wait(&pace, now).is_ok()),
            }
            if windows.take(client(n), &most, now, || Ok(())).is_ok() {
                let recent = recent.entry(n).or_default();
                recent.push_back(now);
                recent.retain(|&at| at + SECOND > now);
                assert!(recent.len() <= most as usize, "seed {seed}");
            }
            assert!(buckets.slots.len() <= WAYS && windows.slots.len() <= WAYS);
            now += rng.u64(0..100_000);
        }
        assert!(refused_newcomers == 0 || many as usize > WAYS, "seed {seed}: an exact table is refused nothing");
    }
}
