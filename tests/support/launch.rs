//! How the proxy is configured and started.

use super::origin::Origin;
use super::proxy::Proxy;
use super::{PATIENCE, wait_until};
use serde_json::{Value, json};
use std::io::{BufRead, BufReader, Read};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// A configuration under construction. JSON is YAML.
#[derive(Clone)]
pub struct Config(pub Value);

impl Config {
    /// Free ports, one worker, and nothing that repeats requests or gives up on an origin, so that a test shows one thing.
    pub fn new() -> Config {
        Config(json!({
            "listen": "127.0.0.1:0",
            "metrics_listen": "127.0.0.1:0",
            "workers": 1,
            "retry": {"max_retries": 0},
            "circuit_breaker": {"failure_threshold": 0},
        }))
    }

    pub fn to(origin: &Origin) -> Config {
        Config::to_all([origin.addr()])
    }

    pub fn to_all(addrs: impl IntoIterator<Item = SocketAddr>) -> Config {
        let upstreams = addrs.into_iter().map(|a| json!({"host": a.ip().to_string(), "port": a.port()}));
        Config::new().set("upstreams", upstreams.collect::<Vec<_>>())
    }

    /// The same, and the first of them is asked before any other, wherever the round begins: its weight gives it a turn whenever
    /// another has one, and of two turns at the same moment the earlier in the list goes first.
    pub fn to_first_of(addrs: impl IntoIterator<Item = SocketAddr>) -> Config {
        let mut config = Config::to_all(addrs);
        let upstreams = config.0["upstreams"].as_array_mut().unwrap();
        if upstreams.len() > 1 {
            let weight = 3 * (upstreams.len() - 1);
            upstreams[0]["weight"] = weight.into();
        }
        config
    }

    /// `set("timeouts.read_ms", 300)`.
    pub fn set(mut self, path: &str, value: impl Into<Value>) -> Config {
        let place = path.split('.').fold(&mut self.0, |at, key| &mut at[key]);
        *place = value.into();
        self
    }

    pub fn launch(self) -> Launch {
        Launch::new(["--config", "config.yaml"]).file("config.yaml", &self.0.to_string())
    }

    #[track_caller]
    pub fn start(self) -> Proxy {
        self.launch().start()
    }

    /// With at most that many descriptors.
    #[track_caller]
    pub fn start_with_descriptors(self, n: usize) -> Proxy {
        let config = self.0.to_string();
        Launch::with_descriptors(n, ["--config", "config.yaml"]).file("config.yaml", &config).start()
    }
}

/// How the binary is to be started: in an empty directory of its own, with nothing in its environment.
pub struct Launch {
    command: Command,
    dir: tempfile::TempDir,
}

