//! Change feed and position cache: notifies open pages and alerts of changes.
//!
//! A subscriber that lags behind loses changes and receives an error; it then reloads from the
//! store. The feed is not persisted. Routes are cached so that only new events are loaded.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use tokio::sync::broadcast;

use super::queries::RouteCache;
use super::tracking::visibility;
use waypost_wire::payloads::Position;

/// Capacity of the change feed; a subscriber that lags further behind loses changes.
const CHANNEL_CAPACITY: usize = 1024;

#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A van has a newer position.
    Position { van: Arc<str> },
    /// A van reported its state or connection.
    Van { van: Arc<str> },
    /// Events of these parcels were stored, or a user changed their data.
    Parcels {
        /// Canonical URIs.
        epcs: Arc<[String]>,
        /// The reporting van.
        van: Option<Arc<str>>,
    },
    /// A route was put, changed or withdrawn.
    Route {
        /// Id of the route.
        route: Arc<str>,
        /// Id of the van.
        van: Arc<str>,
    },
    /// Other instances may have published changes that did not arrive here. Subscribers must reload
    /// from the store.
    Lagged,
}

/// Cache of the newest positions, and broadcast of changes. Clones share their state.
#[derive(Clone, Debug)]
pub struct ChangeFeed {
    positions: Arc<RwLock<HashMap<String, Arc<Position>>>>,
    /// The newest position of each van while it was moving.
    last_moving: Arc<RwLock<HashMap<String, Arc<Position>>>>,
    pub(super) route_cache: RouteCache,
    changes: broadcast::Sender<Change>,
}

impl Default for ChangeFeed {
    fn default() -> Self {
        Self {
            positions: Arc::default(),
            last_moving: Arc::default(),
            route_cache: RouteCache::default(),
            changes: broadcast::Sender::new(CHANNEL_CAPACITY),
        }
    }
}

impl ChangeFeed {
    /// Caches a position if it is newer than the cached one; returns whether it was.
    #[must_use]
    pub fn observe(&self, position: Position) -> bool {
        let van: Arc<str> = position.van.as_str().into();
        {
            let mut newest = self.positions.write().expect("no holder of the lock can panic");
            // RFC 3339 in UTC with milliseconds: text order equals time order.
            let known = newest.get(&*van);
            if known.is_some_and(|known| known.point.ts >= position.point.ts) {
                return false;
            }
            let position = Arc::new(position);
            if visibility::is_moving(&position) {
                let mut driving =
                    self.last_moving.write().expect("no holder of the lock can panic");
                driving.insert(position.van.clone(), Arc::clone(&position));
            }
            newest.insert(position.van.clone(), position);
        }
        self.publish(Change::Position { van });
        true
    }

    /// Returns the newest position of a van since this process started.
    #[must_use]
    pub fn position(&self, van: &str) -> Option<Arc<Position>> {
        self.positions.read().expect("no holder of the lock can panic").get(van).cloned()
    }

    /// Returns the newest position of a van in motion since this process started.
    #[must_use]
    pub fn last_moving(&self, van: &str) -> Option<Arc<Position>> {
        self.last_moving.read().expect("no holder of the lock can panic").get(van).cloned()
    }

    pub fn publish(&self, change: Change) {
        // There may be no subscribers.
        self.changes.send(change).ok();
    }

    /// Subscribes to all future changes.
    #[must_use]
    pub fn subscribe(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
