//! The writer thread. Its turn: letters, one round over all queues, complaints about what was lost, a pause or sleep.
//!
//! It waits in one place only, a poll(2) on its alarm and on the targets that are blocked, so no target holds up the other, and
//! when nothing happens it does not run.

use super::queue::Queue;
use super::shared::{ACCESS, DIAGNOSTICS, Letter, Shared, line};
use super::sink::{Sink, Target};
use super::stream::standard_error_now;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use std::fmt;
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The pause after a round: lines that come meanwhile wake nobody and go with the next one, so that under load a worker makes no
/// system call for its log and the writer at most 500 rounds a second. A person who looks on does not notice it.
const PAUSE: Duration = Duration::from_millis(2);

/// Complaints about a log come at most this often.
const COMPLAINT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct WriterThread {
    shared: Arc<Shared>,
    access: Lane,
    errors: Lane,
    end: Option<Instant>,
}

/// A log: its queues, its target, and what there is to complain about.
#[derive(Debug)]
struct Lane {
    name: &'static str,
    queues: Vec<Arc<Queue>>,
    /// Whose turn it is, for a target that takes little takes it from each worker in turn.
    next: usize,
    sink: Sink,
    lost: u64,
    complained: Option<Instant>,
}

impl WriterThread {
    pub(super) fn new(shared: Arc<Shared>, access: Sink, errors: Sink) -> Self {
        let diagnostics = vec![Arc::clone(&shared.diagnostics)];
        Self { access: Lane::new("access log", vec![], access), errors: Lane::new("error log", diagnostics, errors), shared, end: None }
    }

    pub(super) fn run(mut self) {
        loop {
            for letter in self.shared.take_letters() {
                self.open(letter);
            }
            let moved = self.round();
            let complaint = self.complain();
            match self.end {
                Some(end) if self.is_settled() || Instant::now() >= end => return,
                Some(end) => self.wait(Some(end), 0),
                None if moved => self.wait(Some(Instant::now() + PAUSE), 0),
                None => self.wait(complaint, ACCESS | DIAGNOSTICS),
            }
        }
    }

    fn open(&mut self, letter: Letter) {
        match letter {
            Letter::Worker(queue) => self.access.queues.push(queue),
            Letter::Reopen => {
                self.access.sink.reopen();
                self.errors.sink.reopen();
            }
            Letter::Targets(targets) => {
                self.round();
                for (lane, sink) in [(&mut self.access, targets.access), (&mut self.errors, targets.errors)] {
                    lane.sink.set_rotate(targets.rotate);
                    if let Some(sink) = sink {
                        lane.replace(sink);
                    }
                }
            }
            Letter::End(at) => self.end = Some(at),
        }
    }

    /// Empties every queue once, as far as the targets take it. True if there was anything.
    fn round(&mut self) -> bool {
        let mut moved = false;
        if !self.errors.sink.must_wait_for(&self.access.sink) {
            moved |= self.errors.drain();
        }
        if !self.access.sink.must_wait_for(&self.errors.sink) {
            moved |= self.access.drain();
        }
        self.shared.access_lost.fetch_add(self.access.note_lost(), Relaxed);
        self.errors.note_lost();
        moved
    }

    /// Says what was lost. Returns when there will be more to say.
    fn complain(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let access = match self.access.complaint(now) {
            Complaint::Now(text) => {
                self.warn(format_args!("{text}"));
                None
            }
            Complaint::At(at) => Some(at),
            Complaint::None => None,
        };
        // Of its own failure the error log can tell once it works again; a file can let standard error tell at once.
        let mute = self.errors.sink.is_failing() || self.errors.sink.blocked_on().is_some();
        if mute && self.errors.sink.target() == Some(&Target::StandardError) {
            return access;
        }
        let errors = match self.errors.complaint(now) {
            Complaint::Now(text) if mute => {
                let text = line(log::Level::Warn, module_path!(), format_args!("{text}"));
                standard_error_now(&text, Duration::ZERO);
                None
            }
            Complaint::Now(text) => {
                self.warn(format_args!("{text}"));
                None
            }
            Complaint::At(at) => Some(at),
            Complaint::None => None,
        };
        access.into_iter().chain(errors).min()
    }