impl Launch {
    pub fn new<'a>(args: impl IntoIterator<Item = &'a str>) -> Launch {
        Launch::through(Command::new(binary()), args)
    }

    /// With at most that many descriptors.
    pub fn with_descriptors<'a>(n: usize, args: impl IntoIterator<Item = &'a str>) -> Launch {
        let mut shell = Command::new("/bin/sh");
        shell.arg("-c").arg(format!("ulimit -n {n}; exec \"$0\" \"$@\"")).arg(binary());
        Launch::through(shell, args)
    }

    /// With files that may grow to about that many bytes, like a disk that becomes full.
    pub fn with_small_files<'a>(bytes: usize, args: impl IntoIterator<Item = &'a str>) -> Launch {
        let mut shell = Command::new("/bin/sh");
        // In blocks of 512; without the trap, the signal that says so would end it.
        let script = format!("trap '' XFSZ; ulimit -S -f {}; exec \"$0\" \"$@\"", bytes / 512);
        shell.arg("-c").arg(script).arg(binary());
        Launch::through(shell, args)
    }

    /// With the default action of every signal: who starts the tests may ignore some (`nohup`, a shell's background job), and what
    /// is ignored stays ignored in a new program.
    pub fn with_default_signals<'a>(args: impl IntoIterator<Item = &'a str>) -> Launch {
        let mut env = Command::new("/usr/bin/env");
        env.arg("--default-signal").arg(binary());
        Launch::through(env, args)
    }

    fn through<'a>(mut command: Command, args: impl IntoIterator<Item = &'a str>) -> Launch {
        let dir = tempfile::tempdir().unwrap();
        command.args(args).current_dir(dir.path()).env_clear().env("PATH", "/usr/bin:/bin").env("RUST_BACKTRACE", "1");
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Launch { command, dir }
    }

    pub fn file(self, name: &str, text: &str) -> Launch {
        std::fs::write(self.dir.path().join(name), text).unwrap();
        self
    }

    pub fn env(mut self, name: &str, value: impl ToString) -> Launch {
        self.command.env(name, value.to_string());
        self
    }

    pub fn arg(mut self, arg: &str) -> Launch {
        self.command.arg(arg);
        self
    }

    /// Standard output goes there, and is not read here.
    pub fn stdout(mut self, out: impl Into<Stdio>) -> Launch {
        self.command.stdout(out);
        self
    }

    /// What it reads from standard input.
    pub fn stdin(mut self, input: impl Into<Stdio>) -> Launch {
        self.command.stdin(input);
        self
    }

    /// Its directory, which will be its working directory.
    pub fn dir(&self) -> &Path {
        self.dir.path()
    }

    /// Starts it and waits for the ready line.
    #[track_caller]
    pub fn start(self) -> Proxy {
        self.start_and(|_, _| ())
    }

    /// Starts it, calls `meanwhile` with the process id and the directory, and waits for the ready line.
    #[track_caller]
    pub fn start_and(mut self, meanwhile: impl FnOnce(u32, &Path)) -> Proxy {
        let mut child = self.command.spawn().expect("the binary");
        drop(self.command); // and with it this side's copy of what `stdout` was given
        let (out, err) = (child.stdout.take().map(Lines::of).unwrap_or_default(), Lines::of(child.stderr.take().unwrap()));
        meanwhile(child.id(), self.dir.path());
        Proxy::attach(child, out, err, self.dir)
    }

    /// Runs it to its end: exit status, standard output, standard error.
    #[track_caller]
    pub fn run(self) -> (i32, String, String) {
        self.run_and(|_, _| ())
    }

    /// The same, and calls `meanwhile` with the process id and the directory.
    #[track_caller]
    pub fn run_and(mut self, meanwhile: impl FnOnce(u32, &Path)) -> (i32, String, String) {
        let mut child = self.command.spawn().expect("the binary");
        drop(self.command); // and with it this side's copy of standard input
        let (out, err) = (Lines::of(child.stdout.take().unwrap()), Lines::of(child.stderr.take().unwrap()));
        meanwhile(child.id(), self.dir.path());
        let status = wait_exit(&mut child).unwrap_or_else(|| {
            child.kill().unwrap();
            panic!("it did not end; it said:\n{}", err.all().join("\n"));
        });
        wait_until("its output has ended", || out.ended() && err.ended());
        (status, out.all().join("\n"), err.all().join("\n"))
    }
}

/// The binary under test.
pub fn binary() -> std::path::PathBuf {
    // `TIDEGATE_BIN` drives another build through the same plays, a release binary for instance.
    std::env::var_os("TIDEGATE_BIN").unwrap_or_else(|| env!("CARGO_BIN_EXE_tidegate").into()).into()
}

/// Waits until the process has ended by itself; its exit status, or -1 after a signal.
pub fn wait_exit(child: &mut Child) -> Option<i32> {
    let begin = Instant::now();
    while begin.elapsed() < PATIENCE {
        if let Some(status) = child.try_wait().unwrap() {
            return Some(status.code().unwrap_or(-1));
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    None
}

/// Collects a stream line by line, so that the process never waits for its reader.
#[derive(Clone, Default)]
pub struct Lines(Arc<Mutex<(Vec<String>, bool)>>);

impl Lines {
    pub fn of(stream: impl Read + Send + 'static) -> Lines {
        let lines = Lines::default();
        let kept = lines.clone();
        std::thread::spawn(move || {
            for line in BufReader::new(stream).split(b'\n') {
                let line = line.map(|l| String::from_utf8_lossy(&l).into_owned());
                kept.0.lock().unwrap().0.extend(line);
            }
            kept.0.lock().unwrap().1 = true;
        });
        lines
    }

    pub fn all(&self) -> Vec<String> {
        self.0.lock().unwrap().0.clone()
    }

    pub fn ended(&self) -> bool {
        self.0.lock().unwrap().1
    }
}
