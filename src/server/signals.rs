//! What the process does on a signal. Worker 0 reads them from its poll.

use super::pid_file::PidFile;
use crate::observe::writer::Writer;
use crate::worker::OnSignal;
use crate::worker::shared::{Mail, Shared};
use signal_hook_mio::v1_0::Signals;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering::SeqCst;
use std::sync::mpsc::Sender;
use std::time::Duration;

/// What a second signal leaves the log for its last lines.
const LAST_LINES: Duration = Duration::from_millis(200);

/// The pipe of signals. Those that would end a process that knows nothing of them are caught before it is ready; those that are
/// meant to end it do so at once until then.
pub(super) fn catch() -> io::Result<Signals> {
    Signals::new([libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2])
}

/// Catches the rest; what to do with one.
pub(super) fn listen(
    signals: &Signals,
    shared: Arc<Shared>,
    writer: Arc<Writer>,
    pid_file: Arc<PidFile>,
    reload: Sender<()>,
) -> io::Result<OnSignal> {
    [libc::SIGTERM, libc::SIGINT].into_iter().try_for_each(|signal| signals.add_signal(signal))?;
    let act = move |signal| match signal {
        libc::SIGUSR1 => writer.reopen(),
        libc::SIGUSR2 => log::warn!("SIGUSR2 is ignored: a change of the running binary is not built yet"),
        libc::SIGHUP => {
            // The reloader lives as long as the process.
            let _ = reload.send(());
        }
        _ if shared.panel.draining.swap(true, SeqCst) => {
            log::warn!("second signal: ending at once");
            pid_file.remove();
            writer.shutdown(LAST_LINES);
            std::process::exit(0);
        }
        _ => {
            log::info!("{}: finishing what is in flight", if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" });
            shared.mailboxes.iter().for_each(|mailbox| mailbox.post(Mail::Drain));
        }
    };
    Ok(Box::new(act))
}
