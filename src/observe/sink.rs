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
    out: Out,
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
enum Out {
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
            None => (Out::Off, (0, 0)),
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
                    true => (Out::File(LogFile::new(path, file, rotate)), identity),
                    false => (Out::Stream(LogStream::own(file)), identity),
                }
            }
        };
        Ok(Self::new(target.cloned(), out, identity))
    }

    fn new(target: Option<SinkTarget>, out: Out, identity: (u64, u64)) -> Self {
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
                Out::Off => Ok(lines.len()),
                Out::File(file) => file.write_some(lines, self.torn, &mut self.trouble),
                Out::Stream(stream) => stream.write_some(lines),
                #[cfg(test)]
                Out::Scripted(script) => script.write_some(lines),
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
        let Out::File(file) = &mut self.out else { return };
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
        if let Out::File(file) = &mut self.out {
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
            Out::Stream(stream) if self.blocked => Some(stream.fd()),
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

fn inherited(fd: BorrowedFd<'_>) -> io::Result<(Out, (u64, u64))> {
    Ok((Out::Stream(LogStream::inherited(fd)?), identity(fd)?))
}

fn identity(fd: BorrowedFd<'_>) -> io::Result<(u64, u64)> {
    let stat = rustix::fs::fstat(fd)?;
    Ok((stat.st_dev, stat.st_ino))
}

#[cfg(test)]
mod tests {
    use super::*;
    use rustix::io::Errno;
    use std::io::{PipeReader, Read};

    /// A target that takes that many bytes of each write, or fails it; stores what it has taken.
    #[derive(Debug, Default)]
    pub(super) struct Script {
        steps: Vec<Result<usize, Errno>>,
        taken: Vec<u8>,
    }

    impl Script {
        pub(super) fn write_some(&mut self, lines: &[u8]) -> io::Result<usize> {
            if self.steps.is_empty() {
                self.taken.extend_from_slice(lines);
                return Ok(lines.len());
            }
            let n = self.steps.remove(0)?.min(lines.len());
            self.taken.extend_from_slice(&lines[..n]);
            Ok(n)
        }
    }

    /// Writes these batches, one after the other, and returns what the target got.
    fn play(steps: &[Result<usize, Errno>], batches: &[&str]) -> (String, Sink) {
        let mut sink = Sink::new(None, Out::Scripted(Script { steps: steps.into(), taken: vec![] }), (1, 1));
        for batch in batches {
            sink.buffer().extend_from_slice(batch.as_bytes());
            while !sink.flush() {}
        }
        let Out::Scripted(script) = &sink.out else { unreachable!() };
        (String::from_utf8(script.taken.clone()).unwrap(), sink)
    }

    #[test]
    fn short_writes_and_waits_lose_nothing() {
        let steps = [Ok(2), Err(Errno::AGAIN), Ok(1), Err(Errno::INTR), Ok(4), Err(Errno::AGAIN)];
        let (taken, mut sink) = play(&steps, &["one\ntwo\n", "three\n"]);
        assert_eq!(taken, "one\ntwo\nthree\n");
        assert_eq!((sink.take_lost(), sink.take_trouble()), (0, None));
    }

    #[test]
    fn a_failure_costs_whole_lines_and_tears_none() {
        let full = Err(Errno::NOSPC);
        // The disk becomes full in the middle of "two", and is still full when "four" comes.
        let (taken, mut sink) = play(&[Ok(6), full, full], &["one\ntwo\nthree\n", "four\n", "five\n"]);
        assert_eq!(taken, "one\ntwo\nfive\n");
        assert_eq!(sink.take_lost(), 2);
        assert!(sink.take_trouble().unwrap().contains("No space left"));
        assert!(!sink.is_failing(), "it works again");
    }

    #[test]
    fn a_failure_between_lines_leaves_nothing_behind() {
        let (taken, mut sink) = play(&[Ok(4), Err(Errno::PIPE), Ok(0)], &["one\ntwo\n", "three\n", "four\n"]);
        assert_eq!(taken, "one\nfour\n");
        assert_eq!(sink.take_lost(), 2);
    }

    fn pipe() -> (PipeReader, Sink, Sink) {
        let (reader, writer) = io::pipe().unwrap();
        let sink = || {
            let (out, identity) = inherited(writer.as_fd()).unwrap();
            Sink::new(None, out, identity)
        };
        (reader, sink(), sink())
    }

    #[test]
    fn two_logs_on_one_pipe_do_not_cut_each_others_lines() {
        let (mut reader, mut one, two) = pipe();
        let long = "x".repeat(1 << 18) + "\n"; // no pipe takes it at once
        one.buffer().extend_from_slice(long.as_bytes());
        assert!(!one.flush() && one.is_blocked());
        assert!(two.must_wait_for(&one) && !one.must_wait_for(&two));
        let mut read = vec![0; long.len()];
        let mut at = 0;
        while at < read.len() {
            at += reader.read(&mut read[at..]).unwrap();
            one.flush();
        }
        assert!(!two.must_wait_for(&one));
        assert_eq!(read, long.as_bytes());
    }

    #[test]
    fn a_closed_pipe_fails_and_does_not_block() {
        let (reader, mut sink, _) = pipe();
        drop(reader);
        sink.buffer().extend_from_slice(b"one\ntwo\n");
        assert!(sink.flush() && sink.is_failing());
        assert_eq!(sink.take_lost(), 2);
        assert!(sink.take_trouble().unwrap().contains("Broken pipe"));
    }

    #[test]
    fn a_file_opened_anew_begins_with_a_whole_line() {
        let dir = tempfile::tempdir().unwrap();
        let (path, moved) = (dir.path().join("access.log"), dir.path().join("moved"));
        fs::write(&path, "").unwrap();
        let mut sink = Sink::open(Some(&SinkTarget::File(path.clone())), Some(Rotation { max_bytes: 100, keep: 1 })).unwrap();
        // As after a disk was full: half a line is written, and the rest is waiting.
        fs::write(&path, "half").unwrap();
        sink.torn = true;
        sink.buffer().extend_from_slice(b" and half\nwhole\n");
        fs::rename(&path, &moved).unwrap();
        sink.reopen();
        assert!(sink.flush());
        assert_eq!(fs::read_to_string(&moved).unwrap(), "half and half\n");
        assert_eq!(fs::read_to_string(&path).unwrap(), "whole\n");
    }

    #[test]
    fn a_log_that_is_off_takes_everything() {
        let mut sink = Sink::open(None, None).unwrap();
        sink.buffer().extend_from_slice(b"one\n");
        assert!(sink.flush());
        assert_eq!((sink.take_lost(), sink.unwritten()), (0, 0));
    }
}
