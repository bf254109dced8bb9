//! The proxy of a test: the real binary as a process of its own, and what can be seen of it from outside. It is killed when the
//! test ends; its diagnostics are printed if the test failed.

use super::client::{Client, Response};
use super::exposition::{samples, sum};
use super::launch::{Config, Launch, Lines, wait_exit};
use super::{End, PATIENCE, get, is_uuid, take_time, wait_until};
use serde_json::Value;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command};
use std::time::{Duration, Instant};
use tempfile::TempDir;

pub struct Proxy {
    child: Child,
    out: Lines,
    err: Lines,
    listen: Vec<SocketAddr>,
    admin: Option<SocketAddr>,
    pub workers: usize,
    /// The ready line.
    pub ready: String,
    dir: TempDir,
}

impl Proxy {
    /// Waits for the ready line of a process that was just started.
    #[track_caller]
    pub fn attach(child: Child, out: Lines, err: Lines, dir: TempDir) -> Proxy {
        let mut proxy = Proxy { child, out, err, listen: Vec::new(), admin: None, workers: 0, ready: String::new(), dir };
        let begin = Instant::now();
        while proxy.ready.is_empty() {
            let ended = proxy.child.try_wait().unwrap();
            if ended.is_some() {
                wait_until("its last words are read", || proxy.err.ended());
            }
            proxy.read_ready_line();
            let hopeless = proxy.ready.is_empty() && (ended.is_some() || begin.elapsed() > PATIENCE);
            assert!(!hopeless, "no ready line; exit status {ended:?}; it said:\n{}", proxy.err.all().join("\n"));
            std::thread::sleep(Duration::from_millis(2));
        }
        proxy
    }

    #[track_caller]
    pub fn start(config_yaml: &str) -> Proxy {
        Launch::new(["--config", "config.yaml"]).file("config.yaml", config_yaml).start()
    }

    /// The first listen address.
    pub fn addr(&self) -> SocketAddr {
        self.listen[0]
    }

    pub fn listens(&self) -> &[SocketAddr] {
        &self.listen
    }

    #[track_caller]
    pub fn admin(&self) -> SocketAddr {
        self.admin.expect("an admin port")
    }

    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    #[track_caller]
    pub fn client(&self) -> Client {
        Client::connect(self.addr())
    }

    #[track_caller]
    pub fn get(&self, path: &str) -> Response {
        get(self.addr(), path)
    }

    /// `TERM`, `INT`, `HUP`, …
    pub fn signal(&self, name: &str) {
        signal(self.pid(), name);
    }

    /// Ends it at once: a second signal counts as one a little later than the first.
    #[track_caller]
    pub fn signal_twice(&self, names: [&str; 2]) {
        self.signal(names[0]);
        self.wait_until_draining();
        let begin = Instant::now();
        wait_until("they are two", || begin.elapsed() > Duration::from_millis(150));
        self.signal(names[1]);
    }

    #[track_caller]
    pub fn wait_until_draining(&self) {
        wait_until("it is draining", || get(self.admin(), "/health").status == 503);
    }

    /// Its working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Puts a file into its directory, in one step, as whoever changes a configuration should.
    pub fn write(&self, name: &str, text: &str) {
        let new = self.dir().join("new");
        std::fs::write(&new, text).unwrap();
        std::fs::rename(new, self.dir().join(name)).unwrap();
    }

    /// Reloads so far: good ones, refused ones.
    pub fn reloads(&self) -> (usize, usize) {
        let scrape = self.scrape();
        let of = |result: &str| sum(&scrape, "proxy_config_reloads_total", &[&format!("result=\"{result}\"")]) as usize;
        (of("ok"), of("error"))
    }

    /// Sends SIGHUP and waits until that is done: whether it was taken.
    #[track_caller]
    pub fn hang_up(&self) -> bool {
        let before = self.reloads();
        self.signal("HUP");
        wait_until("the reload is counted", || self.reloads() != before);
        let after = self.reloads();
        assert_eq!(after.0 + after.1, before.0 + before.1 + 1, "one signal, one reload");
        after.0 > before.0
    }

    /// Goes over to another configuration.
    #[track_caller]
    pub fn reload(&self, config: &Config) {
        self.write("config.yaml", &config.0.to_string());
        assert!(self.hang_up(), "the reload was refused:\n{}", self.diagnostics().join("\n"));
    }

