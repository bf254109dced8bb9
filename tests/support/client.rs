//! The client of a play: sends any bytes, reads answers strictly, and knows a whole answer from a cut one.

use super::wire::{End, Fields, Wire};
use socket2::{Domain, Socket, Type};
use std::net::{SocketAddr, TcpStream};
use std::os::fd::OwnedFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::Duration;

pub struct Client {
    pub wire: Wire,
}

#[derive(Debug)]
pub struct Response {
    pub version: String,
    pub status: u16,
    pub reason: String,
    pub fields: Fields,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// The size lines of a chunked body.
    pub sizes: Vec<String>,
    /// The 1xx answers that came before.
    pub interim: Vec<u16>,
    /// How it was cut off; `None` if it is complete.
    pub cut: Option<End>,
}

impl Response {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    /// The answer is complete and has that status.
    #[track_caller]
    pub fn expect(self, status: u16) -> Response {
        let body = String::from_utf8_lossy(&self.body[..self.body.len().min(300)]);
        assert_eq!(self.status, status, "{:?} {body:?}", self.fields);
        assert_eq!(self.cut, None, "cut after {} bytes, {:?}", self.body.len(), self.fields);
        self
    }

    #[track_caller]
    pub fn trace_id(&self) -> &str {
        self.fields.get("X-Trace-ID").expect("an X-Trace-ID")
    }
}

/// `GET path` on a connection of its own, which it asks to close.
#[track_caller]
pub fn get(addr: SocketAddr, path: &str) -> Response {
    ask(addr, format!("GET {path} HTTP/1.1\r\nHost: play.test\r\nConnection: close\r\n\r\n"))
}

/// Sends those bytes on a connection of its own and reads one answer.
#[track_caller]
pub fn ask(addr: SocketAddr, bytes: impl AsRef<[u8]>) -> Response {
    let mut client = Client::connect(addr);
    client.send(bytes);
    client.response()
}

impl Client {
    #[track_caller]
    pub fn connect(addr: SocketAddr) -> Client {
        let stream = TcpStream::connect_timeout(&addr, super::PATIENCE).expect("to connect");
        Client::over(stream)
    }

    /// Through a Unix socket: what reads and writes a stream need not know which kind it is.
    #[track_caller]
    pub fn connect_unix(path: impl AsRef<Path>) -> Client {
        Client::over(OwnedFd::from(UnixStream::connect(path).expect("to connect")).into())
    }

    pub fn over(stream: TcpStream) -> Client {
        Client { wire: Wire::new(stream) }
    }

    /// With a receive buffer of about that size, so that little can hide in the kernel.
    pub fn with_small_buffer(addr: SocketAddr, bytes: usize) -> Client {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(bytes).unwrap();
        socket.connect(&addr.into()).expect("to connect");
        Client { wire: Wire::new(socket.into()) }
    }

    pub fn addr(&self) -> SocketAddr {
        self.wire.stream.local_addr().unwrap()
    }

    #[track_caller]
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        self.wire.write(bytes.as_ref()).expect("to send");
    }

    /// Sends as much as the other side takes; a client that sends too much may be cut off.
    pub fn try_send(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), End> {
        self.wire.write(bytes.as_ref())
    }

    /// `GET path`, and the connection stays.
    #[track_caller]
    pub fn get(&mut self, path: &str) -> Response {
        self.send_get(path);
        self.response()
    }

    #[track_caller]
    pub fn send_get(&mut self, path: &str) {
        self.send(format!("GET {path} HTTP/1.1\r\nHost: play.test\r\n\r\n"));
    }

    #[track_caller]
    pub fn post(&mut self, path: &str, body: &str) -> Response {
        let n = body.len();
        self.send(format!("POST {path} HTTP/1.1\r\nHost: play.test\r\nContent-Length: {n}\r\n\r\n{body}"));
        self.response()
    }

    #[track_caller]
    pub fn response(&mut self) -> Response {
        self.response_to("GET")
    }

    #[track_caller]
    pub fn response_to(&mut self, method: &str) -> Response {
        self.try_response_to(method).unwrap_or_else(|end| panic!("no answer, the connection is {end:?}"))
    }

    /// The next final answer, or how the connection ended without one.
    #[track_caller]
    pub fn try_response_to(&mut self, method: &str) -> Result<Response, End> {
        let mut interim = Vec::new();
        let mut response = loop {
            let head = self.head()?;
            match head.status {
                101 | 200.. => break head,
                early => interim.push(early),
            }
        };
        response.interim = interim;
        response.cut = self.body(&mut response, method).err();
        Ok(response)
    }

    /// The next head, be it interim or final; its body is still to come.
    #[track_caller]
    pub fn head(&mut self) -> Result<Response, End> {
        let head = self.wire.head()?;
        let (version, rest) = head.start.split_once(' ').expect("a status line");
        let (status, reason) = rest.split_once(' ').expect("a status line with its second space");
        assert!(["HTTP/1.1", "HTTP/1.0"].contains(&version), "bad version {version:?}");
        assert!(status.len() == 3 && status.bytes().all(|b| b.is_ascii_digit()), "bad status {status:?}");
        Ok(Response {
            version: version.into(),
            status: status.parse().unwrap(),
            reason: reason.into(),
            fields: head.fields,
            body: Vec::new(),
            trailers: Fields::default(),
            sizes: Vec::new(),
            interim: Vec::new(),
            cut: None,
        })
    }

    /// RFC 9112 6.3, as a client reads it.
    fn body(&mut self, response: &mut Response, method: &str) -> Result<(), End> {
        let (coding, length) = (response.fields.get("Transfer-Encoding"), response.fields.get("Content-Length"));
        if method == "HEAD" || matches!(response.status, 100..200 | 204 | 304) {
            return Ok(());
        }
        match (coding, length) {
            (Some(coding), None) => {
                assert_eq!(coding.to_ascii_lowercase(), "chunked");
                response.trailers = self.wire.chunked(&mut response.body, &mut response.sizes)?;
                Ok(())
            }
            (None, Some(length)) => self.wire.take(length.parse().expect("a length"), &mut response.body),
            (None, None) => match self.wire.rest(&mut response.body) {
                End::Closed => Ok(()),
                cut => Err(cut),
            },
            (Some(_), Some(_)) => panic!("both Content-Length and Transfer-Encoding: {:?}", response.fields),
        }
    }

    /// The proxy closes the connection, and sends nothing more on it.
    #[track_caller]
    pub fn expect_end(&mut self) -> End {
        let mut more = Vec::new();
        let end = self.wire.rest(&mut more);
        assert!(more.is_empty(), "more came: {:?}", String::from_utf8_lossy(&more));
        assert_ne!(end, End::Silent, "the connection was left open");
        end
    }

    pub fn is_quiet_for(&mut self, time: Duration) -> bool {
        self.wire.is_quiet_for(time)
    }

    /// Whether an answer has begun to arrive (or the connection has ended).
    pub fn has_news(&self) -> bool {
        self.wire.is_readable()
    }

    /// For writing and reading at the same time.
    pub fn writer(&self) -> Wire {
        Wire::new(self.wire.stream.try_clone().unwrap())
    }

    pub fn half_close(&mut self) {
        self.wire.half_close();
    }

    /// Closes with a reset, so that even what was sent may be lost.
    pub fn reset(self) {
        self.wire.arm_reset();
    }
}
