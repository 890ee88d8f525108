//! Command line of `waypost-sim`.

use std::process::ExitCode;

use clap::{CommandFactory as _, Parser};
use waypost_service::exit;

use crate::command::{self, SimulateArgs};

/// Simulate the receiver and the scanners of a delivery van on a route
#[derive(Debug, Parser)]
#[command(name = "waypost-sim", version, arg_required_else_help = true, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    simulate: SimulateArgs,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    exit::run(|Arguments { simulate }| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(command::command(simulate));
        runtime.shutdown_background();
        result
    })
}

/// The arguments, for manuals and completions.
#[must_use]
pub fn command() -> clap::Command {
    Arguments::command()
}
