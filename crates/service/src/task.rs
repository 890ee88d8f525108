//! Access to the results of spawned tasks.

use tokio::task::JoinError;

/// Returns the value of a finished task, or resumes its panic. The outbox on disk stays consistent,
/// and systemd restarts the process.
pub fn unwrap_join<T>(ended: Result<T, JoinError>) -> T {
    match ended {
        Ok(value) => value,
        Err(error) => match error.try_into_panic() {
            Ok(panic) => std::panic::resume_unwind(panic),
            Err(_) => {
                unreachable!("tasks of the agent are not aborted while the runtime is running")
            }
        },
    }
}
