//! The server behind the proxies: answers are built once and kept, so that it costs as little as it can.
//!
//! `/b/N` is N bytes with `Content-Length`; `/c/TOTAL/CHUNK` is chunked; `/u/N` takes a body of N bytes, throws it away and
//! answers with none.

use std::collections::HashMap;
use std::io::{self, ErrorKind, Read, Write};
use std::rc::Rc;

use mio::net::TcpStream;
use mio::{Interest, Token};

use crate::answer::find;
use crate::server::{self, Turn};

struct Connection {
    stream: TcpStream,
    head: Vec<u8>,
    /// What is still to come of a request's body.
    upload: u64,
    /// The answer to it, and how much of it is sent.
    answer: Option<(Rc<[u8]>, usize)>,
    is_last: bool,
}

type Answers = HashMap<String, Rc<[u8]>>;

/// Serves on this port until the process ends. 0 is any; standard output names it.
pub fn run(port: u16) -> io::Result<()> {
    let listener = server::listen(port)?;
    println!("{}", listener.local_addr()?.port());
    let (mut connections, mut answers, mut next) = (HashMap::new(), Answers::new(), 0);
    let mut buffer = vec![0; 256 * 1024];
    server::serve(listener, |registry, turn| {
        match turn {
            Turn::Accepted(mut stream) => {
                stream.set_nodelay(true)?;
                registry.register(&mut stream, Token(next), Interest::READABLE | Interest::WRITABLE)?;
                connections.insert(next, Connection { stream, head: Vec::new(), upload: 0, answer: None, is_last: false });
                next += 1;
            }
            Turn::Ready(event) => {
                if let Some(connection) = connections.get_mut(&event.token().0)
                    && !connection.turn(&mut buffer, &mut answers, event.is_read_closed()).unwrap_or(false)
                {
                    connections.remove(&event.token().0);
                }
            }
        }
        Ok(())
    })
}

impl Connection {
    /// Reads and writes what it can; false is the end of the connection.
    fn turn(&mut self, buffer: &mut [u8], answers: &mut Answers, is_closed: bool) -> io::Result<bool> {
        let mut is_drained = false;
        loop {
            if !self.flush()? {
                return Ok(true);
            }
            if self.is_last && self.upload == 0 {
                return Ok(false);
            }
            if is_drained {
                return Ok(true);
            }
            let size = match self.stream.read(buffer) {
                Ok(0) => return Ok(false),
                Ok(size) => size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(true),
                Err(error) => return Err(error),
            };
            self.take(&buffer[..size], answers)?;
            // A short read has emptied the socket: asking again would cost a call for nothing.
            is_drained = size < buffer.len() && !is_closed;
        }
    }

    fn take(&mut self, mut bytes: &[u8], answers: &mut Answers) -> io::Result<()> {
        if self.upload == 0 {
            let before = self.head.len();
            self.head.extend_from_slice(bytes);
            let Some(end) = find(&self.head, b"\r\n\r\n").map(|at| at + 4) else { return Ok(()) };
            let (answer, upload, is_last) = request(&self.head[..end], answers);
            (self.answer, self.upload, self.is_last) = (Some((answer, 0)), upload, is_last);
            bytes = &bytes[end - before..];
            self.head.clear();
        }
        self.upload = self.upload.checked_sub(bytes.len() as u64).ok_or(ErrorKind::InvalidData)?;
        Ok(())
    }

    /// Whether everything is sent that is to be sent now.
    fn flush(&mut self) -> io::Result<bool> {
        while self.upload == 0
            && let Some((answer, sent)) = &mut self.answer
        {
            match self.stream.write(&answer[*sent..]) {
                Ok(size) => *sent += size,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                Err(error) => return Err(error),
            }
            if *sent == answer.len() {
                self.answer = None;
            }
        }
        Ok(true)
    }
}

/// The answer to this head, the length of the body behind it, and whether the connection ends with it.
fn request(head: &[u8], answers: &mut Answers) -> (Rc<[u8]>, u64, bool) {
    let text = String::from_utf8_lossy(head);
    let path = text.split(' ').nth(1).unwrap_or_default();
    let field = |wanted: &str| {
        let mut fields = text.split("\r\n").skip(1).filter_map(|line| line.split_once(':'));
        fields.find(|(name, _)| name.eq_ignore_ascii_case(wanted)).map(|(_, value)| value.trim())
    };
    let upload = field("content-length").and_then(|value| value.parse().ok()).unwrap_or(0);
    let is_last = field("connection").is_some_and(|value| value.eq_ignore_ascii_case("close"));
    let answer = match answers.get(path) {
        Some(answer) => answer.clone(),
        None => {
            let answer: Rc<[u8]> = build(path).into();
            answers.insert(path.to_owned(), answer.clone());
            answer
        }
    };
    let announced = path.strip_prefix("/u/").is_some_and(|size| size.parse() != Ok(upload));
    (if announced { build("").into() } else { answer }, upload, is_last)
}

fn build(path: &str) -> Vec<u8> {
    let head = "Server: origin\r\nDate: Sat, 21 Nov 2026 00:00:00 GMT\r\nContent-Type: application/octet-stream\r\n";
    let parts: Vec<&str> = path.split('/').skip(1).collect();
    let number = |at: usize| parts.get(at).and_then(|part| part.parse::<usize>().ok());
    let mut answer;
    match (parts.first(), number(1), number(2)) {
        (Some(&"b"), Some(size), None) => {
            answer = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: {size}\r\n\r\n").into_bytes();
            answer.resize(answer.len() + size, b'x');
        }
        (Some(&"c"), Some(total), Some(chunk)) if chunk > 0 => {
            answer = format!("HTTP/1.1 200 OK\r\n{head}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
            for at in (0..total).step_by(chunk) {
                let size = chunk.min(total - at);
                answer.extend_from_slice(format!("{size:x}\r\n{}\r\n", "x".repeat(size)).as_bytes());
            }
            answer.extend_from_slice(b"0\r\n\r\n");
        }
        (Some(&"u"), Some(_), None) => answer = format!("HTTP/1.1 200 OK\r\n{head}Content-Length: 0\r\n\r\n").into_bytes(),
        _ => answer = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n".to_vec(),
    }
    answer
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::answer::Answer;

    #[test]
    fn answers_are_what_the_load_expects() {
        for (path, length) in [("/b/0", 0), ("/b/1024", 1024), ("/c/10240/1024", 10_240), ("/c/10/4", 10), ("/u/7", 0)] {
            let mut answer = Answer::new();
            answer.take(&build(path), length).unwrap();
            assert!(answer.is_whole(), "{path}");
        }
    }

    #[test]
    fn a_body_of_another_length_is_refused() {
        let answer = |length: u64| {
            let (answer, upload, _) =
                request(format!("PUT /u/7 HTTP/1.1\r\nContent-Length: {length}\r\n\r\n").as_bytes(), &mut Answers::new());
            assert_eq!(upload, length);
            answer[9..12].to_vec()
        };
        assert_eq!((answer(7), answer(8)), (b"200".to_vec(), b"400".to_vec()));
    }
}
