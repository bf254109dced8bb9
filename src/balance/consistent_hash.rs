//! By hash: a key stays with its upstream as long as that takes it, in every process and every version.
//!
//! Each upstream has points on a ring, in proportion to its weight, and placed by its name alone. A key belongs to the first point at
//! or after it. When an upstream goes, its keys move to the next points: about 1/N of all keys move, and no others.

use super::lots::DrawnIndices;
use super::{Ask, Balancer, View};
use crate::config::model::UpstreamConfig;

/// The heaviest upstream has at least this many points and fewer than twice as many, so that shares are right within 15 percent.
const HEAVIEST_POINTS: u64 = 160;

/// How many points a refused key walks past before upstreams are asked in order: enough to pass a heavy one that failed.
const WALK: usize = 1024;

/// The `consistent_hash` algorithm.
#[derive(Debug)]
pub struct ConsistentHash {
    /// The points in ascending order.
    points: Box<[u64]>,
    /// The upstream that each point belongs to.
    owners: Box<[u32]>,
    weighted: Box<[u32]>,
}

impl ConsistentHash {
    /// For the upstreams that have a weight.
    pub fn new(upstreams: &[UpstreamConfig]) -> Self {
        let heaviest = upstreams.iter().map(|upstream| upstream.weight).max().unwrap_or(0);
        let mut ring: Vec<(u64, &str, u32)> = Vec::new();
        for (index, upstream) in upstreams.iter().enumerate().filter(|(_, upstream)| upstream.weight > 0) {
            let (name, seed) = (upstream.name.as_str(), hash(upstream.name.as_bytes()));
            ring.extend(
                (0..points(upstream.weight, heaviest)).map(|n| (mix(seed.wrapping_add(n.wrapping_mul(STRIDE))), name, index as u32)),
            );
        }
        // Should two points coincide, the name decides, so that the order of the list does not matter.
        ring.sort_unstable();
        let weighted = (0..upstreams.len() as u32).filter(|&index| upstreams[index as usize].weight > 0).collect();
        let (points, owners) = ring.into_iter().map(|(point, _, owner)| (point, owner)).unzip::<_, _, Vec<_>, Vec<_>>();
        Self { points: points.into(), owners: owners.into(), weighted }
    }
}

impl Balancer for ConsistentHash {
    fn pick<V: View>(&self, ask: &mut Ask<V>, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        let (before, after) = self.owners.split_at(self.points.partition_point(|&point| point < ask.key));
        let mut refused = DrawnIndices::default();
        for owner in after.iter().chain(before).take(WALK).map(|&owner| owner as usize) {
            match refused.insert(owner) {
                true if take(owner) => return Some(owner),
                // All upstreams have been asked.
                true if refused.count() == self.weighted.len() => return None,
                _ => {}
            }
        }
        // The search starts at a place that the key determines, so that the remaining upstreams share such keys, and each key stays.
        let start = ask.key.checked_rem(self.weighted.len() as u64)? as usize;
        let (before, after) = self.weighted.split_at(start);
        after.iter().chain(before).map(|&index| index as usize).find(|&index| !refused.contains(index) && take(index))
    }
}

/// How many points a weight gets. A unit of weight is always worth a power of two of them, so that the others' numbers seldom
/// change when the heaviest comes or goes.
fn points(weight: u32, heaviest: u32) -> u64 {
    let (mut up, mut down) = (0, 0);
    while u64::from(heaviest) << up >> down < HEAVIEST_POINTS {
        up += 1;
    }
    while u64::from(heaviest) << up >> down >= 2 * HEAVIEST_POINTS {
        down += 1;
    }
    (u64::from(weight) << up >> down).max(1)
}

/// The hash of keys and names: FNV-1a of 64 bits, mixed afterwards, because FNV leaves the high bits of short texts alike.
/// It must never change: another hash would move every key.
pub fn hash(bytes: &[u8]) -> u64 {
    mix(bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, &byte| (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3)))
}

/// The distance between the points of an upstream before mixing: 2^64 divided by the golden ratio.
const STRIDE: u64 = 0x9e37_79b9_7f4a_7c15;

