//! ③ KEEP: [`Record`] → SQLite → [`Record`]: what was accepted stays until the backend has it.
//!
//! - **Promise.** A record that was accepted is in memory and in a file on tmpfs at once, and may be sent. What is
//!   [`OutboxConfig::commit_after`] old and not acknowledged is on flash; what is no point, and a change of motion, is on
//!   flash at once. A power cut costs at most what is younger; a kill costs nothing. What is acknowledged in time never
//!   costs the card a byte.
//! - Records and the journey state that they came from are committed in *one* transaction.
//! - A `Seq` is never used twice. The pipeline gives them out in memory, and one may be published before it is committed;
//!   so blocks of them are reserved durably beforehand (hi-lo), in the database and in a copy beside it (`<path>.seq`).
//!   A run begins after the highest mark. An orderly stop gives nothing back: numbers are not scarce.
//! - What has arrived is deleted with the next insert, or when it is much; until then it is not read any more.
//! - The file is bounded in size and age. The oldest of the trail is thinned before it goes, what is no point goes last,
//!   and all of it is counted.
//! - A disk that does not write keeps the records in memory, and the relay goes on from there. A damaged file is set
//!   aside, at the start and while running, and what can be read of it goes into a new one.
//! - One process owns the file. All SQLite work runs on tokio's blocking pool, one call after the other, and a call that
//!   has begun is finished, also when its caller has gone.
//!
//! `docs/outbox.md` has the format, the figures and the operation.

mod ballast;
mod batches;
mod damage;
mod error;
mod migrate;
mod ranges;
mod retention;
mod rows;
mod salvage;
mod schema;
mod seq_file;
mod state;
mod store;
mod tail;
mod tail_file;
#[cfg(test)]
pub(crate) mod tests;
pub mod wear;

use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, OnceLock};
use std::time::Duration;

use tokio::sync::{OwnedMutexGuard, watch};

use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq};
use crate::tasks::joined;
use crate::units::{Uptime, UtcTime};
use crate::wire::VanId;
pub use error::OutboxError;
use store::{Start, Store};
use tail::{Pending, Tail};
use tail_file::TailFile;

/// How long a reader waits for a disk that is busy: the relay has a live position to send.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// Where the outbox is, what it promises, and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// The database; `-wal`, `.seq`, `.ballast` and `.corrupt-<n>` stand beside it.
    pub path: PathBuf,
    /// A file on tmpfs for what is not committed yet; none if there is no such place.
    pub tail_path: Option<PathBuf>,
    /// What is so old and not acknowledged is on flash. Zero is each fix, in one transaction a second.
    pub commit_after: Duration,
    /// Bytes of the database at most; below [`Self::MIN_BYTES`] it counts as that.
    pub max_bytes: u64,
    /// The newest point is at most so much younger than the oldest.
    pub max_age: Duration,
}

impl OutboxConfig {
    /// 60 days at 1 Hz, day and night.
    pub const DEFAULT_MAX_BYTES: u64 = 64 * 1024 * 1024;
    /// Below this the tables' own pages would be most of the file.
    pub const MIN_BYTES: u64 = 128 * 1024;
    /// What the power may cost.
    pub const DEFAULT_COMMIT_AFTER: Duration = Duration::from_secs(5);
    /// What a backend still wants to know.
    pub const DEFAULT_MAX_AGE: Duration = Duration::from_hours(30 * 24);

    /// With the default sizes and times, and without a tail file.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            tail_path: None,
            commit_after: Self::DEFAULT_COMMIT_AFTER,
            max_bytes: Self::DEFAULT_MAX_BYTES,
            max_age: Self::DEFAULT_MAX_AGE,
        }
    }

    fn max_pages(&self) -> u64 {
        self.max_bytes.max(Self::MIN_BYTES) / schema::PAGE_BYTES
    }
}

