//! **waypost-backend**, the other end of the wire: every van's messages, stored once, shown to whom they may be.
//!
//! ```text
//!  broker ── MQTT 5, shared subscription ──┐          warehouses, carriers ── capture, CSV, routes ──┐
//!                                          ▼                                                         ▼
//!  ingest     topic and payload → message, or poison with its reason                            upstream
//!                                          │ batch, one transaction                                 │
//!                                          ▼                                                         │
//!  store      SQLite or PostgreSQL: one suite of statements; PUBACK after the commit  ◄─────────────┘
//!                    │                              │
//!                    │ rows                         │ changes (live)
//!                    ▼                              ▼
//!  view       pure: timeline, progress, exposure, ETA, trace
//!                    │                              │
//!                    ▼                              ▼
//!  api, web   customers and dispatchers        alerts   letters and webhooks, once each
//!
//!  downlink   routes and commands that wait in the store → manifest, cmd
//! ```
//!
//! - Of the agent it uses `wire`, `units`, and the core's reading of numbers; nothing else.
//! - **What is acknowledged is stored.** A message's PUBACK follows the commit of its batch.
//! - **What comes twice is there once**: (source, id) of events, (van, seq) of fixes.
//! - **A customer sees by a rule** ([`view`]), never because a page forgot to hide something.
//! - An instance keeps nothing that another does not find in the store, but for the newest positions.

pub mod alerts;
pub mod api;
pub mod cli;
pub mod config;
pub mod downlink;
pub mod epc;
pub mod event;
pub mod ingest;
pub mod live;
mod mqtt;
pub mod octets;
pub mod operation;
pub mod service;
pub mod situation;
pub mod store;
pub mod upstream;
pub mod view;
pub mod web;

use std::sync::Arc;

use tokio::sync::Notify;

pub use self::config::Config;
use self::live::Live;
use self::store::Store;
use crate::clock::Clock;
use crate::units::UtcTime;

/// What every part of an instance shares.
#[derive(Clone, Debug)]
pub struct Shared {
    /// As it was read at the start.
    pub config: Arc<Config>,
    /// What is known.
    pub store: Store,
    /// What changes.
    pub live: Live,
    /// The only clock: the host's, or a simulation's.
    pub clock: Clock,
    /// Something waits in the store to be sent to a van.
    pub downlink: Arc<Notify>,
    /// A capture waits in the store to be done.
    pub captures: Arc<Notify>,
}

impl Shared {
    /// Tells all who watch, on this instance and on the others.
    pub async fn tell(&self, change: live::Change) {
        self.store.announce(&change);
        self.live.tell(change);
    }

    /// Now. A server's clock is set before services start, and `waypost-backend` does not start without.
    ///
    /// # Panics
    /// The clock is not set.
    #[must_use]
    pub fn now(&self) -> UtcTime {
        self.clock.utc().expect("checked at the start")
    }
}
