//! What is new in the store → who watches.

use crate::backend::Shared;
use crate::backend::live::Change;
use crate::backend::store::Taken;

/// Tells who watches.
pub(super) async fn tell(shared: &Shared, taken: Taken) {
    for van in &taken.vans {
        shared.tell(Change::Van { van: van.as_str().into() }).await;
    }
    for (van, epcs) in taken.epcs {
        let epcs: Vec<String> = epcs.into_iter().collect();
        shared.tell(Change::Parcels { epcs: epcs.into(), van: Some(van.into()) }).await;
    }
    if !taken.connected.is_empty() {
        shared.downlink.notify_one();
    }
}