/// What the outbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxStats {
    /// Records that wait for their acknowledgement, on flash or not.
    pub pending: u64,
    /// UTC of the one with the lowest `Seq`.
    pub oldest: Option<UtcTime>,
    /// The highest `Seq` that was accepted; before the first of a run, the one before its first.
    pub newest: Seq,
    /// Up to this `Seq`, everything that is not acknowledged is on flash.
    pub durable: Seq,
    /// The highest `Seq` that is reserved: what is above may not be published yet.
    pub reserved: Seq,
    /// Points given up so that the trail is coarser, because the outbox was full, over its life.
    pub thinned: u64,
    /// Records given up because the outbox was full, they were too old, or the disk did not write, over its life.
    pub dropped: u64,
    /// Bytes of the database.
    pub bytes: u64,
    /// Bytes that this process caused to be written since midnight UTC or its start, as the kernel counts.
    pub written_bytes_today: u64,
    /// The same of the whole device that holds the outbox, whoever wrote; none if the kernel does not say.
    pub device_bytes_today: Option<u64>,
}

/// The store as it is now.
#[derive(Debug)]
enum Slot {
    Open(Box<Store>),
    /// The file was damaged, or nobody knows what a failed flush has left of it: it must be opened again.
    Broken,
    Closed,
}

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

