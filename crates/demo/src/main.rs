//! Entry point of `cargo demo`.

fn main() -> std::process::ExitCode {
    waypost_demo::cli::main()
}
