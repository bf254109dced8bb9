//! `make bench`: every scenario, with every installed proxy, in rounds.

use std::fs;
use std::io;
use std::path::PathBuf;
use std::thread::sleep;
use std::time::Duration;

use mio::net::TcpStream;

use crate::load::{Load, Outcome, Then, Until, percentile};
use crate::process::{Cores, Process, most_connections};
use crate::proxies::{Found, Setup};
use crate::table::{self, BEGIN, END, Figures, Record};
use crate::tls::Sessions;

const MIB: usize = 1 << 20;
const WARM: Duration = Duration::from_millis(300);

/// The unit of a cost.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Request,
    Byte,
    /// Memory, of an idle connection.
    Connection,
}

struct Scenario {
    name: &'static str,
    path: String,
    upload: usize,
    length: usize,
    connections: usize,
    then: Then,
    unit: Unit,
    with_log: bool,
    tls: Option<Sessions>,
}

impl Scenario {
    fn is_for(&self, found: &Found) -> bool {
        (!self.with_log || found.has_log()) && (self.tls.is_none() || found.has_tls())
    }
}

fn scenarios() -> Vec<Scenario> {
    let small = |name, connections, then| {
        let (path, length) = ("/b/1024".to_owned(), 1024);
        Scenario { name, path, upload: 0, length, connections, then, unit: Unit::Request, with_log: false, tls: None }
    };
    let large = |name, size: usize, connections| Scenario {
        path: format!("/b/{size}"),
        length: size,
        unit: Unit::Byte,
        ..small(name, connections, Then::Again)
    };
    let (full, resumed) = (Some(Sessions::Forgotten), Some(Sessions::Resumed));
    vec![
        small("1 KiB, 64 connections", 64, Then::Again),
        small("1 KiB, 1,000 connections", 1000, Then::Again),
        small("1 KiB, a connection each", 64, Then::Close),
        Scenario { with_log: true, ..small("1 KiB, 64 connections, access log", 64, Then::Again) },
        Scenario { path: "/c/10240/1024".into(), length: 10_240, ..small("10 KiB in chunks of 1 KiB", 64, Then::Again) },
        large("1 MiB, 16 connections", MIB, 16),
        large("64 MiB download", 64 * MIB, 1),
        Scenario { path: format!("/u/{}", 16 * MIB), upload: 16 * MIB, length: 0, ..large("16 MiB upload", 0, 1) },
        Scenario { unit: Unit::Connection, ..small("memory of an idle connection", 64, Then::Idle) },
        Scenario { tls: full, ..small("1 KiB over TLS, 64 connections", 64, Then::Again) },
        Scenario { tls: full, ..small("a TLS handshake each (full)", 64, Then::Close) },
        Scenario { tls: resumed, ..small("a TLS handshake each (resumed)", 64, Then::Close) },
        Scenario { tls: full, ..large("1 MiB over TLS, 16 connections", MIB, 16) },
        Scenario { tls: full, ..large("64 MiB over TLS", 64 * MIB, 1) },
        Scenario { tls: full, unit: Unit::Connection, ..small("memory of an idle TLS connection", 64, Then::Idle) },
    ]
}

/// What the command line asks for.
pub struct Options {
    pub tidegate: PathBuf,
    pub rounds: usize,
    pub seconds: f64,
    /// Scenarios with this in their name: the empty string is in all.
    pub only: String,
    pub json: Option<PathBuf>,
    /// The file whose block is replaced.
    pub readme: Option<PathBuf>,
    pub note: String,
}

pub fn run(options: &Options) -> io::Result<()> {
    let found = Found::all(&options.tidegate);
    let base = if found.iter().any(|found| found.proxy.name == "nginx") { "nginx" } else { found[0].proxy.name };
    let cores = Cores::choose();
    let idle = idle_connections();
    let wanted: Vec<Scenario> = scenarios().into_iter().filter(|scenario| scenario.name.contains(&options.only)).collect();
    if wanted.is_empty() {
        return Err(io::Error::other(format!("no scenario is called like {:?}", options.only)));
    }
    let mut records = Vec::new();
    for round in 0..options.rounds {
        for (number, scenario) in wanted.iter().enumerate() {
            let able: Vec<&Found> = found.iter().filter(|found| scenario.is_for(found)).collect();
            for step in 0..able.len() {
                // The order rotates, because the first proxy of a round finds a quiet machine.
                let found = able[(round + number + step) % able.len()];
                let result = measure(scenario, found, &cores, options.seconds, idle);
                let said = match &result {
                    Ok(f) if scenario.unit == Unit::Connection => format!("{:.0} bytes", f.cost),
                    Ok(f) => {
                        format!("{} requests, {:.2} s of CPU in {:.2} s, p50 {} µs, p99 {} µs", f.requests, f.cpu, f.seconds, f.p50, f.p99)
                    }
                    Err(error) => format!("failed: {error}"),
                };
                eprintln!("round {}: {}: {}: {said}", round + 1, scenario.name, found.proxy.name);
                records.push(Record { scenario: scenario.name, proxy: found.proxy.name, round, result });
            }
        }
    }
    let names: Vec<&str> = wanted.iter().map(|scenario| scenario.name).collect();
    let proxies: Vec<&str> = found.iter().map(|found| found.proxy.name).collect();
    let block = format!("{}\n{}", table::render(&records, &names, &proxies, base), conditions(options, &found, &cores));
    print!("{BEGIN}{block}{END}");
    if let Some(path) = &options.json {
        fs::write(path, table::json(&records))?;
    }
    if let Some(path) = &options.readme {
        let text = table::replace(&fs::read_to_string(path)?, &block).ok_or_else(|| io::Error::other("no place for the table"))?;
        fs::write(path, text)?;
    }
    match records.iter().filter(|record| record.result.is_err()).count() {
        0 => Ok(()),
        failed => Err(io::Error::other(format!("{failed} measurements failed"))),
    }
}