    fn warn(&self, text: fmt::Arguments<'_>) {
        if log::Level::Warn <= log::max_level() {
            self.shared.diagnose(log::Level::Warn, module_path!(), text);
        }
    }

    /// Sleeps until a blocked target takes more, someone rings, or the time comes. Of `lines`, those wake it whose target is not
    /// blocked.
    fn wait(&self, until: Option<Instant>, lines: u8) {
        let mut awake_for = 0;
        if !self.access.sink.is_blocked() && !self.access.sink.must_wait_for(&self.errors.sink) {
            awake_for |= lines & ACCESS;
        }
        if !self.errors.sink.is_blocked() && !self.errors.sink.must_wait_for(&self.access.sink) {
            awake_for |= lines & DIAGNOSTICS;
        }
        self.shared.asleep.store(awake_for, Relaxed);
        // The last look, see `Shared::asleep`.
        let missed = (awake_for & ACCESS != 0 && self.access.has_lines()) || (awake_for & DIAGNOSTICS != 0 && self.errors.has_lines());
        if !missed {
            let alarm = self.shared.alarm.as_fd();
            let targets = [&self.access, &self.errors].into_iter().filter_map(|lane| lane.sink.blocked_on());
            let mut fds: Vec<PollFd<'_>> = vec![PollFd::from_borrowed_fd(alarm, PollFlags::IN)];
            fds.extend(targets.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
            let timeout = until.map(|at| {
                let wait = at.saturating_duration_since(Instant::now());
                Timespec { tv_sec: wait.as_secs() as i64, tv_nsec: wait.subsec_nanos().into() }
            });
            match poll(&mut fds, timeout.as_ref()) {
                Err(e) if e != rustix::io::Errno::INTR => std::thread::sleep(PAUSE), // no memory: no reason to spin
                _ => {}
            }
            let _ = rustix::io::read(alarm, &mut [0; 8]);
        }
        self.shared.asleep.store(0, Relaxed);
    }

    fn is_settled(&self) -> bool {
        [&self.access, &self.errors].into_iter().all(|lane| !lane.sink.is_blocked() && !lane.has_lines())
    }
}

/// Whoever waits for the end is told, also if it is a panic.
impl Drop for WriterThread {
    fn drop(&mut self) {
        self.shared.end();
    }
}

enum Complaint {
    None,
    At(Instant),
    Now(String),
}

impl Lane {
    fn new(name: &'static str, queues: Vec<Arc<Queue>>, sink: Sink) -> Self {
        Self { name, queues, next: 0, sink, lost: 0, complained: None }
    }

    fn drain(&mut self) -> bool {
        let mut moved = false;
        for _ in 0..self.queues.len() {
            if !self.sink.flush() {
                return moved;
            }
            self.next = (self.next + 1) % self.queues.len();
            moved |= self.queues[self.next].take(self.sink.buffer());
        }
        self.sink.flush();
        moved
    }

    fn has_lines(&self) -> bool {
        self.queues.iter().any(|queue| !queue.is_empty())
    }

    fn replace(&mut self, sink: Sink) {
        self.lost += self.sink.unwritten();
        self.sink = sink;
    }

    /// Takes over what the sink has lost, and says how much it was.
    fn note_lost(&mut self) -> u64 {
        let lost = self.sink.take_lost();
        self.lost += lost;
        lost
    }

    fn complaint(&mut self, now: Instant) -> Complaint {
        let dropped: u64 = self.queues.iter().map(|queue| queue.dropped()).sum();
        if dropped + self.lost == 0 && !self.sink.has_trouble() {
            return Complaint::None;
        }
        if let Some(next) = self.complained.map(|at| at + COMPLAINT_EVERY).filter(|&next| next > now) {
            return Complaint::At(next);
        }
        self.complained = Some(now);
        let dropped: u64 = self.queues.iter().map(|queue| queue.take_dropped()).sum();
        let lost = std::mem::take(&mut self.lost) + dropped;
        let target = self.sink.target().map(Target::to_string).unwrap_or_default();
        let cause = self.sink.take_trouble();
        let cause = cause.as_deref().unwrap_or("does not keep up");
        Complaint::Now(format!("{}: {target}: {cause}; lines lost: {lost}", self.name))
    }
}