/// The tail, twice.
#[derive(Debug)]
struct Tails {
    memory: Tail,
    file: Option<TailFile>,
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
            stats: Arc::new(watch::Sender::new(tail.memory.stats())),
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
        let Tails { memory, file } = &mut *tail;
        let fresh = memory.accept(records, state, now);
        if let Some(file) = file.as_mut().filter(|_| !fresh.is_empty()) {
            file.append(fresh, state, || memory.to_keep().0);
        }
        self.publish(&tail);
    }

    /// Up to which number records may be read: accepted, and reserved.
    #[must_use]
    pub fn readable(&self) -> Seq {
        let stats = self.stats.borrow();
        stats.newest.min(stats.reserved)
    }

    /// When the next [`Self::flush`] is due; a time that has passed is now, and none is not until something happens.
    #[must_use]
    pub fn flush_due(&self) -> Option<Uptime> {
        self.tail().memory.due(self.config.commit_after, store::BLOCK)
    }

    /// How many records are accepted, not acknowledged and not on flash.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.tail().memory.waiting()
    }

    /// Whether everything is on flash or acknowledged, and the state too.
    #[must_use]
    pub fn is_safe(&self) -> bool {
        let memory = &self.tail().memory;
        memory.is_safe() && memory.state_is_safe()
    }

    /// Commits everything that waits, and deletes what has arrived.
    ///
    /// # Errors
    /// `Degraded`: nothing was written, and nothing is lost; call again later.
    pub async fn flush(&self) -> Result<(), OutboxError> {
        self.transact(true).await
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
        let waiting = self.waiting() as u64;
        match self.run(move |store| store.claim(&name, (&tail, waiting))).await? {
            None => {
                if let Some(file) = &mut self.tail().file {
                    file.claim(van.as_str());
                }
                // A second claim is the first one's.
                drop(self.van.set(van.to_string()));
                Ok(())
            }
            Some(other) => Err(OutboxError::OtherVan {
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

    /// These have arrived: only after a PUBACK that says so. They are not read any more, and those that are on flash are
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
        self.tail().memory.has_acked()
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

    async fn transact(&self, with_records: bool) -> Result<(), OutboxError> {
        let mut slot = self.slot.clone().lock_owned().await;
        let this = self.clone();
        on_pool(move || this.transaction(&mut slot, with_records)).await
    }

    fn transaction(&self, slot: &mut Slot, with_records: bool) -> Result<(), OutboxError> {
        let pending: Pending = self.tail().memory.begin(with_records);
        let result = self.work(slot, |store| {
            store.commit(&pending)?;
            Ok(store.stored)
        });
        let mut tail = self.tail();
        match &result {
            Ok(stored) => tail.memory.done(&pending, *stored),
            Err(_) => tail.memory.failed(&pending),
        }
        tail.empty_file_if_safe();
        self.publish(&tail);
        result.map(drop)
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let mut slot: OwnedMutexGuard<Slot> = self.slot.clone().lock_owned().await;
        let this = self.clone();
        on_pool(move || {
            let result = this.work(&mut slot, work);
            if let Slot::Open(store) = &*slot {
                let mut tail = this.tail();
                tail.memory.learn(store.stored);
                this.publish(&tail);
            }
            result
        })
        .await
    }

    /// Does `work`; if the file turns out to be damaged, replaces it and does the work again; if the disk is full, gives up
    /// the ballast for it.
    fn work<T>(
        &self,
        slot: &mut Slot,
        work: impl Fn(&mut Store) -> rusqlite::Result<T>,
    ) -> Result<T, OutboxError> {
        let path = &self.config.path;
        let result = match work(self.opened(slot)?) {
            Err(error) if schema::is_damage(&error) => {
                *slot = Slot::Broken;
                let reservation = self.reservation();
                let store = Store::replace(&self.config, reservation, &error)?;
                *slot = Slot::Open(Box::new(store));
                work(self.opened(slot)?)
            }
            Err(error) if schema::is_full(&error) && self.opened(slot)?.give_up_ballast() => {
                work(self.opened(slot)?)
            }
            other => other,
        };
        if result.as_ref().is_err_and(schema::is_doubtful) {
            // What a failed flush has left is known only to who reads the file anew.
            *slot = Slot::Broken;
        }
        result.map_err(|error| OutboxError::degraded(path, error))
    }

    fn opened<'a>(&self, slot: &'a mut Slot) -> Result<&'a mut Store, OutboxError> {
        if let Slot::Broken = slot {
            let degraded = |error| OutboxError::degraded(&self.config.path, error);
            // Whatever is in the way, a running agent waits for it to go.
            let mut store = Store::open(&self.config, Start::Resumed(self.reservation()))
                .map_err(|error| OutboxError::degraded(&self.config.path, error))?;
            if let Some(van) = self.van.get() {
                store.claim(van, ("", 0)).map_err(degraded)?;
            }
            *slot = Slot::Open(Box::new(store));
        }
        match slot {
            Slot::Open(store) => Ok(store),
            Slot::Broken | Slot::Closed => {
                Err(OutboxError::Closed { path: self.config.path.clone() })
            }
        }
    }

    fn reservation(&self) -> seq_file::Reservation {
        let reserved = self.stats.borrow().reserved;
        seq_file::Reservation { reserved, session: self.begin.session }
    }

    /// Who has a link to serve does not wait for a disk that takes seconds.
    async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        tokio::time::timeout(READ_WITHIN, work)
            .await
            .unwrap_or_else(|elapsed| Err(OutboxError::degraded(&self.config.path, elapsed)))
    }

    fn tail(&self) -> MutexGuard<'_, Tails> {
        self.tail.lock().expect(LOCK)
    }

    fn publish(&self, tail: &Tails) {
        let now = tail.memory.stats();
        self.stats.send_if_modified(|stats| std::mem::replace(stats, now) != now);
    }
}

const LOCK: &str = "no holder of the lock can panic";

impl Tails {
    /// A second copy of what is on flash, or has arrived, is of no use.
    fn empty_file_if_safe(&mut self) {
        if let Some(file) = &mut self.file
            && file.holds_records()
            && self.memory.is_safe()
        {
            let (_, state) = self.memory.to_keep();
            file.empty(self.memory.stats().newest, &state);
        }
    }
}

fn begin(config: &OutboxConfig) -> Result<(Store, Tails, Begin), OutboxError> {
    // Read before the file is opened, for its numbers; taken over after, for what the file has.
    let tail_file = config.tail_path.as_deref().and_then(|tail| TailFile::open(tail, &config.path));
    let (file, left) = tail_file.unzip();
    let left = left.unwrap_or_default();
    let start = Start::Agent { newest_in_tail: left.newest };
    let store = Store::open(config, start)?;
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
    Ok((store, Tails { memory, file }, begin))
}

/// Runs what blocks where it may block.
async fn on_pool<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(tokio::task::spawn_blocking(work).await)
}
