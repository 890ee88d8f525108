//! Schedules the deletion of acknowledged records. Usually the next insert deletes them in its own
//! transaction.

use std::time::Duration;

use crate::outbox::{Outbox, OutboxError};
use waypost_model::units::Uptime;

/// Number of points worth a separate transaction: five rows, or one second of backlog on a good
/// connection.
const PRUNE_BATCH_POINTS: u64 = 500;

/// Maximum wait of fewer points for an insert. A power cut meanwhile sends them again.
const MAX_DELAY: Duration = Duration::from_secs(5);

/// Delay before a failed transaction is retried.
const RETRY_DELAY: Duration = Duration::from_secs(5);

/// Acknowledged records that may still be in the database. Outlives connections.
#[derive(Debug, Default)]
pub(super) struct Pruner {
    points: u64,
    due: Option<Uptime>,
    failed: bool,
}

impl Pruner {
    /// Records `points` more acknowledged points.
    pub(super) fn record_acked(&mut self, outbox: &Outbox, points: u64, now: Uptime) {
        if outbox.has_acked_rows() {
            self.points += points;
            self.due.get_or_insert(now + MAX_DELAY);
        } else {
            *self = Self { failed: self.failed, ..Self::default() };
        }
    }

    /// Whether the last attempt failed.
    pub(super) const fn has_failed(&self) -> bool {
        self.failed
    }

    /// When the deletion is due. `None` if there is nothing to delete.
    pub(super) const fn deadline(&self) -> Option<Uptime> {
        self.due
    }

    /// Whether the deletion is due. It is due at once at `the_end`, because no insert will follow.
    pub(super) fn is_due(&self, the_end: bool, now: Uptime) -> bool {
        let enough = !self.failed && (the_end || self.points >= PRUNE_BATCH_POINTS);
        self.due.is_some_and(|due| enough || now >= due)
    }

    /// Deletes the records. If that fails, they are retried later.
    pub(super) async fn prune(&mut self, outbox: &Outbox, now: Uptime) -> Result<(), OutboxError> {
        let done = outbox.delete_acked().await;
        *self = Self {
            points: 0,
            due: done.is_err().then_some(now + RETRY_DELAY),
            failed: done.is_err(),
        };
        done
    }
}
