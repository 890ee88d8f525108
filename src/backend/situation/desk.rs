//! What a dispatcher sees: vans, a van's day, a trace.

use std::collections::HashMap;
use std::time::Duration;

use super::memory::Remembered;
use super::page::known;
use super::{driven, now_of};
use crate::backend::Shared;
use crate::backend::epc;
use crate::backend::event::{Event, Role};
use crate::backend::store::StoreError;
use crate::backend::store::parcels::Parcel;
use crate::backend::store::situation::{Revision, TrailPoint};
use crate::backend::view::desk::{DayEvent, DayView, TraceView, VanView};
use crate::backend::view::fact::Fact;
use crate::backend::view::known::{KnownParcel, KnownVan};
use crate::backend::view::parcel::Window;
use crate::backend::view::{trace as tracing_view, van as van_view};
use crate::units::UtcTime;

/// A day's trail has at most so many points; of a longer one some are left out evenly.
const MOST_POINTS: usize = 5_000;
/// Of an event of a day, so many numbers are named.
const MOST_NUMBERS: usize = 10;
/// Of a trace, the trail before and after the last time that it was seen.
const TRAIL: Duration = Duration::from_mins(5);

/// A van now; `None` if nobody has heard of it.
///
/// # Errors
/// [`StoreError`].
pub async fn van(shared: &Shared, van: &str) -> Result<Option<VanView>, StoreError> {
    Ok(vans_called(shared, &[van]).await?.pop())
}

/// Vans now, of those that anybody has heard of.
///
/// # Errors
/// [`StoreError`].
pub async fn vans_called(shared: &Shared, vans: &[&str]) -> Result<Vec<VanView>, StoreError> {
    views(shared, shared.store.known_vans_called(vans).await?).await
}

/// All vans, in the order of their ids.
///
/// # Errors
/// [`StoreError`].
pub async fn vans(shared: &Shared) -> Result<Vec<VanView>, StoreError> {
    views(shared, shared.store.known_vans().await?).await
}

/// Some questions for all of them, and none for each.
async fn views(shared: &Shared, vans: Vec<KnownVan>) -> Result<Vec<VanView>, StoreError> {
    let memory = &shared.live.memory;
    let names: Vec<&str> = vans.iter().map(|van| van.van.as_str()).collect();
    let gaps = memory.gaps(shared, &names).await?;
    let driven = routes_of(shared, &vans).await?;
    let remembered = memory.revisions(shared, &driven).await?;
    let route_of: HashMap<&str, &Remembered> = driven
        .iter()
        .filter_map(|revision| Some((revision.van.as_str(), remembered.get(&revision.route)?)))
        .collect();
    let vans = now_of(shared, vans).await?;
    let now = shared.now();
    let view = |van: &KnownVan| {
        let gaps = gaps.contains(&van.van);
        let Some(remembered) = route_of.get(van.van.as_str()) else {
            return van_view::van(van, None, gaps, now);
        };
        let progress = remembered.progress(van.position.as_deref());
        van_view::van(van, Some((&remembered.route, &progress)), gaps, now)
    };
    Ok(vans.iter().map(view).collect())
}

/// The route that each van says it drives, else the one that is put for now, else the next one.
async fn routes_of(shared: &Shared, vans: &[KnownVan]) -> Result<Vec<Revision>, StoreError> {
    let now = shared.now();
    let said = |van: &KnownVan| van.state.as_ref().and_then(|state| state.route.clone());
    let said: HashMap<&str, String> =
        vans.iter().filter_map(|van| Some((van.van.as_str(), said(van)?))).collect();
    let names: Vec<_> = vans
        .iter()
        .map(|van| van.van.as_str())
        .map(|van| (van, said.get(van).map(String::as_str)))
        .collect();
    let mut best: HashMap<String, Revision> = HashMap::new();
    for revision in shared.store.revisions_of_vans(&names, now).await? {
        let rank =
            |one: &Revision| (said.get(one.van.as_str()) != Some(&one.route), one.span.0.max(now));
        // Of those that are alike the newest comes first.
        match best.get_mut(&revision.van) {
            Some(known) if rank(known) <= rank(&revision) => {}
            Some(known) => *known = revision,
            None => drop(best.insert(revision.van.clone(), revision)),
        }
    }
    Ok(best.into_values().collect())
}

