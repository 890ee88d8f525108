//! How work comes to the file: one call after the other, on the blocking pool, through damage, a full disk and flushes
//! that fail.

use std::time::Duration;

use tokio::sync::OwnedMutexGuard;

use super::seq_file::Reservation;
use super::store::{Start, Store};
use super::transaction::Pending;
use super::{Outbox, OutboxError, schema};
use crate::tasks::joined;

/// How long a reader waits for a disk that is busy: the relay has a live position to send.
const READ_WITHIN: Duration = Duration::from_secs(2);

/// The store as it is now.
#[derive(Debug)]
pub(super) enum Slot {
    Open(Box<Store>),
    /// The file was damaged, or nobody knows what a failed flush has left of it: it must be opened again.
    Broken,
    Closed,
}

impl Outbox {
    pub(super) async fn transact(&self, with_records: bool) -> Result<(), OutboxError> {
        let work = async {
            let mut slot = self.slot.clone().lock_owned().await;
            let this = self.clone();
            on_pool(move || this.transaction(&mut slot, with_records)).await
        };
        tokio::pin!(work);
        if let Ok(done) = tokio::time::timeout(READ_WITHIN, &mut work).await {
            return done;
        }
        // What waits may be read meanwhile, so that a dead card does not silence the van.
        self.hang();
        work.await
    }

    fn hang(&self) {
        let mut tail = self.tail();
        tail.events.hang();
        self.publish(&tail);
    }

    pub(super) fn transaction(
        &self,
        slot: &mut Slot,
        with_records: bool,
    ) -> Result<(), OutboxError> {
        let pending: Pending = self.tail().begin(with_records);
        let result = self.work(slot, |store| {
            store.commit(&pending)?;
            Ok(store.stored)
        });
        let mut tail = self.tail();
        match &result {
            Ok(stored) => tail.done(&pending, *stored),
            Err(_) => tail.failed(&pending),
        }
        tail.empty_file_if_safe();
        self.publish(&tail);
        result.map(drop)
    }

    pub(super) async fn run<T: Send + 'static>(
        &self,
        work: impl Fn(&mut Store) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, OutboxError> {
        let mut slot: OwnedMutexGuard<Slot> = self.slot.clone().lock_owned().await;
        let this = self.clone();
        on_pool(move || {
            let result = this.work(&mut slot, work);
            if let Slot::Open(store) = &*slot {
                let mut tail = this.tail();
                tail.learn(store.stored);
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
                .map_err(|error| error.waited_for(&self.config.path))?;
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

    fn reservation(&self) -> Reservation {
        let reserved = self.stats.borrow().reserved;
        Reservation { reserved, session: self.begin.session }
    }

    /// Who has a link to serve does not wait for a disk that takes seconds.
    pub(super) async fn in_time<T>(
        &self,
        work: impl Future<Output = Result<T, OutboxError>>,
    ) -> Result<T, OutboxError> {
        tokio::time::timeout(READ_WITHIN, work)
            .await
            .unwrap_or_else(|elapsed| Err(OutboxError::degraded(&self.config.path, elapsed)))
    }
}

/// Runs what blocks where it may block.
pub(super) async fn on_pool<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> T {
    joined(tokio::task::spawn_blocking(work).await)
}
