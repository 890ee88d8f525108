//! Access to the results of spawned tasks.

use tokio::task::{JoinError, JoinHandle};

/// Returns the value of a finished task, or resumes its panic. The outbox on disk stays consistent,
/// and systemd restarts the process.
///
/// Only a stopping runtime cancels a task of these programs. It drops the waiting task too, so
/// after a cancellation this future stays pending.
pub async fn unwrap_join<T>(ended: Result<T, JoinError>) -> T {
    match ended.map_err(JoinError::try_into_panic) {
        Ok(value) => value,
        Err(Ok(panic)) => std::panic::resume_unwind(panic),
        Err(Err(_cancelled)) => std::future::pending().await,
    }
}

/// Waits for a task. Unlike the handle, the future may be polled again after a cancellation.
pub async fn join<T>(task: JoinHandle<T>) -> T {
    unwrap_join(task.await).await
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[test]
    fn a_task_that_waits_for_a_cancelled_one_does_not_panic() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cancelled = tokio::spawn(std::future::pending::<()>());
            cancelled.abort();
            let waits = tokio::time::timeout(Duration::from_millis(50), join(cancelled)).await;
            assert!(waits.is_err(), "there is no value to return");
            assert_eq!(join(tokio::spawn(async { 7 })).await, 7);
        });
    }
}
