//! What the writer thread and everyone who hands it lines have between them.

use super::access::Format;
use super::escape::Message;
use super::file::Rotate;
use super::queue::{Dropped, Queue};
use super::sink::{Sink, Target};
use super::stamp::Stamp;
use super::stream::standard_error_now;
use super::writer::Settings;
use rustix::event::{EventfdFlags, eventfd};
use std::fmt::{self, Write};
use std::io;
use std::os::fd::OwnedFd;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, Condvar, Mutex, PoisonError, mpsc};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

/// Bits of [`Shared::asleep`]: which lines wake the writer.
pub(super) const ACCESS: u8 = 1;
pub(super) const DIAGNOSTICS: u8 = 2;

/// For a line that has to go past the writer; only before the work begins and after it has ended.
const PATIENCE: Duration = Duration::from_millis(100);

#[derive(Debug)]
pub(super) struct Shared {
    pub(super) diagnostics: Arc<Queue>,
    /// Not 0 while the writer sleeps: what it has to be woken for. Stored before it looks at the queues for the last time; who
    /// pushes reads it afterwards, and the queue's lock puts the two in an order, so no line is left lying.
    pub(super) asleep: AtomicU8,
    /// An eventfd, readable when the writer is to wake up.
    pub(super) alarm: OwnedFd,
    /// Lines of the access log that its target refused.
    pub(super) access_lost: AtomicU64,
    letters: Mutex<Vec<Letter>>,
    /// Of the access log: 0 is off, else 1 + `Format as u8`.
    format: AtomicU8,
    errors_on_standard_error: AtomicBool,
    ended: Mutex<bool>,
    ended_now: Condvar,
}

/// What the writer is told. Rare, and always with a wake-up.
#[derive(Debug)]
pub(super) enum Letter {
    /// There is one more worker.
    Worker(Arc<Queue>),
    /// See what has become of the files.
    Reopen,
    /// Write elsewhere from now on.
    Targets(Box<Targets>),
    /// Write what there is until then, and end.
    End(Instant),
}

/// New targets; `None` stays as it is.
#[derive(Debug)]
pub(super) struct Targets {
    pub(super) access: Option<Sink>,
    pub(super) errors: Option<Sink>,
    pub(super) rotate: Option<Rotate>,
    /// Dropped, and with that heard by who waits, once they are in use.
    pub(super) in_use: mpsc::Sender<()>,
}

impl Shared {
    pub(super) fn new() -> io::Result<Self> {
        Ok(Self {
            diagnostics: Arc::new(Queue::new()),
            asleep: AtomicU8::new(0),
            alarm: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
            access_lost: AtomicU64::new(0),
            letters: Mutex::default(),
            format: AtomicU8::new(0),
            errors_on_standard_error: AtomicBool::new(false),
            ended: Mutex::new(false),
            ended_now: Condvar::new(),
        })
    }

    /// Lets everyone see the settings that are not the writer's business.
    pub(super) fn note(&self, settings: &Settings) {
        self.format.store(if settings.access.is_some() { 1 + settings.format as u8 } else { 0 }, Relaxed);
        self.errors_on_standard_error.store(settings.errors == Target::StandardError, Relaxed);
    }

    /// `None` if the access log is turned off.
    pub(super) fn format(&self) -> Option<Format> {
        const FORMATS: [Format; 3] = [Format::Text, Format::Combined, Format::Json];
        FORMATS.get(usize::from(self.format.load(Relaxed)).wrapping_sub(1)).copied()
    }

    /// After a push: wakes the writer if it sleeps and wants these lines, or if it does not know of what was dropped.
    pub(super) fn wake(&self, lines: u8, dropped: Dropped) {
        let wanted = self.asleep.load(Relaxed) & lines != 0 && self.asleep.swap(0, Relaxed) != 0;
        if wanted || dropped.is_first {
            self.ring();
        }
    }

    pub(super) fn send(&self, letter: Letter) {
        self.letters.lock().unwrap_or_else(PoisonError::into_inner).push(letter);
        self.ring();
    }

    pub(super) fn take_letters(&self) -> Vec<Letter> {
        std::mem::take(&mut *self.letters.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// One diagnostic, one line: `2026-01-02T03:04:05.678Z WARN upstream: message`.
    pub(super) fn diagnose(&self, level: log::Level, target: &str, message: fmt::Arguments<'_>) {
        let line = line(level, target, message);
        if self.has_ended() {
            return standard_error_now(&line, PATIENCE);
        }
        self.wake(DIAGNOSTICS, self.diagnostics.push(&line));
    }

    /// A diagnostic that goes to standard error in any case.
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

    /// Waits for the writer's end, a little longer than it was given.
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
        // Fails only when the counter is full: then the writer is being woken already.
        let _ = rustix::io::write(&self.alarm, &1u64.to_ne_bytes());
    }
}

/// Escaped: whatever is in the message, it is one line.
pub(super) fn line(level: log::Level, target: &str, message: fmt::Arguments<'_>) -> Vec<u8> {
    let mut line = Vec::with_capacity(128);
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Stamp::default().iso(now.as_millis() as u64, &mut line);
    // Fails only if a `Display` in the message does: then as much as it gave is there.
    let _ = write!(Message(&mut line), " {level} {target}: {message}");
    line.push(b'\n');
    line
}
