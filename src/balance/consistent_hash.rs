//! By hash: a key stays with its upstream as long as that takes it, in every process and every version.
//!
//! Each upstream has points on a ring, in proportion to its weight, and placed by its name alone. A key belongs to the first point at
//! or after it. When an upstream goes, its keys move to the next points: about 1/N of all keys move, and no others.
//!
//! A heavy upstream would need very many points. So weights that are twice as large have a ring of their own, on which one point
//! stands for two: distances on it count half. How many points an upstream has depends on its own weight alone, so that nothing that
//! happens to it moves keys between others.

use super::lots::DrawnIndices;
use super::{Ask, Balancer, Member, View};

/// Each upstream has at least this many points and fewer than twice as many, so that shares are right within 15 percent.
const LEAST_POINTS: u64 = 160;

/// How many rings there are at most: enough for weights up to 1000.
const RINGS: usize = 11;

/// How many points a refused key walks past before upstreams are asked in order: enough to pass a heavy one that failed.
const WALK: usize = 1024;

/// The `consistent_hash` algorithm.
#[derive(Debug)]
pub struct ConsistentHash {
    rings: Box<[HashRing]>,
    weighted: Box<[u32]>,
}

/// Upstreams of similar weight.
#[derive(Debug)]
struct HashRing {
    /// The points in ascending order.
    points: Box<[u64]>,
    /// The upstream that each point belongs to.
    owners: Box<[u32]>,
    /// Distances are divided by this power of two.
    shift: u32,
}

impl ConsistentHash {
    /// For the upstreams that have a weight.
    pub fn new(upstreams: &[Member]) -> Self {
        let weighted: Vec<u32> = (0..upstreams.len() as u32).filter(|&index| upstreams[index as usize].weight > 0).collect();
        let ring = |shift: u32| {
            let mut ring: Vec<(u64, &str, u32)> = Vec::new();
            for &index in &weighted {
                let upstream = &upstreams[index as usize];
                let (count, own_shift) = points(upstream.weight);
                let (name, seed) = (upstream.name.as_str(), hash(upstream.name.as_bytes()));
                let numbers = 0..if own_shift == shift { count } else { 0 };
                ring.extend(numbers.map(|n| (mix(seed.wrapping_add(n.wrapping_mul(STRIDE))), name, index)));
            }
            // Should two points coincide, the name decides, so that the order of the list does not matter.
            ring.sort_unstable();
            let (points, owners) = ring.into_iter().map(|(point, _, owner)| (point, owner)).unzip::<_, _, Vec<_>, Vec<_>>();
            HashRing { points: points.into(), owners: owners.into(), shift }
        };
        let rings = (0..RINGS as u32).map(ring).filter(|ring| !ring.points.is_empty()).collect();
        Self { rings, weighted: weighted.into() }
    }

    /// The owner of a key.
    fn first(&self, key: u64) -> Option<usize> {
        let (mut nearest, mut owner) = (u64::MAX, None);
        for ring in &self.rings {
            let place = ring.place(key);
            let distance = ring.distance(place, key);
            if owner.is_none() || distance < nearest {
                (nearest, owner) = (distance, Some(ring.owners[place] as usize));
            }
        }
        owner
    }
}

impl HashRing {
    /// The place of the first point at or after a key.
    fn place(&self, key: u64) -> usize {
        let place = self.points.partition_point(|&point| point < key);
        if place < self.points.len() { place } else { 0 }
    }

    /// From the key to the point at this place.
    fn distance(&self, place: usize, key: u64) -> u64 {
        self.points[place].wrapping_sub(key) >> self.shift
    }
}

impl Balancer for ConsistentHash {
    fn pick<V: View>(&self, ask: &mut Ask<V>, mut take: impl FnMut(usize) -> bool) -> Option<usize> {
        let first = self.first(ask.key)?;
        if take(first) {
            return Some(first);
        }
        let mut refused = DrawnIndices::default();
        refused.insert(first);
        for owner in RingWalk::new(&self.rings, ask.key).skip(1).take(WALK) {
            // All upstreams have been asked.
            if refused.count() == self.weighted.len() {
                return None;
            }
            if refused.insert(owner) && take(owner) {
                return Some(owner);
            }
        }
        // The search starts at a place that the key determines, so that the remaining upstreams share such keys, and each key stays.
        let start = ask.key.checked_rem(self.weighted.len() as u64)? as usize;
        let (before, after) = self.weighted.split_at(start);
        after.iter().chain(before).map(|&index| index as usize).find(|&index| !refused.contains(index) && take(index))
    }
}

