//! In-memory mirror of the database's metadata. Updated during a transaction and adopted when it
//! commits.

use rusqlite::Transaction;

use super::event_buffer::EventGroup;
use super::event_rows::{self, Meta};
use super::retention::{self, Evicted};
use super::track_rows::OpenBatch;
use super::{OutboxConfig, schema, state_docs};
use waypost_model::record::{Record, Seq, Subject};
use waypost_model::units::UtcTime;

/// Bytes of events and documents between two checks of the free space.
const CHUNK_BYTES: usize = 16 * 1024;

/// State of the database as of the last commit.
#[derive(Clone, Debug)]
pub(super) struct FileState {
    pub meta: Meta,
    pub open: Option<OpenBatch>,
    /// Encoded trip state after `durable`.
    pub state: Vec<u8>,
    /// Every point up to this number is on flash or acknowledged.
    pub durable: Seq,
    /// Number of events within `meta.closed`.
    pub events: u64,
    /// Highest event number ever stored.
    pub newest_event: Seq,
    /// Records up to this number may have been evicted for lack of space.
    pub evicted_to: Seq,
}

impl FileState {
    /// Number of points and events.
    pub(super) fn records(&self) -> u64 {
        self.meta.closed + self.open.as_ref().map_or(0, OpenBatch::count)
    }

    pub(super) fn points(&self) -> u64 {
        self.records().saturating_sub(self.events)
    }
}

impl FileState {
    pub(super) fn newest_utc(&self) -> Option<UtcTime> {
        self.open.as_ref().and_then(|open| UtcTime::from_unix_ms(open.utc_ms))
    }

    pub(super) fn append(
        &mut self,
        transaction: &Transaction<'_>,
        records: &[Record],
        config: &OutboxConfig,
    ) -> rusqlite::Result<()> {
        let open = self.open.as_ref().map(|open| open.packer.first());
        let finished = &mut self.meta.finished;
        let incoming = retention::pages_for(records.len());
        let gone = retention::make_room(transaction, finished, open, incoming, config.max_pages())?;
        self.record_evicted(gone);
        for record in records {
            match &record.subject {
                Subject::Point(point) => {
                    if let Some(full) = OpenBatch::push(&mut self.open, record.seq, point) {
                        full.write(transaction, 0, None)?;
                        self.meta.closed += full.count();
                        let newest = full.earliest_utc_ms;
                        let old = retention::evict_expired(transaction, newest, config.max_age)?;
                        self.record_evicted(old);
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes events and the documents that changed with them.
    pub(super) fn append_group(
        &mut self,
        transaction: &Transaction<'_>,
        group: &EventGroup,
        config: &OutboxConfig,
    ) -> rusqlite::Result<()> {
        let mut room = 0;
        for event in &group.events {
            room = self.reserve_space(transaction, event.bytes.len(), room, config)?;
            if event_rows::insert(transaction, event)? {
                self.meta.closed += 1;
                self.events += 1;
            }
            self.newest_event = self.newest_event.max(event.seq);
        }
        for (key, value) in &group.documents {
            let bytes = key.len() + value.as_ref().map_or(0, |value| value.len());
            room = self.reserve_space(transaction, bytes, room, config)?;
            state_docs::write(transaction, key, value.as_deref())?;
        }
        Ok(())
    }

    /// Reserves space for `bytes`. `room` was reserved before; returns how much of the reservation
    /// is left.
    fn reserve_space(
        &mut self,
        transaction: &Transaction<'_>,
        bytes: usize,
        room: usize,
        config: &OutboxConfig,
    ) -> rusqlite::Result<usize> {
        if let Some(left) = room.checked_sub(bytes) {
            return Ok(left);
        }
        let wanted = bytes.max(CHUNK_BYTES);
        let pages = (wanted as u64).div_ceil(schema::PAGE_BYTES) + 1;
        let open = self.open.as_ref().map(|open| open.packer.first());
        let finished = &mut self.meta.finished;
        let gone = retention::make_room(transaction, finished, open, pages, config.max_pages())?;
        self.record_evicted(gone);
        Ok(wanted - bytes)
    }

    fn record_evicted(&mut self, gone: Evicted) {
        self.meta.thinned += gone.thinned;
        self.meta.dropped += gone.dropped;
        self.meta.closed = self.meta.closed.saturating_sub(gone.total());
        self.events = self.events.saturating_sub(gone.events);
        self.evicted_to = self.evicted_to.max(Seq::new(schema::unsigned(gone.up_to)));
    }

    /// Writes the trip state to the open row, or to `meta` if there is no open row.
    pub(super) fn finish(
        &mut self,
        transaction: &Transaction<'_>,
        before: &Self,
    ) -> rusqlite::Result<()> {
        match &self.open {
            Some(open) if open.eq_points(before.open.as_ref()) && self.state == before.state => {}
            Some(open) => open.write(transaction, 0, Some(&self.state))?,
            None => (self.meta.state, self.meta.state_seq) = (self.state.clone(), self.durable),
        }
        if self.meta != before.meta {
            self.meta.write(transaction)?;
        }
        Ok(())
    }
}
