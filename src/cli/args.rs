//! Commands and options. The comments are what `--help`, the manual page and completions show.

use clap::{Args, Parser, Subcommand};
use std::path::PathBuf;

/// An HTTP reverse proxy and load balancer.
#[derive(Debug, Parser)]
#[command(name = "tidegate", version, args_conflicts_with_subcommands = true)]
pub(super) struct Cli {
    #[command(flatten)]
    pub(super) run: Run,
    #[command(subcommand)]
    pub(super) command: Option<Command>,
}

#[derive(Debug, Subcommand)]
pub(super) enum Command {
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

#[derive(Debug, Args)]
pub(super) struct Run {
    #[command(flatten)]
    pub(super) options: Options,
    /// A configuration file (`-` is standard input), or an address that replaces `listen`
    #[arg(value_name = "CONFIG | HOST:PORT")]
    pub(super) targets: Vec<String>,
    /// Same as `check`
    #[arg(short = 't')]
    pub(super) test: bool,
    /// With check: print the effective configuration
    #[arg(long)]
    pub(super) print: bool,
}

#[derive(Debug, Args)]
pub(super) struct Options {
    /// Configuration file; `-` is standard input
    #[arg(short, long, value_name = "PATH")]
    pub(super) config: Option<PathBuf>,
    /// Replaces `listen`; repeat it, or separate several by commas
    #[arg(long, value_name = "A", value_delimiter = ',')]
    pub(super) listen: Option<Vec<String>>,
    /// Replaces `upstreams` (host:port or URL) and needs no file; repeat it, or separate several by commas
    #[arg(long, value_name = "A", value_delimiter = ',')]
    pub(super) to: Option<Vec<String>>,
    /// Read this .env file instead of ./.env
    #[arg(long, value_name = "PATH")]
    pub(super) env_file: Option<PathBuf>,
    /// Number of worker threads, or auto
    #[arg(long, value_name = "N")]
    pub(super) workers: Option<String>,
    /// Reload when the configuration file or the .env file changes
    #[arg(long)]
    pub(super) watch: bool,
}

#[derive(Debug, Args)]
pub(super) struct Explain {
    #[command(flatten)]
    pub(super) options: Options,
    pub(super) method: String,
    pub(super) url: String,
}

#[derive(Debug, Args)]
pub(super) struct Echo {
    /// First line of its answers; by default the address that it listens on
    #[arg(long)]
    pub(super) name: Option<String>,
    /// Addresses to listen on
    #[arg(value_name = "HOST:PORT", required = true)]
    pub(super) addresses: Vec<String>,
}
