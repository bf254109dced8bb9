//! A name server of the test's own, on loopback, which knows the SRV records of one name.

use std::io::{Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex, MutexGuard};
use std::thread::JoinHandle;
use std::time::Duration;

/// What it answers.
#[derive(Clone)]
pub struct Zone {
    /// Priority, weight and address of each target. Their host names are `t0.test`, `t1.test`, ….
    pub targets: Vec<(u16, u16, SocketAddr)>,
    /// In seconds.
    pub ttl: u32,
    /// Whether the answers have the addresses of the targets.
    pub has_addresses: bool,
    /// 0 for an answer, 2 for a failure, 3 for "no such name".
    pub rcode: u8,
    /// It hears nothing.
    pub is_silent: bool,
    /// Answers by UDP are cut off.
    pub is_cut: bool,
    /// Before each answer by UDP somebody sends one with another id, which leads here.
    pub forged: Option<SocketAddr>,
}

impl Zone {
    pub fn of(targets: &[(u16, u16, SocketAddr)]) -> Zone {
        let targets = targets.to_vec();
        Zone { targets, ttl: 1, has_addresses: true, rcode: 0, is_silent: false, is_cut: false, forged: None }
    }

    fn reply(&self, question: &[u8], is_cut: bool) -> Vec<u8> {
        let mut bytes = question.to_vec();
        bytes[2..4].copy_from_slice(&[if is_cut { 0x83 } else { 0x81 }, 0x80 | self.rcode]);
        if is_cut || self.rcode != 0 {
            return bytes;
        }
        let count = (self.targets.len() as u16).to_be_bytes();
        bytes[6..8].copy_from_slice(&count);
        for (i, (priority, weight, addr)) in self.targets.iter().enumerate() {
            let data = [[*priority, *weight, addr.port()].map(u16::to_be_bytes).concat(), host(i)].concat();
            bytes.extend(self.record(&[0xC0, 12], 33, &data));
        }
        if self.has_addresses {
            bytes[10..12].copy_from_slice(&count);
            for (i, (_, _, addr)) in self.targets.iter().enumerate() {
                let SocketAddr::V4(addr) = addr else { unreachable!("targets have addresses of IPv4") };
                bytes.extend(self.record(&host(i), 1, &addr.ip().octets()));
            }
        }
        bytes
    }

    fn record(&self, owner: &[u8], kind: u16, data: &[u8]) -> Vec<u8> {
        let length = (data.len() as u16).to_be_bytes();
        [owner, &kind.to_be_bytes(), &[0, 1], &self.ttl.to_be_bytes(), &length, data].concat()
    }
}

/// `tN.test` as it stands in a message.
fn host(n: usize) -> Vec<u8> {
    let label = format!("t{n}");
    [&[label.len() as u8], label.as_bytes(), b"\x04test\x00"].concat()
}

/// The server. It listens on one port with UDP and TCP.
pub struct NameServer {
    addr: SocketAddr,
    shared: Arc<Shared>,
    threads: Vec<JoinHandle<()>>,
}

struct Shared {
    zone: Mutex<Zone>,
    /// How each question came.
    asked: Mutex<Vec<&'static str>>,
    is_over: AtomicBool,
}

impl NameServer {
    pub fn start(zone: Zone) -> NameServer {
        let (socket, listener) = loop {
            let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
            if let Ok(listener) = TcpListener::bind(socket.local_addr().unwrap()) {
                break (socket, listener);
            }
        };
        let addr = socket.local_addr().unwrap();
        let shared = Arc::new(Shared { zone: Mutex::new(zone), asked: Mutex::default(), is_over: AtomicBool::new(false) });
        let (udp, tcp) = (shared.clone(), shared.clone());
        let threads = vec![std::thread::spawn(move || udp.serve_udp(&socket)), std::thread::spawn(move || tcp.serve_tcp(&listener))];
        NameServer { addr, shared, threads }
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    /// From now on it answers this.
    pub fn set(&self, zone: Zone) {
        *self.shared.zone.lock().unwrap() = zone;
    }

    /// How each question came so far: `udp` or `tcp`.
    pub fn asked(&self) -> Vec<&'static str> {
        self.shared.asked.lock().unwrap().clone()
    }
}

impl Drop for NameServer {
    fn drop(&mut self) {
        self.shared.is_over.store(true, SeqCst);
        drop(TcpStream::connect(self.addr));
        self.threads.drain(..).for_each(|thread| drop(thread.join()));
    }
}

impl Shared {
    fn zone(&self) -> MutexGuard<'_, Zone> {
        self.zone.lock().unwrap()
    }

    fn serve_udp(&self, socket: &UdpSocket) {
        socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let mut buffer = [0; 1024];
        while !self.is_over.load(SeqCst) {
            let Ok((n, from)) = socket.recv_from(&mut buffer) else { continue };
            let question = &buffer[..n];
            self.asked.lock().unwrap().push("udp");
            let zone = self.zone().clone();
            if zone.is_silent {
                continue;
            }
            if let Some(addr) = zone.forged {
                let mut forged = Zone::of(&[(0, 1, addr)]).reply(question, false);
                forged[0] ^= 0xFF;
                socket.send_to(&forged, from).unwrap();
            }
            socket.send_to(&zone.reply(question, zone.is_cut), from).unwrap();
        }
    }

    fn serve_tcp(&self, listener: &TcpListener) {
        while let Ok((mut stream, _)) = listener.accept() {
            if self.is_over.load(SeqCst) {
                return;
            }
            let mut length = [0; 2];
            if stream.read_exact(&mut length).is_err() {
                continue;
            }
            let mut question = vec![0; u16::from_be_bytes(length).into()];
            stream.read_exact(&mut question).unwrap();
            self.asked.lock().unwrap().push("tcp");
            let reply = self.zone().reply(&question, false);
            stream.write_all(&[&(reply.len() as u16).to_be_bytes()[..], &reply].concat()).unwrap();
        }
    }
}
