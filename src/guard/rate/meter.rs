//! What both algorithms have in common, so that one table can hold either.

/// Counts the requests of one client, or of all clients.
pub trait Meter: Copy {
    /// How many requests are allowed.
    type Quota;

    /// Whether one more is allowed now; the error is the wait in microseconds.
    fn wait(&mut self, quota: &Self::Quota, now: u64) -> Result<(), u64>;
    /// Counts one that is allowed.
    fn take(&mut self, quota: &Self::Quota, now: u64);
    /// How much of its quota is used.
    fn debt(&mut self, now: u64) -> Debt;
    /// What remains of it when it is dropped.
    fn bequeath(&self) -> DroppedDebt;
    /// A meter that allows nothing that a dropped one would have refused.
    fn inherit(legacy: DroppedDebt) -> Self;
}

/// How much of a quota is used: the more, the longer the meter must be kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Debt(pub u64, pub u64);

impl Debt {
    /// Whether the meter equals a new one and may be dropped.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The largest debts of all meters that were dropped.
#[derive(Clone, Copy, Debug, Default)]
pub struct DroppedDebt {
    /// The latest time among them.
    pub at: u64,
    /// The largest count among them.
    pub count: u32,
}

impl DroppedDebt {
    /// Adds one that was dropped.
    pub fn add(&mut self, other: Self) {
        *self = Self { at: self.at.max(other.at), count: self.count.max(other.count) };
    }
}
