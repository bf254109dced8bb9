//! The benchmark. `make bench` compares tidegate with other proxies on this machine, and `make bench-gate` compares its instructions
//! a request with a bar. This program is also the origin behind the proxies, and the clients in front of them.

mod answer;
mod gate;
mod load;
mod origin;
mod picks;
mod process;
mod proxies;
mod relay;
mod run;
mod server;
mod table;
mod tls;

use std::path::PathBuf;
use std::process::ExitCode;
use std::str::FromStr;
use std::time::Duration;

use load::{Load, Then, Until, percentile};

const USAGE: &str = "\
bench run [--tidegate PATH] [--rounds N] [--seconds S] [--only PART] [--json FILE] [--readme FILE] [--note TEXT]
bench gate [--tidegate PATH] [--bars FILE]      the instructions of a request, against the bar
bench picks [--tidegate PATH]                   the instructions of a request over 1 to 1,000 upstreams
bench origin PORT                               /b/N, /c/TOTAL/CHUNK, /u/N; port 0 is any, and is printed
bench relay PORT UPSTREAM-PORT
bench load PORT PATH LENGTH CONNECTIONS SECONDS";

fn main() -> ExitCode {
    let mut words: Vec<String> = std::env::args().skip(1).collect();
    match command(&mut words) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("bench: {error}");
            ExitCode::FAILURE
        }
    }
}

fn command(words: &mut Vec<String>) -> Result<ExitCode, String> {
    let name = if words.is_empty() { String::new() } else { words.remove(0) };
    let said = |error: std::io::Error| error.to_string();
    match name.as_str() {
        "run" => {
            let options = run::Options {
                tidegate: option(words, "tidegate", PathBuf::from("target/release/tidegate"))?,
                rounds: option(words, "rounds", 3)?,
                seconds: option(words, "seconds", 1.5)?,
                only: option(words, "only", String::new())?,
                json: path(option(words, "json", PathBuf::new())?),
                readme: path(option(words, "readme", PathBuf::new())?),
                note: option(words, "note", String::new())?,
            };
            none_left(words)?;
            run::run(&options).map_err(said)?;
        }
        "gate" => {
            let tidegate = option(words, "tidegate", PathBuf::from("target/release/tidegate"))?;
            let bars = option(words, "bars", PathBuf::from("bench/INSTRUCTIONS.md"))?;
            none_left(words)?;
            if !gate::run(&tidegate, &bars).map_err(said)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        "picks" => {
            let tidegate = option(words, "tidegate", PathBuf::from("target/release/tidegate"))?;
            none_left(words)?;
            if !picks::run(&tidegate).map_err(said)? {
                return Ok(ExitCode::FAILURE);
            }
        }
        "origin" => origin::run(argument(words, 0)?).map_err(said)?,
        "relay" => relay::run(argument(words, 0)?, argument(words, 1)?).map_err(said)?,
        "load" => {
            let load = Load {
                path: argument(words, 1)?,
                upload: 0,
                length: argument(words, 2)?,
                connections: argument(words, 3)?,
                then: Then::Again,
                tls: None,
            };
            let until = Until::Time { warm: Duration::from_millis(300), measured: Duration::from_secs_f64(argument(words, 4)?) };
            let outcome = load.run(argument(words, 0)?, until, || 0.0)?;
            let of = |percent| percentile(&outcome.latencies, percent);
            println!("{} requests and {} bytes in {:.2} s", outcome.requests, outcome.bytes, outcome.seconds);
            println!("µs: p50 {}, p95 {}, p99 {}, most {}", of(50), of(95), of(99), of(100));
        }
        _ => return Err(format!("usage:\n{USAGE}")),
    }
    Ok(ExitCode::SUCCESS)
}

fn path(path: PathBuf) -> Option<PathBuf> {
    Some(path).filter(|path| !path.as_os_str().is_empty())
}

fn argument<T: FromStr>(words: &[String], at: usize) -> Result<T, String> {
    words.get(at).and_then(|word| word.parse().ok()).ok_or_else(|| format!("usage:\n{USAGE}"))
}

/// Removes `--name value` from the arguments.
fn option<T: FromStr>(words: &mut Vec<String>, name: &str, default: T) -> Result<T, String> {
    let Some(at) = words.iter().position(|word| word.strip_prefix("--") == Some(name)) else { return Ok(default) };
    let value = words.get(at + 1).and_then(|word| word.parse().ok()).ok_or_else(|| format!("--{name} what?"))?;
    words.drain(at..at + 2);
    Ok(value)
}

fn none_left(words: &[String]) -> Result<(), String> {
    if words.is_empty() { Ok(()) } else { Err(format!("{} is not understood; usage:\n{USAGE}", words.join(" "))) }
}
