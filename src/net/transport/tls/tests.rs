//! Two ends of TLS over a network in memory that splits and holds up bytes as it likes, with the same edges that epoll would give.

use super::super::plain::{PlainTransport, Socket};
use super::super::{Close, Edge, Handshake, Opening, Transfer, Transport};
use super::TlsTransport;
use crate::base::ring::Ring;
use crate::tls::identity::Identity;
use crate::tls::server::ServerTls;
use rustls::pki_types::{CertificateDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, ServerConnection};
use std::collections::VecDeque;
use std::io::{self, ErrorKind, IoSlice, IoSliceMut};
use std::sync::{Arc, Mutex};

/// One direction of a connection.
#[derive(Debug, Default)]
struct Tube {
    bytes: VecDeque<u8>,
    capacity: usize,
    has_fin: bool,
    /// A write found too little room.
    is_full: bool,
    /// After so many writes the connection is lost.
    writes_left: Option<usize>,
    /// What the next poll reports to the reader and to the writer.
    has_come: bool,
    has_room: bool,
}

/// A socket: reads from the first, writes to the second.
#[derive(Clone, Debug)]
struct End(Arc<Mutex<Tube>>, Arc<Mutex<Tube>>);

impl End {
    fn edge(&self) -> Edge {
        let (mut from, mut to) = (self.0.lock().unwrap(), self.1.lock().unwrap());
        let readable = std::mem::take(&mut from.has_come);
        Edge { readable, read_closed: readable && from.has_fin, writable: std::mem::take(&mut to.has_room), ..Edge::default() }
    }

    fn is_quiet(&self) -> bool {
        !self.0.lock().unwrap().has_come && !self.1.lock().unwrap().has_room
    }

    /// As if the other end had ended without a word.
    fn cut(&self) {
        let mut from = self.0.lock().unwrap();
        (from.has_fin, from.has_come) = (true, true);
    }
}

impl Socket for End {
    type Pipe = ();

    fn pour_in(&mut self, _: &mut (), _: usize) -> io::Result<usize> {
        unreachable!()
    }

    fn pour_out(&mut self, _: &mut (), _: usize) -> io::Result<usize> {
        unreachable!()
    }

    fn peek(&mut self, _: &mut [u8]) -> io::Result<usize> {
        unreachable!()
    }

    fn read(&mut self, into: &mut [IoSliceMut]) -> io::Result<usize> {
        let mut tube = self.0.lock().unwrap();
        let n = into[0].len().min(tube.bytes.len());
        if n == 0 {
            return if tube.has_fin { Ok(0) } else { Err(ErrorKind::WouldBlock.into()) };
        }
        tube.bytes.drain(..n).zip(into[0].iter_mut()).for_each(|(byte, place)| *place = byte);
        tube.has_room |= std::mem::take(&mut tube.is_full);
        Ok(n)
    }

    fn write(&mut self, from: &[IoSlice]) -> io::Result<usize> {
        let mut tube = self.1.lock().unwrap();
        let (room, all) = (tube.capacity.saturating_sub(tube.bytes.len()), from.iter().map(|slice| slice.len()).sum());
        let n = room.min(all);
        tube.is_full |= n < all;
        match &mut tube.writes_left {
            Some(0) => return Err(ErrorKind::ConnectionReset.into()),
            Some(left) => *left -= 1,
            None => {}
        }
        if n == 0 {
            return Err(ErrorKind::WouldBlock.into());
        }
        tube.bytes.extend(from.iter().flat_map(|slice| slice.iter()).take(n));
        tube.has_come = true;
        Ok(n)
    }

    fn shutdown_write(&mut self) -> io::Result<()> {
        let mut tube = self.1.lock().unwrap();
        (tube.has_fin, tube.has_come) = (true, true);
        Ok(())
    }

    fn reset_on_close(&mut self) {}

    fn take_error(&mut self) -> Option<io::Error> {
        None
    }

    fn is_delivered(&self) -> bool {
        self.1.lock().unwrap().bytes.is_empty()
    }
}

