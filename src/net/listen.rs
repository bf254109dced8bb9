//! Listening sockets that several workers, and several processes, share by SO_REUSEPORT.

use mio::net::TcpListener;
use socket2::{Domain, Protocol, Socket, Type};
use std::io;
use std::net::SocketAddr;

/// How many connections may wait to be accepted; the kernel takes the smaller of this and net.core.somaxconn.
const BACKLOG: i32 = 65_535;

/// Opens one more socket on an address that sockets of ours may share.
pub fn listen(address: SocketAddr) -> io::Result<TcpListener> {
    open(address, true)
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
        let shared = listen(([127, 0, 0, 1], 0).into()).unwrap();
        let address = shared.local_addr().unwrap();
        assert!(is_listened_on(address) && listen(address).is_ok());
        assert_eq!(listen_alone(address).unwrap_err().kind(), io::ErrorKind::AddrInUse);
        drop(shared);
        assert!(!is_listened_on(address));
        let alone = listen_alone(address).unwrap();
        assert!(is_listened_on(address) && listen(address).is_err() && listen_alone(address).is_err());
        drop(alone);
        assert!(listen(address).is_ok());
    }
}
