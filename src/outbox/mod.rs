//! ③ KEEP: [`Record`], [`EventRecord`](crate::core::delivery::EventRecord) → SQLite → the same: what was accepted stays
//! until the backend has it.
//!
//! - **Promise.** A record that was accepted is in memory and in a file on tmpfs at once, and may be sent. What is
//!   [`OutboxConfig::commit_after`] old and not acknowledged is on flash; a change of motion is on flash at once. A power
//!   cut costs at most what is younger; a kill costs nothing. What is acknowledged in time never costs the card a byte.
//! - **Events.** An event and the documents that changed with it are committed in *one* transaction, at once, and are not
//!   seen before. Points and events share their numbers and nothing else.
//! - Records and the journey state that they came from are committed in *one* transaction.
//! - A `Seq` is never used twice. The pipeline gives them out in memory, and one may be published before it is committed;
//!   so blocks of them are reserved durably beforehand (hi-lo), in the database and in a copy beside it (`<path>.seq`).
//!   A run begins after the highest mark. An orderly stop gives nothing back: numbers are not scarce.
//! - What has arrived is deleted with the next insert, or when it is much; until then it is not read any more.
//! - The file is bounded in size and age. The oldest of the trail is thinned before it goes, events go last, and all of it
//!   is counted.
//! - A disk that does not write keeps the records in memory, and the relay goes on from there. A damaged file is set
//!   aside, at the start and while running, and what can be read of it goes into a new one.
//! - One process owns the file. All SQLite work runs on tokio's blocking pool, one call after the other, and a call that
//!   has begun is finished, also when its caller has gone.
//!
//! `docs/outbox.md` has the format, the figures and the operation.

mod ballast;
mod batches;
mod config;
mod damage;
mod delivery;
mod documents;
mod error;
mod events;
mod file;
mod migrate;
mod opening;
mod ranges;
mod reading;
mod retention;
mod rows;
mod salvage;
mod schema;
mod seq_file;
mod slot;
mod state;
mod store;
mod tail;
mod tail_file;
mod tails;
#[cfg(test)]
pub(crate) mod tests;
mod transaction;
pub mod wear;

use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};

use tokio::sync::watch;

use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq};
use crate::units::Uptime;
use crate::wire::VanId;
pub use config::{OutboxConfig, OutboxStats};
pub use documents::Document;
pub use error::OutboxError;
use events::Events;
use slot::{Slot, on_pool};
use store::{Claim, Start, Store};
use tail::Tail;
use tail_file::TailFile;
use tails::Tails;

/// A handle to the outbox; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Outbox {
    config: Arc<OutboxConfig>,
    /// An asynchronous lock, because it is fair: calls run in the order in which they were made.
    slot: Arc<tokio::sync::Mutex<Slot>>,
    /// Never held while the disk works.
    tail: Arc<Mutex<Tails>>,
    stats: Arc<watch::Sender<OutboxStats>>,
    /// What this run began with.
    begin: Arc<Begin>,
    /// Whose records these are, once that is known.
    van: Arc<OnceLock<String>>,
}

#[derive(Debug)]
struct Begin {
    session: u64,
    first_seq: Seq,
    restored: JourneyState,
    receiver_baud: Option<u32>,
    /// The van whose tail was taken over.
    van_of_tail: String,
}

impl Outbox {
    /// Opens or creates the file, takes over what an earlier run left in the tail file, counts this start, and reserves
    /// the first block of `Seq`s.
    ///
    /// # Errors
    /// Any [`OutboxError`] but `Closed`. A damaged file is none: it is set aside. A tail file that cannot be used is none
    /// either.
    pub async fn open(config: OutboxConfig) -> Result<Self, OutboxError> {
        let opened = config.clone();
        let (store, tail, begin) = on_pool(move || begin(&opened)).await?;
        Ok(Self {
            config: Arc::new(config),
            stats: Arc::new(watch::Sender::new(tail.stats())),
            slot: Arc::new(tokio::sync::Mutex::new(Slot::Open(Box::new(store)))),
            tail: Arc::new(Mutex::new(tail)),
            begin: Arc::new(begin),
            van: Arc::default(),
        })
    }

    /// Which start of the agent this is, from 1.
    #[must_use]
    pub fn session(&self) -> u64 {
        self.begin.session
    }

    /// The first `Seq` that this run may use.
    #[must_use]
    pub fn first_seq(&self) -> Seq {
        self.begin.first_seq
    }

    /// The newest state that an earlier run left; the default in a new file.
    #[must_use]
    pub fn restored(&self) -> JourneyState {
        self.begin.restored
    }

    /// The speed at which the receiver was understood last, in Bd, as it was when the file was opened.
    #[must_use]
    pub fn receiver_baud(&self) -> Option<u32> {
        self.begin.receiver_baud
    }

    /// Keeps the speed at which the receiver is understood; writes only when it is another one.
    ///
    /// # Errors
    /// `Degraded`: not kept; the next start hunts a little longer.
    pub async fn remember_receiver_baud(&self, baud: u32) -> Result<(), OutboxError> {
        self.run(move |store| store.remember_receiver_baud(baud)).await
    }

