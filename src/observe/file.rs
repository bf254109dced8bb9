//! A log file: appended to, rotated by size, and opened again when another program has moved it away.
//!
//! A line is never split over two files. Several processes (or both logs of one) may share a file: the one that finds it full moves
//! it, and the others notice that the path has become another file.

use super::queue::whole_lines;
use super::stream;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::{self, Write};
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

/// How long a file that could not be rotated goes on growing before another try.
const ROTATE_AGAIN: Duration = Duration::from_secs(10);

/// `logging.rotate`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Rotation {
    /// A file does not grow beyond this, unless a single line is longer.
    pub max_bytes: u64,
    /// How many old files are kept: `access.log.1`, the newest, to `access.log.<keep>`.
    pub keep: u32,
}

#[derive(Debug)]
pub(super) struct LogFile {
    path: PathBuf,
    file: File,
    pub(super) rotate: Option<Rotation>,
    /// The size as far as it is known: other programs may have truncated the file since.
    size: u64,
    /// The file ends in the middle of a line of another process, which died writing it.
    ends_torn: bool,
    not_before: Option<Instant>,
}

impl LogFile {
    /// `file` is the result of [`stream::open`] for `path`, and a regular file.
    pub(super) fn new(path: &Path, file: File, rotate: Option<Rotation>) -> Self {
        let size = file.metadata().map_or(0, |meta| meta.len());
        let ends_torn = size > 0 && !ends_in_newline(path, size);
        Self { path: path.to_owned(), file, rotate, size, ends_torn, not_before: None }
    }

    /// Writes some lines; rotates first if they would not fit. `torn` says that they begin with the rest of a line. If rotation fails,
    /// the error is stored in `trouble`, and the old file is used further.
    pub(super) fn write_some(&mut self, lines: &[u8], torn: bool, trouble: &mut Option<String>) -> io::Result<usize> {
        if self.ends_torn {
            self.size += self.file.write(b"\n")? as u64;
            self.ends_torn = false;
        }
        let first = memchr::memchr(b'\n', lines).map_or(lines.len(), |end| end + 1);
        if torn {
            return self.append(&lines[..first]);
        }
        let Some(rotate) = self.rotate else { return self.append(lines) };
        if self.check_full(first, rotate)?
            && self.may_rotate()
            && let Err(e) = self.rotate(rotate.keep)
        {
            self.not_before = Some(Instant::now() + ROTATE_AGAIN);
            *trouble = Some(format!("cannot rotate: {e}"));
        }
        let room = rotate.max_bytes.saturating_sub(self.size);
        let fitting = whole_lines(lines, usize::try_from(room).unwrap_or(usize::MAX));
        self.append(&lines[..fitting.max(first)])
    }

    /// Opens the path again if it no longer leads to this file, and then writes `rest` to the old one. Returns whether another file
    /// is open now.
    pub(super) fn reopen(&mut self, rest: &[u8]) -> io::Result<bool> {
        if self.is_at_its_path() {
            return Ok(false);
        }
        if let Some(dir) = self.path.parent() {
            fs::create_dir_all(dir)?;
        }
        let file = stream::open(&self.path)?;
        // The rest of a line belongs to the old file; if it cannot be written there, it is lost.
        let _ = self.file.write_all(rest);
        *self = Self::new(&self.path, file, self.rotate);
        Ok(true)
    }

    fn append(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let written = self.file.write(bytes)?;
        self.size += written as u64;
        Ok(written)
    }

    /// Whether a line of that length does not fit. The file's size is asked for before that is believed: `copytruncate` resets it.
    fn check_full(&mut self, line: usize, rotate: Rotation) -> io::Result<bool> {
        let is_too_much = |size| size > 0 && size + line as u64 > rotate.max_bytes;
        if is_too_much(self.size) {
            self.size = self.file.metadata()?.len();
        }
        Ok(is_too_much(self.size))
    }

    fn may_rotate(&self) -> bool {
        self.not_before.is_none_or(|at| Instant::now() >= at)
    }

    /// Renames every old file to the next number, removes the last, and begins a new file. If the path leads to another file already,
    /// another process has done so.
    fn rotate(&mut self, keep: u32) -> io::Result<()> {
        if self.is_at_its_path() {
            for number in (1..keep).rev() {
                match fs::rename(self.old(number), self.old(number + 1)) {
                    Err(e) if e.kind() != io::ErrorKind::NotFound => return Err(e),
                    _ => {}
                }
            }
            match keep {
                0 => fs::remove_file(&self.path)?,
                _ => fs::rename(&self.path, self.old(1))?,
            }
        }
        self.reopen(&[]).map(drop)
    }

    /// `access.log.<number>`
    fn old(&self, number: u32) -> PathBuf {
        let mut name = OsString::from(&self.path);
        name.push(format!(".{number}"));
        name.into()
    }

    fn is_at_its_path(&self) -> bool {
        let identity = |meta: fs::Metadata| (meta.dev(), meta.ino());
        match (fs::metadata(&self.path), self.file.metadata()) {
            (Ok(there), Ok(here)) => identity(there) == identity(here),
            _ => false,
        }
    }
}

