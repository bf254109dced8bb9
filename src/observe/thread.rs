//! The writer thread. Each turn: messages, one round over all queues, reports of lost lines and of warnings that were held back, then a
//! pause or sleep.
//!
//! It waits in one place only, a poll(2) on its eventfd and on blocked targets, so that no target delays the other, and nothing runs
//! while nothing happens.

use super::queue::{Queue, count_lines};
use super::shared::{ACCESS, DIAGNOSTICS, SharedLogs, WriterMessage, line};
use super::sink::{Sink, SinkTarget};
use super::stream::{standard_error_now, timespec};
use rustix::event::{PollFd, PollFlags, poll};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::Ordering::Relaxed;
use std::time::{Duration, Instant};

/// The pause after a round. Lines that come meanwhile wake nobody and are written in the next round, so that under load a worker
/// makes no system call for its log, and the writer at most 500 rounds a second. People who watch the log do not notice.
const PAUSE: Duration = Duration::from_millis(2);

/// Lost lines of a log are reported at most this often.
const COMPLAINT_EVERY: Duration = Duration::from_secs(1);

#[derive(Debug)]
pub(super) struct WriterThread {
    shared: Arc<SharedLogs>,
    access: LogLane,
    errors: LogLane,
    end: Option<Instant>,
}

/// A log: its queues, its target, and what there is to report.
#[derive(Debug)]
struct LogLane {
    name: &'static str,
    queues: Vec<Arc<Queue>>,
    /// The queue to start with, so that a target that takes little is shared fairly by the workers.
    next: usize,
    sink: Sink,
    lost: u64,
    complained: Option<Instant>,
}

impl WriterThread {
    pub(super) fn new(shared: Arc<SharedLogs>, access: Sink, errors: Sink) -> Self {
        let diagnostics = vec![Arc::clone(&shared.diagnostics)];
        Self {
            access: LogLane::new("access log", vec![], access),
            errors: LogLane::new("error log", diagnostics, errors),
            shared,
            end: None,
        }
    }

    pub(super) fn run(mut self) {
        loop {
            for letter in self.shared.take_letters() {
                self.open(letter);
            }
            let moved = self.round();
            if self.end.is_some_and(|end| self.is_settled() || Instant::now() >= end) {
                return self.finish();
            }
            let report = [self.complain(), self.shared.tell_held(Some(Instant::now()))].into_iter().flatten().min();
            match self.end {
                Some(end) => self.wait(Some(end), ACCESS | DIAGNOSTICS),
                None if moved => self.wait(Some(Instant::now() + PAUSE), 0),
                None => self.wait(report, ACCESS | DIAGNOSTICS),
            }
        }
    }

    fn open(&mut self, letter: WriterMessage) {
        match letter {
            WriterMessage::Worker(queue) => self.access.queues.push(queue),
            WriterMessage::Reopen => {
                self.access.sink.reopen();
                self.errors.sink.reopen();
            }
            WriterMessage::Targets(targets) => {
                self.round();
                for (lane, sink) in [(&mut self.access, targets.access), (&mut self.errors, targets.errors)] {
                    lane.sink.set_rotate(targets.rotate);
                    if let Some(sink) = sink {
                        lane.replace(sink);
                    }
                }
                drop(targets.in_use);
            }
            WriterMessage::End(at) => self.end = Some(at),
        }
    }

    /// Empties every queue once, as far as the targets take the lines. Returns whether there were any.
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

    /// Reports lost lines. Returns when the next report is due.
    fn complain(&mut self) -> Option<Instant> {
        let now = Instant::now();
        let mut due = None;
        if let Some(text) = self.access.complaint(now, &mut due) {
            self.warn(&text);
        }
        // Standard error can report its own failure only when it works again; a file's failure can be reported there at once.
        let mute = self.errors.sink.is_failing() || self.errors.sink.is_blocked();
        if mute && self.errors.sink.target() == Some(&SinkTarget::StandardError) {
            return due;
        }
        match self.errors.complaint(now, &mut due) {
            Some(text) if mute => {
                standard_error_now(&line(log::Level::Warn, "log", format_args!("{text}")), Duration::ZERO);
            }
            Some(text) => self.warn(&text),
            None => {}
        }
        due
    }