/// An end with what it has to say, and what it has heard.
struct Party {
    socket: End,
    link: TlsTransport<End>,
    says: Vec<u8>,
    said: usize,
    heard: Vec<u8>,
    end: Option<Transfer>,
    handshake: Option<Handshake>,
    is_client: bool,
    closes: bool,
    is_open: bool,
}

impl Party {
    fn new(socket: End, tls: rustls::Connection, says: Vec<u8>) -> Self {
        let is_client = matches!(tls, rustls::Connection::Client(_));
        let plain = if is_client { PlainTransport::dialled(socket.clone()) } else { PlainTransport::accepted(socket.clone()) };
        let link = TlsTransport::new(plain, tls);
        Self { socket, link, says, said: 0, heard: Vec::new(), end: None, handshake: None, is_client, closes: true, is_open: false }
    }

    /// One thing that it may do. Returns whether there was something.
    fn act(&mut self, rng: &mut fastrand::Rng) -> bool {
        let edge = self.socket.edge();
        let has_news = edge != Edge::default();
        self.link.on_edge(edge);
        if self.is_client && !self.is_open {
            self.is_open = matches!(self.link.open(), Opening::Open);
            return has_news || self.is_open;
        }
        let did = (rng.bool() && self.read(rng)) || self.write(rng) || self.read(rng);
        self.handshake = self.link.take_handshake().or(self.handshake.take());
        did || has_news
    }

    fn read(&mut self, rng: &mut fastrand::Rng) -> bool {
        if self.end.is_some() || !self.link.may_read() {
            return false;
        }
        let room = [1, 10, 4096, 20_000, 100_000][rng.usize(0..5)];
        let transfer = if rng.bool() {
            let mut ring = Ring::default();
            ring.attach(vec![0; room].into());
            let transfer = self.link.fill(&mut ring);
            self.heard.extend_from_slice(ring.raw_mut());
            transfer
        } else {
            let mut buffer = vec![0; room];
            let transfer = self.link.read(&mut buffer);
            self.heard.extend_from_slice(&buffer[..if let Transfer::Bytes(n) = transfer { n } else { 0 }]);
            transfer
        };
        assert_ne!(transfer, Transfer::Bytes(0));
        if matches!(transfer, Transfer::Fin | Transfer::Failed) {
            self.end = Some(transfer);
        }
        true
    }

    fn write(&mut self, rng: &mut fastrand::Rng) -> bool {
        let rest = &self.says[self.said..];
        if rest.is_empty() {
            let closes = !self.link.is_opening() && std::mem::take(&mut self.closes);
            if closes {
                self.link.close(Close::Sending);
            }
            return closes;
        }
        if !self.link.may_write() {
            return false;
        }
        let [a, b] = [(); 2].map(|()| rng.usize(0..=rest.len()));
        let (a, b) = (a.min(b), a.max(b));
        let slices = [&rest[..a], &rest[a..b], &rest[b..]].map(IoSlice::new);
        match self.link.send(&slices) {
            Transfer::Bytes(n) => self.said += n,
            Transfer::Blocked => return false,
            other => panic!("{other:?}"),
        }
        true
    }
}

fn configs() -> (ServerTls, Arc<ClientConfig>) {
    let made = rcgen::generate_simple_self_signed(["a.test".to_owned()]).unwrap();
    let dir = tempfile::tempdir().unwrap();
    let [cert, key] = ["cert", "key"].map(|name| dir.path().join(name));
    std::fs::write(&cert, made.cert.pem()).unwrap();
    std::fs::write(&key, made.signing_key.serialize_pem()).unwrap();
    let identity = Arc::new(Identity::read(&cert, &key).unwrap());
    let server = ServerTls::new(vec![identity], false, false, None, &[b"http/1.1"]).unwrap();
    let mut roots = RootCertStore::empty();
    roots.add(CertificateDer::from(made.cert.der().to_vec())).unwrap();
    let client = ClientConfig::builder_with_provider(crate::tls::PROVIDER.clone()).with_safe_default_protocol_versions().unwrap();
    (server, Arc::new(client.with_root_certificates(roots).with_no_client_auth()))
}

