//! The clients: each of a number of connections sends its next request when it has its answer.

use std::io::{self, ErrorKind, Read, Write};
use std::time::{Duration, Instant};

use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

use crate::answer::Answer;
use crate::tls::{Client, Clients, Tls};

/// A proxy that answers nothing for this long has failed, and is not just slow.
const PATIENCE: Duration = Duration::from_secs(20);

/// What a connection does when it has its answer.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Then {
    /// Asks again.
    Again,
    /// Asked for the connection to be closed, waits for that, and another takes its place.
    Close,
    /// Stays open and idle, and another asks.
    Idle,
}

#[derive(Clone, Copy)]
pub enum Until {
    Requests(u64),
    Time { warm: Duration, measured: Duration },
}

pub struct Load {
    pub path: String,
    /// Bytes of the body to send with each request: PUT.
    pub upload: usize,
    /// Bytes of the body that each answer must have.
    pub length: u64,
    pub connections: usize,
    pub then: Then,
    /// Over TLS.
    pub tls: Option<Clients>,
}

/// The result of the measured part.
#[derive(Default)]
pub struct Outcome {
    pub requests: u64,
    /// Bytes in both directions.
    pub bytes: u64,
    pub seconds: f64,
    /// CPU seconds of whatever was watched.
    pub cpu: f64,
    /// Microseconds, sorted.
    pub latencies: Vec<u32>,
    /// Of `Then::Idle`.
    pub idle: Vec<TcpStream>,
}

enum Stream {
    Plain(TcpStream),
    Tls(Box<Tls>),
}

struct Connection {
    stream: Stream,
    /// Where the connection is one of TLS, and the next one in its place will be.
    client: Option<Client>,
    sent: usize,
    answer: Answer,
    since: Instant,
}

/// What all connections share.
struct Shared<'a> {
    load: &'a Load,
    request: Vec<u8>,
    buffer: Vec<u8>,
    bytes: u64,
}

impl Load {
    /// Runs against this port. `cpu` is read at the edges of the measured part. The first thing that is wrong ends it.
    pub fn run(&self, port: u16, until: Until, cpu: impl Fn() -> f64) -> Result<Outcome, String> {
        self.try_run(port, until, cpu).map_err(|error| error.to_string())
    }

    fn try_run(&self, port: u16, until: Until, cpu: impl Fn() -> f64) -> io::Result<Outcome> {
        let mut shared = Shared { load: self, request: self.request(), buffer: vec![0; 256 * 1024], bytes: 0 };
        let mut poll = Poll::new()?;
        let mut connections = self.open_all(&poll, port, &mut shared)?;
        let mut outcome = Outcome::default();
        let (warm, measured) = match until {
            Until::Requests(_) => (Duration::ZERO, Duration::MAX),
            Until::Time { warm, measured } => (warm, measured),
        };
        let (mut begin, mut is_warm) = (Instant::now(), false);
        let (mut cpu_before, mut bytes_before, mut last) = (0.0, 0, begin);
        let mut events = Events::with_capacity(1024);
        loop {
            let now = Instant::now();
            if !is_warm && now - begin >= warm {
                (is_warm, begin, cpu_before, bytes_before) = (true, now, cpu(), shared.bytes);
                (outcome.requests, outcome.latencies) = (0, Vec::new());
            }
            let is_done = match until {
                Until::Requests(requests) => outcome.requests >= requests,
                Until::Time { .. } => is_warm && now - begin >= measured,
            };
            if is_done {
                (outcome.cpu, outcome.seconds) = (cpu() - cpu_before, (now - begin).as_secs_f64());
                outcome.bytes = shared.bytes - bytes_before;
                outcome.latencies.sort_unstable();
                return Ok(outcome);
            }
            if now - last > PATIENCE {
                return Err(io::Error::other(format!("no answer for {} s", PATIENCE.as_secs())));
            }
            match poll.poll(&mut events, Some(Duration::from_millis(10))) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                result => result?,
            }
            for event in &events {
                let number = event.token().0;
                let Some(connection) = connections.get_mut(number) else { continue };
                connection.send(&mut shared)?;
                if !event.is_readable() || !connection.receive(&mut shared, event.is_read_closed())? {
                    continue;
                }
                outcome.requests += 1;
                outcome.latencies.push(connection.since.elapsed().as_micros() as u32);
                last = now;
                if self.then != Then::Again {
                    let old = connection.replace(&poll, number, port)?;
                    if self.then == Then::Idle {
                        outcome.idle.push(old);
                    }
                }
                connection.answer.clear();
                (connection.sent, connection.since) = (0, Instant::now());
                connection.send(&mut shared)?;
            }
        }
    }

    /// All connections, with their first requests.
    fn open_all(&self, poll: &Poll, port: u16, shared: &mut Shared) -> io::Result<Vec<Connection>> {
        let mut connections = Vec::new();
        for number in 0..self.connections {
            let mut client = self.tls.as_ref().map(Clients::client);
            let stream = open(poll, number, port, client.as_mut())?;
            let mut connection = Connection { stream, client, sent: 0, answer: Answer::new(), since: Instant::now() };
            connection.send(shared)?;
            connections.push(connection);
        }
        Ok(connections)
    }

    fn request(&self) -> Vec<u8> {
        let method = if self.upload > 0 {
            format!("PUT {} HTTP/1.1\r\nContent-Length: {}", self.path, self.upload)
        } else {
            format!("GET {} HTTP/1.1", self.path)
        };
        let close = if self.then == Then::Close { "Connection: close\r\n" } else { "" };
        let head = format!(
            "{method}\r\nHost: bench.example\r\nUser-Agent: bench/1.0 (x86_64; linux)\r\nAccept: */*\r\nAccept-Encoding: identity\r\n{close}\r\n"
        );
        let mut request = head.into_bytes();
        request.resize(request.len() + self.upload, b'x');
        request
    }
}

