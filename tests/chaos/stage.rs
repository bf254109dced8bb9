//! The setting of a scene: four upstreams, the proxy in front of them, and clients; and the goals of every scene.

use super::clients::{CLIENTS, Clients, Done};
use super::report::{Goal, Report, thousands};
use super::upstream::{Book, Mood, Upstream};
use crate::support::*;
use serde_json::{Value, json};
use std::net::SocketAddr;
use std::process::Stdio;
use std::sync::Arc;
use std::thread::sleep;
use std::time::{Duration, Instant};

pub const READ_MS: u64 = 300;
/// How long a circuit is open before it becomes half-open.
pub const OPEN_MS: u64 = 500;
/// The default of `circuit_breaker.failure_threshold`.
pub const FAILURES: usize = 3;
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

/// The name that leads to all upstreams, if they are the addresses of one.
const NAME: &str = "web.test";

/// The name as it is in the file of names.
fn hosts(upstreams: &[Upstream]) -> String {
    upstreams.iter().fold(NAME.to_owned(), |line, upstream| format!("{line} {}", upstream.addr.ip())) + "\n"
}

impl Stage {
    /// Upstreams in these moods, and a proxy with its defaults, except for times that would be too long for a test.
    pub fn set(scene: &'static str, run: Run, moods: [Mood; 4], change: impl FnOnce(Config) -> Config) -> Stage {
        let listed = |upstreams: &[Upstream]| upstreams.iter().map(|up| json!({"host": "127.0.0.1", "port": up.addr.port()})).collect();
        Self::start(scene, run, [(); 4].map(|()| nobody()), moods, |config, upstreams| {
            change(config.set("upstreams", Value::Array(listed(upstreams)))).launch()
        })
    }

    /// The same with one upstream: a name with four addresses.
    pub fn set_named(scene: &'static str, run: Run, moods: [Mood; 4]) -> Stage {
        let port = free_port();
        let addrs = [2, 3, 4, 5].map(|last| SocketAddr::from(([127, 0, 0, last], port)));
        Self::start(scene, run, addrs, moods, |config, upstreams| {
            // Long enough for each address to have its share.
            let config = config.set("timeouts.connect_ms", 1200);
            config.set("upstreams", json!([{"host": NAME, "port": port}])).set("resolve_ms", 50).launch().names(&hosts(upstreams))
        })
    }

    fn start(
        scene: &'static str,
        run: Run,
        addrs: [SocketAddr; 4],
        moods: [Mood; 4],
        launch: impl FnOnce(Config, &[Upstream]) -> Launch,
    ) -> Stage {
        let book = Arc::new(Book::default());
        let upstream = |(number, (addr, mood))| Upstream::at(addr, run.seed.wrapping_mul(4) + number, mood, &book);
        let upstreams: Vec<Upstream> = (0..4).zip(addrs.into_iter().zip(moods)).map(upstream).collect();
        let config = Config(json!({
            "listen": "127.0.0.1:0",
            "metrics_listen": "127.0.0.1:0",
            "timeouts": {"connect_ms": 200, "read_ms": READ_MS},
            "circuit_breaker": {"timeout_ms": OPEN_MS},
            "retry": {"statuses": [503]},
        }));
        let proxy = launch(config, &upstreams).stdout(Stdio::null()).start();
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

    pub fn retries(&self) -> usize {
        self.proxy.metric("proxy_retries_total", &[]) as usize
    }

    /// The name leads to the first of its addresses; the proxy knows it when this is over.
    pub fn lead_to(&self, addresses: usize) {
        self.proxy.set_names(&hosts(&self.upstreams[..addresses]));
        let known = || self.proxy.page("/backends/health", 200)["backends"].as_array().map(Vec::len);
        wait_until("the proxy knows the addresses", || known() == Some(addresses));
    }

    pub fn goal(&mut self, is_met: bool, what: String) {
        self.goals.push(Goal { is_met, what });
    }

    /// How many attempts the proxy made at that upstream.
    pub fn attempts(&self, upstream: usize) -> usize {
        let label = format!("address=\"{}\"", self.upstreams[upstream].addr);
        self.proxy.metric("proxy_upstream_requests_total", &[&label]) as usize
    }

    /// Requires that at least 99.9 % of the idempotent requests that can be repeated succeed.
    pub fn want_success(&mut self, done: &[Done]) {
        let asked: Vec<_> = done.iter().filter(|done| done.is_idempotent()).collect();
        let failed = asked.iter().filter(|done| done.failure.is_some()).count();
        let what = format!("99.9 % of GET, PUT and DELETE succeed: {} of {}", thousands(asked.len() - failed), thousands(asked.len()));
        self.goal(failed * 1000 <= asked.len() && asked.len() >= LEAST_REQUESTS / 2, what);
    }

    /// Requires that no idempotent request fails whose answer had not begun. What happened `while` it ran is told with the result.
    pub fn want_no_failure_before_the_answer(&mut self, done: &[Done], meanwhile: &str) {
        let failures = done.iter().filter(|done| done.is_idempotent()).filter_map(|done| done.failure.as_ref());
        let (begun, failed): (Vec<_>, Vec<_>) = failures.partition(|failure| failure.had_begun);
        let what = format!(
            "no GET, PUT or DELETE fails whose answer had not begun: {} did{meanwhile}; and {} had begun",
            failed.len(),
            begun.len()
        );
        self.goal(failed.is_empty(), what);
    }

    /// Requires that one that fails everything since `begin` is soon out: each client may have a request there until enough have
    /// failed, and the first may come again; after that only so many `trials` go there each time its circuit is half-open.
    pub fn want_it_out(&mut self, attempts: usize, trials: usize, (begin, time): (Instant, Duration), done: &[Done]) {
        let asked = done.iter().filter(|done| done.begin >= begin && done.begin < begin + time).count();
        let most = CLIENTS + FAILURES + (time.as_millis() as usize / OPEN_MS as usize + 1) * trials;
        let what = format!("it is out: {attempts} of {} requests went there in {:.1} s", thousands(asked), time.as_secs_f64());
        let longest = done.iter().map(|done| done.took).max().unwrap_or_default().as_millis();
        let what = format!("{what}, at most {most} may; the longest took {longest} ms, read_ms is {READ_MS}");
        self.goal((1..=most).contains(&attempts), what);
    }

    /// Ends the scene; `judge` adds the goals that depend on all requests.
    pub fn end(mut self, judge: impl FnOnce(&mut Stage, &[Done])) -> Report {
        let done = self.clients.stop();
        let retries = self.retries();
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
