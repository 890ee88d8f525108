//! The database and its transactions. Everything here blocks and runs on the blocking pool.

use std::io::ErrorKind;

use rusqlite::{Connection, TransactionBehavior};

use super::ballast::Ballast;
use super::event_buffer::StoredEvents;
use super::event_rows::{self, Meta, OpenedFile};
use super::file_state::FileState;
use super::flash_wear::FlashWear;
use super::open::{connect, replace};
use super::schema::{OpenError, PAGE_BYTES, pages};
use super::seq_file::{self, Reservation};
use super::track_rows;
use super::write_batch::{FileStats, WriteBatch};
use super::{OutboxConfig, OutboxError, journey_codec, state_docs};
use waypost_model::motion::TripState;
use waypost_model::record::Seq;

/// Number of `Seq`s per reservation. The next block is reserved when less than half of this one
/// remains. A reservation during a run costs about one byte per fix. Each start makes one, which is
/// part of the 143 KB that a start with an orderly stop was measured to write. Unused numbers are
/// no loss.
pub(super) const SEQ_BLOCK: u64 = 100_000;

/// Records inserted between two checks of the free space.
const INSERT_CHUNK: usize = 1024;

/// Number of free pages from which an empty outbox shrinks. Fewer pages are kept for reuse.
const SHRINK_FROM_PAGES: u64 = 1024;

/// Pages freed at once. The limit keeps a stop short.
const SHRINK_BY_PAGES: i64 = 4096;

/// Reason for opening the database.
#[derive(Clone, Copy, Debug)]
pub(super) enum StartReason {
    /// The agent starts: counts a session and reserves numbers above the highest known one.
    Agent {
        /// Highest number in the journal.
        newest_in_journal: Seq,
    },
    /// The same run continues, possibly with a new file.
    Resumed(Reservation),
}

/// Result of a van's claim on the outbox.
#[derive(Debug)]
pub(super) enum OwnershipCheck {
    Ours,
    /// Claimed now. It belonged to another van and was empty.
    TakenOver,
    /// Records of this van are pending.
    OwnedByOther(String),
}

#[derive(Debug)]
pub(super) struct Database {
    config: OutboxConfig,
    pub connection: Connection,
    pub file: FileState,
    /// Whether `<path>.seq` is older than the database.
    copy_is_behind: bool,
    /// Highest `Seq` before this run.
    pub used_before: Seq,
    /// Documents as of opening the file, until they are taken.
    documents: Vec<(String, Vec<u8>)>,
    ballast: Ballast,
    wear: FlashWear,
    pub stats: FileStats,
}

impl Database {
    /// Opens the database. A damaged one is quarantined, and its readable content is copied to a
    /// new one.
    pub(super) fn open(config: &OutboxConfig, start: StartReason) -> Result<Self, OutboxError> {
        let path = &config.path;
        let opened = match connect(config) {
            Err(OpenError::Damaged(error)) => replace(config, &error)?,
            other => other.map_err(|refusal| match refusal {
                OpenError::Fatal(error) => error,
                OpenError::Damaged(error) => OutboxError::degraded(path, error),
            })?,
        };
        let (connection, found) = opened;
        Self::start(config, connection, found, start)
    }

    /// Replaces a database that was found to be damaged while the agent is running.
    pub(super) fn replace(
        config: &OutboxConfig,
        reservation: Reservation,
        error: &rusqlite::Error,
    ) -> Result<Self, OutboxError> {
        // A running agent treats every error as retryable.
        replace(config, error)
            .and_then(|(connection, found)| {
                Self::start(config, connection, found, StartReason::Resumed(reservation))
            })
            .map_err(|error| error.retryable(&config.path))
    }

    fn start(
        config: &OutboxConfig,
        connection: Connection,
        found: OpenedFile,
        start: StartReason,
    ) -> Result<Self, OutboxError> {
        let degraded = |error| OutboxError::degraded(&config.path, error);
        let OpenedFile { mut meta, open, state, durable, newest_event, events, documents } = found;
        let copy = seq_file::read(&config.path).unwrap_or(Reservation::NONE);
        let before = meta.reservation.max(copy);
        let highest = durable.max(newest_event);
        let before = Reservation { reserved: before.reserved.max(highest), ..before };
        let (reservation, used_before) = match start {
            StartReason::Agent { newest_in_journal } => {
                let used = before.reserved.max(newest_in_journal);
                let reserved = Seq::new(used.get() + SEQ_BLOCK);
                (Reservation { reserved, session: before.session + 1 }, used)
            }
            StartReason::Resumed(reservation) => (reservation.max(before), before.reserved),
        };
        if reservation != copy {
            // Write the copy first, so that it is never older than a database that is lost later.
            seq_file::write(&config.path, reservation).map_err(|source| match source.kind() {
                ErrorKind::StorageFull => OutboxError::degraded(&config.path, source),
                _ => OutboxError::Unusable { path: config.path.clone(), source },
            })?;
        }
        if meta.reservation != reservation {
            meta.reservation = reservation;
            meta.write(&connection).map_err(degraded)?;
        }
        let evicted_to = Seq::ZERO;
        let file = FileState { meta, open, state, durable, events, newest_event, evicted_to };
        let mut store = Self {
            stats: FileStats::NONE,
            ballast: Ballast::new(&config.path),
            wear: FlashWear::for_path(&config.path),
            config: config.clone(),
            connection,
            file,
            copy_is_behind: false,
            used_before,
            // A continued run has its documents in memory.
            documents: if let StartReason::Agent { .. } = start { documents } else { Vec::new() },
        };
        store.refresh_stats().map_err(degraded)?;
        Ok(store)
    }

