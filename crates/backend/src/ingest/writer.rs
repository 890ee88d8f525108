//! Writes messages to the store, retrying until each is stored or dead-lettered with a reason.
//!
//! - An unavailable store is retried with growing delays. Nothing is dropped meanwhile, and the
//!   broker holds back messages beyond Receive Maximum.
//! - A batch rejected by the store is split in halves, down to the one message at fault, which
//!   becomes a dead letter. If the store rejects even the dead letter, as with a full disk, the
//!   store is at fault and the write is retried.

use std::collections::HashMap;
use std::ops::Range;
use std::sync::atomic::Ordering;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use super::counters::Counters;
use super::domain_check::DomainMismatches;
use super::parse::{InvalidMessage, Payload, van_from_source, van_from_topic};
use crate::AppState;
use crate::store::{IncomingMessage, IngestResult, StoreError};
use waypost_model::units::Uptime;
use waypost_service::backoff::Backoff;

/// Maximum number of cached source owners; the cache is cleared when full.
const MAX_SOURCES: usize = 200_000;

/// Maximum length in characters of a database error in a dead letter's reason.
const MAX_REASON_CHARS: usize = 300;

/// An owner is looked up again after this time, since a source may be handed over.
const OWNER_VALID_FOR: Duration = Duration::from_mins(1);

/// A van whose messages are rejected is logged once in this time.
const REJECTION_LOGGED_EVERY: Duration = Duration::from_hours(24);

/// Maximum number of vans with a logged rejection; the list is cleared when full.
const MAX_LOGGED_VANS: usize = 10_000;

/// Owner of each event source whose URI does not name a van: the van to which it was handed over,
/// else the first one that used it.
#[derive(Clone, Debug, Default)]
pub(super) struct SourceOwners(Arc<Mutex<HashMap<String, (String, Uptime)>>>);

impl SourceOwners {
    /// Returns the owner of a source; `asks` becomes the owner if the source is unused.
    async fn owner(
        &self,
        source: &str,
        asks: &str,
        shared: &AppState,
    ) -> Result<String, StoreError> {
        let now = shared.clock.uptime();
        let known = self.0.lock().expect("no lock holder panics").get(source).cloned();
        // Another van than the known one may have received the source in the meantime.
        if let Some((known, at)) = known
            && known == asks
            && now.since(at) < OWNER_VALID_FOR
        {
            return Ok(known);
        }
        let van = shared.store.van_by_source(source).await?;
        let mut sources = self.0.lock().expect("no lock holder panics");
        // A first event that is still being stored has no row yet.
        let first = sources.get(source).map(|(van, _)| van.clone());
        let van = van.or(first).unwrap_or_else(|| asks.to_owned());
        if sources.len() >= MAX_SOURCES {
            sources.clear();
        }
        sources.insert(source.to_owned(), (van.clone(), now));
        Ok(van)
    }
}

/// Vans whose rejected messages were logged, with the time.
#[derive(Clone, Debug, Default)]
pub(super) struct LoggedRejections(Arc<Mutex<HashMap<String, Uptime>>>);

impl LoggedRejections {
    /// Logs each van with a dead letter in `arrivals` once a day.
    fn log(&self, arrivals: &[IncomingMessage], now: Uptime) {
        for arrival in arrivals {
            let Err(invalid) = &arrival.parsed else { continue };
            let van = van_from_topic(&arrival.topic).unwrap_or_default();
            let mut logged = self.0.lock().expect("no lock holder panics");
            if logged.get(van).is_some_and(|at| now.since(*at) < REJECTION_LOGGED_EVERY) {
                continue;
            }
            if logged.len() >= MAX_LOGGED_VANS {
                logged.clear();
            }
            logged.insert(van.to_owned(), now);
            tracing::warn!(
                van,
                reason = invalid.reason,
                "messages of this van are rejected: see its dead letters"
            );
        }
    }
}

