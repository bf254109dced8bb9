//! Which upstream of a pool is asked next. One trait, one file per algorithm; what is usable is the pool's business.

mod round_robin;

pub use round_robin::RoundRobin;

use crate::config::model::{self, Upstream};

/// What a balancer may know of the upstreams of its pool at this moment; an index is a place in the pool.
pub trait View {
    /// Requests in flight there, of the whole process.
    fn load(&self, index: usize) -> u64;
    /// How long it takes to answer (microseconds), as [`Balance::Adaptive`] wants it.
    fn latency(&self, index: usize) -> u64;
}

/// Who asks.
pub struct Ask<'a, V> {
    /// Of the pool.
    pub view: &'a V,
    /// Chance.
    pub rng: &'a mut fastrand::Rng,
    /// What [`Balance::ConsistentHash`] goes by.
    pub key: u64,
}

/// An order in which to try upstreams.
pub trait Balancer {
    /// Offers indices of upstreams with a weight to `take`, best first, until it takes one; each is offered before it gives up.
    fn pick<V: View>(&self, ask: &mut Ask<V>, take: impl FnMut(usize) -> bool) -> Option<usize>;
}

/// The algorithms that can be configured.
#[derive(Debug)]
pub enum Balance {
    /// One after the other.
    RoundRobin(RoundRobin),
}

impl Balance {
    /// For the upstreams of a pool, in its order; what has no weight is never offered.
    pub fn new(config: &model::Balance, upstreams: &[Upstream]) -> Self {
        let weights: Vec<u32> = upstreams.iter().map(|upstream| upstream.weight).collect();
        match config {
            // The others follow.
            _ => Self::RoundRobin(RoundRobin::new(&weights)),
        }
    }
}

impl Balancer for Balance {
    fn pick<V: View>(&self, ask: &mut Ask<V>, take: impl FnMut(usize) -> bool) -> Option<usize> {
        match self {
            Self::RoundRobin(balancer) => balancer.pick(ask, take),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Nothing is known of anybody.
    pub struct Blank;

    impl View for Blank {
        fn load(&self, _: usize) -> u64 {
            0
        }

        fn latency(&self, _: usize) -> u64 {
            0
        }
    }

    /// What a balancer picks, one after the other.
    pub fn picks(balancer: &impl Balancer, times: usize, take: impl Fn(usize) -> bool) -> Vec<Option<usize>> {
        let mut rng = fastrand::Rng::with_seed(1);
        (0..times).map(|key| balancer.pick(&mut Ask { view: &Blank, rng: &mut rng, key: key as u64 }, &take)).collect()
    }
}
