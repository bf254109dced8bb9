//! The setting of a scene: four upstreams, the proxy in front of them, and clients; and the goals of every scene.

use super::clients::{Clients, Done};
use super::report::{Goal, Report, thousands};
use super::upstream::{Book, Mood, Upstream};
use crate::support::*;
use serde_json::json;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub const READ_MS: u64 = 300;
/// How long a circuit is open before it becomes half-open.
pub const OPEN_MS: u64 = 500;
/// With fewer requests, a failure rate of one in a thousand cannot be judged.
const LEAST_REQUESTS: usize = 1000;

/// The parameters of a run.
#[derive(Clone, Copy)]
pub struct Run {
    pub seed: u64,
    /// How long a scene lasts at least.
    pub time: Duration,
}

/// A scene that is running.
pub struct Stage {
    pub book: Arc<Book>,
    pub upstreams: Vec<Upstream>,
    scene: &'static str,
    run: Run,
    dice: Dice,
    proxy: Proxy,
    clients: Clients,
    begin: Instant,
    goals: Vec<Goal>,
}

impl Stage {
    /// Upstreams in these moods, and a proxy with its defaults, except for times that would be too long for a test.
    pub fn set(scene: &'static str, run: Run, moods: [Mood; 4], change: impl FnOnce(Config) -> Config) -> Stage {
        let book = Arc::new(Book::default());
        let upstreams = (0..4).zip(moods).map(|(number, mood)| Upstream::new(run.seed.wrapping_mul(4) + number, mood, &book));
        let upstreams: Vec<Upstream> = upstreams.collect();
        let config = Config(json!({
            "listen": "127.0.0.1:0",
            "metrics_listen": "127.0.0.1:0",
            "upstreams": upstreams.iter().map(|up| json!({"host": "127.0.0.1", "port": up.addr.port()})).collect::<Vec<_>>(),
            "timeouts": {"connect_ms": 200, "read_ms": READ_MS},
            "circuit_breaker": {"timeout_ms": OPEN_MS},
            "retry": {"statuses": [503]},
        }));
        let proxy = change(config).launch().stdout(Stdio::null()).start();
        let clients = Clients::start(proxy.addr(), run.seed);
        Stage { scene, run, dice: Dice(run.seed), book, upstreams, proxy, clients, begin: Instant::now(), goals: Vec::new() }
    }

    /// Whether the time is over, or the proxy answers so little that it will miss its goals anyway.
    pub fn is_over(&self) -> bool {
        let elapsed = self.begin.elapsed();
        elapsed >= self.run.time && (self.clients.done() >= LEAST_REQUESTS || elapsed >= self.run.time + PATIENCE)
    }

    /// Runs clients and upstreams until it is over.
    pub fn play(&self) {
        while !self.is_over() {
            sleep(Duration::from_millis(10));
        }
    }

    /// A random index below `n`.
    pub fn choose(&mut self, n: usize) -> usize {
        self.dice.below(n)
    }

    /// Waits between `least` and `most` milliseconds.
    pub fn last(&mut self, least: usize, most: usize) {
        sleep(Duration::from_millis((least + self.dice.below(most - least)) as u64));
    }

    pub fn goal(&mut self, is_met: bool, what: String) {
        self.goals.push(Goal { is_met, what });
    }

    /// How many attempts the proxy made at that upstream.
    pub fn attempts(&self, upstream: usize) -> usize {
        let label = format!("upstream=\"{}\"", self.upstreams[upstream].addr);
        self.proxy.metric("proxy_upstream_requests_total", &[&label]) as usize
    }

    /// Requires that at least 99.9 % of the idempotent requests that can be repeated succeed.
    pub fn want_success(&mut self, done: &[Done]) {
        let asked: Vec<_> = done.iter().filter(|done| done.is_idempotent()).collect();
        let failed = asked.iter().filter(|done| done.failure.is_some()).count();
        let what = format!("99.9 % of GET, PUT and DELETE succeed: {} of {}", thousands(asked.len() - failed), thousands(asked.len()));
        self.goal(failed * 1000 <= asked.len() && asked.len() >= LEAST_REQUESTS / 2, what);
    }

    /// Ends the scene; `judge` adds the goals that depend on all requests.
    pub fn end(mut self, judge: impl FnOnce(&mut Stage, &[Done])) -> Report {
        let done = self.clients.stop();
        let retries = self.proxy.metric("proxy_retries_total", &[]) as usize;
        judge(&mut self, &done);
        let Stage { scene, book, upstreams, proxy, mut goals, .. } = self;
        let diagnostics = proxy.diagnostics();
        drop(proxy);
        upstreams.iter().for_each(Upstream::settle);
        let seen = book.seen.lock().unwrap();
        let again = seen.iter().filter(|(what, times)| what.starts_with("POST ") && times.len() > 1);
        let again: Vec<&str> = again.map(|(what, _)| what.as_str()).collect();
        let twice = again.len();
        let list = again.iter().take(5).map(|what| format!(", {what}")).collect::<String>();
        goals.push(Goal { is_met: twice == 0, what: format!("no POST is seen twice: {twice} were{list}") });
        let mut report = Report { scene, done, retries, twice, goals, said: Vec::new() };
        if !report.is_good() {
            let failed = report.done.iter().filter(|done| done.is_idempotent()).filter_map(|done| done.failure.as_ref()?.trace_id.as_ref());
            let about = |id: &String| diagnostics.iter().filter(|line| line.contains(id.as_str())).cloned().collect::<Vec<_>>();
            report.said = failed.take(3).flat_map(about).collect();
        }
        report
    }
}
