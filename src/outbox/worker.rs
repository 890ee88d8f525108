//! Serialises database access on the blocking pool, and recovers from damage, a full disk and a
//! failed fsync.

use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::database::{Database, StartReason};
use super::seq_file::Reservation;
use super::write_batch::WriteBatch;
use super::{Outbox, OutboxError, schema};
use waypost_service::task::join;

/// Maximum wait of a reader for a busy disk. The uplink has a live position to send.
const READ_TIMEOUT: Duration = Duration::from_secs(2);

/// State of the database handle.
#[derive(Debug)]
pub(super) enum DatabaseState {
    Open(Box<Database>),
    /// The file was damaged, or a failed fsync left it in an unknown state. It must be opened
    /// again.
    Broken,
    Closed,
}

impl Outbox {
    pub(super) async fn transact(&self, with_records: bool) -> Result<(), OutboxError> {
        let work = async {
            let mut slot = self.database.clone().lock_owned().await;
            let this = self.clone();
            spawn_blocking(move || this.transaction(&mut slot, with_records)).await
        };
        tokio::pin!(work);
        if let Ok(done) = tokio::time::timeout(READ_TIMEOUT, &mut work).await {
            return done;
        }
        // Buffered events may be read meanwhile, so that a failed card does not stop the uplink.
        self.on_stall();
        work.await
    }

    fn on_stall(&self) {
        let mut tail = self.lock_buffers();
        tail.events.mark_stalled();
        self.publish_stats(&tail);
    }

    pub(super) fn transaction(
        &self,
        slot: &mut DatabaseState,
        with_records: bool,
    ) -> Result<(), OutboxError> {
        let pending: WriteBatch = self.lock_buffers().begin_commit(with_records);
        let result = self.execute(slot, |store| {
            store.commit(&pending)?;
            Ok(store.stats)
        });
        let mut tail = self.lock_buffers();
        match &result {
            Ok(stored) => tail.commit_done(&pending, *stored),
            Err(_) => tail.commit_failed(&pending),
        }
        tail.clear_journal_if_durable();
        self.publish_stats(&tail);
        result.map(drop)
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Database) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let mut slot: OwnedMutexGuard<DatabaseState> = self.database.clone().lock_owned().await;
        let this = self.clone();
        spawn_blocking(move || {
            let result = this.execute(&mut slot, work);
            if let DatabaseState::Open(store) = &*slot {
                let mut tail = this.lock_buffers();
                tail.sync_from_file(store.stats);
                this.publish_stats(&tail);
            }
            result
        })
        .await
    }

    /// Runs `work`. Replaces a damaged database and retries; releases the ballast of a full disk
    /// and retries.
    fn execute<T>(
        &self,
        slot: &mut DatabaseState,
        work: impl Fn(&mut Database) -> rusqlite::Result<T>,
    ) -> Result<T, OutboxError> {
        let path = &self.config.path;
        let result = match work(self.reopen_if_broken(slot)?) {
            Err(error) if schema::is_damage(&error) => {
                *slot = DatabaseState::Broken;
                let reservation = self.reservation();
                let store = Database::replace(&self.config, reservation, &error)?;
                *slot = DatabaseState::Open(Box::new(store));
                work(self.reopen_if_broken(slot)?)
            }
            Err(error)
                if schema::is_disk_full(&error)
                    && self.reopen_if_broken(slot)?.release_ballast() =>
            {
                work(self.reopen_if_broken(slot)?)
            }
            other => other,
        };
        if result.as_ref().is_err_and(schema::is_io_failure) {
            // After a failed fsync, the content of the file is unknown until it is opened again.
            *slot = DatabaseState::Broken;
        }
        result.map_err(|error| OutboxError::degraded(path, error))
    }

    fn reopen_if_broken<'a>(
        &self,
        slot: &'a mut DatabaseState,
    ) -> Result<&'a mut Database, OutboxError> {
        if let DatabaseState::Broken = slot {
            let degraded = |error| OutboxError::degraded(&self.config.path, error);
            // A running agent treats every error as retryable.
            let mut store = Database::open(&self.config, StartReason::Resumed(self.reservation()))
                .map_err(|error| error.retryable(&self.config.path))?;
            if let Some(van) = self.van.get() {
                store.claim(van, ("", 0)).map_err(degraded)?;
            }
            *slot = DatabaseState::Open(Box::new(store));
        }
        match slot {
            DatabaseState::Open(store) => Ok(store),
            DatabaseState::Broken | DatabaseState::Closed => {
                Err(OutboxError::Closed { path: self.config.path.clone() })
            }
        }
    }

    fn reservation(&self) -> Reservation {
        let reserved = self.stats.borrow().reserved;
        Reservation { reserved, session: self.startup.session }
    }

    /// Limits the wait for the disk, for callers that serve a connection.
    pub(super) async fn with_timeout<T>(
        &self,
        work: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        tokio::time::timeout(READ_TIMEOUT, work)
            .await
            .unwrap_or_else(|elapsed| Err(OutboxError::degraded(&self.config.path, elapsed)))
    }
}

/// Runs blocking code on Tokio's blocking pool.
pub(super) async fn spawn_blocking<T: Send + 'static>(
    work: impl FnOnce() -> T + Send + 'static,
) -> T {
    join(tokio::task::spawn_blocking(work)).await
}
