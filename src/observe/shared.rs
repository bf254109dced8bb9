//! What the writer thread shares with those who hand it lines.

use super::access::Format;
use super::escape::Message;
use super::file::Rotation;
use super::queue::{Dropped, Queue};
use super::quiet::HeldWarning;
use super::settings::LogSettings;
use super::sink::{Sink, SinkTarget};
use super::stamp::DateStamp;
use super::stream::standard_error_now;
use rustix::event::{EventfdFlags, eventfd};
use std::fmt::{self, Write};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bits of [`SharedLogs::asleep`]: which lines wake the writer.
pub(super) const ACCESS: u8 = 1;
pub(super) const DIAGNOSTICS: u8 = 2;

/// How long a line that bypasses the writer may wait; only before the writer starts and after it has ended.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct SharedLogs {
    pub(super) diagnostics: Arc<Queue>,
    /// Not 0 while the writer sleeps: which lines wake it. It is stored before the writer looks at the queues for the last time; whoever
    /// pushes reads it afterwards. The queue's lock orders the two, so no line is overlooked.
    pub(super) asleep: AtomicU8,
    /// An eventfd that is readable when the writer must wake up.
    pub(super) alarm: OwnedFd,
    /// How many lines of the access log its target refused.
    pub(super) access_lost: AtomicU64,
    letters: Mutex<Vec<WriterMessage>>,
    /// Warnings that are held back: a pause of a kind adds one at most.
    held: Mutex<Vec<HeldWarning>>,
    /// The format of the access log: 0 is off, otherwise 1 + `Format as u8`.
    format: AtomicU8,
    errors_on_standard_error: AtomicBool,
    ended: Mutex<bool>,
    ended_now: Condvar,
}

/// Messages to the writer. They are rare, and always wake it.
#[derive(Debug)]
pub(super) enum WriterMessage {
    /// There is one more worker.
    Worker(Arc<Queue>),
    /// Check whether files have been moved.
    Reopen,
    /// Write to these targets from now on.
    Targets(Box<Targets>),
    /// Write what there is until this time, then end.
    End(Instant),
}

/// New targets; `None` means unchanged.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) access: Option<Sink>,
    pub(super) errors: Option<Sink>,
    pub(super) rotate: Option<Rotation>,
    /// Dropped once they are in use, which tells whoever waits for it.
    pub(super) in_use: mpsc::Sender<()>,
}

impl SharedLogs {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            diagnostics: Arc::new(Queue::new()),
            asleep: AtomicU8::new(0),
            alarm: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            access_lost: AtomicU64::new(0),
            letters: Mutex::default(),
            held: Mutex::default(),
            format: AtomicU8::new(0),
            errors_on_standard_error: AtomicBool::new(false),
            ended: Mutex::new(false),
            ended_now: Condvar::new(),
        })
    }

    /// Stores the settings that everyone reads and the writer does not need.
    pub(super) fn note(&self, settings: &LogSettings) {
        self.format.store(if settings.access.is_some() { 1 + settings.format as u8 } else { 0 }, Relaxed);
        self.errors_on_standard_error.store(settings.errors == SinkTarget::StandardError, Relaxed);
    }

    /// The format; `None` if the access log is turned off.
    pub(super) fn format(&self) -> Option<Format> {
        const FORMATS: [Format; 3] = [Format::Text, Format::Combined, Format::Json];
        FORMATS.get(usize::from(self.format.load(Relaxed)).wrapping_sub(1)).copied()
    }

    /// After a push: wakes the writer if it sleeps and waits for these lines, or if it does not know that lines were dropped.
    pub(super) fn wake(&self, lines: u8, dropped: Dropped) {
        let wanted = self.asleep.load(Relaxed) & lines != 0 && self.asleep.swap(0, Relaxed) != 0;
        if wanted || dropped.is_first {
            self.ring();
        }
    }

    pub(super) fn send(&self, letter: WriterMessage) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
        self.ring();
    }

    pub(super) fn take_letters(&self) -> Vec<WriterMessage> {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Holds a warning back, and wakes the writer, so that it knows when to tell it.
    pub(super) fn hold(&self, held: HeldWarning) {
        self.held.lock().unwrap_or_else(PoisonError::into_inner).push(held);
        self.ring();
    }

    /// Logs the warnings that are due by then, or all. Returns when the next is due.
    pub(super) fn tell_held(&self, by: Option<Instant>) -> Option<Instant> {
        let mut all = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let due: Vec<HeldWarning> = all.extract_if(.., |held| by.is_none_or(|by| held.due() <= by)).collect();
        let next = all.iter().map(HeldWarning::due).min();
        drop(all);
        for held in due.iter().filter(|_| log::Level::Warn <= log::max_level()) {
            held.tell(|target, line| self.diagnose(log::Level::Warn, target, line));
        }
        next
    }

    /// Writes one diagnostic as one line: `2026-01-02T03:04:05.678Z WARN upstream: message`.
    pub(super) fn diagnose(&self, level: log::Level, target: &str, message: fmt::Arguments<'_>) {
        let line = line(level, target, message);
        if self.has_ended() {
            return standard_error_now(&line, PATIENCE);
        }
        self.wake(DIAGNOSTICS, self.diagnostics.push(&line));
    }

    /// Writes a diagnostic to standard error in any case.
    pub(super) fn announce(&self, message: fmt::Arguments<'_>) {
        self.diagnose(log::Level::Info, "tidegate", message);
        if !self.errors_on_standard_error.load(Relaxed) {
            standard_error_now(&line(log::Level::Info, "tidegate", message), PATIENCE);
        }
    }

    pub(super) fn end(&self) {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner) = true;
        self.ended_now.notify_all();
    }

    /// Waits for the writer to end, a little longer than it was given.
    pub(super) fn wait_for_end(&self, limit: Duration) -> bool {
        const MARGIN: Duration = Duration::from_millis(100);
        let ended = self.ended.lock().unwrap_or_else(PoisonError::into_inner);
        let wait = self.ended_now.wait_timeout_while(ended, limit + MARGIN, |ended| !*ended);
        *wait.unwrap_or_else(PoisonError::into_inner).0
    }

    fn has_ended(&self) -> bool {
        *self.ended.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn ring(&self) {
        // Fails only when the counter is full: then the writer has been woken already.
        let _ = rustix::io::write(&self.alarm, &1u64.to_ne_bytes());
    }
}

/// Formats a diagnostic; it is escaped, so that it is one line whatever the message has in it.
pub(super) fn line(level: log::Level, target: &str, message: fmt::Arguments<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(128);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    DateStamp::default().iso(now.as_millis() as u64, &mut line);
    // Fails only if a `Display` in the message does: then the text up to there is kept.
    let _ = write!(Message(&mut line), " {level} {target}: {message}");
    line.push(b'\n');
    line
}
