//! Whether the configuration file has changed, found by looking at it regularly. A symbolic link is followed, because Kubernetes
//! replaces the link and not the file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// The time between two looks.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// Tells one state of a file from another: device, inode, size, time of the last change in nanoseconds.
type Stamp = (u64, u64, u64, i128);

/// A watched file.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None` if there is no file to look at.
    path: Option<PathBuf>,
    /// Its state when it was last read.
    read: Option<Stamp>,
    /// Its state when it was last looked at.
    seen: Option<Stamp>,
}

impl Watch {
    /// Watches the file from now on. Standard input is not watched.
    pub(super) fn new(path: Option<&Path>, cwd: &Path) -> Self {
        let path = path.map(|path| cwd.join(path)).filter(|path| path.is_file());
        let mut watch = Self { path, read: None, seen: None };
        watch.is_read();
        watch
    }

    /// Whether there is a file to look at.
    pub(super) fn has_file(&self) -> bool {
        self.path.is_some()
    }

    /// Notes its state because it is about to be read, for whatever reason.
    pub(super) fn is_read(&mut self) {
        self.read = self.look();
        self.seen = self.read;
    }

    /// Looks, and returns whether it has changed since it was read and seems complete, which it does when two looks find the same. A
    /// missing file does not count as a change.
    pub(super) fn has_changed(&mut self) -> bool {
        let now = self.look();
        let is_whole = now.is_some() && now == std::mem::replace(&mut self.seen, now);
        is_whole && now != self.read
    }

    fn look(&self) -> Option<Stamp> {
        let meta = std::fs::metadata(self.path.as_ref()?).ok()?;
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
        let mut watch = Watch::new(Some(Path::new("config.yaml")), dir.path());
        assert!(watch.has_file() && !watch.has_changed());
        std::fs::write(&file, "ab").unwrap();
        assert!(!watch.has_changed(), "it may grow on");
        std::fs::write(&file, "abc").unwrap();
        assert!(!watch.has_changed());
        assert!(watch.has_changed());
        watch.is_read();
        assert!(!watch.has_changed());
        std::fs::remove_file(&file).unwrap();
        assert!((0..3).all(|_| !watch.has_changed()));
        std::fs::write(&file, "d").unwrap();
        assert!(!watch.has_changed() && watch.has_changed());
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
        let mut watch = Watch::new(Some(Path::new("config.yaml")), dir.path());
        link("2");
        assert!(!watch.has_changed() && watch.has_changed());
        assert!(!Watch::new(None, dir.path()).has_file() && !Watch::new(Some(Path::new("-")), dir.path()).has_file());
    }
}
