//! ③ KEEP: [`Record`] → SQLite → [`Record`]: what was accepted stays until the backend has it.
//!
//! - Records and the journey state that they came from are committed in *one* transaction.
//! - A `Seq` is never used twice. The pipeline gives them out in memory, and one may be published before it is committed;
//!   so blocks of them are reserved durably beforehand (hi-lo), in the database and in a copy beside it (`<path>.seq`).
//!   A run begins after the highest mark. An orderly stop gives nothing back: numbers are not scarce.
//! - The file is bounded. When it is full, the oldest records go, at least 1 %, in the transaction of the insert that
//!   needs the room, and are counted.
//! - A damaged file is set aside, at the start and while running, and a new one takes its place.
//! - One process owns the file. All SQLite work runs on tokio's blocking pool, one call after the other, and a call that
//!   has begun is finished, also when its caller has gone.

mod damage;
mod retention;
mod rows;
mod schema;
mod seq_file;
mod store;
#[cfg(test)]
pub(crate) mod tests;

use std::io;
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock};

use tokio::sync::{Mutex, watch};

use crate::core::journey::JourneyState;
use crate::core::record::{Record, Seq};
use crate::tasks::joined;
use crate::units::UtcTime;
use crate::wire::VanId;
use store::{Start, Store};

/// Where the outbox is, and how large it may become.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OutboxConfig {
    /// The database; `-wal`, `.seq` and `.corrupt-<n>` stand beside it.
    pub path: PathBuf,
    /// Bytes of the database at most; below [`Self::MIN_BYTES`] it counts as that.
    pub max_bytes: u64,
}

impl OutboxConfig {
    /// A month of driving.
    pub const DEFAULT_MAX_BYTES: u64 = 256 * 1024 * 1024;
    /// Below this the tables' own pages would be most of the file.
    pub const MIN_BYTES: u64 = 128 * 1024;

    /// With the default size.
    #[must_use]
    pub const fn new(path: PathBuf) -> Self {
        Self { path, max_bytes: Self::DEFAULT_MAX_BYTES }
    }

    fn max_pages(&self) -> u64 {
        self.max_bytes.max(Self::MIN_BYTES) / schema::PAGE_BYTES
    }
}

/// What the outbox holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct OutboxStats {
    /// Records that wait.
    pub pending: u64,
    /// UTC of the one with the lowest `Seq`.
    pub oldest: Option<UtcTime>,
    /// The highest `Seq` that was committed; before the first commit of a run, the one before its first.
    pub last_committed: Seq,
    /// The highest `Seq` that is reserved: what is above may not be published yet.
    pub reserved: Seq,
    /// Records evicted because the outbox was full, over its life.
    pub dropped: u64,
    /// Bytes of the database.
    pub bytes: u64,
}

