//! `pid_file`: written as a whole, and removed only by the process whose id it holds.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};

/// The file. It may be removed repeatedly, because every way out of the process does so.
#[derive(Debug)]
pub(super) struct PidFile {
    path: Option<PathBuf>,
    pid: u32,
}

impl PidFile {
    /// A file that is not written yet.
    pub(super) fn new(path: Option<PathBuf>) -> Self {
        Self { path, pid: std::process::id() }
    }

    /// Writes it under another name and renames it: a reader never finds half a number, and a symbolic link at the path is
    /// replaced instead of followed.
    pub(super) fn write(&self) -> io::Result<()> {
        let Some(path) = &self.path else { return Ok(()) };
        let new = beside(path, self.pid);
        let written = create(&new).and_then(|mut file| writeln!(file, "{}", self.pid)).and_then(|()| fs::rename(&new, path));
        written.map_err(|error| {
            // It may not exist.
            let _ = fs::remove_file(&new);
            io::Error::new(error.kind(), format!("pid_file {}: {error}", path.display()))
        })
    }

    /// Removes it, unless another process has put its own there.
    pub(super) fn remove(&self) {
        let Some(path) = &self.path else { return };
        let is_file = fs::symlink_metadata(path).is_ok_and(|meta| meta.is_file());
        let holds = |text: String| text.trim().parse() == Ok(self.pid);
        if is_file && fs::read_to_string(path).is_ok_and(holds) {
            // It may be gone already, or not be removable; neither matters at the end.
            let _ = fs::remove_file(path);
        }
    }
}

impl Drop for PidFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// Replaces what an earlier process with the same id has left; a link that appears in between is not followed.
fn create(path: &Path) -> io::Result<File> {
    match OpenOptions::new().write(true).create_new(true).open(path) {
        Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
            fs::remove_file(path)?;
            OpenOptions::new().write(true).create_new(true).open(path)
        }
        opened => opened,
    }
}

/// `.<name>.<pid>` in the same directory, so that it can be renamed.
fn beside(path: &Path, pid: u32) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    path.with_file_name(format!(".{name}.{pid}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_removed_only_by_whom_it_names() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        let file = PidFile::new(Some(path.clone()));
        file.write().unwrap();
        assert_eq!(fs::read_to_string(&path).unwrap(), format!("{}\n", file.pid));
        fs::write(&path, "1\n").unwrap();
        file.remove();
        assert!(path.exists(), "it was another's");
        file.write().unwrap();
        drop(file);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0);
    }

    #[test]
    fn a_link_is_replaced_and_not_followed() {
        let dir = tempfile::tempdir().unwrap();
        let (path, precious) = (dir.path().join("pid"), dir.path().join("precious"));
        fs::write(&precious, "as it was").unwrap();
        std::os::unix::fs::symlink(&precious, &path).unwrap();
        let file = PidFile::new(Some(path.clone()));
        std::os::unix::fs::symlink(&precious, beside(&path, file.pid)).unwrap();
        file.remove();
        assert!(path.is_symlink(), "it is none of ours");
        file.write().unwrap();
        assert!(!path.is_symlink());
        assert_eq!(fs::read_to_string(&precious).unwrap(), "as it was");
    }

    #[test]
    fn where_it_cannot_be_written_nothing_is_left() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pid");
        fs::create_dir_all(path.join("in the way")).unwrap();
        let error = PidFile::new(Some(path)).write().unwrap_err();
        assert!(error.to_string().starts_with("pid_file /"), "{error}");
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
