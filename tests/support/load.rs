//! Clients that send requests all the time: some keep their connection, others make a new one for each request. Every answer is
//! compared with its request, and failures are counted by kind.

use super::client::{Client, Response};
use super::wire::End;
use super::{PATIENCE, take_time, wait_until};
use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
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

/// One client with one request at a time: it keeps its connection, or makes a new one for each.
pub struct Caller {
    addr: SocketAddr,
    keeps: bool,
    client: Option<Client>,
    /// Requests that `client` has carried.
    carried: usize,
}

/// Why there was no answer.
pub enum NoAnswer {
    NotConnected(io::Error),
    /// How the connection ended, and how many requests it had carried before.
    Ended(End, usize),
}

impl Caller {
    pub fn new(addr: SocketAddr, keeps: bool) -> Caller {
        Caller { addr, keeps, client: None, carried: 0 }
    }

    /// The field with which it asks for the connection to be closed, unless it keeps it.
    pub fn close_field(&self) -> &'static str {
        if self.keeps { "" } else { "Connection: close\r\n" }
    }

    pub fn ask(&mut self, method: &str, request: impl AsRef<[u8]>) -> Result<Response, NoAnswer> {
        let mut client = match self.client.take() {
            Some(client) => client,
            None => {
                self.carried = 0;
                TcpStream::connect_timeout(&self.addr, PATIENCE).map(Client::over).map_err(NoAnswer::NotConnected)?
            }
        };
        // It may fail because the answer is there already, which is read in any case.
        let _ = client.try_send(request);
        let answer = client.try_response_to(method).map_err(|end| NoAnswer::Ended(end, self.carried))?;
        self.carried += 1;
        if self.keeps && answer.cut.is_none() && !answer.fields.lists("Connection", "close") {
            self.client = Some(client);
        }
        Ok(answer)
    }
}

impl Load {
    /// So many clients of each kind, each resting for `pace` after an answer.
    pub fn start(addr: SocketAddr, kept: usize, fresh: usize, pace: Duration) -> Load {
        let (stopped, tally) = (Arc::new(AtomicBool::new(false)), Arc::new(Mutex::new(Tally::default())));
        let kinds = (0..kept + fresh).map(|i| i < kept);
        let threads = kinds.enumerate().map(|(i, keeps)| {
            let (stopped, tally) = (stopped.clone(), tally.clone());
            std::thread::spawn(move || {
                let mut caller = Caller::new(addr, keeps);
                for n in 0.. {
                    if stopped.load(SeqCst) {
                        return;
                    }
                    let target = format!("/{i}-{n}");
                    let begin = Instant::now();
                    let request = format!("GET {target} HTTP/1.1\r\nHost: play.test\r\n{}\r\n", caller.close_field());
                    let answer = caller.ask("GET", request);
                    tally.lock().unwrap().note(&target, answer, begin.elapsed(), keeps);
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

impl Tally {
    fn note(&mut self, target: &str, answer: Result<Response, NoAnswer>, took: Duration, keeps: bool) {
        if !matches!(answer, Err(NoAnswer::NotConnected(_))) {
            self.slowest = self.slowest.max(took);
        }
        let answer = match answer {
            Ok(answer) => answer,
            Err(NoAnswer::NotConnected(error)) => match error.kind() {
                ErrorKind::ConnectionRefused => return self.refused += 1,
                ErrorKind::ConnectionReset => return self.unanswered += 1,
                _ => return self.faults.push(format!("{target}: cannot connect: {error}")),
            },
            Err(NoAnswer::Ended(End::Closed | End::Reset, 0)) => return self.unanswered += 1,
            Err(NoAnswer::Ended(end, carried)) => {
                return self.faults.push(format!("{target}: no answer, {end:?}, after {carried} on that connection"));
            }
        };
        self.targets.push(target.to_owned());
        let closes = answer.fields.lists("Connection", "close");
        let is_draining = answer.fields.get("Proxy-Status") == Some("tidegate; error=draining");
        if answer.status == 503 && is_draining && closes && answer.cut.is_none() {
            return self.draining += 1;
        }
        let text = String::from_utf8_lossy(&answer.body);
        match text.strip_suffix(target) {
            Some(name) if (answer.status, answer.cut) == (200, None) => {
                self.answered += 1;
                *self.by_name.entry(name.trim_end().to_owned()).or_default() += 1;
                self.told_to_close += usize::from(keeps && closes);
            }
            _ => self.faults.push(format!("{target}: {} {text:?} {:?} {:?}", answer.status, answer.fields, answer.cut)),
        }
    }
}
