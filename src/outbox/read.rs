//! Reads points and events in order, and quarantines unreadable rows.

use std::collections::BTreeSet;

use super::database::Database;
use super::event_rows;
use super::schema;
use super::seq_ranges::SeqRanges;
use super::track_rows::{self, BatchRow, RowError};
use waypost_model::event::EventRecord;
use waypost_model::record::{Record, Seq};

impl Database {
    /// Reads at most `limit` points above `seq` and up to `until`, in order, without those in
    /// `arrived`. Quarantines rows that cannot be decoded.
    pub(super) fn records_after(
        &mut self,
        seq: Seq,
        until: Seq,
        limit: usize,
        arrived: &SeqRanges,
    ) -> rusqlite::Result<Vec<Record>> {
        let (mut records, mut read) = (Vec::new(), seq);
        while records.len() < limit && read < until {
            let wanted = limit - records.len();
            let points = track_rows::read_after(&self.connection, read, until, wanted)?;
            let mut found = points.records;
            if self.repair(&points.unreadable, &[])? {
                continue;
            }
            let full = found.len() >= wanted;
            read = found.last().filter(|_| full).map_or(until, |last| last.seq);
            found.sort_unstable_by_key(|record| record.seq);
            found.dedup_by_key(|record| record.seq);
            records.extend(found.into_iter().filter(|record| !arrived.contains(record.seq)));
        }
        records.truncate(limit);
        Ok(records)
    }

    /// Reads at most `limit` events above `seq`, in order, without those in `arrived`. Quarantines
    /// rows that cannot be decoded.
    pub(super) fn events_after(
        &mut self,
        seq: Seq,
        limit: usize,
        arrived: &BTreeSet<Seq>,
    ) -> rusqlite::Result<Vec<EventRecord>> {
        let reading = event_rows::read_after(&self.connection, seq, limit, arrived)?;
        if !self.repair(&[], &reading.faults)? {
            return Ok(reading.events);
        }
        // Read only once more: a row that cannot be moved must not block the reader.
        event_rows::read_after(&self.connection, seq, limit, arrived).map(|reading| reading.events)
    }

    /// Repairs or quarantines rows. Returns whether any changed. If the disk rejects writes, the
    /// rows are skipped.
    fn repair(
        &mut self,
        batches: &[(BatchRow, RowError)],
        events: &[(i64, event_rows::EventRowError)],
    ) -> rusqlite::Result<bool> {
        if batches.is_empty() && events.is_empty() {
            return Ok(false);
        }
        match self.quarantine(batches, events) {
            Ok(()) => Ok(true),
            Err(error) if schema::is_damage(&error) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "unreadable rows skipped: not quarantined");
                Ok(false)
            }
        }
    }

    fn quarantine(
        &mut self,
        batches: &[(BatchRow, RowError)],
        events: &[(i64, event_rows::EventRowError)],
    ) -> rusqlite::Result<()> {
        let mut file = self.file.clone();
        let transaction = self.connection.transaction()?;
        for (row, fault) in batches {
            let gone = row.repair(&transaction, fault)?;
            let first = file.open.as_ref().map(|open| schema::signed(open.packer.first().get()));
            if first == Some(row.first) {
                file.open = None;
            } else {
                file.meta.closed = file.meta.closed.saturating_sub(gone);
            }
        }
        for (seq, fault) in events {
            let gone = u64::from(event_rows::repair(&transaction, *seq, fault)?);
            file.meta.closed = file.meta.closed.saturating_sub(gone);
            file.events = file.events.saturating_sub(gone);
        }
        file.finish(&transaction, &self.file)?;
        transaction.commit()?;
        self.file = file;
        self.refresh_stats()
    }
}
