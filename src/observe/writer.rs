//! How lines reach their targets: one thread writes all logs of the process; all others hand lines over and go on.
//!
//! ```text
//!   worker 0     AccessLog: batch ---> queue ---+
//!   worker 1     AccessLog: batch ---> queue ---+---> access sink ---> standard output, file
//!                                               |        writer thread
//!   any thread   log::Log -----------> queue ---+---> error sink ----> standard error, file
//! ```
//!
//! A worker formats into a batch of its own, and copies it to its queue once a turn, under a lock that the writer holds only to
//! swap buffers. Nobody waits for a target: a full queue drops lines and counts them.
//!
//! The writer sleeps when there is nothing to do, and says so in `asleep`; only then must it be woken by a system
//! call. After each round it pauses for a moment before it looks again, so that under load it is never woken at all.

use super::access::{Formatter, Record};
pub use super::file::Rotation;
use super::queue::Queue;
pub use super::settings::LogSettings;
use super::shared::{ACCESS, SharedLogs, Targets, WriterMessage};
use super::sink::Sink;
pub use super::sink::SinkTarget;
use super::stats::WorkerStats;
use super::thread::WriterThread;
use std::io;
use std::sync::atomic::Ordering::Relaxed;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant};

/// A batch is handed over at this size even if the turn goes on.
const BATCH_BYTES: usize = 1 << 16;

/// The handle of the writer thread.
#[derive(Debug)]
pub struct Writer {
    shared: Arc<SharedLogs>,
    settings: Mutex<LogSettings>,
}

/// A worker's access log. Belongs to its thread.
#[derive(Debug)]
pub struct AccessLog {
    shared: Arc<SharedLogs>,
    queue: Arc<Queue>,
    stats: Arc<WorkerStats>,
    formatter: Formatter,
    batch: Vec<u8>,
}

impl Writer {
    /// Opens the targets and starts the thread. The error says which target, why, and what to do.
    pub fn start(settings: LogSettings) -> io::Result<Self> {
        let access = open_access(&settings)?;
        let errors = open_errors(&settings)?;
        let shared = Arc::new(SharedLogs::new()?);
        shared.note(&settings);
        let thread = WriterThread::new(Arc::clone(&shared), access, errors);
        std::thread::Builder::new().name("log-writer".into()).spawn(move || thread.run())?;
        Ok(Self { shared, settings: Mutex::new(settings) })
    }

    /// The access log of one worker, which counts what it drops in `stats`.
    pub fn access_log(&self, stats: Arc<WorkerStats>) -> AccessLog {
        let queue = Arc::new(Queue::new());
        self.shared.send(WriterMessage::Worker(Arc::clone(&queue)));
        AccessLog {
            shared: Arc::clone(&self.shared),
            queue,
            stats,
            formatter: Formatter::default(),
            batch: Vec::with_capacity(2 * BATCH_BYTES),
        }
    }

    /// Opens files again whose path leads elsewhere now, because another program has moved them (SIGUSR1).
    pub fn reopen(&self) {
        self.shared.send(WriterMessage::Reopen);
    }

    /// Changes to other settings. If a target cannot be opened, that is returned as an error, and nothing has changed. Lines handed over
    /// before this call go to the old targets, later ones to the new ones. It waits for the writer (a moment, unless a disk hangs), so
    /// a worker must not call it.
    pub fn reconfigure(&self, settings: LogSettings) -> io::Result<()> {
        const PATIENCE: Duration = Duration::from_secs(1);
        let mut current = self.settings.lock().unwrap_or_else(PoisonError::into_inner);
        let access = if settings.access != current.access { Some(open_access(&settings)?) } else { None };
        let errors = if settings.errors != current.errors { Some(open_errors(&settings)?) } else { None };
        let (in_use, wait) = mpsc::channel();
        let targets = Targets { access, errors, rotate: settings.rotate, in_use };
        self.shared.send(WriterMessage::Targets(Box::new(targets)));
        let _ = wait.recv_timeout(PATIENCE);
        self.shared.note(&settings);
        *current = settings;
        Ok(())
    }

    /// How many lines of the access log were handed over and then refused by its target. Together with every worker's
    /// `access_log_dropped` these are the lost lines.
    pub fn access_lost(&self) -> u64 {
        self.shared.access_lost.load(Relaxed)
    }

    /// Writes what was handed over, and ends the thread. A target that hangs is waited for up to `limit`; returns false if that was not
    /// enough. Later diagnostics go to standard error.
    pub fn shutdown(&self, limit: Duration) -> bool {
        self.shared.send(WriterMessage::End(Instant::now() + limit));
        // The thread is not joined, because a write to a disk that hangs cannot be interrupted.
        self.shared.wait_for_end(limit)
    }

    pub(super) fn shared(&self) -> Arc<SharedLogs> {
        Arc::clone(&self.shared)
    }
}

impl AccessLog {
    /// Whether the access log is on; if not, no record needs to be made.
    pub fn is_on(&self) -> bool {
        self.shared.format().is_some()
    }

    /// Adds a line to this turn's batch.
    pub fn line(&mut self, record: &Record<'_>) {
        let Some(format) = self.shared.format() else { return };
        self.formatter.line(format, record, &mut self.batch);
        if self.batch.len() >= BATCH_BYTES {
            self.hand_over();
        }
    }

    /// Hands the batch over to the writer. Called at the end of each turn.
    pub fn hand_over(&mut self) {
        if self.batch.is_empty() {
            return;
        }
        let dropped = self.queue.push(&self.batch);
        self.batch.clear();
        if dropped.lines > 0 {
            self.stats.access_log_dropped.add(dropped.lines);
        }
        self.shared.wake(ACCESS, dropped);
    }
}

impl Drop for AccessLog {
    fn drop(&mut self) {
        self.hand_over();
    }
}

fn open_access(settings: &LogSettings) -> io::Result<Sink> {
    open("logging.access_log", "\"-\" (standard output) or null", settings.access.as_ref(), settings.rotate)
}

fn open_errors(settings: &LogSettings) -> io::Result<Sink> {
    open("logging.error_log", "\"-\" (standard error)", Some(&settings.errors), settings.rotate)
}

fn open(key: &str, instead: &str, target: Option<&SinkTarget>, rotate: Option<Rotation>) -> io::Result<Sink> {
    Sink::open(target, rotate).map_err(|e| {
        let target = target.map(SinkTarget::to_string).unwrap_or_default();
        let remedy = match e.kind() {
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => "let this user write there",
            io::ErrorKind::IsADirectory => "name a file in it",
            // ENXIO: a named pipe without a reader.
            _ if e.raw_os_error() == Some(rustix::io::Errno::NXIO.raw_os_error()) => "start the reader of that pipe first",
            _ => "check the path",
        };
        io::Error::new(e.kind(), format!("{key}: cannot open {target}: {e}: {remedy}, or set another path, {instead}"))
    })
}

#[cfg(test)]
#[path = "writer_tests.rs"]
mod tests;