    /// What the outbox holds, now and at each change.
    #[must_use]
    pub fn stats(&self) -> watch::Receiver<OutboxStats> {
        self.stats.subscribe()
    }

    /// Takes `records`, in ascending order, with the `state` after them: they may be sent at once, and outlive the process
    /// if there is a tail file. Those whose numbers are not above all earlier ones are known already.
    ///
    /// Nothing of this waits for the disk. [`Self::flush_due`] says when a transaction should follow.
    pub fn accept(&self, records: &[Record], state: &JourneyState, now: Uptime) {
        debug_assert!(records.is_sorted_by(|a, b| a.seq < b.seq), "records ascend");
        let mut tail = self.tail();
        let Tails { memory, file, .. } = &mut *tail;
        let given_up_before = memory.given_up();
        let fresh = memory.accept(records, state, now);
        if given_up_before == 0 && memory.given_up() > 0 {
            tracing::error!("outbox does not keep up, giving up the oldest records in memory");
        }
        if let Some(file) = file.as_mut().filter(|_| !fresh.is_empty()) {
            file.append(fresh, state, || memory.to_keep().0);
        }
        self.publish(&tail);
    }

    /// Up to which number points may be read: accepted, and reserved.
    #[must_use]
    pub fn readable(&self) -> Seq {
        let stats = self.stats.borrow();
        stats.newest.min(stats.reserved)
    }

    /// When the next [`Self::flush`] is due; a time that has passed is now, and none is not until something happens.
    #[must_use]
    pub fn flush_due(&self) -> Option<Uptime> {
        let tail = self.tail();
        let points = tail.memory.due(self.config.commit_after, store::BLOCK);
        [points, tail.events.due()].into_iter().flatten().min()
    }

    /// Whether the next [`Self::flush`] should not wait for its turn: a departure, a halt, an event.
    #[must_use]
    pub fn is_urgent(&self) -> bool {
        let tail = self.tail();
        tail.memory.is_urgent() || tail.events.due().is_some()
    }

    /// How many records are accepted, not acknowledged and not on flash.
    #[must_use]
    pub fn waiting(&self) -> usize {
        let tail = self.tail();
        tail.memory.waiting() + tail.events.waiting()
    }

