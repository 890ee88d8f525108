//! Entry point of the agent, `waypost`.

fn main() -> std::process::ExitCode {
    waypost::cli::main()
}
