//! The statements: everything here blocks, and runs on the blocking pool.

use std::io::ErrorKind;
use std::ops::RangeInclusive;

use rusqlite::{Connection, OptionalExtension, TransactionBehavior, params};

use super::damage::set_aside;
use super::rows::{Found, Row, connect, insert, make_room};
use super::schema::{PAGE_BYTES, Refusal, pages, signed, unsigned};
use super::seq_file::{self, Reservation};
use super::{OutboxConfig, OutboxError, OutboxStats};
use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq};
use crate::units::UtcTime;
use crate::wire::stored;

/// `Seq`s that are reserved at once; the next block is reserved when less than half of this one remains.
pub(super) const BLOCK: u64 = 10_000;

/// Rows that are inserted between two looks at the room that is left.
const CHUNK: usize = 64;

/// Free pages that are given back when the outbox has become empty: below this the file stays, to be used again.
const SHRINK_FROM_PAGES: u64 = 1024;

/// Pages that are given back at once, so that a stop does not take long.
const SHRINK_BY_PAGES: i64 = 4096;

/// The format of the saved [`JourneyState`].
const STATE_VERSION: u8 = 1;

/// What goes on when a file had to be replaced while the agent runs.
#[derive(Clone, Copy, Debug)]
pub(super) enum Start {
    /// The agent starts: counts a session, and reserves.
    Agent,
    /// The same run goes on in another file.
    Resumed {
        /// Session and reservation of this run.
        reservation: Reservation,
        /// The highest `Seq` that this run committed.
        last_committed: Seq,
    },
}

#[derive(Debug)]
pub(super) struct Store {
    config: OutboxConfig,
    connection: Connection,
    reservation: Reservation,
    /// Whether `<path>.seq` is behind the database.
    copy_is_behind: bool,
    /// The highest `Seq` before this run.
    pub used_before: Seq,
    /// What the last commit saved, encoded.
    state: Vec<u8>,
    pub stats: OutboxStats,
}

impl Store {
    /// Opens the file; one that is damaged is set aside, and a new one takes its place.
    pub(super) fn open(config: &OutboxConfig, start: Start) -> Result<Self, OutboxError> {
        let path = &config.path;
        let opened = match connect(config) {
            Err(Refusal::Damaged(error)) => {
                set_aside(path, &error)
                    .map_err(|source| OutboxError::Unusable { path: path.clone(), source })?;
                connect(config)
            }
            other => other,
        };
        let (connection, found) = opened.map_err(|refusal| match refusal {
            Refusal::Stop(error) => error,
            Refusal::Damaged(error) => OutboxError::degraded(path, error),
        })?;
        Self::begin(config, connection, found, start)
    }

    fn begin(
        config: &OutboxConfig,
        connection: Connection,
        found: Found,
        start: Start,
    ) -> Result<Self, OutboxError> {
        let degraded = |error| OutboxError::degraded(&config.path, error);
        let copy = seq_file::read(&config.path).unwrap_or(Reservation::NONE);
        let before = found.reservation.max(copy);
        let before = Reservation { reserved: before.reserved.max(found.newest), ..before };
        let (reservation, last_committed) = match start {
            Start::Agent => {
                let reserved = Seq::new(before.reserved.get() + BLOCK);
                (Reservation { reserved, session: before.session + 1 }, before.reserved)
            }
            Start::Resumed { reservation, last_committed } => {
                (reservation.max(before), last_committed)
            }
        };
        // The copy first: then it is never behind a database that is lost later.
        seq_file::write(&config.path, reservation).map_err(|source| match source.kind() {
            ErrorKind::StorageFull => OutboxError::degraded(&config.path, source),
            _ => OutboxError::Unusable { path: config.path.clone(), source },
        })?;
        connection
            .execute(
                "UPDATE meta SET session = ?1, seq_reserved = ?2",
                params![signed(reservation.session), signed(reservation.reserved.get())],
            )
            .map_err(degraded)?;
        let mut store = Self {
            config: config.clone(),
            connection,
            reservation,
            copy_is_behind: false,
            used_before: before.reserved,
            state: found.state,
            stats: OutboxStats {
                pending: found.pending,
                last_committed,
                reserved: reservation.reserved,
                dropped: found.dropped,
                oldest: None,
                bytes: 0,
            },
        };
        store.look().map_err(degraded)?;
        Ok(store)
    }

