//! What has just changed → everybody who watches: open pages, alerts.
//!
//! A watcher that is too slow misses changes and is told so; then it looks at the store again. Nothing here is kept.
//! What was read of routes is remembered, so that only what is new is read.

use std::collections::HashMap;
use std::sync::{Arc, RwLock};

use tokio::sync::broadcast;

use super::situation::Memory;
use super::view::exposure;
use crate::wire::json::Position;

/// Changes that a watcher may be behind.
const BEHIND: usize = 1024;

/// Something changed.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// A van has a newer position.
    Position {
        /// Its id.
        van: Arc<str>,
    },
    /// A van said something of itself: state, connection.
    Van {
        /// Its id.
        van: Arc<str>,
    },
    /// Events of these things were stored, or what is known of them was changed by a person.
    Parcels {
        /// Canonical URIs.
        epcs: Arc<[String]>,
        /// The van that said it.
        van: Option<Arc<str>>,
    },
    /// A route was put, changed or withdrawn.
    Route {
        /// Its name.
        route: Arc<str>,
        /// Whose.
        van: Arc<str>,
    },
    /// Other instances may have told of changes that this one did not hear: everybody looks at the store again.
    Missed,
}

/// The newest positions, and who is told of changes. Clones are one.
#[derive(Clone, Debug)]
pub struct Live {
    newest: Arc<RwLock<HashMap<String, Arc<Position>>>>,
    /// The newest of them that was under way.
    driving: Arc<RwLock<HashMap<String, Arc<Position>>>>,
    pub(super) memory: Memory,
    changes: broadcast::Sender<Change>,
}

impl Default for Live {
    fn default() -> Self {
        Self {
            newest: Arc::default(),
            driving: Arc::default(),
            memory: Memory::default(),
            changes: broadcast::Sender::new(BEHIND),
        }
    }
}

impl Live {
    /// Takes a position if it is newer than what is known of its van; whether it is.
    #[must_use]
    pub fn observe(&self, position: Position) -> bool {
        let van: Arc<str> = position.van.as_str().into();
        {
            let mut newest = self.newest.write().expect("no holder of the lock can panic");
            // RFC 3339 in UTC with milliseconds: the order of texts is that of times.
            let known = newest.get(&*van);
            if known.is_some_and(|known| known.point.ts >= position.point.ts) {
                return false;
            }
            let position = Arc::new(position);
            if exposure::is_under_way(&position) {
                let mut driving = self.driving.write().expect("no holder of the lock can panic");
                driving.insert(position.van.clone(), Arc::clone(&position));
            }
            newest.insert(position.van.clone(), position);
        }
        self.tell(Change::Position { van });
        true
    }

    /// The newest position of a van since this process began.
    #[must_use]
    pub fn position(&self, van: &str) -> Option<Arc<Position>> {
        self.newest.read().expect("no holder of the lock can panic").get(van).cloned()
    }

    /// The newest position at which a van was under way, since this process began.
    #[must_use]
    pub fn driving(&self, van: &str) -> Option<Arc<Position>> {
        self.driving.read().expect("no holder of the lock can panic").get(van).cloned()
    }

    /// Tells all who watch.
    pub fn tell(&self, change: Change) {
        // Nobody may be watching.
        self.changes.send(change).ok();
    }

    /// All changes from now on.
    #[must_use]
    pub fn watch(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }
}
