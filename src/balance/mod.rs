//! Which upstream of a pool is asked next. One trait, and one file for each algorithm; the pool decides which upstreams are usable.
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
//! A pick allocates nothing, and takes no lock, except for weighted turns, whose order is shared.

mod adaptive;
mod ask;
#[cfg(test)]
mod change_tests;
mod consistent_hash;
mod ewma;
mod least_connections;
mod lots;
mod member;
mod random;
mod round_robin;
#[cfg(test)]
pub(crate) mod tests;
mod weighted;

pub use adaptive::Adaptive;
pub use ask::{Ask, Balancer, View};
pub use consistent_hash::{ConsistentHash, hash};
pub use ewma::PeakEwma;
pub use least_connections::LeastConnections;
pub use member::Member;
pub use random::Random;
pub use round_robin::RoundRobin;
pub use weighted::Weighted;

use crate::config::model;

/// The configured algorithm.
#[derive(Debug)]
pub enum Balance {
    RoundRobin(RoundRobin),
    Random(Random),
    Weighted(Weighted),
    LeastConnections(LeastConnections),
    ConsistentHash(ConsistentHash),
    Adaptive(Adaptive),
}

impl Balance {
    /// For the servers of a pool, in its order; those without a weight are never offered.
    ///
    /// `round_robin` honours weights: where they differ it is [`Balance::Weighted`]. `start` is a random number, at which the
    /// algorithms that take turns begin.
    pub fn new(config: &model::BalanceConfig, members: &[Member], start: u32) -> Self {
        let weights: Vec<u32> = members.iter().map(|member| member.weight).collect();
        let mut used = weights.iter().filter(|&&weight| weight > 0);
        let first = used.next();
        match config {
            model::BalanceConfig::RoundRobin if used.all(|weight| Some(weight) == first) => {
                Self::RoundRobin(RoundRobin::new(&weights, start))
            }
            model::BalanceConfig::RoundRobin | model::BalanceConfig::Weighted => Self::Weighted(Weighted::new(&weights, start)),
            model::BalanceConfig::Random => Self::Random(Random::new(&weights)),
            model::BalanceConfig::LeastConnections => Self::LeastConnections(LeastConnections::new(&weights)),
            model::BalanceConfig::ConsistentHash { .. } => Self::ConsistentHash(ConsistentHash::new(members)),
            model::BalanceConfig::Adaptive => Self::Adaptive(Adaptive::new(&weights)),
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
