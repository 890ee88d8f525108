//! The file and its transactions: everything here blocks, and runs on the blocking pool.

use std::io::ErrorKind;

use rusqlite::{Connection, TransactionBehavior};

use super::ballast::Ballast;
use super::batches;
use super::events::StoredEvents;
use super::file::File;
use super::opening::{connect, replace};
use super::rows::{self, Found, Meta};
use super::schema::{PAGE_BYTES, Refusal, pages};
use super::seq_file::{self, Reservation};
use super::transaction::{Pending, Stored};
use super::wear::Wear;
use super::{OutboxConfig, OutboxError, documents, state};
use crate::core::journey::JourneyState;
use crate::core::record::Seq;

/// `Seq`s that are reserved at once; the next block is reserved when less than half of this one remains. A reservation in
/// the run is a byte for each fix; each start makes one, which is part of the 143 KB that a start and an orderly stop were
/// measured to write. A start that uses ten of them wastes nothing that is scarce.
pub(super) const BLOCK: u64 = 100_000;

/// Records that are inserted between two looks at the room that is left.
const CHUNK: usize = 1024;

/// Free pages that are given back when the outbox has become empty: below this the file stays, to be used again.
const SHRINK_FROM_PAGES: u64 = 1024;

/// Pages that are given back at once, so that a stop does not take long.
const SHRINK_BY_PAGES: i64 = 4096;

/// Whose transactions these are.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// The agent starts: counts a session, and reserves beyond the highest number that is known.
    Agent {
        /// The highest number in the tail file.
        newest_in_tail: Seq,
    },
    /// The same run goes on, perhaps in another file.
    Resumed(Reservation),
}

/// Whose the outbox is, when a van has asked for it.
#[derive(Debug)]
pub(super) enum Claim {
    Ours,
    /// Ours from now on; it was another van's, and empty.
    TakenOver,
    /// Records of this van wait.
    Refused(String),
}

#[derive(Debug)]
pub(super) struct Store {
    config: OutboxConfig,
    pub connection: Connection,
    pub file: File,
    /// Whether `<path>.seq` is behind the database.
    copy_is_behind: bool,
    /// The highest `Seq` before this run.
    pub used_before: Seq,
    /// As they were when the file was opened, until somebody takes them.
    documents: Vec<(String, Vec<u8>)>,
    ballast: Ballast,
    wear: Wear,
    pub stored: Stored,
}

impl Store {
    /// Opens the file; one that is damaged is set aside, and what can be read of it goes into a new one.
    pub(super) fn open(config: &OutboxConfig, start: Start) -> Result<Self, OutboxError> {
        let path = &config.path;
        let opened = match connect(config) {
            Err(Refusal::Damaged(error)) => replace(config, &error)?,
            other => other.map_err(|refusal| match refusal {
                Refusal::Stop(error) => error,
                Refusal::Damaged(error) => OutboxError::degraded(path, error),
            })?,
        };
        let (connection, found) = opened;
        Self::begin(config, connection, found, start)
    }

    /// A new file in the place of one that turned out to be damaged while the agent ran.
    pub(super) fn replace(
        config: &OutboxConfig,
        reservation: Reservation,
        error: &rusqlite::Error,
    ) -> Result<Self, OutboxError> {
        // Whatever is in the way, a running agent waits for it to go.
        replace(config, error)
            .and_then(|(connection, found)| {
                Self::begin(config, connection, found, Start::Resumed(reservation))
            })
            .map_err(|error| error.waited_for(&config.path))
    }

    fn begin(
        config: &OutboxConfig,
        connection: Connection,
        found: Found,
        start: Start,
    ) -> Result<Self, OutboxError> {
        let degraded = |error| OutboxError::degraded(&config.path, error);
        let Found { mut meta, open, state, durable, newest_event, events, documents } = found;
        let copy = seq_file::read(&config.path).unwrap_or(Reservation::NONE);
        let before = meta.reservation.max(copy);
        let highest = durable.max(newest_event);
        let before = Reservation { reserved: before.reserved.max(highest), ..before };
        let (reservation, used_before) = match start {
            Start::Agent { newest_in_tail } => {
                let used = before.reserved.max(newest_in_tail);
                let reserved = Seq::new(used.get() + BLOCK);
                (Reservation { reserved, session: before.session + 1 }, used)
            }
            Start::Resumed(reservation) => (reservation.max(before), before.reserved),
        };
        if reservation != copy {
            // The copy first: then it is never behind a database that is lost later.
            seq_file::write(&config.path, reservation).map_err(|source| match source.kind() {
                ErrorKind::StorageFull => OutboxError::degraded(&config.path, source),
                _ => OutboxError::Unusable { path: config.path.clone(), source },
            })?;
        }
        if meta.reservation != reservation {
            meta.reservation = reservation;
            meta.write(&connection).map_err(degraded)?;
        }
        let gone_to = Seq::ZERO;
        let file = File { meta, open, state, durable, events, newest_event, gone_to };
        let mut store = Self {
            stored: Stored::NONE,
            ballast: Ballast::new(&config.path),
            wear: Wear::of(&config.path),
            config: config.clone(),
            connection,
            file,
            copy_is_behind: false,
            used_before,
            // A run that goes on knows its documents.
            documents: if let Start::Agent { .. } = start { documents } else { Vec::new() },
        };
        store.look().map_err(degraded)?;
        Ok(store)
    }

