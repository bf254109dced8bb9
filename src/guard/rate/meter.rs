//! What the two ways to count have in common, so that clients can be kept in one kind of table.

/// Counts the requests of one client, or of all.
pub trait Meter: Copy {
    /// How many are allowed.
    type Quota;

    /// Whether one more may come now, or in how many microseconds.
    fn wait(&mut self, quota: &Self::Quota, now: u64) -> Result<(), u64>;
    /// Counts one that may.
    fn take(&mut self, quota: &Self::Quota, now: u64);
    /// How far it is from a meter that has counted nothing.
    fn debt(&mut self, now: u64) -> Debt;
    /// What is kept of it when it has to make room.
    fn bequeath(&self) -> Legacy;
    /// A meter that allows nothing that one of those would have refused.
    fn inherit(legacy: Legacy) -> Self;
}

/// The more, the longer it must be remembered.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Debt(pub u64, pub u64);

impl Debt {
    /// It may be forgotten.
    pub fn is_none(self) -> bool {
        self.0 == 0
    }
}

/// The worst of all meters that had to make room.
#[derive(Clone, Copy, Debug, Default)]
pub struct Legacy {
    /// The latest moment.
    pub at: u64,
    /// The largest number.
    pub count: u32,
}

impl Legacy {
    /// One more of them.
    pub fn add(&mut self, other: Self) {
        *self = Self { at: self.at.max(other.at), count: self.count.max(other.count) };
    }
}
