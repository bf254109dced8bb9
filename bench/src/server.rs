//! The loop of a server with one thread: what the origin and the relay have in common.

use std::io::{self, ErrorKind};
use std::net::SocketAddr;

use mio::event::Event;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Registry, Token};
use socket2::{Domain, Socket, Type};

const LISTENER: Token = Token(usize::MAX);

/// What a server is told.
pub enum Turn<'a> {
    Accepted(TcpStream),
    /// Of a connection that it has registered.
    Ready(&'a Event),
}

/// On loopback, with as long a queue as the kernel allows.
pub fn listen(port: u16) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&SocketAddr::from(([127, 0, 0, 1], port)).into())?;
    socket.listen(65_535)?;
    Ok(TcpListener::from_std(socket.into()))
}

/// Tells `turn` of everything that happens, until it fails.
pub fn serve(mut listener: TcpListener, mut turn: impl FnMut(&Registry, Turn) -> io::Result<()>) -> io::Result<()> {
    let mut poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    let mut events = Events::with_capacity(1024);
    loop {
        match poll.poll(&mut events, None) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        for event in &events {
            if event.token() != LISTENER {
                turn(poll.registry(), Turn::Ready(event))?;
                continue;
            }
            while let Ok((stream, _)) = listener.accept() {
                turn(poll.registry(), Turn::Accepted(stream))?;
            }
        }
    }
}