    /// Tries to go over to another configuration, which is refused; returns what was said since.
    #[track_caller]
    pub fn reload_in_vain(&self, text: &str) -> Vec<String> {
        self.write("config.yaml", text);
        let said = self.diagnostics().len();
        assert!(!self.hang_up(), "the reload was taken:\n{}", self.diagnostics().join("\n"));
        wait_until("it says why", || self.diagnostics()[said..].iter().any(|l| l.contains(" ERROR ") || l.contains(" WARN ")));
        self.diagnostics()[said..].to_vec()
    }

    /// The exit status, once it has ended by itself and all its diagnostics are read.
    #[track_caller]
    pub fn wait_exit(&mut self) -> i32 {
        let status = wait_exit(&mut self.child).expect("it to end");
        wait_until("its last words are read", || self.err.ended());
        status
    }

    pub fn has_exited(&mut self) -> bool {
        self.child.try_wait().unwrap().is_some()
    }

    // ---- what it says

    /// The access log so far.
    pub fn log_lines(&self) -> Vec<String> {
        self.out.all()
    }

    pub fn diagnostics(&self) -> Vec<String> {
        self.err.all()
    }

    /// The diagnostics with that part.
    pub fn said(&self, part: &str) -> Vec<String> {
        self.diagnostics().into_iter().filter(|line| line.contains(part)).collect()
    }

    /// The line of the access log with that trace id.
    #[track_caller]
    pub fn log_of(&self, trace_id: &str) -> String {
        self.log_with(&format!("trace_id={trace_id}"))
    }

    /// The line of the access log that contains `part`; there must be one, and only one.
    #[track_caller]
    pub fn log_with(&self, part: &str) -> String {
        let lines = || self.log_lines().into_iter().filter(|l| l.contains(part)).collect::<Vec<_>>();
        wait_until(&format!("the access log has {part:?}"), || !lines().is_empty());
        let mut lines = lines();
        assert_eq!(lines.len(), 1, "{lines:?}");
        lines.remove(0)
    }

    /// A page of the admin port in JSON.
    #[track_caller]
    pub fn page(&self, path: &str, status: u16) -> Value {
        let answer = get(self.admin(), path).expect(status);
        assert!(answer.fields.get("Content-Type").unwrap().starts_with("application/json"), "{:?}", answer.fields);
        serde_json::from_slice(&answer.body).expect("JSON")
    }

    /// What the admin port says of an upstream, by its place in the configuration.
    #[track_caller]
    pub fn backend(&self, index: usize) -> Value {
        self.page("/backends/health", 200)["backends"][index].clone()
    }

    pub fn scrape(&self) -> String {
        get(self.admin(), "/metrics").expect(200).text().to_owned()
    }

