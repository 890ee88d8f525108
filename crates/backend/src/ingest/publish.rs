//! Publishes the changes of a stored batch.

use crate::AppState;
use crate::change_feed::Change;
use crate::store::IngestResult;

/// Publishes changed vans and parcels, and wakes the downlink if a van connected.
pub(super) async fn publish_changes(shared: &AppState, taken: IngestResult) {
    for van in &taken.vans {
        shared.publish_change(Change::Van { van: van.as_str().into() }).await;
    }
    for (van, epcs) in taken.epcs {
        let epcs: Vec<String> = epcs.into_iter().collect();
        shared.publish_change(Change::Parcels { epcs: epcs.into(), van: Some(van.into()) }).await;
    }
    if !taken.connected.is_empty() {
        shared.downlink.notify_one();
    }
}
