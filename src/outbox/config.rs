//! What the outbox is told, and what it says of itself.

use std::path::PathBuf;
use std::time::Duration;

use super::schema;
use crate::core::record::Seq;
use crate::units::UtcTime;

/// Where the outbox is, what it promises, and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// The database; `-wal`, `.seq`, `.ballast` and `.corrupt-<n>` stand beside it.
    pub path: PathBuf,
    /// A file on tmpfs for what is not committed yet; none if there is no such place.
    pub tail_path: Option<PathBuf>,
    /// What is so old and not acknowledged is on flash. Zero is each fix, in one transaction a second.
    pub commit_after: Duration,
    /// Bytes of the database at most; below [`Self::MIN_BYTES`] it counts as that.
    pub max_bytes: u64,
    /// The newest point is at most so much younger than the oldest.
    pub max_age: Duration,
}

impl OutboxConfig {
    /// 60 days at 1 Hz, day and night.
    pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;
    /// Below this the tables' own pages would be most of the file.
    pub const MIN_BYTES: u64 = 128 * 1024;
    /// What the power may cost.
    pub const DEFAULT_COMMIT_AFTER: Duration = Duration::from_secs(5);
    /// What a backend still wants to know.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_hours(30 * 24);

    /// With the default sizes and times, and without a tail file.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            tail_path: None,
            commit_after: Self::DEFAULT_COMMIT_AFTER,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_age: Self::DEFAULT_MAX_AGE,
        }
    }

    pub(super) fn max_pages(&self) -> u64 {
        self.max_bytes.max(Self::MIN_BYTES) / schema::PAGE_BYTES
    }
}

/// What the outbox holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OutboxStats {
    /// Points and events that wait for their acknowledgement, on flash or not.
    pub pending: u64,
    /// Of these, events.
    pub events_pending: u64,
    /// UTC of the one with the lowest `Seq`.
    pub oldest: Option<UtcTime>,
    /// The highest `Seq` of a point that was accepted; before the first of a run, the one before its first.
    pub newest: Seq,
    /// Up to this `Seq` there may be events to be read: they are on flash, or the disk fails.
    pub events_newest: Seq,
    /// Up to this `Seq`, every point that is not acknowledged is on flash.
    pub durable: Seq,
    /// The highest `Seq` that is reserved: what is above may not be published yet.
    pub reserved: Seq,
    /// Points given up so that the trail is coarser, because the outbox was full, over its life.
    pub thinned: u64,
    /// Records given up because the outbox was full, they were too old, or the disk did not write, over its life.
    pub dropped: u64,
    /// Whether the newest transaction failed: the disk does not write, and records wait in memory.
    pub failing: bool,
    /// Bytes of the database.
    pub bytes: u64,
    /// Bytes that this process caused to be written since midnight UTC or its start, as the kernel counts.
    pub written_bytes_today: u64,
    /// The same of the whole device that holds the outbox, whoever wrote; none if the kernel does not say.
    pub device_bytes_today: Option<u64>,
}
