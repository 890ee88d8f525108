//! Events and state documents of the outbox.
//!
//! - An event and the documents that changed with it are committed in *one* transaction.
//! - An event can be read only after it is on flash, unless the disk is failing.

use super::{Database, Outbox, OutboxError, StoredDoc};
use waypost_model::event::EventRecord;
use waypost_model::record::Seq;
use waypost_model::units::Uptime;

impl Outbox {
    /// Accepts events and the documents that changed with them. They are committed in one
    /// transaction. Events ascend and share their numbers with the points; an event whose number is
    /// not above all earlier ones is ignored as known.
    ///
    /// This call does not wait for the disk; [`Self::is_urgent`] then reports that a transaction
    /// should follow at once. Until it is done, a kill or a power cut loses either all or nothing
    /// of one call.
    ///
    /// At most 10,000 events or 2 MiB wait in memory. Beyond that, the oldest are evicted and
    /// counted in [`OutboxStats::dropped`](super::OutboxStats::dropped). An event above 256 KiB and
    /// a document above 64 KiB are rejected with an error in the log. So is a document that would
    /// exceed 8,192 documents or 4 MiB in total. In a small outbox, the limit is a quarter of its
    /// size.
    pub fn accept_events(&self, events: Vec<EventRecord>, documents: Vec<StoredDoc>, now: Uptime) {
        debug_assert!(
            events.is_sorted_by(|a, b| a.seq < b.seq),
            "events must be in ascending order"
        );
        debug_assert!(
            documents.iter().all(StoredDoc::fits),
            "documents must be within their size limits"
        );
        let mut tail = self.lock_buffers();
        let given_up = tail.events.accept(events, documents, now);
        tail.record_evicted_events(given_up);
        self.publish_stats(&tail);
    }

    /// The documents as of opening the file, in ascending order of key: at most 8,192 and 4 MiB.
    /// Empty after [`Self::claim`] found that they belonged to another van.
    #[must_use]
    pub fn documents(&self) -> Vec<(String, Vec<u8>)> {
        self.lock_buffers().documents.clone()
    }

    /// Reads at most `limit` events above `seq` in ascending order. An empty result means that
    /// there are no more. The events are on flash; if the disk fails or does not respond for 2 s,
    /// uncommitted ones are included.
    /// [`OutboxStats::events_newest`](super::OutboxStats::events_newest) shows when to read again.
    ///
    /// # Errors
    /// `Degraded` if the events on flash cannot be read and none are in memory. If some are in
    /// memory, only those are returned; after the next reconnect, read again from the lowest
    /// unacknowledged number.
    pub async fn events_after(
        &self,
        seq: Seq,
        limit: usize,
    ) -> Result<Vec<EventRecord>, OutboxError> {
        loop {
            let (in_file, newest, arrived) = {
                let events = &self.lock_buffers().events;
                (events.in_file(seq), events.stored_newest(), events.acked_seqs())
            };
            let read = move |store: &mut Database| store.events_after(seq, limit, &arrived);
            let stored = match in_file {
                Some(_) => self.with_timeout(self.run(read)).await,
                None => Ok(Vec::new()),
            };
            let events = &self.lock_buffers().events;
            let mut found = match stored {
                Ok(found) => found,
                Err(error) => {
                    let waiting = events.unsaved_after(seq, limit);
                    return if waiting.is_empty() { Err(error) } else { Ok(waiting) };
                }
            };
            if events.stored_newest() == newest {
                let read_to = found.last().map_or(seq, |last| last.seq);
                found.extend(
                    events.unsaved_after(read_to.max(newest.max(seq)), limit - found.len()),
                );
                return Ok(found);
            }
            // Some events were committed meanwhile and are missing from the result. Read again.
        }
    }

    /// Marks the events as acknowledged, like [`Self::acknowledge`] does for points. Points with
    /// the same numbers are not affected.
    pub fn acknowledge_events(&self, seqs: &[Seq]) {
        let mut tail = self.lock_buffers();
        tail.events.acknowledge(seqs);
        self.publish_stats(&tail);
    }
}
