//! One log target and the lines that are being written to it. It never waits: what the target does not take now is kept; what it
//! refuses is lost and counted. A target gets whole lines only: when a write fails in the middle of a line, the rest of that line
//! is kept and goes first when the target works again; the whole lines after it are lost.
//!
//! ```text
//!   buffer   |--- written ---|--- rest of a line, if torn ---|--- whole lines ---|
//!            0               at
//! ```

use super::file::{LogFile, Rotation};
use super::queue::{QUEUE_BYTES, count_lines};
use super::stream::{self, LogStream};
use std::fmt;
use std::fs;
use std::io;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::PathBuf;

/// Where lines go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SinkTarget {
    /// `-` for the access log.
    StandardOutput,
    /// `-` for diagnostics.
    StandardError,
    /// A path: a file, which is rotated, or a named pipe or device, which is not.
    File(PathBuf),
}

impl fmt::Display for SinkTarget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::StandardOutput => f.write_str("standard output"),
            Self::StandardError => f.write_str("standard error"),
            Self::File(path) => path.display().fmt(f),
        }
    }
}

#[derive(Debug)]
pub(super) struct Sink {
    target: Option<SinkTarget>,
    out: SinkOutput,
    /// Device and inode: two sinks may write to the same pipe.
    identity: (u64, u64),
    buffer: Vec<u8>,
    at: usize,
    /// Whether what was written last ends in the middle of a line.
    torn: bool,
    blocked: bool,
    failing: bool,
    lost: u64,
    trouble: Option<String>,
}

#[derive(Debug)]
enum SinkOutput {
    /// Turned off: everything is discarded.
    Off,
    File(LogFile),
    Stream(LogStream),
    #[cfg(test)]
    Scripted(tests::Script),
}

impl Sink {
    /// Opens a target; `None` is a log that is turned off. The directory of a file is created if it is missing.
    pub(super) fn open(target: Option<&SinkTarget>, rotate: Option<Rotation>) -> io::Result<Self> {
        let (out, identity) = match target {
            None => (SinkOutput::Off, (0, 0)),
            Some(SinkTarget::StandardOutput) => inherited(io::stdout().as_fd())?,
            Some(SinkTarget::StandardError) => inherited(io::stderr().as_fd())?,
            Some(SinkTarget::File(path)) => {
                if let Some(dir) = path.parent() {
                    fs::create_dir_all(dir)?;
                }
                let file = stream::open(path)?;
                let identity = identity(file.as_fd())?;
                // Files under /dev are not renamed, wherever they lead: /dev/stdout may be a file.
                match file.metadata()?.is_file() && !path.starts_with("/dev") {
                    true => (SinkOutput::File(LogFile::new(path, file, rotate)), identity),
                    false => (SinkOutput::Stream(LogStream::own(file)), identity),
                }
            }
        };
        Ok(Self::new(target.cloned(), out, identity))
    }

    fn new(target: Option<SinkTarget>, out: SinkOutput, identity: (u64, u64)) -> Self {
        Self {
            target,
            out,
            identity,
            buffer: Vec::with_capacity(QUEUE_BYTES),
            at: 0,
            torn: false,
            blocked: false,
            failing: false,
            lost: 0,
            trouble: None,
        }
    }

    /// Where new lines are appended, except while the sink is blocked.
    pub(super) fn buffer(&mut self) -> &mut Vec<u8> {
        &mut self.buffer
    }

    /// Writes what it can without waiting; returns false if the target takes nothing now.
    pub(super) fn flush(&mut self) -> bool {
        self.blocked = false;
        while self.at < self.buffer.len() {
            let lines = &self.buffer[self.at..];
            let written = match &mut self.out {
                SinkOutput::Off => Ok(lines.len()),
                SinkOutput::File(file) => file.write_some(lines, self.torn, &mut self.trouble),
                SinkOutput::Stream(stream) => stream.write_some(lines),
                #[cfg(test)]
                SinkOutput::Scripted(script) => script.write_some(lines),
            };
            match written {
                Ok(0) => return self.give_up(io::ErrorKind::WriteZero.into()),
                Ok(n) => {
                    self.at += n;
                    self.torn = self.buffer[self.at - 1] != b'\n';
                    self.failing = false;
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    self.blocked = true;
                    return false;
                }
                Err(e) => return self.give_up(e),
            }
        }
        self.buffer.clear();
        self.at = 0;
        true
    }

    /// The target failed: drops everything except the rest of a line. The sink goes on accepting lines, which cause the next
    /// attempt.
    fn give_up(&mut self, error: io::Error) -> bool {
        let kept = self.at + self.rest_of_line();
        self.lost += count_lines(&self.buffer[kept..]);
        self.buffer.truncate(kept);
        self.buffer.drain(..self.at);
        self.at = 0;
        self.failing = true;
        self.trouble = Some(error.to_string());
        self.reopen();
        true
    }

    /// Opens a file again if its path leads elsewhere now. The new one begins with a whole line: the rest of a line is written to the
    /// old file.
    pub(super) fn reopen(&mut self) {
        let rest = self.rest_of_line();
        let SinkOutput::File(file) = &mut self.out else { return };
        match file.reopen(&self.buffer[self.at..self.at + rest]) {
            Ok(true) => {
                self.at += rest;
                self.torn = false;
            }
            Ok(false) => {}
            Err(e) => self.trouble = Some(format!("cannot open it again: {e}")),
        }
    }

    fn rest_of_line(&self) -> usize {
        match self.torn {
            true => memchr::memchr(b'\n', &self.buffer[self.at..]).map_or(0, |end| end + 1),
            false => 0,
        }
    }

    pub(super) fn set_rotate(&mut self, rotate: Option<Rotation>) {
        if let SinkOutput::File(file) = &mut self.out {
            file.rotate = rotate;
        }
    }

    /// How many lines are not written yet.
    pub(super) fn unwritten(&self) -> u64 {
        count_lines(&self.buffer[self.at..])
    }

    /// The descriptor to poll for room, if the sink is waiting for it.
    pub(super) fn blocked_on(&self) -> Option<BorrowedFd<'_>> {
        match &self.out {
            SinkOutput::Stream(stream) if self.blocked => Some(stream.fd()),
            _ => None,
        }
    }

    /// Whether the last write would have had to wait.
    pub(super) fn is_blocked(&self) -> bool {
        self.blocked
    }

    /// Whether the last write failed.
    pub(super) fn is_failing(&self) -> bool {
        self.failing
    }

    /// Whether a line written to `self` now would end up in the middle of one of `other`'s: both write to the same pipe, and `other`
    /// waits for room to complete its line.
    pub(super) fn must_wait_for(&self, other: &Self) -> bool {
        other.torn && other.blocked && other.identity == self.identity
    }

    /// Counts lines that were lost before they reached the sink.
    pub(super) fn lose(&mut self, lines: u64) {
        self.lost += lines;
    }

    /// How many lines were lost since the last call.
    pub(super) fn take_lost(&mut self) -> u64 {
        std::mem::take(&mut self.lost)
    }

    /// The latest error since the last call.
    pub(super) fn take_trouble(&mut self) -> Option<String> {
        self.trouble.take()
    }

    pub(super) fn has_trouble(&self) -> bool {
        self.trouble.is_some()
    }

    pub(super) fn target(&self) -> Option<&SinkTarget> {
        self.target.as_ref()
    }
}

fn inherited(fd: BorrowedFd<'_>) -> io::Result<(SinkOutput, (u64, u64))> {
    Ok((SinkOutput::Stream(LogStream::inherited(fd)?), identity(fd)?))
}

fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
#[path = "sink_tests.rs"]
mod tests;
