//! Durable outbox for track points and events, on SQLite. Records stay until the backend has them.
//!
//! - **Durability.** An accepted record is at once in memory and in a tmpfs journal, and may be
//!   sent. An unacknowledged record is on flash after [`OutboxConfig::commit_after`]; a change of
//!   motion is on flash at once. A power cut loses only younger records; a kill loses nothing. A
//!   record that is acknowledged in time causes no flash writes.
//! - **Events.** An event and the documents that changed with it are committed at once, in *one*
//!   transaction, and cannot be read before. Points and events share only their numbers.
//! - Records and the trip state behind them are committed in *one* transaction.
//! - A `Seq` is never reused. The pipeline assigns numbers in memory, and a number may be published
//!   before its record is committed. Blocks of numbers are therefore reserved durably in advance
//!   (hi-lo), in the database and in a copy beside it (`<path>.seq`). A run starts above the
//!   highest reservation. An orderly stop returns no numbers, because they are plentiful.
//! - Acknowledged records are no longer read. The next insert deletes them, or a separate
//!   transaction if there are many.
//! - Size and age of the database are limited. The oldest track points are thinned before any are
//!   evicted, and events are evicted last. Both are counted.
//! - If the disk rejects writes, records stay in memory and are sent from there. A damaged file is
//!   quarantined, at startup or while running, and its readable content is copied to a new one.
//! - One process owns the file. All SQLite calls run one at a time on Tokio's blocking pool. A call
//!   that has started is completed even if its caller is dropped.
//!
//! `docs/outbox.md` describes the format, the measurements and the operation.

mod ballast;
mod buffers;
mod config;
mod database;
mod error;
mod event_access;
mod event_buffer;
mod event_rows;
mod file_state;
pub mod flash_wear;
mod journey_codec;
mod open;
mod quarantine;
mod read;
mod record_codec;
mod retention;
mod salvage;
mod schema;
mod seq_file;
mod seq_ranges;
mod state_docs;
#[cfg(test)]
pub(crate) mod tests;
mod tmpfs_journal;
mod track_rows;
mod worker;
mod write_batch;
mod write_buffer;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::sync::watch;

use buffers::Buffers;
pub use config::{OutboxConfig, OutboxStats};
use database::{Database, OwnershipCheck, StartReason};
pub use error::OutboxError;
use event_buffer::EventBuffer;
pub use state_docs::StoredDoc;
use tmpfs_journal::TmpfsJournal;
use waypost_model::motion::TripState;
use waypost_model::record::{Record, Seq};
use waypost_model::units::Uptime;
use waypost_wire::VanId;
use worker::{DatabaseState, spawn_blocking};
use write_buffer::WriteBuffer;

/// A handle to the outbox. Clones share the same outbox.
#[derive(Clone, Debug)]
pub struct Outbox {
    config: Arc<OutboxConfig>,
    /// A Tokio mutex, because it is fair: calls run in the order in which they were made.
    database: Arc<tokio::sync::Mutex<DatabaseState>>,
    /// Never held during disk I/O.
    buffers: Arc<Mutex<Buffers>>,
    stats: Arc<watch::Sender<OutboxStats>>,
    /// State at startup.
    startup: Arc<StartupState>,
    /// The van that owns the records, once it is known.
    van: Arc<OnceLock<String>>,
}

#[derive(Debug)]
struct StartupState {
    session: u64,
    first_seq: Seq,
    restored: TripState,
    receiver_baud: Option<u32>,
    /// The van whose journal was restored.
    journal_van: String,
}

