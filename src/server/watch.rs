//! Whether a file of the configuration has changed, found by looking at them regularly. Symbolic links are followed, because
//! Kubernetes replaces the link and not the file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time between two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// Tells one state of a file from another: device, inode, size, time of the last change in nanoseconds.
type FileStamp = (u64, u64, u64, i128);

/// The watched files.
#[derive(Debug, Default)]
pub(super) struct Watch(Vec<Watched>);

#[derive(Debug)]
struct Watched {
    path: PathBuf,
    /// Its state when it was last read.
    read: Option<FileStamp>,
    /// Its state when it was last looked at.
    seen: Option<FileStamp>,
}

impl Watch {
    /// Watches these files from now on.
    pub(super) fn new(files: Vec<PathBuf>) -> Self {
        let mut watch = Self::default();
        watch.follow(files);
        watch
    }

    /// Whether there is a file to look at.
    pub(super) fn has_files(&self) -> bool {
        !self.0.is_empty()
    }

    /// Watches these files, as a reload may have read others than the one before. Of those that were watched, the state stays.
    pub(super) fn follow(&mut self, files: Vec<PathBuf>) {
        // Pipes cannot be read twice.
        let files = files.into_iter().filter(|path| path.is_file());
        self.0 = files.map(|path| self.take(&path).unwrap_or_else(|| Watched::new(path))).collect();
    }

    /// Notes their states because they are about to be read, for whatever reason.
    pub(super) fn note_read(&mut self) {
        self.0.iter_mut().for_each(Watched::note_read);
    }

    /// Looks, and returns whether one has changed since they were read, and all seem complete, which they do when two looks find the
    /// same. A missing file does not count as a change.
    pub(super) fn look(&mut self) -> bool {
        // Each is looked at, also after one that does not rest.
        let at_rest = self.0.iter_mut().map(Watched::look_again).fold(true, |all, one| all & one);
        at_rest && self.0.iter().any(Watched::is_other)
    }

    fn take(&mut self, path: &Path) -> Option<Watched> {
        let at = self.0.iter().position(|watched| watched.path == path)?;
        Some(self.0.swap_remove(at))
    }
}

impl Watched {
    fn new(path: PathBuf) -> Self {
        let mut watched = Self { path, read: None, seen: None };
        watched.note_read();
        watched
    }

    fn note_read(&mut self) {
        self.read = self.stamp();
        self.seen = self.read;
    }

    /// Looks, and returns whether it is as at the last look.
    fn look_again(&mut self) -> bool {
        let now = self.stamp();
        now == std::mem::replace(&mut self.seen, now)
    }

    /// Whether it was another file at the last look than when it was read.
    fn is_other(&self) -> bool {
        self.seen.is_some() && self.seen != self.read
    }

    fn stamp(&self) -> Option<FileStamp> {
        let meta = std::fs::metadata(&self.path).ok()?;
        Some((meta.dev(), meta.ino(), meta.size(), i128::from(meta.mtime()) * 1_000_000_000 + i128::from(meta.mtime_nsec())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_change_counts_once_and_when_it_has_come_to_rest() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("config.yaml");
        std::fs::write(&file, "a").unwrap();
        let mut watch = Watch::new(vec![dir.path().join("config.yaml")]);
        assert!(watch.has_files() && !watch.look());
        std::fs::write(&file, "ab").unwrap();
        assert!(!watch.look(), "it may grow on");
        std::fs::write(&file, "abc").unwrap();
        assert!(!watch.look());
        assert!(watch.look());
        watch.note_read();
        assert!(!watch.look());
        std::fs::remove_file(&file).unwrap();
        assert!((0..3).all(|_| !watch.look()));
        std::fs::write(&file, "d").unwrap();
        assert!(!watch.look() && watch.look());
    }

    #[test]
    fn a_link_is_followed() {
        let dir = tempfile::tempdir().unwrap();
        let link = |to: &str| {
            let new = dir.path().join("new");
            std::os::unix::fs::symlink(to, &new).unwrap();
            std::fs::rename(&new, dir.path().join("config.yaml")).unwrap();
        };
        std::fs::write(dir.path().join("1"), "a").unwrap();
        std::fs::write(dir.path().join("2"), "a").unwrap();
        link("1");
        let mut watch = Watch::new(vec![dir.path().join("config.yaml")]);
        link("2");
        assert!(!watch.look() && watch.look());
    }

    #[test]
    fn several_files_are_complete_together() {
        let dir = tempfile::tempdir().unwrap();
        let files = ["a", "b", "c"].map(|name| dir.path().join(name));
        files[..2].iter().for_each(|file| std::fs::write(file, "").unwrap());
        let mut watch = Watch::new(files[..2].to_vec());
        std::fs::write(&files[0], "1").unwrap();
        assert!(!watch.look());
        std::fs::write(&files[1], "1").unwrap();
        assert!(!watch.look(), "the first rests, the second does not");
        assert!(watch.look());

        // A change that was seen before the files are others is not forgotten.
        std::fs::write(&files[2], "").unwrap();
        watch.follow(files[1..].to_vec());
        assert!(watch.look());
        watch.note_read();
        std::fs::write(&files[0], "12").unwrap();
        assert!((0..3).all(|_| !watch.look()), "it is not watched any more");
        std::fs::write(&files[2], "1").unwrap();
        assert!(!watch.look() && watch.look());
        assert!(!Watch::new(vec!["/dev/null".into(), dir.path().join("none")]).has_files());
    }
}