/// What a van did from `from` to `until`; `None` if nobody has heard of it.
///
/// # Errors
/// [`StoreError`].
pub async fn day(
    shared: &Shared,
    van: &str,
    from: UtcTime,
    until: UtcTime,
) -> Result<Option<DayView>, StoreError> {
    if shared.store.known_van(van).await?.is_none() {
        return Ok(None);
    }
    let (trail, events, gaps) = tokio::try_join!(
        shared.store.trail(van, from, until),
        shared.store.events_of_van(van, from, until),
        shared.store.gaps(van, from, until),
    )?;
    Ok(Some(DayView {
        van: van.to_owned(),
        span: Window { from: from.to_string(), until: until.to_string() },
        trail: thinned(trail),
        events: events.iter().map(day_event).collect(),
        gaps,
    }))
}

fn day_event(event: &Event) -> DayEvent {
    let fact = Fact::of(event);
    let about = event.epcs.iter().filter(|(_, role)| *role != Role::Parent);
    // Where no parcels are concerned, it is about the van.
    let parcels = about.filter(|(epc, _)| *epc != event.source);
    DayEvent {
        at: event.time.to_string(),
        kind: event.kind.clone(),
        parcels_total: u32::try_from(parcels.clone().count()).unwrap_or(u32::MAX),
        stop_seq: fact.stop_seq,
        reason: fact.said.reason.clone(),
        alert: fact.said.alert.clone(),
        parcels: parcels.take(MOST_NUMBERS).map(|(epc, _)| tracing_view::number_of(epc)).collect(),
        spot: fact.spot,
    }
}

/// First and last stay, and of the rest every so manyth.
fn thinned(trail: Vec<TrailPoint>) -> Vec<TrailPoint> {
    if trail.len() <= MOST_POINTS {
        return trail;
    }
    let last = trail.len() - 1;
    (0..MOST_POINTS).map(|index| trail[index * last / (MOST_POINTS - 1)]).collect()
}

/// Everything about the parcel with this number, as people type it; `None` if nobody has heard of it.
///
/// # Errors
/// [`StoreError`].
pub async fn trace(shared: &Shared, number: &str) -> Result<Option<TraceView>, StoreError> {
    let domain = &shared.config.domain;
    let row = shared.store.parcels_called(number, domain).await?.into_iter().next();
    let mut events = Vec::new();
    // A number that no route ever listed may all the same be known to a warehouse.
    let mut epcs = row.as_ref().map(|row| vec![row.epc.clone()]);
    for epc in epcs.get_or_insert_with(|| epc::of_number(number, domain)) {
        events = shared.store.events_of_epc(epc).await?;
        if row.is_some() || !events.is_empty() {
            let known =
                row.as_ref().map_or_else(|| unlisted(number, epc), |row| known(row, &[], vec![]));
            return traced(shared, row.as_ref(), &known, &events).await.map(Some);
        }
    }
    drop(events);
    Ok(None)
}

fn unlisted(number: &str, epc: &str) -> KnownParcel {
    KnownParcel {
        epc: epc.to_owned(),
        number: epc::number(number),
        case_state: "none".to_owned(),
        ..KnownParcel::default()
    }
}

async fn traced(
    shared: &Shared,
    row: Option<&Parcel>,
    parcel: &KnownParcel,
    events: &[Event],
) -> Result<TraceView, StoreError> {
    let facts: Vec<Fact> = events.iter().map(Fact::of).collect();
    // The route that lists it, else the last that had it.
    let listed = row.and_then(|row| row.route.clone());
    let route = listed.or_else(|| facts.iter().rev().find_map(|fact| fact.route.clone()));
    let driven = match &route {
        Some(route) => driven(shared, route).await?,
        None => None,
    };
    let last = tracing_view::last_seen(&facts, &parcel.epc);
    let seen_by = last.and_then(|last| Some((last.van.clone()?, last.time)));
    let (around, trail) = match &seen_by {
        Some((van, time)) => around(shared, van, *time).await?,
        None => (Vec::new(), Vec::new()),
    };
    Ok(tracing_view::trace(&tracing_view::Inputs {
        parcel,
        facts: &facts,
        route: driven.as_ref().map(|driven| &*driven.route),
        around: &around,
        trail: &trail,
    }))
}

/// What a van said, and where it was, about a time.
async fn around(
    shared: &Shared,
    van: &str,
    time: UtcTime,
) -> Result<(Vec<Fact>, Vec<TrailPoint>), StoreError> {
    let span =
        |by: Duration| (time.checked_sub(by).unwrap_or(time), time.checked_add(by).unwrap_or(time));
    let ms = u64::try_from(tracing_view::AROUND_MS).unwrap_or(0);
    let ((from, until), (start, end)) = (span(Duration::from_millis(ms)), span(TRAIL));
    let (events, trail) = tokio::try_join!(
        shared.store.events_of_van(van, from, until),
        shared.store.trail(van, start, end),
    )?;
    Ok((events.iter().map(Fact::of).collect(), thinned(trail)))
}