impl Outbox {
    /// Opens or creates the database, restores the journal of an earlier run, counts this start and
    /// reserves the first block of `Seq`s.
    ///
    /// # Errors
    /// Any [`OutboxError`] except `Closed`. A damaged database is quarantined and a journal that
    /// cannot be used is ignored; neither is an error.
    pub async fn open(config: OutboxConfig) -> Result<Self, OutboxError> {
        let opened = config.clone();
        let (store, tail, begin) = spawn_blocking(move || open_blocking(&opened)).await?;
        Ok(Self {
            config: Arc::new(config),
            stats: Arc::new(watch::Sender::new(tail.stats())),
            database: Arc::new(tokio::sync::Mutex::new(DatabaseState::Open(Box::new(store)))),
            buffers: Arc::new(Mutex::new(tail)),
            startup: Arc::new(begin),
            van: Arc::default(),
        })
    }

    /// Number of this agent start, from 1.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.startup.session
    }

    /// First `Seq` of this run.
    #[must_use]
    pub fn first_seq(&self) -> Seq {
        self.startup.first_seq
    }

    /// Newest trip state of an earlier run. The default for a new database.
    #[must_use]
    pub fn restored_state(&self) -> TripState {
        self.startup.restored
    }

    /// Last working baud rate of the receiver, as of opening the database.
    #[must_use]
    pub fn receiver_baud(&self) -> Option<u32> {
        self.startup.receiver_baud
    }

    /// Stores the working baud rate of the receiver. Writes only if it changed.
    ///
    /// # Errors
    /// `Degraded` if it was not stored. Baud-rate detection then takes longer at the next start.
    pub async fn store_receiver_baud(&self, baud: u32) -> Result<(), OutboxError> {
        self.run(move |store| store.remember_receiver_baud(baud)).await
    }

    /// Subscribes to the statistics.
    #[must_use]
    pub fn stats(&self) -> watch::Receiver<OutboxStats> {
        self.stats.subscribe()
    }

    /// Accepts `records` in ascending order, and the `state` after them. They may be sent at once,
    /// and survive a kill if there is a journal. Records whose numbers are not above all earlier
    /// ones are ignored as known.
    ///
    /// This call does not wait for the disk. [`Self::flush_due`] returns when a transaction should
    /// follow.
    pub fn accept(&self, records: &[Record], state: &TripState, now: Uptime) {
        debug_assert!(
            records.is_sorted_by(|a, b| a.seq < b.seq),
            "records must be in ascending order"
        );
        let mut tail = self.lock_buffers();
        let Buffers { points: memory, journal, .. } = &mut *tail;
        let given_up_before = memory.evictions();
        let fresh = memory.accept(records, state, now);
        if given_up_before == 0 && memory.evictions() > 0 {
            tracing::error!("outbox writes too slowly: oldest records in memory evicted");
        }
        if let Some(file) = journal.as_mut().filter(|_| !fresh.is_empty()) {
            file.append(fresh, state, || memory.unsaved().0);
        }
        self.publish_stats(&tail);
    }

    /// Highest number of points that may be read: accepted and reserved.
    #[must_use]
    pub fn readable(&self) -> Seq {
        let stats = self.stats.borrow();
        stats.newest.min(stats.reserved)
    }

    /// When the next [`Self::flush`] is due. A past time means now; `None` means that nothing
    /// waits.
    #[must_use]
    pub fn flush_due(&self) -> Option<Uptime> {
        let tail = self.lock_buffers();
        let points = tail.points.due(self.config.commit_after, database::SEQ_BLOCK);
        [points, tail.events.due()].into_iter().flatten().min()
    }

    /// Whether the next [`Self::flush`] should run at once: after a departure, a halt or an event.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        let tail = self.lock_buffers();
        tail.points.is_urgent() || tail.events.due().is_some()
    }

    /// Number of accepted records that are neither acknowledged nor on flash.
    #[must_use]
    pub fn unsaved_count(&self) -> usize {
        let tail = self.lock_buffers();
        tail.points.unsaved_count() + tail.events.unsaved_count()
    }

    /// Whether all records and the trip state are on flash or acknowledged.
    #[must_use]
    pub fn is_durable(&self) -> bool {
        let Buffers { points: memory, events, .. } = &*self.lock_buffers();
        memory.is_durable() && memory.is_state_durable() && events.is_durable()
    }

    /// Commits all buffered records and deletes acknowledged ones.
    ///
    /// # Errors
    /// `Degraded` if nothing was written. No record is lost; call again later.
    pub async fn flush(&self) -> Result<(), OutboxError> {
        self.transact(true).await
    }

    /// Like [`Self::flush`], but leaves out points that are not due by `now`. An event thus does
    /// not cause flash writes for points that may be acknowledged in time.
    ///
    /// # Errors
    /// `Degraded`, as for [`Self::flush`].
    pub async fn flush_by(&self, now: Uptime) -> Result<(), OutboxError> {
        let points_due =
            self.lock_buffers().points.due(self.config.commit_after, database::SEQ_BLOCK);
        self.transact(points_due.is_some_and(|due| due <= now)).await
    }

    /// Calls [`Self::accept`] and [`Self::flush`].
    ///
    /// # Errors
    /// `Degraded`, as for [`Self::flush`]. The records are accepted even then.
    pub async fn commit(&self, records: Vec<Record>, state: TripState) -> Result<(), OutboxError> {
        self.accept(&records, &state, Uptime::ZERO);
        self.flush().await
    }

    /// Claims the outbox for `van`. A backlog must not be sent under another van's name.
    ///
    /// # Errors
    /// `OtherVan` if records of another van are pending, or `Degraded`.
    pub async fn claim(&self, van: &VanId) -> Result<(), OutboxError> {
        let (name, tail) = (van.to_string(), self.startup.journal_van.clone());
        let waiting = self.lock_buffers().points.unsaved_count() as u64;
        match self.run(move |store| store.claim(&name, (&tail, waiting))).await? {
            claim @ (OwnershipCheck::Ours | OwnershipCheck::TakenOver) => {
                let mut tail = self.lock_buffers();
                if let Some(file) = &mut tail.journal {
                    file.claim(van.as_str());
                }
                if let OwnershipCheck::TakenOver = claim {
                    tail.documents.clear();
                    tail.events.clear_documents();
                }
                // A second claim by this process is for the same van.
                drop(self.van.set(van.to_string()));
                Ok(())
            }
            OwnershipCheck::OwnedByOther(other) => Err(OutboxError::OtherVan {
                path: self.config.path.clone(),
                other,
                van: van.to_string(),
                pending: self.stats.borrow().pending,
            }),
        }
    }

    /// Reserves `used` and several thousand numbers above it. Most calls find them reserved.
    ///
    /// # Errors
    /// `Degraded`: do not publish above [`OutboxStats::reserved`], and call again.
    pub async fn reserve(&self, used: Seq) -> Result<(), OutboxError> {
        let reserved = self.stats.borrow().reserved.get();
        if reserved.saturating_sub(used.get()) >= database::SEQ_BLOCK / 2 {
            return Ok(());
        }
        self.with_timeout(self.run(move |store| store.reserve(used))).await
    }

    /// Reads at most `limit` points above `seq` and up to `until`, in ascending order. An empty
    /// result means that there are no more. Unreserved and acknowledged numbers are left out.
    ///
    /// # Errors
    /// `Degraded` if the disk fails or is busy for more than 2 s. Try again.
    pub async fn records_after(
        &self,
        seq: Seq,
        until: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Record>, OutboxError> {
        loop {
            let (in_file, records, arrived) = {
                let memory = &self.lock_buffers().points;
                (
                    memory.in_file(seq),
                    memory.records_after(seq, until, limit),
                    memory.acked_ranges(),
                )
            };
            let Some(floor) = in_file else { return Ok(records) };
            let to = until.map_or(floor, |until| until.min(floor));
            let read = move |store: &mut Database| store.records_after(seq, to, limit, &arrived);
            let mut stored = self.with_timeout(self.run(read)).await?;
            if stored.len() == limit || to < floor {
                return Ok(stored);
            }
            let memory = &self.lock_buffers().points;
            if memory.file_only_to() == floor {
                stored.extend(memory.records_after(floor, until, limit - stored.len()));
                return Ok(stored);
            }
            // Some records left the memory meanwhile and are missing from the result. Read again.
        }
    }

    /// Marks the points of `range` as acknowledged. Call it only after a PUBACK that confirms them.
    /// They are no longer read, and the next transaction deletes those on flash. This call does not
    /// wait for the disk.
    pub fn acknowledge(&self, range: &RangeInclusive<Seq>) {
        let mut tail = self.lock_buffers();
        tail.points.acknowledge(range);
        tail.clear_journal_if_durable();
        self.publish_stats(&tail);
    }

    /// Whether acknowledged records are still on flash.
    #[must_use]
    pub fn has_acked_rows(&self) -> bool {
        let tail = self.lock_buffers();
        tail.points.has_acked() || tail.events.has_acked()
    }

    /// Deletes acknowledged records in a transaction of its own, if there are many or no insert
    /// follows.
    ///
    /// # Errors
    /// `Degraded` if nothing was deleted. Try again later.
    pub async fn delete_acked(&self) -> Result<(), OutboxError> {
        if !self.has_acked_rows() {
            return Ok(());
        }
        self.with_timeout(self.transact(false)).await
    }

    /// Commits all buffered records and closes the database, for an orderly stop. Every handle then
    /// returns `Closed`.
    ///
    /// # Errors
    /// `Degraded`: the database is left as after a power cut, and uncommitted records stay in the
    /// journal.
    pub async fn close(&self) -> Result<(), OutboxError> {
        let mut slot = self.database.clone().lock_owned().await;
        let this = self.clone();
        spawn_blocking(move || {
            let committed = match *slot {
                DatabaseState::Closed => return Ok(()),
                DatabaseState::Open(_) | DatabaseState::Broken => this.transaction(&mut slot, true),
            };
            let closed = match std::mem::replace(&mut *slot, DatabaseState::Closed) {
                DatabaseState::Open(store) => {
                    store.close().map_err(|error| OutboxError::degraded(&this.config.path, error))
                }
                DatabaseState::Broken | DatabaseState::Closed => Ok(()),
            };
            committed.and(closed)
        })
        .await
    }

    fn lock_buffers(&self) -> MutexGuard<'_, Buffers> {
        self.buffers.lock().expect(LOCK)
    }

    fn publish_stats(&self, tail: &Buffers) {
        let now = tail.stats();
        self.stats.send_if_modified(|stats| std::mem::replace(stats, now) != now);
    }
}

