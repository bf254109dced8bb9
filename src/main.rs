//! The program: the command line says what to run, the server runs it.

use std::io;
use std::process::ExitCode;
use tidegate::cli::{self, Call};
use tidegate::server::{self, Signals};

fn main() -> ExitCode {
    let cwd = || std::env::current_dir().unwrap_or_default();
    let serve = match cli::parse(std::env::args_os()) {
        Call::Serve(serve) => serve,
        Call::Check(check) => {
            tidegate::observe::plain::init();
            return check.done(std::env::vars_os(), cwd()).report();
        }
        Call::End(end) => return end.report(),
    };
    // Reading the configuration may take a while: names are looked up, and standard input is waited for.
    let signals = match Signals::hold() {
        Ok(signals) => signals,
        Err(error) => return failed(&error),
    };
    match serve.load(std::env::vars_os(), cwd()) {
        Ok(loaded) => server::run(loaded, signals).map_or_else(|error| failed(&error), |()| ExitCode::SUCCESS),
        Err(end) => end.report(),
    }
}

fn failed(error: &io::Error) -> ExitCode {
    eprintln!("tidegate: {error}");
    ExitCode::FAILURE
}
