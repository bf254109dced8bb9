//! The stream sockets of production: TCP, and Unix.

use super::pipe::Pipe;
use super::sys;
use super::transport::plain::Socket;
use crate::base::address::Address;
use mio::net::{TcpStream, UnixStream};
use rustix::net::{RecvFlags, SendFlags, Shutdown};
use std::io::{self, IoSlice, IoSliceMut};
use std::os::fd::{AsFd, BorrowedFd};

/// A socket that does not block, connected or connecting.
#[derive(Debug)]
#[allow(missing_docs)]
pub enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    /// Begins to connect. A Unix socket whose listener has no room for one more connection at this moment says WouldBlock.
    pub fn connect(address: &Address) -> io::Result<Self> {
        match address {
            Address::Ip(address) => {
                let stream = TcpStream::connect(*address)?;
                stream.set_nodelay(true)?;
                Ok(Self::Tcp(stream))
            }
            Address::Unix(path) => UnixStream::connect(path).map(Self::Unix),
        }
    }
}

impl AsFd for Stream {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match self {
            Self::Tcp(stream) => stream.as_fd(),
            Self::Unix(stream) => stream.as_fd(),
        }
    }
}

impl Socket for Stream {
    type Pipe = Pipe;

    fn pour_in(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        pipe.fill(&*self, most)
    }

    fn pour_out(&mut self, pipe: &mut Pipe, most: usize) -> io::Result<usize> {
        pipe.empty(&*self, most)
    }

    fn peek(&mut self, into: &mut [u8]) -> io::Result<usize> {
        Ok(rustix::net::recv(&*self, into, RecvFlags::PEEK)?.0)
    }

    // The system call is made directly: the C library's wrapper is a cancellation point, which costs two atomic operations.
    fn read(&mut self, into: &mut [IoSliceMut]) -> io::Result<usize> {
        match into {
            [one] => Ok(rustix::net::recv(&*self, &mut **one, RecvFlags::empty())?.0),
            several => Ok(rustix::io::readv(&*self, several)?),
        }
    }

    fn write(&mut self, from: &[IoSlice]) -> io::Result<usize> {
        match from {
            [one] => Ok(rustix::net::send(&*self, one, SendFlags::NOSIGNAL)?),
            several => Ok(rustix::io::writev(&*self, several)?),
        }
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        Ok(rustix::net::shutdown(&*self, Shutdown::Write)?)
    }

    fn reset_on_close(&mut self) {
        // If this fails, the plain close that follows is still right.
        let _ = socket2::SockRef::from(&*self).set_linger(Some(std::time::Duration::ZERO));
    }

    fn take_error(&mut self) -> Option<io::Error> {
        socket2::SockRef::from(&*self).take_error().unwrap_or_else(Some)
    }

    /// What was written to a Unix socket lies in the other end's hands already: no close of ours takes it back.
    fn is_delivered(&self) -> bool {
        matches!(self, Self::Unix(_)) || sys::unacknowledged(self) == 0
    }
}
