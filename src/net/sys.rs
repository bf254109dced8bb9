//! What the operating system is asked beyond sockets.

use rustix::ioctl;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::AsFd;

/// Raises the soft limit of open descriptors to the hard one, and says what it is then.
pub fn raise_descriptor_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Where the system does not let us, the old limit holds.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { current };
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// What this machine is short of: it says nothing about who would have been connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Closing any connection helps.
    Descriptors,
    /// Of the kernel.
    Memory,
    /// To connect from: no port is left, or no interface has an address of that family.
    Address,
}

/// Of a connect that failed at once, or later.
pub fn lack(error: &io::Error) -> Option<Lack> {
    match error.raw_os_error()? {
        libc::EMFILE | libc::ENFILE => Some(Lack::Descriptors),
        libc::ENOBUFS | libc::ENOMEM | libc::ENOSPC => Some(Lack::Memory),
        libc::EADDRNOTAVAIL => Some(Lack::Address),
        _ => None,
    }
}

/// Bytes written to a TCP socket that its other end has not acknowledged, a FIN counted as one.
#[allow(unsafe_code)]
pub fn unacknowledged(socket: impl AsFd) -> usize {
    // What Linux calls SIOCOUTQ has the number of TIOCOUTQ.
    const SIOCOUTQ: ioctl::Opcode = libc::TIOCOUTQ as ioctl::Opcode;
    // SAFETY: the kernel writes one int for this opcode, which is what the getter has room for.
    let queued = unsafe { ioctl::ioctl(socket, ioctl::Getter::<SIOCOUTQ, libc::c_int>::new()) };
    // A socket that cannot be asked is closed: nothing waits in it.
    queued.map_or(0, |n| n.unsigned_abs() as usize)
}

/// Descriptors open now.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count)
}
