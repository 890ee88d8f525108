//! What a task gave; a task that panicked takes the agent with it.

use tokio::task::JoinError;

/// The value of a task that nobody aborts. Its panic goes on here: the outbox on disk is in order, this process may not
/// be, and systemd starts it again.
pub fn joined<T>(ended: Result<T, JoinError>) -> T {
    match ended {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => unreachable!("nobody aborts a task of the agent while its runtime lives"),
        },
    }
}
