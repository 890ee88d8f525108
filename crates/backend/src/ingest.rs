//! Ingests van messages into the store exactly once: MQTT 5, QoS 1, PUBACK after the commit.
//!
//! ```text
//! broker ─ PUBLISH → parse (message or dead letter) → queue ─ batch → store, one transaction
//!    ▲                                                               │
//!    └──────────── PUBACK, `ack` ◄── counters, change feed ◄─────────┘
//! ```
//!
//! - **Nothing is acknowledged before it is on disk.** The broker redelivers unacknowledged
//!   messages: the session is kept for a day, and repeats change nothing. The process may be killed
//!   at any moment.
//! - **A slow store slows the broker.** Receive Maximum bounds the messages in flight, so memory
//!   stays constant.
//! - **An invalid message does not block others.** It is stored as a dead letter with its reason,
//!   and acknowledged.
//!
//! # Distribution over instances
//!
//! Instances of one group share `track`, `event`, `state`, `position` and `command/result`
//! (`$share/{group}/…`, MQTT 5 §4.8.2): each message is delivered to one of them.
//!
//! - Shared subscriptions deliver no retained messages. An instance with a new session therefore
//!   subscribes to all `state` topics unshared for half a minute.
//! - `connection` is delivered to every instance. It is rare, a Will has no time, and only the
//!   broker's order separates a Will from the next `online`.
//! - `position` is shared with QoS 0, since one instance could not process a million vans. The
//!   receiving instance writes the newest position to the store and notifies the others.
//! - A broker may queue an absent instance's share until it returns or its session ends (mosquitto
//!   does, then discards it). An orderly stop therefore ends the subscriptions, stores what waits
//!   in the session and ends it, if another instance remains. A killed instance returns under the
//!   same client identifier, or [`adopt`] takes over its session. Vans that wait for `ack` keep all
//!   unstored messages. With a broker limit `max_inflight_messages` of 20,
//!   as mosquitto's default, batches have 20 messages.

mod acks;
mod clock_guard;
mod consumer;
mod counters;
mod dead_letter_limit;
mod domain_check;
pub mod parse;
mod publish;
pub mod retry;
mod subscription;
mod unknown_words;
mod writer;

use std::convert::Infallible;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

use self::consumer::Consumer;
pub use self::counters::Counters;
use super::AppState;

#[derive(Debug)]
pub struct Ingest {
    shared: AppState,
    counters: Arc<Counters>,
}

impl Ingest {
    #[must_use]
    pub fn new(shared: AppState) -> Self {
        Self { shared, counters: Arc::default() }
    }

    /// Returns the shared counters.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Consumes until `stop`; then stores and acknowledges the running batch. The rest stays queued
    /// at the broker.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        Consumer::new(self.shared, self.counters).run(stop).await;
        Ok(())
    }
}

/// Takes over the session of `mqtt.client_id` in the configuration, which is that of an absent
/// instance. Returns whether the broker had a session, and the counters.
///
/// # Errors
/// Returns why the adoption failed; it can be repeated.
pub async fn adopt(
    shared: AppState,
    stop: CancellationToken,
) -> Result<(bool, Arc<Counters>), String> {
    let counters: Arc<Counters> = Arc::default();
    let had_session = Consumer::new(shared, Arc::clone(&counters)).adopt(stop).await?;
    Ok((had_session, counters))
}

/// Consumes until `stop`, without access to the counters.
pub async fn run(shared: AppState, stop: CancellationToken) -> Result<(), Infallible> {
    Ingest::new(shared).run(stop).await
}
