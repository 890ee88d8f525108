//! Counters of the consumer since its start, for `/metrics`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::store::IngestResult;

/// Counters and two states, read and written with relaxed ordering.
#[derive(Debug, Default)]
pub struct Counters {
    /// Received messages, including repeats.
    pub messages: AtomicU64,
    /// New events.
    pub events: AtomicU64,
    /// Repeated events.
    pub events_repeated: AtomicU64,
    /// New track points.
    pub points: AtomicU64,
    /// Repeated track points.
    pub points_repeated: AtomicU64,
    /// Invalid messages stored as dead letters.
    pub dead_letters: AtomicU64,
    /// Invalid messages dropped by the rate limit.
    pub dead_letters_dropped: AtomicU64,
    /// Events whose URIs use a domain other than ours.
    pub domain_mismatches: AtomicU64,
    /// QoS 0 messages dropped because the store was too slow.
    pub messages_dropped: AtomicU64,
    pub batches: AtomicU64,
    /// Retries of the store.
    pub store_retries: AtomicU64,
    /// Whether the store is unavailable.
    pub store_unavailable: AtomicBool,
    /// Whether the times of all vans are implausible, so that nothing is acknowledged.
    pub clock_doubtful: AtomicBool,
    /// Connections to the broker.
    pub connections: AtomicU64,
    /// Received messages that are not stored yet.
    pub messages_queued: AtomicU64,
    /// Whether the broker is connected.
    pub connected: AtomicBool,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn record(&self, taken: &IngestResult) {
        Self::add(&self.batches, 1);
        Self::add(&self.events, taken.events_new);
        Self::add(&self.events_repeated, taken.events_repeated);
        Self::add(&self.points, taken.points_new);
        Self::add(&self.points_repeated, taken.points_repeated);
        Self::add(&self.dead_letters, taken.dead_letters);
    }
}
