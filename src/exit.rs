//! What the arguments ask for, and how that ended → exit code, of both programs.

use std::io;
use std::process::ExitCode;

use clap::Parser;

use crate::settings::ConfigError;

/// The arguments are wrong (sysexits.h `EX_USAGE`).
const USAGE: u8 = 64;

/// The configuration is wrong (sysexits.h `EX_CONFIG`): systemd does not start it again.
const CONFIG: u8 = 78;

/// Does what the arguments of this process say, and tells on standard error why it could not.
pub(crate) fn run<A: Parser>(execute: impl FnOnce(A) -> anyhow::Result<()>) -> ExitCode {
    let arguments = match A::try_parse() {
        Ok(arguments) => arguments,
        Err(error) => {
            // Help and version are asked for, and no error.
            let code = if error.use_stderr() { ExitCode::from(USAGE) } else { ExitCode::SUCCESS };
            return error.print().map_or(ExitCode::FAILURE, |()| code);
        }
    };
    match execute(arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if is_broken_pipe(&error) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{}: {}", A::command().get_name(), told(&error));
            if error.is::<ConfigError>() { ExitCode::from(CONFIG) } else { ExitCode::FAILURE }
        }
    }
}

/// The reader of our output has seen enough: `waypost replay ... | head`.
fn is_broken_pipe(error: &anyhow::Error) -> bool {
    let broken = |cause: &(dyn std::error::Error + 'static)| {
        cause
            .downcast_ref::<io::Error>()
            .is_some_and(|error| error.kind() == io::ErrorKind::BrokenPipe)
    };
    error.chain().any(broken)
}

/// With each cause once: some errors say theirs themselves.
fn told(error: &anyhow::Error) -> String {
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
        assert_eq!(told(&alone), "permission denied");
        assert_eq!(told(&behind.unwrap_err()), "/dev/gnss: permission denied");
        assert_eq!(told(&within.unwrap_err()), "/dev/gnss: permission denied");
    }

    #[test]
    fn a_reader_that_has_seen_enough_is_no_error_wherever_it_is_in_the_chain() {
        let gone = io::Error::from(io::ErrorKind::BrokenPipe);
        let error: anyhow::Result<()> = Err(gone).context("standard output");
        assert!(is_broken_pipe(&error.unwrap_err()));
        assert!(!is_broken_pipe(&anyhow::anyhow!("broken pipe")));
    }
}
