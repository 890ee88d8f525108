//! Command-line entry point of both programs: parses the arguments, runs the command, maps errors
//! to exit codes.

use std::io;
use std::process::ExitCode;

use clap::Parser;

use waypost_config_schema::ConfigError;

/// Invalid arguments (sysexits.h `EX_USAGE`).
const EXIT_USAGE: u8 = 64;

/// Invalid configuration (sysexits.h `EX_CONFIG`): systemd does not restart the service.
const EXIT_CONFIG: u8 = 78;

/// Parses the arguments of this process, runs `execute`, and prints an error to standard error.
pub fn run<A: Parser>(execute: impl FnOnce(A) -> anyhow::Result<()>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // clap reports `--help` and `--version` as errors that go to standard output.
            let code =
                if error.use_stderr() { ExitCode::from(EXIT_USAGE) } else { ExitCode::SUCCESS };
            return error.print().map_or(ExitCode::FAILURE, |()| code);
        }
    };
    match execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {}", A::command().get_name(), format_error_chain(&error));
            if error.is::<ConfigError>() { ExitCode::from(EXIT_CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

/// Whether the reader of the output closed it early, as in `waypost replay ... | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(broken)
}

/// Joins the error and its causes into one line. A cause that the text already contains is left
/// out.
fn format_error_chain(error: &anyhow::Error) -> String {
    error.chain().fold(String::new(), |text, cause| match cause.to_string() {
        cause if text.is_empty() => cause,
        cause if text.contains(&cause) => text,
        cause => format!("{text}: {cause}"),
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn each_cause_is_told_once() {
        let refused = || io::Error::from(io::ErrorKind::PermissionDenied);
        let alone: anyhow::Error = refused().into();
        let behind: anyhow::Result<()> = Err(refused()).context("/dev/gnss");
        let within: anyhow::Result<()> = Err(refused()).context("/dev/gnss: permission denied");
        assert_eq!(format_error_chain(&alone), "permission denied");
        assert_eq!(format_error_chain(&behind.unwrap_err()), "/dev/gnss: permission denied");
        assert_eq!(format_error_chain(&within.unwrap_err()), "/dev/gnss: permission denied");
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error_wherever_it_is_in_the_chain() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        let error: anyhow::Result<()> = Err(gone).context("standard output");
        assert!(is_broken_pipe(&error.unwrap_err()));
        assert!(!is_broken_pipe(&anyhow::anyhow!("broken pipe")));
    }
}