    pub(super) const fn reservation(&self) -> Reservation {
        self.reservation
    }

    /// The state of the last commit; the default in a new file.
    pub(super) fn state(&self) -> JourneyState {
        match self.state.as_slice() {
            [] => JourneyState::default(),
            [STATE_VERSION, body @ ..] => postcard::from_bytes(body).unwrap_or_else(|error| {
                tracing::warn!(%error, "saved journey state is damaged, beginning anew");
                JourneyState::default()
            }),
            [version, ..] => {
                tracing::warn!(
                    version,
                    "saved journey state is newer than this agent, beginning anew"
                );
                JourneyState::default()
            }
        }
    }

    /// Records, state and reservation in one transaction.
    pub(super) fn commit(
        &mut self,
        records: &[Record],
        state: &JourneyState,
        given_up: u64,
    ) -> rusqlite::Result<()> {
        let state = postcard::to_extend(state, vec![STATE_VERSION])
            .expect("a state has no length that could be unknown");
        let used = records.last().map_or(Seq::ZERO, |record| record.seq);
        let reserved = self.extended(used);
        let news = given_up > 0 || state != self.state || reserved != self.reservation.reserved;
        if records.is_empty() && !news {
            return Ok(());
        }
        self.write_copy(reserved);
        let max_pages = self.config.max_pages();
        let (mut pending, mut dropped) = (self.stats.pending, self.stats.dropped + given_up);
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        for chunk in records.chunks(CHUNK) {
            let rows: Vec<_> = chunk.iter().map(Row::of).collect();
            let evicted = make_room(&transaction, &rows, max_pages, pending)?;
            dropped += evicted;
            pending = pending.saturating_sub(evicted) + insert(&transaction, &rows)?;
        }
        transaction.execute(
            "UPDATE meta SET seq_reserved = ?1, pending = ?2, dropped = ?3, state = ?4",
            params![signed(reserved.get()), signed(pending), signed(dropped), state],
        )?;
        transaction.commit()?;
        self.state = state;
        self.reservation.reserved = reserved;
        self.stats.last_committed = self.stats.last_committed.max(used);
        self.stats = OutboxStats { pending, dropped, reserved, ..self.stats };
        self.look()
    }

    /// Notes whose records these are; the other van, if records of one wait.
    pub(super) fn claim(&mut self, van: &str) -> rusqlite::Result<Option<String>> {
        let owner: String =
            self.connection.query_row("SELECT van FROM meta", [], |row| row.get(0))?;
        if self.stats.pending > 0 && !owner.is_empty() && owner != van {
            return Ok(Some(owner));
        }
        if owner != van {
            self.connection.execute("UPDATE meta SET van = ?1", params![van])?;
        }
        Ok(None)
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
        if reserved > self.reservation.reserved {
            self.write_copy(reserved);
            self.connection
                .execute("UPDATE meta SET seq_reserved = ?1", params![signed(reserved.get())])?;
            self.reservation.reserved = reserved;
            self.stats.reserved = reserved;
        }
        Ok(())
    }

    /// The records after `seq` in order, at most `limit`. What cannot be decoded is moved out of the way.
    pub(super) fn after(
        &mut self,
        seq: Seq,
        until: Option<Seq>,
        limit: usize,
    ) -> rusqlite::Result<Vec<Record>> {
        let until = until.map_or(i64::MAX, |until| signed(until.get()));
        let mut records = Vec::new();
        let mut after = signed(seq.get());
        while records.len() < limit {
            let rows = self.rows(after, until, limit - records.len())?;
            let Some((newest, _)) = rows.last() else { break };
            after = *newest;
            let mut unreadable = Vec::new();
            for (seq, bytes) in rows {
                match stored::decode(&bytes) {
                    Ok(subject) => records.push(Record { seq: Seq::new(unsigned(seq)), subject }),
                    Err(error) => unreadable.push((seq, error)),
                }
            }
            self.move_away(&unreadable)?;
        }
        Ok(records)
    }

