//! Sockets that are listened on. TCP addresses are shared by several workers, and several processes, through SO_REUSEPORT; the socket
//! of a Unix one is the same for all workers of one process.

use super::stream::Stream;
use super::unix::{self, SocketFile};
use crate::base::address::{Address, Peer};
use mio::net::{TcpListener, UnixListener};
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::path::Path;
use std::sync::Arc;

/// How many connections may wait to be accepted; the kernel takes the smaller of this and net.core.somaxconn.
const BACKLOG: i32 = 65_535;

/// A socket that listens, and does not block.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum ListenSocket {
    Tcp(TcpListener),
    Unix(UnixListener),
}

impl ListenSocket {
    /// Whether every worker has this very socket, so that a connection is for the first that takes it.
    pub fn is_shared(&self) -> bool {
        matches!(self, Self::Unix(_))
    }

    /// Takes the next connection; WouldBlock where there is none.
    pub fn accept(&self) -> io::Result<(Stream, Peer)> {
        match self {
            Self::Tcp(socket) => socket.accept().map(|(stream, peer)| (Stream::Tcp(stream), peer.into())),
            Self::Unix(socket) => socket.accept().map(|(stream, _)| (Stream::Unix(stream), Peer::Unix)),
        }
    }
}

impl AsFd for ListenSocket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(socket) => socket.as_fd(),
            Self::Unix(socket) => socket.as_fd(),
        }
    }
}

/// One socket for each of several workers.
#[derive(Debug)]
pub struct Listening {
    /// As many as there are workers.
    pub sockets: Vec<ListenSocket>,
    /// Where they listen: the port is known.
    pub bound: Address,
    /// Of a Unix socket.
    pub file: Option<SocketFile>,
}

/// Opens sockets on an address. The kernel chooses the first one's port if none is given; the others share it.
pub fn listen(address: &Address, mode: u32, workers: usize) -> io::Result<Listening> {
    match address {
        Address::Ip(address) => listen_tcp(*address, workers),
        Address::Unix(path) => listen_unix(path, mode, workers),
    }
}

fn listen_tcp(mut bound: SocketAddr, workers: usize) -> io::Result<Listening> {
    let mut sockets = Vec::with_capacity(workers);
    for _ in 0..workers {
        let socket = open(bound, true)?;
        bound = socket.local_addr()?;
        sockets.push(ListenSocket::Tcp(socket));
    }
    Ok(Listening { sockets, bound: bound.into(), file: None })
}

fn listen_unix(path: &Arc<Path>, mode: u32, workers: usize) -> io::Result<Listening> {
    let (socket, file) = unix::listen(path, mode, BACKLOG)?;
    let copy = |_| socket.try_clone().map(|copy| ListenSocket::Unix(UnixListener::from_std(copy)));
    let sockets = (0..workers).map(copy).collect::<io::Result<_>>()?;
    Ok(Listening { sockets, bound: Address::Unix(path.clone()), file: Some(file) })
}

/// Opens the only socket on an address: it fails if another exists, and no other can be opened as long as it exists.
pub fn listen_alone(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, false)
}

/// Whether anybody listens on an address, or on one that overlaps with it. False for port 0.
pub fn is_listened_on(address: SocketAddr) -> bool {
    // A bind without SO_REUSEPORT fails beside any listening socket. This one never listens, so it disturbs nobody.
    let is_taken = |error: io::Error| error.kind() == io::ErrorKind::AddrInUse;
    address.port() != 0 && bind(address, false).is_err_and(is_taken)
}

fn open(address: SocketAddr, is_shared: bool) -> io::Result<TcpListener> {
    let socket = bind(address, is_shared)?;
    socket.listen(BACKLOG)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// TCP_NODELAY is set here, because accepted connections inherit it.
fn bind(address: SocketAddr, is_shared: bool) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    socket.set_reuse_port(is_shared)?;
    socket.set_tcp_nodelay(true)?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    Ok(socket)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_shared_or_it_is_not() {
        let listen = |address: SocketAddr| listen_tcp(address, 1);
        let shared = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let Address::Ip(address) = shared.bound else { unreachable!() };
        assert!(is_listened_on(address) && listen(address).is_ok());
        assert_eq!(listen_alone(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(shared);
        assert!(!is_listened_on(address));
        let alone = listen_alone(address).unwrap();
        assert!(is_listened_on(address) && listen(address).is_err() && listen_alone(address).is_err());
        drop(alone);
        assert!(listen(address).is_ok());
    }

    #[test]
    fn workers_share_what_they_listen_on() {
        let dir = tempfile::tempdir().unwrap();
        let path: Arc<Path> = dir.path().join("a.sock").into();
        for address in [Address::Ip(([127, 0, 0, 1], 0).into()), Address::Unix(path.clone())] {
            let listening = listen(&address, 0o600, 3).unwrap();
            assert_eq!(listening.sockets.len(), 3);
            assert_eq!((listening.file.is_some(), path.exists()), (address.port().is_none(), address.port().is_none()));
        }
        assert!(!path.exists());
    }
}