    /// The sum of the samples of that name with these labels (`status_class="2xx"`, say) among theirs; 0 if there are none.
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        sum(&self.scrape(), name, labels)
    }

    /// Waits until nothing more goes to any client, as clients take nothing; returns how many bytes have gone.
    #[track_caller]
    pub fn wait_for_standstill(&self) -> usize {
        let sent = || self.metric("proxy_bytes_sent_total", &[]) as usize;
        let mut last = 0;
        wait_until("nothing moves", || {
            take_time(Duration::from_millis(200));
            let before = std::mem::replace(&mut last, sent());
            before == last && last > 0
        });
        last
    }

    /// No counter and no gauge is anything but 0.
    #[track_caller]
    pub fn expect_nothing_counted(&self) {
        let scrape = self.scrape();
        for (name, labels, value) in samples(&scrape).filter(|(name, ..)| name.starts_with("proxy_") && *name != "proxy_build_info") {
            assert_eq!(value, 0.0, "{name}{{{labels}}}");
        }
    }

    /// An answer made by the proxy says why, and its body, its fields, the log and the metrics all say the same.
    #[track_caller]
    pub fn expect_refusal(&self, response: Response, status: u16, reason: &str) -> Response {
        assert_eq!((response.status, response.cut), (status, None), "{response:?}");
        assert_eq!(response.fields.get("Proxy-Status"), Some(format!("tidegate; error={reason}").as_str()));
        let says = format!("{status} {reason}: ");
        assert!(response.text().starts_with(&says) && response.text().trim_end().lines().count() == 1, "{response:?}");
        assert!(is_uuid(response.trace_id()), "{response:?}");
        let line = self.log_of(response.trace_id());
        assert!(line.contains(&format!("\" {status} ")) && line.contains(&format!(" error={reason} ")), "{line:?}");
        assert!(self.metric("proxy_errors_total", &[&format!("reason=\"{reason}\"")]) >= 1.0, "{reason} not counted");
        response
    }

    // ---- what it costs

    pub fn fds(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/fd", self.pid())).unwrap().count()
    }

    pub fn threads(&self) -> usize {
        std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap().count()
    }

    /// Resident memory; `smaps_rollup` because the quicker counters lag behind by some pages a thread.
    pub fn rss_bytes(&self) -> usize {
        let text = std::fs::read_to_string(format!("/proc/{}/smaps_rollup", self.pid())).unwrap();
        let line = text.lines().find_map(|l| l.strip_prefix("Rss:")).unwrap();
        line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() * 1024
    }

    /// User and system time so far.
    pub fn cpu_seconds(&self) -> f64 {
        let text = std::fs::read_to_string(format!("/proc/{}/stat", self.pid())).unwrap();
        let fields = text.rsplit(')').next().unwrap().split_whitespace().collect::<Vec<_>>();
        let ticks = |i: usize| fields[i].parse::<f64>().unwrap();
        (ticks(11) + ticks(12)) / 100.0
    }

    /// How often each of its threads has gone to sleep: once for each blocking `epoll_wait`.
    pub fn sleeps(&self) -> Vec<usize> {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.pid())).unwrap();
        let mut ids = tasks.map(|t| t.unwrap().path()).collect::<Vec<_>>();
        ids.sort();
        let read = |task: &std::path::PathBuf| {
            let text = std::fs::read_to_string(task.join("status")).unwrap();
            text.lines().find_map(|l| l.strip_prefix("voluntary_ctxt_switches:")).unwrap().trim().parse().unwrap()
        };
        ids.iter().map(read).collect()
    }

    /// `… ready listen=A,B metrics=C workers=N pid=P`
    fn read_ready_line(&mut self) {
        let Some(line) = self.err.all().into_iter().find(|l| l.contains("ready listen=")) else {
            return;
        };
        let word = |name: &str| {
            let word = line.split_whitespace().find_map(|w| w.strip_prefix(name)?.strip_prefix('='));
            word.unwrap_or_else(|| panic!("no {name} in {line:?}")).to_owned()
        };
        let listens = word("listen");
        let tcp = listens.split(',').filter(|address| !address.starts_with("unix:"));
        self.listen = tcp.map(|address| address.parse().expect("an address")).collect();
        self.admin = Some(word("metrics")).filter(|a| a != "off").map(|a| a.parse().expect("an address"));
        self.workers = word("workers").parse().expect("a number");
        assert_eq!(word("pid"), self.pid().to_string());
        self.ready = line;
    }
}

impl Drop for Proxy {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
        let said = self.err.all();
        if std::thread::panicking() {
            let log = self.out.all();
            eprintln!("--- the proxy's diagnostics\n{}", said.join("\n"));
            eprintln!("--- the end of its access log\n{}", log[log.len().saturating_sub(20)..].join("\n"));
        } else if let Some(line) = said.iter().find(|l| l.contains("panicked at")) {
            panic!("the proxy panicked: {line}");
        }
    }
}

/// Sends `bytes`, a smuggled request right behind them, and expects a refusal and the end of the connection.
#[track_caller]
pub fn refused(proxy: &Proxy, bytes: impl AsRef<[u8]>, statuses: &[u16]) -> Response {
    let bytes = bytes.as_ref();
    let what = String::from_utf8_lossy(&bytes[..bytes.len().min(200)]);
    let mut client = proxy.client();
    let _ = client.try_send([bytes, b"GET /smuggled HTTP/1.1\r\nHost: evil.test\r\n\r\n"].concat());
    let answer = client.try_response_to("GET").unwrap_or_else(|end| panic!("{end:?} without an answer to {what:?}"));
    assert!(statuses.contains(&answer.status), "{} for {what:?}", answer.status);
    assert!(answer.fields.lists("Connection", "close"), "{:?} for {what:?}", answer.fields);
    let mut more = Vec::new();
    let end = client.wire.rest(&mut more);
    assert!(more.is_empty() && end != End::Silent, "{end:?} and {:?} after {what:?}", String::from_utf8_lossy(&more));
    answer
}

/// `TERM`, `INT`, `HUP`, …
pub fn signal(pid: u32, name: &str) {
    let status = Command::new("kill").arg(format!("-{name}")).arg(pid.to_string()).status();
    assert!(status.unwrap().success());
}
