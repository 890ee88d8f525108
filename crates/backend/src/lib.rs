//! **waypost-backend**, the tracking backend: ingests van telemetry and serves recipients and
//! dispatchers.
//!
//! ```text
//!  broker ── MQTT 5, shared subscription ──┐    warehouses, carriers ── capture, CSV, manifests ──┐
//!                                          ▼                                                      ▼
//!  ingest     topic and payload → message, or a dead letter with its reason            integrations
//!                                          │ batch, one transaction                               │
//!                                          ▼                                                      │
//!  store      SQLite or PostgreSQL: one suite of statements; PUBACK after the commit  ◄───────────┘
//!                    │                              │
//!                    │ rows                         │ changes (live)
//!                    ▼                              ▼
//!  tracking   pure: timeline, progress, visibility, ETA, trace
//!                    │                              │
//!                    ▼                              ▼
//!  http, web  recipients and dispatchers       notifications   e-mail and webhooks, once each
//!
//!  downlink   pending manifests and commands in the store → broker
//! ```
//!
//! - Shares only types and formats with the agent, not its core.
//! - **Acknowledged means stored.** The PUBACK of a message follows the commit of its batch.
//! - **Duplicates are stored once.** The keys are (source, id) for events and (van, seq) for fixes.
//! - **The visibility policy ([`tracking`]) decides what a recipient sees**, not the pages.
//! - Instances share all state through the store, except for the newest positions.

pub mod app;
pub mod change_feed;
pub mod cli;
pub mod config;
pub mod downlink;
pub mod epc;
pub mod event;
pub mod http;
pub mod ingest;
pub mod instances;
pub mod integrations;
mod mqtt_options;
pub mod notifications;
pub mod octets;
pub mod ops;
pub mod queries;
pub mod store;
pub mod tracking;
pub mod web;

use std::sync::Arc;

use tokio::sync::Notify;

use self::change_feed::ChangeFeed;
pub use self::config::Config;
use self::store::Store;
use waypost_model::units::UtcTime;
use waypost_service::clock::Clock;

/// State shared by all parts of an instance.
#[derive(Clone, Debug)]
pub struct AppState {
    /// Immutable configuration, loaded at startup.
    pub config: Arc<Config>,
    /// Database handle.
    pub store: Store,
    /// Change feed and cache of the newest positions.
    pub change_feed: ChangeFeed,
    /// The only clock: the host's, or a simulated one.
    pub clock: Clock,
    /// Signals that a route or command is pending in the store.
    pub downlink: Arc<Notify>,
    /// Signals that a capture job is pending in the store.
    pub captures: Arc<Notify>,
}

impl AppState {
    /// Creates the state of an instance to whose changes nobody has subscribed yet.
    #[must_use]
    pub fn new(config: Config, store: Store, clock: Clock) -> Self {
        Self {
            config: Arc::new(config),
            store,
            change_feed: ChangeFeed::default(),
            clock,
            downlink: Arc::default(),
            captures: Arc::default(),
        }
    }

    /// Returns the same state with the database connections of this kind of work.
    #[must_use]
    pub fn for_workload(&self, workload: store::Workload) -> Self {
        Self { store: self.store.for_workload(workload), ..self.clone() }
    }

    /// Publishes a change to the subscribers on this instance and on all others.
    pub async fn publish_change(&self, change: change_feed::Change) {
        self.store.notify_change(&change);
        self.change_feed.publish(change);
    }

    /// Returns the current time. `waypost-backend` does not start before the host clock is set.
    ///
    /// # Panics
    /// The clock is not set.
    #[must_use]
    pub fn now(&self) -> UtcTime {
        self.clock.utc().expect("checked at startup")
    }
}
