//! Drawing by weight without repetition, for the algorithms that choose by chance.

/// How many draws a pick remembers; after that it goes through the others in order. If half of a large pool had failed, one pick
/// in 2^32 would get that far.
const REMEMBERED: usize = 32;

/// Each unit of weight is one lot.
///
/// ```text
///     weights   2     0   3
///     lots      0 1       2 3 4
///     ends          2   2       5
/// ```
#[derive(Debug)]
pub(super) struct WeightedLots {
    /// The number of lots up to and including each upstream.
    ends: Box<[u64]>,
}

impl WeightedLots {
    pub(super) fn new(weights: &[u32]) -> Self {
        let mut end = 0;
        let next = |&weight: &u32| {
            end += u64::from(weight);
            end
        };
        Self { ends: weights.iter().map(next).collect() }
    }

    /// The weight of an upstream.
    pub(super) fn weight(&self, index: usize) -> u64 {
        self.ends[index] - self.start(index)
    }

    /// One that was not `drawn` yet; `None` when all were, or as many as can be remembered.
    pub(super) fn draw(&self, rng: &mut fastrand::Rng, drawn: &mut DrawnIndices) -> Option<usize> {
        let left = self.ends.last()? - drawn.indices().map(|index| self.weight(index)).sum::<u64>();
        if left == 0 || drawn.count == REMEMBERED {
            return None;
        }
        // The remaining lots are numbered without gaps, so every drawn upstream before ours moves the number on: no draw is repeated.
        let mut lot = rng.u64(..left);
        for index in drawn.indices() {
            lot += if self.start(index) <= lot { self.weight(index) } else { 0 };
        }
        let index = self.ends.partition_point(|&end| end <= lot);
        drawn.insert(index);
        Some(index)
    }

    /// All that have a weight and were not drawn, in order from a random start.
    pub(super) fn others(&self, rng: &mut fastrand::Rng, drawn: &DrawnIndices) -> impl Iterator<Item = usize> {
        let start = rng.usize(..self.ends.len().max(1));
        (start..self.ends.len()).chain(0..start).filter(|&index| self.weight(index) > 0 && !drawn.contains(index))
    }

    fn start(&self, index: usize) -> u64 {
        index.checked_sub(1).map_or(0, |before| self.ends[before])
    }
}

/// A few indices in ascending order.
#[derive(Debug, Default)]
pub(super) struct DrawnIndices {
    count: usize,
    sorted: [u32; REMEMBERED],
}

impl DrawnIndices {
    pub(super) fn count(&self) -> usize {
        self.count
    }

    pub(super) fn contains(&self, index: usize) -> bool {
        self.sorted[..self.count].binary_search(&(index as u32)).is_ok()
    }

    /// Returns whether it is new. It is not stored where there is no room.
    pub(super) fn insert(&mut self, index: usize) -> bool {
        let place = self.sorted[..self.count].binary_search(&(index as u32));
        if let (Err(at), true) = (place, self.count < REMEMBERED) {
            self.sorted.copy_within(at..self.count, at + 1);
            self.sorted[at] = index as u32;
            self.count += 1;
        }
        place.is_err()
    }

    fn indices(&self) -> impl Iterator<Item = usize> {
        self.sorted[..self.count].iter().map(|&index| index as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_is_drawn_twice_and_all_are() {
        let lots = WeightedLots::new(&[0, 5, 1, 0, 2, 0]);
        let mut rng = fastrand::Rng::with_seed(1);
        for _ in 0..1000 {
            let mut drawn = DrawnIndices::default();
            let mut order: Vec<usize> = std::iter::from_fn(|| lots.draw(&mut rng, &mut drawn)).collect();
            order.sort();
            assert_eq!(order, [1, 2, 4]);
            assert_eq!(lots.others(&mut rng, &drawn).count(), 0);
        }
        assert_eq!(WeightedLots::new(&[]).draw(&mut rng, &mut DrawnIndices::default()), None);
        assert_eq!(WeightedLots::new(&[]).others(&mut rng, &DrawnIndices::default()).count(), 0);
    }

    #[test]
    fn the_second_is_drawn_by_weight_among_those_that_are_left() {
        let lots = WeightedLots::new(&[5, 1, 2, 8]);
        let (mut rng, mut shares) = (fastrand::Rng::with_seed(1), [0; 4]);
        for _ in 0..30_000 {
            let mut drawn = DrawnIndices::default();
            drawn.insert(3);
            drawn.insert(0);
            shares[lots.draw(&mut rng, &mut drawn).unwrap()] += 1;
        }
        assert_eq!((shares[0], shares[3]), (0, 0));
        assert!((9_700..10_300).contains(&shares[1]), "{shares:?}");
    }

    #[test]
    fn those_that_are_forgotten_come_in_a_row() {
        let lots = WeightedLots::new(&[1; 100]);
        let (mut rng, mut drawn) = (fastrand::Rng::with_seed(1), DrawnIndices::default());
        assert_eq!(std::iter::from_fn(|| lots.draw(&mut rng, &mut drawn)).count(), REMEMBERED);
        assert_eq!(lots.others(&mut rng, &drawn).count(), 100 - REMEMBERED);
        let forgotten = lots.others(&mut rng, &drawn).next().unwrap();
        assert!(drawn.insert(forgotten) && !drawn.contains(forgotten));
    }
}
