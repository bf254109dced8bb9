//! Many exchanges on one connection, through the production worker: frames interleave as chance has it, some streams are given up in
//! the middle, and all others must come out whole.

pub mod stalled;

use super::scene::Scene;
use super::script::Setting;
use crate::sim::frames::{HEADER, Header, Kind, MOST, push};
use crate::sim::tube::Tube;
use crate::sim::wire::Heard;
use std::collections::VecDeque;

/// How many streams a connection has in all, and at most at once.
const STREAMS: u16 = 40;
const AT_ONCE: usize = 14;
/// The longest content.
const LONGEST: usize = 30_000;
const MAX_STEPS: u32 = 20_000;

/// A byte of some content.
fn byte(number: u16, at: usize) -> u8 {
    b'a' + ((usize::from(number) * 7 + at * 13) % 26) as u8
}

fn content(number: u16, length: usize) -> Vec<u8> {
    (0..length).map(|at| byte(number, at)).collect()
}

/// One exchange, as the client sees it.
struct Stream {
    number: u16,
    /// What is to be sent, and how much of that may be.
    upload: VecDeque<u8>,
    window: usize,
    has_ended: bool,
    /// When it is given up: after so many bytes of the answer.
    gives_up_at: Option<usize>,
    status: Option<u16>,
    got: Vec<u8>,
    wanted: usize,
}

/// The client.
struct Client {
    rng: fastrand::Rng,
    index: usize,
    streams: Vec<Stream>,
    begun: u16,
    whole: u16,
    given_up: Vec<u16>,
    read: usize,
    most_at_once: usize,
}

impl Client {
    fn begin(&mut self, scene: &mut Scene) {
        self.begun += 1;
        let number = self.begun;
        let [up, down] = std::array::from_fn(|_| if self.rng.u8(0..3) == 0 { self.rng.usize(0..LONGEST) } else { self.rng.usize(0..300) });
        let (method, length) = if self.rng.bool() { ("GET", 0) } else { (["PUT", "POST"][self.rng.usize(0..2)], up) };
        let field = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
        let way = ["length", "chunks", "close"][self.rng.usize(0..3)];
        let (target, down) = if self.rng.u8(0..8) == 0 { ("/respond".into(), 5) } else { (format!("/{number}/{down}/{way}"), down) };
        let head = format!("{method} {target} HTTP/1.1\r\nHost: many.test\r\n{field}\r\n");
        let gives_up_at = (self.rng.u8(0..5) == 0).then(|| self.rng.usize(0..2 * LONGEST));
        self.say(Kind::Head, number, head.as_bytes(), scene);
        self.streams.push(Stream {
            number,
            upload: content(number, length).into(),
            window: 0,
            has_ended: length == 0,
            gives_up_at,
            status: None,
            got: Vec::new(),
            wanted: down,
        });
        self.most_at_once = self.most_at_once.max(self.streams.len());
    }

    fn say(&self, kind: Kind, stream: u16, content: &[u8], scene: &mut Scene) {
        let mut bytes = Vec::new();
        push(&mut bytes, kind, stream, content);
        scene.clients[self.index].say(&bytes);
    }

    /// Sends a piece of some upload, or gives up a stream.
    fn go_on(&mut self, scene: &mut Scene) {
        let Some(at) = (!self.streams.is_empty()).then(|| self.rng.usize(0..self.streams.len())) else { return };
        let most = self.rng.usize(1..=MOST);
        let stream = &mut self.streams[at];
        let number = stream.number;
        if stream.gives_up_at.is_some_and(|at| at <= stream.got.len()) {
            self.streams.remove(at);
            self.given_up.push(number);
            return self.say(Kind::Reset, number, b"", scene);
        }
        let n = most.min(stream.window).min(stream.upload.len());
        if n > 0 {
            stream.window -= n;
            let piece: Vec<u8> = stream.upload.drain(..n).collect();
            self.say(Kind::Data, number, &piece, scene);
        } else if stream.upload.is_empty() && !stream.has_ended {
            stream.has_ended = true;
            self.say(Kind::End, number, b"", scene);
        }
    }

    /// Reads the frames that have come.
    fn read(&mut self, scene: &Scene) {
        let heard = &scene.clients[self.index].heard;
        while let Some(bytes) = heard[self.read..].first_chunk::<HEADER>() {
            let header = Header::read(*bytes).expect("a frame");
            let end = self.read + HEADER + header.length;
            let Some(content) = heard.get(self.read + HEADER..end) else { break };
            self.read = end;
            self.take(header, content);
        }
    }

    fn take(&mut self, header: Header, content: &[u8]) {
        let number = header.stream;
        let Some(at) = self.streams.iter().position(|stream| stream.number == number) else {
            let is_late = self.given_up.contains(&number) || matches!(header.kind, Kind::Window | Kind::Reset);
            return assert!(is_late, "{header:?} for a stream that is over");
        };
        let stream = &mut self.streams[at];
        match header.kind {
            Kind::Head => {
                let text = String::from_utf8_lossy(content);
                let status = text.lines().next().unwrap().parse().unwrap();
                assert_eq!(stream.status.replace(status), None, "stream {number} has two heads");
                assert_eq!(status, 200, "stream {number}: {text}");
                let is_its_own = text.contains(&format!("X-Number: {number}\n")) || stream.wanted == 5;
                assert!(is_its_own, "stream {number} got another's answer: {text}");
            }
            Kind::Data => stream.got.extend_from_slice(content),
            Kind::End => {
                let stream = self.streams.remove(at);
                let is_fixed = stream.got == b"fixed";
                assert!(is_fixed || stream.got == self::content(number, stream.wanted), "stream {number} is not whole");
                assert!(stream.status.is_some(), "stream {number} ended without a head");
                self.whole += 1;
            }
            Kind::Window => stream.window += u32::from_be_bytes(content.try_into().unwrap()) as usize,
            Kind::Reset => panic!("stream {number} was given up by the proxy"),
        }
    }
}