    /// Forgets what has arrived.
    pub(super) fn remove(&mut self, ranges: &[RangeInclusive<Seq>]) -> rusqlite::Result<()> {
        let transaction =
            self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut removed = 0;
        for range in ranges {
            removed += transaction
                .prepare("DELETE FROM record WHERE seq BETWEEN ?1 AND ?2")?
                .execute([signed(range.start().get()), signed(range.end().get())])?;
        }
        let pending = self.stats.pending.saturating_sub(removed as u64);
        transaction.execute("UPDATE meta SET pending = ?1", params![signed(pending)])?;
        transaction.commit()?;
        self.stats.pending = pending;
        if pending == 0 && pages(&self.connection, "freelist_count")? > SHRINK_FROM_PAGES {
            self.shrink()?;
        }
        self.look()
    }

    /// Everything into the one file, and closes it.
    pub(super) fn close(self) -> Result<(), rusqlite::Error> {
        self.shrink()?;
        self.connection.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))?;
        self.connection.close().map_err(|(_, error)| error)
    }

    /// The mark that leaves at least half a block after `used`.
    fn extended(&self, used: Seq) -> Seq {
        let reserved = self.reservation.reserved;
        let left = reserved.get().saturating_sub(used.get());
        if left >= BLOCK / 2 { reserved } else { Seq::new(used.get().saturating_add(BLOCK)) }
    }

    /// A copy that cannot be written is no reason to lose a record: the database has the mark too.
    fn write_copy(&mut self, reserved: Seq) {
        if reserved <= self.reservation.reserved && !self.copy_is_behind {
            return;
        }
        let copy = Reservation { reserved, ..self.reservation };
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

    fn rows(&self, after: i64, until: i64, limit: usize) -> rusqlite::Result<Vec<(i64, Vec<u8>)>> {
        self.connection
            .prepare(
                "SELECT seq, subject FROM record WHERE seq > ?1 AND seq <= ?2 ORDER BY seq LIMIT ?3",
            )?
            .query_map(params![after, until, signed(limit as u64)], |row| {
                Ok((row.get(0)?, row.get(1)?))
            })?
            .collect()
    }

    fn move_away(&mut self, rows: &[(i64, stored::StoredError)]) -> rusqlite::Result<()> {
        let Some((seq, error)) = rows.first() else { return Ok(()) };
        tracing::warn!(seq, count = rows.len(), %error, "stored records cannot be read, kept aside");
        let pending = self.stats.pending.saturating_sub(rows.len() as u64);
        let transaction = self.connection.transaction()?;
        for (seq, _) in rows {
            transaction.execute(
                "INSERT OR REPLACE INTO unreadable SELECT * FROM record WHERE seq = ?1",
                [seq],
            )?;
            transaction.execute("DELETE FROM record WHERE seq = ?1", [seq])?;
        }
        transaction.execute("UPDATE meta SET pending = ?1", params![signed(pending)])?;
        transaction.commit()?;
        self.stats.pending = pending;
        self.look()
    }

    fn shrink(&self) -> rusqlite::Result<()> {
        // It frees a page at each step, so every row must be asked for.
        self.connection.pragma(None, "incremental_vacuum", SHRINK_BY_PAGES, |_| Ok(()))
    }

    /// What the statistics say of the file itself.
    fn look(&mut self) -> rusqlite::Result<()> {
        let oldest: Option<i64> = self
            .connection
            .prepare("SELECT utc_ms FROM record ORDER BY seq LIMIT 1")?
            .query_row([], |row| row.get(0))
            .optional()?;
        self.stats.oldest = oldest.and_then(UtcTime::from_unix_ms);
        self.stats.bytes = pages(&self.connection, "page_count")? * PAGE_BYTES;
        Ok(())
    }
}

#[cfg(test)]
impl Store {
    /// Moves the log into the database.
    pub(super) fn checkpoint(&self) -> rusqlite::Result<()> {
        self.connection.pragma(None, "wal_checkpoint", "TRUNCATE", |_| Ok(()))
    }

    /// What a full disk does: `SQLITE_FULL` when the file should grow.
    pub(super) fn limit_pages(&self, pages: i64) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "max_page_count", pages)
    }
    pub(super) fn forbid_writes(&self, forbidden: bool) -> rusqlite::Result<()> {
        self.connection.pragma_update(None, "query_only", forbidden)
    }
}
