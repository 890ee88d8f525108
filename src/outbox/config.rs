//! Configuration and statistics of the outbox.

use std::path::PathBuf;
use std::time::Duration;

use super::schema;
use waypost_model::record::Seq;
use waypost_model::units::UtcTime;

/// Location, durability and size limits of the outbox.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// Path of the database. `-wal`, `.seq`, `.ballast` and `.corrupt-<n>` files are created beside
    /// it.
    pub path: PathBuf,
    /// Path of a tmpfs file for uncommitted records. `None` disables this journal.
    pub journal_path: Option<PathBuf>,
    /// Maximum age of a record that is neither acknowledged nor on flash. Zero commits every fix,
    /// in at most one transaction per second.
    pub commit_after: Duration,
    /// Maximum size of the database in bytes. Values below [`Self::MIN_BYTES`] are raised to it.
    pub max_bytes: u64,
    /// Maximum age difference between the newest and the oldest point. Older points are evicted.
    pub max_age: Duration,
}

impl OutboxConfig {
    /// Enough for 60 days of continuous driving at 1 Hz.
    pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;
    /// Below this, the tables' own pages would take most of the file.
    pub const MIN_BYTES: u64 = 128 * 1024;
    /// Maximum data loss after a power cut.
    pub const DEFAULT_COMMIT_AFTER: Duration = Duration::from_secs(5);
    /// Age after which the data has no more value for a backend.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_hours(30 * 24);

    /// Uses the default sizes and times, and no journal.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            journal_path: None,
            commit_after: Self::DEFAULT_COMMIT_AFTER,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_age: Self::DEFAULT_MAX_AGE,
        }
    }

    pub(super) fn max_pages(&self) -> u64 {
        self.max_bytes.max(Self::MIN_BYTES) / schema::PAGE_BYTES
    }
}

/// Statistics of the outbox.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Unacknowledged points and events, on flash or in memory.
    pub pending: u64,
    /// Unacknowledged events.
    pub events_pending: u64,
    /// UTC of the unacknowledged record with the lowest `Seq`.
    pub oldest: Option<UtcTime>,
    /// Highest `Seq` of an accepted point. Before the first point of a run, it is the number before
    /// the run's first.
    pub newest: Seq,
    /// Highest `Seq` up to which events can be read: they are on flash, or the disk is failing.
    pub events_newest: Seq,
    /// Every unacknowledged point up to this `Seq` is on flash.
    pub durable: Seq,
    /// Highest reserved `Seq`. A record above it must not be published yet.
    pub reserved: Seq,
    /// Points removed by thinning because the outbox was full, since the outbox was created.
    pub thinned: u64,
    /// Records evicted since the outbox was created: the outbox was full, they were too old, or the
    /// disk did not accept writes.
    pub dropped: u64,
    /// Whether the newest transaction failed, so that records stay in memory.
    pub failing: bool,
    /// Size of the database in bytes.
    pub bytes: u64,
    /// Bytes that this process has written since midnight UTC or its start, according to the
    /// kernel.
    pub written_bytes_today: u64,
    /// Bytes that all processes have written to the device of the outbox in that time. `None` if
    /// the kernel does not report it.
    pub device_bytes_today: Option<u64>,
}
