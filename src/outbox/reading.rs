//! What a file holds → [`Record`]s and [`EventRecord`]s in order; what cannot be read is moved out of the way.

use std::collections::BTreeSet;

use super::batches::{self, Fault, Row};
use super::ranges::Ranges;
use super::rows;
use super::schema;
use super::store::Store;
use crate::core::delivery::EventRecord;
use crate::core::record::{Record, Seq};

impl Store {
    /// The records above `seq` and up to `until` in order, at most `limit`, without those that have `arrived`; and up to
    /// where the file was read. What cannot be decoded is moved out of the way.
    pub(super) fn after(
        &mut self,
        seq: Seq,
        until: Seq,
        limit: usize,
        arrived: &Ranges,
    ) -> rusqlite::Result<Vec<Record>> {
        let (mut records, mut read) = (Vec::new(), seq);
        while records.len() < limit && read < until {
            let wanted = limit - records.len();
            let points = batches::after(&self.connection, read, until, wanted)?;
            let mut found = points.records;
            if self.set_right(&points.unreadable, &[])? {
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

    /// The events above `seq` in order, at most `limit`, without those that have `arrived`. What cannot be decoded is moved
    /// out of the way.
    pub(super) fn events_after(
        &mut self,
        seq: Seq,
        limit: usize,
        arrived: &BTreeSet<Seq>,
    ) -> rusqlite::Result<Vec<EventRecord>> {
        let reading = rows::after(&self.connection, seq, limit, arrived)?;
        if !self.set_right(&[], &reading.faults)? {
            return Ok(reading.events);
        }
        // Once: a row that cannot be moved must not keep the reader for ever.
        rows::after(&self.connection, seq, limit, arrived).map(|reading| reading.events)
    }

    /// Moves rows to where they belong; whether it did. Where nothing can be written they are passed over.
    fn set_right(
        &mut self,
        batches: &[(Row, Fault)],
        events: &[(i64, rows::Fault)],
    ) -> rusqlite::Result<bool> {
        if batches.is_empty() && events.is_empty() {
            return Ok(false);
        }
        match self.move_away(batches, events) {
            Ok(()) => Ok(true),
            Err(error) if schema::is_damage(&error) => Err(error),
            Err(error) => {
                tracing::debug!(%error, "what is stored and cannot be read is passed over");
                Ok(false)
            }
        }
    }

    fn move_away(
        &mut self,
        batches: &[(Row, Fault)],
        events: &[(i64, rows::Fault)],
    ) -> rusqlite::Result<()> {
        let mut file = self.file.clone();
        let transaction = self.connection.transaction()?;
        for (row, fault) in batches {
            let gone = row.set_right(&transaction, fault)?;
            let first = file.open.as_ref().map(|open| schema::signed(open.packer.first().get()));
            if first == Some(row.first) {
                file.open = None;
            } else {
                file.meta.closed = file.meta.closed.saturating_sub(gone);
            }
        }
        for (seq, fault) in events {
            let gone = u64::from(rows::set_right(&transaction, *seq, fault)?);
            file.meta.closed = file.meta.closed.saturating_sub(gone);
            file.events = file.events.saturating_sub(gone);
        }
        file.finish(&transaction, &self.file)?;
        transaction.commit()?;
        self.file = file;
        self.look()
    }
}
