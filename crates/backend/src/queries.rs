//! Queries that combine store rows and newest positions into the inputs of [`view`](super::tracking).
//!
//! - A view takes a few queries by key. Each instance loads the events of a route once, then only
//!   new ones.
//! - Queries decide nothing: the visibility policy is in [`view`](super::tracking).

mod dispatcher;
mod route_cache;
mod tracking_page;

pub use dispatcher::{ambiguous_number, day, trace, van, vans, vans_by_id};
pub use route_cache::RouteCache;
pub(super) use tracking_page::is_expired;
pub use tracking_page::{
    Milestone, PreferenceResult, TrackingPage, TrackingPageResult, page_by_token, page_for_parcel,
    set_preferences,
};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::AppState;
use super::store::StoreError;
use super::tracking::inputs::{RouteInput, TimedPosition, VanInput};
use super::tracking::progress::Progress;
use super::tracking::visibility::{self, is_moving};
use waypost_wire::payloads::Position;

/// A route with the current state of its van.
#[derive(Clone, Debug)]
struct RouteWithVan {
    route: Arc<RouteInput>,
    progress: Arc<Progress>,
    van: VanInput,
}

/// Adds cached data of this process to van rows: newer positions, and the last position in motion.
async fn with_live_positions(
    shared: &AppState,
    mut vans: Vec<VanInput>,
) -> Result<Vec<VanInput>, StoreError> {
    const BACK: Duration = Duration::from_mins(30);
    let mut unknown = Vec::new();
    for (place, van) in vans.iter_mut().enumerate() {
        let live = shared.change_feed.position(&van.van);
        let newer = |live: &Arc<Position>| {
            van.position.as_ref().is_none_or(|stored| live.point.ts >= stored.point.ts)
        };
        if let Some(newer) = live.filter(newer) {
            van.position = Some(newer);
        }
        let Some(newest) = van.position.as_deref() else { continue };
        let moment = visibility::timed_position(newest);
        van.last_moving = if is_moving(newest) {
            moment
        } else {
            shared
                .change_feed
                .last_moving(&van.van)
                .and_then(|driving| visibility::timed_position(&driving))
        };
        if van.last_moving.is_none()
            && !is_moving(newest)
            && let Some(until) = moment.map(|moment| moment.time)
            && let Some(from) = until.checked_sub(BACK)
        {
            unknown.push((place, from, until));
        }
    }
    if unknown.is_empty() {
        return Ok(vans);
    }
    let asked: Vec<_> = unknown
        .iter()
        .map(|(place, from, until)| (vans[*place].van.as_str(), *from, *until))
        .collect();
    let found: HashMap<String, TimedPosition> =
        shared.store.last_moving_positions(&asked).await?.into_iter().collect();
    for (place, ..) in unknown {
        vans[place].last_moving = found.get(&vans[place].van).copied();
    }
    Ok(vans)
}

/// Loads a route by id, with its progress and its van.
async fn load_route_with_van(
    shared: &AppState,
    route: &str,
) -> Result<Option<RouteWithVan>, StoreError> {
    let Some(remembered) = shared.change_feed.route_cache.route(shared, route).await? else {
        return Ok(None);
    };
    let known = shared.store.van(&remembered.route.van).await?;
    let known = known
        .unwrap_or_else(|| VanInput { van: remembered.route.van.clone(), ..VanInput::default() });
    let van = with_live_positions(shared, vec![known]).await?.remove(0);
    let progress = remembered.progress(van.position.as_deref());
    Ok(Some(RouteWithVan { route: remembered.route, progress, van }))
}
