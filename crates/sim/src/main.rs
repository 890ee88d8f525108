//! Entry point of `waypost-sim`.

fn main() -> std::process::ExitCode {
    waypost_sim::cli::main()
}
