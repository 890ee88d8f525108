//! Messages → the store, however long that takes: what comes back is stored, or set aside with its reason.
//!
//! - A store that does not answer is asked again, each time after a longer pause. Nothing is given up meanwhile, and the
//!   broker holds back what exceeds Receive Maximum.
//! - Of a batch that the store refuses, the halves are tried, down to the one message that it does not take. That is set
//!   aside. A store that refuses even to set it aside is at fault itself, as with a full disk, and is waited for.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::counters::Counters;
use super::domains::Domains;
use super::reading::{Message, Poison, van_of_source};
use crate::backend::Shared;
use crate::backend::store::{Arrival, StoreError, Taken};
use crate::backoff::Backoff;

/// Sources whose van is remembered.
const MAX_SOURCES: usize = 200_000;

/// The store's words in a reason.
const MAX_WORDS: usize = 300;

/// Whose each source of events is, if its URI does not say so. Who used it first has it.
#[derive(Clone, Debug, Default)]
pub(super) struct Sources(Arc<Mutex<HashMap<String, String>>>);

impl Sources {
    /// The van of a source; `asks` if nobody on this instance knew.
    async fn van(&self, source: &str, asks: &str, shared: &Shared) -> Result<String, StoreError> {
        let known = self.0.lock().expect("no holder of the lock can panic").get(source).cloned();
        if let Some(known) = known {
            return Ok(known);
        }
        let van = shared.store.van_of_source(source).await?.unwrap_or_else(|| asks.to_owned());
        let mut sources = self.0.lock().expect("no holder of the lock can panic");
        if sources.len() >= MAX_SOURCES {
            sources.clear();
        }
        sources.insert(source.to_owned(), van.clone());
        Ok(van)
    }
}

/// One way of messages into the store.
#[derive(Clone, Debug)]
pub(super) struct Storing {
    pub(super) shared: Shared,
    pub(super) sources: Sources,
    pub(super) domains: Domains,
    pub(super) counters: Arc<Counters>,
}

impl Storing {
    /// Stores all of it.
    pub(super) async fn store(&self, arrivals: &mut [Arrival]) -> Taken {
        let mut pause = Pause::new(&self.counters);
        for arrival in arrivals.iter_mut() {
            while let Err(error) = self.check_names(arrival).await {
                pause.wait(&error).await;
            }
        }
        let mut all = Taken::default();
        let mut parts: Vec<Range<usize>> = Vec::new();
        parts.push(0..arrivals.len());
        while let Some(part) = parts.pop() {
            let page = self.shared.config.retention.page;
            match self.shared.store.take(&arrivals[part.clone()], self.shared.now(), page).await {
                Ok(taken) => {
                    pause.over();
                    self.counters.take(&taken);
                    all.add(taken);
                }
                Err(StoreError::Refused(_)) if part.len() > 1 => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                }
                Err(StoreError::Refused(words)) if arrivals[part.start].said.is_ok() => {
                    let words: String = words.chars().take(MAX_WORDS).collect();
                    arrivals[part.start].said =
                        Err(Poison::new(format!("the database refuses: {words}")));
                    parts.push(part);
                }
                Err(error) => {
                    pause.wait(&error).await;
                    parts.push(part);
                }
            }
        }
        all
    }

    /// Sets aside an event whose source is another van's, and notes whose domain is not ours.
    async fn check_names(&self, arrival: &mut Arrival) -> Result<(), StoreError> {
        let Ok(said) = &arrival.said else { return Ok(()) };
        let Message::Event(event) = &said.message else { return Ok(()) };
        self.domains.look(&said.van, &event.event, &self.shared, &self.counters).await?;
        if van_of_source(&event.event.source).is_some() {
            return Ok(());
        }
        let owner = self.sources.van(&event.event.source, &said.van, &self.shared).await?;
        if owner != said.van {
            let reason =
                format!("its source is that of {owner:.64}, and it came from {}", said.van);
            arrival.said = Err(Poison::new(reason));
        }
        Ok(())
    }
}

/// Waits for a store that does not answer, and says so once.
#[derive(Debug)]
struct Pause<'a> {
    backoff: Backoff,
    waits: bool,
    counters: &'a Counters,
}

impl<'a> Pause<'a> {
    fn new(counters: &'a Counters) -> Self {
        const FIRST: Duration = Duration::from_millis(100);
        let backoff = Backoff::new(FIRST, Duration::from_secs(10), fastrand::Rng::new());
        Self { backoff, waits: false, counters }
    }

    async fn wait(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.waits, true) {
            tracing::error!(%error, "store does not take messages: the broker keeps them");
            self.counters.store_refuses.store(true, Ordering::Relaxed);
        }
        self.counters.store_waits.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.backoff.next_wait()).await;
    }

    fn over(&mut self) {
        if std::mem::take(&mut self.waits) {
            tracing::info!("store takes messages again");
            self.counters.store_refuses.store(false, Ordering::Relaxed);
        }
        self.backoff.reset();
    }
}
