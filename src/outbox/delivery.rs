//! Events and documents through the handle: [`EventRecord`] → SQLite → [`EventRecord`].
//!
//! - An event and the documents that changed with it are committed in *one* transaction, or not at all.
//! - No event is read before it is on flash, unless the disk fails.

use super::{Document, Outbox, OutboxError, Store};
use crate::core::delivery::EventRecord;
use crate::core::record::Seq;
use crate::units::Uptime;

impl Outbox {
    /// Takes events, which ascend and share the numbers of the points, and the documents that changed with them: one
    /// transaction, as soon as the disk allows. Events whose numbers are not above all earlier ones are known already.
    ///
    /// Nothing of this waits for the disk: [`Self::is_urgent`] says that a transaction should follow at once. Until that is
    /// done a kill, as a power cut, costs all that came in one call, or nothing of it. 10,000 events or 2 MiB wait at most;
    /// then the oldest go, counted in [`OutboxStats::dropped`](super::OutboxStats::dropped). An event of more than 256 KiB, a
    /// document of more than 64 KiB, and what would make documents more than 8,192 or 4 MiB (each time, or a quarter of a small outbox) is
    /// refused with an error in the log.
    pub fn accept_events(&self, events: Vec<EventRecord>, documents: Vec<Document>, now: Uptime) {
        debug_assert!(events.is_sorted_by(|a, b| a.seq < b.seq), "events ascend");
        debug_assert!(documents.iter().all(Document::fits), "documents are small");
        let mut tail = self.tail();
        let given_up = tail.events.accept(events, documents, now);
        tail.give_up(given_up);
        self.publish(&tail);
    }

    /// The documents as they were when the file was opened, by key ascending; at most 8,192 and 4 MiB. None of another van,
    /// once [`Self::claim`] has found that it was one.
    #[must_use]
    pub fn documents(&self) -> Vec<(String, Vec<u8>)> {
        self.tail().documents.clone()
    }

    /// At most `limit` events above `seq`, ascending; none only if there are no more. They are on flash; if the disk does not
    /// write, or does not answer for 2 s, those that wait for it are among them.
    /// [`OutboxStats::events_newest`](super::OutboxStats::events_newest) says when to ask again.
    ///
    /// # Errors
    /// `Degraded`: what is on flash cannot be read now, and nothing waits in memory. While that is so and something waits,
    /// that comes alone: ask from the lowest number that is not acknowledged when the link is made anew.
    pub async fn events_after(
        &self,
        seq: Seq,
        limit: usize,
    ) -> Result<Vec<EventRecord>, OutboxError> {
        loop {
            let (in_file, newest, arrived) = {
                let events = &self.tail().events;
                (events.in_file(seq), events.stored_newest(), events.arrived())
            };
            let read = move |store: &mut Store| store.events_after(seq, limit, &arrived);
            let stored = match in_file {
                Some(_) => self.in_time(self.run(read)).await,
                None => Ok(Vec::new()),
            };
            let events = &self.tail().events;
            let mut found = match stored {
                Ok(found) => found,
                Err(error) => {
                    let waiting = events.waiting_after(seq, limit);
                    return if waiting.is_empty() { Err(error) } else { Ok(waiting) };
                }
            };
            if events.stored_newest() == newest {
                let read_to = found.last().map_or(seq, |last| last.seq);
                found.extend(
                    events.waiting_after(read_to.max(newest.max(seq)), limit - found.len()),
                );
                return Ok(found);
            }
            // Some have come into the file meanwhile, and were not in what was read.
        }
    }

    /// These have arrived, as [`Self::acknowledge`] says it of points. No point is concerned, whatever its number.
    pub fn acknowledge_events(&self, seqs: &[Seq]) {
        let mut tail = self.tail();
        tail.events.acknowledge(seqs);
        self.publish(&tail);
    }
}
