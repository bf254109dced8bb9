//! Which upstream of a pool is asked next. One trait, one file per algorithm; what is usable is the pool's business.

mod round_robin;

pub use round_robin::RoundRobin;

/// An order in which to try upstreams.
pub trait Balancer {
    /// Offers indices below `count` to `take`, best first and each at most once, until it takes one.
    fn pick(&self, count: usize, take: &mut dyn FnMut(usize) -> bool) -> Option<usize>;
}

/// The algorithms that can be configured.
#[derive(Debug)]
pub enum Balance {
    /// One after the other.
    RoundRobin(RoundRobin),
}

impl Balancer for Balance {
    fn pick(&self, count: usize, take: &mut dyn FnMut(usize) -> bool) -> Option<usize> {
        match self {
            Self::RoundRobin(balancer) => balancer.pick(count, take),
        }
    }
}
