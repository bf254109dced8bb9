//! What a queued request gets when its turn has come.

use crate::guard::wait_queue::Ticket;
use crate::upstream::pool::{Grant, Pool};
use std::sync::Arc;

/// A session whose turn in the queue has come.
pub(super) struct Admission {
    pub(super) pool: Arc<Pool>,
    pub(super) ticket: Ticket,
    /// `None` if every server of the pool is down.
    pub(super) grant: Option<Grant>,
    /// An idle connection that comes with the place.
    pub(super) reuse: Option<usize>,
}
