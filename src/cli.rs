//! The command line: what its arguments mean, and how the program ends when it serves nothing. Arguments are read first, because
//! commands that serve hold signals back while their configuration is read. It starts nothing.

use std::ffi::OsString;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Args, CommandFactory, Parser, Subcommand};

use crate::config::model::{Action, Matcher, Retry, Route};
use crate::config::{self, ConfigSources, Loaded, Problems, suggest};

/// What the command line asks for.
#[derive(Debug)]
pub enum Call {
    /// Serve, once the configuration is read.
    Serve(Serve),
    /// Read and validate a configuration.
    Check(CheckCommand),
    /// End: there is nothing to do.
    End(End),
}

/// A command that serves.
#[derive(Debug)]
pub struct Serve(Served);

#[derive(Debug)]
enum Served {
    Run(Run),
    Echo(Echo),
}

/// `tidegate check`
#[derive(Debug)]
pub struct CheckCommand(Run);

/// How a program ends that does not run.
#[derive(Debug, PartialEq, Eq)]
pub struct End {
    /// The exit status: 0, or 2 for wrong usage or a wrong configuration.
    pub code: u8,
    /// Text for standard output.
    pub stdout: String,
    /// Text for standard error.
    pub stderr: String,
}

impl End {
    /// Prints the texts. Errors in printing are ignored, as the reader may have gone away.
    pub fn report(&self) -> ExitCode {
        let _ = std::io::stdout().write_all(self.stdout.as_bytes());
        let _ = std::io::stderr().write_all(self.stderr.as_bytes());
        ExitCode::from(self.code)
    }

