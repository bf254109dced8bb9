//! `rate_limit`: how many requests are allowed, of all clients together and of each. Counts hold for the process, whichever
//! worker asks.

mod bucket;
mod clients;
mod meter;
mod window;

use super::client::ClientId;
use crate::base::address::Peer;
use crate::config::model::{Rate, RateAlgorithm, RateLimit};
use crate::observe::reason::RateScope;
use bucket::{Bucket, Pace, SharedBucket};
use clients::{Clients, Denied};
use meter::Meter;
use std::sync::{Arc, Mutex, PoisonError};
use window::Window;

/// How many moments the window of all clients, and that of one client, can tell apart.
const RUNS: usize = 256;
const CLIENT_RUNS: usize = 32;

/// A request over a limit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RateExceeded {
    /// Which limit; where both are exceeded, the client's.
    pub scope: RateScope,
    /// Microseconds until a request is allowed, if no other comes first.
    pub wait: u64,
}

impl RateExceeded {
    /// The wait in whole seconds, at least one, for `Retry-After`.
    pub fn retry_after(self) -> u32 {
        u32::try_from(self.wait.div_ceil(1_000_000).max(1)).unwrap_or(u32::MAX)
    }
}

/// The limits for the requests of a route.
#[derive(Clone, Debug)]
pub struct Limiter {
    global: Option<Arc<Global>>,
    clients: Option<Arc<PerClient>>,
    /// Excess is reported, but the request is to be let through.
    pub is_dry_run: bool,
}

impl Limiter {
    /// Limits as a section configures them. What the section does not set is taken from `shared`. What is configured as in
    /// `previous`, the same section before a reload, is kept with its counts.
    pub fn new(limit: &RateLimit, shared: Option<&Self>, previous: Option<(&RateLimit, &Self)>) -> Self {
        let algorithm = limit.algorithm;
        let old = previous.filter(|(old, _)| old.algorithm == algorithm);
        let kept = old.filter(|(old, _)| old.owns_global && old.global == limit.global).and_then(|(_, old)| old.global.clone());
        let inherited = shared.filter(|_| !limit.owns_global).and_then(|shared| shared.global.clone());
        let global = limit.global.map(|rate| inherited.or(kept).unwrap_or_else(|| Arc::new(Global::new(algorithm, rate))));
        let kept = old.filter(|(old, _)| old.owns_per_client && old.per_client == limit.per_client);
        let kept = kept.and_then(|(_, old)| old.clients.clone());
        let inherited = shared.filter(|_| !limit.owns_per_client).and_then(|shared| shared.clients.clone());
        let clients = limit.per_client.map(|rate| inherited.or(kept).unwrap_or_else(|| Arc::new(PerClient::new(algorithm, rate))));
        Self { global, clients, is_dry_run: limit.dry_run }
    }

    /// Counts a request, if both limits allow it; a refused request uses up nothing of either. `client` is called only where it
    /// matters.
    pub fn take(&self, now: u64, client: impl FnOnce() -> Peer) -> Result<(), RateExceeded> {
        let global = || self.global.as_ref().map_or(Ok(()), |global| global.take(now));
        let excess = |scope| move |wait| RateExceeded { scope, wait };
        let Some(clients) = &self.clients else { return global().map_err(excess(RateScope::Global)) };
        let client = ClientId::of(client());
        let outcome = match &**clients {
            PerClient::Buckets(clients) => clients.take(client, now, global),
            PerClient::Windows(clients) => clients.take(client, now, global),
        };
        outcome.map_err(|denied| match denied {
            // After the client's wait the limit of all must allow it too.
            Denied::Client(wait) => excess(RateScope::Client)(wait.max(self.global.as_ref().map_or(0, |global| global.wait(now)))),
            Denied::Further(wait) => excess(RateScope::Global)(wait),
        })
    }
}

/// The limit of all clients together.
#[derive(Debug)]
enum Global {
    Bucket(Pace, SharedBucket),
    Window(u32, Box<Mutex<Window<RUNS>>>),
}

impl Global {
    fn new(algorithm: RateAlgorithm, rate: Rate) -> Self {
        match algorithm {
            RateAlgorithm::TokenBucket => Self::Bucket(Pace::new(rate), SharedBucket::default()),
            RateAlgorithm::SlidingWindow => Self::Window(rate.requests_per_second, Box::default()),
        }
    }

    fn take(&self, now: u64) -> Result<(), u64> {
        match self {
            Self::Bucket(pace, bucket) => bucket.take(pace, now),
            Self::Window(most, window) => {
                let mut window = window.lock().unwrap_or_else(PoisonError::into_inner);
                window.wait(most, now)?;
                window.take(most, now);
                Ok(())
            }
        }
    }

    /// Microseconds until one more is allowed.
    fn wait(&self, now: u64) -> u64 {
        let outcome = match self {
            Self::Bucket(pace, bucket) => bucket.wait(pace, now),
            Self::Window(most, window) => window.lock().unwrap_or_else(PoisonError::into_inner).wait(most, now),
        };
        outcome.err().unwrap_or(0)
    }
}

/// The limit of each client.
#[derive(Debug)]
enum PerClient {
    Buckets(Clients<Bucket>),
    Windows(Clients<Window<CLIENT_RUNS>>),
}

impl PerClient {
    fn new(algorithm: RateAlgorithm, rate: Rate) -> Self {
        match algorithm {
            RateAlgorithm::TokenBucket => Self::Buckets(Clients::new(Pace::new(rate))),
            RateAlgorithm::SlidingWindow => Self::Windows(Clients::new(rate.requests_per_second)),
        }
    }
}

#[cfg(test)]
mod tests;
