//! The command line: what the words mean, and how the program ends when it does not run. It reads no file and no environment
//! itself, and starts nothing.

use std::ffi::OsString;
use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

use crate::config::model::{Action, Matcher, Route};
use crate::config::{self, Loaded, Problems, Sources};

/// What the command line asks for.
#[derive(Debug)]
pub enum Invocation {
    /// Run the proxy (or the test backend) with this.
    Run(Box<Loaded>),
    /// There is nothing (more) to run.
    End(End),
}

/// How a program ends that did not run.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// 0, or 2 for bad usage and bad configuration.
    pub code: u8,
    /// For standard output.
    pub stdout: String,
    /// For standard error.
    pub stderr: String,
}

impl End {
    /// Prints what there is to say. A reader that has gone away changes nothing.
    pub fn report(&self) -> ExitCode {
        let _ = std::io::stdout().write_all(self.stdout.as_bytes());
        let _ = std::io::stderr().write_all(self.stderr.as_bytes());
        ExitCode::from(self.code)
    }

    fn good(stdout: impl Into<String>, stderr: impl Into<String>) -> Self {
        Self { code: 0, stdout: stdout.into(), stderr: stderr.into() }
    }

    fn bad(message: impl std::fmt::Display) -> Self {
        Self { code: 2, stdout: String::new(), stderr: format!("{message}\n") }
    }
}

impl From<Problems> for End {
    fn from(problems: Problems) -> Self {
        Self::bad(problems)
    }
}

/// An HTTP reverse proxy and load balancer.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(flatten)]
    run: Run,
    #[command(subcommand)]
    command: Option<Command>,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the proxy (the default command)
    Run(Run),
    /// Read and validate a configuration, start nothing
    Check(Run),
    /// Say, step by step, what the configuration would do with a request
    Explain(Explain),
    /// A test backend: answers with its name and what it received
    Echo(Echo),
}

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    options: Options,
    /// A configuration file, or an address that replaces `listen`
    #[arg(value_name = "CONFIG | HOST:PORT")]
    target: Option<String>,
    /// Same as `check`
    #[arg(short = 't')]
    test: bool,
    /// With check: print the effective configuration
    #[arg(long)]
    print: bool,
}

#[derive(Debug, Args)]
struct Options {
    /// Configuration file
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Replaces `listen`
    #[arg(long, value_name = "A", value_delimiter = ',')]
    listen: Option<Vec<String>>,
    /// Replaces `upstreams` (host:port or URL): a proxy with no file
    #[arg(long, value_name = "A", value_delimiter = ',')]
    to: Option<Vec<String>>,
    /// Read this .env file instead of ./.env
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
    /// Worker threads
    #[arg(long, value_name = "N")]
    workers: Option<String>,
}

#[derive(Debug, Args)]
struct Explain {
    #[command(flatten)]
    options: Options,
    method: String,
    url: String,
}

#[derive(Debug, Args)]
struct Echo {
    /// First line of its answers; default: the address it listens on
    #[arg(long)]
    name: Option<String>,
    #[arg(value_name = "HOST:PORT", required = true)]
    addresses: Vec<String>,
}

/// From words, environment and working directory to what is to be done. `args` begins with the program's name.
pub fn parse(
    args: impl IntoIterator<Item = OsString>,
    environment: impl IntoIterator<Item = (OsString, OsString)>,
    cwd: PathBuf,
) -> Invocation {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            return Invocation::End(if error.use_stderr() { End::bad(text.trim_end()) } else { End::good(text, "") });
        }
    };
    let lossy = |s: OsString| s.to_string_lossy().into_owned();
    let environment = environment.into_iter().map(|(name, value)| (lossy(name), lossy(value))).collect();
    let base = Sources { environment, cwd, ..Sources::default() };
    let done = match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(Run { test: false, print: true, .. }) => Err(End::bad("--print belongs to check: tidegate check --print")),
        Command::Run(run) if !run.test => sources(run.options, run.target, base).and_then(run_with),
        Command::Run(run) | Command::Check(run) => {
            let print = run.print;
            sources(run.options, run.target, base).and_then(|sources| check(sources, print)).map(Invocation::End)
        }
        Command::Explain(_) => Err(End::bad("tidegate explain is not built yet")),
        Command::Echo(echo) => self::echo(&echo, base.cwd),
    };
    done.unwrap_or_else(Invocation::End)
}

fn run_with(sources: Sources) -> Result<Invocation, End> {
    Ok(Invocation::Run(Box::new(config::load(sources)?)))
}

fn sources(options: Options, target: Option<String>, base: Sources) -> Result<Sources, End> {
    let mut sources = Sources {
        config: options.config,
        env_file: options.env_file,
        listen: options.listen.map(|words| ("--listen", words)),
        to: options.to,
        workers: options.workers,
        ..base
    };
    match target {
        Some(target) if is_address(&target) => {
            if sources.listen.is_some() {
                return Err(End::bad(format!("{target} and --listen both say where to listen, give one of them")));
            }
            sources.listen = Some(("HOST:PORT", vec![target]));
        }
        Some(target) => {
            if sources.config.is_some() {
                return Err(End::bad(format!("{target} and --config both name a configuration, give one of them")));
            }
            sources.config = Some(target.into());
        }
        None => {}
    }
    Ok(sources)
}

/// `HOST:PORT`, and not the name of a file.
fn is_address(word: &str) -> bool {
    let port = word.rsplit_once(':').filter(|(host, _)| !host.contains('/')).map(|(_, port)| port);
    port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn check(sources: Sources, print: bool) -> Result<End, End> {
    let loaded = config::load(sources)?;
    let warnings: String = loaded.warnings.iter().map(|line| format!("warning: {line}\n")).collect();
    if print {
        return Ok(End::good(loaded.effective.to_string(), warnings));
    }
    let name = loaded.path.map_or("no file, only defaults".to_owned(), |path| path.display().to_string());
    Ok(End::good(format!("{name}: the configuration is good\n"), warnings))
}

/// A test backend is a proxy without upstreams that echoes on each of its addresses. It reads no file and no variable: what a
/// proxy beside it is told must not turn it into one.
fn echo(echo: &Echo, cwd: PathBuf) -> Result<Invocation, End> {
    let sources = Sources { alone: true, cwd, listen: Some(("HOST:PORT", echo.addresses.clone())), ..Sources::default() };
    let mut loaded = config::load(sources)?;
    loaded.config.metrics_listen = None;
    loaded.warnings.clear();
    let config = &mut loaded.config;
    let routes = config.listeners.iter().zip(&echo.addresses).map(|(listener, written)| Route {
        name: written.clone(),
        // Port 0 becomes another one: such a route takes what no other does.
        matcher: Matcher { port: Some(listener.address.port()).filter(|port| *port != 0), ..Matcher::default() },
        action: Action::Echo { name: echo.name.clone().unwrap_or_else(|| written.clone()) },
        timeouts: config.timeouts.clone(),
        max_body_size: 0,
    });
    let mut routes: Vec<Route> = routes.collect();
    routes.sort_by_key(|route| route.matcher.port.is_none());
    config.routes = routes;
    Ok(Invocation::Run(Box::new(loaded)))
}