    fn good(stdout: impl Into<String>) -> Self {
        Self { code: 0, stdout: stdout.into(), stderr: String::new() }
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
    /// Show, step by step, what the configuration does with a request (not built yet)
    Explain(Explain),
    /// A test backend: answers with its name and what it received
    Echo(Echo),
    /// Print a configuration with comments, to begin with
    Init,
    /// Print completions for a shell
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Print a manual page
    Man,
}

/// The output of `tidegate init`.
const INIT: &str = include_str!("init.yaml");

/// Ways to begin, for a call without any configuration.
const BEGIN: &str = "\
tidegate --to HOST:PORT           runs a proxy for that upstream, without a file
tidegate echo HOST:PORT           runs a test backend, which can be such an upstream
tidegate init > config.yaml       writes a configuration to begin with, which `tidegate` then runs";

#[derive(Debug, Args)]
struct Run {
    #[command(flatten)]
    options: Options,
    /// A configuration file (`-` is standard input), or an address that replaces `listen`
    #[arg(value_name = "CONFIG | HOST:PORT")]
    targets: Vec<String>,
    /// Same as `check`
    #[arg(short = 't')]
    test: bool,
    /// With check: print the effective configuration
    #[arg(long)]
    print: bool,
}

#[derive(Debug, Args)]
struct Options {
    /// Configuration file; `-` is standard input
    #[arg(short, long, value_name = "PATH")]
    config: Option<PathBuf>,
    /// Replaces `listen`; repeat it, or separate several by commas
    #[arg(long, value_name = "A", value_delimiter = ',')]
    listen: Option<Vec<String>>,
    /// Replaces `upstreams` (host:port or URL) and needs no file; repeat it, or separate several by commas
    #[arg(long, value_name = "A", value_delimiter = ',')]
    to: Option<Vec<String>>,
    /// Read this .env file instead of ./.env
    #[arg(long, value_name = "PATH")]
    env_file: Option<PathBuf>,
    /// Number of worker threads, or auto
    #[arg(long, value_name = "N")]
    workers: Option<String>,
    /// Reload when the configuration file or the .env file changes
    #[arg(long)]
    watch: bool,
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
    /// First line of its answers; by default the address that it listens on
    #[arg(long)]
    name: Option<String>,
    /// Addresses to listen on
    #[arg(value_name = "HOST:PORT", required = true)]
    addresses: Vec<String>,
}

/// Interprets the arguments, which begin with the program's name.
pub fn parse(args: impl IntoIterator<Item = OsString>) -> Call {
    let cli = match Cli::try_parse_from(args) {
        Ok(cli) => cli,
        Err(error) => {
            let text = error.render().to_string();
            return Call::End(if error.use_stderr() { End::bad(text.trim_end()) } else { End::good(text) });
        }
    };
    match cli.command.unwrap_or(Command::Run(cli.run)) {
        Command::Run(Run { test: false, print: true, .. }) => Call::End(End::bad("--print belongs to check: tidegate check --print")),
        Command::Run(run) if !run.test => Call::Serve(Serve(Served::Run(run))),
        Command::Run(run) | Command::Check(run) => Call::Check(CheckCommand(run)),
        Command::Explain(_) => Call::End(End::bad("tidegate explain is not built yet")),
        Command::Echo(echo) => Call::Serve(Serve(Served::Echo(echo))),
        Command::Init => Call::End(End::good(INIT)),
        Command::Completions { shell } => Call::End(End::good(completions(shell))),
        Command::Man => Call::End(man()),
    }
}

impl Serve {
    /// Reads the configuration to run with.
    pub fn load(self, environment: impl IntoIterator<Item = (OsString, OsString)>, cwd: PathBuf) -> Result<Loaded, End> {
        match self.0 {
            Served::Run(run) => sources(run, environment, cwd).and_then(to_run),
            Served::Echo(echo) => self::echo(&echo, cwd),
        }
    }
}

impl CheckCommand {
    /// Reads the configuration, and says what it comes to or what is wrong with it. Warnings are logged.
    pub fn done(self, environment: impl IntoIterator<Item = (OsString, OsString)>, cwd: PathBuf) -> End {
        let print = self.0.print;
        sources(self.0, environment, cwd).and_then(|sources| check(sources, print)).unwrap_or_else(|end| end)
    }
}

fn to_run(sources: ConfigSources) -> Result<Loaded, End> {
    let loaded = config::load(sources)?;
    let Loaded { path, config, .. } = &loaded;
    if path.is_none() && config.routes.is_empty() && config.pools.iter().all(|pool| pool.upstreams.is_empty()) {
        return Err(End::bad(BEGIN));
    }
    Ok(loaded)
}

fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

fn man() -> End {
    let mut text = Vec::new();
    match clap_mangen::Man::new(Cli::command()).render(&mut text) {
        Ok(()) => End::good(String::from_utf8_lossy(&text)),
        Err(error) => End::bad(error),
    }
}

fn sources(run: Run, environment: impl IntoIterator<Item = (OsString, OsString)>, cwd: PathBuf) -> Result<ConfigSources, End> {
    let Run { options, targets, .. } = run;
    let lossy = |s: OsString| s.to_string_lossy().into_owned();
    let mut sources = ConfigSources {
        environment: environment.into_iter().map(|(name, value)| (lossy(name), lossy(value))).collect(),
        cwd,
        config: options.config,
        env_file: options.env_file,
        listen: options.listen.map(|words| ("--listen", words)),
        to: options.to,
        workers: options.workers,
        watch: options.watch,
        ..ConfigSources::default()
    };
    let target = the_only(targets, &sources.cwd)?;
    match target {
        Some(target) if is_address(&target) => {
            if sources.listen.is_some() {
                return Err(End::bad(format!("{target} and --listen both say where to listen, give one of them")));
            }
            sources.listen = Some(("HOST:PORT", vec![target]));
        }
        Some(target) => {
            // `--config` takes precedence over the positional argument.
            sources.config.get_or_insert(target.into());
        }
        None => {}
    }
    Ok(sources)
}

/// The one positional argument. Commands, and words that are nearly commands and no files, are recognised first.
fn the_only(mut targets: Vec<String>, cwd: &Path) -> Result<Option<String>, End> {
    let cli = Cli::command();
    let commands: Vec<&str> = cli.get_subcommands().map(clap::Command::get_name).chain(["help"]).collect();
    for target in &targets {
        if commands.contains(&target.as_str()) {
            return Err(End::bad(format!("the command comes first: tidegate {target} …")));
        }
        let is_word = target.bytes().all(|b| b.is_ascii_alphanumeric()) && !cwd.join(target).exists();
        if let Some(command) = suggest::closest(target, commands.iter().copied()).filter(|_| is_word) {
            return Err(End::bad(format!("{target}: no such file, and no such command, did you mean tidegate {command}?")));
        }
    }
    match targets.as_slice() {
        [] | [_] => Ok(targets.pop()),
        [first @ .., last] if targets.iter().any(|target| is_address(target)) => {
            Err(End::bad(format!("{} and {last}: a configuration file goes with --config, an address with --listen", first.join(", "))))
        }
        _ => Err(End::bad(format!("one configuration file at a time: {}", targets.join(", and then ")))),
    }
}

/// Whether it is `HOST:PORT` or `unix:/path`, and not the name of a file.
fn is_address(word: &str) -> bool {
    if word.starts_with("unix:") {
        return true;
    }
    let port = word.rsplit_once(':').filter(|(host, _)| !host.contains('/')).map(|(_, port)| port);
    port.is_some_and(|port| !port.is_empty() && port.bytes().all(|b| b.is_ascii_digit()))
}

fn check(sources: ConfigSources, print: bool) -> Result<End, End> {
    let loaded = config::load(sources)?;
    loaded.warnings.iter().for_each(|warning| log::warn!(target: "config", "{warning}"));
    let text = if print { loaded.effective.to_string() } else { format!("{}: the configuration is good\n", loaded.source) };
    Ok(End::good(text))
}

/// A test backend is a proxy without upstreams that echoes on each of its addresses. It reads no file and no variable, because those
/// are meant for the proxy beside it.
fn echo(echo: &Echo, cwd: PathBuf) -> Result<Loaded, End> {
    let sources = ConfigSources { alone: true, cwd, listen: Some(("HOST:PORT", echo.addresses.clone())), ..ConfigSources::default() };
    let mut loaded = config::load(sources)?;
    loaded.config.metrics_listen = None;
    loaded.warnings.clear();
    let config = &mut loaded.config;
    let routes = config.listeners.iter().zip(&echo.addresses).map(|(listener, written)| Route {
        name: written.clone(),
        // Port 0 becomes some other port, and a Unix socket has none, so such a route must match any port.
        matcher: Matcher { port: listener.address.port().filter(|port| *port != 0), ..Matcher::default() },
        action: Action::Echo { name: echo.name.clone().unwrap_or_else(|| written.clone()) },
        timeouts: config.timeouts.clone(),
        retry: Retry::default(),
        rate_limit: None,
        access_log: true,
        max_body_size: 0,
    });
    let mut routes: Vec<Route> = routes.collect();
    routes.sort_by_key(|route| route.matcher.port.is_none());
    config.routes = routes;
    Ok(loaded)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The configuration to run with, or the end.
    fn parsed_in(dir: &std::path::Path, line: &str) -> Result<Loaded, End> {
        let words = std::iter::once("tidegate").chain(line.split_whitespace()).map(OsString::from);
        let environment = [("LOG_LEVEL".into(), "debug".into())];
        match parse(words) {
            Call::Serve(serve) => serve.load(environment, dir.to_owned()),
            Call::Check(check) => Err(check.done(environment, dir.to_owned())),
            Call::End(end) => Err(end),
        }
    }

    fn parsed(line: &str) -> Result<Loaded, End> {
        parsed_in(tempfile::tempdir().unwrap().path(), line)
    }

    fn run(line: &str) -> Loaded {
        match parsed(line) {
            Ok(loaded) => loaded,
            Err(end) => panic!("{line}: {end:?}"),
        }
    }

    fn end(line: &str) -> End {
        match parsed(line) {
            Ok(loaded) => panic!("{line}: runs with {:?}", loaded.config),
            Err(end) => end,
        }
    }

    fn listens(loaded: &Loaded) -> Vec<String> {
        loaded.config.listeners.iter().map(|listener| listener.address.to_string()).collect()
    }

    #[test]
    fn run_is_what_happens_without_a_command() {
        for line in ["127.0.0.1:81", "run 127.0.0.1:81", "--listen 127.0.0.1:81", "run --listen=127.0.0.1:81"] {
            assert_eq!(listens(&run(&format!("{line} --to a:1"))), ["127.0.0.1:81"], "{line}");
        }
        let loaded = run("--to a:1,http://b:2 --to c:3 --listen :81,[::1]:82 --workers 3");
        let names: Vec<&str> = loaded.config.pools[0].upstreams.iter().map(|upstream| upstream.name.as_str()).collect();
        assert_eq!((names, loaded.config.workers), (vec!["a:1", "b:2", "c:3"], 3));
        assert_eq!(listens(&loaded), ["0.0.0.0:81", "[::1]:82"]);
        assert_eq!(loaded.config.logging.level, log::LevelFilter::Debug, "from the environment");
    }

    #[test]
    fn a_file_is_named_in_three_ways() {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("x.yaml"), "workers: 7\nroutes: [{echo: {}}]\n").unwrap();
        for line in ["x.yaml", "-c x.yaml", "--config x.yaml", "run x.yaml", "run -c x.yaml 127.0.0.1:81"] {
            match parsed_in(dir.path(), line) {
                Ok(loaded) => assert_eq!(loaded.config.workers, 7, "{line}"),
                Err(end) => panic!("{line}: {end:?}"),
            }
        }
        for line in ["check x.yaml", "-t x.yaml", "-t -c x.yaml", "run -t x.yaml", "check -c x.yaml"] {
            match parsed_in(dir.path(), line) {
                Err(end) => {
                    assert_eq!(end, End::good("x.yaml, environment (LOG_LEVEL): the configuration is good\n"), "{line}")
                }
                Ok(_) => panic!("{line} runs"),
            }
        }
        for line in ["check --print x.yaml", "-t --print x.yaml"] {
            let Err(end) = parsed_in(dir.path(), line) else { panic!("{line} runs") };
            assert!(end.code == 0 && end.stdout.contains("\nworkers: 7\n") && end.stderr.is_empty(), "{end:?}");
        }
    }