/// The origin's end of a connection: what it has read, and what it has to say.
#[derive(Default)]
struct Origin {
    read: usize,
    answer: VecDeque<u8>,
    closes: bool,
}

impl Origin {
    /// Takes the next request that is whole, and checks its content.
    fn hear(&mut self, heard: &[u8]) {
        let unread = &heard[self.read..];
        let Some(end) = unread.windows(4).position(|four| four == b"\r\n\r\n").filter(|_| self.answer.is_empty()) else { return };
        let head = String::from_utf8_lossy(&unread[..end]).into_owned();
        let length = head.lines().find_map(|line| line.strip_prefix("Content-Length: ")).map_or(0, |n| n.parse().unwrap());
        let Some(body) = unread.get(end + 4..end + 4 + length) else { return };
        let mut parts = head.split(' ').nth(1).unwrap().split('/').skip(1);
        let number: u16 = parts.next().unwrap().parse().unwrap();
        let size: usize = parts.next().unwrap().parse().unwrap();
        assert_eq!(body, content(number, length), "the content of stream {number}");
        self.read += end + 4 + length;
        self.say(number, size, parts.next().unwrap());
    }

    fn say(&mut self, number: u16, size: usize, way: &str) {
        let content = content(number, size);
        let head = |framing: &str| format!("HTTP/1.1 200 OK\r\nX-Number: {number}\r\n{framing}\r\n").into_bytes();
        let answer = match way {
            "length" => [head(&format!("Content-Length: {size}\r\n")), content].concat(),
            "chunks" => {
                let mut answer = head("Transfer-Encoding: chunked\r\n");
                for piece in content.chunks(997) {
                    answer.extend(format!("{:x}\r\n", piece.len()).bytes());
                    answer.extend_from_slice(piece);
                    answer.extend_from_slice(b"\r\n");
                }
                answer.extend_from_slice(b"0\r\n\r\n");
                answer
            }
            _ => {
                self.closes = true;
                [head(""), content].concat()
            }
        };
        self.answer = answer.into();
    }
}

fn origins_go_on(scene: &mut Scene, origins: &mut Vec<Origin>, rng: &mut fastrand::Rng) {
    origins.resize_with(scene.upstreams.len(), Origin::default);
    for (origin, peer) in origins.iter_mut().zip(&mut scene.upstreams).filter(|(_, peer)| !peer.has_left) {
        origin.hear(&peer.heard);
        let n = rng.usize(0..4000).min(origin.answer.len());
        if n > 0 {
            peer.say(&origin.answer.drain(..n).collect::<Vec<u8>>());
        }
        if origin.closes && origin.answer.is_empty() && !peer.sent_fin {
            peer.perform(&super::script::Act::Fin, &mut scene.wires.borrow_mut());
        }
    }
}

/// Plays one connection; returns how many streams came out whole, and how many were open at once.
pub fn run(seed: u64) -> (u16, usize) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let setting = Setting {
        servers: rng.usize(1..4),
        places: [2, 5, 100][rng.usize(0..3)],
        idle: rng.usize(0..8),
        has_narrow_limits: false,
        max_body_size: 0,
        total_ms: 0,
        seed,
        mtu: rng.usize(1..3000).max(50),
        max_buffer: rng.usize(200..20_000),
    };
    let mut scene = Scene::new(setting);
    scene.wires.borrow_mut().bustle = 20;
    let key = scene.core.clients.vacant_key();
    let index = scene.client(0);
    scene.core.carry_many(key, Box::new(Tube::default()));
    let mut origins = Vec::new();
    let streams = Vec::new();
    let mut client = Client { rng, index, streams, begun: 0, whole: 0, given_up: Vec::new(), read: 0, most_at_once: 0 };
    for step in 0.. {
        assert!(step < MAX_STEPS, "it does not end: {} streams are open", client.streams.len());
        if client.begun == STREAMS && client.streams.is_empty() {
            break;
        }
        if client.begun < STREAMS && client.streams.len() < AT_ONCE && client.rng.u8(0..3) > 0 {
            client.begin(&mut scene);
        }
        for _ in 0..client.rng.usize(0..20) {
            client.go_on(&mut scene);
        }
        let mut lots = client.rng.fork();
        origins_go_on(&mut scene, &mut origins, &mut lots);
        if client.rng.u8(0..4) > 0 {
            scene.rest();
        }
        client.read(&scene);
        assert!(!scene.core.clients.is_empty(), "the connection was closed at step {step}");
    }
    let is_open = scene.wires.borrow_mut().peer_recv(scene.clients[index].id, 0) == Heard::Nothing;
    assert!(is_open, "the connection goes on after all that");
    scene.end();
    assert_eq!(usize::from(client.whole) + client.given_up.len(), usize::from(STREAMS));
    (client.whole, client.most_at_once)
}
