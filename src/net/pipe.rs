//! A pipe of the kernel: bytes go from socket to socket through it without being copied (splice(2)).

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// What one is asked to hold.
pub const PIPE_BYTES: usize = 512 * 1024;

/// Both ends. What lies in it when it is dropped is lost.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipe {
    /// An empty one.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // A small one, which is what a user beyond the quota gets, costs more calls than it saves copies.
        fcntl_setpipe_size(&writer, PIPE_BYTES)?;
        Ok(Self { reader, writer })
    }

    pub(super) fn fill(&mut self, from: impl AsFd, most: usize) -> io::Result<usize> {
        retried(|| splice(&from, None, &self.writer, None, most, SpliceFlags::NONBLOCK | SpliceFlags::MOVE))
    }

    pub(super) fn empty(&mut self, to: impl AsFd, most: usize) -> io::Result<usize> {
        retried(|| splice(&self.reader, None, &to, None, most, SpliceFlags::NONBLOCK | SpliceFlags::MOVE))
    }
}

fn retried(mut attempt: impl FnMut() -> Result<usize, Errno>) -> io::Result<usize> {
    loop {
        match attempt() {
            Err(Errno::INTR) => {}
            outcome => return Ok(outcome?),
        }
    }
}
