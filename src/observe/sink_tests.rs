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
    let mut sink = Sink::new(None, SinkOutput::Scripted(Script { steps: steps.into(), taken: vec![] }), (1, 1));
    for batch in batches {
        sink.buffer().extend_from_slice(batch.as_bytes());
        while !sink.flush() {}
    }
    let SinkOutput::Scripted(script) = &sink.out else { unreachable!() };
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
