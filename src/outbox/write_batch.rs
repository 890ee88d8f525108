//! Content of one transaction, and statistics of the database after it.

use std::collections::BTreeSet;

use super::event_buffer::{EventGroup, StoredEvents};
use super::seq_ranges::SeqRanges;
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq};
use waypost_model::units::{Uptime, UtcTime};

/// Statistics of the database.
#[derive(Clone, Copy, Debug)]
pub(super) struct FileStats {
    /// Points, including acknowledged ones that are not deleted yet.
    pub points: u64,
    /// Whether rows of points exist, regardless of the count.
    pub has_rows: bool,
    /// Number and UTC of the oldest point.
    pub oldest: Option<(Seq, Option<UtcTime>)>,
    pub events: StoredEvents,
    /// Every point up to this number is on flash or acknowledged.
    pub durable: Seq,
    /// Records up to this number may have been evicted for lack of space.
    pub evicted_to: Seq,
    pub reserved: Seq,
    pub thinned: u64,
    pub dropped: u64,
    pub bytes: u64,
    /// See [`OutboxStats::written_bytes_today`].
    pub written_bytes_today: u64,
    /// See [`OutboxStats::device_bytes_today`].
    pub device_bytes_today: Option<u64>,
}

impl FileStats {
    /// Statistics before the first read.
    pub(super) const NONE: Self = Self {
        points: 0,
        has_rows: false,
        oldest: None,
        events: StoredEvents { count: 0, newest: Seq::ZERO, oldest: None },
        durable: Seq::ZERO,
        evicted_to: Seq::ZERO,
        reserved: Seq::ZERO,
        thinned: 0,
        dropped: 0,
        bytes: 0,
        written_bytes_today: 0,
        device_bytes_today: None,
    };
}

/// Content of one transaction.
#[derive(Clone, Debug)]
pub(super) struct WriteBatch {
    pub records: Vec<Record>,
    pub state: Option<TripState>,
    /// Highest number in use, even if its record is acknowledged already.
    pub newest: Seq,
    /// Every point up to this number is on flash or acknowledged after the commit.
    pub until: Seq,
    pub acked: SeqRanges,
    /// Events, and the documents that changed with them.
    pub group: EventGroup,
    /// Acknowledged events.
    pub acked_events: BTreeSet<Seq>,
    pub evictions: u64,
    /// Number of `acked` records known to be in the database.
    pub acked_in_file: u64,
    /// Time since which `state` differs from the one in the database.
    pub state_since: Option<Uptime>,
}
