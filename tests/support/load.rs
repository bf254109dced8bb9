//! Clients that send requests all the time: some keep their connection, others make a new one for each request. Every answer is
//! compared with its request, and failures are counted by kind.

use super::client::{Client, Response};
use super::wire::End;
use super::{PATIENCE, take_time, wait_until};
use std::collections::BTreeMap;
use std::io::ErrorKind;
use std::net::{SocketAddr, TcpStream};
use std::sync::atomic::{AtomicBool, Ordering::SeqCst};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// The results of all requests.
#[derive(Clone, Debug, Default)]
pub struct Tally {
    /// Whole answers with status 200 and the nonce of their request.
    pub answered: usize,
    /// The complete answers by the text before the nonce, which names the origin.
    pub by_name: BTreeMap<String, usize>,
    /// Answers with 503 `draining`.
    pub draining: usize,
    /// Kept connections that were told `Connection: close` with an answer.
    pub told_to_close: usize,
    /// Connects that were refused.
    pub refused: usize,
    /// New connections that ended without a byte of an answer. A listener that closes may leave a few, which the kernel completes
    /// between the last accept and the close.
    pub unanswered: usize,
    /// Everything else, in words.
    pub faults: Vec<String>,
    /// The longest from a request to the end of its answer.
    pub slowest: Duration,
    /// Targets of requests that were answered, in whatever way.
    pub targets: Vec<String>,
}

impl Tally {
    /// Each request was answered, and none of the connections ended before its time.
    #[track_caller]
    pub fn expect_flawless(&self) {
        self.expect_no_faults();
        assert_eq!((self.refused, self.unanswered, self.draining, self.told_to_close), (0, 0, 0, 0), "{}", self.summary());
    }

    #[track_caller]
    pub fn expect_no_faults(&self) {
        assert!(self.faults.is_empty(), "{} faults, the first: {:?}", self.faults.len(), &self.faults[..self.faults.len().min(5)]);
    }

    pub fn summary(&self) -> String {
        let Tally { answered, draining, told_to_close, refused, unanswered, slowest, .. } = self;
        let faults = self.faults.len();
        format!(
            "{answered} answered, {draining} draining, {told_to_close} told to close, {refused} refused, {unanswered} unanswered, \
             {faults} faults, slowest {slowest:?}"
        )
    }
}

/// The clients of one address, each a thread.
pub struct Load {
    stopped: Arc<AtomicBool>,
    tally: Arc<Mutex<Tally>>,
    threads: Vec<JoinHandle<()>>,
}

/// One client: its connection, if it has one, and its tally.
struct Clerk {
    addr: SocketAddr,
    keeps: bool,
    client: Option<Client>,
    /// Requests that `client` has carried.
    carried: usize,
}

impl Load {
    /// So many clients of each kind, each resting for `pace` after an answer.
    pub fn start(addr: SocketAddr, kept: usize, fresh: usize, pace: Duration) -> Load {
        let (stopped, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let kinds = (0..kept + fresh).map(|i| i < kept);
        let threads = kinds.enumerate().map(|(i, keeps)| {
            let (stopped, tally) = (stopped.clone(), tally.clone());
            std::thread::spawn(move || {
                let mut clerk = Clerk { addr, keeps, client: None, carried: 0 };
                for n in 0.. {
                    if stopped.load(SeqCst) {
                        return;
                    }
                    clerk.ask(&format!("/{i}-{n}"), &tally);
                    take_time(pace);
                }
            })
        });
        let threads = threads.collect();
        Load { stopped, tally, threads }
    }

    pub fn answered(&self) -> usize {
        self.tally.lock().unwrap().answered
    }

    /// Lets it go on until so many more have been answered.
    #[track_caller]
    pub fn wait_for_more(&self, n: usize) {
        let before = self.answered();
        wait_until(&format!("{n} more are answered"), || self.answered() >= before + n);
    }

    /// The results so far.
    pub fn so_far(&self) -> Tally {
        self.tally.lock().unwrap().clone()
    }

    /// Lets every client finish its request.
    #[track_caller]
    pub fn stop(self) -> Tally {
        self.stopped.store(true, SeqCst);
        for thread in self.threads {
            thread.join().expect("a client of the load");
        }
        std::mem::take(&mut *self.tally.lock().unwrap())
    }
}

impl Clerk {
    fn ask(&mut self, target: &str, tally: &Mutex<Tally>) {
        let begin = Instant::now();
        let mut client = match self.client.take().map_or_else(|| TcpStream::connect_timeout(&self.addr, PATIENCE).map(Client::over), Ok) {
            Ok(client) => client,
            Err(error) => {
                let mut tally = tally.lock().unwrap();
                match error.kind() {
                    ErrorKind::ConnectionRefused => tally.refused += 1,
                    ErrorKind::ConnectionReset => tally.unanswered += 1,
                    _ => tally.faults.push(format!("{target}: cannot connect: {error}")),
                }
                return;
            }
        };
        let close = if self.keeps { "" } else { "Connection: close\r\n" };
        // It may fail because the answer is there already, which is read in any case.
        let _ = client.try_send(format!("GET {target} HTTP/1.1\r\nHost: play.test\r\n{close}\r\n"));
        let answer = client.try_response_to("GET");
        let is_last = answer.as_ref().map_or(true, |answer| answer.fields.lists("Connection", "close"));
        let tally = &mut *tally.lock().unwrap();
        self.note(target, answer, tally);
        tally.slowest = tally.slowest.max(begin.elapsed());
        self.carried += 1;
        if !self.keeps || is_last {
            self.carried = 0;
            drop(client);
        } else {
            self.client = Some(client);
        }
    }

    fn note(&self, target: &str, answer: Result<Response, End>, tally: &mut Tally) {
        let answer = match answer {
            Ok(answer) => answer,
            Err(End::Closed | End::Reset) if self.carried == 0 => return tally.unanswered += 1,
            Err(end) => return tally.faults.push(format!("{target}: no answer, {end:?}, after {} on that connection", self.carried)),
        };
        tally.targets.push(target.to_owned());
        let closes = answer.fields.lists("Connection", "close");
        let is_draining = answer.fields.get("Proxy-Status") == Some("tidegate; error=draining");
        if answer.status == 503 && is_draining && closes && answer.cut.is_none() {
            return tally.draining += 1;
        }
        let text = String::from_utf8_lossy(&answer.body);
        match text.strip_suffix(target) {
            Some(name) if (answer.status, answer.cut) == (200, None) => {
                tally.answered += 1;
                *tally.by_name.entry(name.trim_end().to_owned()).or_default() += 1;
                tally.told_to_close += usize::from(self.keeps && closes);
            }
            _ => tally.faults.push(format!("{target}: {} {text:?} {:?} {:?}", answer.status, answer.fields, answer.cut)),
        }
    }
}