/// A file that cannot be read (but may be writable) is assumed to end with a complete line.
fn ends_in_newline(path: &Path, size: u64) -> bool {
    let mut last = [b'\n'];
    match File::open(path).and_then(|file| file.read_at(&mut last, size - 1)) {
        Ok(_) => last == *b"\n",
        Err(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn open(path: &Path, max_bytes: u64, keep: u32) -> LogFile {
        LogFile::new(path, stream::open(path).unwrap(), Some(Rotation { max_bytes, keep }))
    }

    fn write(log: &mut LogFile, mut lines: &[u8]) {
        while !lines.is_empty() {
            let mut trouble = None;
            lines = &lines[log.write_some(lines, false, &mut trouble).unwrap()..];
            assert_eq!(trouble, None);
        }
    }

    fn read(path: &Path) -> String {
        fs::read_to_string(path).unwrap_or_else(|e| format!("{e}"))
    }

    #[test]
    fn a_file_is_rotated_before_it_grows_too_large_and_between_lines() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut log = open(&path, 12, 2);
        write(&mut log, b"one\ntwo\nthree\nfour\na line that is longer\nfive\nsix\n");
        assert_eq!(read(&path), "five\nsix\n");
        assert_eq!(read(&log.old(1)), "a line that is longer\n");
        assert_eq!(read(&log.old(2)), "three\nfour\n");
        assert!(!log.old(3).exists(), "`keep` are kept");
    }

    #[test]
    fn a_file_that_was_emptied_is_not_full() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut log = open(&path, 12, 2);
        for _ in 0..3 {
            write(&mut log, b"one\ntwo\n");
            fs::write(&path, "").unwrap(); // as `copytruncate` does
        }
        write(&mut log, b"three\nfour\n");
        assert_eq!(read(&path), "three\nfour\n");
        assert!(!log.old(1).exists());
    }

    #[test]
    fn who_leaves_rotation_to_others_rotates_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut log = LogFile::new(&path, stream::open(&path).unwrap(), None);
        let lines = b"line\n".repeat(10_000);
        write(&mut log, &lines);
        assert_eq!((read(&path).len(), log.old(1).exists()), (lines.len(), false));
    }

    #[test]
    fn what_was_there_before_counts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        fs::write(&path, "before\n").unwrap();
        let mut log = open(&path, 10, 5);
        write(&mut log, b"after\n");
        assert_eq!((read(&log.old(1)), read(&path)), ("before\n".into(), "after\n".into()));
    }

    #[test]
    fn two_logs_on_one_path_rotate_it_once() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let (mut a, mut b) = (open(&path, 8, 5), open(&path, 8, 5));
        write(&mut a, b"a1\n");
        write(&mut b, b"b1\n");
        write(&mut a, b"a2 long\n"); // rotates
        write(&mut b, b"b2 long\n"); // finds it done, but for the room
        assert_eq!(read(&a.old(1)), "a1\nb1\n");
        assert_eq!(read(&path), "a2 long\nb2 long\n");
        assert!(!a.old(2).exists());
    }

    #[test]
    fn nothing_is_appended_to_half_a_line() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        fs::write(&path, "torn by a cra").unwrap();
        write(&mut open(&path, 1000, 5), b"whole\n");
        assert_eq!(read(&path), "torn by a cra\nwhole\n");
    }

    #[test]
    fn a_file_that_cannot_be_rotated_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut log = open(&path, 4, 1);
        fs::create_dir_all(log.old(1).join("in the way")).unwrap();
        let mut trouble = None;
        assert_eq!(log.write_some(b"one\n", false, &mut trouble).unwrap(), 4);
        assert_eq!(log.write_some(b"two\n", false, &mut trouble).unwrap(), 4);
        assert!(trouble.unwrap().starts_with("cannot rotate: "));
        assert_eq!(read(&path), "one\ntwo\n");
        let mut trouble = None;
        assert_eq!(log.write_some(b"three\n", false, &mut trouble).unwrap(), 6);
        assert_eq!(trouble, None, "not tried again at once");
    }

    #[test]
    fn the_rest_of_a_line_stays_in_its_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("access.log");
        let mut log = open(&path, 4, 1);
        write(&mut log, b"half");
        assert_eq!(log.write_some(b" rest\nnext\n", true, &mut None).unwrap(), 6);
        write(&mut log, b"next\n");
        assert_eq!((read(&log.old(1)), read(&path)), ("half rest\n".into(), "next\n".into()));
    }

    #[test]
    fn a_file_is_opened_anew_only_when_it_was_moved() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("sub/access.log");
        fs::create_dir(dir.path().join("sub")).unwrap();
        let mut log = open(&path, 1000, 5);
        assert!(!log.reopen(b"").unwrap());
        write(&mut log, b"one\n");
        fs::rename(dir.path().join("sub"), dir.path().join("moved")).unwrap();
        assert!(log.reopen(b"").unwrap(), "and its directory is made");
        write(&mut log, b"two\n");
        assert_eq!(read(&dir.path().join("moved/access.log")), "one\n");
        assert_eq!(read(&path), "two\n");
    }
}
