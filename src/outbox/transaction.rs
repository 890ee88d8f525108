//! What one transaction takes along, and what the file holds after it.

use std::collections::BTreeSet;

use super::events::{Group, StoredEvents};
use super::ranges::Ranges;
use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq};
use crate::units::{Uptime, UtcTime};

/// What the file holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct Stored {
    /// Points, also those that are acknowledged and not deleted yet.
    pub points: u64,
    /// Whether there are rows of points, whatever the count says.
    pub has_rows: bool,
    /// Number and UTC of the oldest point.
    pub oldest: Option<(Seq, Option<UtcTime>)>,
    pub events: StoredEvents,
    /// Up to here everything is on flash or acknowledged.
    pub durable: Seq,
    /// Up to here, records may have gone because there was no room.
    pub gone_to: Seq,
    pub reserved: Seq,
    pub thinned: u64,
    pub dropped: u64,
    pub bytes: u64,
    /// See [`OutboxStats::written_bytes_today`].
    pub written_bytes_today: u64,
    /// See [`OutboxStats::device_bytes_today`].
    pub device_bytes_today: Option<u64>,
}

impl Stored {
    /// Nothing yet.
    pub(super) const NONE: Self = Self {
        points: 0,
        has_rows: false,
        oldest: None,
        events: StoredEvents { count: 0, newest: Seq::ZERO, oldest: None },
        durable: Seq::ZERO,
        gone_to: Seq::ZERO,
        reserved: Seq::ZERO,
        thinned: 0,
        dropped: 0,
        bytes: 0,
        written_bytes_today: 0,
        device_bytes_today: None,
    };
}

/// What one transaction takes along.
#[derive(Clone, Debug)]
pub(super) struct Pending {
    pub records: Vec<Record>,
    pub state: Option<JourneyState>,
    /// The highest number in use, also if its record has left already.
    pub newest: Seq,
    /// Up to here everything is on flash or acknowledged, when the transaction is done.
    pub until: Seq,
    pub acked: Ranges,
    /// Events, and the documents that changed with them.
    pub group: Group,
    /// Events that have arrived.
    pub settled: BTreeSet<Seq>,
    pub given_up: u64,
    /// How many of `acked` were counted off already.
    pub counted: u64,
    /// Since when `state` differs from the one in the file.
    pub state_since: Option<Uptime>,
}
