//! The `reveille` program: parses the command line and runs the subcommand.

use std::process::ExitCode;

use clap::Parser as _;
use reveille::cli::Cli;

fn main() -> ExitCode {
    Cli::parse().run()
}
