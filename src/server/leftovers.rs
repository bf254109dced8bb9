//! Files that are taken away when the process ends, whichever way it ends.

use super::pid_file::PidFile;
use crate::net::unix::SocketFile;
use std::sync::{Mutex, PoisonError, Weak};

/// The id of the process, and the sockets that it listens on.
#[derive(Debug)]
pub(super) struct Leftovers {
    pub(super) pid_file: PidFile,
    sockets: Mutex<Vec<Weak<SocketFile>>>,
}

impl Leftovers {
    pub(super) fn new(pid_file: PidFile) -> Self {
        Self { pid_file, sockets: Mutex::default() }
    }

    /// These are the sockets from now on.
    pub(super) fn set_sockets(&self, files: Vec<Weak<SocketFile>>) {
        *self.sockets.lock().unwrap_or_else(PoisonError::into_inner) = files;
    }

    /// May be called more than once: every way out of the process does that.
    pub(super) fn remove(&self) {
        self.pid_file.remove();
        let sockets = self.sockets.lock().unwrap_or_else(PoisonError::into_inner);
        sockets.iter().filter_map(Weak::upgrade).for_each(|file| file.remove());
    }
}

impl Drop for Leftovers {
    fn drop(&mut self) {
        self.remove();
    }
}