fn open(poll: &Poll, number: usize, port: u16, client: Option<&mut Client>) -> io::Result<Stream> {
    // On loopback the handshake is over when this returns: waiting for it would cost an event each.
    let stream = std::net::TcpStream::connect(("127.0.0.1", port))?;
    stream.set_nonblocking(true)?;
    stream.set_nodelay(true)?;
    let mut stream = TcpStream::from_std(stream);
    poll.registry().register(&mut stream, Token(number), Interest::READABLE | Interest::WRITABLE)?;
    Ok(match client {
        Some(client) => Stream::Tls(Box::new(client.connect(stream)?)),
        None => Stream::Plain(stream),
    })
}

impl Stream {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.read(buffer),
            Self::Tls(tls) => tls.read(buffer),
        }
    }

    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self {
            Self::Plain(socket) => socket.write(bytes),
            Self::Tls(tls) => tls.write(bytes),
        }
    }
}

impl Connection {
    /// Another connection takes its place. The socket of the old one is returned.
    fn replace(&mut self, poll: &Poll, number: usize, port: u16) -> io::Result<TcpStream> {
        let new = open(poll, number, port, self.client.as_mut())?;
        match std::mem::replace(&mut self.stream, new) {
            Stream::Plain(socket) => Ok(socket),
            Stream::Tls(tls) => {
                tls.check_handshake()?;
                Ok(tls.socket)
            }
        }
    }

    /// Writes as much of the request as the socket takes.
    fn send(&mut self, shared: &mut Shared) -> io::Result<()> {
        if let Stream::Tls(tls) = &mut self.stream {
            tls.flush()?;
        }
        while self.sent < shared.request.len() {
            match self.stream.write(&shared.request[self.sent..]) {
                Ok(size) => {
                    self.sent += size;
                    shared.bytes += size as u64;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads what is there; true when the answer is whole (and the connection closed, where that was asked for).
    fn receive(&mut self, shared: &mut Shared, is_closed: bool) -> io::Result<bool> {
        let is_closing = shared.load.then == Then::Close;
        loop {
            match self.stream.read(&mut shared.buffer) {
                Ok(0) if is_closing && self.answer.is_whole() => return Ok(true),
                Ok(0) => return Err(io::Error::other("the connection was closed before the answer was whole")),
                Ok(size) => {
                    shared.bytes += size as u64;
                    self.answer.take(&shared.buffer[..size], shared.load.length).map_err(io::Error::other)?;
                    if self.answer.is_whole() && !is_closing {
                        return Ok(true);
                    }
                    // A short read has emptied the socket: asking again would cost a call for nothing.
                    if size < shared.buffer.len() && !is_closed {
                        return Ok(false);
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
        }
    }
}

/// The nearest-rank percentile of what is sorted.
pub fn percentile(sorted: &[u32], percent: usize) -> u32 {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn percentiles_are_of_the_nearest_rank() {
        let sorted: Vec<u32> = (1..=10).collect();
        assert_eq!([0, 10, 50, 51, 99, 100].map(|percent| percentile(&sorted, percent)), [1, 1, 5, 6, 10, 10]);
        assert_eq!((percentile(&[], 50), percentile(&[7], 99)), (0, 7));
    }
}
