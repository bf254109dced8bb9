//! Whether the configuration file has changed: it is looked at now and then. What a symbolic link leads to counts, for Kubernetes
//! and the like change a link, not a file.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

/// How often it is looked at.
pub(super) const INTERVAL: Duration = Duration::from_secs(1);

/// What tells one state of a file from another: device, inode, size, time of the last change in nanoseconds.
type Stamp = (u64, u64, u64, i128);

/// See the module.
#[derive(Debug)]
pub(super) struct Watch {
    /// `None`: there is nothing to look at.
    path: Option<PathBuf>,
    /// As it was read last.
    read: Option<Stamp>,
    /// As it was seen last.
    seen: Option<Stamp>,
}

impl Watch {
    /// Of the file as it is now. Standard input is none.
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

    /// It is about to be read, whatever for.
    pub(super) fn is_read(&mut self) {
        self.read = self.look();
        self.seen = self.read;
    }

    /// Looks: whether it has changed since it was read, and seems to be whole, which it does when two looks find the same. A file
    /// that is gone will come back.
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
