//! What the process does on a signal. Signals are caught before the configuration is read, and held until the main thread can
//! serve them.

use super::leftovers::Leftovers;
use super::reload::Task;
use crate::observe;
use crate::observe::stats::WorkerStats;
use crate::observe::writer::Writer;
use crate::worker::shared::{Mail, Shared};
use std::io;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::mpsc::Sender;
use std::time::{Duration, Instant};

/// Ending signals that come this close together count as one: `timeout` and terminals signal a process and also its
/// group.
const ONE_SIGNAL: Duration = Duration::from_millis(100);
/// The signals that end the process.
const ENDING: [i32; 2] = [libc::SIGTERM, libc::SIGINT];

/// The signals of a process that serves.
pub struct Signals {
    received: signal_hook::iterator::Signals,
    ends_at_once: Arc<AtomicBool>,
}

impl Signals {
    /// Holds SIGHUP, SIGUSR1 and SIGUSR2 from now on. SIGTERM and SIGINT end the process until the server runs, also as process 1
    /// of a container, where the kernel ignores them unless there is a handler.
    pub fn hold() -> io::Result<Self> {
        let received = signal_hook::iterator::Signals::new([libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2])?;
        let ends_at_once = Arc::new(AtomicBool::new(true));
        for signal in ENDING {
            signal_hook::flag::register_conditional_shutdown(signal, 0, ends_at_once.clone())?;
        }
        Ok(Self { received, ends_at_once })
    }

    /// Holds SIGTERM and SIGINT too, because from now on there is something to tidy up.
    pub(super) fn hold_all(&self) -> io::Result<()> {
        ENDING.iter().try_for_each(|signal| self.received.add_signal(*signal))?;
        self.ends_at_once.store(false, SeqCst);
        Ok(())
    }

    /// Ends [`SignalHandler::serve`] when it is closed.
    pub(super) fn handle(&self) -> signal_hook::iterator::Handle {
        self.received.handle()
    }
}

/// What signals act on, and what has happened so far.
pub(super) struct SignalHandler {
    shared: Arc<Shared>,
    writer: Arc<Writer>,
    leftovers: Arc<Leftovers>,
    reload: Sender<Task>,
    drain: Option<Draining>,
}

/// The state since the signal that ends the process.
struct Draining {
    since: Instant,
    /// How many exchanges had finished before it.
    finished_before: u64,
    /// When another signal came: nothing is waited for from then on.
    hurried: Option<Instant>,
}

impl SignalHandler {
    pub(super) fn new(shared: Arc<Shared>, writer: Arc<Writer>, leftovers: Arc<Leftovers>, reload: Sender<Task>) -> Self {
        Self { shared, writer, leftovers, reload, drain: None }
    }

    /// Serves signals until the workers have ended.
    pub(super) fn serve(&mut self, signals: &mut Signals) {
        signals.received.forever().for_each(|signal| self.on_signal(signal));
    }

    fn on_signal(&mut self, signal: i32) {
        match signal {
            libc::SIGUSR1 => self.writer.reopen(),
            libc::SIGUSR2 => log::warn!(target: "signal", "SIGUSR2 is ignored: a change of the running binary is not built yet"),
            libc::SIGHUP => {
                // Cannot fail: the reloader lives as long as the process.
                let _ = self.reload.send(Task::Reload);
            }
            _ => self.end(signal),
        }
    }

    fn end(&mut self, signal: i32) {
        match &mut self.drain {
            None => {
                log::info!(target: "signal", "{}: finishing what is in flight", if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" });
                let finished_before = self.sum(|stats| stats.exchanges_finished.value());
                self.drain = Some(Draining { since: Instant::now(), finished_before, hurried: None });
                self.shared.admin.draining.store(true, SeqCst);
                self.shared.mailboxes.iter().for_each(|mailbox| mailbox.post(Mail::Drain));
            }
            Some(drain) if drain.since.elapsed() < ONE_SIGNAL => {}
            Some(drain) if drain.hurried.is_some_and(|hurried| hurried.elapsed() < ONE_SIGNAL) => {}
            Some(drain) if drain.hurried.is_none() => {
                drain.hurried = Some(Instant::now());
                log::warn!(target: "signal", "second signal: ending at once");
                self.shared.mailboxes.iter().for_each(|mailbox| mailbox.post(Mail::Cut));
            }
            // A worker has not reacted to the second signal.
            Some(_) => {
                self.leftovers.remove();
                std::process::exit(0);
            }
        }
    }

    /// Logs the last diagnostic of a process that was told to end.
    pub(super) fn report(&self) {
        observe::log::tell_held();
        if let Some(drain) = &self.drain {
            let finished = self.sum(|stats| stats.exchanges_finished.value()) - drain.finished_before;
            let cut = self.sum(|stats| stats.exchanges_cut.value());
            log::info!(target: "signal", "stopped: {finished} exchanges finished, {cut} cut");
        }
    }

    fn sum(&self, of: impl Fn(&WorkerStats) -> u64) -> u64 {
        self.shared.admin.stats.iter().map(|stats| of(stats)).sum()
    }
}
