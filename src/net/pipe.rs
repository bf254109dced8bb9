//! A kernel pipe, through which bytes go from socket to socket without being copied (splice(2)).

use rustix::io::Errno;
use rustix::pipe::{PipeFlags, SpliceFlags, fcntl_setpipe_size, pipe_with, splice};
use std::io;
use std::os::fd::{AsFd, OwnedFd};

/// The capacity that is asked for, in bytes.
pub const PIPE_BYTES: usize = 512 * 1024;

/// Both ends of a pipe. What is in it when it is dropped is lost.
#[derive(Debug)]
pub struct Pipe {
    reader: OwnedFd,
    writer: OwnedFd,
}

impl Pipe {
    /// An empty pipe; fails where the full capacity is not granted.
    pub fn new() -> io::Result<Self> {
        let (reader, writer) = pipe_with(PipeFlags::NONBLOCK | PipeFlags::CLOEXEC)?;
        // A user beyond the quota would get a small pipe, which costs more calls than it saves copies.
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
