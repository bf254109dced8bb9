//! Which upstream of a pool is asked next. One trait, one file per algorithm; what is usable is the pool's business.
//!
//! ```text
//!     round_robin         one after the other; by weight, where weights differ
//!     weighted            likewise, and by weight always
//!     random              by chance and weight
//!     least_connections   fewest requests in flight for the weight
//!     consistent_hash     by key: the client's address or a field
//!     adaptive            of two drawn by weight, the one that promises to answer sooner
//! ```
//!
//! A pick allocates nothing, and locks nothing but the order of turns that are weighted.

mod adaptive;
mod consistent_hash;
mod ewma;
mod least_connections;
mod lots;
mod random;
mod round_robin;
#[cfg(test)]
pub(crate) mod tests;
mod weighted;

pub use adaptive::Adaptive;
pub use consistent_hash::{ConsistentHash, hash};
pub use ewma::PeakEwma;
pub use least_connections::LeastConnections;
pub use random::Random;
pub use round_robin::RoundRobin;
pub use weighted::Weighted;

use crate::config::model::{self, Upstream};

/// What a balancer may know of the upstreams of its pool at this moment; an index is a place in the pool.
pub trait View {
    /// Requests in flight there, of the whole process.
    fn load(&self, index: usize) -> u64;
    /// How long it takes to answer (microseconds), as [`Balance::Adaptive`] wants it: [`PeakEwma`]; 0 = not known.
    fn latency(&self, index: usize) -> u64;
}

/// Who asks.
pub struct Ask<'a, V> {
    /// Of the pool.
    pub view: &'a V,
    /// Chance.
    pub rng: &'a mut fastrand::Rng,
    /// What [`Balance::ConsistentHash`] goes by: a [`hash()`], all of whose bits count.
    pub key: u64,
}

/// An order in which to try upstreams.
pub trait Balancer {
    /// Offers indices of upstreams with a weight to `take`, best first, until it takes one; each is offered before it gives up.
    fn pick<V: View>(&self, ask: &mut Ask<V>, take: impl FnMut(usize) -> bool) -> Option<usize>;
}

/// The algorithms that can be configured.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Balance {
    RoundRobin(RoundRobin),
    Random(Random),
    Weighted(Weighted),
    LeastConnections(LeastConnections),
    ConsistentHash(ConsistentHash),
    Adaptive(Adaptive),
}

impl Balance {
    /// For the upstreams of a pool, in its order; what has no weight is never offered.
    ///
    /// `round_robin` honours weights, as it does elsewhere: where they differ it is [`Balance::Weighted`]. Those that go round begin
    /// at `start`, which is by chance.
    pub fn new(config: &model::Balance, upstreams: &[Upstream], start: u32) -> Self {
        let weights: Vec<u32> = upstreams.iter().map(|upstream| upstream.weight).collect();
        let mut used = weights.iter().filter(|&&weight| weight > 0);
        let first = used.next();
        match config {
            model::Balance::RoundRobin if used.all(|weight| Some(weight) == first) => Self::RoundRobin(RoundRobin::new(&weights, start)),
            model::Balance::RoundRobin | model::Balance::Weighted => Self::Weighted(Weighted::new(&weights, start)),
            model::Balance::Random => Self::Random(Random::new(&weights)),
            model::Balance::LeastConnections => Self::LeastConnections(LeastConnections::new(&weights)),
            model::Balance::ConsistentHash { .. } => Self::ConsistentHash(ConsistentHash::new(upstreams)),
            model::Balance::Adaptive => Self::Adaptive(Adaptive::new(&weights)),
        }
    }
}

impl Balancer for Balance {
    fn pick<V: View>(&self, ask: &mut Ask<V>, take: impl FnMut(usize) -> bool) -> Option<usize> {
        match self {
            Self::RoundRobin(balancer) => balancer.pick(ask, take),
            Self::Random(balancer) => balancer.pick(ask, take),
            Self::Weighted(balancer) => balancer.pick(ask, take),
            Self::LeastConnections(balancer) => balancer.pick(ask, take),
            Self::ConsistentHash(balancer) => balancer.pick(ask, take),
            Self::Adaptive(balancer) => balancer.pick(ask, take),
        }
    }
}
