//! What the process does on a signal. Worker 0 reads them from its poll.

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

/// The pipe of signals, and what to do with one.
pub(super) fn listen(shared: Arc<Shared>, writer: Arc<Writer>, reload: Sender<()>) -> io::Result<(Signals, OnSignal)> {
    let signals = Signals::new([libc::SIGTERM, libc::SIGINT, libc::SIGHUP, libc::SIGUSR1])?;
    let act = move |signal| match signal {
        libc::SIGUSR1 => writer.reopen(),
        libc::SIGHUP => {
            // The reloader lives as long as the process.
            let _ = reload.send(());
        }
        _ if shared.panel.draining.swap(true, SeqCst) => {
            log::warn!("second signal: ending at once");
            writer.shutdown(LAST_LINES);
            std::process::exit(0);
        }
        _ => {
            log::info!("{}: finishing what is in flight", if signal == libc::SIGINT { "SIGINT" } else { "SIGTERM" });
            shared.mailboxes.iter().for_each(|mailbox| mailbox.post(Mail::Drain));
        }
    };
    Ok((signals, Box::new(act)))
}
