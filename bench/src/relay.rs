//! The lower bound: a relay that understands nothing. It reads on one side and writes on the other, with an upstream connection for
//! each client. A proxy with one thread that also reads HTTP can hardly be cheaper, unless it copies less.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr};

use mio::net::TcpStream;
use mio::{Interest, Token};

use crate::server::{self, Turn};

/// Client and upstream: side `i` of pair `n` has the token `2 n + i`.
struct Pair {
    sides: [TcpStream; 2],
    /// Read from that side, and not yet taken by the other.
    pending: [Vec<u8>; 2],
    is_ended: [bool; 2],
}

/// Relays from the one port to the other until the process ends.
pub fn run(listen: u16, upstream: u16) -> io::Result<()> {
    let upstream = SocketAddr::from(([127, 0, 0, 1], upstream));
    let (mut pairs, mut next) = (HashMap::new(), 0);
    let mut buffer = vec![0; 64 * 1024];
    server::serve(server::listen(listen)?, |registry, turn| {
        let event = match turn {
            Turn::Ready(event) => event,
            Turn::Accepted(client) => {
                let mut sides = [client, TcpStream::connect(upstream)?];
                for (i, side) in sides.iter_mut().enumerate() {
                    side.set_nodelay(true)?;
                    registry.register(side, Token(2 * next + i), Interest::READABLE | Interest::WRITABLE)?;
                }
                pairs.insert(next, Pair { sides, pending: Default::default(), is_ended: [false; 2] });
                next += 1;
                return Ok(());
            }
        };
        let (number, side) = (event.token().0 / 2, event.token().0 % 2);
        let Some(pair) = pairs.get_mut(&number) else { return Ok(()) };
        let mut result = Ok(());
        if event.is_readable() {
            result = pair.pump(side, &mut buffer, event.is_read_closed());
        }
        if event.is_writable() && !pair.pending[1 - side].is_empty() {
            result = result.and_then(|()| pair.pump(1 - side, &mut buffer, true));
        }
        if result.is_err() || pair.is_ended == [true; 2] && pair.pending.iter().all(Vec::is_empty) {
            pairs.remove(&number);
        }
        Ok(())
    })
}

impl Pair {
    /// From this side to the other, until one of them has to be waited for. Without `to_the_end` a short read is the last.
    fn pump(&mut self, from: usize, buffer: &mut [u8], to_the_end: bool) -> io::Result<()> {
        while !self.is_ended[from] {
            let pending = std::mem::take(&mut self.pending[from]);
            let sent = self.send(1 - from, &pending)?;
            if sent < pending.len() {
                self.pending[from] = pending[sent..].to_vec();
                return Ok(());
            }
            match self.sides[from].read(buffer) {
                Ok(0) => {
                    self.is_ended[from] = true;
                    self.sides[1 - from].shutdown(Shutdown::Write)?;
                }
                Ok(size) => {
                    let sent = self.send(1 - from, &buffer[..size])?;
                    self.pending[from] = buffer[sent..size].to_vec();
                    if size < buffer.len() && !to_the_end {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// How much that side takes. One that is still connecting takes nothing.
    fn send(&mut self, to: usize, bytes: &[u8]) -> io::Result<usize> {
        let mut sent = 0;
        while sent < bytes.len() {
            match self.sides[to].write(&bytes[sent..]) {
                Ok(size) => sent += size,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => break,
                Err(error) => return Err(error),
            }
        }
        Ok(sent)
    }
}
