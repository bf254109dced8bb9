//! Sends a question to name servers, one after the other, until one answers it.

use super::message::{SrvAnswer, SrvReply, question, read};
use std::io::{self, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

/// How long one server has for an answer.
pub(super) const PATIENCE: Duration = Duration::from_secs(2);
/// How often each server is asked: a datagram may be lost.
const ROUNDS: usize = 2;
/// No answer by UDP is longer, unless a longer one was asked for; what exceeds this is cut off, and then malformed.
const MAX_DATAGRAM: usize = 4096;

/// Asks for the SRV records of a name. The first answer counts; a server that fails is passed over.
pub(super) fn ask(servers: &[SocketAddr], name: &str, patience: Duration) -> io::Result<SrvAnswer> {
    let mut failure = io::Error::other("there is no name server to ask");
    for &server in (0..ROUNDS).flat_map(|_| servers) {
        let reply = ask_one(server, name, patience);
        let why = match reply {
            Ok(SrvReply::Answer(answer)) => return Ok(answer),
            Ok(SrvReply::Absent(why)) => return Err(io::Error::other(why)),
            Ok(SrvReply::Useless(why)) => why,
            Ok(SrvReply::Truncated) => "its answer by TCP is cut off".into(),
            Err(error) if is_timeout(&error) => "it does not answer".into(),
            Err(error) => error.to_string(),
        };
        failure = io::Error::other(format!("name server {server}: {why}"));
    }
    Err(failure)
}

fn is_timeout(error: &io::Error) -> bool {
    matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut)
}

fn ask_one(server: SocketAddr, name: &str, patience: Duration) -> io::Result<SrvReply> {
    let id = getrandom::u32().map_err(|error| io::Error::other(error.to_string()))?;
    let question = question(id as u16, name)?;
    match by_udp(server, &question, Deadline::after(patience))? {
        SrvReply::Truncated => by_tcp(server, &question, Deadline::after(patience)),
        reply => Ok(reply),
    }
}

/// The socket's port is random, and the kernel drops what does not come from the server; what does not answer the question is
/// ignored, because somebody else may have forged it.
fn by_udp(server: SocketAddr, question: &[u8], deadline: Deadline) -> io::Result<SrvReply> {
    let any: SocketAddr = if server.is_ipv4() { (Ipv4Addr::UNSPECIFIED, 0).into() } else { (Ipv6Addr::UNSPECIFIED, 0).into() };
    let socket = UdpSocket::bind(any)?;
    socket.connect(server)?;
    socket.send(question)?;
    let mut buffer = [0; MAX_DATAGRAM];
    loop {
        socket.set_read_timeout(Some(deadline.left()?))?;
        let n = match socket.recv(&mut buffer) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            received => received?,
        };
        if let Some(reply) = read(&buffer[..n], question) {
            return Ok(reply);
        }
    }
}

/// Each message is preceded by its length (RFC 1035, section 4.2.2).
fn by_tcp(server: SocketAddr, question: &[u8], deadline: Deadline) -> io::Result<SrvReply> {
    let mut stream = TcpStream::connect_timeout(&server, deadline.left()?)?;
    let length = u16::try_from(question.len()).map_err(io::Error::other)?;
    stream.set_write_timeout(Some(deadline.left()?))?;
    stream.write_all(&[&length.to_be_bytes(), question].concat())?;
    let mut length = [0; 2];
    read_exact(&mut stream, &mut length, deadline)?;
    let mut bytes = vec![0; u16::from_be_bytes(length).into()];
    read_exact(&mut stream, &mut bytes, deadline)?;
    Ok(read(&bytes, question).unwrap_or_else(|| SrvReply::Useless("it answers another question".into())))
}

/// Like `Read::read_exact`, but the deadline is for all of it.
fn read_exact(stream: &mut TcpStream, mut rest: &mut [u8], deadline: Deadline) -> io::Result<()> {
    while !rest.is_empty() {
        stream.set_read_timeout(Some(deadline.left()?))?;
        match stream.read(rest) {
            Ok(0) => return Err(io::Error::other("its answer by TCP ends early")),
            Ok(n) => rest = &mut rest[n..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

#[derive(Clone, Copy)]
struct Deadline(Instant);

impl Deadline {
    fn after(time: Duration) -> Self {
        Self(Instant::now() + time)
    }

    /// The time that is left, never zero; an error if there is none.
    fn left(self) -> io::Result<Duration> {
        let left = self.0.saturating_duration_since(Instant::now());
        if left.is_zero() { Err(ErrorKind::TimedOut.into()) } else { Ok(left) }
    }
}

#[cfg(test)]
#[path = "exchange_tests.rs"]
mod tests;
