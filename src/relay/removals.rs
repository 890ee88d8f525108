//! When the outbox deletes what has arrived in a transaction of its own: mostly never, as the next insert takes it along.

use std::time::Duration;

use crate::outbox::{Outbox, OutboxError};
use crate::units::Uptime;

/// So many points are worth a transaction: five rows of the outbox, or a second of a backlog on a good link.
const MANY_POINTS: u64 = 500;

/// How long fewer wait for an insert that takes them along. A power cut meanwhile sends them once more.
const MAX_WAIT: Duration = Duration::from_secs(5);

/// When a transaction that failed is tried again.
const RETRY_AFTER: Duration = Duration::from_secs(5);

/// What has arrived and may still be in the file. It outlives the connection: what arrived has arrived.
#[derive(Debug, Default)]
pub(super) struct Removals {
    points: u64,
    due: Option<Uptime>,
    failed: bool,
}

impl Removals {
    /// So many points more have arrived.
    pub(super) fn note(&mut self, outbox: &Outbox, points: u64, now: Uptime) {
        if outbox.has_unsettled() {
            self.points += points;
            self.due.get_or_insert(now + MAX_WAIT);
        } else {
            *self = Self { failed: self.failed, ..Self::default() };
        }
    }

    /// Whether the last attempt failed.
    pub(super) const fn have_failed(&self) -> bool {
        self.failed
    }

    /// When they are due; `None` if there are none.
    pub(super) const fn deadline(&self) -> Option<Uptime> {
        self.due
    }

    /// Whether it is time; at once if this is `the_end`, as nothing will take them along.
    pub(super) fn are_due(&self, the_end: bool, now: Uptime) -> bool {
        let enough = !self.failed && (the_end || self.points >= MANY_POINTS);
        self.due.is_some_and(|due| enough || now >= due)
    }

    /// Removes them. If that fails they wait.
    pub(super) async fn flush(&mut self, outbox: &Outbox, now: Uptime) -> Result<(), OutboxError> {
        let done = outbox.settle().await;
        *self = Self {
            points: 0,
            due: done.is_err().then_some(now + RETRY_AFTER),
            failed: done.is_err(),
        };
        done
    }
}
