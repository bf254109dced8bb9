//! The origin of a play: a raw TCP server that performs a script for each connection. A request that is not strict
//! HTTP/1.1, or a script that fails, fails the test when the origin is dropped.

use super::sockets::established;
use super::wire::{End, Fields, Wire};
use super::{Gate, take_time};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::Duration;

/// What the origin received.
#[derive(Clone, Debug)]
pub struct Request {
    /// The number of the connection it came on, from 1.
    pub conn: usize,
    pub method: String,
    pub target: String,
    pub version: String,
    pub fields: Fields,
    pub raw_head: Vec<u8>,
    pub body: Vec<u8>,
    pub trailers: Fields,
    /// The size lines of a chunked body.
    pub sizes: Vec<String>,
}

impl Request {
    pub fn text(&self) -> &str {
        std::str::from_utf8(&self.body).expect("a text body")
    }

    /// `GET /path`.
    pub fn what(&self) -> String {
        format!("{} {}", self.method, self.target)
    }
}

#[derive(Default)]
struct Shared {
    heads: Mutex<Vec<Request>>,
    requests: Mutex<Vec<Request>>,
    faults: Mutex<Vec<String>>,
    connections: AtomicUsize,
    counts: AtomicBool,
    most_open: AtomicUsize,
    stopped: AtomicBool,
}

pub struct Origin {
    addr: SocketAddr,
    shared: Arc<Shared>,
    accepting: Option<JoinHandle<()>>,
}

impl Origin {
    pub fn start(script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Origin {
        Origin::over(TcpListener::bind("127.0.0.1:0").unwrap(), script)
    }

    pub fn over(listener: TcpListener, script: impl Fn(&mut Conn) + Send + Sync + 'static) -> Origin {
        let addr = listener.local_addr().unwrap();
        let shared = Arc::new(Shared::default());
        let stage = shared.clone();
        let script = Arc::new(script);
        let accepting = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if stage.stopped.load(SeqCst) {
                    return;
                }
                // The scripts' own knowledge would come too late: a close that was sent before the next connect may be read after
                // it. Several looks, because the kernel itself handles a close on one CPU later than a connect on another when it
                // is busy, and because the table may change while it is read. (The simulation counts exactly.)
                if stage.counts.load(SeqCst) {
                    let look = |_| {
                        std::thread::yield_now();
                        established(addr.port())
                    };
                    let open = (0..10).map(look).min().unwrap_or(0);
                    stage.most_open.fetch_max(open, SeqCst);
                }
                let number = stage.connections.fetch_add(1, SeqCst) + 1;
                let conn = Conn { wire: Some(Wire::new(stream.unwrap())), number, shared: stage.clone() };
                let script = script.clone();
                std::thread::spawn(move || perform(&*script, conn));
            }
        });
        Origin { addr, shared, accepting: Some(accepting) }
    }

    /// Answers each request with its own method and target, so that no answer can be taken for another.
    pub fn hello() -> Origin {
        Origin::each(|conn, request| conn.answer(request.what()))
    }

    /// Answers with the body it received.
    pub fn echoing() -> Origin {
        Origin::each(|conn, request| conn.answer(&request.body))
    }

    /// As `hello`, but each answer waits at the gate, so that a test can have several requests in flight.
    pub fn gated(gate: &Gate) -> Origin {
        let gate = gate.clone();
        Origin::each(move |conn, request| {
            gate.pass();
            conn.answer(request.what());
        })
    }

    /// Answers each request with its own name and the target, and remembers nothing of it: for many requests.
    pub fn busy(name: &'static str) -> Origin {
        Origin::start(move |conn| {
            while let Ok(head) = conn.wire().head() {
                conn.answer(format!("{name} {}", head.start.split(' ').nth(1).expect("a target")));
            }
        })
    }

    /// Answers with its name.
    pub fn named(name: &'static str) -> Origin {
        Origin::each(move |conn, _| conn.answer(name))
    }

    /// Answers each request with those bytes, and nothing else.
    pub fn saying(bytes: impl Into<Vec<u8>>) -> Origin {
        let bytes = bytes.into();
        Origin::each(move |conn, _| conn.send(&bytes))
    }

    /// Reads requests one after the other; `script` answers each.
    pub fn each(script: impl Fn(&mut Conn, Request) + Send + Sync + 'static) -> Origin {
        Origin::start(move |conn| {
            while let Some(request) = conn.read_request() {
                script(conn, request);
            }
        })
    }

    /// From its first connection on it counts how many are open at once, which takes time at each.
    pub fn counting(self) -> Origin {
        self.shared.counts.store(true, SeqCst);
        self
    }

    pub fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub fn port(&self) -> u16 {
        self.addr.port()
    }

    /// Every request that came whole, in order.
    pub fn requests(&self) -> Vec<Request> {
        self.shared.requests.lock().unwrap().clone()
    }

    /// Every request of which at least the head came.
    pub fn heads(&self) -> Vec<Request> {
        self.shared.heads.lock().unwrap().clone()
    }

    /// The only request that came.
    #[track_caller]
    pub fn request(&self) -> Request {
        let mut requests = self.requests();
        assert_eq!(requests.len(), 1, "{requests:?}");
        requests.remove(0)
    }

    /// How many connections were made to it.
    pub fn connections(&self) -> usize {
        self.shared.connections.load(SeqCst)
    }

    /// Connections that the other side has not closed, as the kernel sees it.
    pub fn open(&self) -> usize {
        established(self.addr.port())
    }

    /// The most that were ever open at once, if it is [`counting`](Origin::counting).
    pub fn most_open(&self) -> usize {
        assert!(self.shared.counts.load(SeqCst), "nobody has counted");
        self.shared.most_open.load(SeqCst)
    }
}