    pub(super) const fn reservation(&self) -> Reservation {
        self.file.meta.reservation
    }

    /// The state of the last commit; the default in a new file.
    pub(super) fn state(&self) -> JourneyState {
        state::decode(&self.file.state)
    }

    /// Everything in one transaction: what has arrived goes, what waits comes, with the state and the reservation.
    pub(super) fn commit(&mut self, pending: &Pending) -> rusqlite::Result<()> {
        let reserved = self.extended(pending.newest);
        self.write_copy(reserved);
        let mut file = self.file.clone();
        file.meta.reservation.reserved = reserved;
        file.meta.dropped += pending.given_up;
        if let Some(state) = &pending.state {
            file.state = state::encode(state);
        }
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for range in pending.acked.iter() {
            let removed = batches::remove(&transaction, &mut file.open, range)?;
            file.meta.closed = file.meta.closed.saturating_sub(removed);
        }
        for seq in &pending.settled {
            let removed = u64::from(rows::remove(&transaction, *seq)?);
            file.meta.closed = file.meta.closed.saturating_sub(removed);
            file.events = file.events.saturating_sub(removed);
        }
        let fresh = pending.records.partition_point(|record| record.seq <= file.durable);
        for chunk in pending.records[fresh..].chunks(CHUNK) {
            file.append(&transaction, chunk, &self.config)?;
        }
        file.append_group(&transaction, &pending.group, &self.config)?;
        file.durable = file.durable.max(pending.until);
        file.finish(&transaction, &self.file)?;
        transaction.commit()?;
        let emptied = file.records() == 0 && self.file.records() > 0;
        self.file = file;
        // From here on the records are in the file, and an error must not say that they are not.
        if let Err(error) = self.tidy(emptied) {
            tracing::warn!(%error, "outbox committed, and not tidied up");
        }
        Ok(())
    }

    fn tidy(&mut self, emptied: bool) -> rusqlite::Result<()> {
        self.ballast.keep();
        let large = emptied && pages(&self.connection, "freelist_count")? > SHRINK_FROM_PAGES;
        let shrunk = if large { self.shrink() } else { Ok(()) };
        self.look().and(shrunk)
    }

    /// Notes whose records these are, if none of another van wait. Another van's documents say nothing of this one.
    pub(super) fn claim(&mut self, van: &str, tail: (&str, u64)) -> rusqlite::Result<Claim> {
        let owner = &self.file.meta.van;
        if self.file.records() > 0 && !owner.is_empty() && owner != van {
            return Ok(Claim::Refused(owner.clone()));
        }
        let (owner_of_tail, records_in_tail) = tail;
        if records_in_tail > 0 && !owner_of_tail.is_empty() && owner_of_tail != van {
            return Ok(Claim::Refused(owner_of_tail.to_owned()));
        }
        if owner == van {
            return Ok(Claim::Ours);
        }
        let was_anothers = !owner.is_empty();
        let meta = Meta { van: van.to_owned(), ..self.file.meta.clone() };
        let transaction = self.connection.transaction()?;
        let removed = if was_anothers { documents::clear(&transaction)? } else { 0 };
        meta.write(&transaction)?;
        transaction.commit()?;
        self.file.meta = meta;
        if removed > 0 {
            tracing::warn!(
                documents = removed,
                "outbox was another van's, its documents are removed"
            );
        }
        Ok(if was_anothers { Claim::TakenOver } else { Claim::Ours })
    }

    /// The documents as they were when the file was opened, for who asks first.
    pub(super) fn take_documents(&mut self) -> Vec<(String, Vec<u8>)> {
        std::mem::take(&mut self.documents)
    }

    /// The speed at which the receiver was understood last.
    pub(super) fn receiver_baud(&self) -> rusqlite::Result<Option<u32>> {
        self.connection.query_row("SELECT receiver_baud FROM meta", [], |row| row.get(0))
    }

    /// Writes only when it is another one, so that flash is not worn by it.
    pub(super) fn remember_receiver_baud(&mut self, baud: u32) -> rusqlite::Result<()> {
        self.connection
            .execute("UPDATE meta SET receiver_baud = ?1 WHERE receiver_baud IS NOT ?1", [baud])
            .map(drop)
    }

