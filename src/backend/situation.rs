//! Store and newest positions → the inputs of [`view`](super::view) → what somebody sees.
//!
//! - A view is a few questions by key. A route's events are read once by each instance, and then only what is new.
//! - Nothing is decided here: whoever may see what is the rule of [`view`](super::view).

mod desk;
mod kept;
mod memory;
mod page;

pub use desk::{day, trace, van, vans, vans_called};
pub use memory::Memory;
pub(super) use page::is_gone;
pub use page::{Asked, Found, Page, page_of, parcel, wish};

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use super::Shared;
use super::store::StoreError;
use super::view::exposure::{self, is_under_way};
use super::view::known::{KnownRoute, KnownVan, Moment};
use super::view::progress::Progress;
use crate::wire::json::Position;

/// A route with its van now.
#[derive(Clone, Debug)]
struct Driven {
    route: Arc<KnownRoute>,
    progress: Arc<Progress>,
    van: KnownVan,
}

/// Adds to rows of vans what only this process knows: newer positions than are stored, and where they were under way.
async fn now_of(shared: &Shared, mut vans: Vec<KnownVan>) -> Result<Vec<KnownVan>, StoreError> {
    const BACK: Duration = Duration::from_mins(30);
    let mut unknown = Vec::new();
    for (place, van) in vans.iter_mut().enumerate() {
        let live = shared.live.position(&van.van);
        let newer = |live: &Arc<Position>| {
            van.position.as_ref().is_none_or(|stored| live.point.ts >= stored.point.ts)
        };
        if let Some(newer) = live.filter(newer) {
            van.position = Some(newer);
        }
        let Some(newest) = van.position.as_deref() else { continue };
        let moment = exposure::moment(newest);
        van.driving = if is_under_way(newest) {
            moment
        } else {
            shared.live.driving(&van.van).and_then(|driving| exposure::moment(&driving))
        };
        if van.driving.is_none()
            && !is_under_way(newest)
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
    let found: HashMap<String, Moment> =
        shared.store.last_driving(&asked).await?.into_iter().collect();
    for (place, ..) in unknown {
        vans[place].driving = found.get(&vans[place].van).copied();
    }
    Ok(vans)
}

/// A route by its name, how far it is, and its van.
async fn driven(shared: &Shared, route: &str) -> Result<Option<Driven>, StoreError> {
    let Some(remembered) = shared.live.memory.route(shared, route).await? else {
        return Ok(None);
    };
    let known = shared.store.known_van(&remembered.route.van).await?;
    let known = known
        .unwrap_or_else(|| KnownVan { van: remembered.route.van.clone(), ..KnownVan::default() });
    let van = now_of(shared, vec![known]).await?.remove(0);
    let progress = remembered.progress(van.position.as_deref());
    Ok(Some(Driven { route: remembered.route, progress, van }))
}