    #[test]
    fn bad_usage_and_bad_configurations_end_with_2() {
        for (line, wanted) in [
            ("none.yaml", "none.yaml: cannot be read: No such file or directory (os error 2)\n"),
            ("check none.yaml", "none.yaml: cannot be read: No such file or directory (os error 2)\n"),
            ("127.0.0.1:99999", "HOST:PORT: listen[0]: \"127.0.0.1:99999\": port 99999 is out of range, allowed: 0 to 65535\n"),
            (":80 --listen :81", ":80 and --listen both say where to listen, give one of them\n"),
            ("-c x.yaml check", "the command comes first: tidegate check …\n"),
            ("chekc", "chekc: no such file, and no such command, did you mean tidegate check?\n"),
            ("chekc x.yaml", "chekc: no such file, and no such command, did you mean tidegate check?\n"),
            ("run intt", "intt: no such file, and no such command, did you mean tidegate init?\n"),
            ("proxy", "proxy: cannot be read: No such file or directory (os error 2)\n"),
            ("a b", "one configuration file at a time: a, and then b\n"),
            ("check a.yaml b.yaml c.yaml", "one configuration file at a time: a.yaml, and then b.yaml, and then c.yaml\n"),
            ("a.yaml :80", "a.yaml and :80: a configuration file goes with --config, an address with --listen\n"),
            ("--print", "--print belongs to check: tidegate check --print\n"),
            ("explain GET /", "tidegate explain is not built yet\n"),
            (
                "--to https://a",
                "--to: upstreams[0].url: TLS to upstreams is not built yet, and this one would be spoken to in plain HTTP\n",
            ),
            ("--workers 0", "--workers: workers: 0 is out of range, allowed: 1 to 1024\n"),
        ] {
            assert_eq!(end(line), End { code: 2, stdout: String::new(), stderr: wanted.into() }, "{line}");
        }
        assert!(end("--help").stdout.contains("separate several by commas"));
        let unknown = end("--lisen :80");
        assert!(unknown.code == 2 && unknown.stderr.contains("--listen"), "{unknown:?}");
        assert_eq!(end("echo").code, 2);
    }

