//! Texts that the program prints: a configuration to begin with, completions, the manual page.

use super::args::Cli;
use super::end::End;
use clap::CommandFactory;

/// The output of `tidegate init`.
pub(super) const INIT: &str = include_str!("init.yaml");

/// Ways to begin, for a call without any configuration.
pub(super) const BEGIN: &str = "\
tidegate --to HOST:PORT           runs a proxy for that upstream, without a file
tidegate echo HOST:PORT           runs a test backend, which can be such an upstream
tidegate init > config.yaml       writes a configuration to begin with, which `tidegate` then runs";

/// The output of `tidegate completions`.
pub(super) fn completions(shell: clap_complete::Shell) -> String {
    let mut text = Vec::new();
    clap_complete::generate(shell, &mut Cli::command(), "tidegate", &mut text);
    String::from_utf8_lossy(&text).into_owned()
}

/// The output of `tidegate man`.
pub(super) fn man() -> End {
    let mut text = Vec::new();
    match clap_mangen::Man::new(Cli::command()).render(&mut text) {
        Ok(()) => End::good(String::from_utf8_lossy(&text)),
        Err(error) => End::bad(error),
    }
}
