//! Vans that a dispatcher looks at → what is seen of each, evaluated once for all dispatchers.
//!
//! A van that has changed is sent at once, and then at most once in each [`TICK`]. Somebody new is given all vans first.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::stream::{Next, Series};
use crate::backend::Shared;
use crate::backend::live::Change;
use crate::backend::situation;
use crate::backend::store::StoreError;
use crate::backend::view::desk::VanView;

/// A van is sent at most once in this time.
const TICK: Duration = Duration::from_millis(500);

/// After so many ticks all vans are looked at again: some things change by time alone, such as that nothing was heard.
const LOOKED_AGAIN: u32 = 30;

/// Views that a dispatcher's connection may be behind.
const BEHIND: usize = 1024;

/// What is sent to all dispatchers.
#[derive(Debug)]
pub(super) struct Fleet {
    views: broadcast::Sender<Arc<str>>,
    watching: Mutex<bool>,
}

impl Default for Fleet {
    fn default() -> Self {
        Self { views: broadcast::Sender::new(BEHIND), watching: Mutex::default() }
    }
}

impl Fleet {
    /// All vans as they are now, then those that change.
    pub(super) async fn watch(self: &Arc<Self>, shared: &Shared) -> Result<Vans, StoreError> {
        let changes = {
            let mut watching = self.watching.lock().expect("no holder of the lock can panic");
            let changes = self.views.subscribe();
            if !*watching {
                *watching = true;
                tokio::spawn(Arc::clone(self).keep(shared.clone(), shared.live.watch()));
            }
            changes
        };
        let first = all(shared).await?;
        Ok(Vans { shared: shared.clone(), waiting: first, changes })
    }

    async fn keep(self: Arc<Self>, shared: Shared, mut changes: broadcast::Receiver<Change>) {
        let mut seen = Seen::default();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        loop {
            let mut due = Due::default();
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => due.vans.extend(seen.now_or_later(&change)),
                    Err(RecvError::Lagged(_)) => seen.all = true,
                    Err(RecvError::Closed) => return,
                },
                _ = tick.tick() => {
                    if self.nobody_looks() {
                        return;
                    }
                    ticks = ticks.wrapping_add(1);
                    due = seen.due(ticks.is_multiple_of(LOOKED_AGAIN));
                }
            }
            if let Err(error) = self.send(&shared, &mut seen, due).await {
                tracing::debug!(%error, "vans not evaluated");
                seen.all = true;
            }
        }
    }

    /// Whether the last dispatcher is gone; whoever comes next begins anew.
    fn nobody_looks(&self) -> bool {
        let mut watching = self.watching.lock().expect("no holder of the lock can panic");
        *watching = self.views.receiver_count() > 0;
        !*watching
    }

    async fn send(&self, shared: &Shared, seen: &mut Seen, due: Due) -> Result<(), StoreError> {
        let views = if due.all {
            situation::vans(shared).await?
        } else {
            let vans: Vec<&str> = due.vans.iter().map(AsRef::as_ref).collect();
            situation::vans_called(shared, &vans).await?
        };
        for view in views {
            if seen.is_new(&view) {
                // The last dispatcher may have just left.
                self.views.send(json(&view)).ok();
            }
        }
        Ok(())
    }
}

/// What has to be evaluated now.
#[derive(Debug, Default)]
struct Due {
    all: bool,
    vans: HashSet<Arc<str>>,
}

/// What was sent, and what will be.
#[derive(Debug, Default)]
struct Seen {
    last: HashMap<String, VanView>,
    /// Sent since the last tick.
    recent: HashSet<Arc<str>>,
    /// Changed since then.
    later: HashSet<Arc<str>>,
    all: bool,
}

impl Seen {
    /// The van of a change, if it was not sent since the last tick.
    fn now_or_later(&mut self, change: &Change) -> Option<Arc<str>> {
        let van = match change {
            Change::Position { van } | Change::Van { van } | Change::Route { van, .. } => van,
            Change::Parcels { van, .. } => van.as_ref()?,
            Change::Missed => {
                self.all = true;
                return None;
            }
        };
        if self.recent.insert(Arc::clone(van)) {
            return Some(Arc::clone(van));
        }
        self.later.insert(Arc::clone(van));
        None
    }

    fn due(&mut self, again: bool) -> Due {
        let vans = std::mem::take(&mut self.later);
        self.recent.clone_from(&vans);
        Due { all: std::mem::take(&mut self.all) || again, vans }
    }

    /// Whether a view says something that was not sent before; that time has passed is nothing new.
    fn is_new(&mut self, view: &VanView) -> bool {
        let ageless = VanView { position_age_s: None, ..view.clone() };
        let known = self.last.get(&view.van);
        if known == Some(&ageless) {
            return false;
        }
        self.last.insert(view.van.clone(), ageless);
        true
    }
}

fn json(view: &VanView) -> Arc<str> {
    serde_json::to_string(view).expect("every member of a view has a JSON form").into()
}

async fn all(shared: &Shared) -> Result<VecDeque<Arc<str>>, StoreError> {
    Ok(situation::vans(shared).await?.iter().map(json).collect())
}

/// Vans as a series of views.
#[derive(Debug)]
pub(super) struct Vans {
    shared: Shared,
    waiting: VecDeque<Arc<str>>,
    changes: broadcast::Receiver<Arc<str>>,
}

impl Series for Vans {
    async fn next(&mut self) -> Next {
        loop {
            if let Some(view) = self.waiting.pop_front() {
                return Next::Event("van", view);
            }
            match self.changes.recv().await {
                Ok(view) => return Next::Event("van", view),
                // What was missed is somewhere in all vans.
                Err(RecvError::Lagged(_)) => match all(&self.shared).await {
                    Ok(vans) => self.waiting = vans,
                    Err(_) => return Next::End,
                },
                Err(RecvError::Closed) => return Next::End,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_van_is_due_at_once_and_then_once_a_tick() {
        let mut seen = Seen::default();
        let van: Arc<str> = "VAN-042".into();
        let moved = Change::Position { van: Arc::clone(&van) };
        assert_eq!(seen.now_or_later(&moved), Some(Arc::clone(&van)));
        assert_eq!(seen.now_or_later(&moved), None);
        assert_eq!(seen.now_or_later(&moved), None);
        assert_eq!(seen.due(false).vans.len(), 1, "what came since then");
        assert_eq!(seen.now_or_later(&moved), None, "sent by the tick just now");
        assert_eq!(seen.due(false).vans.len(), 1);
        assert_eq!(seen.due(false).vans.len(), 0);
        assert_eq!(seen.now_or_later(&moved), Some(van), "it was quiet for a tick");
    }
}