    /// Makes sure that at least half a block above `used` is reserved.
    pub(super) fn reserve(&mut self, used: Seq) -> rusqlite::Result<()> {
        let reserved = self.extended(used);
        if reserved > self.reservation().reserved {
            self.write_copy(reserved);
            let mut meta = self.file.meta.clone();
            meta.reservation.reserved = reserved;
            meta.write(&self.connection)?;
            self.file.meta = meta;
            self.stored.reserved = reserved;
        }
        Ok(())
    }

    /// Everything into the one file, and closes it. The log keeps its size, so that the next run need not make it again.
    pub(super) fn close(self) -> Result<(), rusqlite::Error> {
        if pages(&self.connection, "freelist_count")? > SHRINK_FROM_PAGES {
            self.shrink()?;
        }
        self.connection.pragma(None, "wal_checkpoint", "PASSIVE", |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)
    }

    /// Gives up the ballast; whether there was one.
    pub(super) fn give_up_ballast(&mut self) -> bool {
        self.ballast.give_up()
    }

    /// The mark that leaves at least half a block after `used`.
    fn extended(&self, used: Seq) -> Seq {
        let reserved = self.reservation().reserved;
        let left = reserved.get().saturating_sub(used.get());
        if left >= BLOCK / 2 { reserved } else { Seq::new(used.get().saturating_add(BLOCK)) }
    }

    /// A copy that cannot be written is no reason to lose a record: the database has the mark too.
    fn write_copy(&mut self, reserved: Seq) {
        if reserved <= self.reservation().reserved && !self.copy_is_behind {
            return;
        }
        let copy = Reservation { reserved, ..self.reservation() };
        match seq_file::write(&self.config.path, copy) {
            Ok(()) => self.copy_is_behind = false,
            Err(error) => {
                if !self.copy_is_behind {
                    tracing::warn!(%error, "copy of the sequence reservation not written, trying again");
                }
                self.copy_is_behind = true;
            }
        }
    }

    fn shrink(&self) -> rusqlite::Result<()> {
        // It frees a page at each step, so every row must be asked for.
        self.connection.pragma(None, "incremental_vacuum", SHRINK_BY_PAGES, |_| Ok(()))
    }

    /// What the statistics say of the file.
    pub(super) fn look(&mut self) -> rusqlite::Result<()> {
        let File { durable, gone_to, events, newest_event, .. } = self.file;
        let known = StoredEvents { count: events, newest: newest_event, ..self.stored.events };
        // What is known without asking the disk is known also if that does not answer.
        self.stored = Stored {
            durable,
            gone_to,
            points: self.file.points(),
            has_rows: self.stored.has_rows || self.file.points() > 0,
            events: known,
            reserved: self.file.meta.reservation.reserved,
            ..self.stored
        };
        let oldest = batches::oldest(&self.connection)?;
        let (has_rows, oldest_event) = (oldest.is_some(), rows::oldest(&self.connection)?);
        let File { events, .. } = self.file;
        if has_rows != (self.file.points() > 0) || oldest_event.is_some() != (events > 0) {
            // A flipped bit, or an agent that counted wrongly.
            let open = self.file.open.as_ref().map(|open| open.packer.first());
            self.file.events = rows::count(&self.connection)?;
            self.file.meta.closed =
                batches::count_closed(&self.connection, open)? + self.file.events;
        }
        let meta = &self.file.meta;
        let (written_bytes_today, device_bytes_today) = self.wear.today(self.file.newest_utc());
        self.stored = Stored {
            points: self.file.points(),
            has_rows,
            oldest,
            events: StoredEvents { count: self.file.events, oldest: oldest_event, ..known },
            durable,
            gone_to,
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
impl Store {
    /// Moves the log into the database, and forgets what was read of it.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
        self.connection.execute_batch("PRAGMA shrink_memory")
    }

    /// Pages in the log since it was last written back.
    pub(super) fn frames(&self) -> rusqlite::Result<i64> {
        let mut frames = 0;
        self.connection.pragma(None, "wal_checkpoint", "NOOP", |row| {
            frames = row.get(1)?;
            Ok(())
        })?;
        Ok(frames)
    }

    /// Gives back every free page, so that what is damaged is something.
    pub(super) fn pack(&self) -> rusqlite::Result<()> {
        self.shrink()
    }

    /// What a full disk does: `SQLITE_FULL` when the file should grow.
    pub(super) fn limit_pages(&self, pages: i64) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "max_page_count", pages)
    }

    pub(super) fn forbid_writes(&self, forbidden: bool) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "query_only", forbidden)
    }
}