fn content(rng: &mut fastrand::Rng) -> Vec<u8> {
    let n = [0, 1, 5000, 17_000, 300_000][rng.usize(0..5)];
    let (from, step) = (rng.u8(..), rng.u8(..));
    (0..n).map(|i: usize| from.wrapping_add((i as u8).wrapping_mul(step)).wrapping_add((i >> 8) as u8)).collect()
}

fn scene(seed: u64, server: &ServerTls, client: &Arc<ClientConfig>) -> (fastrand::Rng, [Party; 2]) {
    let mut rng = fastrand::Rng::with_seed(seed);
    let mut tube = || {
        let capacity = [1, 100, 3000, 70_000][rng.usize(0..4)];
        Arc::new(Mutex::new(Tube { capacity, has_room: true, ..Tube::default() }))
    };
    let (up, down) = (tube(), tube());
    let made = ServerConnection::new(server.config.clone()).unwrap();
    let asked = ClientConnection::new(client.clone(), ServerName::try_from("a.test").unwrap()).unwrap();
    let says = [content(&mut rng), content(&mut rng)];
    let [a, b] = says;
    let parties = [Party::new(End(up.clone(), down.clone()), made.into(), a), Party::new(End(down, up), asked.into(), b)];
    (rng, parties)
}

/// Until nobody can do anything any more.
fn run(rng: &mut fastrand::Rng, parties: &mut [Party; 2], mut until: impl FnMut(&[Party; 2]) -> bool) {
    let mut idle = 0;
    for _ in 0..6_000_000 {
        if until(parties) || (idle > 40 && parties.iter().all(|party| party.socket.is_quiet())) {
            return;
        }
        let did = parties[rng.usize(0..2)].act(rng);
        idle = if did { 0 } else { idle + 1 };
    }
    panic!("it never comes to rest");
}

#[test]
fn what_is_said_is_heard_whole_and_so_is_the_end() {
    let (server, client) = configs();
    for seed in 0..300 {
        let (mut rng, mut parties) = scene(seed, &server, &client);
        run(&mut rng, &mut parties, |_| false);
        let [one, other] = &parties;
        for (speaker, hearer) in [(one, other), (other, one)] {
            assert_eq!(speaker.said, speaker.says.len(), "seed {seed}");
            assert!(hearer.heard == speaker.says, "seed {seed}: {} of {}", hearer.heard.len(), speaker.says.len());
            assert_eq!(hearer.end, Some(Transfer::Fin), "seed {seed}");
            assert!(hearer.link.is_delivered() && hearer.link.unfed.is_empty(), "seed {seed}");
        }
        assert!(matches!(one.handshake, Some(Handshake::Made { .. })), "seed {seed}: {:?}", one.handshake);
    }
}

#[test]
fn an_end_that_was_not_said_is_a_loss_wherever_it_comes() {
    let (server, client) = configs();
    for seed in 0..300 {
        let (mut rng, mut parties) = scene(seed, &server, &client);
        parties.iter_mut().for_each(|party| party.closes = false);
        let mut left = rng.usize(0..400);
        run(&mut rng, &mut parties, |_| {
            left = left.saturating_sub(1);
            left == 0
        });
        parties[0].socket.cut();
        parties[0].link.on_edge(parties[0].socket.edge());
        while parties[0].read(&mut rng) {}
        let [hearer, speaker] = &parties;
        assert!(speaker.says.starts_with(&hearer.heard), "seed {seed}");
        assert_eq!(hearer.end, Some(Transfer::Failed), "seed {seed}");
        assert!(!parties[0].link.check_quiet(), "seed {seed}");
    }
}