/// The owners of the points at and after a key, nearest first. On rings that are equally near, the lighter comes first.
struct RingWalk<'a> {
    rings: &'a [HashRing],
    key: u64,
    /// The place of the next point on each ring, and how many are left.
    places: [(usize, usize); RINGS],
}

impl<'a> RingWalk<'a> {
    fn new(rings: &'a [HashRing], key: u64) -> Self {
        let mut places = [(0, 0); RINGS];
        rings.iter().zip(&mut places).for_each(|(ring, place)| *place = (ring.place(key), ring.points.len()));
        Self { rings, key, places }
    }
}

impl Iterator for RingWalk<'_> {
    type Item = usize;

    fn next(&mut self) -> Option<usize> {
        let steps = self.rings.iter().zip(&mut self.places).filter(|(_, (_, left))| *left > 0);
        let (ring, (place, left)) = steps.min_by_key(|(ring, (place, _))| ring.distance(*place, self.key))?;
        let owner = ring.owners[*place] as usize;
        *left -= 1;
        *place = if *place + 1 < ring.points.len() { *place + 1 } else { 0 };
        Some(owner)
    }
}

/// How many points a weight gets, and on which ring.
fn points(weight: u32) -> (u64, u32) {
    // 256 of them for each unit, but one point stands for a power of two.
    let (all, last) = (u64::from(weight) << 8, RINGS as u32 - 1);
    let shift = (0..last).find(|shift| all >> shift < 2 * LEAST_POINTS).unwrap_or(last);
    (all >> shift, shift)
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
    use crate::balance::tests::{Blank, assert_shares, members};

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
        let ring = ConsistentHash::new(&members(&[1; 4]));
        assert_eq!(
            (ring.rings.len(), ring.rings[0].points.len(), ring.rings[0].points[0], ring.rings[0].owners[0]),
            (1, 1024, 0x0035_79a6_43d4_89ca, 3)
        );
        let places = |weights: &[u32]| -> Vec<usize> {
            let ring = ConsistentHash::new(&members(weights));
            (0..16).map(|key| owner(&ring, key, |_| true).unwrap()).collect()
        };
        assert_eq!(places(&[1; 4]), [0, 2, 2, 1, 3, 3, 2, 2, 3, 3, 3, 0, 3, 0, 3, 3]);
        assert_eq!(places(&[7; 4]), [0, 2, 2, 1, 3, 3, 2, 2, 3, 0, 3, 0, 3, 0, 3, 3]);
        assert_eq!(places(&[1, 2, 3, 5]), [0, 2, 2, 3, 3, 3, 2, 2, 3, 3, 3, 3, 3, 0, 3, 3]);
    }

    #[test]
    fn points_are_bounded_and_in_proportion() {
        assert_eq!(
            [1, 2, 4, 5, 159, 160, 319, 320, 1000].map(points),
            [(256, 0), (256, 1), (256, 2), (160, 3), (318, 7), (160, 8), (319, 8), (160, 9), (250, 10)]
        );
        assert!((1..=1000).map(points).all(|(count, _)| (LEAST_POINTS..2 * LEAST_POINTS).contains(&count)));
    }

    #[test]
    fn keys_are_shared_by_weight() {
        for weights in [[5, 0, 1, 2, 5, 5], [100, 10, 30, 0, 1000, 700], [19, 20, 21, 39, 40, 41]] {
            let ring = ConsistentHash::new(&members(&weights));
            let mut shares = vec![0; 6];
            owners(&ring, |_| true).into_iter().for_each(|index| shares[index] += 1);
            assert_shares(&shares, &weights.map(f64::from), 0.2);
        }
    }

    #[test]
    fn only_the_keys_of_who_goes_move() {
        let all = members(&[1; 10]);
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
        let ring = ConsistentHash::new(&members(&[1; 1000]));
        let mut asked = 0;
        assert_eq!(owner(&ring, 1, |_| (asked += 1, false).1), None);
        assert!((1000..=1000 + WALK).contains(&asked), "{asked}");
        let last: Vec<_> = (0..20).map(|key| owner(&ring, key, |index| index % 500 == 7)).collect();
        assert!(last.contains(&Some(7)) && last.contains(&Some(507)), "{last:?}");
    }
}