/// The finalizer of MurmurHash3.
fn mix(mut bits: u64) -> u64 {
    bits = (bits ^ bits >> 33).wrapping_mul(0xff51_afd7_ed55_8ccd);
    bits = (bits ^ bits >> 33).wrapping_mul(0xc4ce_b9fe_1a85_ec53);
    bits ^ bits >> 33
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::balance::tests::{Blank, assert_shares, upstreams};

    const KEYS: u64 = 20_000;

    fn owner(ring: &ConsistentHash, key: u64, take: impl FnMut(usize) -> bool) -> Option<usize> {
        let mut rng = fastrand::Rng::with_seed(1);
        ring.pick(&mut Ask { view: &Blank, rng: &mut rng, key: hash(&key.to_le_bytes()) }, take)
    }

    fn owners(ring: &ConsistentHash, up: impl Fn(usize) -> bool) -> Vec<usize> {
        (0..KEYS).map(|key| owner(ring, key, &up).unwrap()).collect()
    }

    #[test]
    fn hashes_and_places_are_what_they_always_were() {
        assert_eq!(
            ["", "a", "192.0.2.1", "2001:db8::1"].map(|text| hash(text.as_bytes())),
            [0xefd0_1f60_ba99_2926, 0x82a2_a958_a9be_ce5b, 0x8fc4_3361_6f77_3343, 0x85a0_a62e_e75f_af77]
        );
        let ring = ConsistentHash::new(&upstreams(&[1, 2, 3, 5]));
        assert_eq!((ring.points.len(), ring.points[0], ring.owners[0]), (352, 0x0068_ff43_995c_c42e, 2));
        let places: Vec<usize> = (0..16).map(|key| owner(&ring, key, |_| true).unwrap()).collect();
        assert_eq!(places, [0, 2, 2, 1, 3, 3, 2, 3, 3, 0, 3, 3, 3, 1, 3, 3]);
    }

    #[test]
    fn points_are_bounded_and_in_proportion() {
        assert_eq!([1, 5, 159, 160, 319, 320, 1000].map(|heaviest| points(heaviest, heaviest)), [256, 160, 318, 160, 319, 160, 250]);
        assert_eq!((points(1, 1000), points(4, 1000), points(1, 5), points(2, 5)), (1, 1, 32, 64));
        assert_eq!((points(4, 6), points(4, 5), points(4, 4)), (128, 128, 256));
    }

    #[test]
    fn keys_are_shared_by_weight() {
        let ring = ConsistentHash::new(&upstreams(&[5, 0, 1, 2, 5, 5]));
        let mut shares = vec![0; 6];
        owners(&ring, |_| true).into_iter().for_each(|index| shares[index] += 1);
        assert_shares(&shares, &[5.0, 0.0, 1.0, 2.0, 5.0, 5.0], 0.2);
    }

    #[test]
    fn only_the_keys_of_who_goes_move() {
        let all = upstreams(&[1; 10]);
        let before = owners(&ConsistentHash::new(&all), |_| true);
        let refused = owners(&ConsistentHash::new(&all), |index| index != 3);
        let fewer: Vec<_> = all.iter().filter(|upstream| upstream.name != all[3].name).cloned().collect();
        let removed = owners(&ConsistentHash::new(&fewer), |_| true);
        let mut heirs = [0; 10];
        for ((&before, &refused), &removed) in before.iter().zip(&refused).zip(&removed) {
            // The one that takes its place is the same, whether it is removed from the list or refuses.
            assert_eq!(fewer[removed].name, all[refused].name);
            assert!(before == refused || before == 3);
            heirs[refused] += usize::from(before == 3);
        }
        let moved = heirs.iter().sum::<usize>() as f64 / KEYS as f64;
        assert!((0.08..0.12).contains(&moved), "{moved}");
        assert!(heirs.iter().filter(|&&keys| keys > 0).count() == 9, "{heirs:?}");
        // The order of the list does not matter.
        let turned: Vec<_> = all.iter().rev().cloned().collect();
        let turned_owners = owners(&ConsistentHash::new(&turned), |_| true);
        assert!(before.iter().zip(turned_owners).all(|(&index, other)| all[index].name == turned[other].name));
    }

    #[test]
    fn a_large_pool_that_refuses_is_not_walked_point_by_point() {
        let ring = ConsistentHash::new(&upstreams(&[1; 1000]));
        let mut asked = 0;
        assert_eq!(owner(&ring, 1, |_| (asked += 1, false).1), None);
        assert!((1000..=1000 + WALK).contains(&asked), "{asked}");
        let last: Vec<_> = (0..20).map(|key| owner(&ring, key, |index| index % 500 == 7)).collect();
        assert!(last.contains(&Some(7)) && last.contains(&Some(507)), "{last:?}");
    }
}
