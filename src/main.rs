//! waypost: arguments → subcommand → exit code.

fn main() -> std::process::ExitCode {
    waypost::cli::main()
}
