//! What the file says, in memory: changed beside a transaction, and kept when that is committed.

use rusqlite::Transaction;

use super::batches::Open;
use super::events::Group;
use super::retention::{self, Gone};
use super::rows::{self, Meta};
use super::{OutboxConfig, documents, schema};
use crate::core::record::{Record, Seq, Subject};
use crate::units::UtcTime;

/// Bytes of events and documents between two looks at the room that is left.
const CHUNK_BYTES: usize = 16 * 1024;

/// What the file says, as of the last transaction.
#[derive(Clone, Debug)]
pub(super) struct File {
    pub meta: Meta,
    pub open: Option<Open>,
    /// The state after `durable`, encoded.
    pub state: Vec<u8>,
    /// Up to here every point is on flash or acknowledged.
    pub durable: Seq,
    /// How many of `meta.closed` are events.
    pub events: u64,
    /// The highest number of an event that was ever there.
    pub newest_event: Seq,
    /// Up to here, records may have gone because there was no room.
    pub gone_to: Seq,
}

impl File {
    /// Points and events.
    pub(super) fn records(&self) -> u64 {
        self.meta.closed + self.open.as_ref().map_or(0, Open::count)
    }

    pub(super) fn points(&self) -> u64 {
        self.records().saturating_sub(self.events)
    }
}

impl File {
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
        self.count(gone);
        for record in records {
            match &record.subject {
                Subject::Point(point) => {
                    if let Some(full) = Open::push(&mut self.open, record.seq, point) {
                        full.write(transaction, 0, None)?;
                        self.meta.closed += full.count();
                        let newest = full.earliest_utc_ms;
                        let old = retention::drop_old(transaction, newest, config.max_age)?;
                        self.count(old);
                    }
                }
            }
        }
        Ok(())
    }

    /// Events and the documents that changed with them.
    pub(super) fn append_group(
        &mut self,
        transaction: &Transaction<'_>,
        group: &Group,
        config: &OutboxConfig,
    ) -> rusqlite::Result<()> {
        let mut room = 0;
        for event in &group.events {
            room = self.room_for(transaction, event.bytes.len(), room, config)?;
            if rows::insert(transaction, event)? {
                self.meta.closed += 1;
                self.events += 1;
            }
            self.newest_event = self.newest_event.max(event.seq);
        }
        for (key, value) in &group.documents {
            let bytes = key.len() + value.as_ref().map_or(0, |value| value.len());
            room = self.room_for(transaction, bytes, room, config)?;
            documents::write(transaction, key, value.as_deref())?;
        }
        Ok(())
    }

    /// Makes sure that `bytes` more have room, of which `room` was made before; returns what is left of it.
    fn room_for(
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
        self.count(gone);
        Ok(wanted - bytes)
    }

    fn count(&mut self, gone: Gone) {
        self.meta.thinned += gone.thinned;
        self.meta.dropped += gone.dropped;
        self.meta.closed = self.meta.closed.saturating_sub(gone.all());
        self.events = self.events.saturating_sub(gone.events);
        self.gone_to = self.gone_to.max(Seq::new(schema::unsigned(gone.up_to)));
    }

    /// The state goes into the open row; without one, into `meta`.
    pub(super) fn finish(
        &mut self,
        transaction: &Transaction<'_>,
        before: &Self,
    ) -> rusqlite::Result<()> {
        match &self.open {
            Some(open) if open.is_as(before.open.as_ref()) && self.state == before.state => {}
            Some(open) => open.write(transaction, 0, Some(&self.state))?,
            None => (self.meta.state, self.meta.state_seq) = (self.state.clone(), self.durable),
        }
        if self.meta != before.meta {
            self.meta.write(transaction)?;
        }
        Ok(())
    }
}
