//! What the admin port's pages show, and what a rendered page is.

use crate::guard::door::Door;
use crate::observe::stats::WorkerStats;
use crate::observe::writer::Writer;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

/// A rendered page, shared by all who wait for it.
#[derive(Clone, Debug)]
pub struct RenderedPage {
    /// The status: 200 or 503.
    pub status: u16,
    pub content_type: &'static str,
    pub content: Arc<[u8]>,
}

/// What the pages show. The process has one.
#[derive(Debug)]
pub struct AdminState {
    /// The counters of every worker.
    pub stats: Vec<Arc<WorkerStats>>,
    /// The listening addresses at present.
    pub doors: Mutex<Vec<Arc<Door>>>,
    /// The writer of all logs.
    pub writer: Arc<Writer>,
    /// Whether the start is over.
    pub started_up: AtomicBool,
    /// Whether the process is about to end.
    pub draining: AtomicBool,
    /// Number of reloads that were applied.
    pub reloads_ok: AtomicU64,
    /// Number of reloads that were refused.
    pub reloads_error: AtomicU64,
    /// When the process began.
    pub started: Instant,
}

impl AdminState {
    /// The state of a process that begins now.
    pub fn new(stats: Vec<Arc<WorkerStats>>, doors: Vec<Arc<Door>>, writer: Arc<Writer>) -> Self {
        Self {
            stats,
            doors: Mutex::new(doors),
            writer,
            started_up: AtomicBool::new(false),
            draining: AtomicBool::new(false),
            reloads_ok: AtomicU64::new(0),
            reloads_error: AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    /// Replaces the listening addresses.
    pub fn set_doors(&self, doors: Vec<Arc<Door>>) {
        *self.doors.lock().unwrap_or_else(PoisonError::into_inner) = doors;
    }

    /// Whether the process is about to end.
    pub fn is_draining(&self) -> bool {
        self.draining.load(Relaxed)
    }

    /// Whether the start is over.
    pub fn has_started(&self) -> bool {
        self.started_up.load(Relaxed)
    }
}
