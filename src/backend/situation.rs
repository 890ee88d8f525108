//! Store and newest positions → the inputs of [`view`](super::view) → what somebody sees.
//!
//! - A view is a few questions by key. A route's events are read once by each instance, and then only what is new.
//! - Nothing is decided here: whoever may see what is the rule of [`view`](super::view).

mod desk;
mod memory;
mod page;

pub use desk::{day, trace, van, vans};
pub use memory::Memory;
pub(super) use page::is_gone;
pub use page::{Asked, Found, Page, page_of, parcel, wish};

use std::sync::Arc;

use super::Shared;
use super::store::StoreError;
use super::view::exposure::{self, is_under_way};
use super::view::known::{KnownRoute, KnownVan};
use super::view::progress::Progress;

/// A route with its van now.
#[derive(Clone, Debug)]
struct Driven {
    route: Arc<KnownRoute>,
    progress: Arc<Progress>,
    van: KnownVan,
}

/// Adds to a van's row what only this process knows: newer positions than are stored.
async fn now_of(shared: &Shared, mut van: KnownVan) -> Result<KnownVan, StoreError> {
    const BACK: std::time::Duration = std::time::Duration::from_mins(30);
    let live = shared.live.position(&van.van);
    let newer = live
        .filter(|live| van.position.as_ref().is_none_or(|stored| live.point.ts >= stored.point.ts));
    if let Some(newer) = newer {
        van.position = Some(newer);
    }
    let Some(newest) = van.position.clone() else { return Ok(van) };
    if is_under_way(&newest) {
        van.driving = exposure::moment(&newest);
        return Ok(van);
    }
    van.driving = shared.live.driving(&van.van).and_then(|driving| exposure::moment(&driving));
    if van.driving.is_none()
        && let Some(until) = exposure::moment(&newest).map(|moment| moment.time)
        && let Some(from) = until.checked_sub(BACK)
    {
        van.driving = shared.store.last_driving(&van.van, from, until).await?;
    }
    Ok(van)
}

/// A route by its name, how far it is, and its van.
async fn driven(shared: &Shared, route: &str) -> Result<Option<Driven>, StoreError> {
    let Some(remembered) = shared.live.memory.route(shared, route).await? else {
        return Ok(None);
    };
    let known = shared.store.known_van(&remembered.route.van).await?;
    let known = known
        .unwrap_or_else(|| KnownVan { van: remembered.route.van.clone(), ..KnownVan::default() });
    let van = now_of(shared, known).await?;
    let progress = remembered.progress(van.position.as_deref());
    Ok(Some(Driven { route: remembered.route, progress, van }))
}
