//! An upstream that fails in a chosen way, and recovers. All upstreams of a scene record what they have seen in one
//! book.

use crate::support::*;
use socket2::SockRef;
use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Condvar, Mutex};
use std::time::{Duration, Instant};

/// The longest time before an answer in milliseconds, so that requests are in progress when something fails.
const MOST_THOUGHT: usize = 5;

/// What an upstream does with requests.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mood {
    /// Does not listen.
    Absent,
    /// Answers, after up to [`MOST_THOUGHT`].
    Well,
    /// Fails a fifth of them, and resets a tenth of the connections at accept.
    Flaky,
    /// Resets the connection of each.
    Resetting,
    /// Behaves like a stopped process: the kernel accepts connections and bytes, and nothing is answered.
    Frozen,
    /// Lets connects go unanswered.
    Swallowing,
    /// Answers each with 503.
    Busy,
    /// Resets the connection of each in the middle of the answer.
    Cutting,
}

/// How it failed a request or a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Fault {
    ResetAtAccept,
    ResetAfterHead,
    FinBeforeAnswer,
    Hang,
    Status503,
    Slow,
    ResetInAnswer,
}

impl Fault {
    /// Those of [`Mood::Flaky`].
    pub const OF_FLAKY: [Fault; 6] =
        [Fault::ResetAtAccept, Fault::ResetAfterHead, Fault::FinBeforeAnswer, Fault::Hang, Fault::Status503, Fault::Slow];
}

/// What all upstreams of a scene have seen: when the head of each request came, by method and target, and their faults.
#[derive(Default)]
pub struct Book {
    pub seen: Mutex<HashMap<String, Vec<Instant>>>,
    pub faults: Mutex<BTreeMap<Fault, usize>>,
}

pub struct Upstream {
    pub addr: SocketAddr,
    shared: Arc<Shared>,
    origin: Option<Origin>,
    /// A listener that accepts nothing, and the connections that fill its queue: the kernel drops what more comes.
    full: Option<(TcpListener, Vec<TcpStream>)>,
}

struct Shared {
    /// With the same seed, the same request gets the same fault here.
    seed: u64,
    book: Arc<Book>,
    mood: Mutex<Mood>,
    has_changed: Condvar,
    room: Mutex<Room>,
}

/// Its connections.
#[derive(Default)]
struct Room {
    /// How often it was killed: connections accepted before that are closed.
    life: usize,
    accepted: usize,
    served: usize,
    open: HashMap<usize, TcpStream>,
}

/// How it ends a connection.
enum Ending {
    Close,
    Reset,
}

impl Upstream {
    pub fn new(seed: u64, mood: Mood, book: &Arc<Book>) -> Upstream {
        Self::at(nobody(), seed, mood, book)
    }

    pub fn at(addr: SocketAddr, seed: u64, mood: Mood, book: &Arc<Book>) -> Upstream {
        let shared = Shared { seed, book: book.clone(), mood: Mutex::new(mood), has_changed: Condvar::new(), room: Mutex::default() };
        let mut upstream = Upstream { addr, shared: Arc::new(shared), origin: None, full: None };
        match mood {
            Mood::Absent => {}
            Mood::Swallowing => upstream.full = Some(full_queue(addr)),
            _ => upstream.open(),
        }
        upstream
    }

    /// Listens, always on the same port.
    pub fn open(&mut self) {
        let (addr, shared) = (self.addr, self.shared.clone());
        let life = shared.room.lock().unwrap().life;
        let mut listener = None;
        wait_until("the port is free again", || {
            listener = TcpListener::bind(addr).ok();
            listener.is_some()
        });
        self.origin = Some(Origin::over(listener.unwrap(), move |conn| shared.perform(conn, life)));
    }

    /// Refuses new connections; existing ones are still served.
    pub fn close(&mut self) {
        self.origin = None;
    }

    /// Closes the listener and all connections at once, like a killed process.
    pub fn kill(&mut self) {
        self.close();
        let mut room = self.shared.room.lock().unwrap();
        room.life += 1;
        for (_, stream) in room.open.drain() {
            end(&stream);
        }
    }

    pub fn be(&self, mood: Mood) {
        *self.shared.mood.lock().unwrap() = mood;
        self.shared.has_changed.notify_all();
    }

    /// How many requests it has answered with 200.
    pub fn served(&self) -> usize {
        self.shared.room.lock().unwrap().served
    }

    /// Waits until it has served that many more.
    #[track_caller]
    pub fn wait_for_more(&self, n: usize) {
        let before = self.served();
        wait_until(&format!("{} has served {n} more", self.addr), || self.served() >= before + n);
    }

    /// Waits until it has read everything that was sent to it; the proxy has ended by then.
    pub fn settle(&self) {
        self.be(Mood::Well);
        wait_until("every connection has ended", || self.shared.room.lock().unwrap().open.is_empty());
    }
}

impl Drop for Upstream {
    fn drop(&mut self) {
        self.be(Mood::Well); // lets threads go that wait
    }
}