/// Bytes that are no records, or that were changed on their way, end the connection: nothing of them is taken for content.
#[test]
fn what_was_changed_on_its_way_is_never_content() {
    let (server, client) = configs();
    for seed in 0..300 {
        let (mut rng, mut parties) = scene(seed, &server, &client);
        parties.iter_mut().for_each(|party| party.closes = false);
        let mut left = rng.usize(1..300);
        run(&mut rng, &mut parties, |_| {
            left = left.saturating_sub(1);
            left == 0
        });
        {
            let tube = &mut parties[0].socket.0.lock().unwrap();
            let at = rng.usize(0..tube.bytes.len().max(1));
            match tube.bytes.get_mut(at) {
                Some(byte) => *byte ^= 1 << rng.u8(0..8),
                None => tube.bytes.extend((0..rng.usize(1..20_000)).map(|_| rng.u8(..))),
            }
            tube.has_come = true;
        }
        run(&mut rng, &mut parties, |parties| parties[0].end.is_some());
        let [hearer, speaker] = &parties;
        // A first byte that is a letter makes it plain HTTP, which is refused.
        let is_foreign = hearer.handshake == Some(Handshake::Foreign);
        assert!(is_foreign || speaker.says.starts_with(&hearer.heard), "seed {seed}");
    }
}

#[test]
fn plain_http_is_recognised_and_answered_plainly() {
    let (server, client) = configs();
    let (mut rng, [mut party, other]) = scene(1, &server, &client);
    other.socket.1.lock().unwrap().capacity = 1000;
    other.socket.0.lock().unwrap().capacity = 1000;
    other.socket.clone().write(&[IoSlice::new(b"GET / HTTP/1.1\r\n\r\n")]).unwrap();
    assert!(party.act(&mut rng) && party.handshake == Some(Handshake::Foreign));
    assert_eq!(party.link.send(&[IoSlice::new(b"HTTP/1.1 400 Bad Request\r\n\r\n")]), Transfer::Bytes(28));
    assert!(other.socket.0.lock().unwrap().bytes.iter().copied().eq(*b"HTTP/1.1 400 Bad Request\r\n\r\n"));
}

/// Of a request that was written in part, nobody may say that nothing was written: it would be sent once more.
#[test]
fn a_send_that_fails_in_the_middle_has_taken_what_it_may_have_written() {
    let (server, client) = configs();
    for writes in [0, 1, 2] {
        let (mut rng, mut parties) = scene(7, &server, &client);
        for party in &mut parties {
            (party.closes, party.says) = (false, Vec::new());
            party.socket.0.lock().unwrap().capacity = 1 << 20;
        }
        run(&mut rng, &mut parties, |parties| parties[1].is_open && matches!(parties[0].handshake, Some(Handshake::Made { .. })));
        let caller = &mut parties[1];
        caller.link.flush();
        caller.socket.1.lock().unwrap().writes_left = Some(writes);
        let transfer = caller.link.send(&[IoSlice::new(&[b'x'; 60_000])]);
        match writes {
            0 => assert_eq!(transfer, Transfer::Failed),
            _ => assert!(matches!(transfer, Transfer::Bytes(45_000..)), "{transfer:?}"),
        }
        let is_over = caller.link.may_write() && caller.link.send(&[IoSlice::new(b"x")]) == Transfer::Failed;
        assert!(is_over || writes == 2, "{writes}");
    }
}

/// A ticket on a connection that idles is the protocol's own affair; anything of the stream, or half a record, is not.
#[test]
fn an_idle_connection_may_murmur() {
    let (server, client) = configs();
    let (mut rng, mut parties) = scene(7, &server, &client);
    for party in &mut parties {
        (party.closes, party.says) = (false, Vec::new());
        party.socket.0.lock().unwrap().capacity = 70_000;
    }
    run(&mut rng, &mut parties, |parties| matches!(parties[0].handshake, Some(Handshake::Made { .. })));
    let [server, client] = &mut parties;
    // The tickets are on their way, or wait to be sent.
    server.link.flush();
    client.link.on_edge(client.socket.edge());
    assert!(client.link.check_quiet() && client.link.check_quiet_now());
    server.link.send(&[IoSlice::new(b"x")]);
    let last = client.socket.0.lock().unwrap().bytes.pop_back().unwrap();
    assert!(!client.link.check_quiet_now(), "half a record");
    client.socket.0.lock().unwrap().bytes.push_back(last);
    assert!(!client.link.check_quiet_now(), "a byte of the stream");
}
