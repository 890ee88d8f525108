//! Command line of `cargo demo`.

use std::process::ExitCode;

use clap::Parser;
use waypost_service::exit;

use crate::DemoArgs;

/// Drive simulated vans with their agents, a broker and the backend with its pages, all in this process
#[derive(Debug, Parser)]
#[command(name = "waypost-demo", version, max_term_width = 100)]
struct Arguments {
    #[command(flatten)]
    demo: DemoArgs,
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    exit::run(|Arguments { demo }| {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let result = runtime.block_on(crate::command(demo));
        runtime.shutdown_background();
        result
    })
}