/// What can go wrong, one variant for each way to react.
#[derive(Debug, thiserror::Error)]
pub enum OutboxError {
    /// Keep the records, wait, and try again: nothing was written.
    #[error("{}: not written: {source}; it is tried again, meanwhile look at the disk's free space and health", path.display())]
    Degraded {
        /// The database.
        path: PathBuf,
        /// What SQLite or the system said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// Stop: another process owns the file.
    #[error("{}: in use by another process: stop the other waypost, or give this one its own outbox", path.display())]
    InUse {
        /// The database.
        path: PathBuf,
    },
    /// Stop: the file is not ours.
    #[error("{}: not an outbox ({found}): move it away, or choose another path", path.display())]
    Foreign {
        /// The file.
        path: PathBuf,
        /// What is there instead.
        found: String,
    },
    /// Stop: a newer agent wrote it.
    #[error("{}: schema {found}, this waypost knows {known}: install the newer waypost again", path.display())]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its schema.
        found: i32,
        /// The highest that this agent knows.
        known: i32,
    },
    /// Stop: the place does not let us work.
    #[error("{}: cannot be opened: {source}: create the directory, and let the agent's user write there", path.display())]
    Unusable {
        /// The database.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Stop: what waits there is another van's.
    #[error("{}: holds {pending} records of {other:?}, and this is {van:?}: let {other:?} send them first, or give this van its own outbox", path.display())]
    OtherVan {
        /// The database.
        path: PathBuf,
        /// Whose records wait.
        other: String,
        /// Who asks.
        van: String,
        /// How many.
        pending: u64,
    },
    /// Stop: the agent has closed it.
    #[error("{}: closed", path.display())]
    Closed {
        /// The database.
        path: PathBuf,
    },
}

impl OutboxError {
    fn degraded(path: &Path, error: impl std::error::Error + Send + Sync + 'static) -> Self {
        Self::Degraded { path: path.to_owned(), source: Box::new(error) }
    }
}

/// The store as it is now.
#[derive(Debug)]
enum Slot {
    Open(Box<Store>),
    /// The file was damaged, and no new one could be made yet.
    Broken,
    Closed,
}

/// A handle to the outbox; clones are handles to the same.
#[derive(Clone, Debug)]
pub struct Outbox {
    config: Arc<OutboxConfig>,
    /// An asynchronous lock, because it is fair: calls run in the order in which they were made.
    slot: Arc<Mutex<Slot>>,
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
}

impl Outbox {
    /// Opens or creates the file, counts this start, and reserves the first block of `Seq`s.
    ///
    /// # Errors
    /// Any [`OutboxError`] but `Closed`. A damaged file is none: it is set aside.
    pub async fn open(config: OutboxConfig) -> Result<Self, OutboxError> {
        let opened = config.clone();
        let store = on_pool(move || Store::open(&opened, Start::Agent)).await?;
        let begin = Begin {
            session: store.reservation().session,
            first_seq: store.used_before.next(),
            restored: store.state(),
            // Only a hint where the hunt begins: what cannot be read is as good as unknown.
            receiver_baud: store.receiver_baud().unwrap_or_default(),
        };
        Ok(Self {
            config: Arc::new(config),
            stats: Arc::new(watch::Sender::new(store.stats)),
            slot: Arc::new(Mutex::new(Slot::Open(Box::new(store)))),
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

    /// The state that the last commit of an earlier run saved; the default in a new file.
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

    /// Commits `records`, in ascending order and above all earlier ones, with the `state` after them.
    ///
    /// # Errors
    /// `Degraded`: nothing was written, keep the records and call again with them; that does no harm if they were
    /// written after all.
    pub async fn commit(
        &self,
        records: Vec<Record>,
        state: JourneyState,
    ) -> Result<(), OutboxError> {
        self.commit_and_count(records, state, 0).await
    }

    /// [`Self::commit`], and counts `given_up` records, which were accepted and could not be kept, with the evicted.
    ///
    /// # Errors
    /// As [`Self::commit`].
    pub async fn commit_and_count(
        &self,
        records: Vec<Record>,
        state: JourneyState,
        given_up: u64,
    ) -> Result<(), OutboxError> {
        debug_assert!(records.is_sorted_by(|a, b| a.seq < b.seq), "records ascend");
        self.run(move |store| store.commit(&records, &state, given_up)).await
    }

    /// Makes sure that what waits here is `van`'s: a backlog must not go out under another van's name.
    ///
    /// # Errors
    /// `OtherVan`, if records of another van wait; `Degraded`.
    pub async fn claim(&self, van: &VanId) -> Result<(), OutboxError> {
        let name = van.to_string();
        match self.run(move |store| store.claim(&name)).await? {
            None => {
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
        self.run(move |store| store.reserve(used)).await
    }

    /// At most `limit` records above `seq`, and up to `until`, ascending; none only if there are no more.
    ///
    /// # Errors
    /// `Degraded`: try again.
    pub async fn after(
        &self,
        seq: Seq,
        until: Option<Seq>,
        limit: usize,
    ) -> Result<Vec<Record>, OutboxError> {
        self.run(move |store| store.after(seq, until, limit)).await
    }

    /// Removes what has arrived: only after a PUBACK that says so.
    ///
    /// # Errors
    /// `Degraded`: nothing was removed, try again.
    pub async fn remove(&self, ranges: &[RangeInclusive<Seq>]) -> Result<(), OutboxError> {
        if ranges.is_empty() {
            return Ok(());
        }
        let ranges = ranges.to_vec();
        self.run(move |store| store.remove(&ranges)).await
    }

    /// Writes the log back and closes the file, for an orderly stop. Every handle then reports `Closed`.
    ///
    /// # Errors
    /// `Degraded`: the file stays as it would after a power cut, with nothing lost.
    pub async fn close(&self) -> Result<(), OutboxError> {
        let mut slot = self.slot.clone().lock_owned().await;
        let config = self.config.clone();
        on_pool(move || match std::mem::replace(&mut *slot, Slot::Closed) {
            Slot::Open(store) => {
                store.close().map_err(|error| OutboxError::degraded(&config.path, error))
            }
            Slot::Broken | Slot::Closed => Ok(()),
        })
        .await
    }

    async fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let mut slot = self.slot.clone().lock_owned().await;
        let this = self.clone();
        on_pool(move || this.work(&mut slot, work)).await
    }

    /// Does `work`; if the file turns out to be damaged, replaces it and does the work again.
    fn work<T>(
        &self,
        slot: &mut Slot,
        work: impl Fn(&mut Store) -> rusqlite::Result<T>,
    ) -> Result<T, OutboxError> {
        let path = &self.config.path;
        let result = match work(self.opened(slot)?) {
            Err(error) if schema::is_damage(&error) => {
                *slot = Slot::Broken;
                damage::set_aside(path, &error)
                    .map_err(|error| OutboxError::degraded(path, error))?;
                work(self.opened(slot)?)
            }
            other => other,
        };
        if let Slot::Open(store) = slot {
            let now = store.stats;
            self.stats.send_if_modified(|stats| std::mem::replace(stats, now) != now);
        }
        result.map_err(|error| OutboxError::degraded(path, error))
    }

    fn opened<'a>(&self, slot: &'a mut Slot) -> Result<&'a mut Store, OutboxError> {
        if let Slot::Broken = slot {
            let OutboxStats { reserved, last_committed, .. } = *self.stats.borrow();
            let reservation = seq_file::Reservation { reserved, session: self.begin.session };
            // Whatever is in the way, a running agent waits for it to go.
            let store = Store::open(&self.config, Start::Resumed { reservation, last_committed })
                .map_err(|error| OutboxError::degraded(&self.config.path, error))?;
            *slot = Slot::Open(Box::new(store));
            if let (Slot::Open(store), Some(van)) = (&mut *slot, self.van.get()) {
                store
                    .claim(van)
                    .map_err(|error| OutboxError::degraded(&self.config.path, error))?;
            }
        }
        match slot {
            Slot::Open(store) => Ok(store),
            Slot::Broken | Slot::Closed => {
                Err(OutboxError::Closed { path: self.config.path.clone() })
            }
        }
    }
}

/// Runs what blocks where it may block.
async fn on_pool<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(tokio::task::spawn_blocking(work).await)
}
