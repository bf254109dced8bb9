//! From options to the sources of a configuration.

use super::args::{Cli, Run};
use super::end::End;
use crate::config::{ConfigSources, suggest};
use clap::CommandFactory;
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// What a configuration is read from. The positional argument is a file or an address.
pub(super) fn sources(run: Run, environment: impl IntoIterator<Item = (OsString, OsString)>, cwd: PathBuf) -> Result<ConfigSources, End> {
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
