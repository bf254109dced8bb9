//! What the operating system is asked beyond sockets.

use rustix::ioctl;
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;
use std::os::fd::AsFd;

/// Raises the soft limit of open descriptors to the hard one, and returns the limit that then holds.
pub fn raise_descriptor_limit() -> usize {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Where this is not permitted, the old limit holds.
    let raised = setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum }).is_ok();
    let limit = if raised { maximum } else { current };
    limit.map_or(usize::MAX, |limit| usize::try_from(limit).unwrap_or(usize::MAX))
}

/// A resource that this machine has run out of. It says nothing about the server that would have been connected to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lack {
    /// Descriptors: closing any connection helps.
    Descriptors,
    /// Memory of the kernel.
    Memory,
    /// A local address: no port is left, or no interface has an address of that family.
    Address,
}

/// Which resource the error of a connect, immediate or later, is about; `None` for other errors.
pub fn lack(error: &io::Error) -> Option<Lack> {
    match error.raw_os_error()? {
        libc::EMFILE | libc::ENFILE => Some(Lack::Descriptors),
        libc::ENOBUFS | libc::ENOMEM | libc::ENOSPC => Some(Lack::Memory),
        libc::EADDRNOTAVAIL => Some(Lack::Address),
        _ => None,
    }
}

/// Bytes written to a TCP socket that its other end has not acknowledged; a FIN counts as one.
#[allow(unsafe_code)]
pub fn unacknowledged(socket: impl AsFd) -> usize {
    // Linux gives SIOCOUTQ the number of TIOCOUTQ.
    const SIOCOUTQ: ioctl::Opcode = libc::TIOCOUTQ as ioctl::Opcode;
    // SAFETY: the kernel writes one int for this opcode, and the getter has room for one.
    let queued = unsafe { ioctl::ioctl(socket, ioctl::Getter::<SIOCOUTQ, libc::c_int>::new()) };
    // A socket that cannot be asked is closed: nothing of it is outstanding.
    queued.map_or(0, |n| n.unsigned_abs() as usize)
}

/// The number of descriptors that are open now.
pub fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").map_or(16, Iterator::count)
}