    pub(super) const fn reservation(&self) -> Reservation {
        self.file.meta.reservation
    }

    /// Trip state of the last commit. The default for a new database.
    pub(super) fn state(&self) -> TripState {
        journey_codec::decode(&self.file.state)
    }

    /// Commits one transaction: deletes acknowledged records and inserts buffered ones, with trip
    /// state and reservation.
    pub(super) fn commit(&mut self, pending: &WriteBatch) -> rusqlite::Result<()> {
        let reserved = self.extended_reservation(pending.newest);
        self.write_copy(reserved);
        let mut file = self.file.clone();
        file.meta.reservation.reserved = reserved;
        file.meta.dropped += pending.evictions;
        if let Some(state) = &pending.state {
            file.state = journey_codec::encode(state);
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for range in pending.acked.iter() {
            let removed = track_rows::remove(&transaction, &mut file.open, range)?;
            file.meta.closed = file.meta.closed.saturating_sub(removed);
        }
        for seq in &pending.acked_events {
            let removed = u64::from(event_rows::remove(&transaction, *seq)?);
            file.meta.closed = file.meta.closed.saturating_sub(removed);
            file.events = file.events.saturating_sub(removed);
        }
        let fresh = pending.records.partition_point(|record| record.seq <= file.durable);
        for chunk in pending.records[fresh..].chunks(INSERT_CHUNK) {
            file.append(&transaction, chunk, &self.config)?;
        }
        file.append_group(&transaction, &pending.group, &self.config)?;
        file.durable = file.durable.max(pending.until);
        file.finish(&transaction, &self.file)?;
        transaction.commit()?;
        let emptied = file.records() == 0 && self.file.records() > 0;
        self.file = file;
        // The records are committed from here on, so an error must not be returned.
        if let Err(error) = self.maintain(emptied) {
            tracing::warn!(%error, "outbox maintenance failed after a commit");
        }
        Ok(())
    }

    fn maintain(&mut self, emptied: bool) -> rusqlite::Result<()> {
        self.ballast.retry_if_missing();
        let large = emptied && pages(&self.connection, "freelist_count")? > SHRINK_FROM_PAGES;
        let shrunk = if large { self.shrink() } else { Ok(()) };
        self.refresh_stats().and(shrunk)
    }

    /// Claims the outbox for `van`, unless records of another van are pending. Deletes documents of
    /// a previous owner.
    pub(super) fn claim(
        &mut self,
        van: &str,
        tail: (&str, u64),
    ) -> rusqlite::Result<OwnershipCheck> {
        let owner = &self.file.meta.van;
        if self.file.records() > 0 && !owner.is_empty() && owner != van {
            return Ok(OwnershipCheck::OwnedByOther(owner.clone()));
        }
        let (owner_of_tail, records_in_tail) = tail;
        if records_in_tail > 0 && !owner_of_tail.is_empty() && owner_of_tail != van {
            return Ok(OwnershipCheck::OwnedByOther(owner_of_tail.to_owned()));
        }
        if owner == van {
            return Ok(OwnershipCheck::Ours);
        }
        let was_anothers = !owner.is_empty();
        let meta = Meta { van: van.to_owned(), ..self.file.meta.clone() };
        let transaction = self.connection.transaction()?;
        let removed = if was_anothers { state_docs::clear(&transaction)? } else { 0 };
        meta.write(&transaction)?;
        transaction.commit()?;
        self.file.meta = meta;
        if removed > 0 {
            tracing::warn!(
                documents = removed,
                "outbox belonged to another van: its documents were deleted"
            );
        }
        Ok(if was_anothers { OwnershipCheck::TakenOver } else { OwnershipCheck::Ours })
    }

    /// Takes the documents as of opening the file. Later calls return nothing.
    pub(super) fn take_documents(&mut self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.documents)
    }

    /// Last working baud rate of the receiver.
    pub(super) fn receiver_baud(&self) -> rusqlite::Result<Option<u32>> {
        self.connection.query_row("SELECT receiver_baud FROM meta", [], |row| row.get(0))
    }

    /// Writes only if the value changed, to save flash writes.
    pub(super) fn remember_receiver_baud(&mut self, baud: u32) -> rusqlite::Result<()> {
        self.connection
            .execute("UPDATE meta SET receiver_baud = ?1 WHERE receiver_baud IS NOT ?1", [baud])
            .map(drop)
    }

