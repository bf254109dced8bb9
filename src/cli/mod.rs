//! The command line: what its arguments mean, and how the program ends when it serves nothing. Arguments are read first, because
//! commands that serve hold signals back while their configuration is read. It starts nothing.

mod args;
mod echo;
mod end;
mod sources;
#[cfg(test)]
mod tests;
mod texts;

pub use end::End;

use crate::config::{self, ConfigSources, Loaded};
use args::{Cli, Command, Echo, Run};
use clap::Parser;
use std::ffi::OsString;
use std::path::PathBuf;

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
        Command::Init => Call::End(End::good(texts::INIT)),
        Command::Completions { shell } => Call::End(End::good(texts::completions(shell))),
        Command::Man => Call::End(texts::man()),
    }
}

impl Serve {
    /// Reads the configuration to run with.
    pub fn load(self, environment: impl IntoIterator<Item = (OsString, OsString)>, cwd: PathBuf) -> Result<Loaded, End> {
        match self.0 {
            Served::Run(run) => sources::sources(run, environment, cwd).and_then(to_run),
            Served::Echo(echo) => echo::echo(&echo, cwd),
        }
    }
}

impl CheckCommand {
    /// Reads the configuration, and says what it comes to or what is wrong with it. Warnings are logged.
    pub fn done(self, environment: impl IntoIterator<Item = (OsString, OsString)>, cwd: PathBuf) -> End {
        let print = self.0.print;
        sources::sources(self.0, environment, cwd).and_then(|sources| check(sources, print)).unwrap_or_else(|end| end)
    }
}

fn to_run(sources: ConfigSources) -> Result<Loaded, End> {
    let loaded = config::load(sources)?;
    let Loaded { path, config, .. } = &loaded;
    if path.is_none() && config.routes.is_empty() && config.pools.iter().all(|pool| pool.upstreams.is_empty()) {
        return Err(End::bad(texts::BEGIN));
    }
    Ok(loaded)
}

fn check(sources: ConfigSources, print: bool) -> Result<End, End> {
    let loaded = config::load(sources)?;
    loaded.warnings.iter().for_each(|warning| log::warn!(target: "config", "{warning}"));
    let text = if print { loaded.effective.to_string() } else { format!("{}: the configuration is good\n", loaded.source) };
    Ok(End::good(text))
}