    #[test]
    fn who_gives_nothing_is_told_how_to_begin() {
        for line in ["", "run", "--workers 3", ":80", "--listen :80", "--watch"] {
            let End { code, stdout, stderr } = end(line);
            let begins: Vec<&str> = stderr.lines().map(|line| line.split("  ").next().unwrap_or_default()).collect();
            let wanted = ["tidegate --to HOST:PORT", "tidegate echo HOST:PORT", "tidegate init > config.yaml"];
            assert_eq!((code, stdout.as_str(), begins), (2, "", wanted.to_vec()), "{line}");
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("config.yaml"), "").unwrap();
        assert!(parsed_in(dir.path(), "").is_ok(), "an empty file is a file");
    }

    #[test]
    fn what_init_prints_is_good_also_with_its_comments() {
        let dir = tempfile::tempdir().unwrap();
        let init = end("init").stdout;
        // A key that is commented out follows `#` directly; keys below it are indented or begin with a dash.
        let is_key = |line: &str| {
            let first = line.trim_start().trim_start_matches("- ").split(' ').next().unwrap_or_default();
            line.starts_with(' ') || (first.ends_with(':') && first.bytes().all(|b| b.is_ascii_lowercase() || b == b'_' || b == b':'))
        };
        let active = |line: &str| line.strip_prefix("# ").filter(|key| is_key(key)).unwrap_or(line).to_owned();
        let all = init.lines().map(active).collect::<Vec<_>>().join("\n");
        assert!(all.lines().filter(|line| line.starts_with('#')).count() < init.lines().filter(|line| line.starts_with('#')).count() - 20);
        for text in [init, all] {
            std::fs::write(dir.path().join("config.yaml"), &text).unwrap();
            let Err(end) = parsed_in(dir.path(), "check") else { panic!("it runs") };
            assert_eq!((end.code, end.stderr.as_str()), (0, ""), "{text}");
        }
    }