/// Writes batches of messages to the store.
#[derive(Clone, Debug)]
pub(super) struct BatchWriter {
    pub(super) shared: AppState,
    pub(super) source_owners: SourceOwners,
    pub(super) domain_mismatches: DomainMismatches,
    pub(super) logged_rejections: LoggedRejections,
    pub(super) counters: Arc<Counters>,
}

impl BatchWriter {
    /// Stores all messages.
    pub(super) async fn write(&self, arrivals: &mut [IncomingMessage]) -> IngestResult {
        let mut pause = StoreRetry::new(&self.counters);
        for arrival in arrivals.iter_mut() {
            while let Err(error) = self.check_identity(arrival).await {
                pause.wait(&error).await;
            }
        }
        let mut all = IngestResult::default();
        let mut parts: Vec<Range<usize>> = Vec::new();
        parts.push(0..arrivals.len());
        while let Some(part) = parts.pop() {
            let page = self.shared.config.retention.page;
            match self.shared.store.ingest(&arrivals[part.clone()], self.shared.now(), page).await {
                Ok(taken) => {
                    pause.succeeded();
                    self.counters.record(&taken);
                    all.add(taken);
                }
                Err(StoreError::Rejected(_)) if part.len() > 1 => {
                    let middle = part.start + part.len() / 2;
                    parts.extend([middle..part.end, part.start..middle]);
                }
                Err(StoreError::Rejected(words)) if arrivals[part.start].parsed.is_ok() => {
                    let words: String = words.chars().take(MAX_REASON_CHARS).collect();
                    arrivals[part.start].parsed =
                        Err(InvalidMessage::new(format!("rejected by the database: {words}")));
                    parts.push(part);
                }
                Err(error) => {
                    pause.wait(&error).await;
                    parts.push(part);
                }
            }
        }
        self.logged_rejections.log(arrivals, self.shared.clock.uptime());
        all
    }

    /// Dead-letters an event whose source belongs to another van, and records domain mismatches.
    async fn check_identity(&self, arrival: &mut IncomingMessage) -> Result<(), StoreError> {
        let Ok(said) = &arrival.parsed else { return Ok(()) };
        let Payload::Event(event) = &said.payload else { return Ok(()) };
        self.domain_mismatches.check(&said.van, &event.event, &self.shared, &self.counters).await?;
        if van_from_source(&event.event.source).is_some() {
            return Ok(());
        }
        let owner = self.source_owners.owner(&event.event.source, &said.van, &self.shared).await?;
        if owner != said.van {
            let reason = format!(
                "source belongs to {owner:.64} but the topic is that of {}; if the van was renamed, \
                 hand the source over: waypost-backend hand-over {:.200} {}",
                said.van, event.event.source, said.van
            );
            arrival.parsed = Err(InvalidMessage::new(reason));
        }
        Ok(())
    }
}

/// Retry delay for an unavailable store; logs the outage once.
#[derive(Debug)]
struct StoreRetry<'a> {
    backoff: Backoff,
    is_waiting: bool,
    counters: &'a Counters,
}

impl<'a> StoreRetry<'a> {
    fn new(counters: &'a Counters) -> Self {
        const FIRST: Duration = Duration::from_millis(100);
        let backoff = Backoff::new(FIRST, Duration::from_secs(10), fastrand::Rng::new());
        Self { backoff, is_waiting: false, counters }
    }

    async fn wait(&mut self, error: &StoreError) {
        if !std::mem::replace(&mut self.is_waiting, true) {
            tracing::error!(%error, "store unavailable: messages stay with the broker");
            self.counters.store_unavailable.store(true, Ordering::Relaxed);
        }
        self.counters.store_retries.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(self.backoff.next_delay()).await;
    }

    fn succeeded(&mut self) {
        if std::mem::take(&mut self.is_waiting) {
            tracing::info!("store available again");
            self.counters.store_unavailable.store(false, Ordering::Relaxed);
        }
        self.backoff.reset();
    }
}