    /// Reserves at least half a block above `used`.
    pub(super) fn reserve(&mut self, used: Seq) -> rusqlite::Result<()> {
        let reserved = self.extended_reservation(used);
        if reserved > self.reservation().reserved {
            self.write_copy(reserved);
            let mut meta = self.file.meta.clone();
            meta.reservation.reserved = reserved;
            meta.write(&self.connection)?;
            self.file.meta = meta;
            self.stats.reserved = reserved;
        }
        Ok(())
    }

    /// Checkpoints the WAL and closes the database. The WAL keeps its size, so that the next run
    /// does not have to grow it again.
    pub(super) fn close(self) -> Result<(), rusqlite::Error> {
        if pages(&self.connection, "freelist_count")? > SHRINK_FROM_PAGES {
            self.shrink()?;
        }
        self.connection.pragma(None, "wal_checkpoint", "PASSIVE", |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)
    }

    /// Releases the ballast. Returns false if there was none.
    pub(super) fn release_ballast(&mut self) -> bool {
        self.ballast.release()
    }

    /// Reservation that leaves at least half a block above `used`.
    fn extended_reservation(&self, used: Seq) -> Seq {
        let reserved = self.reservation().reserved;
        let left = reserved.get().saturating_sub(used.get());
        if left >= SEQ_BLOCK / 2 {
            reserved
        } else {
            Seq::new(used.get().saturating_add(SEQ_BLOCK))
        }
    }

    /// Writes the copy of the reservation. A failure is not fatal, because the database holds the
    /// reservation too.
    fn write_copy(&mut self, reserved: Seq) {
        if reserved <= self.reservation().reserved && !self.copy_is_behind {
            return;
        }
        let copy = Reservation { reserved, ..self.reservation() };
        match seq_file::write(&self.config.path, copy) {
            Ok(()) => self.copy_is_behind = false,
            Err(error) => {
                if !self.copy_is_behind {
                    tracing::warn!(%error, "copy of the sequence reservation not written: retrying");
                }
                self.copy_is_behind = true;
            }
        }
    }

    fn shrink(&self) -> rusqlite::Result<()> {
        // Each step frees one page, so all result rows must be read.
        self.connection.pragma(None, "incremental_vacuum", SHRINK_BY_PAGES, |_| Ok(()))
    }

    /// Refreshes the statistics.
    pub(super) fn refresh_stats(&mut self) -> rusqlite::Result<()> {
        let FileState { durable, evicted_to, events, newest_event, .. } = self.file;
        let known = StoredEvents { count: events, newest: newest_event, ..self.stats.events };
        // Set the values that need no disk access first: they stay valid if the disk fails.
        self.stats = FileStats {
            durable,
            evicted_to,
            points: self.file.points(),
            has_rows: self.stats.has_rows || self.file.points() > 0,
            events: known,
            reserved: self.file.meta.reservation.reserved,
            ..self.stats
        };
        let oldest = track_rows::oldest(&self.connection)?;
        let (has_rows, oldest_event) = (oldest.is_some(), event_rows::oldest(&self.connection)?);
        let FileState { events, .. } = self.file;
        if has_rows != (self.file.points() > 0) || oldest_event.is_some() != (events > 0) {
            // The count is wrong because of a flipped bit or a defect in the agent: count again.
            let open = self.file.open.as_ref().map(|open| open.packer.first());
            self.file.events = event_rows::count(&self.connection)?;
            self.file.meta.closed =
                track_rows::count_closed(&self.connection, open)? + self.file.events;
        }
        let meta = &self.file.meta;
        let (written_bytes_today, device_bytes_today) =
            self.wear.written_today(self.file.newest_utc());
        self.stats = FileStats {
            points: self.file.points(),
            has_rows,
            oldest,
            events: StoredEvents { count: self.file.events, oldest: oldest_event, ..known },
            durable,
            evicted_to,
            reserved: meta.reservation.reserved,
            thinned: meta.thinned,
            dropped: meta.dropped,
            bytes: pages(&self.connection, "page_count")? * PAGE_BYTES,
            written_bytes_today,
            device_bytes_today,
        };
        Ok(())
    }
}

#[cfg(test)]
impl Database {
    /// Checkpoints the WAL and clears the page cache.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
        self.connection.execute_batch("PRAGMA shrink_memory")
    }

    /// Number of frames in the WAL since the last checkpoint.
    pub(super) fn wal_frames(&self) -> rusqlite::Result<i64> {
        let mut frames = 0;
        self.connection.pragma(None, "wal_checkpoint", "NOOP", |row| {
            frames = row.get(1)?;
            Ok(())
        })?;
        Ok(frames)
    }

    /// Frees every unused page, so that induced damage hits used pages.
    pub(super) fn vacuum(&self) -> rusqlite::Result<()> {
        self.shrink()
    }

    /// Simulates a full disk: SQLite returns `SQLITE_FULL` when the file would grow.
    pub(super) fn limit_pages(&self, pages: i64) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "max_page_count", pages)
    }

    pub(super) fn forbid_writes(&self, forbidden: bool) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "query_only", forbidden)
    }
}
