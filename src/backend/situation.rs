//! Queries that combine store rows and newest positions into the inputs of [`view`](super::view).
//!
//! - A view takes a few queries by key. Each instance loads the events of a route once, then only
//!   new ones.
//! - Queries decide nothing: the visibility policy is in [`view`](super::view).

mod desk;
mod kept;
mod memory;
mod page;

pub use desk::{day, trace, van, vans, vans_by_id};
pub use memory::RouteCache;
pub(super) use page::is_expired;
pub use page::{PreferenceResult, TrackingPageResult, TrackingPage, page_for_parcel, page_by_token, set_preferences};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::AppState;
use super::store::StoreError;
use super::view::exposure::{self, is_moving};
use super::view::known::{RouteInput, VanInput, TimedPosition};
use super::view::progress::Progress;
use crate::wire::json::Position;

/// A route with the current state of its van.
#[derive(Clone, Debug)]
struct RouteWithVan {
    route: Arc<RouteInput>,
    progress: Arc<Progress>,
    van: VanInput,
}

/// Adds cached data of this process to van rows: newer positions, and the last position in motion.
async fn with_live_positions(shared: &AppState, mut vans: Vec<VanInput>) -> Result<Vec<VanInput>, StoreError> {
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
        let moment = exposure::timed_position(newest);
        van.last_moving = if is_moving(newest) {
            moment
        } else {
            shared.change_feed.last_moving(&van.van).and_then(|driving| exposure::timed_position(&driving))
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
async fn load_route_with_van(shared: &AppState, route: &str) -> Result<Option<RouteWithVan>, StoreError> {
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
