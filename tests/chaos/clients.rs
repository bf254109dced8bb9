//! Clients that send requests all the time, and compare every answer with its request.

use super::upstream::filled;
use crate::support::load::{Caller, NoAnswer};
use crate::support::*;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering::SeqCst};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// How many clients keep their connection; the others make a new one for each request.
const KEPT: usize = 18;
const FRESH: usize = 6;
pub const CLIENTS: usize = KEPT + FRESH;
/// The pause of a client between two requests, which leaves the machine some time for the proxy.
const REST: Duration = Duration::from_millis(4);

/// A request and its outcome.
pub struct Done {
    /// `GET /1000/nonce`, as the origins record it.
    pub what: String,
    pub begin: Instant,
    pub took: Duration,
    pub failure: Option<Failure>,
}

#[derive(Clone)]
pub struct Failure {
    /// `504 connection_read_timeout`.
    pub why: String,
    /// Whether part of its answer had come.
    pub had_begun: bool,
    pub trace_id: Option<String>,
}

impl Done {
    pub fn is_idempotent(&self) -> bool {
        !self.what.starts_with("POST ")
    }
}

pub struct Clients {
    stopped: Arc<AtomicBool>,
    done: Arc<AtomicUsize>,
    threads: Vec<JoinHandle<Vec<Done>>>,
}

impl Clients {
    pub fn start(addr: SocketAddr, seed: u64) -> Clients {
        let (stopped, done) = (Arc::new(AtomicBool::new(false)), Arc::new(AtomicUsize::new(0)));
        let threads = (0..CLIENTS).map(|number| {
            let (stopped, done) = (stopped.clone(), done.clone());
            std::thread::spawn(move || {
                let mut clerk = Clerk { caller: Caller::new(addr, number < KEPT), dice: Dice(seed ^ (number as u64) << 32) };
                let mut requests = Vec::new();
                while !stopped.load(SeqCst) {
                    requests.push(clerk.ask(&format!("{number}-{}", requests.len())));
                    done.fetch_add(1, SeqCst);
                    std::thread::sleep(REST);
                }
                requests
            })
        });
        let threads = threads.collect();
        Clients { stopped, done, threads }
    }

    /// The requests that have ended.
    pub fn done(&self) -> usize {
        self.done.load(SeqCst)
    }

    /// Lets each client finish its request.
    pub fn stop(&mut self) -> Vec<Done> {
        self.stopped.store(true, SeqCst);
        self.threads.drain(..).flat_map(|thread| thread.join().expect("a client")).collect()
    }
}

struct Clerk {
    caller: Caller,
    dice: Dice,
}

impl Clerk {
    fn ask(&mut self, nonce: &str) -> Done {
        let (method, content) = match self.dice.below(20) {
            0..12 => ("GET", None),
            12 => ("DELETE", None),
            13..16 => ("PUT", Some(self.dice.below(6000))),
            _ => ("POST", Some(self.dice.below(6000))),
        };
        let length = 64 + self.dice.below(4000);
        let what = format!("{method} /{length}/{nonce}");
        let close = self.caller.close_field();
        let size = content.map_or(String::new(), |size| format!("Content-Length: {size}\r\n"));
        let mut request = format!("{what} HTTP/1.1\r\nHost: chaos.test\r\n{size}{close}\r\n").into_bytes();
        request.extend(filled(&what, content.unwrap_or(0)));
        let begin = Instant::now();
        let failure = self.exchange(method, &request, &filled(&what, length)).err();
        Done { what, begin, took: begin.elapsed(), failure }
    }

    fn exchange(&mut self, method: &str, request: &[u8], wanted: &[u8]) -> Result<(), Failure> {
        let failed = |why: String, had_begun| Failure { why, had_begun, trace_id: None };
        let answer = self.caller.ask(method, request).map_err(|no_answer| match no_answer {
            NoAnswer::NotConnected(error) => failed(format!("cannot connect: {error}"), false),
            NoAnswer::Ended(end, _) => failed(format!("no answer: {end:?}"), false),
        })?;
        let why = match (answer.status, answer.cut) {
            (200, None) if answer.body == wanted => None,
            (200, None) => Some("200 with another body".to_owned()),
            (status, Some(end)) => Some(format!("{status}, cut: {end:?}")),
            (status, None) => {
                let reason = answer.fields.get("Proxy-Status").and_then(|text| text.split_once("error="));
                Some(format!("{status} {}", reason.map_or("of the upstream", |(_, reason)| reason)))
            }
        };
        let had_begun = answer.cut.is_some() || why.as_ref().is_some_and(|why| why.ends_with("http_response_incomplete"));
        let trace_id = answer.fields.get("X-Trace-ID").map(str::to_owned);
        why.map_or(Ok(()), |why| Err(Failure { why, had_begun, trace_id }))
    }
}
