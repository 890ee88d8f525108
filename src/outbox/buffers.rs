//! The buffers of points and events. A transaction includes both.

use super::OutboxStats;
use super::event_buffer::EventBuffer;
use super::tmpfs_journal::TmpfsJournal;
use super::write_batch::{FileStats, WriteBatch};
use super::write_buffer::WriteBuffer;

/// Buffer and journal of the points, and buffer of the events.
#[derive(Debug)]
pub(super) struct Buffers {
    pub points: WriteBuffer,
    pub journal: Option<TmpfsJournal>,
    pub events: EventBuffer,
    /// Documents as of opening the file.
    pub documents: Vec<(String, Vec<u8>)>,
}

impl Buffers {
    pub(super) fn begin_commit(&mut self, with_points: bool) -> WriteBatch {
        let mut pending = self.points.begin_commit(with_points);
        self.events.begin_commit(&mut pending);
        pending
    }

    pub(super) fn commit_done(&mut self, pending: &WriteBatch, stored: FileStats) {
        self.events.commit_done();
        self.events.sync_from_file(stored.events, stored.reserved);
        self.points.commit_done(pending, stored);
    }

    pub(super) fn commit_failed(&mut self, pending: &WriteBatch) {
        self.points.commit_failed(pending);
        let given_up = self.events.commit_failed();
        self.record_evicted_events(given_up);
    }

    pub(super) fn sync_from_file(&mut self, stored: FileStats) {
        self.events.sync_from_file(stored.events, stored.reserved);
        self.points.sync_from_file(stored);
    }

    /// Counts events that were evicted because the disk was too slow.
    pub(super) fn record_evicted_events(&mut self, events: u64) {
        if events > 0 {
            if self.points.evictions() == 0 {
                tracing::error!("outbox writes too slowly: oldest events in memory evicted");
            }
            self.points.add_evictions(events);
        }
    }

    pub(super) fn stats(&self) -> OutboxStats {
        self.points.stats(&self.events)
    }

    /// Clears the tmpfs journal once all its records are durable or acknowledged.
    pub(super) fn clear_journal_if_durable(&mut self) {
        if let Some(file) = &mut self.journal
            && file.holds_records()
            && self.points.is_durable()
        {
            let (_, state) = self.points.unsaved();
            file.empty(self.points.newest(), &state);
        }
    }
}
