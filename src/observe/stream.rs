//! A log target that may block: pipe, terminal, socket, and whatever standard output and error are. It is written to only when
//! poll(2) allows it, and at most `PIPE_BUF` bytes at a time, which a pipe takes whole or not at all.

use super::queue::whole_lines;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use rustix::fs::{FileType, OFlags};
use rustix::pipe::PIPE_BUF;
use std::fs::File;
use std::io::{self, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::OpenOptionsExt;
use std::time::Duration;

/// A regular file does not block; this limit only keeps one target from delaying the other for long.
const FILE_CHUNK: usize = 1 << 16;

#[derive(Debug)]
pub(super) struct LogStream {
    file: File,
    chunk: usize,
}

impl LogStream {
    /// Standard output or error. `O_NONBLOCK` belongs to the open file, which is shared with the shell and every other process on that
    /// pipe or terminal, so it is never set here. A pipe or terminal is opened a second time through /proc instead; where that is not
    /// possible (other user, no /proc, a socket) only poll(2) protects from blocking.
    pub(super) fn inherited(fd: BorrowedFd<'_>) -> io::Result<Self> {
        let kind = FileType::from_raw_mode(rustix::fs::fstat(fd)?.st_mode);
        let own = match kind {
            FileType::Fifo | FileType::CharacterDevice => open(format!("/proc/self/fd/{}", fd.as_raw_fd()).as_ref()).ok(),
            _ => None,
        };
        let file = match own {
            Some(file) => file,
            None => fd.try_clone_to_owned()?.into(),
        };
        Ok(Self { file, chunk: if kind == FileType::RegularFile { FILE_CHUNK } else { PIPE_BUF } })
    }

    /// A file opened by [`open`] that is not a regular one.
    pub(super) fn own(file: File) -> Self {
        Self { file, chunk: PIPE_BUF }
    }

    /// Writes some whole lines, or part of a line that is too long. `WouldBlock` if nothing can be taken now.
    pub(super) fn write_some(&mut self, lines: &[u8]) -> io::Result<usize> {
        if !writable(self.file.as_fd(), Duration::ZERO) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let chunk = match whole_lines(lines, self.chunk) {
            0 => self.chunk,
            whole => whole,
        };
        self.file.write(&lines[..chunk])
    }

    pub(super) fn fd(&self) -> BorrowedFd<'_> {
        self.file.as_fd()
    }
}

/// Logs contain data about clients, so only the owner and the group may read them.
const LOG_MODE: u32 = 0o640;

/// Opens for appending, and creates the file if it is missing. Does not block, as opening a pipe without a reader would.
pub(super) fn open(path: &std::path::Path) -> io::Result<File> {
    let flags = (OFlags::NONBLOCK | OFlags::NOCTTY).bits();
    File::options().append(true).create(true).mode(LOG_MODE).custom_flags(flags as i32).open(path)
}

/// Writes to standard error without the writer thread, where that does not exist. What is not taken within `patience` is lost
/// without a report.
pub(super) fn standard_error_now(line: &[u8], patience: Duration) {
    let stderr = io::stderr();
    for chunk in line.chunks(PIPE_BUF) {
        if !writable(stderr.as_fd(), patience) || rustix::io::write(stderr.as_fd(), chunk).is_err() {
            return;
        }
    }
}

/// An error counts as writable: the write then reports it.
fn writable(fd: BorrowedFd<'_>, patience: Duration) -> bool {
    let mut fds = [PollFd::new(&fd, PollFlags::OUT)];
    poll(&mut fds, Some(&timespec(patience))).is_ok_and(|ready| ready > 0)
}

pub(super) fn timespec(duration: Duration) -> Timespec {
    Timespec { tv_sec: duration.as_secs() as i64, tv_nsec: duration.subsec_nanos().into() }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;

    #[test]
    fn an_inherited_pipe_keeps_its_mode() {
        let (_reader, writer) = io::pipe().unwrap();
        let before = rustix::fs::fcntl_getfl(&writer).unwrap();
        let mut stream = LogStream::inherited(writer.as_fd()).unwrap();
        while stream.write_some(b"line\n").is_ok() {}
        assert_eq!(rustix::fs::fcntl_getfl(&writer).unwrap(), before);
        assert!(!before.contains(OFlags::NONBLOCK));
    }

    #[test]
    fn a_pipe_nobody_reads_keeps_nobody_waiting() {
        let (mut reader, writer) = io::pipe().unwrap();
        // As without /proc: the descriptor blocks, and only poll(2) protects.
        let plain = LogStream { file: std::os::fd::OwnedFd::from(writer.try_clone().unwrap()).into(), chunk: PIPE_BUF };
        for mut stream in [plain, LogStream::inherited(writer.as_fd()).unwrap()] {
            let lines = b"some line\n".repeat(10_000);
            let mut written = 0;
            let error = loop {
                match stream.write_some(&lines[written % 10..]) {
                    Ok(n) => written += n,
                    Err(e) => break e,
                }
            };
            assert_eq!(error.kind(), io::ErrorKind::WouldBlock);
            assert_eq!(written % 10, 0, "whole lines");
            let mut read = vec![0; written];
            reader.read_exact(&mut read).unwrap();
            assert!(stream.write_some(b"room again\n").is_ok());
            reader.read_exact(&mut [0; 11]).unwrap();
        }
    }

    #[test]
    fn a_line_longer_than_a_pipe_takes_at_once_goes_in_parts() {
        let (_reader, writer) = io::pipe().unwrap();
        let mut stream = LogStream::inherited(writer.as_fd()).unwrap();
        let long = [b'x'; 2 * PIPE_BUF];
        assert_eq!(stream.write_some(&long).unwrap(), PIPE_BUF);
    }
}
