//! waypost-backend: arguments → subcommand → exit code.

fn main() -> std::process::ExitCode {
    waypost::backend::cli::main()
}