    /// Whether everything is on flash or acknowledged, and the state too.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        let Tails { memory, events, .. } = &*self.tail();
        memory.is_safe() && memory.state_is_safe() && events.is_safe()
    }

    /// Commits everything that waits, and deletes what has arrived.
    ///
    /// # Errors
    /// `Degraded`: nothing was written, and nothing is lost; call again later.
    pub async fn flush(&self) -> Result<(), OutboxError> {
        self.transact(true).await
    }

    /// [`Self::flush`], but without the points if they are not due by `now`: an event does not make them cost flash that
    /// may arrive in time.
    ///
    /// # Errors
    /// As [`Self::flush`].
    pub async fn flush_by(&self, now: Uptime) -> Result<(), OutboxError> {
        let points_due = self.tail().memory.due(self.config.commit_after, store::BLOCK);
        self.transact(points_due.is_some_and(|due| due <= now)).await
    }

    /// [`Self::accept`] and [`Self::flush`].
    ///
    /// # Errors
    /// As [`Self::flush`]; the records are accepted all the same.
    pub async fn commit(
        &self,
        records: Vec<Record>,
        state: JourneyState,
    ) -> Result<(), OutboxError> {
        self.accept(&records, &state, Uptime::ZERO);
        self.flush().await
    }

    /// Makes sure that what waits here is `van`'s: a backlog must not go out under another van's name.
    ///
    /// # Errors
    /// `OtherVan`, if records of another van wait; `Degraded`.
    pub async fn claim(&self, van: &VanId) -> Result<(), OutboxError> {
        let (name, tail) = (van.to_string(), self.begin.van_of_tail.clone());
        let waiting = self.tail().memory.waiting() as u64;
        match self.run(move |store| store.claim(&name, (&tail, waiting))).await? {
            claim @ (Claim::Ours | Claim::TakenOver) => {
                let mut tail = self.tail();
                if let Some(file) = &mut tail.file {
                    file.claim(van.as_str());
                }
                if let Claim::TakenOver = claim {
                    tail.documents.clear();
                    tail.events.forget_documents();
                }
                // A second claim is the first one's.
                drop(self.van.set(van.to_string()));
                Ok(())
            }
            Claim::Refused(other) => Err(OutboxError::OtherVan {
                path: self.config.path.clone(),
                other,
                van: van.to_string(),
                pending: self.stats.borrow().pending,
            }),
        }
    }

    /// Makes sure that `used` and some thousands after it are reserved; most calls find that they are.
    ///
    /// # Errors
    /// `Degraded`: do not publish what is above [`OutboxStats::reserved`], and call again.
    pub async fn reserve(&self, used: Seq) -> Result<(), OutboxError> {
        let reserved = self.stats.borrow().reserved.get();
        if reserved.saturating_sub(used.get()) >= store::BLOCK / 2 {
            return Ok(());
        }
        self.in_time(self.run(move |store| store.reserve(used))).await
    }

    /// At most `limit` records above `seq`, and up to `until`, ascending; none only if there are no more. Records whose
    /// numbers are not reserved, and those that have arrived, are not among them.
    ///
    /// # Errors
    /// `Degraded`: try again; also when the disk is busy for long.
    pub async fn after(
        &self,
        seq: Seq,
        until: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Record>, OutboxError> {
        loop {
            let (in_file, records, arrived) = {
                let memory = &self.tail().memory;
                (memory.in_file(seq), memory.after(seq, until, limit), memory.arrived())
            };
            let Some(floor) = in_file else { return Ok(records) };
            let to = until.map_or(floor, |until| until.min(floor));
            let read = move |store: &mut Store| store.after(seq, to, limit, &arrived);
            let mut stored = self.in_time(self.run(read)).await?;
            if stored.len() == limit || to < floor {
                return Ok(stored);
            }
            let memory = &self.tail().memory;
            if memory.floor() == floor {
                stored.extend(memory.after(floor, until, limit - stored.len()));
                return Ok(stored);
            }
            // Some have left the memory meanwhile, and were not in what was read.
        }
    }

    /// The points of `range` have arrived: only after a PUBACK that says so. They are not read any more, and those that are on flash are
    /// deleted with the next transaction. Nothing of this waits for the disk.
    pub fn acknowledge(&self, range: &RangeInclusive<Seq>) {
        let mut tail = self.tail();
        tail.memory.acknowledge(range);
        tail.empty_file_if_safe();
        self.publish(&tail);
    }

    /// Whether what has arrived is still on flash.
    #[must_use]
    pub fn has_unsettled(&self) -> bool {
        let tail = self.tail();
        tail.memory.has_acked() || tail.events.has_acked()
    }

    /// Deletes what has arrived, in a transaction of its own: when it is much, or nothing new comes.
    ///
    /// # Errors
    /// `Degraded`: nothing was deleted, try again later.
    pub async fn settle(&self) -> Result<(), OutboxError> {
        if !self.has_unsettled() {
            return Ok(());
        }
        self.in_time(self.transact(false)).await
    }

    /// Commits what waits and closes the file, for an orderly stop. Every handle then reports `Closed`.
    ///
    /// # Errors
    /// `Degraded`: the file stays as it would after a power cut, and what was not committed stays in the tail file.
    pub async fn close(&self) -> Result<(), OutboxError> {
        let mut slot = self.slot.clone().lock_owned().await;
        let this = self.clone();
        on_pool(move || {
            let committed = match *slot {
                Slot::Closed => return Ok(()),
                Slot::Open(_) | Slot::Broken => this.transaction(&mut slot, true),
            };
            let closed = match std::mem::replace(&mut *slot, Slot::Closed) {
                Slot::Open(store) => {
                    store.close().map_err(|error| OutboxError::degraded(&this.config.path, error))
                }
                Slot::Broken | Slot::Closed => Ok(()),
            };
            committed.and(closed)
        })
        .await
    }

    fn tail(&self) -> MutexGuard<'_, Tails> {
        self.tail.lock().expect(LOCK)
    }

    fn publish(&self, tail: &Tails) {
        let now = tail.stats();
        self.stats.send_if_modified(|stats| std::mem::replace(stats, now) != now);
    }
}

const LOCK: &str = "no holder of the lock can panic";

fn begin(config: &OutboxConfig) -> Result<(Store, Tails, Begin), OutboxError> {
    // Read before the file is opened, for its numbers; taken over after, for what the file has.
    let tail_file = config.tail_path.as_deref().and_then(|tail| TailFile::open(tail, &config.path));
    let (file, left) = tail_file.unzip();
    let left = left.unwrap_or_default();
    let start = Start::Agent { newest_in_tail: left.newest };
    let mut store = Store::open(config, start)?;
    let mut memory = Tail::new(store.stored, store.state(), store.used_before);
    let taken = memory.take_over(&left.records, left.newest, left.state);
    if taken > 0 {
        tracing::info!(records = taken, "taken over from the tail file of the last run");
    }
    let begin = Begin {
        session: store.reservation().session,
        first_seq: store.used_before.next(),
        restored: memory.to_keep().1,
        van_of_tail: left.van,
        // Only a hint where the hunt begins: what cannot be read is as good as unknown.
        receiver_baud: store.receiver_baud().unwrap_or_default(),
    };
    let documents = store.take_documents();
    let (stored, max_bytes) = (store.stored, config.max_pages() * schema::PAGE_BYTES);
    let events = Events::new(stored.events, stored.reserved, &documents, max_bytes);
    Ok((store, Tails { memory, file, events, documents }, begin))
}
