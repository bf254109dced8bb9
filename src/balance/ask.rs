//! What a balancing algorithm is asked, and what it may know.

/// What a balancer may know about the upstreams of its pool; an index is a position in the pool.
pub trait View {
    /// Requests in flight there, of the whole process.
    fn load(&self, index: usize) -> u64;
    /// How long it takes to answer, in microseconds, for [`super::Adaptive`] (from a [`super::PeakEwma`]); 0 = not known.
    fn latency(&self, index: usize) -> u64;
}

/// One request for an upstream.
pub struct Ask<'a, V> {
    /// The state of the pool.
    pub view: &'a V,
    /// The source of chance.
    pub rng: &'a mut fastrand::Rng,
    /// The key for [`super::ConsistentHash`]: a [`super::hash()`], all of whose bits count.
    pub key: u64,
}

/// An order in which to try upstreams.
pub trait Balancer {
    /// Offers indices of upstreams with a weight to `take`, best first, until it takes one; each is offered before it gives up.
    fn pick<V: View>(&self, ask: &mut Ask<V>, take: impl FnMut(usize) -> bool) -> Option<usize>;
}
