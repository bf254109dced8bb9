//! Unix sockets that are listened on: their files in the file system.

use socket2::{Domain, SockAddr, Socket, Type};
use std::fs::{self, Metadata, Permissions};
use std::io::{self, ErrorKind};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::Path;
use std::sync::Arc;

/// Opens a socket at a path, with these permissions from its first moment on. What a process left there that has ended is replaced;
/// where somebody listens, or lies anything but a socket, it fails.
pub fn listen(path: &Arc<Path>, mode: u32, backlog: i32) -> io::Result<(UnixListener, SocketFile)> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    let address = SockAddr::unix(path)?;
    match socket.bind(&address) {
        Err(error) if error.kind() == ErrorKind::AddrInUse => {
            remove_stale(path)?;
            socket.bind(&address)?;
        }
        bound => bound?,
    }
    let file = SocketFile { path: path.clone(), identity: identity(&fs::symlink_metadata(path)?) };
    // Until it listens nobody can connect.
    file.set_mode(mode)?;
    socket.listen(backlog)?;
    Ok((std::os::fd::OwnedFd::from(socket).into(), file))
}

fn remove_stale(path: &Path) -> io::Result<()> {
    if !fs::symlink_metadata(path)?.file_type().is_socket() {
        let why = "there is a file, and it is no socket: move it away, or choose another path";
        return Err(io::Error::new(ErrorKind::AlreadyExists, why));
    }
    match connect(path) {
        Err(error) if error.kind() == ErrorKind::ConnectionRefused => fs::remove_file(path),
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        Err(error) if error.kind() != ErrorKind::WouldBlock => Err(error),
        Ok(()) | Err(_) => Err(ErrorKind::AddrInUse.into()),
    }
}

/// A full queue of connections must not keep us waiting.
fn connect(path: &Path) -> io::Result<()> {
    let socket = Socket::new(Domain::UNIX, Type::STREAM, None)?;
    socket.set_nonblocking(true)?;
    socket.connect(&SockAddr::unix(path)?)
}

/// The file of a socket that we listen on: it goes with this.
#[derive(Debug)]
pub struct SocketFile {
    path: Arc<Path>,
    identity: (u64, u64, i64, i64),
}

impl SocketFile {
    /// Changes who may connect.
    pub fn set_mode(&self, mode: u32) -> io::Result<()> {
        fs::set_permissions(&self.path, Permissions::from_mode(mode))
    }

    /// Takes it away, unless another process has put its own in its place.
    pub fn remove(&self) {
        if fs::symlink_metadata(&self.path).is_ok_and(|found| identity(&found) == self.identity) {
            // Somebody else was quicker, or it must stay.
            let _ = fs::remove_file(&self.path);
        }
    }
}

impl Drop for SocketFile {
    fn drop(&mut self) {
        self.remove();
    }
}

/// A number of a file may be given to the next one: the time when it was made tells them apart.
fn identity(file: &Metadata) -> (u64, u64, i64, i64) {
    (file.dev(), file.ino(), file.mtime(), file.mtime_nsec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::net::UnixStream;

    #[test]
    fn a_file_is_replaced_only_where_nobody_listens() {
        let dir = tempfile::tempdir().unwrap();
        let path: Arc<Path> = dir.path().join("a.sock").into();
        let (first, file) = listen(&path, 0o600, 16).unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(listen(&path, 0o600, 16).unwrap_err().kind(), ErrorKind::AddrInUse);
        drop(first);
        let (second, next) = listen(&path, 0o666, 16).unwrap();
        drop(file);
        UnixStream::connect(&path).expect("the file is another's by now");
        drop(next);
        assert!(!path.exists());
        drop(second);
        fs::write(&path, "precious").unwrap();
        let refused = listen(&path, 0o600, 16).unwrap_err();
        assert!(refused.to_string().contains("it is no socket"), "{refused}");
        assert_eq!(fs::read_to_string(&path).unwrap(), "precious");
    }
}
