//! Content gets into a ring piece by piece, wherever it lies.

use super::{Produced, Producer, Progress, Stock, Supply, Texts};
use crate::base::ring::Ring;

const TEXTS: Texts = Texts { made: b"made here", configured: b"" };

/// Takes everything out of the ring.
fn take(ring: &mut Ring) -> Vec<u8> {
    let bytes = ring.raw_mut().to_vec();
    ring.skip(bytes.len());
    bytes
}

fn ring(capacity: usize) -> Ring {
    let mut ring = Ring::default();
    ring.attach(vec![0; capacity].into_boxed_slice());
    ring
}

/// Gives what it is told to, one after the other.
#[derive(Debug)]
struct Script(Option<u64>, Vec<Produced>);

impl Producer for Script {
    fn length(&self) -> Option<u64> {
        self.0
    }

    fn read(&mut self, into: &mut [u8]) -> Produced {
        into.fill(b'p');
        if self.1.is_empty() { Produced::End } else { self.1.remove(0) }
    }
}

#[test]
fn a_text_longer_than_the_ring_comes_in_pieces() {
    for stock in [Stock::Made, Stock::Page(b"made here"[..].into())] {
        let (mut ring, mut supply, mut all) = (ring(4), Supply::new(stock, TEXTS), Vec::new());
        assert_eq!(supply.left(), Some(9));
        while supply.fill(&mut ring, TEXTS) == Progress::Full {
            all.extend(take(&mut ring));
        }
        all.extend(take(&mut ring));
        assert_eq!(all, b"made here");
    }
    let mut nothing = Supply::new(Stock::Configured, TEXTS);
    assert_eq!(nothing.fill(&mut Ring::default(), TEXTS), Progress::Whole, "it needs no room");
}

#[test]
fn a_producer_may_have_nothing_now_or_too_little_or_more_than_it_said() {
    let supply = |length, says: &[Produced]| Supply::new(Stock::Producer(Box::new(Script(length, says.to_vec()))), TEXTS);
    let mut late = supply(Some(3), &[Produced::Bytes(2), Produced::NotNow, Produced::Bytes(1)]);
    let mut room = ring(8);
    assert_eq!((late.fill(&mut room, TEXTS), late.left()), (Progress::Waiting, Some(1)));
    assert_eq!((late.fill(&mut room, TEXTS), take(&mut room)), (Progress::Whole, b"ppp".to_vec()));
    assert_eq!(supply(Some(3), &[Produced::Bytes(2)]).fill(&mut room, TEXTS), Progress::Short);
    room.clear();
    assert_eq!((supply(Some(3), &[Produced::Bytes(5)]).fill(&mut room, TEXTS), take(&mut room).len()), (Progress::Whole, 3));
    assert_eq!((supply(None, &[Produced::Bytes(5)]).fill(&mut room, TEXTS), take(&mut room).len()), (Progress::Whole, 5));
    assert_eq!(supply(None, &[Produced::Bytes(0)]).fill(&mut room, TEXTS), Progress::Waiting, "it must not be asked again at once");
}
