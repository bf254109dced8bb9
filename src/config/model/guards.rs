//! Retries, circuits, health checks and rate limits.

/// Retries of a request; by default none.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Retry {
    /// Attempts after the first; 0 = none.
    pub max_retries: u32,
    /// Upper bound of the first wait, doubled each time; 0 = no wait.
    pub backoff_ms: u32,
    /// Upper bound of every wait.
    pub max_backoff_ms: u32,
    /// Share of a pool's requests that may be retries.
    pub budget_percent: u32,
    /// Statuses that are worth another try.
    pub statuses: Statuses,
}

/// Passive health checks: one circuit for each upstream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breaker {
    /// How many failures in a row open it; 0 = no circuit.
    pub failure_threshold: u32,
    /// How many successes close it.
    pub success_threshold: u32,
    /// How long it is open before it becomes half-open.
    pub timeout_ms: u32,
    /// The same while no other upstream of the pool is usable; 0 = no difference.
    pub last_resort_ms: u32,
    /// How many trial requests may run at a time.
    pub half_open_requests: u32,
    pub failure_statuses: Statuses,
}

/// Active health checks.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct HealthCheck {
    /// The target of the request.
    pub path: String,
    pub method: String,
    /// The value of `Host`; `None` = the upstream's host and port.
    pub host: Option<String>,
    /// More fields, by name and value.
    pub headers: Vec<(String, String)>,
    /// The port to connect to; `None` = the upstream's.
    pub port: Option<u16>,
    /// The time between two checks of one upstream.
    pub interval_ms: u32,
    /// The time for one check, connect included.
    pub timeout_ms: u32,
    /// How many failures in a row make it failing.
    pub failure_threshold: u32,
    /// How many successes in a row make it passing.
    pub success_threshold: u32,
    /// The first and the last good status.
    pub expected_status: (u16, u16),
    /// A text that the first 16 KiB of the body must contain.
    pub expected_body: Option<String>,
    /// Whether verdicts keep nobody away while every upstream of the pool fails.
    pub fail_open: bool,
}

impl HealthCheck {
    /// How much of the body is searched for `expected_body` (bytes).
    pub const SEARCHED: usize = 16 * 1024;
}

/// How many requests are allowed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RateLimit {
    pub algorithm: RateAlgorithm,
    pub global: Option<Rate>,
    pub per_client: Option<Rate>,
    /// Whether requests over the limit are only counted.
    pub dry_run: bool,
    /// Whether this section sets `global` itself; if not, it inherits the limit together with its count.
    pub owns_global: bool,
    /// The same for `per_client`.
    pub owns_per_client: bool,
}

/// `rate_limit.algorithm`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RateAlgorithm {
    TokenBucket,
    SlidingWindow,
}
/// How many requests a rate limit allows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rate {
    /// Allowed in the long run (token bucket), or in any second (sliding window).
    pub requests_per_second: u32,
    /// Allowed at once (token bucket only).
    pub burst: u32,
}

/// A set of statuses, 100 to 599.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Statuses([u64; 8]);

impl Statuses {
    /// The empty set.
    pub const NONE: Self = Self([0; 8]);
    const FIRST: u16 = 100;
    const END: u16 = 600;

    /// Whether it is in the set.
    pub fn contains(&self, status: u16) -> bool {
        let index = usize::from(status.wrapping_sub(Self::FIRST));
        self.0.get(index / 64).is_some_and(|word| word >> (index % 64) & 1 == 1)
    }
}

impl FromIterator<u16> for Statuses {
    /// Numbers that are not statuses are ignored.
    fn from_iter<I: IntoIterator<Item = u16>>(statuses: I) -> Self {
        let mut set = Self::default();
        for status in statuses.into_iter().filter(|status| *status < Self::END) {
            let index = usize::from(status.wrapping_sub(Self::FIRST));
            if let Some(word) = set.0.get_mut(index / 64) {
                *word |= 1 << (index % 64);
            }
        }
        set
    }
}
