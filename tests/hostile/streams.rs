//! What one side of a connection sent, as the independent reader sees it: requests, or the answers to them.

use super::http::{Body, Field, Framing, Head, Part, Style, body, head, is_token};

#[derive(Clone, Debug)]
pub struct Request {
    pub method: String,
    pub target: String,
    pub minor: u8,
    pub head: Head,
    pub framing: Framing,
    pub body: Body,
    /// Where its body begins, and where it ends as far as it came.
    pub body_at: usize,
    pub end: usize,
}

#[derive(Clone, Debug)]
pub struct Response {
    pub status: u16,
    pub minor: u8,
    pub head: Head,
    pub framing: Framing,
    pub body: Body,
    pub interims: Vec<(u16, Head)>,
    pub end: usize,
}

/// What follows the last complete message.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Tail {
    Clean,
    /// An incomplete head, and where it begins.
    Cut(usize),
    Bad(usize, &'static str),
}

/// What is needed to read the answer to a request.
#[derive(Clone, Copy, Debug, Default)]
pub struct Asked {
    pub is_head: bool,
    pub upgrades: bool,
}

impl Request {
    pub fn asked(&self) -> Asked {
        Asked { is_head: self.method == "HEAD", upgrades: self.head.list("Connection").iter().any(|option| option == "upgrade") }
    }
}

impl Response {
    /// Whether the proxy made it, which shows in the missing `Via`.
    pub fn is_made_here(&self) -> bool {
        !self.head.fields.iter().any(|field| field.is("Via") && [&b"1.1 tidegate"[..], b"1.0 tidegate"].contains(&&field.value[..]))
    }

    pub fn nonces(&self) -> Vec<&Field> {
        self.head.fields.iter().filter(|field| field.is("X-Answer")).collect()
    }
}

pub fn requests(bytes: &[u8], style: Style) -> (Vec<Request>, Tail) {
    let (mut list, mut at) = (Vec::new(), 0);
    loop {
        // RFC 9112 2.2: a server should ignore at least one empty line before a request. Two are ignored, more are refused.
        for _ in 0..2 {
            at += if style == Style::Any && bytes[at..].starts_with(b"\r\n") { 2 } else { 0 };
        }
        if at == bytes.len() {
            return (list, Tail::Clean);
        }
        let (head, n) = match head(&bytes[at..], style) {
            Part::Whole(head, n) => (head, n),
            Part::Cut => return (list, Tail::Cut(at)),
            Part::Bad(why) => return (list, Tail::Bad(at, why)),
        };
        let mut request = match request(head) {
            Ok(request) => request,
            Err(why) => return (list, Tail::Bad(at, why)),
        };
        let (body, length) = body(&bytes[at + n..], request.framing, style);
        let is_over = !body.is_whole;
        (request.body, request.body_at, request.end) = (body, at + n, at + n + length);
        at = request.end;
        list.push(request);
        if is_over {
            return (list, Tail::Clean);
        }
    }
}

fn request(head: Head) -> Result<Request, &'static str> {
    let words: Vec<&[u8]> = head.first.split(|&b| b == b' ').collect();
    let [method, target, version] = words[..] else { return Err("a request line that is not three words") };
    let minor = minor_of(version).ok_or("another version")?;
    let is_visible = !target.is_empty() && target.iter().all(u8::is_ascii_graphic);
    if !is_token(method) || !is_visible {
        return Err("a malformed request line");
    }
    if method == b"CONNECT" {
        return Err("what follows is no request");
    }
    let hosts = head.values("Host").count();
    if hosts > 1 || (hosts == 0 && minor == 1) {
        return Err("not one Host");
    }
    let framing = head.framing(minor)?.unwrap_or_default();
    let text = |word: &[u8]| String::from_utf8_lossy(word).into_owned();
    Ok(Request { method: text(method), target: text(target), minor, head, framing, body: Body::default(), body_at: 0, end: 0 })
}

fn minor_of(version: &[u8]) -> Option<u8> {
    match version {
        b"HTTP/1.0" => Some(0),
        b"HTTP/1.1" => Some(1),
        // RFC 9110 2.5: read as the highest minor version that is known.
        [b'H', b'T', b'T', b'P', b'/', b'1', b'.', b'2'..=b'9'] => Some(1),
        _ => None,
    }
}

/// The answers to what was asked, one each; interim ones without a final one count as the tail.
pub fn responses(bytes: &[u8], asked: &[Asked], style: Style) -> (Vec<Response>, Tail) {
    let (mut list, mut at) = (Vec::new(), 0);
    let mut interims = Vec::new();
    for asked in asked {
        loop {
            if at == bytes.len() {
                let tail = if interims.is_empty() { Tail::Clean } else { Tail::Cut(at) };
                return (list, tail);
            }
            let (head, n) = match head(&bytes[at..], style) {
                Part::Whole(head, n) => (head, n),
                Part::Cut => return (list, Tail::Cut(at)),
                Part::Bad(why) => return (list, Tail::Bad(at, why)),
            };
            let mut response = match response(head, *asked) {
                Ok(response) => response,
                Err(why) => return (list, Tail::Bad(at, why)),
            };
            at += n;
            if response.status < 200 && response.status != 101 {
                interims.push((response.status, response.head));
                continue;
            }
            if asked.is_head && style == Style::Canonical && at < bytes.len() && response.is_made_here() && response.head.closes(1) {
                // A head that could not be parsed was answered with a page, whatever its method looks like.
                response.framing = response.head.framing(1).ok().flatten().unwrap_or_default();
            }
            let (body, length) = body(&bytes[at..], response.framing, style);
            at += length;
            let is_over = !body.is_whole || response.status == 101;
            (response.body, response.end, response.interims) = (body, at, std::mem::take(&mut interims));
            list.push(response);
            if is_over {
                return (list, Tail::Clean);
            }
            break;
        }
    }
    let tail = if at < bytes.len() { Tail::Bad(at, "more than was asked for") } else { Tail::Clean };
    (list, tail)
}

fn response(head: Head, asked: Asked) -> Result<Response, &'static str> {
    let first = &head.first[..];
    let minor = first.get(..8).and_then(minor_of).ok_or("no status line")?;
    let digits = first.get(9..12).filter(|digits| digits.iter().all(u8::is_ascii_digit) && first[8] == b' ').ok_or("no status")?;
    let reason = &first[12..];
    let is_reason = reason.is_empty() || (reason[0] == b' ' && reason.iter().all(|&b| b == b'\t' || (b >= b' ' && b != 0x7f)));
    let status = digits.iter().fold(0, |n, digit| n * 10 + u16::from(digit - b'0'));
    if !is_reason || !(100..600).contains(&status) {
        return Err("a malformed status line");
    }
    if status == 101 && !asked.upgrades {
        return Err("switched unasked");
    }
    let said = head.framing(minor)?;
    let framing = match said {
        _ if asked.is_head || status < 200 || matches!(status, 204 | 304) => Framing::Empty,
        Some(framing) => framing,
        None => Framing::UntilClose,
    };
    Ok(Response { status, minor, head, framing, body: Body::default(), interims: Vec::new(), end: 0 })
}
