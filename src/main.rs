//! The program: the command line says what to run, the server runs it.

use std::process::ExitCode;
use tidegate::cli::{self, Invocation};
use tidegate::server;

fn main() -> ExitCode {
    let cwd = std::env::current_dir().unwrap_or_default();
    let loaded = match cli::parse(std::env::args_os(), std::env::vars_os(), cwd) {
        Invocation::Run(loaded) => *loaded,
        Invocation::End(end) => return end.report(),
    };
    match server::run(loaded) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tidegate: {error}");
            ExitCode::FAILURE
        }
    }
}