    #[test]
    fn completions_and_a_manual_know_every_command() {
        for line in ["completions bash", "completions zsh", "completions fish", "man"] {
            let End { code, stdout, stderr } = end(line);
            assert!(code == 0 && stderr.is_empty(), "{line}: {stderr}");
            for word in ["check", "echo", "init", "completions"] {
                assert!(stdout.contains(word), "{line} does not know {word}");
            }
        }
        assert_eq!(end("completions tcl").code, 2);
    }

    #[test]
    fn help_and_version_go_to_standard_output() {
        assert_eq!(end("--version"), End::good(concat!("tidegate ", env!("CARGO_PKG_VERSION"), "\n")));
        for line in ["--help", "-h", "check --help", "help"] {
            let help = end(line);
            assert!(help.code == 0 && help.stdout.contains("Usage: tidegate") && help.stderr.is_empty(), "{line}: {help:?}");
        }
    }

    #[test]
    fn echo_is_a_proxy_that_answers_itself() {
        let loaded = run("echo 127.0.0.1:9001 127.0.0.1:9002");
        assert_eq!(listens(&loaded), ["127.0.0.1:9001", "127.0.0.1:9002"]);
        assert_eq!((loaded.config.metrics_listen, loaded.warnings.len(), loaded.config.pools[0].upstreams.len()), (None, 0, 0));
        let routes: Vec<_> = loaded.config.routes.iter().map(|route| (route.matcher.port, &route.action)).collect();
        let named = |name: &str| Action::Echo { name: name.into() };
        assert_eq!(routes, [(Some(9001), &named("127.0.0.1:9001")), (Some(9002), &named("127.0.0.1:9002"))]);
        let loaded = run("echo --name one 127.0.0.1:0");
        assert_eq!((loaded.config.routes[0].matcher.port, &loaded.config.routes[0].action), (None, &named("one")));
        assert_eq!(loaded.config.logging.level, log::LevelFilter::Info, "no variable is read");
    }
}
