//! What the balancing algorithms are told of a server.

/// A server that requests are balanced over.
#[derive(Clone, Debug)]
pub struct Member {
    /// What consistent hashing knows it by: unique in its pool.
    pub name: String,
    /// Its weight; 0 = it is never offered.
    pub weight: u32,
}
