//! Fleet feed for dispatchers. Each van is evaluated once per change and fanned out to all
//! subscribers.
//!
//! A changed van is published at once, then at most once per [`TICK`]. A new subscriber receives
//! all vans first.

use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::sync::broadcast;
use tokio::sync::broadcast::error::RecvError;
use tokio::time::{MissedTickBehavior, interval};

use super::sse::{EventSource, SseItem};
use crate::AppState;
use crate::change_feed::Change;
use crate::queries;
use crate::store::StoreError;
use crate::tracking::dispatcher::VanView;

/// Minimum interval between two updates of a van.
const TICK: Duration = Duration::from_millis(500);

/// All vans are evaluated again after this number of ticks, for changes that only depend on time,
/// such as a silent van.
const REFRESH_TICKS: u32 = 30;

/// Capacity of the broadcast channel; a subscriber that lags further behind receives all vans
/// again.
const CHANNEL_CAPACITY: usize = 1024;

/// Broadcast of van updates. Its task runs only while there are subscribers.
#[derive(Debug)]
pub(super) struct FleetFeed {
    views: broadcast::Sender<Arc<str>>,
    running: Mutex<bool>,
}

impl Default for FleetFeed {
    fn default() -> Self {
        Self { views: broadcast::Sender::new(CHANNEL_CAPACITY), running: Mutex::default() }
    }
}

impl FleetFeed {
    /// Subscribes: returns all vans, then their updates.
    pub(super) async fn subscribe(
        self: &Arc<Self>,
        shared: &AppState,
    ) -> Result<FleetStream, StoreError> {
        let changes = {
            let mut running = self.running.lock().expect("no holder of the lock can panic");
            let changes = self.views.subscribe();
            if !*running {
                *running = true;
                tokio::spawn(Arc::clone(self).run(shared.clone(), shared.change_feed.subscribe()));
            }
            changes
        };
        let first = all_views(shared).await?;
        Ok(FleetStream { shared: shared.clone(), pending: first, changes })
    }

    async fn run(self: Arc<Self>, shared: AppState, mut changes: broadcast::Receiver<Change>) {
        let mut seen = SendState::default();
        let mut tick = interval(TICK);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut ticks = 0_u32;
        loop {
            let mut due = DueVans::default();
            tokio::select! {
                change = changes.recv() => match change {
                    Ok(change) => due.vans.extend(seen.on_change(&change)),
                    Err(RecvError::Lagged(_)) => seen.all_due = true,
                    Err(RecvError::Closed) => return,
                },
                _ = tick.tick() => {
                    if self.stop_if_unwatched() {
                        return;
                    }
                    ticks = ticks.wrapping_add(1);
                    due = seen.take_due(ticks.is_multiple_of(REFRESH_TICKS));
                }
            }
            if let Err(error) = self.publish_due(&shared, &mut seen, due).await {
                tracing::debug!(%error, "fleet view refresh failed");
                seen.all_due = true;
            }
        }
    }

    /// Whether there are no subscribers. The task then ends; the next subscriber starts a new one.
    fn stop_if_unwatched(&self) -> bool {
        let mut running = self.running.lock().expect("no holder of the lock can panic");
        *running = self.views.receiver_count() > 0;
        !*running
    }

    async fn publish_due(
        &self,
        shared: &AppState,
        seen: &mut SendState,
        due: DueVans,
    ) -> Result<(), StoreError> {
        let views = if due.all {
            queries::vans(shared).await?
        } else {
            let vans: Vec<&str> = due.vans.iter().map(AsRef::as_ref).collect();
            queries::vans_by_id(shared, &vans).await?
        };
        for view in views {
            if seen.record_if_changed(&view) {
                // The last subscriber may have just disconnected.
                self.views.send(to_json(&view)).ok();
            }
        }
        Ok(())
    }
}

/// Vans to evaluate now.
#[derive(Debug, Default)]
struct DueVans {
    all: bool,
    vans: HashSet<Arc<str>>,
}

/// Updates that were published or are pending.
#[derive(Debug, Default)]
struct SendState {
    last_sent: HashMap<String, VanView>,
    /// Vans that were published since the last tick.
    sent_this_tick: HashSet<Arc<str>>,
    /// Vans that changed after their last update.
    pending: HashSet<Arc<str>>,
    all_due: bool,
}

impl SendState {
    /// Returns the van of a change if it was not published since the last tick; otherwise marks it
    /// as pending.
    fn on_change(&mut self, change: &Change) -> Option<Arc<str>> {
        let van = match change {
            Change::Position { van } | Change::Van { van } | Change::Route { van, .. } => van,
            Change::Parcels { van, .. } => van.as_ref()?,
            Change::Lagged => {
                self.all_due = true;
                return None;
            }
        };
        if self.sent_this_tick.insert(Arc::clone(van)) {
            return Some(Arc::clone(van));
        }
        self.pending.insert(Arc::clone(van));
        None
    }

    fn take_due(&mut self, again: bool) -> DueVans {
        let vans = std::mem::take(&mut self.pending);
        self.sent_this_tick.clone_from(&vans);
        DueVans { all: std::mem::take(&mut self.all_due) || again, vans }
    }

    /// Records a view; returns whether it differs from the last one, ignoring its age.
    fn record_if_changed(&mut self, view: &VanView) -> bool {
        let ageless = VanView { position_age_s: None, ..view.clone() };
        let known = self.last_sent.get(&view.van);
        if known == Some(&ageless) {
            return false;
        }
        self.last_sent.insert(view.van.clone(), ageless);
        true
    }
}

fn to_json(view: &VanView) -> Arc<str> {
    serde_json::to_string(view).expect("every field of a view serializes").into()
}

async fn all_views(shared: &AppState) -> Result<VecDeque<Arc<str>>, StoreError> {
    Ok(queries::vans(shared).await?.iter().map(to_json).collect())
}

/// Event source of van updates.
#[derive(Debug)]
pub(super) struct FleetStream {
    shared: AppState,
    pending: VecDeque<Arc<str>>,
    changes: broadcast::Receiver<Arc<str>>,
}

impl EventSource for FleetStream {
    async fn next(&mut self) -> SseItem {
        loop {
            if let Some(view) = self.pending.pop_front() {
                return SseItem::Event("van", view);
            }
            match self.changes.recv().await {
                Ok(view) => return SseItem::Event("van", view),
                // After a lag, all vans are sent again.
                Err(RecvError::Lagged(_)) => match all_views(&self.shared).await {
                    Ok(vans) => self.pending = vans,
                    Err(_) => return SseItem::End,
                },
                Err(RecvError::Closed) => return SseItem::End,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_van_is_due_at_once_and_then_once_a_tick() {
        let mut seen = SendState::default();
        let van: Arc<str> = "VAN-042".into();
        let moved = Change::Position { van: Arc::clone(&van) };
        assert_eq!(seen.on_change(&moved), Some(Arc::clone(&van)));
        assert_eq!(seen.on_change(&moved), None);
        assert_eq!(seen.on_change(&moved), None);
        assert_eq!(seen.take_due(false).vans.len(), 1, "changes since then");
        assert_eq!(seen.on_change(&moved), None, "just published by the tick");
        assert_eq!(seen.take_due(false).vans.len(), 1);
        assert_eq!(seen.take_due(false).vans.len(), 0);
        assert_eq!(seen.on_change(&moved), Some(van), "no change for a tick");
    }
}