const LOCK: &str = "no holder of the lock can panic";

fn open_blocking(config: &OutboxConfig) -> Result<(Database, Buffers, StartupState), OutboxError> {
    // The journal is read before the database is opened, because its numbers are needed there. It
    // is restored afterwards, because the database decides which records are new.
    let tail_file =
        config.journal_path.as_deref().and_then(|tail| TmpfsJournal::open(tail, &config.path));
    let (file, left) = tail_file.unzip();
    let left = left.unwrap_or_default();
    let start = StartReason::Agent { newest_in_journal: left.newest };
    let mut store = Database::open(config, start)?;
    let mut memory = WriteBuffer::new(store.stats, store.state(), store.used_before);
    let taken = memory.restore(&left.records, left.newest, left.state);
    if taken > 0 {
        tracing::info!(records = taken, "records restored from the journal of the last run");
    }
    let begin = StartupState {
        session: store.reservation().session,
        first_seq: store.used_before.next(),
        restored: memory.unsaved().1,
        journal_van: left.van,
        // Only a starting point for baud-rate detection: an unreadable value counts as unknown.
        receiver_baud: store.receiver_baud().unwrap_or_default(),
    };
    let documents = store.take_documents();
    let (stored, max_bytes) = (store.stats, config.max_pages() * schema::PAGE_BYTES);
    let events = EventBuffer::new(stored.events, stored.reserved, &documents, max_bytes);
    Ok((store, Buffers { points: memory, journal: file, events, documents }, begin))
}