/// Content of that length that shows losses and mix-ups.
pub fn filled(with: &str, length: usize) -> Vec<u8> {
    with.bytes().cycle().take(length).collect()
}

fn full_queue(addr: SocketAddr) -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind(addr).expect("a free port");
    SockRef::from(&listener).listen(1).unwrap();
    let connect = || TcpStream::connect_timeout(&addr, Duration::from_millis(300)).ok();
    let queue = std::iter::from_fn(connect).collect();
    (listener, queue)
}

fn end(stream: &TcpStream) {
    let _ = SockRef::from(stream).set_linger(Some(Duration::ZERO));
    let _ = stream.shutdown(Shutdown::Both);
}

impl Shared {
    fn perform(&self, conn: &mut Conn, life: usize) {
        let number = {
            let mut room = self.room.lock().unwrap();
            if room.life != life {
                return conn.reset();
            }
            room.accepted += 1;
            let number = room.accepted;
            room.open.insert(number, conn.wire().stream.try_clone().expect("a second handle"));
            number
        };
        let is_unlucky = *self.mood.lock().unwrap() == Mood::Flaky && self.dice(number).below(10) == 0;
        let ending = if is_unlucky { self.fault(Fault::ResetAtAccept, Ending::Reset) } else { self.serve(conn) };
        // A connection ends with its last handle.
        self.room.lock().unwrap().open.remove(&number);
        match ending {
            Ending::Close => conn.close(),
            Ending::Reset => conn.reset(),
        }
    }

    fn serve(&self, conn: &mut Conn) -> Ending {
        loop {
            let Ok(head) = conn.wire().head() else { return Ending::Close };
            let what = head.start.strip_suffix(" HTTP/1.1").expect("a request of HTTP/1.1").to_owned();
            self.book.seen.lock().unwrap().entry(what.clone()).or_default().push(Instant::now());
            let mood = *self.mood.lock().unwrap();
            let mut dice = self.dice(&what);
            let fault = match mood {
                Mood::Busy => Some(Fault::Status503),
                Mood::Cutting => Some(Fault::ResetInAnswer),
                Mood::Flaky if dice.below(5) == 0 => Some(Fault::OF_FLAKY[1 + dice.below(5)]),
                _ => None,
            };
            if mood == Mood::Resetting || fault == Some(Fault::ResetAfterHead) {
                return self.fault(Fault::ResetAfterHead, Ending::Reset);
            }
            let mut content = Vec::new();
            let length = head.fields.get("Content-Length").map_or(0, |length| length.parse().expect("a length"));
            if conn.wire().take(length, &mut content).is_err() {
                return Ending::Close;
            }
            assert!(content == filled(&what, length), "another content than was sent with {what}");
            match fault {
                Some(Fault::FinBeforeAnswer) => return self.fault(Fault::FinBeforeAnswer, Ending::Close),
                Some(Fault::Hang) => {
                    conn.wait_for_end();
                    return self.fault(Fault::Hang, Ending::Close);
                }
                Some(Fault::Status503) => {
                    self.fault(Fault::Status503, ());
                    conn.send("HTTP/1.1 503 Service Unavailable\r\nContent-Length: 5\r\n\r\nbusy\n");
                    continue;
                }
                Some(Fault::ResetInAnswer) => {
                    conn.send(format!("HTTP/1.1 200 OK\r\nContent-Length: 64\r\n\r\n{what:.8}"));
                    // What has come is lost if the reset comes at once.
                    std::thread::sleep(Duration::from_millis(5));
                    return self.fault(Fault::ResetInAnswer, Ending::Reset);
                }
                // Pauses before the answer and in the middle of it.
                Some(Fault::Slow) => self.answer(conn, &what, self.fault(Fault::Slow, 10 + dice.below(90)), true),
                _ => self.answer(conn, &what, dice.below(MOST_THOUGHT + 1), false),
            }
        }
    }

    /// `GET /1000/nonce` is answered with 1000 bytes.
    fn answer(&self, conn: &mut Conn, what: &str, pause: usize, in_two: bool) {
        let mood = self.mood.lock().unwrap();
        drop(self.has_changed.wait_while(mood, |mood| *mood == Mood::Frozen).unwrap());
        let length = what.split('/').nth(1).and_then(|length| length.parse().ok()).expect("a length in the target");
        let mut answer = format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\n").into_bytes();
        answer.extend(filled(what, length));
        let pause = Duration::from_millis(pause as u64);
        std::thread::sleep(pause);
        if in_two {
            let rest = answer.split_off(answer.len() / 2);
            conn.send(std::mem::replace(&mut answer, rest));
            std::thread::sleep(pause);
        }
        self.room.lock().unwrap().served += 1;
        conn.send(answer);
    }

    fn fault<T>(&self, fault: Fault, then: T) -> T {
        *self.book.faults.lock().unwrap().entry(fault).or_default() += 1;
        then
    }

    fn dice(&self, of: impl Hash) -> Dice {
        let mut hasher = DefaultHasher::new();
        (self.seed, of).hash(&mut hasher);
        Dice(hasher.finish())
    }
}
