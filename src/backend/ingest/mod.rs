//! Messages of vans → the store, each once: MQTT 5, QoS 1, PUBACK after the commit.
//!
//! ```text
//! broker ─ PUBLISH → reading (message or poison) → queue ─ batch → store, one transaction
//!    ▲                                                               │
//!    └──────────── PUBACK, `ack` ◄── counters, live ◄────────────────┘
//! ```
//!
//! - **Nothing is acknowledged before it is on disk**, and what was not acknowledged comes again: the session is kept for a
//!   day, and repeats change nothing. So this process may be killed at any moment.
//! - **A slow store slows the broker.** Receive Maximum bounds what is on its way; memory stays flat.
//! - **One bad message stops no line**: it is set aside with its reason, and acknowledged.
//!
//! # Which instance gets what
//!
//! Instances of one group share `track`, `event`, `state`, `position` and `cmd/res` (`$share/{group}/…`, MQTT 5 §4.8.2): each
//! message goes to one of them.
//!
//! - A shared subscription brings no retained message. So an instance whose session is new asks for all `state` unshared for
//!   half a minute.
//! - `connection` comes to all: it is rare, a Will has no time, and only one line in the broker's order tells a Will
//!   from the `online` that followed it.
//! - `position` is shared too, with QoS 0: a million vans would be too much for each instance to read. Who gets a
//!   newest position writes it to the store and tells the others.
//! - A broker may keep an absent instance's share until that is back, or until its session ends (mosquitto does, and then it
//!   is gone). So an instance that is killed comes back under the same client identifier; vans that wait for `ack` have
//!   all that was not stored. A broker with `max_inflight_messages` of 20, as mosquitto's default, is served in batches of 20.

mod acks;
mod batch;
mod budget;
mod counters;
mod domains;
mod link;
pub mod reading;
mod subscription;
mod telling;

use std::convert::Infallible;
use std::sync::Arc;

use tokio_util::sync::CancellationToken;

pub use self::counters::Counters;
use self::link::Consumer;
use super::Shared;

/// The consumer of an instance.
#[derive(Debug)]
pub struct Ingest {
    shared: Shared,
    counters: Arc<Counters>,
}

impl Ingest {
    /// For the broker and the store of an instance.
    #[must_use]
    pub fn new(shared: Shared) -> Self {
        Self { shared, counters: Arc::default() }
    }

    /// What it has done; they go on counting.
    #[must_use]
    pub fn counters(&self) -> Arc<Counters> {
        Arc::clone(&self.counters)
    }

    /// Consumes until it is stopped: then what is being stored is stored and acknowledged, and the rest waits at the broker.
    ///
    /// # Errors
    /// None: what is away is waited for.
    pub async fn run(self, stop: CancellationToken) -> Result<(), Infallible> {
        Consumer::new(self.shared, self.counters).run(stop).await;
        Ok(())
    }
}

/// Consumes until it is stopped, for whoever wants no counters.
///
/// # Errors
/// None: what is away is waited for.
pub async fn run(shared: Shared, stop: CancellationToken) -> Result<(), Infallible> {
    Ingest::new(shared).run(stop).await
}