    fn warn(&self, text: &str) {
        if log::Level::Warn <= log::max_level() {
            self.shared.diagnose(log::Level::Warn, "log", format_args!("{text}"));
        }
    }

    /// Sleeps until a blocked target takes more, a message comes, or the time is reached. Of the logs in `lines`, those whose target is
    /// not blocked wake it.
    fn wait(&self, until: Option<Instant>, lines: u8) {
        let mut wanted = 0;
        for (lane, other, bit) in [(&self.access, &self.errors, ACCESS), (&self.errors, &self.access, DIAGNOSTICS)] {
            if !lane.sink.is_blocked() && !lane.sink.must_wait_for(&other.sink) {
                wanted |= lines & bit;
            }
        }
        self.shared.asleep.store(wanted, Relaxed);
        // The last look, as described at `SharedLogs::asleep`.
        let missed = (wanted & ACCESS != 0 && self.access.has_lines()) || (wanted & DIAGNOSTICS != 0 && self.errors.has_lines());
        if !missed {
            self.sleep(until);
        }
        self.shared.asleep.store(0, Relaxed);
    }

    fn sleep(&self, until: Option<Instant>) {
        let alarm = self.shared.alarm.as_fd();
        let targets = [&self.access, &self.errors].into_iter().filter_map(|lane| lane.sink.blocked_on());
        let mut fds: Vec<_> = [PollFd::from_borrowed_fd(alarm, PollFlags::IN)].into();
        fds.extend(targets.map(|fd| PollFd::from_borrowed_fd(fd, PollFlags::OUT)));
        let timeout = until.map(|at| timespec(at.saturating_duration_since(Instant::now())));
        match poll(&mut fds, timeout.as_ref()) {
            // Probably out of memory; pause, so that the loop does not spin.
            Err(e) if e != rustix::io::Errno::INTR => std::thread::sleep(PAUSE),
            _ => {}
        }
        if !fds[0].revents().is_empty() {
            let _ = rustix::io::read(alarm, &mut [0; 8]);
        }
    }

    /// The last reports: what was lost since the previous one, and what no target took in time.
    fn finish(&mut self) {
        self.access.abandon();
        self.round();
        self.access.complained = None;
        self.errors.complained = None;
        self.complain();
        self.round();
    }

    fn is_settled(&self) -> bool {
        [&self.access, &self.errors].into_iter().all(|lane| !lane.sink.is_blocked() && !lane.has_lines())
    }
}

/// Tells whoever waits for the end, even after a panic.
impl Drop for WriterThread {
    fn drop(&mut self) {
        self.shared.end();
    }
}

impl LogLane {
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

    /// Replaces the sink; what the old one has not written is lost.
    fn replace(&mut self, sink: Sink) {
        let lost = self.sink.take_lost() + self.sink.unwritten();
        self.sink = sink;
        self.sink.lose(lost);
    }

    /// Gives up everything that is not written yet.
    fn abandon(&mut self) {
        let mut lines = Vec::new();
        for queue in &self.queues {
            queue.take(&mut lines);
        }
        let lost = self.sink.unwritten() + count_lines(&lines);
        self.sink.lose(lost);
    }

    /// Takes over the sink's count of lost lines; returns it.
    fn note_lost(&mut self) -> u64 {
        let lost = self.sink.take_lost();
        self.lost += lost;
        lost
    }

    /// The report that is due now; if it is too early, `due` becomes the earlier of itself and the time for it.
    fn complaint(&mut self, now: Instant, due: &mut Option<Instant>) -> Option<String> {
        let dropped: u64 = self.queues.iter().map(|queue| queue.dropped()).sum();
        if dropped + self.lost == 0 && !self.sink.has_trouble() {
            return None;
        }
        if let Some(next) = self.complained.map(|at| at + COMPLAINT_EVERY).filter(|&next| next > now) {
            *due = Some(due.map_or(next, |due| due.min(next)));
            return None;
        }
        self.complained = Some(now);
        let dropped: u64 = self.queues.iter().map(|queue| queue.take_dropped()).sum();
        let lost = std::mem::take(&mut self.lost) + dropped;
        let target = self.sink.target().map(SinkTarget::to_string).unwrap_or_default();
        let cause = self.sink.take_trouble();
        let cause = cause.as_deref().unwrap_or("does not keep up");
        Some(format!("{}, {target}: {cause}; lines lost: {lost}", self.name))
    }
}