fn measure(scenario: &Scenario, found: &Found, cores: &Cores, seconds: f64, idle: u64) -> Result<Figures, String> {
    let mut setup = Setup::start(found, scenario.with_log, cores).map_err(|error| error.to_string())?;
    let Scenario { ref path, upload, length, connections, then, .. } = *scenario;
    let tls = scenario.tls.map(|sessions| setup.tls_clients(sessions));
    let port = if tls.is_some() { setup.tls_port } else { setup.port };
    let load = Load { path: path.clone(), upload, length: length as u64, connections, then, tls };
    if scenario.unit == Unit::Connection {
        return memory(&load, port, &setup.proxy, idle);
    }
    let until = Until::Time { warm: WARM, measured: Duration::from_secs_f64(seconds) };
    let outcome = load.run(port, until, || setup.proxy.cpu())?;
    if outcome.requests == 0 {
        return Err("not one request was done in time: give it more SECONDS_EACH".into());
    }
    if scenario.with_log {
        // A log that loses lines would be cheaper than one that keeps them.
        setup.proxy.stop(Duration::from_secs(5));
        let lines = setup.log_lines();
        if lines < outcome.requests {
            return Err(format!("{lines} lines in the access log for {} requests", outcome.requests));
        }
    }
    let units = if scenario.unit == Unit::Byte { outcome.bytes } else { outcome.requests } as f64;
    Ok(Figures { cost: outcome.cpu / units, rate: Some(units / outcome.seconds), ..figures(&outcome) })
}

fn memory(load: &Load, port: u16, proxy: &Process, idle: u64) -> Result<Figures, String> {
    let settled = || {
        sleep(Duration::from_millis(500));
        proxy.memory()
    };
    let before = settled();
    let outcome = load.run(port, Until::Requests(idle), || proxy.cpu())?;
    let after = settled();
    let is_open = |stream: &TcpStream| stream.peek(&mut [0]).is_err_and(|error| error.kind() == io::ErrorKind::WouldBlock);
    if !outcome.idle.iter().all(is_open) {
        return Err("it did not keep its idle connections".into());
    }
    Ok(Figures { cost: (after - before) / outcome.idle.len() as f64, rate: None, ..figures(&outcome) })
}

fn figures(outcome: &Outcome) -> Figures {
    let Outcome { requests, bytes, seconds, cpu, ref latencies, .. } = *outcome;
    Figures { requests, bytes, seconds, cpu, p50: percentile(latencies, 50), p99: percentile(latencies, 99), ..Figures::default() }
}

/// 10,000, or what the descriptors allow.
fn idle_connections() -> u64 {
    let allowed = most_connections().saturating_sub(200);
    if allowed < 10_000 {
        eprintln!("bench: the limit on open files allows {allowed} idle connections, not 10,000");
    }
    allowed.min(10_000)
}

/// The line below the tables.
fn conditions(options: &Options, found: &[Found], cores: &Cores) -> String {
    let output = std::process::Command::new("date").args(["-u", "+%F"]).output();
    let date = output.map(|output| String::from_utf8_lossy(&output.stdout).trim().to_owned()).unwrap_or_default();
    let read = |path: &str| fs::read_to_string(path).unwrap_or_default();
    let cpuinfo = read("/proc/cpuinfo");
    let cpu =
        cpuinfo.lines().find_map(|line| line.strip_prefix("model name")).unwrap_or("unknown CPU").trim_start_matches(['\t', ' ', ':']);
    let kernel = read("/proc/sys/kernel/osrelease");
    let versions: Vec<String> = found.iter().filter(|f| !f.version.is_empty()).map(|f| format!("{} {}", f.proxy.name, f.version)).collect();
    let cpus = cpuinfo.lines().filter(|line| line.starts_with("processor")).count();
    let note = if options.note.is_empty() { String::new() } else { format!(" ({})", options.note) };
    let pinned = if cores.is_pinned() { "" } else { ", nothing pinned" };
    format!(
        "{date}, {cpu}, {cpus} CPUs{note}, Linux {}; {}; one worker each; rounds: {} of {} s{pinned}.\n",
        kernel.trim(),
        versions.join(", "),
        options.rounds,
        options.seconds
    )
}
