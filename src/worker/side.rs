//! A listening address as one worker sees it, with the worker's connections there that are not being served.

use crate::base::ranks::Rank;
use crate::guard::door::Door;
use std::sync::Arc;

/// A listening address as one worker sees it.
pub(super) struct Side {
    pub(super) door: Arc<Door>,
    pub(super) is_reserved: bool,
    /// How many connections of this worker came through it.
    pub(super) clients: usize,
    pub(super) rests: [Rank; 2],
}
