//! Entry point of the backend, `waypost-backend`.

fn main() -> std::process::ExitCode {
    waypost_backend::cli::main()
}