impl Drop for Origin {
    fn drop(&mut self) {
        self.shared.stopped.store(true, SeqCst);
        let _ = TcpStream::connect(self.addr); // wakes the accepting thread
        // From here on connects are refused.
        self.accepting.take().into_iter().for_each(|accepting| drop(accepting.join()));
        let faults = self.shared.faults.lock().unwrap().join("\n");
        if !faults.is_empty() {
            match std::thread::panicking() {
                true => eprintln!("at the origin: {faults}"),
                false => panic!("at the origin: {faults}"),
            }
        }
    }
}

fn perform(script: &dyn Fn(&mut Conn), mut conn: Conn) {
    if let Err(fault) = catch_unwind(AssertUnwindSafe(|| script(&mut conn))) {
        let said = fault.downcast_ref::<String>().cloned();
        let said = said.or(fault.downcast_ref::<&str>().map(|s| s.to_string()));
        conn.shared.faults.lock().unwrap().push(said.unwrap_or_default());
    }
}

/// One connection at the origin. Dropping it closes it.
pub struct Conn {
    wire: Option<Wire>,
    pub number: usize,
    shared: Arc<Shared>,
}

impl Conn {
    pub fn wire(&mut self) -> &mut Wire {
        self.wire.as_mut().expect("a connection that is still open")
    }

    /// The head of the next request; `None` when there is none.
    pub fn read_head(&mut self) -> Option<Request> {
        let head = self.wire.as_mut()?.head().ok()?;
        let mut words = head.start.split(' ');
        let mut word = || words.next().unwrap_or_default().to_owned();
        let request = Request {
            conn: self.number,
            method: word(),
            target: word(),
            version: word(),
            fields: head.fields,
            raw_head: head.raw,
            body: Vec::new(),
            trailers: Fields::default(),
            sizes: Vec::new(),
        };
        assert!(words.next().is_none() && request.version == "HTTP/1.1", "bad request line {:?}", head.start);
        assert!(request.fields.get("Host").is_some(), "no Host: {:?}", request.fields);
        self.shared.heads.lock().unwrap().push(request.clone());
        Some(request)
    }

    /// The body that belongs to a head; `None` if it was cut.
    pub fn read_body(&mut self, mut request: Request) -> Option<Request> {
        let coding = request.fields.get("Transfer-Encoding").map(str::to_ascii_lowercase);
        let length = request.fields.get("Content-Length").map(|n| n.parse().expect("a length"));
        match (coding, length) {
            (Some(coding), None) => {
                assert_eq!(coding, "chunked");
                request.trailers = self.wire().chunked(&mut request.body, &mut request.sizes).ok()?;
            }
            (None, length) => self.wire().take(length.unwrap_or(0), &mut request.body).ok()?,
            (Some(_), Some(_)) => panic!("both Content-Length and Transfer-Encoding: {:?}", request.fields),
        }
        self.shared.requests.lock().unwrap().push(request.clone());
        Some(request)
    }

    pub fn read_request(&mut self) -> Option<Request> {
        let head = self.read_head()?;
        self.read_body(head)
    }

    /// Sends; a peer that is gone shows at the next read.
    pub fn send(&mut self, bytes: impl AsRef<[u8]>) {
        let _ = self.wire().write(bytes.as_ref());
    }

    /// One byte a segment, with a pause after each.
    pub fn send_slowly(&mut self, bytes: impl AsRef<[u8]>, pause: Duration) {
        for byte in bytes.as_ref().chunks(1) {
            self.send(byte);
            take_time(pause);
        }
    }

    /// `200` with that body and its length.
    pub fn answer(&mut self, body: impl AsRef<[u8]>) {
        let body = body.as_ref();
        let mut bytes = format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        bytes.extend_from_slice(body);
        self.send(bytes);
    }

    pub fn close(&mut self) {
        self.wire = None;
    }

    /// Closes with a reset; what was sent and not read may be lost.
    pub fn reset(&mut self) {
        if let Some(wire) = self.wire.take() {
            wire.arm_reset();
        }
    }

    /// Reads and drops until the proxy ends the connection, and says how it did.
    pub fn wait_for_end(&mut self) -> End {
        self.wire().rest(&mut Vec::new())
    }
}
