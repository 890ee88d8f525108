//! What the consumer has done since it began, for `/metrics`.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use crate::backend::store::Taken;

/// Counts, and two states. All are read and written without order between them.
#[derive(Debug, Default)]
pub struct Counters {
    /// Messages that came, repeats included.
    pub messages: AtomicU64,
    /// Events that were new.
    pub events: AtomicU64,
    /// Events that were there before.
    pub events_repeated: AtomicU64,
    /// Points of trails that were new.
    pub points: AtomicU64,
    /// Points that were there before.
    pub points_repeated: AtomicU64,
    /// Messages that nobody can use, with a row that says why.
    pub poison: AtomicU64,
    /// The same without a row, because there were too many.
    pub poison_unkept: AtomicU64,
    /// Events whose names are made with another domain than ours.
    pub other_domain: AtomicU64,
    /// Messages without QoS that came faster than the store takes them.
    pub unkept: AtomicU64,
    /// Transactions.
    pub batches: AtomicU64,
    /// Times that the store did not answer.
    pub store_waits: AtomicU64,
    /// Whether the store does not take what comes.
    pub store_refuses: AtomicBool,
    /// Connections to the broker.
    pub connections: AtomicU64,
    /// Messages that came and are not in the store yet.
    pub waiting: AtomicU64,
    /// Whether there is a connection.
    pub connected: AtomicBool,
}

impl Counters {
    pub(super) fn add(counter: &AtomicU64, count: u64) {
        counter.fetch_add(count, Ordering::Relaxed);
    }

    pub(super) fn take(&self, taken: &Taken) {
        Self::add(&self.batches, 1);
        Self::add(&self.events, taken.events_new);
        Self::add(&self.events_repeated, taken.events_repeated);
        Self::add(&self.points, taken.points_new);
        Self::add(&self.points_repeated, taken.points_repeated);
        Self::add(&self.poison, taken.poison);
    }
}
