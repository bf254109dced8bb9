//! Processes that are measured: where they run, what they cost, and how they end.

use std::ffi::OsStr;
use std::fs;
use std::io::{self, ErrorKind};
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// The unit of CPU time in `/proc`, on every relevant architecture.
const TICKS_PER_SECOND: f64 = 100.0;

/// A process that is ended, with all its children, when this is dropped.
pub struct Process {
    child: Child,
}

impl Process {
    pub fn spawn(command: &mut Command) -> io::Result<Self> {
        let child = command.stdin(Stdio::null()).spawn();
        let child = child.map_err(|error| io::Error::other(format!("{}: {error}", command.get_program().display())))?;
        Ok(Self { child })
    }

    pub fn child(&mut self) -> &mut Child {
        &mut self.child
    }

    /// User and system time so far, in seconds.
    pub fn cpu(&self) -> f64 {
        let ticks = |stat: String| {
            let fields: Vec<&str> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
            let field = |at: usize| fields.get(at).and_then(|text| text.parse::<f64>().ok()).unwrap_or(0.0);
            field(11) + field(12)
        };
        self.tree().iter().filter_map(|pid| read(*pid, "stat")).map(ticks).sum::<f64>() / TICKS_PER_SECOND
    }

    /// Resident memory in bytes.
    pub fn memory(&self) -> f64 {
        let resident = |status: String| {
            let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?.trim().split(' ').next()?.parse().ok();
            line.map(|kib: f64| kib * 1024.0)
        };
        self.tree().iter().filter_map(|pid| read(*pid, "status")).filter_map(resident).sum()
    }

    /// SIGTERM, and SIGKILL to whatever is left when patience ends.
    pub fn stop(&mut self, patience: Duration) {
        let begin = Instant::now();
        let tree = self.tree();
        signal("TERM", &tree[..1]);
        while matches!(self.child.try_wait(), Ok(None)) && begin.elapsed() < patience {
            sleep(Duration::from_millis(5));
        }
        if matches!(self.child.try_wait(), Ok(None)) {
            signal("KILL", &tree);
        }
        let _ = self.child.wait();
    }

    /// The process and all below it.
    fn tree(&self) -> Vec<u32> {
        let mut pids = vec![self.child.id()];
        let mut at = 0;
        while at < pids.len() {
            let children = read(pids[at], &format!("task/{}/children", pids[at])).unwrap_or_default();
            pids.extend(children.split_whitespace().filter_map(|pid| pid.parse::<u32>().ok()));
            at += 1;
        }
        pids
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        if matches!(self.child.try_wait(), Ok(None)) {
            self.stop(Duration::from_secs(1));
        }
    }
}

fn read(pid: u32, name: &str) -> Option<String> {
    fs::read_to_string(format!("/proc/{pid}/{name}")).ok()
}

/// Runs `kill`, because the standard library can only send SIGKILL.
fn signal(name: &str, pids: &[u32]) {
    let pids: Vec<String> = pids.iter().map(u32::to_string).collect();
    let _ = Command::new("sh").arg("-c").arg(format!("kill -{name} {} 2>/dev/null", pids.join(" "))).status();
}

/// One core for the clients and the origin, another for the proxy alone; none where there are no two, or no taskset.
pub struct Cores(Option<(String, String)>);

impl Cores {
    /// Moves this process to the clients' core.
    pub fn choose() -> Self {
        let status = fs::read_to_string("/proc/self/status").unwrap_or_default();
        let list = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
        let pid = std::process::id().to_string();
        let cores = match cpus(list.trim())[..] {
            [clients, proxy, ..] => Some((clients.to_string(), proxy.to_string())),
            _ => None,
        };
        let is_pinned = |(clients, _): &(String, String)| {
            Command::new("taskset").args(["-cp", clients, &pid]).stdout(Stdio::null()).status().is_ok_and(|status| status.success())
        };
        let chosen = cores.filter(is_pinned);
        if chosen.is_none() {
            eprintln!("bench: taskset or a second CPU is missing: nothing is pinned, and the figures are noisier");
        }
        Self(chosen)
    }

    pub fn none() -> Self {
        Self(None)
    }

    pub fn is_pinned(&self) -> bool {
        self.0.is_some()
    }

    /// The command for a program on the proxy's core.
    pub fn proxy(&self, program: impl AsRef<OsStr>) -> Command {
        let Some((_, core)) = &self.0 else { return Command::new(program) };
        let mut command = Command::new("taskset");
        command.args(["-c", core]).arg(program);
        command
    }
}

/// The first CPUs of a list such as `0-3,8`; two are enough.
fn cpus(list: &str) -> Vec<usize> {
    let range = |part: &str| {
        let (first, last) = part.split_once('-').unwrap_or((part, part));
        Some(first.parse::<usize>().ok()?..=last.parse::<usize>().ok()?)
    };
    list.split(',').filter_map(range).flatten().take(2).collect()
}

/// A directory of its own under the system's temporary one, gone when it is dropped.
pub struct Directory(PathBuf);

impl Directory {
    pub fn new() -> io::Result<Self> {
        static NUMBER: AtomicU32 = AtomicU32::new(0);
        let name = format!("tidegate-bench-{}-{}", std::process::id(), NUMBER.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        fs::create_dir(&path)?;
        Ok(Self(path))
    }

    pub fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

pub fn free_port() -> io::Result<u16> {
    Ok(TcpListener::bind("127.0.0.1:0")?.local_addr()?.port())
}

/// How many clients a proxy can have that opens a connection for each, so far as open files are limited.
pub fn most_connections() -> u64 {
    let limits = fs::read_to_string("/proc/self/limits").unwrap_or_default();
    let line = limits.lines().find_map(|line| line.strip_prefix("Max open files"));
    let files = line.and_then(|line| line.split_whitespace().next()?.parse().ok()).unwrap_or(u64::MAX);
    (files.saturating_sub(800) / 2).min(20_000)
}

/// Calls until it does not refuse, or the process has ended.
pub fn wait_until<T>(process: &mut Process, mut attempt: impl FnMut() -> Result<T, String>) -> io::Result<T> {
    let begin = Instant::now();
    loop {
        let error = match attempt() {
            Ok(value) => return Ok(value),
            Err(error) => error,
        };
        if let Some(status) = process.child.try_wait()? {
            return Err(io::Error::other(format!("it did not start: {status}")));
        }
        if begin.elapsed() > Duration::from_secs(30) {
            return Err(io::Error::new(ErrorKind::TimedOut, format!("it did not start: {error}")));
        }
        sleep(Duration::from_millis(20));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cpus() {
        assert_eq!((cpus("0-1"), cpus("3"), cpus("2,5-7"), cpus("")), (vec![0, 1], vec![3], vec![2, 5], vec![]));
    }

    #[test]
    fn the_whole_tree_is_seen_and_ended() {
        let mut process = Process::spawn(Command::new("sh").args(["-c", "sleep 60 & sleep 60; true"])).unwrap();
        wait_until(&mut process, || Ok::<_, String>(())).unwrap();
        while process.tree().len() < 3 {
            sleep(Duration::from_millis(5));
        }
        assert!(process.memory() > 100_000.0);
        let tree = process.tree();
        signal("STOP", &tree[..1]);
        process.stop(Duration::from_millis(20));
        let is_alive = |pid: &u32| read(*pid, "stat").is_some_and(|stat| !stat.contains(") Z "));
        while tree.iter().any(is_alive) {
            sleep(Duration::from_millis(5));
        }
    }
}
